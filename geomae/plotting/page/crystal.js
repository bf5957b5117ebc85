"use strict";
/* Cells, symmetry and powder patterns of a crystal and its reconstruction. */

const PLOT = { width: 760, height: 250, left: 40, right: 10, top: 10, bottom: 34, least: 5, most: 90, broad: 0.12, points: 1700 };

function showCrystal(crystal) {
  const byId = (id) => document.getElementById(id);
  byId("crystal").hidden = !crystal;
  if (!crystal) return;
  byId("lattice").tBodies[0].replaceChildren(...crystal.lattice.map(latticeRow));
  for (const side of ["original", "decoded"]) {
    const lines = crystal.symmetry[side].length ? crystal.symmetry[side] : ["none found"];
    byId(`symmetry-${side}`).replaceChildren(...lines.map((line) => cellOf("li", line)));
  }
  const { original, decoded } = crystal.powder;
  const shown = Boolean((original && original.length) || (decoded && decoded.length));
  byId("powder-part").hidden = !shown;
  byId("powder").replaceChildren(...(shown ? [powderPlot(original || [], decoded || [])] : []));
  byId("powder").setAttribute("aria-label", describePowder(original || [], decoded || []));
}

function cellOf(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function latticeRow([name, before, after, difference]) {
  const row = document.createElement("tr");
  const number = (value) => (value === null ? "–" : value.toFixed(4));
  const off = difference === null ? "–" : Math.abs(difference) < 1e-9 ? "0"
    : Math.abs(difference) < 5e-5 ? difference.toExponential(0) : difference.toFixed(4);
  row.append(cellOf("th", name), cellOf("td", number(before)), cellOf("td", number(after)), cellOf("td", off));
  return row;
}

/* Lines broadened to a curve whose highest point is 1. */
function powderCurve(lines) {
  const { least, most, broad, points } = PLOT;
  const values = new Float64Array(points + 1);
  const step = (most - least) / points;
  for (const [angle, height] of lines) {
    const first = Math.max(0, Math.floor((angle - 5 * broad - least) / step));
    const last = Math.min(points, Math.ceil((angle + 5 * broad - least) / step));
    for (let k = first; k <= last; k += 1) values[k] += height * Math.exp(-(((least + k * step - angle) / broad) ** 2) / 2);
  }
  const top = values.reduce((a, b) => Math.max(a, b), 0) || 1;
  return values.map((value) => value / top);
}

/* The original's pattern as a filled shape, the reconstruction's as a line on top, their difference below. */
function powderPlot(original, decoded) {
  const { width, height, left, right, top, bottom, least, most, points } = PLOT;
  const draw = (tag, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const floor = height - bottom - 36;
  const x = (angle) => left + ((angle - least) / (most - least)) * (width - left - right);
  const angleOf = (k) => least + (k * (most - least)) / points;
  const path = (values, base, scale) => Array.from(values, (value, k) =>
    `${k ? "L" : "M"}${x(angleOf(k)).toFixed(1)} ${(base - value * scale).toFixed(1)}`).join("");
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "powder" });
  const [before, after] = [powderCurve(original), powderCurve(decoded)];
  const scale = floor - top;
  svg.append(draw("path", { d: `${path(before, floor, scale)}L${x(most)} ${floor}L${x(least)} ${floor}Z`, class: "before" }));
  svg.append(draw("path", { d: path(after, floor, scale), class: "after" }));
  if (original.length && decoded.length) {
    svg.append(draw("path", { d: path(after.map((value, k) => value - before[k]), floor + 20, 16), class: "gap" }));
  }
  svg.append(draw("line", { x1: left, x2: width - right, y1: height - bottom, y2: height - bottom, class: "axis" }));
  for (let angle = 10; angle <= most; angle += 10) {
    svg.append(draw("line", { x1: x(angle), x2: x(angle), y1: height - bottom, y2: height - bottom + 4, class: "axis" }));
    svg.append(draw("text", { x: x(angle), y: height - bottom + 16, "text-anchor": "middle" }, String(angle)));
  }
  svg.append(draw("text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, "2θ / °"));
  const legend = [["before", "original"], ["after", "decoded"], ["gap", "difference"]];
  legend.forEach(([name, text], k) => {
    svg.append(draw("rect", { x: width - 330 + 105 * k, y: 8, width: 14, height: 8, class: `key ${name}` }));
    svg.append(draw("text", { x: width - 312 + 105 * k, y: 16 }, text));
  });
  return svg;
}

function describePowder(original, decoded) {
  const strongest = (lines) => (lines.length ? lines.reduce((a, b) => (b[1] > a[1] ? b : a))[0].toFixed(2) : "none");
  return `Powder patterns. Strongest line of the original at ${strongest(original)}, of the reconstruction at ${strongest(decoded)} degrees.`;
}

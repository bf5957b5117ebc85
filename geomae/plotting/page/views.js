"use strict";
/* Two linked 3D views. Both hold both structures and differ in what they show of them. */

const UNMATCHED_COLOUR = "#7b2cbf";
const CELL_COLOUR = { original: "#3d4a5a", decoded: "#1a56db" };
const SCALE = [[0, [213, 219, 226]], [0.35, [247, 201, 72]], [0.7, [232, 89, 12]], [1, [150, 0, 30]]];
const FAINT_MOVE = 0.05; // Å: shorter displacements are no longer to be seen as lines

/* 3Dmol.js's camera: opening angle in degrees, and its distance in Å from the view's origin. */
const FIELD_OF_VIEW = 20;
const CAMERA = 150;
const MARGIN = 0.6; // Å around the outermost atoms' centres
const CLOSEST = 2; // Å: radius that stays in view however small a structure is

/* Colour of a displacement on the scale from grey (none) to dark red (the limit and beyond). */
function displacementColour(length, limit) {
  if (length === null || length === undefined) return UNMATCHED_COLOUR;
  const share = Math.min(length / limit, 1);
  let upper = 1;
  while (SCALE[upper][0] < share) upper += 1;
  const [start, low] = SCALE[upper - 1];
  const [end, high] = SCALE[upper];
  const mixed = low.map((c, i) => Math.round(c + ((high[i] - c) * (share - start)) / (end - start)));
  return `rgb(${mixed.join(",")})`;
}

function hasWebGL() {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("webgl2") || canvas.getContext("webgl");
  if (context) context.getExtension("WEBGL_lose_context")?.loseContext();
  return Boolean(context);
}

class Views {
  constructor(left, right, elements, onAtom) {
    if (!hasWebGL()) throw new Error("no WebGL");
    this.elements = elements;
    this.onAtom = onAtom;
    this.viewers = [left, right].map((element) =>
      $3Dmol.createViewer(element, {
        backgroundColor: "white", disableFog: true, minimumZoomToDistance: 2.5, antialias: true,
      }));
    this.labelled = new Set();
    this.alone = false; // while one view follows the other, or the second is hidden
    this.viewers.forEach((viewer, side) => {
      viewer.setViewStyle({ style: "outline", color: "#2b3440", width: 0.025 });
      viewer.setViewChangeCallback((view) => this.follow(1 - side, view));
    });
  }

  follow(side, view) {
    if (this.alone) return;
    this.alone = true;
    this.viewers[side].setView(view);
    this.alone = false;
  }

  /* Draw a pair. `options`: overlaid, colour, limit, labels, chosen (an original atom's index). */
  draw(pair, options, keepView) {
    const view = keepView ? this.viewers[0].getView() : this.viewOf(pair);
    const shown = options.overlaid ? this.viewers.slice(0, 1) : this.viewers;
    this.alone = true;
    shown.forEach((viewer, side) => {
      this.fill(viewer, side, pair, options);
      viewer.setView(view);
      viewer.render();
    });
    this.alone = options.overlaid;
  }

  fill(viewer, side, pair, options) {
    viewer.removeAllModels(); // `clear` would draw the scene after each of these
    viewer.removeAllShapes();
    if (this.labelled.has(viewer)) viewer.removeAllLabels();
    this.labelled.delete(viewer);
    const models = ["original", "decoded"].map((key) => this.addModel(viewer, pair, key));
    ["original", "decoded"].forEach((key, number) => {
      if (!models[number]) return;
      if (number === side || options.overlaid) {
        this.style(viewer, models[number], pair, key, options);
        this.addCell(viewer, pair[key].cell, key);
        if (options.labels && !(options.overlaid && key === "decoded")) this.addLabels(viewer, pair, key, options);
      } else {
        viewer.setStyle({ model: models[number] }, {});
      }
    });
    if (options.overlaid) this.addMoves(viewer, pair);
    this.addMarks(viewer, side, pair, options);
  }

  addModel(viewer, pair, key) {
    const side = pair[key];
    if (!side) return null;
    const atoms = side.numbers.map((number, i) => ({
      elem: this.elements[number].symbol, number, serial: i,
      x: side.positions[3 * i], y: side.positions[3 * i + 1], z: side.positions[3 * i + 2],
      bonds: [], bondOrder: [],
    }));
    for (let k = 0; k < side.bonds.length; k += 3) {
      const [a, b, order] = side.bonds.slice(k, k + 3);
      atoms[a].bonds.push(b);
      atoms[a].bondOrder.push(order);
      atoms[b].bonds.push(a);
      atoms[b].bondOrder.push(order);
    }
    const model = viewer.addModel();
    model.addAtoms(atoms);
    return model;
  }

  style(viewer, model, pair, key, options) {
    const ghost = options.overlaid && key === "original";
    const owner = ownersOf(pair);
    const elementColour = (atom) => this.elements[atom.number].colour;
    const ballColour = (atom) => {
      if (key === "original" || !pair.original || options.colour === "element") return elementColour(atom);
      const own = owner[atom.serial];
      return displacementColour(own === undefined ? null : pair.displacements[own], options.limit);
    };
    for (const number of new Set(pair[key].numbers)) {
      const radius = this.elements[number].radius * (ghost ? 0.8 : 1);
      const look = ghost ? { opacity: 0.6 } : {};
      viewer.setStyle({ model, elem: this.elements[number].symbol }, {
        sphere: { radius, colorfunc: ballColour, ...look },
        stick: { radius: ghost ? 0.05 : 0.1, colorfunc: elementColour, ...look },
      });
    }
    viewer.setClickable({ model }, true, (atom) => {
      const own = key === "original" ? atom.serial : owner[atom.serial];
      if (own !== undefined) this.onAtom(own);
    });
  }

  addLabels(viewer, pair, key, options) {
    const side = pair[key];
    const owner = ownersOf(pair);
    this.labelled.add(viewer);
    side.numbers.forEach((number, i) => {
      const shown = key === "original" ? i : owner[i];
      viewer.addLabel(this.elements[number].symbol + (shown === undefined ? "+" : shown), {
        position: pointOf(side, i), fontSize: 11, fontColor: "#16202c", backgroundColor: "white",
        backgroundOpacity: 0.6, borderThickness: 0, inFront: true, alignment: "center",
      }, undefined, true);
    });
  }

  /* The twelve edges of a unit cell. */
  addCell(viewer, cell, key) {
    if (!cell) return;
    const corner = (...steps) => {
      const [x, y, z] = cornerOf(cell, steps);
      return { x, y, z };
    };
    const color = CELL_COLOUR[key];
    for (const [a, b] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      for (const [start, end] of [[[0, a, b], [1, a, b]], [[a, 0, b], [a, 1, b]], [[a, b, 0], [a, b, 1]]]) {
        viewer.addCylinder({ start: corner(...start), end: corner(...end), radius: 0.03, color, fromCap: 1, toCap: 1 });
      }
    }
  }

  /* Lines from original atoms to where they were decoded. */
  addMoves(viewer, pair) {
    pair.matching.forEach((partner, i) => {
      if (partner < 0 || pair.displacements[i] < FAINT_MOVE) return;
      viewer.addCylinder({
        start: pointOf(pair.original, i), end: pointOf(pair.decoded, partner),
        radius: 0.04, color: "#16202c", fromCap: 1, toCap: 1,
      });
    });
  }

  /* Halos: violet around atoms without a partner, blue around the one chosen in the table. */
  addMarks(viewer, side, pair, options) {
    const halo = (key, i, color) => viewer.addSphere({
      center: pointOf(pair[key], i), radius: 1.45 * this.elements[pair[key].numbers[i]].radius + 0.08, color, opacity: 0.45,
    });
    const shows = (key) => pair[key] && (options.overlaid || (key === "original") === (side === 0));
    const both = pair.original && pair.decoded;
    if (shows("original")) {
      if (both) pair.matching.forEach((partner, i) => { if (partner < 0) halo("original", i, UNMATCHED_COLOUR); });
      if (options.chosen !== null) halo("original", options.chosen, "#1a56db");
    }
    if (shows("decoded") && both) {
      const owner = ownersOf(pair);
      pair.decoded.numbers.forEach((_, i) => { if (owner[i] === undefined) halo("decoded", i, UNMATCHED_COLOUR); });
      const partner = options.chosen === null ? -1 : pair.matching[options.chosen];
      if (partner >= 0) halo("decoded", partner, "#1a56db");
    }
  }

  /* The view from the pair's own side, centred on all atoms and cells, and far enough for them. */
  viewOf(pair) {
    const points = ["original", "decoded"].flatMap((key) => pointsOf(pair[key]));
    if (!points.length) return this.viewers[0].getView();
    const axes = [0, 1, 2];
    const centre = axes.map((k) => {
      const values = points.map((point) => point[k]);
      return (Math.min(...values) + Math.max(...values)) / 2;
    });
    const radius = Math.max(...points.map((point) => Math.hypot(...axes.map((k) => point[k] - centre[k]))));
    const box = this.viewers[0].getCanvas();
    const narrow = Math.max(1, box.clientHeight / Math.max(box.clientWidth, 1));
    const distance = (Math.max(radius + MARGIN, CLOSEST) * narrow) / Math.tan((FIELD_OF_VIEW / 2) * (Math.PI / 180));
    this.viewers.forEach((viewer) => viewer.setSlab(-2 * radius - 20, 2 * radius + 20));
    return [...centre.map((c) => -c), CAMERA - distance, ...pair.view, 0, 0];
  }

  reset(pair) { this.viewers[0].setView(this.viewOf(pair)); }

  turn(angle, axis) { this.viewers[0].rotate(angle, axis); }
  zoom(factor) { this.viewers[0].zoom(factor); }
  resize() { this.viewers.forEach((viewer) => viewer.resize()); }
}

/* Original atom of each decoded one. */
function ownersOf(pair) {
  const owner = {};
  pair.matching.forEach((partner, i) => { if (partner >= 0) owner[partner] = i; });
  return owner;
}

/* Atoms and the corners of the cell, as [x, y, z]. */
function pointsOf(side) {
  if (!side) return [];
  const points = side.numbers.map((_, i) => side.positions.slice(3 * i, 3 * i + 3));
  const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => [n & 1, (n >> 1) & 1, n >> 2]);
  return side.cell ? points.concat(corners.map((steps) => cornerOf(side.cell, steps))) : points;
}

function cornerOf(cell, [i, j, k]) {
  return [0, 1, 2].map((axis) => i * cell[axis] + j * cell[3 + axis] + k * cell[6 + axis]);
}

function pointOf(side, i) {
  return { x: side.positions[3 * i], y: side.positions[3 * i + 1], z: side.positions[3 * i + 2] };
}

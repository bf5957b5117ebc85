"use strict";
/* List, filters, figures and tables. Strings from the data go into the page as text only. */

const MEANING = {
  exact: "Right composition, every atom within 0.5 Å, the same bonds.",
  reconstructed: "Right composition and every atom within 0.5 Å, but bonds differ or could not be compared.",
  matched: "The same crystal, as pymatgen's StructureMatcher judges with the usual tolerances.",
  wrong: "Not the original, although the decoder vouched for it.",
  doubtful: "Not the original, and the decoder said that it may be wrong.",
  skipped: "Left out.",
  refused: "Not a structure that the model takes.",
  error: "Something went wrong.",
};
const LABELS = { rmsd: "RMSD", max_error: "Largest error", residual: "Certificate residual", certified: "Certificate" };
const IN_ANGSTROM = new Set(["rmsd", "max_error"]);

const { elements, pairs } = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const state = { status: null, words: "", shown: [], index: -1 };
const options = { overlaid: false, colour: "displacement", limit: 0.5, labels: false, chosen: null };
let views = null;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function figure(key, value) {
  if (value === null) return "–";
  if (key === "certified") return value ? "certified" : "doubtful";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (IN_ANGSTROM.has(key)) return `${value.toFixed(4)} Å`;
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) < 1e-3 ? value.toExponential(1) : value.toPrecision(3);
}

/* ---- list ---- */

function chip(status) {
  const element = make("span", "chip", status);
  if (status in MEANING) element.classList.add(status);
  return element;
}

function listItem(pair, index) {
  const item = make("li");
  item.id = `pair-${index}`;
  item.setAttribute("role", "option");
  item.setAttribute("aria-selected", "false");
  const error = pair.metrics.max_error;
  item.append(
    make("span", "name", pair.name), chip(pair.status), make("span", "formula", pair.formula === pair.name ? "" : pair.formula),
    make("span", "off", typeof error === "number" ? `${error.toFixed(3)} Å` : ""));
  item.title = pair.name;
  return item;
}

const items = pairs.map(listItem);

function fillFilters() {
  const counts = new Map([[null, pairs.length]]);
  pairs.forEach(({ status }) => counts.set(status, (counts.get(status) || 0) + 1));
  for (const [status, count] of counts) {
    const button = make("button", "", `${status === null ? "all" : status} ${count}`);
    button.type = "button";
    button.setAttribute("aria-pressed", String(status === null));
    if (status in MEANING) button.title = MEANING[status];
    button.addEventListener("click", () => {
      for (const other of byId("filters").children) other.setAttribute("aria-pressed", String(other === button));
      state.status = status;
      filter();
    });
    byId("filters").append(button);
  }
}

function filter() {
  const words = state.words.toLowerCase();
  state.shown = pairs.flatMap((pair, i) =>
    (state.status === null || pair.status === state.status)
    && `${pair.name} ${pair.formula}`.toLowerCase().includes(words) ? [i] : []);
  byId("list").replaceChildren(...state.shown.map((i) => items[i]));
  byId("count").textContent = state.shown.length === pairs.length
    ? `${pairs.length} structures, worst first` : `${state.shown.length} of ${pairs.length} structures`;
  if (!state.shown.includes(state.index)) select(state.shown.length ? state.shown[0] : -1);
  else updateSteps();
}

function updateSteps() {
  const place = state.shown.indexOf(state.index);
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place >= state.shown.length - 1;
}

function step(amount) {
  if (!state.shown.length) return;
  const place = state.shown.indexOf(state.index) + amount;
  select(state.shown[Math.max(0, Math.min(state.shown.length - 1, place))]);
}

/* Scroll a box, not the page, until one of its children is inside. */
function reveal(box, child, head = 0) {
  const top = child.offsetTop - head;
  const bottom = child.offsetTop + child.offsetHeight;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
}

/* ---- one pair ---- */

function select(index) {
  if (items[state.index]) items[state.index].setAttribute("aria-selected", "false");
  const changed = index !== state.index;
  state.index = index;
  updateSteps();
  const pair = pairs[index];
  byId("list").removeAttribute("aria-activedescendant");
  if (!pair) return clearDetail();
  items[index].setAttribute("aria-selected", "true");
  reveal(byId("list"), items[index]);
  byId("list").setAttribute("aria-activedescendant", items[index].id);
  if (changed) options.chosen = null;
  showDetail(pair);
  redraw(false);
  return undefined;
}

function clearDetail() {
  byId("name").textContent = pairs.length ? "No structure matches" : "No structures";
  byId("status").hidden = true;
  byId("message").replaceChildren();
  byId("metrics").replaceChildren();
  showCrystal(null);
  const nothing = { original: null, decoded: null, matching: [], displacements: [] };
  fillAtoms(nothing);
  showEmpty(nothing);
}

function showDetail(pair) {
  byId("name").textContent = pair.formula && pair.formula !== pair.name ? `${pair.name} (${pair.formula})` : pair.name;
  byId("status").replaceWith(Object.assign(chip(pair.status), { id: "status" }));
  byId("message").replaceChildren(make("span", "quiet", MEANING[pair.status] || ""), make("span", "", pair.message || ""));
  const rows = Object.entries(pair.metrics).map(([key, value]) => [LABELS[key] || key, figure(key, value)]);
  if (pair.changed_bonds !== null) rows.push(["Bonds changed", String(pair.changed_bonds)]);
  byId("metrics").replaceChildren(...rows.map(([label, text]) => {
    const group = make("div");
    group.append(make("dt", "", label), make("dd", "", text));
    return group;
  }));
  showCrystal(pair.crystal);
  fillAtoms(pair);
  showEmpty(pair);
}

function showEmpty(pair) {
  for (const [id, key] of [["left", "original"], ["right", "decoded"]]) {
    const box = byId(id);
    box.querySelectorAll(".empty").forEach((element) => element.remove());
    const other = key === "original" ? "decoded" : "original";
    const filled = pair[key] || (id === "left" && options.overlaid && pair[other]);
    if (!filled) box.append(make("div", "empty", key === "original" ? "No original to show" : "Nothing decoded to show"));
    box.setAttribute("aria-label", describe(pair, key));
  }
}

/* What a view shows, in words. */
function describe(pair, key) {
  if (!pair[key]) return key === "original" ? "No original structure" : "No reconstruction";
  const kind = pair[key].cell ? "crystal with its unit cell" : "molecule";
  const what = options.overlaid && pair.original && pair.decoded ? "Original and reconstruction overlaid"
    : key === "original" ? "Original" : "Reconstruction";
  const error = pair.metrics.max_error;
  const moved = what !== "Original" && typeof error === "number" ? `, atoms displaced by up to ${error.toFixed(3)} Å` : "";
  return `3D view. ${what} of ${pair.name}: ${kind} of ${pair[key].numbers.length} atoms${moved}`;
}

/* ---- atoms ---- */

function fillAtoms(pair) {
  const body = byId("atoms").tBodies[0];
  const rows = [];
  if (pair.original && pair.decoded) {
    const symbol = (side, i) => `${elements[side.numbers[i]].symbol} ${i}`;
    const order = pair.matching.map((_, i) => i);
    const size = (i) => (pair.displacements[i] === null ? Infinity : pair.displacements[i]);
    order.sort((a, b) => (size(a) === size(b) ? a - b : size(b) - size(a)));
    for (const i of order) rows.push(atomRow(pair, i, symbol));
    const owner = ownersOf(pair);
    pair.decoded.numbers.forEach((_, i) => {
      if (owner[i] !== undefined) return;
      const row = make("tr");
      row.append(make("td", "", "–"), make("td", "", symbol(pair.decoded, i)), make("td", "", "not in the original"));
      rows.unshift(row);
    });
  }
  body.replaceChildren(...rows);
  byId("no-atoms").hidden = rows.length > 0;
  byId("no-atoms").textContent = "There is nothing to compare.";
  byId("atoms").parentElement.hidden = !rows.length;
}

function atomRow(pair, i, symbol) {
  const row = make("tr", options.chosen === i ? "chosen" : "");
  row.dataset.atom = i;
  const button = make("button", "", symbol(pair.original, i));
  button.type = "button";
  button.setAttribute("aria-pressed", String(options.chosen === i));
  button.addEventListener("click", () => choose(options.chosen === i ? null : i));
  const first = make("td");
  first.append(button);
  const last = make("td");
  const length = pair.displacements[i];
  if (length === null) {
    last.textContent = "missing from the reconstruction";
  } else {
    const bar = make("span", "bar");
    bar.style.width = `calc(${Math.min(length / options.limit, 1)} * (100% - 5rem))`;
    bar.style.background = displacementColour(length, options.limit);
    last.append(make("span", "amount", length.toFixed(4)), bar);
  }
  row.append(first, make("td", "", pair.matching[i] < 0 ? "–" : symbol(pair.decoded, pair.matching[i])), last);
  return row;
}

function choose(atom) {
  options.chosen = atom;
  for (const row of byId("atoms").tBodies[0].rows) {
    const chosen = atom !== null && row.dataset.atom === String(atom);
    row.classList.toggle("chosen", chosen);
    const button = row.querySelector("button");
    if (button) button.setAttribute("aria-pressed", String(chosen));
    if (chosen) reveal(byId("atoms").parentElement, row, byId("atoms").tHead.offsetHeight);
  }
  redraw(true);
}

/* ---- views ---- */

function redraw(keepView) {
  const pair = pairs[state.index];
  fillLegend(pair);
  if (views && pair) views.draw(pair, options, keepView);
}

function fillLegend(pair) {
  const legend = byId("legend");
  legend.replaceChildren();
  if (!pair) return;
  const used = new Set([pair.original, pair.decoded].flatMap((side) => (side ? side.numbers : [])));
  const dot = (colour, text) => {
    const part = make("span", "", text);
    const mark = make("span", "dot");
    mark.style.background = colour;
    part.prepend(mark);
    return part;
  };
  for (const number of used) legend.append(dot(elements[number].colour, elements[number].symbol));
  if (!pair.original || !pair.decoded) return;
  if (options.colour === "displacement") {
    const part = make("span", "", "decoded atoms moved by 0");
    const bar = make("span", "bar");
    const stops = [0, 0.35, 0.7, 1].map((share) => `${displacementColour(share, 1)} ${100 * share}%`);
    bar.style.background = `linear-gradient(90deg, ${stops.join(",")})`;
    part.append(bar, `${options.limit} Å or more`);
    legend.append(part);
  }
  if (options.overlaid && pair.original.cell && pair.decoded.cell) {
    legend.append(dot(CELL_COLOUR.original, "original cell"), dot(CELL_COLOUR.decoded, "decoded cell"));
  }
  if (pair.matching.includes(-1) || pair.matching.length < pair.decoded.numbers.length) {
    legend.append(dot(UNMATCHED_COLOUR, "without a partner"));
  }
}

function arrange(overlaid) {
  options.overlaid = overlaid;
  byId("panes").classList.toggle("overlaid", overlaid);
  byId("beside").setAttribute("aria-pressed", String(!overlaid));
  byId("overlaid").setAttribute("aria-pressed", String(overlaid));
  byId("left-caption").textContent = overlaid ? "Original (pale) and reconstruction" : "Original";
  const pair = pairs[state.index];
  if (views) views.resize();
  if (pair) showEmpty(pair);
  redraw(true);
}

function turnByKey(event) {
  const pair = pairs[state.index];
  if (!views || !pair || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    ArrowLeft: () => views.turn(-10, "vy"), ArrowRight: () => views.turn(10, "vy"),
    ArrowUp: () => views.turn(-10, "vx"), ArrowDown: () => views.turn(10, "vx"),
    "+": () => views.zoom(1.15), "=": () => views.zoom(1.15), "-": () => views.zoom(1 / 1.15),
    0: () => views.reset(pair),
  };
  if (!(event.key in actions)) return;
  actions[event.key]();
  event.preventDefault();
  event.stopPropagation();
}

function pickByKey(event) {
  const free = event.target === document.body || event.target === byId("list") || event.target === byId("detail");
  if (!free || event.ctrlKey || event.metaKey || event.altKey) return;
  const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
  if (!(event.key in steps) || (event.target === document.body && !event.key.startsWith("Arrow"))) return;
  step(steps[event.key]);
  event.preventDefault();
}

function connect() {
  byId("list").addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) select(Number(item.id.slice("pair-".length)));
  });
  document.addEventListener("keydown", pickByKey);
  byId("search").addEventListener("input", (event) => { state.words = event.target.value.trim(); filter(); });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("beside").addEventListener("click", () => arrange(false));
  byId("overlaid").addEventListener("click", () => arrange(true));
  byId("colour").addEventListener("change", (event) => { options.colour = event.target.value; redraw(true); });
  byId("limit").addEventListener("change", (event) => {
    options.limit = Number(event.target.value);
    if (pairs[state.index]) fillAtoms(pairs[state.index]);
    redraw(true);
  });
  byId("labels").addEventListener("change", (event) => { options.labels = event.target.checked; redraw(true); });
  byId("reset").addEventListener("click", () => { if (views && pairs[state.index]) views.reset(pairs[state.index]); });
  for (const id of ["left", "right"]) {
    byId(id).addEventListener("keydown", turnByKey);
    byId(id).addEventListener("pointerdown", () => byId(id).focus({ preventScroll: true }));
  }
}

function start() {
  let outcome = "ready";
  try {
    views = new Views(byId("left"), byId("right"), elements, choose);
  } catch (error) {
    outcome = "no-webgl";
    byId("no3d").hidden = false;
    byId("no3d").textContent = "This browser has no WebGL, so structures can't be drawn; figures and tables are complete.";
    byId("panes").hidden = true;
  }
  fillFilters();
  connect();
  filter();
  if (document.documentElement.dataset.state === "loading") document.documentElement.dataset.state = outcome;
}

start();

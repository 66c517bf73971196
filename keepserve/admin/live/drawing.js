// The few things drawing needs. Attributes and classes only: the page's policy allows no style in attributes.

const SVG = "http://www.w3.org/2000/svg";

function at(id) {
  return document.getElementById(id);
}

// Text, and the bare figure for whoever wants to read it.
function put(id, text, value) {
  putInto(at(id), text, value);
}

function putInto(element, text, value) {
  if (element.textContent !== text) element.textContent = text;
  if (value !== undefined) element.dataset.value = value === null ? "" : String(value);
}

function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function shape(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, typeof value === "number" ? String(Math.round(value * 100) / 100) : value);
  }
  element.append(...children);
  return element;
}

function titled(element, text) {
  element.append(shape("title", {}, text));
  return element;
}

const drawn = new WeakMap();

// Draw anew only if something changed, so that what the mouse points at stays. Hidden charts have no size and wait.
function redraw(svg, what, label, draw) {
  const { width, height } = svg.getBoundingClientRect();
  if (!width || !height) return;
  const key = JSON.stringify([width, height, what, label]);
  if (drawn.get(svg) === key) return;
  drawn.set(svg, key);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", label);
  svg.replaceChildren(...draw(width, height));
}

// Slanted lines for what must not be told by its colour alone.
function hatch(id) {
  return shape("defs", {}, shape("pattern", { id, width: 5, height: 5, patternUnits: "userSpaceOnUse",
    patternTransform: "rotate(45)" }, shape("rect", { width: 5, height: 5, class: "hatch-ground" }),
  shape("rect", { width: 2, height: 5, class: "hatch-line" })));
}

// The least round number that is no less, for the top of an axis.
function roundUp(value) {
  if (value <= 10) return Math.max(1, value);
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}

// A bar with parts beside each other, in a row of a table.
function strip(svg, parts, most, label) {
  redraw(svg, [parts, most], label, (width, height) => {
    const shapes = [shape("rect", { width, height, rx: 2, class: "ground" })];
    let x = 0;
    for (const [count, kind] of parts) {
      if (!count) continue;
      const long = Math.max(2, (count / Math.max(1, most)) * width);
      shapes.push(shape("rect", { x, width: Math.max(0, Math.min(long, width - x)), height, rx: 2, class: kind }));
      x += long;
    }
    return shapes;
  });
}

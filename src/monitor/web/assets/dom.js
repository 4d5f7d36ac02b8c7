// Small helpers around the DOM. Text only ever becomes text: nothing of a status is parsed as HTML.

export const byId = (id) => document.getElementById(id);

// An element: h("p", { class: "note" }, "text", child, ...). Properties that are null or false are left out.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// A text in which `commands` stand in backticks.
export function words(text) {
  return text.split("`").map((part, index) => (index % 2 === 1 ? h("code", {}, part) : part));
}

// The same for SVG.
export function s(tag, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Changes a text only when it differs, so that nothing is announced or drawn for nothing.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// Rebuilds the content of an element when what it shows has changed.
const shown = new WeakMap();
export function show(element, facts, build) {
  const key = JSON.stringify(facts);
  if (shown.get(element) === key) return;
  shown.set(element, key);
  element.replaceChildren(...build());
}

// Rows of a description list.
export function showFacts(element, rows) {
  show(element, rows, () => rows.flatMap(([name, value]) => [h("div", {}, h("dt", {}, name), h("dd", {}, value))]));
}

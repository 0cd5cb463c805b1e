/** Elements, the marks that stand for calls, and the tooltip. */
import { DATA } from "./data.js";

const NS = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children) if (child !== null && child !== undefined) node.append(child);
  return node;
}

export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const sv = (tag, attributes, ...children) => fill(document.createElementNS(NS, tag), attributes, children);

/** Outlines of the marks, around (x, y), as the paths of SVG. */
export const MARKS = {
  "triangle-up": (x, y, r) => `M${x} ${y - r}L${x + r} ${y + r * 0.8}L${x - r} ${y + r * 0.8}Z`,
  diamond: (x, y, r) => `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z`,
  square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  cross: (x, y, r) => `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`,
};

export function mark(shape, x, y, r, colour) {
  const style = shape === "cross" ? `stroke:${colour};fill:none` : `fill:${colour};stroke:none`;
  return sv("path", { d: MARKS[shape](x, y, r), "stroke-width": 2, style });
}

export function icon(shape, colour) {
  const size = { viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true" };
  return sv("svg", size, mark(shape, 6, 6, 4.6, colour));
}

/** A call in the words of the maps. */
export const callWords = (call) => DATA.palette.calls[call]?.label || call || "–";

export function callBadge(call) {
  const known = DATA.palette.calls[call];
  return el("span", { class: "call" }, known ? icon(known.shape, known.colour) : null, callWords(call));
}

/** A colour for each name, in order; what is unknown is grey. */
export function palette(names) {
  const colours = {};
  let used = 0;
  for (const name of names) {
    if (["", "unknown", "unassigned"].includes(name)) colours[name] = DATA.palette.unknown;
    else colours[name] = DATA.palette.categories[used++ % DATA.palette.categories.length];
  }
  return colours;
}

const tip = document.getElementById("tip");

export function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const below = y + 18 + box.height <= innerHeight;
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 6))}px`;
  tip.style.top = `${below ? y + 18 : Math.max(4, y - box.height - 10)}px`;
}

export function hideTip() {
  tip.hidden = true;
}

document.addEventListener("scroll", hideTip, { passive: true });

/** The data embedded in the page, and numbers as people read them (as carseq.figures.phrases writes them in Python). */

export const DATA = JSON.parse(document.getElementById("data").textContent);
export const NBSP = "\u00a0";

const thousands = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** A number with thousands separators and two significant digits below 100. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return value === "inf" ? "∞" : value === "-inf" ? "−∞" : String(value);
  if (Number.isInteger(value) || Math.abs(value) >= 100) return thousands.format(value);
  if (Math.abs(value) < 0.001) return value > 0 ? "<0.001" : ">-0.001";
  return String(Number(value.toPrecision(2)));
}

/** A fraction as per cent: 38 %, 4.2 %, <0.1 %. */
export function percent(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return number(value);
  const share = 100 * value;
  let text = share.toFixed(0);
  if (share > 0 && share < 0.1) text = "<0.1";
  else if (share < 100 && share.toFixed(1) === "100.0") text = ">99.9";
  else if (share > 99 && share < 100) text = share.toFixed(1);
  else if (Math.abs(share) < 10) text = String(Number(share.toFixed(1)));
  return `${text}${NBSP}%`;
}

/** A limit as per cent, with two significant digits however small: not "above <0.1 %". */
export function limit(value) {
  if (typeof value !== "number") return number(value);
  const share = 100 * value;
  return share > 99 && share < 100 ? percent(value) : `${Number(share.toPrecision(2))}${NBSP}%`;
}

/** A model's probability: close to 1 it is never certainty. */
export const probability = (value) => (typeof value === "number" && value > 0.9995 ? `>99.9${NBSP}%` : percent(value));

/** A ratio of odds: beyond a thousand, either way, its size says no more than that. */
export function ratio(value) {
  if (typeof value !== "number") return number(value);
  return value > 1000 ? ">1,000" : number(value);
}

export const count = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;

/** A code in words: in_t_cells is "in T cells". */
export const stepWords = (step) =>
  step
    .replaceAll("_", " ")
    .replace(/\bcar\b/g, "CAR")
    .replace(/\bt cell/g, "T cell");

/** The values of an encoded column: plain, or codes into a list of distinct ones; a block that repeats is there once. */
export function decode(column) {
  const values = column.v || column.c.map((code) => column.d[code]);
  return column.t ? Array.from({ length: column.t }, () => values).flat() : values;
}

/** Rows of a table, the keys of its columns first. */
export function tableRows(spec) {
  const data = spec.data.map(decode);
  const rows = Array.from({ length: spec.n }, (_, r) => data.map((column) => column[r]));
  return [spec.columns.map((column) => column.key), ...rows];
}

/** Rows of a table as objects. */
export function records(spec) {
  const data = spec.data.map(decode);
  const keys = spec.columns.map((column) => column.key ?? column);
  return Array.from({ length: spec.n }, (_, r) => Object.fromEntries(keys.map((key, i) => [key, data[i][r]])));
}

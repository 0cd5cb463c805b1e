/** The molecules of a cell: along the transcript, and as a table. */
import { drawMolecules } from "./chart.js";
import { DATA, decode, number, percent } from "./data.js";
import { el } from "./dom.js";

/** So many molecules of a cell are drawn; the table below has all of them. */
const MOST_DRAWN = 60;
const COLUMNS = DATA.molecules.columns;
const VALUES = DATA.molecules.data.map(decode);
const column = (key) => VALUES[COLUMNS.findIndex((c) => c.key === key)];
const MOLECULES_OF = {};
DATA.molecules.row.forEach((row, i) => {
  MOLECULES_OF[row] ||= [];
  MOLECULES_OF[row].push(i);
});

function drawn(i, order) {
  const [start, end, p] = ["tx_start", "tx_end", "p_car"].map((key) => column(key)[i]);
  const kind = p < 0.5 ? "rejected" : column("evidence")[i];
  const bases = `bases ${number(start + 1)}–${number(end)}`;
  const tip = `${column("umi")[i]}\n${kind}, P(CAR) ${percent(p)}\n${bases}\n${column("domains")[i] || ""}`;
  return { order, start, end, kind, tip };
}

export function showMolecules(row, host, width) {
  const mine = MOLECULES_OF[row] || [];
  if (!mine.length) {
    const why = "its sample came as a matrix, or there were too many (see above)";
    host.append(el("p", { class: "muted" }, `The molecules of this cell are not on the page: ${why}.`));
    return;
  }
  if (DATA.figures.cell_molecules) {
    const plot = el("div", {
      class: "plot",
      role: "img",
      "aria-label": "Molecules of this cell along the CAR transcript",
    });
    host.append(plot);
    drawMolecules(plot, mine.slice(0, MOST_DRAWN).map(drawn), width);
  }
  const heads = COLUMNS.map((c) => el("th", { scope: "col", title: c.help, class: "plain" }, c.label));
  const cell = (values, k, i) => {
    const value = values[i];
    if (typeof value === "number") {
      const shown = COLUMNS[k].kind === "percent" ? percent(value) : number(value + (COLUMNS[k].key === "tx_start"));
      return el("td", { class: "num" }, shown);
    }
    return el("td", { class: COLUMNS[k].key === "umi" ? "mono" : null }, value === null || value === "" ? "–" : value);
  };
  const body = mine.map((i) => el("tr", {}, ...VALUES.map((values, k) => cell(values, k, i))));
  const table = el("table", { class: "molecules" }, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...body));
  host.append(
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Molecules of this cell" }, table),
  );
}

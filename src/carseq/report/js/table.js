/** A table that searches, filters, sorts, turns pages, opens rows, and fits its place. */
import { count, decode, limit, NBSP, number, percent, probability, ratio, stepWords, tableRows } from "./data.js";
import { callBadge, callWords, el } from "./dom.js";
import { asTsv, fileName, save } from "./save.js";

const NUMERIC = new Set(["number", "percent", "probability", "ratio", "limit"]);
const WRITE = { percent, probability, ratio, limit };
const CODES = new Set(["role", "step", "level", "car_reason", "verdict"]);
const blank = (v) => v === null || v === "";
/** Texts up to SHORT letters are not broken; those beyond SENTENCE take the lines they need. */
const [SHORT, SENTENCE] = [14, 60];
const [FEW, CROWDED] = [4, 10];

/** The letters of the longer line if pieces of text are set in two lines, as evenly as they go. */
function halfOf(pieces) {
  const lengths = pieces.map((piece) => piece.length);
  const whole = lengths.reduce((a, b) => a + b, 0);
  let [first, best] = [0, whole];
  for (const length of lengths) {
    first += length;
    best = Math.min(best, Math.max(first, whole - first));
  }
  return best;
}

export class Table {
  constructor(host, spec, title, options = {}) {
    Object.assign(this, { spec, title, expand: options.expand, pageSize: options.pageSize || 25 });
    this.data = spec.data.map(decode);
    this.index = Object.fromEntries(spec.columns.map((c, i) => [c.key, i]));
    this.columns = spec.columns.map((c, i) => ({ ...c, i })).filter((c) => !c.hidden);
    // Columns that stand in the row's details where there is no room for them, the first to go first; on a phone all but
    // the first two may go, from the right, results last.
    const result = (c) => Number(Boolean(c.interval) || c.kind === "car_call" || c.key === "verdict");
    const named = this.columns.filter((c) => c.fold).sort((a, b) => a.fold - b.fold);
    const others = this.columns.filter((c, i) => i > 1 && !c.fold && !c.detail).reverse();
    this.givesWay = [...named, ...others.sort((a, b) => result(a) - result(b))];
    Object.assign(this, { sort: null, page: 0, query: "", chosen: {}, opened: new Set() });
    Object.assign(this, { folded: 0, all: false, fitted: 0 });
    // Sentences of a few rows are read at once; those of many on demand.
    if (spec.n <= FEW && !this.expand && this.columns.some((c) => c.detail)) {
      for (let row = 0; row < spec.n; row++) this.opened.add(row);
    }
    this.build(host);
    this.update();
    this.watchPrint();
  }

  /** Whether a column stands in the table, not in the row's details. */
  stands(column) {
    if (this.all) return true;
    return !column.detail && !this.givesWay.slice(0, this.folded).includes(column);
  }

  build(host) {
    const bar = el("div", { class: "bar" });
    const again = (change) => {
      change();
      this.page = 0;
      this.update();
    };
    if (this.spec.n > 10) {
      const search = el("input", {
        type: "search",
        "aria-label": `Search ${this.title}`,
        oninput: (event) => again(() => Object.assign(this, { query: event.target.value.trim().toLowerCase() })),
      });
      bar.append(el("label", {}, "Search", search));
    }
    for (const key of this.spec.filters) {
      const values = [...new Set(this.data[this.index[key]])].filter((v) => !blank(v));
      if (values.length < 2) continue;
      let words = CODES.has(key) ? stepWords : (v) => v;
      if (key === "car_call") words = callWords;
      const options = values.map((v) => el("option", { value: v }, words(v)));
      const onchange = (event) => again(() => Object.assign(this.chosen, { [key]: event.target.value }));
      const menu = el("select", { onchange }, el("option", { value: "" }, "all"), ...options);
      bar.append(el("label", {}, this.spec.columns[this.index[key]].label, menu));
    }
    this.status = el("span", { class: "muted", role: "status" });
    const file = `${fileName(this.spec.file || "table")}.tsv`;
    const download = {
      type: "button",
      class: "push",
      "aria-label": `Download ${this.title} as TSV`,
      onclick: () => save(file, asTsv(tableRows(this.spec)), "text/tab-separated-values"),
    };
    const showAll = () => {
      this.all = !this.all;
      this.fit(true);
    };
    this.rest = el("button", { type: "button", class: "push", hidden: true, onclick: showAll });
    bar.append(this.status, this.rest, el("button", download, "Download TSV"));
    for (const column of this.columns) {
      const button = { type: "button", title: column.help || null, onclick: () => this.sortBy(column) };
      const kind = NUMERIC.has(column.kind) ? "num" : "text";
      column.head = el("th", { scope: "col", class: kind }, el("button", button, column.label));
    }
    this.opening = el("th", { scope: "col", "aria-label": "Details" });
    this.headRow = el("tr");
    this.body = el("tbody");
    const table = el("table", {}, el("thead", {}, this.headRow), this.body);
    this.scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": this.title }, table);
    this.pager = el("div", { class: "bar" });
    if (bar.children.length === 3) bar.classList.add("lone");
    this.more = el("p", { class: "more muted", hidden: true }, "More columns to the right →");
    host.append(bar, this.more, this.scroll, this.pager);
    new ResizeObserver(() => this.fit()).observe(this.scroll);
  }

  /**
   * Set a table that is wider than its place in smaller letters; if that is not enough, move columns into the details of
   * the rows, the least important first; if that is not enough either, say that there is more to the right.
   */
  fit(anew = false) {
    const width = this.scroll.clientWidth;
    if (!width || this.printing) return;
    const wide = () => this.scroll.scrollWidth > this.scroll.clientWidth + 1;
    if (anew || width !== this.fitted) {
      this.fitted = width;
      this.scroll.classList.remove("tight");
      this.folded = 0;
      this.draw();
    }
    if (wide()) this.scroll.classList.add("tight");
    if (wide() && !this.all && !this.folded) {
      // No column of a table that is too wide is wider than it must be: their widths tell how many have to go.
      this.folded = this.tooMany();
      this.draw();
    }
    while (wide() && !this.all && this.folded < this.givesWay.length) {
      this.folded += 1;
      this.draw();
    }
    this.more.hidden = !wide();
    const n = this.columns.filter((c) => !this.stands(c)).length;
    this.rest.hidden = !n && !this.all;
    this.rest.textContent = this.all ? "Fewer columns" : count(n, "more column");
    this.rest.setAttribute("aria-pressed", String(this.all));
  }

  /** How many columns have no room: the first whose going leaves the others narrow enough, and at least one. */
  tooMany() {
    const widthOf = (cell) => cell.getBoundingClientRect().width;
    const column = new Map(this.shown.map((c) => [c, widthOf(c.head)]));
    let [left, n] = [this.scroll.scrollWidth - this.scroll.clientWidth, 0];
    while (n < this.givesWay.length && (!n || left > 1)) {
      left -= column.get(this.givesWay[n]) ?? 0;
      n += 1;
    }
    return n;
  }

  /** On paper there are no details to open: every column is printed. */
  watchPrint() {
    let all = false;
    const turn = (printing) => {
      if (printing) all = this.all;
      Object.assign(this, { printing, all: printing || all });
      this.draw();
      this.scroll.classList.toggle("crowded", printing && this.shown.length > CROWDED);
    };
    addEventListener("beforeprint", () => turn(true));
    addEventListener("afterprint", () => {
      turn(false);
      this.fit(true);
    });
  }

  sortBy(column) {
    if (this.sort?.i === column.i) this.sort.down = !this.sort.down;
    else this.sort = { i: column.i, down: NUMERIC.has(column.kind) };
    this.page = 0;
    this.update();
  }

  rows() {
    let rows = Array.from({ length: this.spec.n }, (_, i) => i);
    for (const [key, value] of Object.entries(this.chosen)) {
      if (value) rows = rows.filter((r) => String(this.data[this.index[key]][r]) === value);
    }
    if (this.query) {
      const words = this.query.split(/\s+/);
      const texts = this.data.filter((_, i) => !NUMERIC.has(this.spec.columns[i].kind));
      rows = rows.filter((r) => {
        const line = texts
          .map((column) => column[r])
          .join("\t")
          .toLowerCase();
        return words.every((word) => line.includes(word));
      });
    }
    if (this.sort) {
      const column = this.data[this.sort.i];
      const sign = this.sort.down ? -1 : 1;
      rows.sort((a, b) => {
        const [u, v] = [column[a], column[b]];
        if (blank(u) || blank(v)) return blank(u) - blank(v);
        if (typeof u === "number" && typeof v === "number") return sign * (u - v);
        return sign * String(u).localeCompare(String(v), "en", { numeric: true });
      });
    }
    return rows;
  }

  cell(column, row) {
    const value = this.data[column.i][row];
    const beside = (key) => this.data[this.index[key]][row];
    if (column.interval) {
      const show = WRITE[column.kind] || number;
      const [low, high] = column.interval.map(beside);
      if (value === null) return el("td", { class: "num" }, "–");
      const whole = (text) => el("span", { class: "whole" }, text);
      const known = low !== null && high !== null;
      const range = known ? whole(`(${show(low).replace(`${NBSP}%`, "")}–${show(high)})`) : null;
      // The estimate of an undetermined sample is what the prior makes of it.
      const open = "verdict" in this.index && beside("verdict") === "undetermined";
      if (open && range) return el("td", { class: "num stacked" }, range);
      // Where it is narrow the interval stands below the value.
      return el("td", { class: "num stacked" }, whole(show(value)), range && " ", range);
    }
    if (column.of) return el("td", { class: "num" }, `${number(value)} of ${number(beside(column.of))}`);
    if (column.kind === "number") return el("td", { class: "num" }, number(value));
    if (WRITE[column.kind]) return el("td", { class: "num" }, WRITE[column.kind](value));
    if (column.kind === "car_call") return el("td", {}, callBadge(value));
    let text = blank(value) ? "–" : String(value);
    if (CODES.has(column.key)) text = stepWords(text);
    if (column.key === "barcode") return el("td", { class: "mono" }, text);
    if (text.length > SENTENCE) return el("td", { class: "wide" }, el("div", {}, text));
    if (text.length <= SHORT) return el("td", { class: "name" }, text);
    // A long name may be broken behind a mark, into two lines of which neither is much longer than the other.
    const pieces = text.split(/(?<=[\s_\-./,;:+])/);
    const broken = pieces.flatMap((piece, i) => (i ? [document.createElement("wbr"), piece] : [piece]));
    const inside = el("div", {}, ...broken);
    inside.style.setProperty("--half", `${halfOf(pieces)}ch`);
    return el("td", { class: "long" }, inside);
  }

  update() {
    const rows = this.rows();
    const pages = Math.max(1, Math.ceil(rows.length / this.pageSize));
    this.page = Math.min(this.page, pages - 1);
    const from = this.page * this.pageSize;
    this.onPage = rows.slice(from, from + this.pageSize);
    this.draw();
    const all = rows.length === this.spec.n;
    this.status.textContent = all ? "" : `${number(rows.length)} of ${number(this.spec.n)} rows`;
    this.turnPages(rows.length, pages, from);
    this.fit();
  }

  /** Draw the rows of this page, with the columns that have room. */
  draw() {
    this.shown = this.columns.filter((column) => this.stands(column));
    this.opens = Boolean(this.expand) || this.shown.length < this.columns.length;
    for (const column of this.shown) {
      const sorted = this.sort?.i === column.i ? (this.sort.down ? "descending" : "ascending") : "none";
      column.head.setAttribute("aria-sort", sorted);
    }
    this.headRow.replaceChildren(...(this.opens ? [this.opening] : []), ...this.shown.map((c) => c.head));
    this.body.replaceChildren();
    for (const row of this.onPage) {
      const tr = el("tr");
      if (this.opens) tr.append(this.opener(row, tr));
      for (const column of this.shown) tr.append(this.cell(column, row));
      this.body.append(tr);
      if (this.opens && this.opened.has(row)) this.body.append(this.detail(row));
    }
    if (!this.onPage.length) {
      const words = this.spec.n ? "Nothing matches." : "None.";
      this.body.append(el("tr", {}, el("td", { colspan: this.shown.length + 1, class: "muted" }, words)));
    }
  }

  turnPages(n, pages, from) {
    this.pager.replaceChildren();
    if (pages < 2) return;
    const turn = (step, text) => {
      const onclick = () => {
        this.page += step;
        this.update();
        const button = this.pager.querySelectorAll("button")[step < 0 ? 0 : 1];
        if (!button.disabled) button.focus();
      };
      const disabled = this.page + step < 0 || this.page + step >= pages;
      return el("button", { type: "button", disabled, onclick }, text);
    };
    const place = `${number(from + 1)}–${number(Math.min(from + this.pageSize, n))} of ${number(n)}`;
    this.pager.append(turn(-1, "Previous"), turn(1, "Next"), el("span", { class: "muted" }, place));
  }

  opener(row, tr) {
    const show = (open) => (open ? "−" : "+");
    const open = this.opened.has(row);
    const told = {
      type: "button",
      "aria-expanded": String(open),
      "aria-label": this.expand ? "Show molecules" : "Show more",
    };
    const button = el("button", told, show(open));
    button.addEventListener("click", () => {
      if (this.opened.delete(row)) tr.nextElementSibling.remove();
      else {
        this.opened.add(row);
        tr.after(this.detail(row));
      }
      button.setAttribute("aria-expanded", String(this.opened.has(row)));
      button.textContent = show(this.opened.has(row));
    });
    return el("td", { class: "open" }, button);
  }

  /** A column that has no place in the table, with its value in a row. */
  term(column, row) {
    const name = el("dt", { title: column.help || null }, column.label);
    return el("div", {}, name, el("dd", {}, ...this.cell(column, row).childNodes));
  }

  detail(row) {
    const inside = el("div", { class: "inside" });
    const width = Math.max(200, this.scroll.clientWidth - 34);
    inside.style.setProperty("--inside", `${width}px`);
    const rest = this.columns.filter((column) => !this.stands(column));
    if (rest.length) inside.append(el("dl", { class: "rest" }, ...rest.map((column) => this.term(column, row))));
    this.expand?.(row, inside, width);
    return el("tr", { class: "detail" }, el("td", { colspan: this.shown.length + 1 }, inside));
  }
}

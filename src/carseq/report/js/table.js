/** A table that searches, filters, sorts, turns pages, and opens rows. */
import { decode, limit, NBSP, number, percent, probability, ratio, stepWords, tableRows } from "./data.js";
import { callBadge, callWords, el } from "./dom.js";
import { asTsv, fileName, save } from "./save.js";

const NUMERIC = new Set(["number", "percent", "probability", "ratio", "limit"]);
const WRITE = { percent, probability, ratio, limit };
const CODES = new Set(["role", "step", "level", "car_reason", "verdict"]);
const blank = (v) => v === null || v === "";

export class Table {
  constructor(host, spec, title, options = {}) {
    Object.assign(this, { spec, title, expand: options.expand, pageSize: options.pageSize || 25 });
    this.data = spec.data.map(decode);
    this.index = Object.fromEntries(spec.columns.map((c, i) => [c.key, i]));
    this.shown = spec.columns.map((c, i) => ({ ...c, i })).filter((c) => !c.hidden);
    Object.assign(this, { sort: null, page: 0, query: "", chosen: {}, opened: new Set() });
    this.build(host);
    this.update();
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
    bar.append(this.status, el("button", download, "Download TSV"));
    this.heads = this.shown.map((column) => {
      const button = { type: "button", title: column.help || null, onclick: () => this.sortBy(column) };
      const kind = NUMERIC.has(column.kind) ? "num" : "text";
      return el("th", { scope: "col", class: kind }, el("button", button, column.label));
    });
    this.body = el("tbody");
    const opener = this.expand ? el("th", { scope: "col", "aria-label": "Molecules" }) : null;
    const table = el("table", {}, el("thead", {}, el("tr", {}, opener, ...this.heads)), this.body);
    this.scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": this.title }, table);
    this.pager = el("div", { class: "bar" });
    if (bar.children.length === 2) bar.classList.add("lone");
    this.more = el("p", { class: "more muted", hidden: true }, "More columns to the right →");
    host.append(bar, this.more, this.scroll, this.pager);
    new ResizeObserver(() => this.fit()).observe(this.scroll);
  }

  /** Set a table that is wider than its place in smaller letters; if that is not enough, say that there is more. */
  fit() {
    const wide = () => this.scroll.scrollWidth > this.scroll.clientWidth + 1;
    this.scroll.classList.remove("tight");
    if (wide()) this.scroll.classList.add("tight");
    this.more.hidden = !wide();
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
      const known = low !== null && high !== null;
      const range = known ? ` (${show(low).replace(`${NBSP}%`, "")}–${show(high)})` : "";
      return el("td", { class: "num" }, value === null ? "–" : `${show(value)}${range}`);
    }
    if (column.of) return el("td", { class: "num" }, `${number(value)} of ${number(beside(column.of))}`);
    if (column.kind === "number") return el("td", { class: "num" }, number(value));
    if (WRITE[column.kind]) return el("td", { class: "num" }, WRITE[column.kind](value));
    if (column.kind === "car_call") return el("td", {}, callBadge(value));
    const text = blank(value) ? "–" : String(value);
    if (text.length > 30 && !CODES.has(column.key)) return el("td", { class: "wide" }, el("div", {}, text));
    const phrase = text.length > 14 && text.includes(" ") ? "phrase" : "name";
    const kind = column.key === "barcode" ? "mono" : phrase;
    return el("td", { class: kind }, CODES.has(column.key) ? stepWords(text) : text);
  }

  update() {
    const rows = this.rows();
    const pages = Math.max(1, Math.ceil(rows.length / this.pageSize));
    this.page = Math.min(this.page, pages - 1);
    this.shown.forEach((column, i) => {
      const sorted = this.sort?.i === column.i ? (this.sort.down ? "descending" : "ascending") : "none";
      this.heads[i].setAttribute("aria-sort", sorted);
    });
    const from = this.page * this.pageSize;
    this.body.replaceChildren();
    for (const row of rows.slice(from, from + this.pageSize)) {
      const tr = el("tr");
      if (this.expand) tr.append(this.opener(row, tr));
      for (const column of this.shown) tr.append(this.cell(column, row));
      this.body.append(tr);
      if (this.expand && this.opened.has(row)) this.body.append(this.detail(row));
    }
    if (!rows.length) {
      const words = this.spec.n ? "Nothing matches." : "None.";
      this.body.append(el("tr", {}, el("td", { colspan: this.shown.length + 1, class: "muted" }, words)));
    }
    const all = rows.length === this.spec.n;
    this.status.textContent = all ? "" : `${number(rows.length)} of ${number(this.spec.n)} rows`;
    this.turnPages(rows.length, pages, from);
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
    const told = { type: "button", "aria-expanded": String(open), "aria-label": "Show molecules" };
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

  detail(row) {
    const inside = el("div", { class: "inside" });
    const width = Math.max(200, this.scroll.clientWidth - 34);
    inside.style.setProperty("--inside", `${width}px`);
    this.expand(row, inside, width);
    return el("tr", { class: "detail" }, el("td", { colspan: this.shown.length + 1 }, inside));
  }
}

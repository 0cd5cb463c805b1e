/* The page's charts and tables, drawn from the JSON embedded below them. No library, no network. */
"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const NS = "http://www.w3.org/2000/svg";
  const NBSP = "\u00a0";

  // --- elements and words ---------------------------------------------------------------------

  function fill(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "text") node.textContent = value;
      else node.setAttribute(key, value === true ? "" : value);
    }
    for (const child of children) if (child !== null && child !== undefined) node.append(child);
    return node;
  }
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const sv = (tag, attributes, ...children) => fill(document.createElementNS(NS, tag), attributes, children);

  const thousands = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
  function number(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return value === "inf" ? "∞" : String(value);
    if (Number.isInteger(value) || Math.abs(value) >= 100) return thousands.format(value);
    if (Math.abs(value) < 0.001) return value.toExponential(0).replace("e-", "·10⁻").replace(/⁻(\d+)/, (_, d) => "⁻" + [...d].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join(""));
    return String(Number(value.toPrecision(2)));
  }
  function percent(value) {
    if (value === null || value === undefined) return "–";
    const share = 100 * value;
    if (share > 0 && share < 0.1) return `<0.1${NBSP}%`;
    if (share > 99 && share < 100) return share > 99.95 ? `>99.9${NBSP}%` : `${share.toFixed(1)}${NBSP}%`;
    return `${share < 10 ? Number(share.toFixed(1)) : share.toFixed(0)}${NBSP}%`;
  }
  const compact = (value) =>
    value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}k` : String(value);
  const count = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;

  const MARKS = {
    triangle: (x, y, r) => `M${x} ${y - r}L${x + r} ${y + r * 0.8}L${x - r} ${y + r * 0.8}Z`,
    diamond: (x, y, r) => `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z`,
    square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
    circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
    cross: (x, y, r) => `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`,
    stroke: (x, y, r) => `M${x} ${y - r}V${y + r}`,
  };
  const OPEN_MARKS = new Set(["cross", "stroke"]);
  const CALL_MARK = { positive: "triangle", uncertain: "diamond", signal: "cross", negative: "circle" };
  const VERDICT_MARK = { detected: "triangle", "not-detected": "circle", undetermined: "square" };

  function mark(shape, x, y, r, colour, hollow) {
    const lined = OPEN_MARKS.has(shape) || hollow;
    return sv("path", {
      d: MARKS[shape](x, y, r), class: "mark-data", "stroke-width": 2,
      style: lined ? `stroke:${colour};fill:none` : `fill:${colour};stroke:none`,
    });
  }
  function icon(shape, colour) {
    return sv("svg", { viewBox: "0 0 12 12", width: 12, height: 12, "aria-hidden": "true" }, mark(shape, 6, 6, 4.6, colour));
  }
  function callBadge(call) {
    const known = DATA.palette.calls[call];
    return el("span", { class: "call" }, known ? icon(CALL_MARK[call], known.colour) : null, call || "–");
  }
  function palette(names) {
    const colours = {};
    let used = 0;
    for (const name of names) {
      if (["", "unknown", "unassigned"].includes(name)) colours[name] = DATA.palette.unknown;
      else colours[name] = DATA.palette.categories[used++ % DATA.palette.categories.length];
    }
    return colours;
  }
  function verdictKind(verdict) {
    const text = verdict.trim().toLowerCase();
    if (text === "not_detected") return "not-detected";
    return text.startsWith("detected") ? "detected" : "undetermined";
  }

  const stepWords = (step) => step.replaceAll("_", " ").replace(/\bcar\b/g, "CAR").replace(/\bt cell/g, "T cell");
  const verdictWords = (verdict) => verdict.replaceAll("_", " ");

  // --- tooltip ----------------------------------------------------------------------------------

  const tip = document.getElementById("tip");
  function showTip(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 6))}px`;
    tip.style.top = `${y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 10) : y + 18}px`;
  }
  const hideTip = () => { tip.hidden = true; };
  document.addEventListener("pointermove", (event) => {
    const owner = event.target instanceof Element && event.target.closest("[data-tip], [data-owntip]");
    if (!owner) hideTip();
    else if (owner.dataset.tip) showTip(owner.dataset.tip, event.clientX, event.clientY);
  });
  document.addEventListener("scroll", hideTip, { passive: true });

  // --- downloads --------------------------------------------------------------------------------

  function save(name, text, type) {
    const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
  const fileName = (part) => `${DATA.study}_${part}`.replace(/[^\w.-]+/g, "_");

  function standalone(svg) {
    // A saved figure is for a white page: its colours are taken as they are in the light theme.
    document.documentElement.dataset.theme = "light";
    const copy = svg.cloneNode(true);
    const from = [svg, ...svg.querySelectorAll("*")];
    const to = [copy, ...copy.querySelectorAll("*")];
    from.forEach((node, i) => {
      const style = getComputedStyle(node);
      for (const key of ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-weight"]) {
        const value = style.getPropertyValue(key);
        if (value) to[i].setAttribute(key, value);
      }
      if (node.tagName === "text") to[i].setAttribute("font-size", style.fontSize);
      for (const key of ["class", "style", "data-tip", "data-owntip"]) to[i].removeAttribute(key);
    });
    delete document.documentElement.dataset.theme;
    copy.setAttribute("xmlns", NS);
    copy.setAttribute("font-family", "Helvetica, Arial, sans-serif");
    copy.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
    return new XMLSerializer().serializeToString(copy);
  }
  /** Buttons that save a figure: `make` returns it as SVG, `rows` its numbers as rows, the headings first. */
  function saveButtons(name, make, rows) {
    const button = (kind, onclick) => el("button", { type: "button", "aria-label": `Save the figure ${name} as ${kind}`, onclick }, kind);
    return el("span", { class: "saves" }, el("span", { class: "muted" }, "Save"),
      button("SVG", () => save(`${fileName(name)}.svg`, make(), "image/svg+xml")),
      button("PDF", () => save(`${fileName(name)}.pdf`, toPdf(make()), "application/pdf")),
      button("TSV", () => save(`${fileName(name)}.tsv`, asTsv(rows()), "text/tab-separated-values")));
  }
  /** Text that a spreadsheet would take for a formula gets an apostrophe before it. */
  function tsvCell(value) {
    if (value === null || value === undefined) return "";
    const line = String(value).replace(/[\t\r\n]+/g, " ");
    return typeof value === "string" && /^[=+@-]/.test(line) && !Number.isFinite(Number(line)) && line !== "-inf" ? `'${line}` : line;
  }
  const asTsv = (rows) => `${rows.map((row) => row.map(tsvCell).join("\t")).join("\n")}\n`;

  // --- a figure as PDF: the few marks of SVG that the charts use, as vectors, with Helvetica and Symbol ----------

  const SUPERSCRIPT = { "⁰": "0", "¹": "1", "²": "2", "³": "3", "⁴": "4", "⁵": "5", "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9", "⁻": "-" };
  // Beyond Latin-1: what PDF's WinAnsi encoding has, and what its Symbol font has.
  const WIN_ANSI = { "–": 0x96, "—": 0x97, "…": 0x85, "“": 0x93, "”": 0x94, "‘": 0x91, "’": 0x92, "•": 0x95, "€": 0x80, "−": 0x96 };
  const SYMBOL = { "≥": 0xb3, "≤": 0xa3, "∞": 0xa5, "α": 0x61, "β": 0x62, "γ": 0x67, "δ": 0x64, "ζ": 0x7a, "ψ": 0x79, "µ": 0x6d, "→": 0xae };

  function toPdf(svgText) {
    const root = new DOMParser().parseFromString(svgText, "image/svg+xml").documentElement;
    const [width, height] = ["width", "height"].map((key) => parseFloat(root.getAttribute(key)));
    const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    brush.canvas.width = brush.canvas.height = 1;
    const round = (v) => String(Math.round(v * 100) / 100);
    const states = new window.Map();
    const known = new window.Map();
    const out = [`1 0 0 -1 0 ${round(height)} cm`];

    function rgba(colour) {
      if (!colour || colour === "none" || colour === "transparent") return null;
      if (!known.has(colour)) {
        brush.clearRect(0, 0, 1, 1);
        brush.fillStyle = "#000";
        brush.fillStyle = colour;
        brush.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
        known.set(colour, a ? { rgb: [r, g, b].map((v) => round(v / 255)).join(" "), alpha: a / 255 } : null);
      }
      return known.get(colour);
    }
    function clear(alpha) {
      const key = round(alpha);
      if (!states.has(key)) states.set(key, `G${states.size}`);
      out.push(`/${states.get(key)} gs`);
    }
    function pathOps(d) {
      const ops = [];
      let [x, y] = [0, 0];
      for (const [, command, rest] of d.matchAll(/([MLHVhvaZ])([^MLHVhvaZ]*)/g)) {
        const n = (rest.match(/-?[\d.]+(?:e-?\d+)?/g) || []).map(Number);
        if (command === "Z") { ops.push("h"); continue; }
        if (command === "a") {
          // Half circles are all that the marks are made of: two quarters each.
          const [r, sweep, dx] = [n[0], n[4] ? 1 : -1, n[5]];
          const cx = x + dx / 2;
          let angle = dx > 0 ? Math.PI : 0;
          for (let i = 0; i < 2; i++) {
            const next = angle + (sweep * Math.PI) / 2;
            const k = 0.5523 * r * sweep;
            const at = (t) => [cx + r * Math.cos(t), y + r * Math.sin(t)];
            const [[ax, ay], [bx, by]] = [at(angle), at(next)];
            ops.push(`${[ax - k * Math.sin(angle), ay + k * Math.cos(angle), bx + k * Math.sin(next), by - k * Math.cos(next), bx, by].map(round).join(" ")} c`);
            angle = next;
          }
          x += dx;
          continue;
        }
        if (command === "M" || command === "L") [x, y] = n;
        else if (command === "H") [x] = n;
        else if (command === "V") [y] = n;
        else if (command === "h") x += n[0];
        else y += n[0];
        ops.push(`${round(x)} ${round(y)} ${command === "M" ? "m" : "l"}`);
      }
      return ops;
    }
    function paint(node, inherited, ops) {
      const fill = rgba(inherited.fill === undefined ? "black" : inherited.fill);
      const stroke = rgba(inherited.stroke);
      const opacity = parseFloat(node.getAttribute("opacity") || 1);
      if ((!fill && !stroke) || !ops.length) return;
      out.push("q");
      clear(opacity * (fill || stroke).alpha);
      if (fill) out.push(`${fill.rgb} rg`);
      if (stroke) {
        const dash = (node.getAttribute("stroke-dasharray") || "").match(/[\d.]+/g) || [];
        out.push(`${stroke.rgb} RG ${round(parseFloat(node.getAttribute("stroke-width") || 1))} w ${node.getAttribute("stroke-linecap") === "round" ? 1 : 0} J [${dash.join(" ")}] 0 d`);
      }
      out.push(ops.join("\n"), fill && stroke ? "B" : fill ? "f" : "S", "Q");
    }
    function write(node, inherited) {
      const colour = rgba(inherited.fill === undefined ? "black" : inherited.fill);
      const size = parseFloat(inherited.size || 13);
      const bold = parseInt(node.getAttribute("font-weight") || 400, 10) >= 600 || node.getAttribute("font-weight") === "bold";
      const content = node.textContent.replace(/[⁰¹²³⁴-⁹⁻]+/g, (run) => `^${[...run].map((c) => SUPERSCRIPT[c]).join("")}`);
      if (!colour || !content) return;
      brush.font = `${bold ? "bold " : ""}${size}px Helvetica, Arial, sans-serif`;
      const anchor = node.getAttribute("text-anchor");
      const x = parseFloat(node.getAttribute("x")) - brush.measureText(content).width * (anchor === "middle" ? 0.5 : anchor === "end" ? 1 : 0);
      const runs = [];
      for (const c of content) {
        const font = SYMBOL[c] ? "F3" : bold ? "F2" : "F1";
        const code = SYMBOL[c] || WIN_ANSI[c] || (c.charCodeAt(0) < 256 ? c.charCodeAt(0) : 0x3f);
        if (!runs.length || runs[runs.length - 1].font !== font) runs.push({ font, hex: "" });
        runs[runs.length - 1].hex += code.toString(16).padStart(2, "0");
      }
      out.push("q");
      clear(colour.alpha);
      out.push(`BT ${colour.rgb} rg 1 0 0 -1 ${round(x)} ${round(parseFloat(node.getAttribute("y")))} Tm`,
        ...runs.map((run) => `/${run.font} ${round(size)} Tf <${run.hex}> Tj`), "ET Q");
    }
    function walk(node, inherited) {
      const own = { ...inherited };
      for (const [key, attribute] of [["fill", "fill"], ["stroke", "stroke"], ["size", "font-size"]]) {
        if (node.hasAttribute(attribute)) own[key] = node.getAttribute(attribute);
        if (node.style && node.style[attribute]) own[key] = node.style[attribute];
      }
      const move = (node.getAttribute("transform") || "").match(/translate\(([-\d.e]+)[ ,]+([-\d.e]+)\)/);
      if (move) out.push("q", `1 0 0 1 ${round(Number(move[1]))} ${round(Number(move[2]))} cm`);
      if (node.tagName === "path") paint(node, own, pathOps(node.getAttribute("d") || ""));
      else if (node.tagName === "rect") paint(node, own, [`${["x", "y", "width", "height"].map((key) => round(parseFloat(node.getAttribute(key) || 0))).join(" ")} re`]);
      else if (node.tagName === "text") write(node, own);
      else for (const child of node.children) walk(child, own);
      if (move) out.push("Q");
    }
    walk(root, {});

    const stream = out.join("\n");
    const fonts = ["Helvetica", "Helvetica-Bold", "Symbol"].map((name, i) => `/F${i + 1} <</Type/Font/Subtype/Type1/BaseFont/${name}${i < 2 ? "/Encoding/WinAnsiEncoding" : ""}>>`).join("");
    const alphas = [...states].map(([alpha, name]) => `/${name} <</ca ${alpha}/CA ${alpha}>>`).join("");
    const objects = [
      "<</Type/Catalog/Pages 2 0 R>>",
      "<</Type/Pages/Kids[3 0 R]/Count 1>>",
      `<</Type/Page/Parent 2 0 R/MediaBox[0 0 ${round(width)} ${round(height)}]/Resources<</Font<<${fonts}>>/ExtGState<<${alphas}>>>>/Contents 4 0 R>>`,
      `<</Length ${stream.length}>>stream\n${stream}\nendstream`,
    ];
    let file = "%PDF-1.4\n";
    const places = objects.map((object, i) => { const at = file.length; file += `${i + 1} 0 obj${object}\nendobj\n`; return at; });
    const start = file.length;
    file += `xref\n0 5\n0000000000 65535 f \n${places.map((at) => `${String(at).padStart(10, "0")} 00000 n \n`).join("")}trailer<</Size 5/Root 1 0 R>>\nstartxref\n${start}\n%%EOF\n`;
    return file;
  }

  // --- tables -----------------------------------------------------------------------------------

  const decode = (column) => column.v || column.c.map((code) => column.d[code]);

  class Table {
    constructor(host, spec, title, options = {}) {
      this.spec = spec;
      this.title = title;
      this.expand = options.expand;
      this.pageSize = options.pageSize || 25;
      this.data = spec.data.map(decode);
      this.index = Object.fromEntries(spec.columns.map((c, i) => [c.key, i]));
      this.shown = spec.columns.map((c, i) => ({ ...c, i })).filter((c) => !c.hidden);
      this.sort = null;
      this.page = 0;
      this.query = "";
      this.chosen = {};
      this.opened = new Set();
      this.build(host);
      this.update();
    }

    build(host) {
      const bar = el("div", { class: "bar" });
      if (this.spec.n > 10) {
        bar.append(el("label", {}, "Search", el("input", {
          type: "search", "aria-label": `Search ${this.title}`,
          oninput: (event) => { this.query = event.target.value.trim().toLowerCase(); this.page = 0; this.update(); },
        })));
      }
      for (const key of this.spec.filters) {
        const values = [...new Set(this.data[this.index[key]])].filter((v) => v !== null && v !== "");
        if (values.length < 2) continue;
        bar.append(el("label", {}, this.spec.columns[this.index[key]].label, el("select", {
          onchange: (event) => { this.chosen[key] = event.target.value; this.page = 0; this.update(); },
        }, el("option", { value: "" }, "all"), ...values.map((v) => el("option", { value: v }, v)))));
      }
      this.status = el("span", { class: "muted", role: "status" });
      bar.append(this.status);
      bar.append(el("button", { type: "button", class: "push", "aria-label": `Download ${this.title} as TSV`, onclick: () => save(`${fileName(this.spec.file || "table")}.tsv`, this.tsv(), "text/tab-separated-values") }, "Download TSV"));
      this.heads = this.shown.map((column) => el("th", { scope: "col", class: column.kind === "number" || column.kind === "percent" ? "num" : "text" },
        el("button", { type: "button", title: column.help || null, onclick: () => this.sortBy(column) }, column.label)));
      this.body = el("tbody");
      this.scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": this.title },
        el("table", {}, el("thead", {}, el("tr", {}, this.expand ? el("th", { scope: "col", "aria-label": "Molecules" }) : null, ...this.heads)), this.body));
      this.pager = el("div", { class: "bar" });
      if (bar.children.length === 2) bar.classList.add("lone");
      host.append(bar, this.scroll, this.pager);
    }

    sortBy(column) {
      const numeric = column.kind === "number" || column.kind === "percent";
      if (this.sort && this.sort.i === column.i) this.sort.down = !this.sort.down;
      else this.sort = { i: column.i, down: numeric };
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
        const texts = this.data.filter((_, i) => !["number", "percent"].includes(this.spec.columns[i].kind));
        rows = rows.filter((r) => {
          const line = texts.map((column) => column[r]).join("\t").toLowerCase();
          return words.every((word) => line.includes(word));
        });
      }
      if (this.sort) {
        const column = this.data[this.sort.i];
        const sign = this.sort.down ? -1 : 1;
        const blank = (v) => v === null || v === "";
        rows.sort((a, b) => {
          const [u, v] = [column[a], column[b]];
          if (blank(u) || blank(v)) return blank(u) - blank(v);
          return sign * (typeof u === "number" && typeof v === "number" ? u - v : String(u).localeCompare(String(v), "en", { numeric: true }));
        });
      }
      return rows;
    }

    cell(column, row) {
      const value = this.data[column.i][row];
      if (column.interval) {
        const show = column.kind === "percent" ? percent : number;
        const [low, high] = column.interval.map((key) => this.data[this.index[key]][row]);
        const bare = show(low).replace(`${NBSP}%`, "");
        return el("td", { class: "num" }, value === null ? "–" : low === null || high === null ? show(value) : `${show(value)} (${bare}–${show(high)})`);
      }
      if (column.kind === "number") return el("td", { class: "num" }, number(value));
      if (column.kind === "percent") return el("td", { class: "num" }, typeof value === "number" ? percent(value) : number(value));
      if (column.kind === "verdict") return el("td", { class: "name" }, verdictWords(value));
      if (column.kind === "car_call") return el("td", {}, callBadge(value));
      const text = value === null ? "–" : String(value);
      if (text.length > 30) return el("td", { class: "wide" }, el("div", {}, text));
      return el("td", { class: column.key === "barcode" ? "mono" : "name" }, ["role", "step", "level"].includes(column.key) ? stepWords(text) : text);
    }

    update() {
      const rows = this.rows();
      const pages = Math.max(1, Math.ceil(rows.length / this.pageSize));
      this.page = Math.min(this.page, pages - 1);
      this.shown.forEach((column, i) => {
        const sorted = this.sort && this.sort.i === column.i;
        this.heads[i].setAttribute("aria-sort", sorted ? (this.sort.down ? "descending" : "ascending") : "none");
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
      if (!rows.length) this.body.append(el("tr", {}, el("td", { colspan: this.shown.length + 1, class: "muted" }, this.spec.n ? "Nothing matches." : "None.")));
      this.status.textContent = rows.length === this.spec.n ? "" : `${number(rows.length)} of ${number(this.spec.n)} rows`;
      this.pager.replaceChildren();
      if (pages > 1) {
        const turn = (step, text) => el("button", {
          type: "button", disabled: this.page + step < 0 || this.page + step >= pages,
          onclick: () => { this.page += step; this.update(); const button = this.pager.querySelectorAll("button")[step < 0 ? 0 : 1]; if (!button.disabled) button.focus(); },
        }, text);
        this.pager.append(turn(-1, "Previous"), turn(1, "Next"), el("span", { class: "muted" }, `${number(from + 1)}–${number(Math.min(from + this.pageSize, rows.length))} of ${number(rows.length)}`));
      }
    }

    opener(row, tr) {
      const open = this.opened.has(row);
      const button = el("button", { type: "button", "aria-expanded": String(open), "aria-label": "Show molecules" }, open ? "−" : "+");
      button.addEventListener("click", () => {
        if (this.opened.delete(row)) tr.nextElementSibling.remove();
        else { this.opened.add(row); tr.after(this.detail(row)); }
        button.setAttribute("aria-expanded", String(this.opened.has(row)));
        button.textContent = this.opened.has(row) ? "−" : "+";
      });
      return el("td", { class: "open" }, button);
    }

    detail(row) {
      const inside = el("div", { class: "inside" });
      inside.style.setProperty("--inside", `${Math.max(200, this.scroll.clientWidth - 34)}px`);
      this.expand(row, inside);
      return el("tr", { class: "detail" }, el("td", { colspan: this.shown.length + 1 }, inside));
    }

    tsv() { return asTsv(tableRows(this.spec)); }
  }

  function tableRows(spec) {
    const data = spec.data.map(decode);
    return [spec.columns.map((c) => c.key), ...Array.from({ length: spec.n }, (_, r) => data.map((column) => column[r]))];
  }

  function records(id) {
    const spec = DATA.tables[id];
    const data = spec.data.map(decode);
    return Array.from({ length: spec.n }, (_, r) => Object.fromEntries(spec.columns.map((c, i) => [c.key, data[i][r]])));
  }

  // --- charts: scales, axes, legends --------------------------------------------------------------

  const linear = (d0, d1, r0, r1) => (v) => r0 + ((v - d0) / (d1 - d0 || 1)) * (r1 - r0);
  function niceTicks(low, high, n) {
    const rough = (high - low || 1) / n;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const ticks = [];
    for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) ticks.push(Number(v.toPrecision(12)));
    return ticks;
  }
  function text(x, y, content, attributes = {}) {
    return sv("text", { x, y, ...attributes }, content);
  }
  const ruler = document.createElement("canvas").getContext("2d");
  ruler.font = `13px ${getComputedStyle(document.body).fontFamily}`;
  const textWidth = (content) => ruler.measureText(content).width;
  function fit(content, room) {
    if (textWidth(content) <= room) return content;
    let n = content.length - 1;
    while (n > 1 && textWidth(`${content.slice(0, n)}…`) > room) n--;
    return `${content.slice(0, n)}…`;
  }

  function legend(svg, items, x0, width) {
    let [x, y] = [x0, 12];
    for (const item of items) {
      const w = textWidth(item.label) + 34;
      if (x > x0 && x + w > x0 + width) { x = x0; y += 20; }
      svg.append(item.line
        ? sv("path", { d: `M${x} ${y - 4}h16`, style: `stroke:${item.colour};fill:none`, "stroke-width": 2, "stroke-dasharray": item.dash })
        : mark(item.shape || "square", x + 8, y - 4, 5, item.colour, item.hollow));
      svg.append(text(x + 22, y, item.label));
      x += w;
    }
    return y + 12;
  }

  /** Rows with a label each: intervals, stacked bars, lollipops. Labels stand above on a phone. */
  function rowChart(host, chart) {
    const width = Math.max(280, host.clientWidth);
    const narrow = width < 600;
    const longest = Math.max(...chart.rows.filter((r) => !r.heading).map((r) => textWidth(r.label)), 0);
    const left = narrow ? 14 : Math.min(longest + 16, width * 0.36);
    const noteWidth = chart.rows.some((r) => r.note) ? Math.min(Math.max(...chart.rows.map((r) => textWidth(r.note || ""))) + 16, width * 0.4) : 12;
    const right = width - (narrow ? 22 : Math.max(18, noteWidth));
    const rowHeight = narrow ? 46 : 28;
    const svg = sv("svg", { width, height: 10 });
    let y = legend(svg, chart.legend || [], narrow ? 8 : left, width - left);
    const x = chart.log
      ? ((f) => (v) => f(Math.log10(v)))(linear(Math.log10(chart.domain[0]), Math.log10(chart.domain[1]), left, right))
      : linear(chart.domain[0], chart.domain[1], left, right);
    let ticks = chart.ticks || [];
    if (narrow && ticks.length > 6) ticks = ticks.filter((_, i) => i % 2 === 0);
    const long = chart.rows.length > 16;
    if (long && ticks.length) y += 20;
    const top = y;
    const grid = sv("g");
    svg.append(grid);
    for (const row of chart.rows) {
      if (row.heading) {
        y += 10;
        svg.append(text(narrow ? 8 : 2, y + 16, fit(row.label, width - 40), { class: "bold" }));
        y += 24;
        continue;
      }
      const g = sv("g", { "data-tip": row.tip || null, "data-row": row.label });
      g.append(sv("rect", { x: 0, y, width, height: rowHeight, style: "fill:transparent" }));
      const middle = narrow ? y + 32 : y + rowHeight / 2;
      const room = narrow ? width - (row.note ? textWidth(row.note) : 0) - 24 : left - 12;
      g.append(text(narrow ? 8 : left - 10, narrow ? y + 15 : middle + 4.5, fit(row.label, room), { "text-anchor": narrow ? "start" : "end" }));
      row.draw(g, x, middle);
      if (row.note) g.append(text(narrow ? width - 6 : right + 10, narrow ? y + 15 : middle + 4.5, row.note, { class: "soft", "text-anchor": narrow ? "end" : "start" }));
      svg.append(g);
      y += rowHeight;
    }
    for (const tick of ticks) {
      grid.append(sv("path", { class: "grid", d: `M${x(tick)} ${top}V${y + 4}` }));
      svg.append(text(x(tick), y + 20, chart.format(tick), { class: "soft", "text-anchor": "middle" }));
      if (long) svg.append(text(x(tick), top - 6, chart.format(tick), { class: "soft", "text-anchor": "middle" }));
    }
    if (chart.zero !== undefined) grid.append(sv("path", { class: "axis", "stroke-dasharray": "4 3", d: `M${x(chart.zero)} ${top}V${y + 4}` }));
    if (ticks.length) y += 24;
    if (chart.axis) { svg.append(text((left + right) / 2, y + 16, fit(chart.axis, width - 8), { class: "soft", "text-anchor": "middle" })); y += 22; }
    svg.setAttribute("height", y + 4);
    host.replaceChildren(svg);
  }
  function interval(g, x, y, low, high, colour, dash) {
    if (low === null || high === null) return;
    g.append(sv("path", { class: "mark-data", d: `M${x(low)} ${y}H${x(high)}`, "stroke-width": dash ? 1.5 : 3, "stroke-dasharray": dash || null, style: `stroke:${colour};fill:none` }));
  }
  const SHARES = { domain: [0, 1], ticks: [0, 0.2, 0.4, 0.6, 0.8, 1], format: percent };
  const range = (row, low, high) => `${percent(row[low]).replace(`${NBSP}%`, "")}–${percent(row[high])}`;

  const figures = {};

  figures.forest = (host) => {
    const colours = { detected: "var(--detected)", "not-detected": "var(--not-detected)", undetermined: "var(--undetermined)" };
    rowChart(host, {
      ...SHARES,
      axis: "share of T cells",
      legend: [
        { label: "detected", shape: "triangle", colour: colours.detected },
        { label: "not detected above limit", shape: "circle", colour: colours["not-detected"] },
        { label: "undetermined", line: true, dash: "2 3", colour: colours.undetermined },
        { label: "detection limit", shape: "stroke", colour: "var(--ink)" },
      ],
      rows: records("detection").map((row) => {
        const kind = verdictKind(row.verdict);
        const known = row.prevalence !== null;
        return {
          label: row.sample + (row.role === "negative_control" ? " (control)" : ""),
          note: !known ? "–" : kind === "undetermined" ? range(row, "prevalence_low", "prevalence_high") : `${percent(row.prevalence)} (${range(row, "prevalence_low", "prevalence_high")})`,
          tip: `${row.sample}\n${verdictWords(row.verdict)}\n${number(row.n_car_positive)} of ${count(row.n_t_cells, "T cell")} called positive` +
            (known ? `\nestimate ${percent(row.prevalence)} (${range(row, "prevalence_low", "prevalence_high")})` : "") +
            (row.detection_limit !== null ? `\ndetection limit ${percent(row.detection_limit)}` : ""),
          draw: (g, x, y) => {
            interval(g, x, y, row.prevalence_low, row.prevalence_high, colours[kind], kind === "undetermined" ? "2 3" : null);
            if (known && kind !== "undetermined") g.append(mark(VERDICT_MARK[kind], x(row.prevalence), y, 6, colours[kind]));
            if (row.detection_limit !== null && row.detection_limit <= 1) g.append(mark("stroke", x(row.detection_limit), y, 8, "var(--ink)"));
          },
        };
      }),
    });
  };

  function stacked(host, rows, keys, colours, labels, noun) {
    rowChart(host, {
      ...SHARES,
      axis: `share of ${noun}s`,
      legend: keys.map((key) => ({ label: labels ? labels[key] : key, colour: colours[key] })),
      rows: rows.map((row) => {
        const total = keys.reduce((sum, key) => sum + row[key], 0);
        return {
          label: row.sample,
          note: total ? count(total, noun) : `no ${noun}s`,
          draw: (g, x, y) => {
            let at = 0;
            for (const key of keys) {
              if (!row[key]) continue;
              const [a, b] = [x(at / total), x((at += row[key]) / total)];
              g.append(sv("rect", {
                class: "mark-data", x: a, y: y - 9, width: Math.max(0.3, b - a - (b - a > 3 ? 1 : 0)), height: 18, style: `fill:${colours[key]}`,
                "data-tip": `${row.sample}\n${labels ? labels[key] : key}: ${number(row[key])} (${percent(row[key] / total)})`,
              }));
            }
          },
        };
      }),
    });
  }
  figures.composition = (host) => {
    const keys = DATA.tables.composition.columns.slice(1).map((c) => c.key);
    stacked(host, records("composition"), keys, palette(keys), null, "cell");
  };
  figures.classes = (host) => {
    const labels = { unique: "unique", junction: "junction", shared: "shared", rejected: "rejected" };
    stacked(host, records("evidence_classes"), Object.keys(labels), DATA.palette.evidence, labels, "molecule");
  };

  figures.localization = (host, state) => {
    const rows = records("localization").filter((r) => r.level === state.level && r.estimate !== null && (!state.sample || r.sample === state.sample));
    const colours = palette([...new Set(rows.map((r) => r.group))]);
    const chart = { ...SHARES, axis: "share of the group's cells", rows: [] };
    let sample = null;
    for (const row of rows) {
      const name = row.sample;
      if (name !== sample) chart.rows.push({ label: (sample = name), heading: true });
      chart.rows.push({
        label: row.group,
        note: `${number(row.n_car_positive)} of ${number(row.n_cells)} called`,
        tip: `${name} · ${row.group}\nestimate ${percent(row.estimate)} (${range(row, "low", "high")})\n${number(row.n_car_positive)} of ${count(row.n_cells, "cell")} called positive\n${row.method}`,
        draw: (g, x, y) => {
          interval(g, x, y, row.low, row.high, colours[row.group]);
          g.append(mark("circle", x(row.estimate), y, 5, colours[row.group]));
        },
      });
    }
    rowChart(host, chart);
  };

  const compared = (row) => {
    const who = row.n_patients > 1 ? `${row.n_patients} patients, ${row.compartment}` : row.sample;
    return row.group ? `${who} · ${row.group}` : row.n_patients > 1 ? who : `${who} / ${row.reference}`;
  };
  figures.contrasts = (host, state) => {
    const rows = records("contrasts").filter((r) => r.estimate !== null && (state.contrast ? r.contrast === state.contrast : !r.group));
    if (!rows.length) { host.replaceChildren(el("p", { class: "empty" }, "No samples of a patient to compare with an estimate.")); return; }
    for (const row of rows) for (const key of ["estimate", "low", "high"]) if (row[key] === "inf") row[key] = Infinity;
    const ends = rows.flatMap((r) => [r.low, r.high, r.estimate]).filter((v) => v !== null && v > 1e-4 && v < 1e4);
    const low = 10 ** Math.floor(Math.log10(Math.min(0.5, ...ends)));
    const high = 10 ** Math.ceil(Math.log10(Math.max(2, ...ends)));
    const ticks = [];
    for (let v = low; v <= high * 1.01; v *= 10) ticks.push(Number(v.toPrecision(3)));
    const hold = (v, other) => (v === null ? other : Math.min(high, Math.max(low, v)));
    const shown = (v) => (v === Infinity ? "∞" : number(v));
    const kinds = [...new Set(rows.map((r) => r.contrast))];
    rowChart(host, {
      domain: [low, high], log: true, ticks, zero: 1, axis: "odds ratio (logarithmic)",
      format: (v) => String(v),
      rows: kinds.flatMap((kind) => [{ label: kind, heading: true }, ...rows.filter((r) => r.contrast === kind).map((row) => ({
        label: compared(row),
        note: `${shown(row.estimate)}, q = ${number(row.q)}`,
        tip: `${row.contrast}: ${compared(row)}\n${row.group || row.sample || "of interest"}: ${number(row.n_car_positive)} of ${count(row.n_t_cells, "T cell")} called\n${row.reference_group || row.reference || "reference"}: ${number(row.n_car_positive_reference)} of ${count(row.n_t_cells_reference, "T cell")} called\nodds ratio ${shown(row.estimate)} (${shown(row.low)}–${shown(row.high)})\n${row.reading}`,
        draw: (g, x, y) => {
          interval(g, x, y, hold(row.low, low), hold(row.high, high), "var(--accent)");
          g.append(mark(row.n_patients > 1 ? "square" : "circle", x(hold(row.estimate)), y, 5.5, "var(--accent)", row.estimate === 0 || row.estimate === Infinity));
        },
      }))]),
    });
  };

  figures.target = (host) => {
    const rows = records("target").filter((r) => r.level === "lineage" && r.fraction !== null);
    const seen = new Set(rows.filter((r) => r.n_expressing > 0).map((r) => r.group));
    if (!seen.size) { host.replaceChildren(el("p", { class: "empty" }, "No cell that expresses the target.")); return; }
    const colours = palette([...seen]);
    const chart = { ...SHARES, axis: "share of the lineage's cells; of T cells for CAR T cells", rows: [] };
    let sample = null;
    for (const row of rows.filter((r) => seen.has(r.group))) {
      if (row.sample !== sample) {
        chart.rows.push({ label: (sample = row.sample), heading: true });
        if (row.car_fraction !== null) {
          chart.rows.push({
            label: "CAR T cells",
            note: `${number(row.n_car_positive)} of ${number(row.n_t_cells)} called`,
            tip: `${row.sample}\nCAR T share ${percent(row.car_fraction)} (${range(row, "car_low", "car_high")})`,
            draw: (g, x, y) => {
              interval(g, x, y, row.car_low, row.car_high, "var(--detected)");
              g.append(mark("triangle", x(row.car_fraction), y, 5.5, "var(--detected)"));
            },
          });
        }
      }
      chart.rows.push({
        label: row.group,
        note: `${number(row.n_expressing)} of ${number(row.n_cells)}`,
        tip: `${row.sample} · ${row.group}\n${number(row.n_expressing)} of ${count(row.n_cells, "cell")} with ${row.target}\n${percent(row.fraction)} (${range(row, "low", "high")})`,
        draw: (g, x, y) => {
          interval(g, x, y, row.low, row.high, colours[row.group]);
          g.append(mark("circle", x(row.fraction), y, 5, colours[row.group]));
        },
      });
    }
    rowChart(host, chart);
  };

  figures.clinic = (host, state) => {
    const rows = records("clinic").filter((r) => r.patient === state.patient);
    const places = [...new Set(rows.map((r) => r.compartment))];
    const shares = [...new Set(rows.filter((r) => r.measured !== null).map((r) => r.measure))];
    const measures = [...new Set(rows.map((r) => r.measure))].filter((m) => !shares.includes(m));
    const colours = palette([...places, ...shares]);
    const width = Math.max(280, host.clientWidth);
    const [left, right, tall] = [56, width - 18, 110];
    const svg = sv("svg", { width, height: 10 });
    let y = legend(svg, [
      ...places.map((label) => ({ label, shape: "circle", colour: colours[label] })),
      ...shares.map((label) => ({ label, shape: "square", hollow: true, colour: colours[label] })),
    ], left, width - left) + 6;
    const times = [...new Map(rows.map((r) => [r.place, r.timepoint])).entries()].sort((a, b) => a[0] - b[0]);
    const pad = times.length > 1 ? (times[times.length - 1][0] - times[0][0]) * 0.06 : 1;
    const x = linear(times[0][0] - pad, times[times.length - 1][0] + pad, left, right);
    const panel = (title, low, high, format, draw) => {
      const at = linear(low, high, y + 20 + tall, y + 20);
      svg.append(text(left, y + 12, fit(title, right - left), { class: "bold" }));
      for (const tick of niceTicks(low, high, 3)) {
        svg.append(sv("path", { class: "grid", d: `M${left} ${at(tick)}H${right}` }));
        svg.append(text(left - 6, at(tick) + 4, format(tick), { class: "soft", "text-anchor": "end" }));
      }
      draw(at);
      y += tall + 34;
    };
    const line = (points, at, colour) => points.length > 1 &&
      svg.append(sv("path", { d: points.map(([px, v], i) => `${i ? "L" : "M"}${x(px)} ${at(v)}`).join(""), style: `stroke:${colour};fill:none`, "stroke-width": 1.2 }));
    const dot = (shape, px, py, colour, hollow, tip) => {
      const g = sv("g", { "data-tip": tip });
      g.append(mark(shape, px, py, 5, colour, hollow));
      svg.append(g);
    };
    const sorted = (part) => [...part].sort((a, b) => a.place - b.place);
    panel("CAR T cells among T cells", 0, 1, percent, (at) => {
      for (const compartment of places) {
        const own = sorted(new Map(rows.filter((r) => r.compartment === compartment && r.car_fraction !== null).map((r) => [r.sample, r])).values());
        line(own.map((r) => [r.place, r.car_fraction]), at, colours[compartment]);
        for (const row of own) {
          svg.append(sv("path", { class: "mark-data", d: `M${x(row.place)} ${at(row.car_low)}V${at(row.car_high)}`, "stroke-width": 2, style: `stroke:${colours[compartment]};fill:none` }));
          dot("circle", x(row.place), at(row.car_fraction), colours[compartment], false, `${row.sample}\nCAR T share ${percent(row.car_fraction)} (${range(row, "car_low", "car_high")})`);
        }
      }
      for (const row of rows) if (row.measured !== null) dot("square", x(row.place), at(row.measured), colours[row.measure], true, `${row.sample}\n${row.measure}: ${percent(row.measured)}`);
    });
    for (const measure of measures) {
      const own = rows.filter((r) => r.measure === measure);
      const values = own.map((r) => r.value);
      const [low, high] = [Math.min(0, ...values), Math.max(...values)];
      panel(measure, low, high > low ? high + (high - low) * 0.1 : low + 1, number, (at) => {
        for (const compartment of places) {
          const part = sorted(own.filter((r) => r.compartment === compartment));
          line(part.map((r) => [r.place, r.value]), at, colours[compartment]);
          for (const row of part) dot("circle", x(row.place), at(row.value), colours[compartment], false, `${row.sample}\n${measure}: ${number(row.value)}`);
        }
      });
    }
    for (const [px, name] of times) svg.append(text(x(px), y, name, { class: "soft", "text-anchor": "middle" }));
    svg.setAttribute("height", y + 10);
    host.replaceChildren(svg);
  };

  figures.losses = (host, state) => {
    const rows = records("losses").filter((r) => !state.sample || r.sample === state.sample);
    const most = Math.max(10, ...rows.map((r) => r.n));
    const colours = { reads: DATA.palette.categories[4], molecules: DATA.palette.categories[0] };
    const chart = { domain: [0, Math.log10(1 + most)], rows: [], legend: Object.entries(colours).map(([label, colour]) => ({ label, colour })) };
    let sample = null;
    for (const row of rows) {
      if (row.sample !== sample) chart.rows.push({ label: (sample = row.sample), heading: true });
      chart.rows.push({
        label: stepWords(row.step),
        note: `${number(row.n)} ${row.unit}`,
        tip: `${stepWords(row.step)}: ${number(row.n)} ${row.unit}\n${row.meaning}`,
        draw: (g, x, y) => row.n > 0 && g.append(sv("rect", { class: "mark-data", x: x(0), y: y - 7, width: Math.max(1, x(Math.log10(1 + row.n)) - x(0)), height: 14, rx: 2, style: `fill:${colours[row.unit] || colours.reads}` })),
      });
    }
    rowChart(host, chart);
  };

  figures.rules = (host) => {
    const rows = records("rules");
    const most = Math.max(5, ...rows.map((r) => r.at_least_1));
    const { categories } = DATA.palette;
    rowChart(host, {
      domain: [0, most], ticks: niceTicks(0, most, 6), format: number, axis: "T cells called",
      legend: [
        { label: "≥ 1 UMI", shape: "circle", hollow: true, colour: categories[0] },
        { label: "≥ 2 UMIs", shape: "square", hollow: true, colour: categories[2] },
        { label: "carseq's model", shape: "triangle", colour: "var(--detected)" },
      ],
      rows: rows.map((row) => ({
        label: row.sample + (row.role === "negative_control" ? " (control)" : ""),
        tip: `${row.sample}\n≥ 1 UMI: ${number(row.at_least_1)}\n≥ 2 UMIs: ${number(row.at_least_2)}\nmodel: ${number(row.model)} (expected false: ${number(row.expected_false_calls)})\nof ${count(row.n_t_cells, "T cell")}`,
        draw: (g, x, y) => {
          g.append(sv("path", { class: "grid", "stroke-width": 3, d: `M${x(Math.min(row.model, row.at_least_2))} ${y}H${x(Math.max(row.at_least_1, row.model))}` }));
          g.append(mark("circle", x(row.at_least_1), y, 6, categories[0], true));
          g.append(mark("square", x(row.at_least_2), y, 4.5, categories[2], true));
          g.append(mark("triangle", x(row.model), y, 5, "var(--detected)"));
        },
      })),
    });
  };

  // --- knee plots: a panel each ---------------------------------------------------------------------

  figures.knee = (host) => {
    const names = Object.keys(DATA.knees);
    if (!names.length) { host.replaceChildren(el("p", { class: "empty" }, "No barcodes to rank.")); return; }
    const width = Math.max(280, host.clientWidth);
    const columns = Math.max(1, Math.min(names.length, Math.floor(width / 270)));
    const [w, h] = [width / columns, 235];
    const svg = sv("svg", { width, height: 10 });
    const mostRank = Math.max(10, ...names.map((n) => Math.max(...DATA.knees[n].rank)));
    const mostUmis = Math.max(10, ...names.map((n) => Math.max(...DATA.knees[n].umis)));
    const top = legend(svg, [
      { label: "cell", colour: "var(--ink)", shape: "circle" },
      { label: "no cell", colour: "var(--dot)", shape: "circle" },
      { label: "with a CAR molecule", colour: "var(--detected)", shape: "triangle", hollow: true },
    ], 44, width - 44);
    names.forEach((name, i) => {
      const knee = DATA.knees[name];
      const g = sv("g", { transform: `translate(${(i % columns) * w} ${top + Math.floor(i / columns) * h})` });
      const [l, r, t, b] = [44, w - 14, 44, h - 36];
      const x = (v) => linear(0, Math.log10(mostRank), l, r)(Math.log10(Math.max(1, v)));
      const y = (v) => linear(0, Math.log10(mostUmis), b, t)(Math.log10(Math.max(1, v)));
      for (let v = 1; v <= mostRank; v *= 10) {
        g.append(sv("path", { class: "grid", d: `M${x(v)} ${t}V${b}` }));
        if (Math.log10(v) % (mostRank > 1e4 ? 2 : 1) === 0) g.append(text(x(v), b + 16, compact(v), { class: "soft", "text-anchor": "middle" }));
      }
      for (let v = 1; v <= mostUmis; v *= 10) {
        g.append(sv("path", { class: "grid", d: `M${l} ${y(v)}H${r}` }), text(l - 6, y(v) + 4, compact(v), { class: "soft", "text-anchor": "end" }));
      }
      g.append(text(l, 15, fit(name, (r - l) * 0.92), { class: "bold", "data-tip": name }));
      g.append(text(l, 32, `${count(knee.n_cells, "cell")}; ${number(knee.n_bearing_below)} with CAR below`, { class: "soft" }));
      if (i >= names.length - columns) g.append(text((l + r) / 2, b + 32, "barcode rank", { class: "soft", "text-anchor": "middle" }));
      const dots = { 0: "", 1: "" };
      let triangles = "";
      const marked = [];
      knee.rank.forEach((rank, k) => {
        const [px, py] = [Number(x(rank).toFixed(1)), Number(y(knee.umis[k]).toFixed(1))];
        if (knee.car[k] > 0) { triangles += MARKS.triangle(px, py, 3.5); marked.push([px, py, k]); }
        else dots[knee.cell[k]] += `M${px} ${py}h0`;
      });
      const dot = (d, colour) => sv("path", { class: "mark-data", d, "stroke-width": 4, "stroke-linecap": "round", style: `stroke:${colour};fill:none` });
      g.append(dot(dots[0], "var(--dot)"), dot(dots[1], "var(--ink)"));
      g.append(sv("path", { class: "mark-data", d: triangles, "stroke-width": 1.3, style: "stroke:var(--detected);fill:none" }));
      g.append(sv("rect", { x: l, y: t, width: r - l, height: b - t, style: "fill:transparent", "data-owntip": "", onpointermove: (event) => {
        const box = svg.getBoundingClientRect();
        const mx = event.clientX - box.left - (i % columns) * w;
        const my = event.clientY - box.top - top - Math.floor(i / columns) * h;
        let best = null;
        for (const m of marked) { const d = Math.hypot(m[0] - mx, m[1] - my); if (d < 12 && (!best || d < best.d)) best = { d, k: m[2] }; }
        if (best) showTip(`rank ${number(knee.rank[best.k])}\n${number(knee.umis[best.k])} UMIs, ${number(knee.car[best.k])} of the CAR\n${knee.cell[best.k] ? "a cell" : "below the cut"}`, event.clientX, event.clientY);
        else hideTip();
      } }));
      svg.append(g);
    });
    svg.setAttribute("height", top + Math.ceil(names.length / columns) * h);
    host.replaceChildren(svg);
  };

  figures.weighing = (host) => {
    const rows = records("evidence");
    if (!rows.length) { host.replaceChildren(el("p", { class: "empty" }, "No cell with a CAR molecule.")); return; }
    const width = Math.max(280, host.clientWidth);
    const columns = width < 620 ? 1 : 2;
    const [w, h] = [width / columns, 290];
    const svg = sv("svg", { width, height: 10 });
    const kind = (row) => (row.car_call === "positive" || row.car_call === "uncertain" ? row.car_call : "signal");
    const kinds = ["signal", "uncertain", "positive"];
    const top = legend(svg, kinds.map((key) => ({ label: DATA.palette.calls[key].label, colour: DATA.palette.calls[key].colour, shape: CALL_MARK[key] })), 54, width - 54);
    const expected = (row) => Math.max(1e-5, row.car_expected_ambient || 0);
    const least = Math.floor(Math.log10(Math.min(0.5, ...rows.map(expected))));
    const most = Math.ceil(Math.log10(Math.max(10, ...rows.map((r) => r.car_umis), ...rows.map(expected))));
    // Whole numbers are spread evenly, so that cells do not hide each other.
    const seen = (row, i) => Math.log10(row.car_umis) + 0.12 * (((i * 0.618034) % 1) - 0.5);
    const [l, r, t, b] = [54, w - 14, 12, h - 44];
    const tip = (row) => `${row.sample}:${row.barcode}\n${row.cell_type}, ${DATA.palette.calls[kind(row)].label}\n${count(row.car_umis, "CAR molecule")}, ${number(row.car_expected_ambient)} expected from ambient RNA\nprobability ${number(row.car_posterior)}`;
    const panel = (i, title, draw) => {
      const g = sv("g", { transform: `translate(${(i % columns) * w} ${top + Math.floor(i / columns) * h})` });
      g.append(text((l + r) / 2, b + 36, title, { class: "soft", "text-anchor": "middle" }));
      draw(g);
      svg.append(g);
    };
    const decades = (g, low, high, scale, upright) => {
      for (let v = low; v <= high; v++) {
        const p = scale(v);
        const label = compact(Number((10 ** v).toPrecision(1)));
        if (upright) g.append(sv("path", { class: "grid", d: `M${l} ${p}H${r}` }), text(l - 6, p + 4, label, { class: "soft", "text-anchor": "end" }));
        else g.append(sv("path", { class: "grid", d: `M${p} ${t}V${b}` }), text(p, b + 17, label, { class: "soft", "text-anchor": "middle" }));
      }
    };
    const points = (g, x, y, chosen) => {
      // An element for each of thousands of cells would hold the page up: then a path for each kind, without hover.
      const many = rows.length > 3000;
      const paths = Object.fromEntries(kinds.map((key) => [key, []]));
      for (const key of kinds) rows.forEach((row, i) => {
        if (kind(row) !== key || !chosen(row)) return;
        if (many) { paths[key].push(MARKS[CALL_MARK[key]](Number(x(row, i).toFixed(1)), Number(y(row, i).toFixed(1)), 3)); return; }
        const point = mark(CALL_MARK[key], x(row, i), y(row, i), 4, DATA.palette.calls[key].colour);
        point.setAttribute("data-tip", tip(row));
        g.append(point);
      });
      for (const key of kinds) {
        if (!paths[key].length) continue;
        const { colour } = DATA.palette.calls[key];
        g.append(sv("path", { class: "mark-data", d: paths[key].join(""), "stroke-width": 1.5, style: OPEN_MARKS.has(CALL_MARK[key]) ? `stroke:${colour};fill:none` : `fill:${colour};stroke:none` }));
      }
    };
    panel(0, "CAR molecules seen, by the number expected from ambient RNA", (g) => {
      const x = linear(least, Math.max(0, most), l, r);
      const y = linear(-0.2, most, b, t);
      decades(g, least, most, x, false);
      decades(g, 0, most, y, true);
      g.append(sv("path", { class: "axis", "stroke-dasharray": "4 4", d: `M${x(-0.2)} ${y(-0.2)}L${x(most)} ${y(most)}` }));
      points(g, (row) => x(Math.log10(expected(row))), (row, i) => y(seen(row, i)), () => true);
    });
    panel(1, "probability of a CAR T cell, by CAR molecules seen", (g) => {
      const x = linear(-0.2, most, l, r);
      const y = linear(0, 1, b, t);
      decades(g, 0, most, x, false);
      for (const v of [0, 0.25, 0.5, 0.75, 1]) g.append(sv("path", { class: "grid", d: `M${l} ${y(v)}H${r}` }), text(l - 6, y(v) + 4, percent(v), { class: "soft", "text-anchor": "end" }));
      points(g, (row, i) => x(seen(row, i)), (row) => y(row.car_posterior), (row) => kind(row) !== "signal");
    });
    svg.setAttribute("height", top + Math.ceil(2 / columns) * h);
    host.replaceChildren(svg);
  };

  // --- the CAR transcript ------------------------------------------------------------------------------

  function domainLanes(domains) {
    const ends = [];
    return domains.map((domain) => {
      let lane = ends.findIndex((end) => end <= domain.start);
      if (lane < 0) lane = ends.push(0) - 1;
      ends[lane] = domain.end;
      return { ...domain, lane };
    });
  }
  const DOMAINS = domainLanes([...DATA.coverage.domains].sort((a, b) => a.start - b.start || b.end - a.end));
  const DOMAIN_COLOURS = palette([...new Set(DATA.coverage.domains.map((d) => d.kind || d.name))]);
  const N_LANES = Math.max(0, ...DOMAINS.map((d) => d.lane + 1));

  function domainTrack(svg, x, y) {
    for (const domain of DOMAINS) {
      const [a, b] = [x(domain.start), x(domain.end)];
      const at = y + domain.lane * 24;
      const tipText = `${domain.name}${domain.kind && domain.kind !== domain.name ? ` (${domain.kind})` : ""}\nbases ${number(domain.start + 1)}–${number(domain.end)}`;
      svg.append(sv("rect", { class: "mark-data", x: a, y: at, width: Math.max(1, b - a - 1), height: 20, rx: 2, style: `fill:${DOMAIN_COLOURS[domain.kind || domain.name]}`, opacity: 0.35, "data-tip": tipText }));
      const label = fit(domain.name, b - a - 6);
      if (label === domain.name || label.length > 5) svg.append(text((a + b) / 2, at + 14.5, label, { "text-anchor": "middle", "data-tip": tipText }));
    }
    return y + N_LANES * 24;
  }
  function baseAxis(svg, x, y, width) {
    for (const tick of niceTicks(0, DATA.coverage.length, width < 600 ? 4 : 8)) {
      svg.append(sv("path", { class: "axis", d: `M${x(tick)} ${y}v5` }), text(x(tick), y + 19, number(tick), { class: "soft", "text-anchor": "middle" }));
    }
  }

  figures.coverage = (host, state) => {
    const { length, bins, shared } = DATA.coverage;
    const track = (state.sample && DATA.coverage.samples[state.sample]) || DATA.coverage.all;
    const width = Math.max(280, host.clientWidth);
    const [l, r] = [48, width - 20];
    const svg = sv("svg", { width, height: 10 });
    const colours = { own: DATA.palette.evidence.unique, shared: DATA.palette.evidence.shared };
    const t = legend(svg, [
      { label: "unique or junction", line: true, colour: colours.own },
      { label: "shared sequence", line: true, dash: "6 3", colour: colours.shared },
      { label: "shared with a human gene", colour: "color-mix(in srgb, #E69F00 30%, transparent)" },
      ...(track.expected ? [{ label: "expected of as many molecules", line: true, dash: "2 3", colour: "var(--ink)" }] : []),
    ], l, r - l) + 8;
    const b = t + 200;
    const x = linear(0, length, l, r);
    const most = Math.max(1, ...track.own, ...track.shared, ...(track.expected || []));
    const y = linear(0, most * 1.05, b, t);
    for (const region of shared) svg.append(sv("rect", { x: x(region.start), y: t, width: Math.max(1, x(region.end) - x(region.start)), height: b - t, style: "fill:#E69F00", opacity: 0.2 }));
    for (const tick of niceTicks(0, most, 4)) svg.append(sv("path", { class: "grid", d: `M${l} ${y(tick)}H${r}` }), text(l - 6, y(tick) + 4, compact(tick), { class: "soft", "text-anchor": "end" }));
    for (const key of ["own", "shared"]) {
      const d = track[key].map((v, i) => `${i ? "L" : "M"}${x((i * length) / bins).toFixed(1)} ${y(v).toFixed(1)}H${x(((i + 1) * length) / bins).toFixed(1)}`).join("");
      if (key === "own") svg.append(sv("path", { d: `${d}V${b}H${l}Z`, style: `fill:${colours.own}`, opacity: 0.12 }));
      svg.append(sv("path", { class: "mark-data", d, "stroke-width": 1.8, "stroke-dasharray": key === "shared" ? "6 3" : null, style: `stroke:${colours[key]};fill:none` }));
    }
    if (track.expected) {
      const d = track.expected.map((v, i) => `${i ? "L" : "M"}${x(((i + 0.5) * length) / bins).toFixed(1)} ${y(v).toFixed(1)}`).join("");
      svg.append(sv("path", { class: "mark-data", d, "stroke-width": 1.4, "stroke-dasharray": "2 3", style: "stroke:var(--ink);fill:none" }));
    }
    const hair = sv("path", { class: "axis", "stroke-dasharray": "2 2", d: "" });
    svg.append(sv("path", { class: "axis", d: `M${l} ${b}H${r}` }));
    svg.append(hair, sv("rect", {
      x: l, y: t, width: r - l, height: b - t, style: "fill:transparent", "data-owntip": "",
      onpointermove: (event) => {
        const base = Math.min(length - 1, Math.max(0, Math.round(((event.clientX - svg.getBoundingClientRect().left - l) / (r - l)) * length)));
        const bin = Math.min(bins - 1, Math.floor((base / length) * bins));
        const here = DOMAINS.filter((d) => d.start <= base && base < d.end).map((d) => d.name).join(", ");
        const genes = [...new Set(shared.filter((s) => s.start <= base && base < s.end).map((s) => s.gene))].filter(Boolean).join(", ");
        hair.setAttribute("d", `M${x(base)} ${t}V${b}`);
        showTip(`base ${number(base + 1)}${here ? ` · ${here}` : ""}\nunique or junction: ${number(track.own[bin])}\nshared: ${number(track.shared[bin])}${track.expected ? `\nexpected: ${number(track.expected[bin])}` : ""}${genes ? `\nshared with ${genes}` : ""}`, event.clientX, event.clientY);
      },
      onpointerleave: () => { hair.setAttribute("d", ""); hideTip(); },
    }));
    const under = domainTrack(svg, x, b + 8);
    baseAxis(svg, x, under + 4, width);
    svg.append(text((l + r) / 2, under + 42, "base of the CAR transcript", { class: "soft", "text-anchor": "middle" }));
    svg.setAttribute("height", under + 50);
    host.replaceChildren(svg);
  };

  // --- how firm: a panel for each sample ------------------------------------------------------------------

  /** Draw a panel for each name: `draw(g, name, box)` with the inner box [left, right, top, bottom]. */
  function panels(host, names, items, draw) {
    const width = Math.max(280, host.clientWidth);
    const columns = Math.max(1, Math.min(names.length, Math.floor(width / 270)));
    const [w, h] = [width / columns, 230];
    const svg = sv("svg", { width, height: 10 });
    const top = legend(svg, items, 52, width - 52);
    names.forEach((name, i) => {
      const g = sv("g", { transform: `translate(${(i % columns) * w} ${top + Math.floor(i / columns) * h})` });
      const [l, r, t, b] = [52, w - 24, 28, h - 42];
      g.append(text(l, 15, fit(name, r - l), { class: "bold", "data-tip": name }));
      draw(g, name, [l, r, t, b]);
      svg.append(g);
    });
    svg.setAttribute("height", top + Math.ceil(names.length / columns) * h);
    host.replaceChildren(svg);
  }
  const polyline = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

  figures.thresholds = (host) => {
    const all = records("thresholds");
    const falseColour = DATA.palette.categories[0];
    const verdictColours = { detected: "var(--detected)", "not-detected": "var(--not-detected)", undetermined: "var(--undetermined)" };
    const logs = all.map((row) => Math.log10(row.fdr));
    panels(host, [...new Set(all.map((row) => row.sample))], [
      ...Object.entries(VERDICT_MARK).map(([kind, shape]) => ({ label: `called: ${kind.replace("-", " ")}`, shape, colour: verdictColours[kind] })),
      { label: "expected false among them", line: true, dash: "6 3", colour: falseColour },
      { label: "in use", line: true, dash: "2 3", colour: "var(--ink)" },
    ], (g, name, [l, r, t, b]) => {
      const rows = all.filter((row) => row.sample === name);
      const most = Math.max(4, ...rows.map((row) => row.n_car_positive));
      const x = ((f) => (v) => f(Math.log10(v)))(linear(Math.min(...logs), Math.max(...logs), l, r));
      const y = linear(0, most * 1.08, b, t);
      for (const tick of niceTicks(0, most, 4)) g.append(sv("path", { class: "grid", d: `M${l} ${y(tick)}H${r}` }), text(l - 6, y(tick) + 4, compact(tick), { class: "soft", "text-anchor": "end" }));
      for (const tick of [0.001, 0.01, 0.1]) g.append(sv("path", { class: "grid", d: `M${x(tick)} ${t}V${b}` }), text(x(tick), b + 17, percent(tick), { class: "soft", "text-anchor": "middle" }));
      g.append(text((l + r) / 2, b + 35, "false discovery rate allowed", { class: "soft", "text-anchor": "middle" }));
      for (const row of rows.filter((each) => each.in_use)) g.append(sv("path", { class: "axis", "stroke-dasharray": "2 3", d: `M${x(row.fdr)} ${t}V${b}` }));
      g.append(sv("path", { class: "mark-data", d: polyline(rows.map((row) => [x(row.fdr), y(row.expected_false_calls)])), "stroke-width": 1.8, "stroke-dasharray": "6 3", style: `stroke:${falseColour};fill:none` }));
      g.append(sv("path", { class: "mark-data", "stroke-width": 1.2, style: "stroke:var(--soft);fill:none", d: polyline(rows.map((row) => [x(row.fdr), y(row.n_car_positive)])) }));
      for (const row of rows) {
        const kind = verdictKind(row.verdict);
        const point = mark(VERDICT_MARK[kind], x(row.fdr), y(row.n_car_positive), 4.5, verdictColours[kind]);
        point.setAttribute("data-tip", `${name}, false discovery rate ${percent(row.fdr)}${row.in_use ? " (in use)" : ""}
${number(row.n_car_positive)} of ${count(row.n_t_cells, "T cell")} called, ${number(row.expected_false_calls)} expected to be false
sensitivity ${percent(row.sensitivity)}, detection limit ${percent(row.detection_limit)}
${verdictWords(row.verdict)}`);
        g.append(point);
      }
    });
  };

  figures.downsampling = (host) => {
    const all = records("downsampling");
    const { categories } = DATA.palette;
    const looks = [
      { key: "calls", label: "calls, of those at full depth", colour: "var(--detected)", shape: "triangle", dash: null },
      { key: "sensitivity", label: "sensitivity", colour: categories[0], shape: "circle", dash: null },
      { key: "detection_limit", label: "detection limit", colour: "var(--ink)", shape: "square", dash: "5 3" },
    ];
    panels(host, [...new Set(all.map((row) => row.sample))], looks, (g, name, [l, r, t, b]) => {
      const rows = all.filter((row) => row.sample === name).sort((one, other) => one.share - other.share);
      const most = rows[rows.length - 1].expected_positive;
      for (const row of rows) row.calls = most > 0.5 ? row.expected_positive / most : null;
      const [x, y] = [linear(0, 1, l, r), linear(0, 1.05, b, t)];
      for (const tick of [0, 0.25, 0.5, 0.75, 1]) g.append(sv("path", { class: "grid", d: `M${l} ${y(tick)}H${r}` }), text(l - 6, y(tick) + 4, percent(tick), { class: "soft", "text-anchor": "end" }));
      for (const tick of [0, 0.5, 1]) g.append(sv("path", { class: "grid", d: `M${x(tick)} ${t}V${b}` }), text(x(tick), b + 17, percent(tick), { class: "soft", "text-anchor": "middle" }));
      g.append(text((l + r) / 2, b + 35, "molecules kept", { class: "soft", "text-anchor": "middle" }));
      if (most > 0.5) {
        const up = rows.map((row) => [x(row.share), y(Math.min(1.05, row.expected_positive_high / most))]);
        const down = rows.map((row) => [x(row.share), y(row.expected_positive_low / most)]).reverse();
        g.append(sv("path", { class: "mark-data", d: `${polyline([...up, ...down])}Z`, style: "fill:var(--detected);stroke:none", opacity: 0.15 }));
      }
      for (const { key, colour, dash, shape } of looks) {
        const known = rows.filter((row) => row[key] !== null);
        if (!known.length) continue;
        g.append(sv("path", { class: "mark-data", d: polyline(known.map((row) => [x(row.share), y(row[key])])), "stroke-width": 1.8, "stroke-dasharray": dash, style: `stroke:${colour};fill:none` }));
        for (const row of known) {
          const point = mark(shape, x(row.share), y(row[key]), 3.2, colour);
          point.setAttribute("data-tip", `${name}, ${percent(row.share)} of the molecules (median ${number(Math.round(row.median_umis))} UMIs)
${number(row.expected_positive)} calls expected (${number(row.expected_positive_low)}–${number(row.expected_positive_high)})
sensitivity ${percent(row.sensitivity)}, detection limit ${percent(row.detection_limit)}`);
          g.append(point);
        }
      }
    });
  };

  // --- the numbers of a figure ----------------------------------------------------------------------------

  const TABLE_OF = { forest: "detection", classes: "evidence_classes", weighing: "evidence" };
  function figureRows(id, state) {
    if (id === "knee") {
      const rows = [["sample", "rank", "total_umis", "is_cell", "car_umis"]];
      for (const [name, knee] of Object.entries(DATA.knees)) knee.rank.forEach((rank, i) => rows.push([name, rank, knee.umis[i], knee.cell[i] ? "yes" : "no", knee.car[i]]));
      return rows;
    }
    if (id === "coverage") {
      const { length, bins } = DATA.coverage;
      const track = (state.sample && DATA.coverage.samples[state.sample]) || DATA.coverage.all;
      const base = (i) => Math.floor((i * length) / bins);
      return [["from_base", "to_base", "unique_or_junction", "shared", "expected"],
        ...track.own.map((own, i) => [base(i) + 1, base(i + 1), own, track.shared[i], track.expected ? track.expected[i] : null])];
    }
    return tableRows(DATA.tables[TABLE_OF[id] || id]);
  }

  // --- maps of the cells ---------------------------------------------------------------------------------

  const bytes = (packed) => {
    const raw = Uint8Array.from(atob(packed.b), (c) => c.charCodeAt(0));
    return packed.t === "uint16" ? new Uint16Array(raw.buffer) : raw;
  };

  function drawMaps(host) {
    const cells = DATA.cells;
    const [xs, ys, type, sample, call] = [cells.x, cells.y, cells.type, cells.sample, cells.call].map(bytes);
    const [posterior, umis] = [bytes(cells.posterior), bytes(cells.umis)];
    const barcodes = cells.barcodes.split("\n");
    const FULL = [-2600, 68200, -2600, 68200];
    let view = [...FULL];
    const maps = [];

    // A grid of buckets finds the cell under the pointer.
    const SIDE = 96;
    const buckets = Array.from({ length: SIDE * SIDE }, () => []);
    const slot = (v) => Math.min(SIDE - 1, Math.max(0, Math.floor((v / 65536) * SIDE)));
    for (let i = 0; i < cells.n; i++) buckets[slot(ys[i]) * SIDE + slot(xs[i])].push(i);

    class Map {
      constructor(id, title, codes, names, colours, shapes) {
        Object.assign(this, { id, title, codes, names, colours, shapes, single: null });
        this.sizes = new Uint32Array(names.length);
        for (const code of codes) this.sizes[code]++;
        this.canvas = el("canvas", { tabindex: "0", role: "img", "data-owntip": "", "data-map": id, "aria-label": `Map of ${number(cells.n)} cells, coloured by ${title}. Zoom with plus and minus, move with the arrows, 0 goes back.` });
        this.brush = el("div", { class: "brush", hidden: true });
        this.keys = el("div", { class: "keys", role: "group", "aria-label": `Single out a ${title}` });
        names.forEach((name, code) => {
          const colour = colours[name];
          this.keys.append(el("button", { type: "button", "aria-pressed": "false", onclick: () => this.choose(code) },
            icon(shapes ? shapes[name] : "circle", colour), `${this.label(name)} (${number(this.sizes[code])})`));
        });
        const tools = el("div", { class: "tools" },
          el("button", { type: "button", "aria-label": "Zoom in", onclick: () => zoom(0.7) }, "+"),
          el("button", { type: "button", "aria-label": "Zoom out", onclick: () => zoom(1 / 0.7) }, "−"),
          el("button", { type: "button", onclick: reset }, "Reset"),
          saveButtons(`cells_by_${id}`, () => this.svg(), mapRows));
        host.append(el("figure", { class: "chart", id: `figure-map-${id}` },
          el("figcaption", {}, el("h3", {}, `Cells by ${title}`)), tools,
          el("div", { class: "frame" }, this.canvas, this.brush), this.keys));
        this.listen();
      }
      label(name) { return this.id === "call" ? DATA.palette.calls[name].label : name; }
      choose(code) {
        this.single = this.single === code ? null : code;
        [...this.keys.children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === this.single)));
        this.draw();
      }
      size() { const w = this.canvas.clientWidth; return [w, Math.round(w * 0.86)]; }
      place(w, h) {
        const [a, b, c, d] = view;
        return [(v) => ((v - a) / (b - a)) * w, (v) => h - ((v - c) / (d - c)) * h];
      }
      order() {
        // Rarer marks lie on top, and so does the one singled out.
        const order = this.names.map((_, i) => i);
        if (this.shapes) order.reverse();
        return this.single === null ? order : [...order.filter((c) => c !== this.single), this.single];
      }
      radius(w) { return Math.max(0.8, Math.min(3.2, (w / 380) * Math.sqrt(4000 / cells.n) * 2.6 * Math.sqrt((FULL[1] - FULL[0]) / (view[1] - view[0])))); }
      draw() {
        const [w, h] = this.size();
        if (!w) return;
        const ratio = window.devicePixelRatio || 1;
        this.canvas.width = w * ratio;
        this.canvas.height = h * ratio;
        this.canvas.style.height = `${h}px`;
        const context = this.canvas.getContext("2d");
        context.scale(ratio, ratio);
        const [px, py] = this.place(w, h);
        const base = this.radius(w);
        const faded = getComputedStyle(document.documentElement).getPropertyValue("--grid").trim();
        const groups = this.names.map(() => []);
        for (let i = 0; i < cells.n; i++) {
          if (xs[i] >= view[0] && xs[i] <= view[1] && ys[i] >= view[2] && ys[i] <= view[3]) groups[this.codes[i]].push(i);
        }
        // In turns, so that no sample or type lies wholly over another.
        const turns = this.shapes || this.single !== null ? 1 : 12;
        const inTurns = Array.from({ length: turns }, (_, turn) => this.order().map((code) => [code, turn])).flat();
        for (const [code, turn] of inTurns) {
          const name = this.names[code];
          const all = groups[code];
          const some = turns === 1 ? all : all.slice(Math.floor((turn * all.length) / turns), Math.floor(((turn + 1) * all.length) / turns));
          const shape = this.shapes ? this.shapes[name] : "circle";
          const off = this.single !== null && this.single !== code;
          const r = this.shapes && shape !== "circle" ? Math.max(3.2, base * 1.3) : base;
          context.fillStyle = context.strokeStyle = off ? faded : this.colours[name];
          context.lineWidth = shape === "cross" ? 1.5 : 1;
          if (shape === "circle" && r < 1.3) {
            for (const i of some) context.fillRect(px(xs[i]) - r, py(ys[i]) - r, 2 * r, 2 * r);
            continue;
          }
          context.beginPath();
          for (const i of some) {
            const [x, y] = [px(xs[i]), py(ys[i])];
            if (shape === "circle") { context.moveTo(x + r, y); context.arc(x, y, r, 0, 6.2832); }
            else if (shape === "triangle") { context.moveTo(x, y - r); context.lineTo(x + r, y + r * 0.8); context.lineTo(x - r, y + r * 0.8); context.closePath(); }
            else if (shape === "diamond") { context.moveTo(x, y - r); context.lineTo(x + r, y); context.lineTo(x, y + r); context.lineTo(x - r, y); context.closePath(); }
            else { const q = r * 0.8; context.moveTo(x - q, y - q); context.lineTo(x + q, y + q); context.moveTo(x - q, y + q); context.lineTo(x + q, y - q); }
          }
          if (shape === "cross") context.stroke(); else context.fill();
        }
      }
      svg() {
        const [w, h] = [520, 448];
        const [px, py] = this.place(w, h);
        const svg = sv("svg", { xmlns: NS, width: w + 220, height: Math.max(h, this.names.length * 20 + 40), "font-family": "Helvetica, Arial, sans-serif", "font-size": 13 });
        svg.append(sv("rect", { x: 0.5, y: 0.5, width: w, height: h, fill: "none", stroke: "#d8dde3" }));
        const r = this.radius(w);
        for (const code of this.order()) {
          const name = this.names[code];
          const shape = this.shapes ? this.shapes[name] : "circle";
          const at = this.shapes && shape !== "circle" ? 4 : r;
          let d = "";
          for (let i = 0; i < cells.n; i++) {
            if (this.codes[i] !== code || xs[i] < view[0] || xs[i] > view[1] || ys[i] < view[2] || ys[i] > view[3]) continue;
            const [x, y] = [Number(px(xs[i]).toFixed(1)), Number(py(ys[i]).toFixed(1))];
            d += shape === "circle" ? `M${x} ${y}h0` : MARKS[shape](x, y, at);
          }
          const colour = this.colours[name];
          const lined = shape === "circle" || shape === "cross";
          svg.append(sv("path", { d, fill: lined ? "none" : colour, stroke: lined ? colour : "none", "stroke-linecap": "round", "stroke-width": shape === "circle" ? 2 * at : 1.5 }));
        }
        this.names.forEach((name, code) => {
          const y = 20 + code * 20;
          svg.append(mark(this.shapes ? this.shapes[name] : "circle", w + 22, y - 4, 5, this.colours[name]), sv("text", { x: w + 36, y }, `${this.label(name)} (${this.sizes[code]})`));
        });
        return new XMLSerializer().serializeToString(svg);
      }
      nearest(mx, my) {
        const [w, h] = this.size();
        const [px, py] = this.place(w, h);
        const back = [view[0] + (mx / w) * (view[1] - view[0]), view[2] + ((h - my) / h) * (view[3] - view[2])];
        const reach = [(9 / w) * (view[1] - view[0]), (9 / h) * (view[3] - view[2])];
        let best = -1, least = 81;
        for (let sy = slot(back[1] - reach[1]); sy <= slot(back[1] + reach[1]); sy++) {
          for (let sx = slot(back[0] - reach[0]); sx <= slot(back[0] + reach[0]); sx++) {
            for (const i of buckets[sy * SIDE + sx]) {
              // Cells with CAR molecules are drawn on top: of two near ones they are meant.
              const d = (px(xs[i]) - mx) ** 2 + (py(ys[i]) - my) ** 2 - (umis[i] ? 4 : 0);
              if (d < least) { least = d; best = i; }
            }
          }
        }
        return best;
      }
      listen() {
        const { canvas, brush } = this;
        let start = null;
        const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
        canvas.addEventListener("pointerdown", (event) => { if (event.pointerType !== "touch" && event.button === 0) { start = at(event); canvas.setPointerCapture(event.pointerId); } });
        canvas.addEventListener("pointermove", (event) => {
          const [x, y] = at(event);
          if (start) {
            hideTip();
            brush.hidden = false;
            Object.assign(brush.style, { left: `${Math.min(x, start[0])}px`, top: `${Math.min(y, start[1])}px`, width: `${Math.abs(x - start[0])}px`, height: `${Math.abs(y - start[1])}px` });
            return;
          }
          const i = this.nearest(x, y);
          if (i < 0) { hideTip(); return; }
          showTip(`${cells.samples[sample[i]]}:${barcodes[i]}\n${cells.types[type[i]]} · ${DATA.palette.calls[cells.calls[call[i]]].label}\n${count(umis[i], "CAR UMI")} · posterior ${(posterior[i] / 1000).toFixed(posterior[i] > 990 || posterior[i] < 10 ? 3 : 2)}`, event.clientX, event.clientY);
        });
        const end = (event) => {
          if (!start) return;
          const [x, y] = at(event);
          const [w, h] = this.size();
          const [x0, x1] = [Math.min(x, start[0]), Math.max(x, start[0])];
          const [y0, y1] = [Math.min(y, start[1]), Math.max(y, start[1])];
          start = null;
          brush.hidden = true;
          if (x1 - x0 < 8 || y1 - y0 < 8) return;
          const [a, b, c, d] = view;
          look([a + (x0 / w) * (b - a), a + (x1 / w) * (b - a), c + ((h - y1) / h) * (d - c), c + ((h - y0) / h) * (d - c)]);
        };
        canvas.addEventListener("pointerup", end);
        canvas.addEventListener("pointercancel", () => { start = null; brush.hidden = true; });
        canvas.addEventListener("pointerleave", () => { if (!start) hideTip(); });
        canvas.addEventListener("dblclick", reset);
        canvas.addEventListener("keydown", (event) => {
          const moves = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, 0.15], ArrowDown: [0, -0.15] };
          if (event.ctrlKey || event.metaKey || event.altKey) return;
          if (event.key === "+" || event.key === "=") zoom(0.7);
          else if (event.key === "-") zoom(1 / 0.7);
          else if (event.key === "0") reset();
          else if (moves[event.key] && view[1] - view[0] < FULL[1] - FULL[0]) {
            const [dx, dy] = moves[event.key];
            const [sx, sy] = [(view[1] - view[0]) * dx, (view[3] - view[2]) * dy];
            look([view[0] + sx, view[1] + sx, view[2] + sy, view[3] + sy]);
          } else return;
          event.preventDefault();
        });
      }
    }
    function mapRows() {
      const rows = [["sample", "barcode", "umap_1", "umap_2", "cell_type", "call", "car_umis", "car_posterior"]];
      // The corners of the map are 0 and 1 on the page.
      for (let i = 0; i < cells.n; i++) {
        rows.push([cells.samples[sample[i]], barcodes[i], Number((xs[i] / 65535).toFixed(5)), Number((ys[i] / 65535).toFixed(5)), cells.types[type[i]], cells.calls[call[i]], umis[i], posterior[i] / 1000]);
      }
      return rows;
    }
    const redraw = () => maps.forEach((map) => map.draw());
    function look(next) { view = next; redraw(); }
    function reset() { look([...FULL]); }
    function zoom(factor) {
      const [cx, cy] = [(view[0] + view[1]) / 2, (view[2] + view[3]) / 2];
      const [rx, ry] = [((view[1] - view[0]) / 2) * factor, ((view[3] - view[2]) / 2) * factor];
      if (rx * 2 >= FULL[1] - FULL[0]) reset(); else if (rx > 150) look([cx - rx, cx + rx, cy - ry, cy + ry]);
    }
    const callColours = Object.fromEntries(cells.calls.map((c) => [c, DATA.palette.calls[c].colour]));
    maps.push(new Map("type", "cell type", type, cells.types, palette(cells.types)));
    maps.push(new Map("sample", "sample", sample, cells.samples, palette(cells.samples)));
    maps.push(new Map("call", "CAR call", call, cells.calls, callColours, CALL_MARK));
    if (cells.n < cells.n_all) host.after(el("p", { class: "help" }, `Drawn: ${number(cells.n)} of ${number(cells.n_all)} cells; every cell with a CAR molecule is among them.`));
    return redraw;
  }

  // --- a cell's molecules -----------------------------------------------------------------------------------

  const MOLECULES = DATA.molecules.data.map(decode);
  const MOLECULE_KEYS = DATA.molecules.columns.map((c) => c.key);
  const MOLECULES_OF = {};
  DATA.molecules.row.forEach((row, i) => { (MOLECULES_OF[row] = MOLECULES_OF[row] || []).push(i); });

  function showMolecules(row, host) {
    const mine = MOLECULES_OF[row] || [];
    if (!mine.length) { host.append(el("p", { class: "muted" }, "The molecules of this cell are not on the page: its sample came as a matrix, or there were too many (see above).")); return; }
    const column = (key) => MOLECULES[MOLECULE_KEYS.indexOf(key)];
    const [start, end, evidence, pCar] = ["tx_start", "tx_end", "evidence", "p_car"].map(column);
    if (DATA.coverage.length) {
      const width = Math.max(260, (parseFloat(host.style.getPropertyValue("--inside")) || 600) - 4);
      const x = linear(0, DATA.coverage.length, 8, width - 24);
      const svg = sv("svg", { width, height: 10, role: "img", "aria-label": "Molecules of this cell along the CAR transcript" });
      let y = legend(svg, Object.entries(DATA.palette.evidence).map(([label, colour]) => ({ label, colour })), 8, width - 16) + 4;
      for (const i of mine.slice(0, 60)) {
        const kind = pCar[i] < 0.5 ? "rejected" : evidence[i];
        svg.append(sv("rect", { class: "mark-data", x: x(start[i]), y, width: Math.max(2, x(end[i]) - x(start[i])), height: 7, rx: 2, style: `fill:${DATA.palette.evidence[kind] || DATA.palette.unknown}`, "data-tip": `${column("umi")[i]}\n${kind}, P(CAR) ${number(pCar[i])}\nbases ${number(start[i] + 1)}–${number(end[i])}\n${column("domains")[i] || ""}` }));
        y += 11;
      }
      y = domainTrack(svg, x, y + 3);
      baseAxis(svg, x, y + 2, width);
      svg.setAttribute("height", y + 26);
      svg.style.fontSize = "13px";
      host.append(svg);
    }
    const head = el("tr", {}, ...DATA.molecules.columns.map((c) => el("th", { scope: "col", title: c.help, style: "padding:.4rem .6rem" }, c.label)));
    const body = el("tbody", {}, ...mine.map((i) => el("tr", {}, ...MOLECULES.map((values, k) => {
      const value = values[i];
      if (typeof value === "number") return el("td", { class: "num" }, number(MOLECULE_KEYS[k] === "tx_start" ? value + 1 : value));
      return el("td", { class: MOLECULE_KEYS[k] === "umi" ? "mono" : null }, value === null || value === "" ? "–" : value);
    }))));
    host.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Molecules of this cell" }, el("table", { class: "molecules" }, el("thead", {}, head), body)));
  }

  // --- put it together ------------------------------------------------------------------------------------------

  for (const host of document.querySelectorAll("[data-table]")) {
    const id = host.dataset.table;
    new Table(host, DATA.tables[id], host.dataset.title, id === "evidence" ? { expand: showMolecules, pageSize: 20 } : {});
  }

  const redraws = [];
  for (const host of document.querySelectorAll("[data-figure]")) {
    const id = host.dataset.figure;
    const tools = document.querySelector(`[data-tools="${id}"]`);
    const state = {};
    const draw = () => figures[id](host, state);
    const menu = (label, key, options) => {
      state[key] = options[0][0];
      tools.append(el("label", {}, label, el("select", { onchange: (event) => { state[key] = event.target.value; draw(); } },
        ...options.map(([value, name]) => el("option", { value }, name)))));
    };
    const sampleMenu = (mentioned, first) => {
      const names = [...new Set(mentioned)];
      const all = ["", "all samples"];
      const each = names.map((n) => [n, n]);
      if (names.length > 1) menu("Sample", "sample", first && names.length > 3 ? [...each, all] : [all, ...each]);
    };
    if (id === "coverage") sampleMenu(Object.keys(DATA.coverage.samples));
    if (id === "localization") {
      const words = { t_state: "T-cell state", cell_type: "cell type", lineage: "lineage", "cell_type x t_state": "type and state" };
      const there = new Set(records("localization").filter((r) => r.estimate !== null).map((r) => r.level));
      sampleMenu(records("localization").filter((r) => r.estimate !== null).map((r) => r.sample));
      menu("By", "level", [...Object.entries(words).filter(([key]) => there.delete(key)), ...[...there].map((l) => [l, l])]);
    }
    if (id === "contrasts") {
      const kinds = [...new Set(records("contrasts").filter((r) => r.group && r.estimate !== null).map((r) => r.contrast))];
      if (kinds.length) menu("Compare", "contrast", [["", "samples"], ...kinds.map((kind) => [kind, kind])]);
    }
    if (id === "clinic") menu("Patient", "patient", [...new Set(records("clinic").map((r) => r.patient))].map((p) => [p, p]));
    if (id === "losses") sampleMenu(records("losses").map((r) => r.sample), true);
    tools.append(saveButtons(id, () => standalone(host.querySelector("svg")), () => figureRows(id, state)));
    redraws.push(draw);
    draw();
    if (!host.querySelector("svg")) tools.hidden = true;
  }
  let afterwards = () => {};
  const maps = document.getElementById("maps");
  if (maps && DATA.cells) {
    const redraw = drawMaps(maps);
    redraws.push(redraw);
    // The verdict is read first: the maps of many cells are drawn once it can be.
    afterwards = redraw;
  }

  let width = innerWidth, waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(() => redraws.forEach((draw) => draw()), 120);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraws.forEach((draw) => draw()));
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((node) => { node.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((node) => { node.open = false; }));

  const links = new window.Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  if ("IntersectionObserver" in window) {
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        links.forEach((link) => link.removeAttribute("aria-current"));
        links.get(entry.target.id).setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-10% 0px -80% 0px" });
    document.querySelectorAll("main > section").forEach((section) => watcher.observe(section));
  }
  // Milliseconds from opening until the page can be read, and until all of it is drawn.
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
  requestAnimationFrame(() => setTimeout(() => {
    afterwards();
    document.documentElement.dataset.complete = String(Math.round(performance.now()));
  }));
})();

/** Three maps of up to 100,000 cells that zoom together, on canvases: an element for each cell would take too long. */
import { count, DATA, number } from "./data.js";
import { callWords, el, hideTip, icon, MARKS, mark, palette, showTip, sv } from "./dom.js";
import { saveButtons } from "./save.js";

const FULL = [-2600, 68200, -2600, 68200];
/** A grid of buckets finds the cell under the pointer. */
const SIDE = 96;
const slot = (v) => Math.min(SIDE - 1, Math.max(0, Math.floor((v / 65536) * SIDE)));
const clamp = (low, v, high) => Math.max(low, Math.min(high, v));

function bytes(packed) {
  const raw = Uint8Array.from(atob(packed.b), (c) => c.charCodeAt(0));
  return packed.t === "uint16" ? new Uint16Array(raw.buffer) : raw;
}

/** The cells, unpacked, and what all maps share: the view. */
class Cells {
  constructor(packed) {
    Object.assign(this, { n: packed.n, packed, view: [...FULL], maps: [] });
    for (const key of ["x", "y", "type", "sample", "call", "posterior", "umis"]) this[key] = bytes(packed[key]);
    this.barcodes = packed.barcodes.split("\n");
    this.buckets = Array.from({ length: SIDE * SIDE }, () => []);
    for (let i = 0; i < this.n; i++) this.buckets[slot(this.y[i]) * SIDE + slot(this.x[i])].push(i);
  }

  draw() {
    for (const map of this.maps) map.draw();
  }

  look(next) {
    this.view = next;
    this.draw();
  }

  reset() {
    this.look([...FULL]);
  }

  zoom(factor) {
    const [a, b, c, d] = this.view;
    const [rx, ry] = [((b - a) / 2) * factor, ((d - c) / 2) * factor];
    if (rx * 2 >= FULL[1] - FULL[0]) this.reset();
    else if (rx > 150) this.look([(a + b) / 2 - rx, (a + b) / 2 + rx, (c + d) / 2 - ry, (c + d) / 2 + ry]);
  }

  move(dx, dy) {
    const [a, b, c, d] = this.view;
    if (b - a >= FULL[1] - FULL[0]) return;
    const [sx, sy] = [(b - a) * dx, (d - c) * dy];
    this.look([a + sx, b + sx, c + sy, d + sy]);
  }

  tip(i) {
    const { packed } = this;
    const p = this.posterior[i];
    const evaluated = p <= 1000;
    const probability = p > 999 ? "> 0.999" : (p / 1000).toFixed(p > 990 || p < 10 ? 3 : 2);
    const call = callWords(packed.calls[this.call[i]]);
    return `${packed.samples[this.sample[i]]}:${this.barcodes[i]}\n${packed.types[this.type[i]]} · ${call}\n${count(
      this.umis[i],
      "CAR UMI",
    )}${evaluated ? ` · posterior ${probability}` : ""}`;
  }

  rows() {
    const rows = [["sample", "barcode", "umap_1", "umap_2", "cell_type", "call", "car_umis", "car_posterior"]];
    const { packed } = this;
    // The corners of the map are 0 and 1 on the page.
    const place = (v) => Number((v / 65535).toFixed(5));
    for (let i = 0; i < this.n; i++) {
      const [sample, type, call] = [
        packed.samples[this.sample[i]],
        packed.types[this.type[i]],
        packed.calls[this.call[i]],
      ];
      const numbers = [this.umis[i], this.posterior[i] > 1000 ? "" : this.posterior[i] / 1000];
      rows.push([sample, this.barcodes[i], place(this.x[i]), place(this.y[i]), type, call, ...numbers]);
    }
    return rows;
  }
}

class CellMap {
  constructor(host, cells, { id, title, codes, names, colours, shapes }) {
    Object.assign(this, { cells, id, title, codes, names, colours, shapes, single: null });
    this.sizes = new Uint32Array(names.length);
    for (const code of codes) this.sizes[code]++;
    const keys = "Zoom with plus and minus, move with the arrows, 0 goes back.";
    this.canvas = el("canvas", {
      tabindex: "0",
      role: "img",
      "data-map": id,
      "aria-label": `Map of ${number(cells.n)} cells, coloured by ${title}. ${keys}`,
    });
    this.brush = el("div", { class: "brush", hidden: true });
    const many = names.length > 12 ? " many" : "";
    this.keys = el("div", { class: `keys${many}`, role: "group", "aria-label": `Single out a ${title}` });
    names.forEach((name, code) => {
      const button = { type: "button", "aria-pressed": "false", onclick: () => this.choose(code) };
      const words = `${this.label(name)} (${number(this.sizes[code])})`;
      this.keys.append(el("button", button, icon(this.shape(name), colours[name]), words));
    });
    const tool = (words, onclick, label) => el("button", { type: "button", "aria-label": label, onclick }, words);
    const tools = el(
      "div",
      { class: "tools" },
      tool("+", () => cells.zoom(0.7), "Zoom in"),
      tool("−", () => cells.zoom(1 / 0.7), "Zoom out"),
      tool("Reset", () => cells.reset()),
      saveButtons(
        `cells_by_${id}`,
        () => this.svg(),
        () => cells.rows(),
      ),
    );
    const caption = el("figcaption", {}, el("h3", {}, `Cells by ${title}`));
    const frame = el("div", { class: "frame" }, this.canvas, this.brush);
    host.append(el("figure", { class: "chart", id: `figure-map-${id}` }, caption, tools, frame, this.keys));
    this.listen();
  }

  label(name) {
    return this.shapes ? callWords(name) : name;
  }

  shape(name) {
    return this.shapes ? this.shapes[name] : "circle";
  }

  choose(code) {
    this.single = this.single === code ? null : code;
    for (const [i, button] of [...this.keys.children].entries()) {
      button.setAttribute("aria-pressed", String(i === this.single));
    }
    this.draw();
  }

  size() {
    const w = this.canvas.clientWidth;
    return [w, Math.round(w * 0.86)];
  }

  /** Scales from the cells' coordinates to pixels. */
  place(w, h) {
    const [a, b, c, d] = this.cells.view;
    return [(v) => ((v - a) / (b - a)) * w, (v) => h - ((v - c) / (d - c)) * h];
  }

  order() {
    // Rarer marks lie on top, and so does the one singled out.
    const order = this.names.map((_, i) => i);
    if (this.shapes) order.reverse();
    return this.single === null ? order : [...order.filter((c) => c !== this.single), this.single];
  }

  radius(w) {
    const [a, b] = this.cells.view;
    const zoomed = Math.sqrt((FULL[1] - FULL[0]) / (b - a));
    return clamp(0.8, (w / 380) * Math.sqrt(4000 / this.cells.n) * 2.6 * zoomed, 3.2);
  }

  draw() {
    const [w, h] = this.size();
    if (!w) return;
    const ratio = window.devicePixelRatio || 1;
    const { canvas, cells } = this;
    canvas.width = w * ratio;
    canvas.height = h * ratio;
    canvas.style.height = `${h}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const faded = getComputedStyle(document.documentElement).getPropertyValue("--grid").trim();
    const [a, b, c, d] = cells.view;
    const groups = this.names.map(() => []);
    for (let i = 0; i < cells.n; i++) {
      if (cells.x[i] >= a && cells.x[i] <= b && cells.y[i] >= c && cells.y[i] <= d) groups[this.codes[i]].push(i);
    }
    // In turns, so that no sample or type lies wholly over another.
    const turns = this.shapes || this.single !== null ? 1 : 12;
    for (let turn = 0; turn < turns; turn++) {
      for (const code of this.order()) {
        const all = groups[code];
        const some = all.slice(Math.floor((turn * all.length) / turns), Math.floor(((turn + 1) * all.length) / turns));
        const off = this.single !== null && this.single !== code;
        this.dots(context, some, this.shape(this.names[code]), off ? faded : this.colours[this.names[code]], w, h);
      }
    }
  }

  dots(context, some, shape, colour, w, h) {
    const [px, py] = this.place(w, h);
    const { x: xs, y: ys } = this.cells;
    const base = this.radius(w);
    const r = shape === "circle" ? base : Math.max(3.2, base * 1.3);
    context.fillStyle = context.strokeStyle = colour;
    context.lineWidth = shape === "cross" ? 1.5 : 1;
    if (shape === "circle" && r < 1.3) {
      for (const i of some) context.fillRect(px(xs[i]) - r, py(ys[i]) - r, 2 * r, 2 * r);
      return;
    }
    const path = new Path2D();
    const one = new Path2D(MARKS[shape](0, 0, shape === "cross" ? r * 0.8 : r));
    for (const i of some) path.addPath(one, new DOMMatrix([1, 0, 0, 1, px(xs[i]), py(ys[i])]));
    if (shape === "cross") context.stroke(path);
    else context.fill(path);
  }

  svg() {
    const [w, h] = [520, 448];
    const [px, py] = this.place(w, h);
    const [a, b, c, d] = this.cells.view;
    const { x: xs, y: ys, n } = this.cells;
    const height = Math.max(h, this.names.length * 20 + 40);
    const font = { "font-family": "Helvetica, Arial, sans-serif", "font-size": 13 };
    const svg = sv("svg", { xmlns: "http://www.w3.org/2000/svg", width: w + 220, height, ...font });
    svg.append(sv("rect", { x: 0.5, y: 0.5, width: w, height: h, fill: "none", stroke: "#d8dde3" }));
    for (const code of this.order()) {
      const name = this.names[code];
      const shape = this.shape(name);
      const r = shape === "circle" ? this.radius(w) : 4;
      let path = "";
      for (let i = 0; i < n; i++) {
        if (this.codes[i] !== code || xs[i] < a || xs[i] > b || ys[i] < c || ys[i] > d) continue;
        const [x, y] = [Number(px(xs[i]).toFixed(1)), Number(py(ys[i]).toFixed(1))];
        path += shape === "circle" ? `M${x} ${y}h0` : MARKS[shape](x, y, r);
      }
      const colour = this.colours[name];
      const lined = shape === "circle" || shape === "cross";
      const look = { fill: lined ? "none" : colour, stroke: lined ? colour : "none", "stroke-linecap": "round" };
      svg.append(sv("path", { d: path, ...look, "stroke-width": shape === "circle" ? 2 * r : 1.5 }));
    }
    this.names.forEach((name, code) => {
      const y = 20 + code * 20;
      const words = `${this.label(name)} (${this.sizes[code]})`;
      svg.append(mark(this.shape(name), w + 22, y - 4, 5, this.colours[name]), sv("text", { x: w + 36, y }, words));
    });
    return new XMLSerializer().serializeToString(svg);
  }

  nearest(mx, my) {
    const [w, h] = this.size();
    const [px, py] = this.place(w, h);
    const { view, x: xs, y: ys, umis, buckets } = this.cells;
    const [a, b, c, d] = view;
    const back = [a + (mx / w) * (b - a), c + ((h - my) / h) * (d - c)];
    const reach = [(9 / w) * (b - a), (9 / h) * (d - c)];
    let [best, least] = [-1, 81];
    for (let sy = slot(back[1] - reach[1]); sy <= slot(back[1] + reach[1]); sy++) {
      for (let sx = slot(back[0] - reach[0]); sx <= slot(back[0] + reach[0]); sx++) {
        for (const i of buckets[sy * SIDE + sx]) {
          // Cells with CAR molecules are drawn on top: of two near ones they are meant.
          const far = (px(xs[i]) - mx) ** 2 + (py(ys[i]) - my) ** 2 - (umis[i] ? 4 : 0);
          if (far < least) [best, least] = [i, far];
        }
      }
    }
    return best;
  }

  listen() {
    const { canvas, brush, cells } = this;
    let start = null;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const box = (x, y) => [
      Math.min(x, start[0]),
      Math.min(y, start[1]),
      Math.abs(x - start[0]),
      Math.abs(y - start[1]),
    ];
    const stop = () => {
      start = null;
      brush.hidden = true;
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button !== 0) return;
      start = at(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = at(event);
      if (start) {
        hideTip();
        brush.hidden = false;
        const [left, top, width, height] = box(x, y).map((v) => `${v}px`);
        Object.assign(brush.style, { left, top, width, height });
        return;
      }
      const i = this.nearest(x, y);
      if (i < 0) hideTip();
      else showTip(cells.tip(i), event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!start) return;
      const [x, y, width, height] = box(...at(event));
      stop();
      if (width < 8 || height < 8) return;
      const [w, h] = this.size();
      const [a, b, c, d] = cells.view;
      const across = [a + (x / w) * (b - a), a + ((x + width) / w) * (b - a)];
      cells.look([...across, c + ((h - y - height) / h) * (d - c), c + ((h - y) / h) * (d - c)]);
    });
    canvas.addEventListener("pointercancel", stop);
    canvas.addEventListener("pointerleave", () => {
      if (!start) hideTip();
    });
    canvas.addEventListener("dblclick", () => cells.reset());
    const arrows = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, 0.15], ArrowDown: [0, -0.15] };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "+" || event.key === "=") cells.zoom(0.7);
      else if (event.key === "-") cells.zoom(1 / 0.7);
      else if (event.key === "0") cells.reset();
      else if (arrows[event.key]) cells.move(...arrows[event.key]);
      else return;
      event.preventDefault();
    });
  }
}

/** Put the maps into `host` and return a function that draws them. */
export function addMaps(host) {
  const cells = new Cells(DATA.cells);
  const { types, samples, calls, n_all: all } = DATA.cells;
  const of = (key) => Object.fromEntries(calls.map((call) => [call, DATA.palette.calls[call][key]]));
  const kinds = [
    { id: "type", title: "cell type", codes: cells.type, names: types, colours: palette(types) },
    { id: "sample", title: "sample", codes: cells.sample, names: samples, colours: palette(samples) },
    { id: "call", title: "CAR call", codes: cells.call, names: calls, colours: of("colour"), shapes: of("shape") },
  ];
  cells.maps = kinds.map((kind) => new CellMap(host, cells, kind));
  if (cells.n < all) {
    const drawn = `Drawn: ${number(cells.n)} of ${number(all)} cells; every cell with a CAR molecule is among them.`;
    host.after(el("p", { class: "help" }, drawn));
  }
  return () => cells.draw();
}

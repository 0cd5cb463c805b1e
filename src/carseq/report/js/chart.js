/** The figures: charts of Vega, compiled when the page was made, drawn with Vega's runtime, which the page carries. */
import { DATA, records } from "./data.js";
import { el, hideTip, showTip } from "./dom.js";

/** With more rows than this a chart is drawn on a canvas: an element for each mark would slow the page. */
const MANY = 4000;
const NARROW = 600;
/** Of Vega's log: a field that is empty in every row is not a fault of a study. */
const ERRORS = 1;
/** Colours of the light theme that have another value in the dark one, by the style's variable. */
const THEMED = {
  "#1C2127": "--ink",
  "#57606A": "--soft",
  "#E8EBEF": "--grid",
  "#D55E00": "--detected",
  "#0072B2": "--not-detected",
  "#7A8087": "--undetermined",
  "#005B94": "--accent",
  "#D0D4D9": "--line",
  white: "--paper",
};

/** Unpack the runtime; false where the browser is too old for it. */
export async function loadRuntime() {
  const packed = document.getElementById("vega-runtime").textContent.trim();
  if (!("DecompressionStream" in window)) return false;
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  // The page's policy knows the checksum of this script, and lets in no other.
  document.head.append(el("script", {}, await new Response(stream).text()));
  return "vegaEmbed" in window;
}

/** Draw a chart of Vega. Its expressions are interpreted, since the page's policy allows no code to be made. */
const embed = (host, spec, options) =>
  window.vegaEmbed(host, spec, {
    mode: "vega",
    ast: true,
    actions: false,
    defaultStyle: false,
    logLevel: ERRORS,
    ...options,
  });

const ruler = document.createElement("canvas").getContext("2d");
ruler.font = "13px Helvetica, Arial, sans-serif";
const longest = (rows, key) => Math.max(0, ...rows.map((row) => ruler.measureText(row[key] || "").width));

/** Replace the light theme's colours by those of the theme in use. */
function themed(text) {
  const style = getComputedStyle(document.documentElement);
  let made = text;
  for (const [colour, variable] of Object.entries(THEMED)) {
    made = made.replaceAll(`"${colour}"`, `"${style.getPropertyValue(variable).trim()}"`);
  }
  return made;
}

/** Take the words for screen readers from each mark: on a canvas no one can read them, and there are many to make. */
function withoutDescriptions(marks) {
  for (const { encode, marks: inner } of marks || []) {
    for (const channels of Object.values(encode || {})) delete channels.description;
    withoutDescriptions(inner);
  }
}

/** A figure of the page: its chart, its rows, and what its menus chose. */
export class Chart {
  constructor(host, figure) {
    Object.assign(this, { host, figure, drawn: null, latest: null, chosen: {} });
    this.text = JSON.stringify(figure.vega);
    this.data = Object.fromEntries(Object.entries(figure.data).map(([name, table]) => [name, records(table)]));
    for (const menu of figure.menus) this.chosen[menu.column] = menu.options[0][0];
  }

  /** The rows that the menus chose, by name. */
  rows() {
    const shown = {};
    for (const [name, rows] of Object.entries(this.data)) {
      shown[name] = rows.filter((row) =>
        this.figure.menus.every(({ column }) => {
          const value = this.chosen[column];
          return value === null || !(column in row) || row[column] === value;
        }),
      );
    }
    return shown;
  }

  /** The chart with its rows, laid out for a width. */
  spec(text, width) {
    const spec = JSON.parse(text);
    const rows = this.rows();
    for (const data of spec.data) if (rows[data.name]) data.values = structuredClone(rows[data.name]);
    const signal = (name) => spec.signals?.find((each) => each.name === name);
    const legends = [...(spec.legends || []), ...(spec.marks || []).flatMap((m) => m.legends || [])];
    for (const legend of legends) legend.columns = Math.max(1, Math.min(legend.columns || 9, Math.floor(width / 190)));
    if (signal("label_room")) {
      const narrow = width < NARROW;
      const label = Math.min(longest(rows.rows, "label") + 22, width * 0.36);
      const note = Math.min(longest(rows.rows, "note") + 24, width * 0.4);
      signal("narrow").value = narrow;
      signal("label_room").value = narrow ? 0 : label;
      spec.width = Math.max(160, narrow ? width - 36 : width - label - note - 12);
      if (narrow) signal("y_step").value = 46;
      this.thin(spec, narrow, rows.rows.length);
    } else if (spec.width) {
      spec.width = Math.max(160, width - 76);
    } else {
      const child = signal("childWidth") || signal("child_width");
      const panels = this.figure.panels;
      const fits = Math.max(1, Math.min(panels.n, Math.floor(width / panels.width)));
      if (spec.layout) spec.layout.columns = panels.fixed ? 1 : fits;
      child.value = Math.max(120, width / (panels.fixed ? 1 : fits) - panels.beside);
    }
    return spec;
  }

  /** On a phone every second tick is enough; a long chart has its axis above as well. */
  thin(spec, narrow, n) {
    for (const axis of spec.axes || []) {
      if (narrow && Array.isArray(axis.values) && axis.values.length > 5) {
        axis.values = axis.values.filter((_, i) => i % 2 === 0);
      }
    }
    const below = (spec.axes || []).find((axis) => axis.orient === "bottom" && axis.labels !== false);
    if (below && n > 16) spec.axes.push({ ...below, orient: "top", title: undefined, grid: false });
  }

  async draw() {
    const { figure, host } = this;
    if (figure.message) {
      host.replaceChildren(el("p", { class: "empty" }, figure.message));
      return;
    }
    const width = Math.max(280, host.clientWidth);
    const n = Object.values(this.rows()).reduce((sum, rows) => sum + rows.length, 0);
    const inside = el("div");
    const tooltip = (_handler, event, _item, value) => this.hover(event, value);
    const spec = this.spec(themed(this.text), width);
    if (n > MANY) withoutDescriptions(spec.marks);
    const made = embed(inside, spec, { renderer: n > MANY ? "canvas" : "svg", tooltip });
    // Of two drawings at once the later one stays.
    this.latest = made;
    const drawn = await made;
    if (this.latest !== made) {
      drawn.finalize();
      return;
    }
    this.drawn?.finalize();
    this.drawn = drawn;
    host.replaceChildren(inside);
  }

  hover(event, value) {
    if (value === null || value === undefined || value === "") {
      hideTip();
      return;
    }
    const lines = Object.entries(value).filter(([, v]) => v !== "" && v !== "null" && v !== "NaN");
    const text = typeof value === "object" ? lines.map(([key, v]) => `${key}: ${v}`).join("\n") : String(value);
    showTip(text, event.clientX, event.clientY);
  }

  /** The figure as an SVG for a white page, whatever the theme in use. */
  async svg() {
    const spec = this.spec(this.text, Math.max(640, Math.min(this.host.clientWidth, 900)));
    const drawn = await embed(el("div"), { ...spec, background: "white" }, { renderer: "svg" });
    const text = await drawn.view.toSVG();
    drawn.finalize();
    return text.slice(text.indexOf("<svg"));
  }
}

/** Draw a cell's molecules into `host`. */
export async function drawMolecules(host, rows, width) {
  const chart = new Chart(host, DATA.figures.cell_molecules);
  chart.data.rows = rows;
  const tooltip = (_handler, event, _item, value) => chart.hover(event, value);
  await embed(host, chart.spec(themed(chart.text), width), { renderer: "svg", tooltip });
}

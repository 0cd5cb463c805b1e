/**
 * A figure as PDF, made in the browser, since a page without a network can ask nobody else: paths, rectangles, lines
 * and text of an SVG, as vectors, with the fonts that every reader of PDF has (Helvetica and Symbol).
 */

const SUPERSCRIPT = Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((c, i) => [c, String(i)]).concat([["⁻", "-"]]));
// Beyond Latin-1: what PDF's WinAnsi encoding has, and what its Symbol font has.
const WIN_ANSI = {
  "–": 0x96,
  "—": 0x97,
  "…": 0x85,
  "“": 0x93,
  "”": 0x94,
  "‘": 0x91,
  "’": 0x92,
  "•": 0x95,
  "€": 0x80,
  "−": 0x96,
};
const SYMBOL = {
  "≥": 0xb3,
  "≤": 0xa3,
  "∞": 0xa5,
  α: 0x61,
  β: 0x62,
  γ: 0x67,
  δ: 0x64,
  ζ: 0x7a,
  ψ: 0x79,
  µ: 0x6d,
  "→": 0xae,
};

const round = (v) => String(Math.round(v * 100) / 100);

/** An arc of SVG as cubic Bézier curves (W3C, SVG 1.1, appendix F.6). */
function arc(x1, y1, rx, ry, degrees, large, sweep, x2, y2) {
  if (!rx || !ry) return [[x2, y2, x2, y2, x2, y2]];
  const [sin, cos] = [Math.sin((degrees * Math.PI) / 180), Math.cos((degrees * Math.PI) / 180)];
  const [dx, dy] = [(x1 - x2) / 2, (y1 - y2) / 2];
  const [px, py] = [cos * dx + sin * dy, -sin * dx + cos * dy];
  const grow = Math.max(1, Math.sqrt((px / rx) ** 2 + (py / ry) ** 2));
  const [a, b] = [rx * grow, ry * grow];
  const rest = Math.max(0, (a * b) ** 2 - (a * py) ** 2 - (b * px) ** 2) / ((a * py) ** 2 + (b * px) ** 2);
  const k = (large === sweep ? -1 : 1) * Math.sqrt(rest);
  const [qx, qy] = [(k * a * py) / b, (-k * b * px) / a];
  const [cx, cy] = [cos * qx - sin * qy + (x1 + x2) / 2, sin * qx + cos * qy + (y1 + y2) / 2];
  const from = Math.atan2((py - qy) / b, (px - qx) / a);
  let turn = Math.atan2((-py - qy) / b, (-px - qx) / a) - from;
  if (sweep && turn < 0) turn += 2 * Math.PI;
  if (!sweep && turn > 0) turn -= 2 * Math.PI;
  const n = Math.max(1, Math.ceil(Math.abs(turn) / (Math.PI / 2) - 1e-9));
  const [step, curves] = [turn / n, []];
  const h = (4 / 3) * Math.tan(step / 4);
  const at = (u, v) => [cx + cos * a * u - sin * b * v, cy + sin * a * u + cos * b * v];
  for (let i = 0; i < n; i++) {
    const [t, u] = [from + i * step, from + (i + 1) * step];
    curves.push([
      ...at(Math.cos(t) - h * Math.sin(t), Math.sin(t) + h * Math.cos(t)),
      ...at(Math.cos(u) + h * Math.sin(u), Math.sin(u) - h * Math.cos(u)),
      ...at(Math.cos(u), Math.sin(u)),
    ]);
  }
  return curves;
}

const ARGUMENTS = { M: 2, L: 2, H: 1, V: 1, C: 6, Q: 4, A: 7 };

/** The path of an SVG as operators of PDF. */
function pathOps(d) {
  const ops = [];
  let [x, y, startX, startY] = [0, 0, 0, 0];
  const put = (operator, ...numbers) => ops.push(`${numbers.map(round).join(" ")} ${operator}`);
  for (const [, letter, rest] of d.matchAll(/([MLHVCQAZ])([^MLHVCQAZ]*)/gi)) {
    const command = letter.toUpperCase();
    if (command === "Z") {
      ops.push("h");
      [x, y] = [startX, startY];
      continue;
    }
    const all = (rest.match(/-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?/gi) || []).map(Number);
    for (let i = 0; i + ARGUMENTS[command] <= all.length; i += ARGUMENTS[command]) {
      const n = all.slice(i, i + ARGUMENTS[command]);
      const [ox, oy] = letter === command ? [0, 0] : [x, y];
      if (command === "A") {
        const [toX, toY] = [n[5] + ox, n[6] + oy];
        for (const curve of arc(x, y, n[0], n[1], n[2], n[3], n[4], toX, toY)) put("c", ...curve);
        [x, y] = [toX, toY];
      } else if (command === "C") {
        put("c", ...n.map((v, k) => v + (k % 2 ? oy : ox)));
        [x, y] = [n[4] + ox, n[5] + oy];
      } else if (command === "Q") {
        const [qx, qy, toX, toY] = n.map((v, k) => v + (k % 2 ? oy : ox));
        const near = (end, middle) => end + (2 / 3) * (middle - end);
        put("c", near(x, qx), near(y, qy), near(toX, qx), near(toY, qy), toX, toY);
        [x, y] = [toX, toY];
      } else {
        if (command === "H") x = n[0] + ox;
        else if (command === "V") y = n[0] + oy;
        else [x, y] = [n[0] + ox, n[1] + oy];
        if (command === "M" && i === 0) [startX, startY] = [x, y];
        put(command === "M" && i === 0 ? "m" : "l", x, y);
      }
    }
  }
  return ops;
}

/** The transform of an SVG as matrices of PDF. */
function matrices(transform) {
  return [...(transform || "").matchAll(/(\w+)\(([^)]*)\)/g)].map(([, kind, inside]) => {
    const n = inside.split(/[\s,]+/).map(Number);
    if (kind === "translate") return `1 0 0 1 ${round(n[0])} ${round(n[1] || 0)} cm`;
    if (kind === "scale") return `${n[0]} 0 0 ${n[1] ?? n[0]} 0 0 cm`;
    const [sin, cos] = [Math.sin((n[0] * Math.PI) / 180), Math.cos((n[0] * Math.PI) / 180)];
    return `${cos.toFixed(5)} ${sin.toFixed(5)} ${(-sin).toFixed(5)} ${cos.toFixed(5)} 0 0 cm`;
  });
}

const INHERITED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "font-size", "font-weight"];

class Writer {
  constructor(root) {
    [this.width, this.height] = ["width", "height"].map((key) => parseFloat(root.getAttribute(key)));
    this.brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    this.brush.canvas.width = this.brush.canvas.height = 1;
    this.states = new Map();
    this.known = new Map();
    this.out = [`1 0 0 -1 0 ${round(this.height)} cm`];
    this.walk(root, {}, 1);
  }

  /** A colour as PDF writes it, and how opaque it is. */
  rgba(colour) {
    if (!colour || colour === "none" || colour === "transparent") return null;
    if (!this.known.has(colour)) {
      this.brush.clearRect(0, 0, 1, 1);
      this.brush.fillStyle = "#000";
      this.brush.fillStyle = colour;
      this.brush.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = this.brush.getImageData(0, 0, 1, 1).data;
      this.known.set(colour, a ? { rgb: [r, g, b].map((v) => round(v / 255)).join(" "), alpha: a / 255 } : null);
    }
    return this.known.get(colour);
  }

  clear(alpha) {
    const key = round(alpha);
    if (!this.states.has(key)) this.states.set(key, `G${this.states.size}`);
    this.out.push(`/${this.states.get(key)} gs`);
  }

  paint(look, opacity, ops) {
    const fill = this.rgba(look.fill ?? "black");
    const stroke = this.rgba(look.stroke);
    if ((!fill && !stroke) || !ops.length) return;
    this.out.push("q");
    this.clear(opacity * (fill || stroke).alpha);
    if (fill) this.out.push(`${fill.rgb} rg`);
    if (stroke) {
      const dash = ((look["stroke-dasharray"] || "").match(/[\d.]+/g) || []).join(" ");
      const width = round(parseFloat(look["stroke-width"] ?? 1));
      this.out.push(`${stroke.rgb} RG ${width} w ${look["stroke-linecap"] === "round" ? 1 : 0} J [${dash}] 0 d`);
    }
    this.out.push(ops.join("\n"), fill && stroke ? "B" : fill ? "f" : "S", "Q");
  }

  write(node, look, opacity) {
    const colour = this.rgba(look.fill ?? "black");
    const content = node.textContent.replace(
      /[⁰¹²³⁴-⁹⁻]+/g,
      (run) => `^${[...run].map((c) => SUPERSCRIPT[c]).join("")}`,
    );
    if (!colour || !content) return;
    const size = parseFloat(look["font-size"] || 13);
    const bold = look["font-weight"] === "bold" || parseInt(look["font-weight"] || 400, 10) >= 600;
    this.brush.font = `${bold ? "bold " : ""}${size}px Helvetica, Arial, sans-serif`;
    const back = { middle: 0.5, end: 1 }[node.getAttribute("text-anchor")] || 0;
    const x = parseFloat(node.getAttribute("x") || 0) - this.brush.measureText(content).width * back;
    const y = parseFloat(node.getAttribute("y") || 0);
    const runs = [];
    for (const c of content) {
      const font = SYMBOL[c] ? "F3" : bold ? "F2" : "F1";
      const code = SYMBOL[c] || WIN_ANSI[c] || (c.charCodeAt(0) < 256 ? c.charCodeAt(0) : 0x3f);
      if (runs.at(-1)?.font !== font) runs.push({ font, hex: "" });
      runs.at(-1).hex += code.toString(16).padStart(2, "0");
    }
    this.out.push("q");
    this.clear(opacity * colour.alpha);
    this.out.push(
      `BT ${colour.rgb} rg 1 0 0 -1 ${round(x)} ${round(y)} Tm`,
      ...runs.map((run) => `/${run.font} ${round(size)} Tf <${run.hex}> Tj`),
      "ET Q",
    );
  }

  walk(node, inherited, opaque) {
    const look = { ...inherited };
    for (const key of INHERITED) {
      if (node.hasAttribute(key)) look[key] = node.getAttribute(key);
      if (node.style?.getPropertyValue(key)) look[key] = node.style.getPropertyValue(key);
    }
    const own = (key) => parseFloat(node.getAttribute(key) ?? 1);
    const opacity = opaque * own("opacity");
    const n = (key) => round(parseFloat(node.getAttribute(key) || 0));
    const moves = matrices(node.getAttribute("transform"));
    if (moves.length) this.out.push("q", ...moves);
    const part = opacity * (look.fill === "none" ? own("stroke-opacity") : own("fill-opacity"));
    if (node.tagName === "path") this.paint(look, part, pathOps(node.getAttribute("d") || ""));
    else if (node.tagName === "rect") this.paint(look, part, [`${n("x")} ${n("y")} ${n("width")} ${n("height")} re`]);
    else if (node.tagName === "line") this.paint(look, part, [`${n("x1")} ${n("y1")} m`, `${n("x2")} ${n("y2")} l`]);
    else if (node.tagName === "text") this.write(node, look, part);
    else for (const child of node.children) this.walk(child, look, opacity);
    if (moves.length) this.out.push("Q");
  }

  file() {
    const stream = this.out.join("\n");
    const fonts = ["Helvetica", "Helvetica-Bold", "Symbol"].map((name, i) => {
      const encoding = i < 2 ? "/Encoding/WinAnsiEncoding" : "";
      return `/F${i + 1} <</Type/Font/Subtype/Type1/BaseFont/${name}${encoding}>>`;
    });
    const alphas = [...this.states].map(([alpha, name]) => `/${name} <</ca ${alpha}/CA ${alpha}>>`).join("");
    const box = `/MediaBox[0 0 ${round(this.width)} ${round(this.height)}]`;
    const objects = [
      "<</Type/Catalog/Pages 2 0 R>>",
      "<</Type/Pages/Kids[3 0 R]/Count 1>>",
      `<</Type/Page/Parent 2 0 R${box}/Resources<</Font<<${fonts.join("")}>>/ExtGState<<${alphas}>>>>/Contents 4 0 R>>`,
      `<</Length ${stream.length}>>stream\n${stream}\nendstream`,
    ];
    let file = "%PDF-1.4\n";
    const places = objects.map((object, i) => {
      const at = file.length;
      file += `${i + 1} 0 obj${object}\nendobj\n`;
      return at;
    });
    const table = places.map((at) => `${String(at).padStart(10, "0")} 00000 n \n`).join("");
    const trailer = `trailer<</Size 5/Root 1 0 R>>\nstartxref\n${file.length}\n%%EOF\n`;
    return `${file}xref\n0 5\n0000000000 65535 f \n${table}${trailer}`;
  }
}

/** Return an SVG, given as text, as a PDF of one page. */
export function toPdf(svgText) {
  return new Writer(new DOMParser().parseFromString(svgText, "image/svg+xml").documentElement).file();
}

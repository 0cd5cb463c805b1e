/** Downloads: a figure as SVG, PDF and TSV, a table as TSV. */
import { DATA } from "./data.js";
import { el } from "./dom.js";
import { toPdf } from "./pdf.js";

export function save(name, text, type) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export const fileName = (part) => `${DATA.study}_${part}`.replace(/[^\w.-]+/g, "_");

/** Text that a spreadsheet would take for a formula gets an apostrophe before it. */
function tsvCell(value) {
  if (value === null || value === undefined) return "";
  const line = String(value).replace(/[\t\r\n]+/g, " ");
  const isFormula =
    typeof value === "string" && /^[=+@-]/.test(line.normalize("NFKC")) && !Number.isFinite(Number(line));
  return isFormula && line !== "-inf" ? `'${line}` : line;
}

export const asTsv = (rows) => `${rows.map((row) => row.map(tsvCell).join("\t")).join("\n")}\n`;

/** Buttons that save a figure: `make` returns it as SVG (or a promise of it), `rows` its numbers with headings. */
export function saveButtons(name, make, rows) {
  const button = (kind, content, type) =>
    el(
      "button",
      {
        type: "button",
        "aria-label": `Save the figure ${name} as ${kind}`,
        onclick: async () => save(`${fileName(name)}.${kind.toLowerCase()}`, await content(), type),
      },
      kind,
    );
  return el(
    "span",
    { class: "saves" },
    el("span", { class: "muted" }, "Save"),
    button("SVG", make, "image/svg+xml"),
    button("PDF", async () => toPdf(await make()), "application/pdf"),
    button("TSV", () => asTsv(rows()), "text/tab-separated-values"),
  );
}

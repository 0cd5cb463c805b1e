/** Put the page together: tables at once, figures as soon as Vega's runtime is unpacked, maps last. */
import { Chart, loadRuntime } from "./chart.js";
import { DATA, tableRows } from "./data.js";
import { el } from "./dom.js";
import { addMaps } from "./map.js";
import { showMolecules } from "./molecules.js";
import { saveButtons } from "./save.js";
import { Table } from "./table.js";

const ready = (name) => {
  document.documentElement.dataset[name] = String(Math.round(performance.now()));
};
const pause = () => new Promise((resolve) => setTimeout(resolve));

function addTables() {
  for (const host of document.querySelectorAll("[data-table]")) {
    const id = host.dataset.table;
    const options = id === "evidence" ? { expand: showMolecules, pageSize: 20 } : {};
    new Table(host, DATA.tables[id], host.dataset.title, options);
  }
}

/** The numbers of a figure: those of a table of the page, or its own. */
function figureRows(figure) {
  return tableRows(figure.table ? DATA.tables[figure.table] : figure.data[figure.numbers]);
}

function addTools(id, chart, figure) {
  const tools = document.querySelector(`[data-tools="${id}"]`);
  if (figure.message) {
    tools.hidden = true;
    return;
  }
  for (const menu of figure.menus) {
    const options = menu.options.map(([, words], i) => el("option", { value: i }, words));
    const onchange = (event) => {
      chart.chosen[menu.column] = menu.options[event.target.value][0];
      chart.draw();
    };
    if (options.length > 1) tools.append(el("label", {}, menu.label, el("select", { onchange }, ...options)));
  }
  const svg = () => chart.svg();
  tools.append(saveButtons(id, svg, () => figureRows(figure)));
}

function watchChapters() {
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  if (!("IntersectionObserver" in window)) return;
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id).setAttribute("aria-current", "true");
      }
    },
    { rootMargin: "-10% 0px -80% 0px" },
  );
  for (const section of document.querySelectorAll("main > section")) watcher.observe(section);
}

function openForPrint() {
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const node of closed) node.open = true;
  });
  addEventListener("afterprint", () => {
    for (const node of closed) node.open = false;
  });
}

async function addFigures(redraws) {
  const hosts = [...document.querySelectorAll("[data-figure]")];
  if (!(await loadRuntime())) {
    const words =
      "This browser is too old to draw the figures (it was made before 2023); the tables hold their numbers.";
    for (const host of hosts) host.replaceChildren(el("p", { class: "empty" }, words));
    return;
  }
  for (const host of hosts) {
    const figure = DATA.figures[host.dataset.figure];
    const chart = new Chart(host, figure);
    addTools(host.dataset.figure, chart, figure);
    await chart.draw();
    redraws.push(() => chart.draw());
    // The reader may scroll and click while the others are drawn.
    await pause();
  }
}

async function start() {
  addTables();
  watchChapters();
  openForPrint();
  // Milliseconds from opening until the page can be read, and until all of it is drawn.
  ready("ready");
  await pause();
  const redraws = [];
  await addFigures(redraws);
  const host = document.getElementById("maps");
  if (host && DATA.cells) {
    const draw = addMaps(host);
    redraws.push(draw);
    draw();
  }
  const redraw = () => redraws.forEach((draw) => void draw());
  let [width, waiting] = [innerWidth, 0];
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 120);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  ready("complete");
}

start();

"""report, in a real browser: charts drawn, tables alive, nothing asked of the network."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carseq.report import build_report, read_study
from carseq.schema.percent import NBSP, limit_percent, percent, percent_range
from carseq.schema.tables import CONTRASTS
from hostile import write_hostile
from study import Sample, hostile_samples, write_study

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]

#: Marks of a chart that Vega drew: not its axes, legends or titles.
MARKS = "[class*=role-mark] > *"
FIGURES = [
    "forest",
    "knee",
    "composition",
    "coverage",
    "classes",
    "localization",
    "contrasts",
    "target",
    "clinic",
    "losses",
    "weighing",
    "rules",
    "rule_overlap",
    "thresholds",
    "downsampling",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as p:
        running = p.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield running
        running.close()


class Visit:
    """A page, with what it said and what it asked for."""

    def __init__(
        self, browser: Any, path: Path, width: int = 1280, *, measured: bool = False, **options: Any
    ) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = context.new_page()
        self.page.on(
            "console",
            lambda m: self.complaints.append(m.text) if m.type in {"error", "warning"} else None,
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

        def gate(route: Any) -> None:
            if route.request.url.startswith("file:"):
                route.continue_()
            else:
                self.requests.append(route.request.url)
                route.abort()

        self.page.route(re.compile("^(?!data:|blob:)"), gate)
        if measured:
            self.session = context.new_cdp_session(self.page)
            self.session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-complete]", timeout=60_000)

    def seconds_of_work(self) -> float:
        """Return the CPU time of the page's main thread so far."""
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))

    def overflow(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Visit]:
    made = Visit(browser, report)
    yield made
    assert made.complaints == []
    assert made.requests == []
    made.page.context.close()


@pytest.fixture(scope="module")
def opened(browser: Any, report: Path) -> Iterator[Visit]:
    """One opened page, for tests that only look at it."""
    made = Visit(browser, report)
    yield made
    assert made.complaints == []
    assert made.requests == []
    made.page.context.close()


@pytest.mark.parametrize("figure", FIGURES)
def test_every_chart_is_drawn(opened: Visit, figure: str) -> None:
    host = opened.page.locator(f'[data-figure="{figure}"]')
    assert host.locator(MARKS).count() > 2
    assert host.locator("svg").bounding_box()["height"] > 60


def test_the_maps_hold_ink(opened: Visit) -> None:
    for name in ("type", "sample", "call"):
        colours = opened.page.evaluate(
            """(name) => { const c = document.querySelector(`[data-map=${name}]`);
               const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const seen = new Set();
               for (let i = 0; i < d.length; i += 4)
                 if (d[i + 3] === 255) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]);
               return seen.size; }""",
            name,
        )
        assert colours >= 3, name


def test_the_verdict_is_read_first(opened: Visit) -> None:
    card = opened.page.locator(".card").first
    assert "P01_urine_D28" in card.inner_text()
    assert "CAR T cells detected" in card.inner_text()
    assert "after correction for dropout" in card.inner_text()
    assert (
        "surrogate for HBI0101, not its true" in opened.page.locator(".banner").first.inner_text()
    )


def test_numbers_read_alike_in_tables_and_sentences(opened: Visit, report: Path) -> None:
    """The script's percentages and intervals are those that Python writes: two columns, every sample.

    Of an undetermined one the interval alone: the prior's "10 %" stood there as its share, unlike in the figure.
    """
    detection = read_study(report.parent / "results").detection
    table = opened.page.locator("[data-table=detection]")
    heads = [head.split("\n")[0] for head in table.locator("th").all_inner_texts()]
    shown = table.locator(
        f"tbody td:nth-child({heads.index(f'CAR T share (95{NBSP}%)') + 1})"
    ).all_inner_texts()
    told = [
        "" if r.verdict == "undetermined" else f"{percent(r.prevalence)} "
        for r in detection.itertuples()
    ]
    told = [
        f"{estimate}({percent_range(r.prevalence_low, r.prevalence_high)})" if r.n_t_cells else "–"
        for estimate, r in zip(told, detection.itertuples(), strict=True)
    ]
    assert shown == told
    limits = table.locator(
        f"tbody td:nth-child({heads.index('Detection limit') + 1})"
    ).all_inner_texts()
    assert limits == [limit_percent(value) for value in detection["detection_limit"]]


def test_search_narrows_the_evidence(visit: Visit) -> None:
    table = visit.page.locator("[data-table=evidence]")
    before = table.locator("[role=status]").inner_text()
    table.locator("input[type=search]").fill("P01_urine positive")
    assert before == ""
    found = re.match(r"(\d+) of (\d+) rows", table.locator("[role=status]").inner_text())
    assert found
    assert 0 < int(found[1]) < int(found[2])
    table.locator("input[type=search]").fill("no such cell")
    assert "Nothing matches" in table.inner_text()


def test_menus_and_headings_filter_and_sort(visit: Visit) -> None:
    table = visit.page.locator("[data-table=evidence]")
    table.locator("label", has_text="Call").locator("select").select_option("uncertain")
    calls = table.locator("tbody .call").all_inner_texts()
    assert set(calls) == {"uncertain"}
    heading = table.locator("th", has_text="CAR UMIs")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"


def test_a_row_opens_to_its_molecules_by_keyboard(visit: Visit) -> None:
    table = visit.page.locator("[data-table=evidence]")
    table.locator("input[type=search]").fill("P01_urine positive")
    button = table.locator("td.open button").first
    button.focus()
    visit.page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    assert table.locator("table.molecules tbody tr").count() >= 1
    table.locator("tr.detail svg").wait_for()
    assert table.locator(f"tr.detail {MARKS}").count() > 10
    visit.page.keyboard.press("Enter")
    assert table.locator("table.molecules").count() == 0


def test_pages_turn(visit: Visit) -> None:
    table = visit.page.locator("[data-table=evidence]")
    first = table.locator("tbody tr").first.inner_text()
    table.get_by_role("button", name="Next").click()
    assert table.locator("tbody tr").first.inner_text() != first
    assert "21–40" in table.inner_text()


def test_downloads_are_whole_tables_and_real_svg(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    with page.expect_download() as tsv:
        page.get_by_role("button", name="Download Detection table as TSV").click()
    tsv.value.save_as(tmp_path / "t.tsv")
    lines = (tmp_path / "t.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:3] == ["sample", "patient", "compartment"]
    assert len(lines) == 9
    with page.expect_download() as pdf:
        page.get_by_role("button", name="Save the figure forest as PDF").click()
    pdf.value.save_as(tmp_path / "f.pdf")
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF-1.4")
    for name in ("forest", "coverage", "cells_by_call"):
        with page.expect_download() as svg:
            page.get_by_role("button", name=f"Save the figure {name} as SVG").click()
        svg.value.save_as(tmp_path / "f.svg")
        text = (tmp_path / "f.svg").read_text()
        assert text.startswith("<svg")
        assert text.count("<path") > 3
        assert "var(" not in text


def test_every_figure_saves_as_svg_pdf_and_tsv(visit: Visit) -> None:
    """Each figure and map: an SVG, a PDF whose cross-references are right, and a TSV of more than a heading."""
    page = visit.page
    buttons = page.get_by_role("button", name=re.compile("^Save the figure .* as PDF$"))
    names = [b.get_attribute("aria-label").split()[3] for b in buttons.all()]
    assert set(names) == {*FIGURES, "cells_by_type", "cells_by_sample", "cells_by_call"}
    # Chromium holds back a page that downloads dozens of files: what would be saved is read instead.
    page.evaluate(
        "URL.createObjectURL = (blob) => { window.saved = blob; return '#'; };"
        "HTMLAnchorElement.prototype.click = () => {};"
    )
    for name in names:
        saved = {}
        for kind in ("SVG", "PDF", "TSV"):
            page.evaluate("window.saved = null")
            page.get_by_role("button", name=f"Save the figure {name} as {kind}").click()
            page.wait_for_function("window.saved !== null")
            saved[kind] = page.evaluate("window.saved.text()")
        assert saved["SVG"].startswith("<svg"), name
        pdf = saved["PDF"].encode("ascii")
        assert pdf.startswith(b"%PDF-1.4")
        start = int(pdf.rsplit(b"startxref\n", 1)[1].split()[0])
        places = [int(line[:10]) for line in pdf[start:].splitlines()[3:7]]
        assert all(pdf[at:].startswith(b"%d 0 obj" % i) for i, at in enumerate(places, 1)), name
        length = int(re.search(rb"/Length (\d+)", pdf)[1])
        stream = pdf.split(b"stream\n", 1)[1]
        assert stream[length:].startswith(b"\nendstream"), name
        assert b"NaN" not in stream, name
        assert stream.count(b" Tj") > 2, name
        lines = saved["TSV"].splitlines()
        assert len({line.count("\t") for line in lines}) == 1, name
        assert len(lines) > 1, name


def test_a_spreadsheet_sees_no_formula_in_a_saved_table(browser: Any, tmp_path: Path) -> None:
    """Text that begins with =, +, - or @, in full width too, gets an apostrophe; negative numbers stay numbers."""
    signs = "=+-@\N{FULLWIDTH PLUS SIGN}"
    samples = [Sample(f"{c}cmd|x", f"{c}P", timepoint="-3", n_cells=40) for c in signs]
    build_report(write_study(tmp_path / "results", samples), tmp_path / "report.html")
    made = Visit(browser, tmp_path / "report.html")
    with made.page.expect_download() as tsv:
        made.page.get_by_role("button", name="Download Detection table as TSV").click()
    tsv.value.save_as(tmp_path / "t.tsv")
    rows = [line.split("\t") for line in (tmp_path / "t.tsv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == [f"'{c}cmd|x" for c in signs]
    assert [row[1] for row in rows] == [f"'{c}P" for c in signs]
    assert {row[3] for row in rows} == {"-3"}
    assert made.complaints == []


def test_hovering_a_cell_names_it(visit: Visit) -> None:
    canvas = visit.page.locator("[data-map=type]")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    tip = visit.page.locator("#tip")
    for step in range(1, 40):
        visit.page.mouse.move(box["x"] + box["width"] * step / 40, box["y"] + box["height"] * 0.5)
        if tip.is_visible():
            break
    assert re.search(r"\w+:[ACGT]{16}\n.+\n\d+ CAR UMIs?", tip.inner_text())


def test_the_maps_zoom_by_drag_and_by_key(visit: Visit) -> None:
    canvas = visit.page.locator("[data-map=type]")
    ink = "document.querySelector('[data-map=type]').toDataURL()"
    whole = visit.page.evaluate(ink)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    visit.page.mouse.move(box["x"] + 40, box["y"] + 40)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 160, box["y"] + 140)
    visit.page.mouse.up()
    assert visit.page.evaluate(ink) != whole
    canvas.focus()
    visit.page.keyboard.press("0")
    assert visit.page.evaluate(ink) == whole
    visit.page.keyboard.press("+")
    assert visit.page.evaluate(ink) != whole


def test_the_first_tab_skips_to_the_verdict(visit: Visit) -> None:
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.textContent") == "Skip to the verdict"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hangs_over_the_side(browser: Any, report: Path, width: int, scheme: str) -> None:
    made = Visit(browser, report, width, color_scheme=scheme)
    made.page.locator("[data-table=evidence] td.open button").first.click()
    assert made.overflow() <= 0
    size = made.page.evaluate(
        "parseFloat(getComputedStyle(document.querySelector('.card p')).fontSize)"
    )
    assert size >= 16
    made.page.set_viewport_size({"width": 700, "height": 900})
    made.page.wait_for_timeout(300)
    assert made.overflow() <= 0
    assert made.complaints == []


def test_tables_are_whole_on_a_wide_screen(browser: Any, report: Path) -> None:
    """No table is cut at the page's right edge, whatever is opened, and letters stay readable."""
    made = Visit(browser, report, 1600)
    made.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    made.page.wait_for_timeout(300)
    _tables_are_whole(made)
    for width in (1920, 1440, 1280):
        made.page.set_viewport_size({"width": width, "height": 900})
        made.page.wait_for_timeout(200)
        _tables_are_whole(made)


def test_long_names_leave_tables_whole_and_what_has_no_room_is_in_the_rows(
    browser: Any, tmp_path: Path
) -> None:
    """Twelve samples of long names at 1,280 px: no table cut, rows of two lines; the rest opens by keyboard, and on
    paper and in the file every column is there."""
    name = "LUPUS-CAR01_patient{:02d}_{}_day28_second_visit"
    samples = [
        Sample(name.format(i, c), f"LUPUS-CAR01_patient{i:02d}", c, n_cells=40, t_share=0.5)
        for i in range(6)
        for c in ("urine", "blood")
    ]
    build_report(write_study(tmp_path / "results", samples), tmp_path / "report.html")
    made = Visit(browser, tmp_path / "report.html", 1280)
    made.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    made.page.wait_for_timeout(300)
    _tables_are_whole(made)
    table = made.page.locator("[data-table=contrasts]")
    heads = table.locator("thead th").count()
    assert "Applies to" not in table.locator("thead").inner_text()
    table.locator("td.open button").first.focus()
    made.page.keyboard.press("Enter")
    assert "Applies to\npatient LUPUS-CAR01_patient00 alone" in table.locator(
        "tr.detail"
    ).inner_text().replace("\u200b", "")
    more = table.get_by_role("button", name=re.compile(r"more columns?$"))
    more.focus()
    made.page.keyboard.press("Enter")
    assert table.locator("thead th").count() >= heads + 2
    assert "Applies to" in table.locator("thead").inner_text()
    table.get_by_role("button", name="Fewer columns").click()
    made.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert "Applies to" in table.locator("thead").inner_text()
    made.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert table.locator("thead th").count() == heads
    with made.page.expect_download() as tsv:
        made.page.get_by_role("button", name="Download Contrasts table as TSV").click()
    header = Path(tsv.value.path()).read_text().split("\n")[0].split("\t")
    assert set(header) == set(CONTRASTS.columns)
    made.page.set_viewport_size({"width": 390, "height": 800})
    made.page.wait_for_timeout(300)
    assert made.overflow() <= 0
    assert made.complaints == []


def _tables_are_whole(made: Visit) -> None:
    scrolls = "[...document.querySelectorAll('.scroll')]"
    cut = f"{scrolls}.filter(s => s.scrollWidth > s.clientWidth + 1).map(s => s.ariaLabel)"
    assert made.page.evaluate(cut) == []
    letters = f"Math.min(...{scrolls}.map(s => parseFloat(getComputedStyle(s.querySelector('table')).fontSize)))"
    assert made.page.evaluate(letters) >= 13
    # A row of contrasts was four lines high, one of the evidence seven.
    lines = (
        f"{scrolls}.flatMap(s => [...s.querySelectorAll('tbody tr:not(.detail)')])"
        ".map(r => (r.offsetHeight - 12) / parseFloat(getComputedStyle(r).lineHeight))"
    )
    rows = made.page.evaluate(lines)
    assert len(rows) > 100
    assert max(rows) < 2.6


def test_hostile_names_are_shown_and_do_nothing(browser: Any, tmp_path: Path) -> None:
    build_report(write_study(tmp_path / "results", hostile_samples()), tmp_path / "report.html")
    made = Visit(browser, tmp_path / "report.html")
    assert made.page.evaluate("window.hacked") is None
    assert hostile_samples()[0].name in made.page.locator(".card h3").first.inner_text()
    assert made.page.locator("main img, main b").count() == 0
    assert made.complaints == made.requests == []


def test_hostile_text_in_every_place_is_shown_and_does_nothing(
    browser: Any, tmp_path: Path
) -> None:
    """Scripts, formulas, templates, text that runs backwards: in sheets, types, genes, features, findings, versions."""
    places = write_hostile(tmp_path / "results")
    assert places >= {
        "patient",
        "timepoint",
        "cell_type",
        "feature",
        "gene",
        "finding",
        "measure",
        "path",
    }
    build_report(tmp_path / "results", tmp_path / "report.html", tmp_path / "methods.md")
    made = Visit(browser, tmp_path / "report.html")
    made.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for name in ("forest", "composition", "localization", "coverage"):
        host = made.page.locator(f'[data-figure="{name}"]')
        host.scroll_into_view_if_needed()
        host.hover(position={"x": 150, "y": 30}, force=True)
    text = made.page.locator("body").inner_text()
    assert "window.hacked='patient'" in text
    assert "{{7*7}}" in text
    assert "http://x.org" in text
    with made.page.expect_download() as saved:
        made.page.locator("section#verdict .bar button", has_text="TSV").first.evaluate(
            "b => b.click()"
        )
    cells = [
        c for line in Path(saved.value.path()).read_text().split("\n") for c in line.split("\t")
    ]
    assert any(c.startswith("'=HYPERLINK") for c in cells)
    assert [c for c in cells if c[:1] in ("=", "+", "@")] == []
    assert "/" not in saved.value.suggested_filename
    assert made.page.evaluate("window.hacked") is None
    assert made.page.locator("main img, main script, main svg[onload]").count() == 0
    assert made.complaints == made.requests == []
    assert re.search(r"(?<!\\)<(script|img)", (tmp_path / "methods.md").read_text()) is None


@pytest.mark.parametrize(
    "samples",
    [[Sample("none", "P1", n_cells=0)], [Sample("m", "P1", n_cells=12, from_matrix=True)], []],
    ids=["no cells", "matrix", "no samples"],
)
def test_poor_studies_open_without_a_complaint(
    browser: Any, tmp_path: Path, samples: list[Sample]
) -> None:
    build_report(write_study(tmp_path / "results", samples), tmp_path / "report.html")
    made = Visit(browser, tmp_path / "report.html", 390)
    assert made.complaints == made.requests == []
    assert made.overflow() <= 0


def test_a_large_study_is_ready_in_seconds(browser: Any, large: Path) -> None:
    made = Visit(browser, large, measured=True)
    said = made.page.evaluate("({...document.documentElement.dataset})")
    assert int(said["ready"]) < 4000
    # Time of the page's own thread: that of the clock also counts what else the machine does.
    assert made.seconds_of_work() < 6
    assert made.complaints == []


def test_print_opens_every_table(visit: Visit, tmp_path: Path) -> None:
    visit.page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 50_000
    visit.page.emulate_media(media="print")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert visit.page.locator("details:not([open])").count() == 0
    assert not visit.page.locator("nav").is_visible()

"""Draws the tutorial's pictures from the demo's results: ``python docs/pictures.py demo/results docs/pictures``.

Needs playwright and a Chromium for the picture of the report; the rest is drawn by carseq's own figures.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import anndata
import numpy as np
from matplotlib.figure import Figure as Drawing
from PIL import Image
from playwright.sync_api import sync_playwright

from carseq import figures
from carseq.figures import Figure
from carseq.report import Study, read_study

#: The sample shown.
SAMPLE = "P01_urine_D28"


def save(figure: Figure | Drawing, path: Path) -> None:
    """Save a figure as PNG of few colours, which keeps the repository small."""
    if isinstance(figure, Figure):
        figure.save(path, scale=1.3)
    else:
        figure.savefig(path, dpi=110, facecolor="white")
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def draw(study: Study, cells: anndata.AnnData, out: Path) -> None:
    """Draw the cells, the CAR's coverage and the losses of the sample shown."""
    molecules = study.molecules[study.molecules["sample"] == SAMPLE]
    save(figures.umap(cells, "cell_type"), out / "umap_types.png")
    coverage = figures.coverage(molecules, study.domains, study.homology, study.tx_length)
    save(coverage, out / "coverage.png")
    save(figures.losses(study.losses[study.losses["sample"] == SAMPLE]), out / "losses.png")


def photograph(report: Path, verdict: Path, top: Path) -> None:
    """Take a picture of the report's verdict, and of the top of the page for the README."""
    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    )
    with sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.goto(report.resolve().as_uri())
        page.locator("#verdict").screenshot(path=verdict)
        page = browser.new_page(viewport={"width": 1280, "height": 1390})
        page.goto(report.resolve().as_uri())
        page.screenshot(path=top)
        browser.close()
    for path in (verdict, top):
        Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def told(*words: str) -> str:
    """Return what a command prints, without blanks at the ends of lines and without paths of this machine."""
    made = subprocess.run([sys.executable, "-m", "carseq", *words], capture_output=True, text=True, check=True,
                          env={"PATH": "", "COLUMNS": "100", "PYTHONPATH": ":".join(sys.path)})  # fmt: skip
    lines = [
        line.rstrip()
        for line in made.stdout.splitlines()
        if not line.startswith(("wrote", "report:"))
    ]
    shown = [textwrap.fill(line, 100) if len(line) > 100 else line for line in lines]
    return "\n".join(shown).strip() + "\n"


def main(results: Path, out: Path) -> None:
    """Draw everything."""
    out.mkdir(parents=True, exist_ok=True)
    cells = anndata.read_h5ad(results / "cohort" / "cells.h5ad")
    draw(read_study(results), cells, out)
    photograph(results / "report" / "report.html", out / "verdict.png", out.parent / "report.png")
    own = cells.obs[(cells.obs["sample"] == SAMPLE) & (cells.obs["car_call"] == "positive")]
    # A cell of few molecules fits on a page.
    shown = str(own.index[np.argmin(own["car_umis"].to_numpy())])
    (out / "verdict.txt").write_text(told("verdict", str(results)))
    evidence = results.parent / "explained"
    (out / "explain.txt").write_text(
        told("explain", shown, "--results", str(results), "--to", str(evidence), "--width", "100")
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

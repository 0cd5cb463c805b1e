"""figures: every figure draws from a study's tables, and from tables without rows."""

from __future__ import annotations

import io
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text

from carseq import figures
from carseq.figures import Figure, summaries
from carseq.report import Study, alerts
from carseq.schema.obs import OBS
from carseq.schema.tables import (
    CLINIC,
    CONTRASTS,
    DETECTION,
    DOWNSAMPLING,
    LOCALIZATION,
    LOSSES,
    MOLECULES,
    RULES,
    TARGET,
    THRESHOLDS,
)


@pytest.fixture(scope="module")
def cohort(study: Study) -> ad.AnnData:
    return ad.read_h5ad(study.results / "cohort" / "cells.h5ad")


def draw(figure: Figure | Drawing, kind: str = "png") -> bytes:
    stream = io.BytesIO()
    if isinstance(figure, Figure):
        figure.save(stream, kind, scale=1)
    else:
        figure.savefig(stream, format=kind)
    return stream.getvalue()


def n_marks(figure: Figure | Drawing, drawn: bytes) -> int:
    if isinstance(figure, Figure):
        return len(re.findall(rb"<(?:path|line)[^>]* aria-roledescription", drawn))
    return sum(
        len(a.lines) + len(a.patches) + len(a.collections) + 3 * len(a.images) for a in figure.axes
    )


def said(figure: Figure | Drawing) -> str:
    return figure.message if isinstance(figure, Figure) else figure.axes[0].texts[0].get_text()


def test_every_figure_draws_a_study(study: Study, cohort: ad.AnnData, tmp_path: Path) -> None:
    knee = study.knees[study.samples[0]]
    drawn = {
        "prevalence": figures.prevalence(study.detection),
        "knee": figures.knee(knee, study.samples[0]),
        "types": figures.umap(cohort),
        "calls": figures.umap(cohort, by="car_call"),
        "composition": figures.composition(study.cells),
        "evidence": figures.evidence_classes(study.molecules),
        "coverage": figures.coverage(study.molecules, study.domains, study.homology),
        "states": figures.localization(study.localization),
        "contrasts": figures.contrasts(study.contrasts),
        "target": figures.target(study.target),
        "clinic": figures.clinic(study.clinic),
        "expected": figures.coverage(
            study.molecules,
            study.domains,
            study.homology,
            study.tx_length,
            alerts.expected_depth(study, study.samples[:1]),
        ),
        "losses": figures.losses(study.losses),
        "weighing": figures.weighing(study.cells),
        "rules": figures.rules(study.cells, study.detection),
        "rule overlap": figures.rule_overlap(study.rules),
        "thresholds": figures.thresholds(study.thresholds),
        "downsampling": figures.downsampling(study.downsampling),
        "quality": figures.quality(study.cells),
        "quality by sample": figures.quality(study.cells, by="sample"),
        "scatter": figures.quality_scatter(study.cells),
        "filters": figures.filters(study.filters),
        "doublets": figures.doublets(study.cells),
        "contamination": figures.contamination(study.cells),
        "mixing": figures.mixing(study.cells),
        "agreement": figures.agreement(study.cells),
        "T-cell states": figures.states(study.cells),
    }
    for name, figure in drawn.items():
        made = draw(figure, "svg" if isinstance(figure, Figure) else "png")
        assert n_marks(figure, made) > 2, name
        assert len(made) > 4000, name


@pytest.mark.parametrize(
    "figure",
    [
        figures.prevalence(DETECTION.empty()),
        figures.knee(OBS.empty()[[]], "P1"),
        figures.umap(ad.AnnData(np.zeros((0, 3), dtype=np.float32), obs=OBS.empty())),
        figures.composition(OBS.empty()),
        figures.evidence_classes(MOLECULES.empty()),
        figures.localization(LOCALIZATION.empty()),
        figures.contrasts(CONTRASTS.empty()),
        figures.contrasts(CONTRASTS.empty(), within=True),
        figures.target(TARGET.empty()),
        figures.clinic(CLINIC.empty()),
        figures.losses(LOSSES.empty()),
        figures.weighing(OBS.empty()),
        figures.rules(OBS.empty(), DETECTION.empty()),
        figures.rule_overlap(RULES.empty()),
        figures.thresholds(THRESHOLDS.empty()),
        figures.downsampling(DOWNSAMPLING.empty()),
        figures.quality(OBS.empty()),
        figures.quality_scatter(OBS.empty()),
        figures.filters(OBS.empty()[["sample"]]),
        figures.doublets(OBS.empty()),
        figures.contamination(OBS.empty()),
        figures.mixing(OBS.empty()),
        figures.agreement(OBS.empty()),
        figures.states(OBS.empty()),
        figures.markers(ad.AnnData(np.zeros((0, 3), dtype=np.float32), obs=OBS.empty())),
    ],
)
def test_a_table_without_rows_gives_a_figure_that_says_so(figure: Figure | Drawing) -> None:
    assert said(figure).startswith(("No ", "P1: no"))
    assert draw(figure)


def test_the_marker_plot_shows_the_genes_of_the_types_there_are() -> None:
    """Two types with one marker each: two rows, both genes, the largest dot where type and gene belong together."""
    obs = pd.DataFrame({"cell_type": ["a", "a", "b", "b"]}, index=list("wxyz"))
    adata = ad.AnnData(np.array([[3, 0], [2, 0], [0, 1], [0.5, 4]], dtype=np.float32), obs=obs)
    adata.var_names = ["GA", "GB"]
    table = pd.DataFrame({"cell_type": ["a", "b", "c"], "gene": ["GA", "GB", "GC"], "weight": 1.0})
    axes = figures.markers(adata, table).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["GA", "GB"]
    np.testing.assert_allclose(axes.collections[0].get_sizes(), [110, 0, 55, 110])


def test_odds_ratios_of_zero_and_infinity_are_drawn(study: Study) -> None:
    table = study.contrasts.copy()
    table.loc[table.index[0], ["estimate", "low", "high"]] = [0.0, 0.0, 0.3]
    table.loc[table.index[1], ["estimate", "low", "high"]] = [np.inf, 3.0, np.inf]
    assert draw(figures.contrasts(table))


def test_several_patients_at_two_times_are_told_apart(study: Study) -> None:
    two = study.contrasts[study.contrasts["group"] == ""].head(1)
    two = pd.concat([two, two]).assign(n_patients=3, compartment="urine", sample="", reference="")
    two["reading"] = [f"{time}; 3 patients: what they have in common" for time in ("D7", "D28")]
    labels = figures.contrasts(two).data["rows"]["label"]
    assert {"3 patients, urine, D7", "3 patients, urine, D28"} <= set(labels)


def test_text_in_svg_stays_text(study: Study) -> None:
    svg = draw(figures.prevalence(study.detection), "svg").decode()
    assert "P01_urine_D28</text>" in svg


def test_calls_differ_by_shape_as_well_as_colour() -> None:
    colours, markers, _ = zip(*figures.CALLS.values(), strict=True)
    assert len(set(colours)) == len(set(markers)) == len(figures.CALLS)


def test_colours_are_distinct_and_unknown_is_grey() -> None:
    names = [f"type {i}" for i in range(20)]
    palette = figures.colours([*names, "unknown", ""])
    assert len({palette[n] for n in names}) == 20
    assert palette["unknown"] == palette[""] == figures.UNKNOWN


def test_car_molecules_outside_t_cells_are_marked_as_signal(study: Study) -> None:
    shown = figures.shown_call(study.cells)
    outside = study.cells[shown == "signal"]
    assert len(outside)
    assert (outside["lineage"] != "T").all()
    assert (outside["car_umis"] > 0).all()


def test_a_cell_that_the_model_does_not_ask_has_no_probability() -> None:
    """A doublet of a T cell with CAR molecules has none: drawn at 0 % it would seem to be surely no CAR T cell."""
    cells = pd.DataFrame(
        {
            "sample": "S1",
            "barcode": ["A", "B", "C"],
            "cell_type": ["T cell", "T cell", "B cell"],
            "lineage": ["T", "T", "B"],
            "is_doublet": [False, True, False],
            "car_umis": [3, 2, 1],
            "car_call": ["positive", "uncertain", "negative"],
            "car_expected_ambient": 0.01,
            "car_posterior": [0.99, 0.0, 0.0],
        }
    )
    shown = figures.weighing(cells).data["rows"]["posterior"]
    assert shown.iloc[0] == 0.99
    assert shown.iloc[1:].isna().all()


def test_the_construct_is_drawn_with_what_the_file_lacks(tmp_path: Path) -> None:
    from carseq.construct import load_construct
    from carseq.data import path as data_path

    whole = load_construct(data_path("constructs/hbi0101_surrogate_native.gb"), name="HBI0101")
    assert whole.orf is not None
    start, end = whole.orf
    (tmp_path / "orf.fa").write_text(f">orf\n{whole.sequence[start:end]}\n")
    for construct, words in ((whole, 0), (load_construct(tmp_path / "orf.fa"), 2)):
        figure = figures.construct_map(construct)
        told = [t.get_text() for axes in figure.axes for t in axes.texts]
        assert {"CD3zeta", "VL", "ψ intron"} <= set(told)
        assert told.count("not in the file") == words
        assert len(draw(figure)) > 10_000


def test_expected_coverage_is_that_of_the_samples_molecules(study):
    """As many molecules as were found, spread by the chemistry of each sample; none where it is not known."""
    sample = study.samples[0]
    found = summaries.car_molecules(study.molecules)
    depth = alerts.expected_depth(study, [sample])
    per_100 = study.expected["expected_3p"].to_numpy()
    np.testing.assert_allclose(depth, (found["sample"] == sample).sum() * per_100 / 100)
    assert alerts.expected_depth(study, []) is None
    study.solo[sample].pop("strand")
    assert alerts.expected_depth(study, [sample]) is None


def test_a_time_is_named_once_above_what_lies_there(study: Study) -> None:
    """Urine, blood and flow cytometry of one day gave three names, one over the other."""
    rows = figures.clinic(study.clinic).data["rows"]
    named = rows[rows["named"] != ""]
    assert not named.duplicated(["menu_patient", "panel", "place"]).any()
    assert len(named)
    at = rows.groupby(["menu_patient", "panel", "place"])["top"].transform("max")
    assert (named["top"] == at[named.index]).all()


def test_shares_of_many_samples_begin_with_one_of_urine(study: Study) -> None:
    """Thirty samples were twelve screens of rows; the one that the study asks about stood on the ninth."""
    one = study.localization.iloc[:4]
    many = pd.concat(
        [
            one.assign(
                sample=f"S{i}",
                compartment="urine" if i == 5 else "blood",
                estimate=0.5,
                low=0.2,
                high=0.8,
            )
            for i in range(14)
        ],
        ignore_index=True,
    )
    shown = figures.localization(many)
    (menu,) = (m for m in shown.menus if m.column == "menu_sample")
    assert menu.options[0][0] == "S5"
    assert menu.options[-1][0] is None
    # A notebook has no menu.
    assert set(shown.rows()["rows"]["menu_sample"]) == {f"S{i}" for i in range(14)}
    few = figures.localization(many[many["sample"].isin(["S1", "S5"])])
    assert next(m for m in few.menus if m.column == "menu_sample").options[0][0] is None


def test_ambient_rna_that_nobody_measured_is_not_drawn(study: Study) -> None:
    """Samples given as matrices of called cells: their lower bound, 0.5 %, was drawn as if it were a measurement."""
    first, *others = dict.fromkeys(study.cells["sample"])
    cells = study.cells.assign(contamination=np.linspace(0.01, 0.2, len(study.cells)))
    cells.loc[cells["sample"] == first, "contamination"] = 0.005
    axes = figures.contamination(cells).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"{first} (not measured)",
        *others,
    ]
    nothing = figures.contamination(cells.assign(contamination=0.005))
    assert "not measured" in " ".join(text.get_text() for text in nothing.findobj(Text))

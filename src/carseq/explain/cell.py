"""What is known of one cell or droplet, its posterior term by term, and both in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from carseq.calling import MAX_AMBIENT_P, explain_posterior
from carseq.calling.calls import AGAINST
from carseq.calling.negbin import upper_tail
from carseq.cells.barcodes import NOT_IN_LIST
from carseq.cells.markers import T_LINEAGE, UNKNOWN
from carseq.explain.phrases import probability, times
from carseq.figures.phrases import count
from carseq.schema.percent import plain_percent, two_digit_percent
from carseq.schema.results import FILES
from carseq.schema.thresholds import FDR

#: What is not known of the CAR molecules of a matrix.
_UNCHECKED = "as the matrix counts them: no read was compared with human genes"


def facts(row: pd.Series, *, of_matrix: bool = False) -> pd.DataFrame:
    """Return what is known of a cell; ``of_matrix``: of a sample that came as a matrix."""

    def second(key: str) -> str:
        other = str(row.get(f"{key}_2", ""))
        if other in ("", "nan"):
            return ""
        return "; second method agrees" if other == row[key] else f"; second method says {other}"

    doublet = "too few cells to tell" if pd.isna(row["doublet_score"]) else ""
    doublet = doublet or f"{row['doublet_score']:.2f}"
    checked = f"{int(row['car_umis_unique'])} of them told apart from human genes"
    if of_matrix:
        checked = _UNCHECKED
    rows = [
        ("sample", row["sample"]),
        ("patient", row["patient"]),
        ("compartment", row["compartment"]),
        ("time point", row["timepoint"]),
        ("role", str(row["role"]).replace("_", " ")),
        ("barcode", row["barcode"]),
        ("UMIs", f"{row['total_umis']:,}"),
        ("genes", f"{row['n_genes']:,}"),
        (
            "mitochondrial",
            "not known: the matrix holds no such gene"
            if pd.isna(row["pct_mito"])
            else f"{plain_percent(row['pct_mito'] / 100)} of UMIs",
        ),
        ("doublet score", doublet + ("; called a doublet" if row["is_doublet"] else "")),
        ("lineage", f"{row['lineage']}{second('lineage')}"),
        (
            "cell type",
            f"{row['cell_type']} ({_how_sure(row)}){second('cell_type')}",
        ),
        ("T state", row["t_state"]),
        ("cluster", row["leiden"]),
        ("CAR molecules", f"{row['car_umis']}, {checked}"),
        ("call", row["car_call"]),
        ("posterior", probability(float(row["car_posterior"])) if _is_asked(row) else ""),
        ("reason", row["car_reason_text"]),
    ]
    kept = [(what, str(value)) for what, value in rows if str(value) not in ("", "nan")]
    return pd.DataFrame(kept, columns=["what", "value"])


def _how_sure(row: pd.Series) -> str:
    """Say how sure a cell's type is; "unknown" is the lack of one, of which a confidence would say nothing."""
    if row["cell_type"] == UNKNOWN:
        return "no lineage reaches a probability of 0.5"
    return f"confidence {row['cell_type_confidence']:.2f}"


def _is_asked(row: pd.Series) -> bool:
    """Whether the model gave the cell a posterior: T cells that are not doublets."""
    return bool(row["lineage"] == T_LINEAGE and not row["is_doublet"])


def posterior_terms(
    obs: pd.DataFrame, model: Mapping[str, Any], index: str, *, of_matrix: bool = False
) -> pd.DataFrame:
    """Return the posterior of one cell, term by term.

    Parameters
    ----------
    obs
        The cohort's, after :func:`carseq.calling.call_cells`.
    model
        ``uns["car_model"]``.
    index
        The cell.
    of_matrix
        Whether its sample came as a matrix.

    Returns
    -------
    pandas.DataFrame
        ``term``, ``value``, ``meaning``; no rows where the model is not stored.
    """
    columns = ["term", "value", "meaning"]
    if not model or "car_null_shape" not in obs:
        return pd.DataFrame(columns=columns)
    row = obs.loc[index]
    seen, k, n = int(row["car_umis"]), _evidence(row), float(row["total_umis"])
    ambient, background = float(row["car_expected_ambient"]), float(row["car_expected_background"])
    shape, mean = float(row["car_null_shape"]), max(ambient + background, 1e-12)
    by_chance = float(upper_tail(np.array(k), np.array(mean), shape))
    rows: list[tuple[str, float, str]] = [
        ("CAR molecules counted", seen, f"of {n:,.0f} molecules of the cell"),
        ("CAR molecules as evidence", k, _UNCHECKED if of_matrix
         else "told apart from human genes; beside these, shared ones by their probability"),
        ("expected from ambient RNA", ambient, "contamination x depth x the CAR's share of it x its level, by T cells"),
        ("expected from background", background, "chimeras, swapped molecules, ambient RNA beyond the estimate"),
        ("chance that these two show so many", by_chance, f"a call needs {MAX_AMBIENT_P} or less"),
    ]  # fmt: skip
    if not _is_asked(row):
        return pd.DataFrame(rows, columns=columns)
    cell = ad.AnnData(obs=obs.loc[[index]], uns={"car_model": dict(model)})
    value = explain_posterior(cell, index).set_index("term")["value"]
    log_car, log_null = (
        value[f"log likelihood, {kind}"] / math.log(10)
        for kind in ("own and ambient", "ambient alone")
    )
    ratio, prior = log_car - log_null, float(value["prior"])
    odds = (
        math.log10(prior / (1 - prior)) if 0 < prior < 1 else math.copysign(math.inf, prior - 0.5)
    )
    own = float(value["expected own"]) + ambient + background
    rows += [
        ("expected of a CAR T cell of this depth", own, "its own CAR mRNA, ambient RNA and background"),
        ("log10 likelihood, CAR T cell", log_car, f"probability that such a cell shows {k}: {10**log_car:.2g}"),
        ("log10 likelihood, other T cell", log_null, f"probability that such a cell shows {k}: {10**log_null:.2g}"),
        ("log10 likelihood ratio", ratio, "their difference; above 0 for a CAR T cell, 1 is ten times"),
        ("prior", prior, f"CAR T cells among {_alike(row, 'other ')}; log10 odds {odds:.2f}"),
        ("posterior", float(row["car_posterior"]), f"log10 odds {odds + ratio:.2f}: prior and ratio added"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _evidence(row: pd.Series) -> int:
    """Return the CAR molecules that the model counts: shared ones alone are none."""
    return int(row["car_evidence"] if "car_evidence" in row else row["car_umis"])


def _of_clone(row: pd.Series) -> bool:
    """Return whether the other cells of its clonotype enter a cell's prior."""
    return bool(np.isfinite(float(row.get("car_clone_support", np.nan))))


def _alike(row: pd.Series, other: str = "") -> str:
    """Return the cells that a cell's prior is learnt from, in words."""
    return f"the sample's {other}T cells of its depth{', type and clonotype' if _of_clone(row) else ' and type'}"


def _why_not(row: pd.Series, terms: Mapping[str, Any], fdr: float) -> str:
    """Return why a cell that is rather a CAR T cell than not is no call, or how a doubtful one is, or nothing."""
    doubt = 1 - float(row["car_posterior"])
    if row["car_call"] == "positive":
        if doubt <= fdr:
            return ""
        return (
            f" Alone it would be doubtful: of all calls of the sample together, no more than {plain_percent(fdr)} "
            "are expected to be false."
        )
    if doubt >= 0.5 or not _evidence(row):
        return ""
    by_chance = terms["chance that these two show so many"]
    if by_chance > MAX_AMBIENT_P:
        why = f"ambient RNA and background show as many with a probability of {two_digit_percent(by_chance)}"
    elif doubt > fdr and float(row.get("car_clone_support", np.nan)) < AGAINST:
        why = "dozens of other cells of its clonotype show no CAR molecule"
    else:
        why = f"with it more than {plain_percent(fdr)} of the sample's calls would be expected to be false"
    return f" It is not called, since {why}."


def words(row: pd.Series, terms: pd.DataFrame, fdr: float = FDR) -> str:
    """Return the call and the reason for it, as a text.

    Parameters
    ----------
    row
        The cell's ``obs``.
    terms
        From :func:`posterior_terms`.
    fdr
        Expected share (0-1) of false calls that was accepted.
    """
    k, evidence = int(row["car_umis"]), _evidence(row)
    head = f"{str(row['car_call']).capitalize()}. "
    value = dict(zip(terms["term"], terms["value"], strict=True))
    seen = f"{count(k, 'CAR molecule')} in {row['total_umis']:,} UMIs"
    if not _is_asked(row):
        kind = "a doublet" if row["is_doublet"] else f"of lineage {row['lineage']}"
        text = f"{head}Only T cells that are not doublets can be called; this cell is {kind}. "
        if not k:
            return f"{text}It shows no CAR molecule either."
        return f"{text}Why it shows the CAR all the same: {row['car_reason_text']}."
    posterior = probability(float(row["car_posterior"]))
    if "prior" not in value:
        return f"{head}T cell; {seen}; posterior {posterior}."
    prior = f"about {two_digit_percent(value['prior'])} of {_alike(row)} are CAR T cells"
    if not evidence:
        missed = 10 ** value["log10 likelihood, CAR T cell"]
        told = "T cell without a CAR molecule. "
        if k:
            told = f"T cell with {seen}, all of which may as well be a human gene's: they are no evidence. "
        return (
            f"{head}{told}{two_digit_percent(missed)} of CAR T cells of its depth would show none "
            f"{'that counts' if k else 'either'} (dropout), and {prior}: probability {posterior} that this is one."
        )
    if evidence != k:
        seen += (
            f" ({evidence} of them as evidence)" if evidence < k else f" ({evidence} as evidence)"
        )
    ratio = value["log10 likelihood ratio"]
    return (
        f"{head}T cell with {seen}, where ambient RNA would show {row['car_expected_ambient']:.2g} and a CAR T cell "
        f"{value['expected of a CAR T cell of this depth']:.2g}. A CAR T cell explains the count {times(abs(ratio))} "
        f"times {'better' if ratio >= 0 else 'worse'} than ambient RNA; {prior}: probability {posterior}."
        + _why_not(row, value, fdr)
    )


def explain_droplet(
    results: Path, sample: str, droplet: pd.Series, n_car: int
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return terms (none), facts and words of a droplet that is not a cell of the cohort."""
    is_cell = bool(droplet["is_cell"])
    seen = f"{count(int(droplet['total_umis']), 'UMI')}; its CAR molecules: {n_car}"
    if is_cell:
        words = f"Removed by a quality filter: {seen}. What was removed, step by step: " + str(
            FILES["filters"].under(results, sample=sample)
        )
    else:
        words = f"Not called a cell: {seen}."
        if n_car and str(droplet.get("reason", "")) == NOT_IN_LIST:
            words += (
                " The cells were given, and it is none of them: an empty droplet, whose molecules are ambient RNA, or "
                "a cell that was left out."
            )
        elif n_car:
            words += " CAR molecules outside cells are what ambient RNA is made of."
    rows = [
        ("sample", sample),
        ("barcode", droplet["barcode"]),
        ("UMIs", f"{int(droplet['total_umis']):,}"),
        ("genes", f"{int(droplet['n_genes']):,}" if "n_genes" in droplet else ""),
        ("droplet", f"{'a cell' if is_cell else 'not a cell'}: {droplet.get('reason', '')}"),
    ]
    facts = pd.DataFrame([(a, str(b)) for a, b in rows if str(b)], columns=["what", "value"])
    return pd.DataFrame(columns=["term", "value", "meaning"]), facts, words

"""CAR T fractions of any T cells of a called cohort, and what one cell's posterior is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.calling.model import Fit
from carseq.cells.annotation import is_single_t
from carseq.errors import CarseqError

if TYPE_CHECKING:
    from anndata import AnnData


def fraction_of(adata: AnnData, cells: pd.Index) -> tuple[float, float, float]:
    """Return the dropout-corrected CAR T fraction of T cells, with its 95 % interval.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    cells
        Index of the T cells in question, of one sample or several: the fraction of several is the mean of theirs by
        the cells of each. Of a part of a sample's T cells, chosen by their state or a gene, the fraction may lie apart
        from what the model says of T cells of their depth and type.

    Returns
    -------
    tuple of float
        Estimate (posterior mean), lower and upper end; NaN for no cells.
    """
    obs = adata.obs.loc[cells]
    return Fit.from_uns(adata.uns["car_model"]).fraction(obs, apart=_partly(adata, obs))


def draw_fraction(
    adata: AnnData, cells: pd.Index, n: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw the dropout-corrected CAR T fraction of T cells from its posterior.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    cells
        Index of the T cells in question, at least one.
    n
        Number of draws.
    rng
        Source of randomness.
    """
    obs = adata.obs.loc[cells]
    fitted = Fit.from_uns(adata.uns["car_model"])
    values, _ = fitted.fraction_draws(obs, rng, apart=_partly(adata, obs))
    return np.asarray(rng.choice(values, n))


def _partly(adata: AnnData, cells: pd.DataFrame) -> list[str]:
    """Return the samples of which these are some of the T cells: how they were chosen, the model does not know."""
    of_all = adata.obs["sample"].astype(str)[is_single_t(adata.obs)].value_counts()
    of_these = cells["sample"].astype(str).value_counts()
    return [str(name) for name, n in of_these.items() if n < of_all.get(name, 0)]


def explain_posterior(adata: AnnData, index: str) -> pd.DataFrame:
    """Return what the posterior of one T cell is made of.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    index
        Name of the cell, ``sample:barcode``.

    Returns
    -------
    pandas.DataFrame
        ``term``, ``value``, ``meaning``; the three terms of the posterior first, the posterior made of them last.

    Raises
    ------
    CarseqError
        If there is no such cell, or it has no posterior: it is not a T cell, or is a doublet.
    """
    if index not in adata.obs_names:
        raise CarseqError(
            f"there is no cell {index}", "it is not in the cohort", "give sample:barcode"
        )
    cell = adata.obs.loc[index]
    if not np.isfinite(cell["car_prior"]):
        raise CarseqError(
            f"the posterior of {index} has no terms",
            f"only T cells that are not doublets have them: {cell['car_reason_text']}",
        )
    fitted, sample = Fit.from_uns(adata.uns["car_model"]), str(cell["sample"])
    own = fitted.cells(adata.obs.loc[[index]], sample)
    mu = float(np.exp(np.log(fitted.draws[sample].mu).mean()))
    prior, log_car, log_null = (
        float(cell[c]) for c in ("car_prior", "car_log_own", "car_log_ambient")
    )
    shown = fitted.design[sample].shown
    intact = float(own.own[0]) / max(float(cell["total_umis"]), 1) / shown
    rows: list[tuple[str, float, str]] = [
        ("log likelihood, own and ambient", log_car, "natural log of the chance of this count in a CAR T cell"),
        ("log likelihood, ambient alone", log_null, "natural log of the chance of this count in another T cell"),
        ("prior", prior, "chance of a CAR T cell of this depth, type and clone, by all cells but this one"),
        ("CAR molecules", float(cell["car_evidence"]), "seen in the cell and counted as evidence"),
        ("intact part", intact, "part of the cell's RNA that it kept; its own CAR molecules shrink with it"),
        ("expected own", mu * float(own.own[0]), "CAR molecules a CAR T cell of this depth would show"),
        ("expected ambient", float(cell["car_expected_ambient"]), "CAR molecules from ambient RNA"),
        ("expected background", float(cell["car_expected_background"]), "CAR molecules from chimeras and swaps"),
    ]  # fmt: skip
    support = float(cell.get("car_clone_support", np.nan))
    if np.isfinite(support):
        rows.append(
            (
                "clone support", support,
                "log odds that the other cells of its clonotype add; they are in the prior already",
            )
        )  # fmt: skip
    rows.append(
        (
            "posterior", float(cell["car_posterior"]),
            "prior x own / (prior x own + (1 - prior) x ambient alone)",
        )
    )  # fmt: skip
    return pd.DataFrame(rows, columns=["term", "value", "meaning"])

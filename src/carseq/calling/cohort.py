"""Call the cells of a cohort and give each sample its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.calling.background import Background, Evidence, background
from carseq.calling.calls import choose, write_calls
from carseq.calling.clones import ALIKE, clone_names, clone_support
from carseq.calling.counts import count_car, shown_share
from carseq.calling.draws import CellTerms, cell_terms
from carseq.calling.gates import BY_CAR, fraction_is, gate_of
from carseq.calling.level import levels, settle
from carseq.calling.model import Fit, fit
from carseq.calling.negbin import upper_tail
from carseq.calling.phantoms import swapped_from, what_was_swapped
from carseq.calling.verdict import (
    decide,
    never_twice,
    sensitivity_of,
    silent_bound,
    silent_left_out,
    what_was_assumed,
)
from carseq.cells.annotation import T_LINEAGE, is_single_t
from carseq.cells.intact import can_be_judged, intactness
from carseq.cells.markers import T_ALONE, T_NAMES
from carseq.errors import CarseqError
from carseq.io.matrix import GENE, feature_types, near_names
from carseq.log import get_logger
from carseq.schema.tables import DETECTION
from carseq.schema.thresholds import FDR
from carseq.study.texts import truth_of

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("calling")

#: Counts that were written as other numbers (float16, exponents) differ from whole ones by less.
NEARLY_WHOLE = 0.01
#: Cells of which the depth is compared with the matrix, and how much more it may count: it counts less, if anything.
MOST_LOOKED_AT, MOST_BEYOND = 2000, 2
NEEDED = ("sample", "barcode", "total_umis", "lineage", "is_doublet")

#: What to do where a column is missing that `carseq.annotate` does not write.
_GIVEN = {
    "sample": 'name the sample of each cell in `obs["sample"]`, as the sheet names it',
    "barcode": 'give the barcodes of the cells in `obs["barcode"]`, such as `adata.obs_names`',
}


def call_cells(
    adata: AnnData,
    molecules: Mapping[str, pd.DataFrame] | None,
    samples: pd.DataFrame,
    *,
    car: str,
    fdr: float = FDR,
) -> pd.DataFrame:
    """Call CAR T cells in a cohort and give each sample its verdict.

    Parameters
    ----------
    adata
        Cells x genes. ``obs`` needs ``sample``, ``barcode``, ``total_umis``, ``lineage`` and ``is_doublet``. Used where
        there: ``contamination`` (share of ambient molecules in the cell, 0-1), ``cell_type``, ``intact_fraction``
        (part of its RNA that the cell kept, 0-1), ``is_damaged``, ``clonotype`` with ``patient``. Gains the ``car_*``
        columns of ``OBS``. Where neither ``intact_fraction`` nor ``is_damaged`` is there, both are found from raw
        counts of the ribosomal genes; without them all cells are taken to be intact, which gives too low a fraction
        where many are damaged.
    molecules
        Schema ``MOLECULES``, by sample; samples absent from it take the matrix's counts of the CAR.
    samples
        One row a sample: ``sample``, ``ambient_umis`` and ``ambient_car`` (molecules and CAR molecules in its empty
        droplets; 0 where there are none), and ``patient``, ``compartment``, ``timepoint``, ``role``, ``gating``,
        which go into the result; optional ``car_unseen``, the share (0-1) of CAR molecules its construct cannot show.
    car
        Name of the CAR in ``var_names``.
    fdr
        Expected share (0-1, both excluded) of false calls among the positive ones of a sample.

    Returns
    -------
    pandas.DataFrame
        Schema ``DETECTION``, one row a sample.

    Raises
    ------
    CarseqError
        If a needed column is missing or holds no numbers, the matrix holds no counts of the CAR, a sample has no row or
        two, or ``fdr`` is not a rate.
    """
    obs, by_sample = _checked(adata, samples, fdr)
    _find_damage(adata)
    _add_counts(adata, molecules, car)
    known = background(obs, by_sample)
    obs["car_expected_ambient"] = known.ambient
    obs["car_expected_background"] = known.chimeric
    obs["car_null_shape"] = known.shape
    is_t = is_single_t(obs).to_numpy()
    obs["car_clone_support"] = np.nan
    t_cells = obs[is_t]
    shown = {str(name): shown_share(row) for name, row in by_sample.iterrows()}
    open_levels = levels(t_cells, known, by_sample)
    fitted = fit(t_cells, open_levels, shown)
    clone = clone_names(t_cells)
    has_clones = bool((clone != "").any())
    if has_clones:
        # What a clone holds says little of other cells: fractions are learnt from what clones leave unsaid.
        support, concentration = _support(fitted, t_cells, clone)
        if concentration < ALIKE:
            fitted = fit(t_cells.assign(car_clone_support=support), open_levels, shown)
    fitted = settle(obs, fitted)
    t_cells = obs[is_t]
    concentration = float("nan")
    if has_clones:
        support, concentration = _support(fitted, t_cells, clone)
        column = np.full(len(obs), np.nan)
        column[is_t] = support
        obs["car_clone_support"] = column
        t_cells = obs[is_t]
    terms = _terms(fitted, t_cells)
    if len(t_cells):
        log.info(
            "CAR T cells hold %.2g CAR molecules per 10,000 (shape %.2g)",
            fitted.mu * 1e4,
            fitted.shape,
        )
    positive, cutoff = _choose(t_cells, terms, fdr)
    write_calls(obs, is_t, terms, positive)
    failed = adata.uns.get("library_failed", {})
    source = swapped_from(obs, by_sample)
    rows = [
        _row(obs, is_t, by_sample.loc[name], fitted, known, cutoff.get(name, fdr), failed, source)
        for name in by_sample.index
    ]
    prevalence = {r["sample"]: r["prevalence"] for r in rows}
    adata.uns["car_model"] = {
        **fitted.to_uns(),
        "prevalence": np.array([prevalence[s] for s in fitted.samples]),
        "unseen": np.array([_unseen(by_sample.loc[s]) for s in fitted.samples]),
        # The evidence on each sample's false molecules, as `background.Evidence` holds it.
        "background": np.array(
            [known.evidence[s].to_row() for s in fitted.samples], dtype=float
        ).reshape(-1, len(Evidence.__dataclass_fields__)),
        "roles": np.array(
            [str(by_sample.loc[s].get("role", "")) for s in fitted.samples], dtype=object
        ),
        "clone_concentration": concentration,
        "fdr": fdr,
        "car": car,
    }
    return DETECTION.conform(pd.DataFrame(rows, columns=[*DETECTION.columns]))


def _find_damage(adata: AnnData) -> None:
    """Find damaged cells if obs does not name them and the matrix shows them; else warn that none were looked for."""
    if not adata.n_obs or {"intact_fraction", "is_damaged"} & set(adata.obs):
        return
    if can_be_judged(adata):
        intactness(adata)
        log.info(
            "obs has no column of damaged cells: they were found by their ribosomal genes, %d of %d cells",
            int(adata.obs["is_damaged"].sum()),
            adata.n_obs,
        )
    else:
        log.warning(
            "obs has neither `intact_fraction` nor `is_damaged`, and the matrix does not hold raw counts of the "
            "ribosomal genes: all cells are taken to be intact. Damaged cells show the CAR less often; where there are "
            "many, the CAR T fraction comes out too low"
        )


def _checked(
    adata: AnnData, samples: pd.DataFrame, fdr: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return ``obs`` and the samples by name; raise what is wrong with them."""
    obs = adata.obs
    missing = [c for c in NEEDED if c not in obs]
    if missing:
        raise CarseqError(
            f"cells lack {', '.join(missing)}",
            f"obs has {', '.join(obs.columns)}",
            "; ".join(
                dict.fromkeys(
                    _GIVEN.get(column, "run `carseq.annotate` on the cells first")
                    for column in missing
                )
            ),
        )
    if not 0 < fdr < 1:
        raise CarseqError(
            f"a false discovery rate of {fdr} is not a rate",
            "it is the share of false calls among the positive ones that is accepted",
            "give a number above 0 and below 1, such as 0.05",
        )
    total = pd.to_numeric(obs["total_umis"], errors="coerce").to_numpy(float)
    if not np.isfinite(total).all() or (total < 0).any():
        bad = obs.index[~np.isfinite(total) | (total < 0)]
        raise CarseqError(
            f"total_umis of {len(bad)} cells is not a number of molecules, first that of {bad[0]}",
            "the model needs each cell's depth",
            "fill the column, or leave these cells out",
        )
    by_sample = samples.assign(sample=samples["sample"].astype(str)).set_index("sample")
    twice = by_sample.index[by_sample.index.duplicated()]
    if len(twice):
        raise CarseqError(
            f"sample {twice[0]} has several rows in the samples table",
            "each row would give it a verdict",
            "give every sample one row",
        )
    _add_empty_droplets(by_sample)
    strangers = sorted(set(obs["sample"].astype(str)) - set(by_sample.index))
    if strangers:
        raise CarseqError(
            f"cells of sample {strangers[0]} are not in the samples table",
            f"it has {', '.join(by_sample.index[:8])}",
            "give every sample of the cells a row",
        )
    once = obs[["sample", "barcode"]].astype(str)
    if (again := once.duplicated()).any():
        row = once[again].iloc[0]
        raise CarseqError(
            f"{int(again.sum())} cells are there twice, first {row['barcode']} of sample {row['sample']}",
            "each would count twice: files that share cells were joined, or two samples have one name",
            "keep each cell once, or give the samples names of their own",
        )
    if obs["lineage"].isna().any():
        obs["lineage"] = obs["lineage"].astype(object).where(obs["lineage"].notna(), "unknown")
    names = obs["lineage"].astype(str)
    if not names.eq(T_LINEAGE).any() and (named := names[names.str.contains(T_NAMES)]).size:
        raise CarseqError(
            f"no cell's lineage is {T_LINEAGE}, and {named.size} cells are {named.iloc[0]!r}",
            "the sample would seem to have no T cells",
            f"write {T_LINEAGE} as the lineage of T cells, or make the column with `carseq annotate`",
        )
    strict = names[names.map(lambda name: bool(T_ALONE.fullmatch(name))) & names.ne(T_LINEAGE)]
    if strict.size:
        raise CarseqError(
            f"the lineage of {strict.size} cells is {strict.iloc[0]!r}, of others {T_LINEAGE}",
            "only the latter would be taken for T cells",
            f"write {T_LINEAGE} as the lineage of all T cells",
        )
    for name in ("contamination", "intact_fraction"):
        if name in obs:
            obs[name] = _share(obs[name])
    for name in {"is_doublet", "is_damaged"} & set(obs):
        if obs[name].dtype != bool:
            obs[name] = _truth(obs[name])
    _check_depth(adata, total)
    return obs, by_sample


def _add_empty_droplets(by_sample: pd.DataFrame) -> None:
    """Make molecules and CAR molecules of the empty droplets numbers, 0 where nobody counted them; raise of a half."""
    names = ("ambient_umis", "ambient_car")
    for name in names:
        values = by_sample[name] if name in by_sample else pd.Series(np.nan, by_sample.index)
        by_sample[name] = pd.to_numeric(values, errors="coerce").clip(lower=0)
    for name, other in (names, names[::-1]):
        if (half := (by_sample[name] > 0) & by_sample[other].isna()).any():
            raise CarseqError(
                f"sample {by_sample.index[half][0]} has {name} and no {other}",
                "of the empty droplets it takes both, all molecules and the CAR's; what nobody counted is not 0",
                f"give {other} (0, if they were counted and there was none), or neither",
            )
    by_sample[list(names)] = by_sample[list(names)].fillna(0.0)


def _share(column: pd.Series) -> pd.Series:
    """Return a column of obs as shares, 0 to 1; NaN where there is none."""
    there = column.notna()
    found = pd.to_numeric(column.astype(object).where(there), errors="coerce").astype(float)
    bad = there & ~found.between(-1e-6, 1 + 1e-6)
    if bad.any():
        value = found[bad].iloc[0]
        raise CarseqError(
            f"{column.name} of {int(bad.sum())} cells is no share, first {str(column[bad].iloc[0])!r} of "
            f"{column.index[bad][0]}",
            "it is not a number" if np.isnan(value) else "a share is a number from 0 to 1",
            "divide by 100, if they are percent"
            if value > 1
            else "give shares, or leave the column out",
        )
    return found


def _truth(column: pd.Series) -> pd.Series:
    """Return a column of obs as true and false, of which other programs make words and numbers."""
    said = column.astype(object).map(truth_of, na_action=None)
    if (neither := said.isna()).any():
        raise CarseqError(
            f"{column.name} of a cell is {str(column[neither].iloc[0]).lower()!r}",
            "it must be true or false: every other text would be taken for true",
            f"write True and False into {column.name}, or make it with `carseq annotate`",
        )
    return said.astype(bool)


def _check_depth(adata: AnnData, total: npt.NDArray[np.float64]) -> None:
    """Raise where the matrix counts far more molecules than ``total_umis`` says that the cells have."""
    matrix = adata.layers.get("counts", adata.X)
    if matrix is None or not adata.n_obs:
        return
    rows = slice(0, MOST_LOOKED_AT)
    # Antibodies' molecules are not among a cell's.
    of_genes = feature_types(adata.var) == GENE
    some = matrix[rows] if of_genes.all() else matrix[rows][:, of_genes]
    values = some.data if hasattr(some, "indptr") else np.asarray(some)
    if (np.abs(values - np.rint(values)) > NEARLY_WHOLE).any() or (values < 0).any():
        # No counts: they say nothing of the depth.
        return
    counted = np.asarray(some.sum(axis=1)).ravel()
    deep = counted > 0
    if deep.any() and np.median(counted[deep]) > MOST_BEYOND * np.median(total[rows][deep]):
        raise CarseqError(
            f"total_umis is not the number of molecules of a cell: its median is {np.median(total[rows][deep]):.3g}, "
            f"where the matrix counts {np.median(counted[deep]):,.0f}",
            "it was made from a normalised matrix, or is a logarithm",
            "write the sums of the raw counts into it, or make it with `carseq annotate`",
        )


def _add_counts(adata: AnnData, molecules: Mapping[str, pd.DataFrame] | None, car: str) -> None:
    """Write ``car_umis``, ``car_umis_unique`` and ``car_evidence``, from molecules or else from the matrix."""
    obs = adata.obs
    matrix = adata.layers.get("counts", adata.X)
    if car in adata.var_names:
        found = matrix[:, adata.var_names.get_loc(car)]
        dense = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
        counts = dense.ravel().astype(float)
    else:
        counts = np.zeros(adata.n_obs)
    names = ("car_umis", "car_umis_unique", "car_evidence")
    of_sample = obs["sample"].astype(str).to_numpy()
    from_matrix = ~np.isin(of_sample, [str(s) for s in molecules or {}])
    if car not in adata.var_names and from_matrix.any():
        ids = adata.var["gene_id"].astype(str) if "gene_id" in adata.var else None
        like = near_names(adata.var_names, car, ids)
        raise CarseqError(
            f"the matrix has no gene {car}, and sample {of_sample[from_matrix][0]} has no molecules either",
            "that nothing was counted is not evidence that there is nothing",
            (f"names that may be the CAR's: {', '.join(like)}; " if like else "")
            + "name the CAR as the matrix spells it (`--name`), count reads against a reference that holds it, or give "
            "its molecules (`--molecules`)",
        )
    _raise_unless_counts(obs, np.where(from_matrix, counts, 0), car)
    counts = np.rint(np.where(from_matrix, counts, 0)).astype(int)
    columns = {name: counts.copy() for name in names}
    for sample, table in (molecules or {}).items():
        rows = np.flatnonzero(of_sample == str(sample))
        own = count_car(table, pd.Index(obs["barcode"].iloc[rows].astype(str)))
        for name in names:
            columns[name][rows] = own[name].to_numpy()
    for name in names:
        obs[name] = columns[name]


def _raise_unless_counts(obs: pd.DataFrame, counts: npt.NDArray[np.float64], car: str) -> None:
    """Raise if the matrix holds no molecules of the CAR, but something made from them."""
    bad = ~np.isfinite(counts) | (counts < 0)
    bad |= np.abs(counts - np.rint(np.where(bad, 0, counts))) > NEARLY_WHOLE
    if bad.any():
        raise CarseqError(
            f"{car} of {int(bad.sum())} cells is not a number of molecules, first {counts[bad][0]:.4g} of "
            f"{obs.index[bad][0]}",
            "the matrix was normalised or corrected for ambient RNA; the model needs molecules as they were counted",
            "give raw counts in X or in layers['counts']",
        )


def _support(
    fitted: Fit, t_cells: pd.DataFrame, clone: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.float64], float]:
    """Return what the other cells of its clone add to each T cell, by a fit, and how clones differ."""
    # What is known of cells without their clones.
    alone = t_cells.assign(clonotype="", car_clone_support=np.nan)
    terms = _terms(fitted, alone)
    return clone_support(clone, terms.prior, terms.log_car - terms.log_null)


def _terms(fitted: Fit, t_cells: pd.DataFrame) -> CellTerms:
    """Return the posterior's terms of all T cells."""
    prior, log_car, log_null = (np.empty(len(t_cells)) for _ in range(3))
    names = t_cells["sample"].astype(str).to_numpy()
    for sample in fitted.samples:
        rows = np.flatnonzero(names == sample)
        groups, inverse = fitted.cells(t_cells.iloc[rows], sample).grouped()
        of_groups = cell_terms(groups, fitted.draws[sample])
        prior[rows] = of_groups.prior[inverse]
        log_car[rows] = of_groups.log_car[inverse]
        log_null[rows] = of_groups.log_null[inverse]
    return CellTerms(prior, log_car, log_null)


def _choose(
    t_cells: pd.DataFrame, terms: CellTerms, fdr: float
) -> tuple[npt.NDArray[np.bool_], dict[str, float]]:
    """Return which T cells are positive, and each sample's cut."""
    posterior = terms.posterior()
    k = t_cells["car_evidence"].to_numpy(float)
    null = (t_cells["car_expected_ambient"] + t_cells["car_expected_background"]).to_numpy(float)
    p_ambient = upper_tail(k, null, t_cells["car_null_shape"].to_numpy(float))
    names = t_cells["sample"].astype(str).to_numpy()
    support = t_cells["car_clone_support"].to_numpy(float)
    positive, cutoff = np.zeros(len(t_cells), dtype=bool), {}
    for sample in dict.fromkeys(names):
        # There is evidence only with a molecule that is told apart; shared ones alone are none.
        own = np.flatnonzero((names == sample) & (k > 0))
        chosen, cutoff[sample] = choose(posterior[own], p_ambient[own], fdr, support[own])
        positive[own[chosen]] = True
    return positive, cutoff


def _unseen(row: pd.Series) -> float:
    value = float(row.get("car_unseen", 0.0))
    return value if np.isfinite(value) else 0.0


def _row(
    obs: pd.DataFrame,
    is_t: npt.NDArray[np.bool_],
    meta: pd.Series,
    fitted: Fit,
    known: Background,
    cutoff: float,
    failed: Mapping[str, float],
    source: pd.Series,
) -> dict[str, object]:
    """Return the detection row of a sample.

    ``failed`` has the median genes of libraries that failed, ``source`` of which sample cells were swapped.
    """
    sample = str(meta.name)
    own = (obs["sample"].astype(str) == sample).to_numpy()
    t_cells = obs[own & is_t]
    n_t = len(t_cells)
    called = (t_cells["car_call"] == "positive").to_numpy()
    n_positive = int(called.sum())
    estimate, low, high = fitted.fraction(t_cells)
    limit = sensitivity = float("nan")
    if n_t:
        cells = fitted.cells(t_cells, sample)
        sensitive = sensitivity_of(
            cells, fitted, sample, known.evidence[sample], silent=not n_positive
        )
        limit = sensitive.limit(cutoff)
        if not n_positive:
            seen = bool((t_cells["car_evidence"] > 0).any())
            low, high = 0.0, max(silent_bound(limit, high, seen=seen), estimate)
        at = estimate if n_positive else max(estimate, limit)
        sensitivity = sensitive.mean(at, cutoff)
    left_out = silent_left_out(t_cells["car_umis"])
    if left_out:
        log.warning(
            "sample %s: every T cell shows the CAR, and many one molecule alone: cells without one were left out of "
            "the matrix. Give all cells, or the CAR T fraction is not that of all T cells",
            sample,
        )
    once = never_twice(t_cells["car_umis"], t_cells["total_umis"])
    if once:
        log.warning(
            "sample %s: no T cell shows more than one CAR molecule, where %.0f or more would by chance: the matrix "
            "says whether the CAR was seen, not how often. Give counts of molecules, or the fraction is far too high",
            sample,
            once,
        )
    if swapped := what_was_swapped(source[own & is_t], called):
        log.warning("sample %s: %s", sample, swapped)
    false_calls = float((1 - t_cells["car_posterior"].to_numpy(float)[called]).sum())
    assumed, role = known.assumed.get(sample, False), str(meta.get("role", ""))
    verdict, text = decide(
        n_positive,
        n_t,
        _unseen(meta),
        limit if n_positive else high,
        false_calls,
        assumed=what_was_assumed(known.evidence[sample], float(meta["ambient_umis"])),
        role=role,
        median_genes=float(failed.get(sample, np.nan)),
        left_out=left_out,
        once=once,
        swapped=swapped,
    )
    k = t_cells["car_evidence"].to_numpy()
    gate = gate_of(meta.get("gating"))
    return {
        "sample": sample,
        **{
            key: str(meta[key]) if key in meta else ""
            for key in ("patient", "compartment", "timepoint", "role")
        },
        "gating": gate,
        "n_cells": int(own.sum()),
        "n_t_cells": n_t,
        "n_car_positive": n_positive,
        "verdict": verdict,
        "verdict_text": text,
        "prevalence": estimate,
        "prevalence_low": low,
        "prevalence_high": high,
        "prevalence_is": fraction_is(BY_CAR[0] if left_out else gate),
        "detection_limit": limit,
        "sensitivity": sensitivity,
        "expected_false_calls": false_calls,
        "ambient_assumed": assumed,
        "n_t_at_least_1_umi": int((k >= 1).sum()),
        "n_t_at_least_2_umis": int((k >= 2).sum()),
    }

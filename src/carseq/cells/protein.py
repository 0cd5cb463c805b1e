"""Surface proteins of CITE-seq: joined to the cells, gated to lineages, and compared with the annotation.

Antibody counts never enter the gene counts. A protein is gated by what the sample itself shows: against its empty
droplets where there are any (the ambient antibodies of the droplet), else between the two modes of its own counts.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from carseq.log import get_logger
from carseq.schema.tables import PROTEIN_AGREEMENT

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.protein")

#: Empty droplets from which the background of antibodies is measured: the largest by RNA, since most barcodes below
#: them hold no droplet at all.
MAX_EMPTY, MIN_EMPTY = 5_000, 50
#: Standard deviations above the empty droplets' log count from which a protein is there (dsb, Mulè et al. 2022,
#: doi:10.1038/s41467-022-29356-8, which adds 10 to the counts).
DSB_LIMIT, DSB_PSEUDOCOUNT = 3.5, 10.0
#: Cells needed to find the two modes of a protein's counts.
MIN_CELLS = 50
#: Distance of the modes, in units of their spread, from which they are two (Ashman's D, 1994, doi:10.1086/117248).
MIN_SEPARATION = 2.0
#: Fewest antibody molecules of a protein that is there.
MIN_COUNT = 10
#: How many times the low mode of a protein the high one is, and how many times the sample's usual level (the lower
#: quartile of its proteins' medians, of four or more) one is that all cells show. Where all cells are of one lineage,
#: its own proteins have no second mode and the noise of the others has: of T cells alone by protein (CITE-seq 10k and
#: 5k) 67 of 101 and none of 104 were T, 5 and 2 NK. There the modes of noise are 2 to 5 times apart, those of lineages
#: in PBMC 9 to 90 times.
LEAST_RATIO, TIMES_USUAL, FEWEST_PROTEINS = 6.0, 8.0, 4
#: Agreement below this share of a sample's cells is worth an alert.
LEAST_AGREEMENT = 0.9
#: A sample with fewer cells that proteins assign is not judged.
FEWEST_JUDGED = 10

#: Gene symbols and clones' names of the antigens that gates use, by their CD number.
ALIASES = {
    "CD3D": "CD3", "CD3E": "CD3", "CD3G": "CD3", "CD3EPSILON": "CD3", "UCHT1": "CD3",
    "MS4A1": "CD20", "NCAM1": "CD56", "NCAM": "CD56", "FCGR3A": "CD16", "FCGR1A": "CD64", "NCR1": "CD335",
    "NKP46": "CD335", "SIGLEC3": "CD33", "CEACAM8": "CD66B", "EPCAM": "CD326", "GYPA": "CD235A", "CD235AB": "CD235A",
    "GLYCOPHORINA": "CD235A", "TCRALPHA/BETA": "TCRAB", "PTPRC": "CD45", "TRAC": "TCRAB",
    "TCRALPHABETA": "TCRAB", "TCRAB": "TCRAB", "TCRA/B": "TCRAB", "TCRΑ/Β": "TCRAB",
}  # fmt: skip
#: Proteins that show a lineage. CD4 and CD8 are on monocytes and NK cells too; CD16 and CD15 are treated apart.
LINEAGE_PROTEINS = {
    "T": ("CD3", "TCRAB"),
    "B": ("CD19", "CD20"),
    "NK": ("CD56", "CD335"),
    "myeloid": ("CD14", "CD33", "CD64", "CD66B"),
    "epithelial": ("CD326",),
    "erythroid": ("CD235A",),
}
#: Lineages of the annotation that agree with one of proteins: plasma cells keep CD19, epithelium is not divided.
AGREEING = {"B": ("B", "plasma"), "epithelial": ("kidney", "urogenital")}
CONFLICT = "conflict"

#: What stands before an antibody's antigen: its kind, its number in BioLegend's lists, the species, h as in hCD3.
_BEFORE_ANTIGEN = re.compile(
    r"^(total[\s_-]*seq™?[\s_.-]*([ABCD]?[\s_.-]*\d{4}|[ABCD])[\s_.-]+|[ABCD]\d{4}[\s_.-]+|(adt|ab|anti|prot(ein)?|antibody)[\s_.:-]+"
    r"|(anti)?[\s_.-]*(human/mouse|mouse/human|human|hum?|hs)[\s_./-]+|h[\s_.-]?(?=CD\d))",
    re.IGNORECASE,
)


def antigen(name: str) -> str:
    """Return the antigen that an antibody's name contains: ``anti-human CD3_TotalSeqB`` and ``CD3E`` give ``CD3``."""
    text, before = name.strip(), ""
    while text != before:
        # One before the other, in any order: ADT_A0034_CD3, TotalSeqC0034-anti-human-CD3.
        before, text = text, _BEFORE_ANTIGEN.sub("", text, count=1)
    text = re.sub(r"[\s_.:-]*total([\s_-]*seq.*|[ABCD])$", "", text, flags=re.IGNORECASE)
    text = re.sub(r"(?<!^TCR)[\s_.-]+(adt|ab|prot(ein)?|antibody)$", "", text, flags=re.IGNORECASE)
    # Clones and barcodes behind the antigen: CD3 (UCHT1), CD3_UCHT1, CD3-TSB.
    text = re.split(r"[(|]", text)[0].strip(" _.-").upper()
    text = re.sub(r"^CD[ -](?=\d)", "CD", text)
    found = re.match(r"(?:CD)(\d+)([A-Z]{0,2})(?![A-Z0-9])", text)
    if found:
        text = found[0]
        if text in ("CD8A", "CD8B", "CD16A", "CD16B"):
            return text[:-1]
    return ALIASES.get(text, ALIASES.get(re.sub(r"[\s_.-]", "", text), text))


def is_isotype(name: str) -> bool:
    """Return whether an antibody is a control that binds nothing of ours."""
    return (
        re.search(
            r"isotype|\bctrl\b|control|\b(mouse|ms|rat|rt|hamster|m|r|h)[\s_.-]?igg|\bigg\d|\bhaigg"
            r"|\bigg[\s_.-]?kappa|mopc[\s_.-]?21",
            name,
            re.I,
        )
        is not None
    )


def protein_background(cells: AnnData, raw: AnnData, called: np.ndarray) -> None:
    """Measure the antibodies of a sample's empty droplets.

    Parameters
    ----------
    cells
        The sample's cells; gain ``uns["protein_background"]``, a table by protein: ``centre`` and ``spread`` (median
        and scaled MAD of log(count + 10)), where the sample has antibodies and enough empty droplets.
    raw
        Every barcode; ``obsm["protein"]``.
    called
        Which of them are cells, shape (n_barcodes,).
    """
    if "protein" not in raw.obsm:
        return
    empty = np.flatnonzero(~called)
    if empty.size < MIN_EMPTY:
        return
    totals = np.asarray(raw.X[empty].sum(axis=1)).ravel()
    empty = empty[np.argsort(-totals, kind="stable")[:MAX_EMPTY]]
    counts = raw.obsm["protein"].iloc[empty]
    logged = np.log(counts.to_numpy(float) + DSB_PSEUDOCOUNT)
    centre = np.median(logged, axis=0)
    spread = 1.4826 * np.median(np.abs(logged - centre), axis=0)
    # Where most droplets hold none, the spread is that of a Poisson count of one.
    least = np.log1p(1 / DSB_PSEUDOCOUNT)
    cells.uns["protein_background"] = pd.DataFrame(
        {"centre": centre, "spread": np.maximum(spread, least)}, index=counts.columns.astype(str)
    )


def add_protein(adata: AnnData, samples: Iterable[AnnData]) -> AnnData:
    """Join surface proteins to the cells of a cohort and gate them to lineages.

    Parameters
    ----------
    adata
        Cohort, indexed ``sample:barcode``; ``obs["sample"]``.
    samples
        Its samples, one after another, of which some may have ``obsm["protein"]`` (antibody counts) and
        ``uns["protein_background"]``; they may be backed by their files.

    Returns
    -------
    AnnData
        The same object, with ``obs["protein_lineage"]`` (:func:`gate`; empty without antibodies) and, where a sample
        has antibodies, ``obsm["protein"]``: raw counts, NaN in samples without them.
    """
    adata.obs["protein_lineage"] = ""
    tables, backgrounds = [], {}
    for sample in samples:
        if "protein" not in sample.obsm or not sample.n_obs:
            continue
        table = sample.obsm["protein"].copy()
        barcodes = sample.obs.get("barcode", pd.Series(sample.obs_names, sample.obs_names))
        table.index = sample.obs["sample"].astype(str).str.cat(barcodes.astype(str), sep=":")
        tables.append(table.astype(np.float32))
        background = sample.uns.get("protein_background")
        backgrounds[str(sample.obs["sample"].iloc[0])] = table.columns, background
    if not tables:
        return adata
    joined = pd.concat(tables).reindex(adata.obs_names)
    adata.obsm["protein"] = joined
    for name, (antibodies, background) in backgrounds.items():
        rows = (adata.obs["sample"].astype(str) == name).to_numpy()
        lineage = gate(joined.loc[rows, antibodies], background)
        adata.obs.loc[rows, "protein_lineage"] = lineage.to_numpy()
        found = lineage[lineage != ""].value_counts()
        log.info(
            "sample %s, surface proteins: %s",
            name,
            ", ".join(f"{kind} {n}" for kind, n in found.items()) or "no cell assigned",
        )
    return adata


def limits(counts: pd.DataFrame, background: pd.DataFrame | None = None) -> pd.Series:
    """Return the count from which each protein is there; NaN where nothing tells.

    Against the empty droplets (:func:`protein_background`) where there are any: 3.5 standard deviations above them.
    Else, in 50 cells or more, between the two modes of the log counts, if these are two (a mixture of two normal
    distributions, their distance at least twice their spread and the high one six times the low one), and above
    isotype controls where there are any. A protein of which all cells hold far more than the usual level of the
    sample's proteins is there in all of them: its limit lies halfway, in logarithms, between the two.

    Parameters
    ----------
    counts
        Antibody counts of one sample, cells x proteins.
    background
        Table by protein: ``centre`` and ``spread`` of log(count + 10).
    """
    found = pd.Series(np.nan, counts.columns, dtype=float)
    isotypes = [name for name in counts if is_isotype(str(name))]
    floor = np.quantile(counts[isotypes].to_numpy(float), 0.99) if isotypes and len(counts) else 0.0
    others = [name for name in counts if name not in isotypes]
    usual = float("nan")
    if len(others) >= FEWEST_PROTEINS and len(counts):
        usual = max(float(np.quantile(counts[others].median(), 0.25)), 1.0)
    for name in others:
        values = counts[name].to_numpy(float)
        # Cells bind a little of every antibody: two modes well above the droplets divide better.
        valley = _valley(values, usual) if len(values) >= MIN_CELLS else float("nan")
        if background is not None and name in background.index:
            centre, spread = background.loc[name, ["centre", "spread"]]
            limit = float(np.exp(centre + DSB_LIMIT * spread) - DSB_PSEUDOCOUNT)
            found[name] = np.nanmax([limit, valley, floor, MIN_COUNT])
        elif np.isfinite(valley):
            found[name] = max(valley, floor, MIN_COUNT)
    return found


def _valley(values: np.ndarray, usual: float) -> float:
    """Return the count at which the two modes of counts are equally likely; NaN where there are not two.

    Where all cells hold far more than ``usual`` of the protein, the limit lies between the two.
    """
    from sklearn.mixture import GaussianMixture

    logged = np.log1p(values)[:, None]
    if np.ptp(logged) < 1:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GaussianMixture(2, n_init=3, random_state=0, reg_covar=1e-2).fit(logged)
    low, high = np.argsort(model.means_.ravel())
    mean, sd = model.means_.ravel(), np.sqrt(model.covariances_.ravel())
    is_two = (mean[high] - mean[low]) * np.sqrt(2) >= MIN_SEPARATION * np.hypot(sd[low], sd[high])
    if is_two and np.expm1(mean[high]) >= LEAST_RATIO * np.expm1(mean[low]):
        grid = np.linspace(mean[low], mean[high], 400)
        is_high = model.predict_proba(grid[:, None])[:, high] > 0.5
        return float(np.expm1(grid[is_high.argmax()])) if is_high.any() else float("nan")
    middle = float(np.median(values))
    return float(np.sqrt(usual * middle)) if middle >= TIMES_USUAL * usual else float("nan")


def gate(counts: pd.DataFrame, background: pd.DataFrame | None = None) -> pd.Series:
    """Give each cell the lineage of its surface proteins.

    Parameters
    ----------
    counts
        Antibody counts of one sample, cells x proteins, named as the antibodies are.
    background
        As for :func:`limits`.

    Returns
    -------
    pandas.Series
        By cell: ``T``, ``B``, ``NK``, ``myeloid``, ``epithelial``, ``erythroid``; ``conflict`` where two lineages'
        proteins are there; empty where none is.
    """
    at = limits(counts, background)
    there: dict[str, np.ndarray] = {}
    for name in counts:
        if np.isfinite(at[name]):
            positive = counts[name].to_numpy(float) > at[name]
            key = antigen(str(name))
            there[key] = there.get(key, False) | positive
    none = np.zeros(len(counts), dtype=bool)
    shown = {
        lineage: np.any([none, *(there[p] for p in proteins if p in there)], axis=0)
        for lineage, proteins in LINEAGE_PROTEINS.items()
    }
    if "CD16" in there and "CD56" in there:
        # CD16 without CD56 is on monocytes and neutrophils.
        shown["myeloid"] |= there["CD16"] & ~there["CD56"] & ~shown["T"] & ~shown["B"]
    # T cells may carry CD56.
    shown["NK"] &= ~shown["T"]
    table = pd.DataFrame(shown, index=counts.index)
    n = table.sum(axis=1)
    lineage = table.idxmax(axis=1).where(n == 1, "")
    return lineage.mask(n > 1, CONFLICT)


def protein_agreement(obs: pd.DataFrame) -> pd.DataFrame:
    """Hold the annotation against surface proteins, sample by sample.

    Parameters
    ----------
    obs
        Cells: ``sample``, ``lineage``, ``protein_lineage``, ``is_doublet``.

    Returns
    -------
    pandas.DataFrame
        Schema ``PROTEIN_AGREEMENT``: a row a sample and protein lineage, and ``all``; no rows without antibodies.
    """
    single = obs[~obs["is_doublet"].astype(bool)]
    single = single[~single["protein_lineage"].isin(["", CONFLICT])]
    rows: list[dict[str, Any]] = []
    for sample, cells in single.groupby(single["sample"].astype(str), sort=False, observed=True):
        groups: Mapping[str, pd.DataFrame] = {
            "all": cells,
            **dict(list(cells.groupby(cells["protein_lineage"].astype(str)))),
        }
        for kind, own in groups.items():
            annotated = own["lineage"].astype(str)
            wanted = own["protein_lineage"].astype(str)
            agree = np.array(
                [a in AGREEING.get(p, (p,)) for a, p in zip(annotated, wanted, strict=True)]
            )
            other = annotated[~agree].value_counts()
            rows.append(
                {
                    "sample": sample,
                    "protein_lineage": kind,
                    "n_cells": len(own),
                    "n_agree": int(agree.sum()),
                    "agreement": float(agree.mean()),
                    "n_unknown": int((annotated == "unknown").sum()),
                    "else_annotated": ", ".join(f"{name} {n}" for name, n in other.items()),
                }
            )
    return PROTEIN_AGREEMENT.conform(pd.DataFrame(rows, columns=list(PROTEIN_AGREEMENT.columns)))

"""Levels of genes, counted in real cells: makes `t_counts.tsv` and `blood_counts.tsv` of `src/carseq/data/markers`.

It also counts the genes of T-cell states at rest, the column `resting_per_10k` of `t_states.tsv` there.

    python benchmarks/t_levels.py --data ../shared/data/real_pbmc --to src/carseq/data/markers

Two sets of PBMC give UMIs by gene and type: the T cells of ``pbmc_10k_protein_v3`` by their surface proteins, and those
of ``pbmc1k_v3`` by carseq's own types at full depth (probability of 0.9 or more, from the table of published levels
alone). `blood_counts.tsv` holds those of the lineages, told in the same way. ``pbmc_5k_protein_v3`` takes no part: it
judges (`benchmarks/real_cells.py`).
"""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from real_cells import clustered, read, truth_by_protein

from carseq.cells import annotation, subtypes
from carseq.cells.counts import column_sums, counts_of, row_sums

#: Types of which the two sets hold cells enough.
TYPES = (
    "naive CD4 T cell",
    "memory CD4 T cell",
    "regulatory T cell",
    "naive CD8 T cell",
    "memory CD8 T cell",
    "cytotoxic CD8 T cell",
    "gamma-delta T cell",
    "MAIT cell",
)
#: Genes that follow donor, sex, stress and lab rather than the type.
LEFT_OUT = re.compile(
    r"^(RP[LS]|MT-|MTRNR|HB[ABDG]|XIST$|RPS4Y|DDX3Y|UTY|EIF1AY|KDM5D|HLA-|IG[HKL]|TR[ABDG]V|JUN|FOS|HSP|DNAJ|A[CLP]\d|"
    r"LINC|MALAT1|NEAT1|IER2|DUSP1$|ZFP36$|NFKBIA|TMSB|ACTB|B2M|EEF|FTH1|FTL|IFI|ISG|MX1|GBP)"
)
#: Genes beside those of the table of published levels, and their fewest UMIs in the two sets.
MORE_GENES, LEAST_UMIS = 60, 40
#: Lineages of blood, and genes that tell them.
LINEAGES, LINEAGE_GENES = ("T", "cytotoxic T", "NK", "B", "myeloid"), 250
#: T cells that kill as NK cells do: counted apart, since the mean T cell is none of them.
KILLERS = ("cytotoxic CD8 T cell", "gamma-delta T cell")
#: Probability with which a type at full depth is believed.
SURE = 0.9


def by_own_types(cells: ad.AnnData) -> pd.Series:
    """Return the type of each single T cell that is sure of it, else an empty string."""
    table = cells.obsm["t_type_probability"]
    sure = (cells.obs["lineage"].astype(str) == "T") & (table.max(axis=1) >= SURE)
    sure &= ~cells.obs["is_doublet"].astype(bool)
    return table.idxmax(axis=1).where(sure, "")


def by_protein(cells: ad.AnnData, truth: pd.DataFrame) -> pd.Series:
    """Return the type that the surface proteins say, with the RNA where these leave kinds of one side open."""
    table = cells.obsm["t_type_probability"]
    t = (truth["lineage"] == "T") & (cells.obs["lineage"].astype(str) == "T")
    four, eight = (t & (truth["coreceptor"] == name) for name in ("CD4", "CD8"))
    found = pd.Series("", cells.obs_names)
    found[four & (truth["history"] == "naive")] = "naive CD4 T cell"
    found[four & (truth["history"] == "experienced")] = "memory CD4 T cell"
    found[four & (truth["treg"] == "yes")] = "regulatory T cell"
    like_naive = table["naive CD8 T cell"] > 0.3
    found[eight & (truth["history"] == "naive") & like_naive] = "naive CD8 T cell"
    rest = eight & ~like_naive
    found[rest] = table.loc[rest, list(TYPES[4:])].idxmax(axis=1)
    return found


def by_lineage(cells: ad.AnnData, truth: pd.DataFrame | None) -> pd.Series:
    """Return the lineage of each single cell that is sure of it, and whose proteins, if any, say the same."""
    said = cells.obs["lineage"].astype(str)
    sure = (cells.obs["lineage_confidence"] >= SURE) & ~cells.obs["is_doublet"].astype(bool)
    if truth is not None:
        sure &= said == truth["lineage"].to_numpy()
    kills = cells.obsm["t_type_probability"].idxmax(axis=1).isin(KILLERS).to_numpy()
    return said.where(sure, "").mask(sure & (said == "T") & kills, "cytotoxic T")


def count(
    sets: list[tuple[ad.AnnData, pd.Series]],
    kept: set[str],
    types: tuple[str, ...],
    n_more: int,
    *,
    of_each: bool = False,
) -> pd.DataFrame:
    """Return UMIs of the genes by type, and those of all genes in the first row.

    ``of_each``: the further genes are those that most tell each type from the others, not all types from each other.
    """
    genes = sets[0][0].var_names
    for cells, _ in sets:
        genes = genes.intersection(cells.var_names)
    table = pd.DataFrame(0.0, genes, list(types))
    total = pd.Series(0.0, list(types))
    for cells, kind in sets:
        counts = counts_of(cells)
        at = cells.var_names.get_indexer(genes)
        for name in types:
            own = counts[np.flatnonzero(kind == name)]
            table[name] += column_sums(own[:, at])
            total[name] += row_sums(own).sum()
    umis = table.sum(axis=1)
    expected = umis.to_numpy()[:, None] * (total / total.sum()).to_numpy()
    k, floor = table.to_numpy(), 1e-9
    deviance = 2 * (k * np.log(np.maximum(k, floor) / np.maximum(expected, floor)) - k + expected)
    score = pd.Series(deviance.sum(axis=1) / (1 + 0.05 * umis.to_numpy()), genes)
    score = score[(umis >= LEAST_UMIS) & ~genes.isin(kept) & ~genes.str.match(LEFT_OUT)]
    more = score.sort_values(ascending=False, kind="stable").index[:n_more]
    if of_each:
        rate = table.loc[score.index] / total
        apart = (
            rate.sub(rate.mean(axis=1), axis=0)
            / np.sqrt(rate.mean(axis=1) + 1e-6).to_numpy()[:, None]
        )
        chosen = [apart[name].nlargest(n_more // len(types)).index for name in types]
        more = pd.Index(dict.fromkeys(np.concatenate(chosen)))
    own = pd.Index(sorted(kept.intersection(genes)))
    found = pd.concat([pd.DataFrame([total], index=["(all genes)"]), table.loc[own.append(more)]])
    return found.astype(int).rename_axis("gene").reset_index()


def at_rest(sets: list[tuple[ad.AnnData, pd.Series]], genes: pd.Series) -> pd.Series:
    """Return UMIs of genes per 10,000 in T cells of healthy blood; of a gene that none shows, of half a UMI."""
    umis, total = pd.Series(0.0, genes.drop_duplicates()), 0.0
    for cells, kind in sets:
        own = cells[kind.isin(["T", "cytotoxic T"]).to_numpy()]
        held = umis.index.intersection(own.var_names)
        umis[held] += column_sums(counts_of(own)[:, own.var_names.get_indexer(held)])
        total += row_sums(counts_of(own)).sum()
    return genes.map(1e4 * (umis + 0.5) / total)


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, default=Path("../shared/data/real_pbmc"))
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    logging.getLogger("carseq").setLevel(logging.ERROR)
    published = subtypes.read_t_types(counts=False)
    # Types and lineages are told without the tables, so that these do not depend on their last version.
    subtypes.read_t_types = lambda *_, **__: published  # type: ignore[assignment]
    annotation.blood_scores = lambda counts, _, lineage, *__: np.zeros(  # type: ignore[assignment]
        (counts.shape[0], len(lineage))
    )
    blood = read(given.data / "pbmc1k_v3.h5ad")
    blood.obs = blood.obs[[]]
    proteins = read(given.data / "pbmc_10k_protein_v3.h5ad")
    truth = truth_by_protein(proteins, "development")
    sets = []
    for data in (blood, proteins):
        names = data.obs_names
        cells = clustered(data)
        cells.obs_names = names
        for table in ("t_type_probability", "lineage_probability"):
            cells.obsm[table].index = names
        sets.append((cells, by_own_types(cells) if data is blood else by_protein(cells, truth)))
    table = count(sets, set(published["gene"]), TYPES, MORE_GENES)
    table.to_csv(given.to / "t_counts.tsv", sep="\t", index=False)
    print(table.iloc[0].to_string())
    lineages = [
        (cells, by_lineage(cells, None if cells is sets[0][0] else truth)) for cells, _ in sets
    ]
    states = pd.read_csv(given.to / "t_states.tsv", sep="\t")
    resting = at_rest(lineages, states["gene"]).map("{:.3g}".format)
    states.assign(resting_per_10k=resting).to_csv(given.to / "t_states.tsv", sep="\t", index=False)
    table = count(lineages, set(), LINEAGES, LINEAGE_GENES, of_each=True)
    table.to_csv(given.to / "blood_counts.tsv", sep="\t", index=False)
    print(table.iloc[0].to_string())


if __name__ == "__main__":
    main()

"""Marker tables: read, and matched with the genes of a matrix."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carseq.cells.counts import car_name
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.fasta import DAMAGED, whole_text
from carseq.io.genes import is_mitochondrial, one_release
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData


log = get_logger("cells.markers")

#: Genes that most CARs share sequence with, so that CAR reads may land on them: hinge, transmembrane and signalling
#: domains of CD8A and CD28, those of TNFRSF9 (4-1BB) and CD247 (CD3 zeta), the leader of CSF2RA. They stand for the
#: construct's own homologs where these are not given (`uns["car_homologs"]`).
CROSS_TALK = frozenset({"TNFRSF9", "CD247", "CD28", "CD8A", "CSF2RA"})
#: Columns of a marker table.
MARKER_COLUMNS = (
    "lineage",
    "cell_type",
    "cl_id",
    "compartment_of_origin",
    "gene",
    "weight",
    "source",
)
#: The table that comes with carseq.
SHIPPED = "markers/urinary.tsv"
UNKNOWN = "unknown"
T_LINEAGE = "T"
#: How others call T cells where carseq says T.
T_NAMES = re.compile(r"\bT\b|\bT[ _-]?(?:cells?|lymphocytes?)\b", re.IGNORECASE)
#: Names that mean no other cells than carseq's T.
T_ALONE = re.compile(r"T(?:[ _-]?(?:cells?|lymphocytes?))?", re.IGNORECASE)
#: How others call further lineages, in small letters and without "cells". Blood's levels, the mitochondrial limit,
#: doublets and comparisons with surface proteins know lineages by carseq's names: of a table with "Myeloid" and
#: "NK cells" all monocytes were unknown, one NK cell in three a T cell, and 6 to 8 % of the cells doublets.
LINEAGE_NAMES = {
    "natural killer": "NK", "plasmablast": "plasma", "renal": "kidney", "urothelial": "urogenital",
    "urothelium": "urogenital", "erythrocyte": "erythroid", "red blood": "erythroid",
    "rbc": "erythroid", **dict.fromkeys(("tubule", "tubular", "renal tubule", "nephron"), "kidney"),
    **dict.fromkeys(("mono", "monocyte", "macrophage", "dc", "dendritic", "neutrophil", "granulocyte"), "myeloid"),
    **dict.fromkeys(("cd4", "cd8", "cd4 t", "cd8 t", "cd4+ t", "cd8+ t", "cd4t", "cd8t"), "T"),
    **dict.fromkeys(("treg", "regulatory t", "tfh", "gdt", "mait"), "T"),
}  # fmt: skip
#: Another lineage is one of blood's where it has so many markers that carseq knows of one lineage alone, this share of
#: them of the same one; T cells show one of these, too.
LEAST_SHARED, MOSTLY_SHARED = 2, 0.8
OF_BLOOD = ("T", "NK", "B", "plasma", "myeloid")
OF_T = ("CD3D", "CD3E", "CD3G", "TRAC", "TRBC1", "TRBC2", "TRDC", "CD8B", "CD40LG")
#: Share of a type's markers that the annotation must hold.
MIN_ANNOTATED = 0.55
#: Lineages that share genes, so that one's markers are not foreign to the other.
KIN = (frozenset({"T", "NK"}), frozenset({"B", "plasma"}), frozenset({"kidney", "urogenital"}))


def car_genes(adata: AnnData, car: str | None = None) -> frozenset[str]:
    """Return the genes that may not help to say what a cell is: the CAR and those it shares sequence with.

    Those of the construct's homology table (`uns["car_homologs"]`) where they are given, else :data:`CROSS_TALK`;
    none where the matrix names no CAR.
    """
    name = car_name(adata, car)
    given = adata.uns.get("car_homologs")
    if given is not None:
        return frozenset(map(str, given)) | ({name} if name else set())
    return CROSS_TALK | {name} if name else frozenset()


def homologs_of(homology: pd.DataFrame) -> frozenset[str]:
    """Return the genes that a construct shares stretches with, from its homology table (schema ``HOMOLOGY``)."""
    shared = homology[homology["class"] != "car_only"]
    return frozenset(str(gene) for gene in shared["gene"] if str(gene))


def is_single_t(obs: pd.DataFrame) -> pd.Series:
    """Return which cells are T cells and no doublets, by ``lineage`` and ``is_doublet``."""
    return obs["lineage"].astype(str).eq(T_LINEAGE) & ~obs["is_doublet"].astype(bool)


def kin(one: str, other: str) -> bool:
    """Return whether two lineages share so many genes that neither excludes the other."""
    return one == other or any({one, other} <= group for group in KIN)


def exclusive_genes(markers: pd.DataFrame) -> dict[str, list[str]]:
    """Return, for each lineage, the genes that mark it and no lineage but its kin."""
    positive = markers[(markers["weight"] > 0) & ~markers["gene"].isin(CROSS_TALK)]
    marked = positive.groupby("gene")["lineage"].agg(lambda names: sorted(set(names)))
    found: dict[str, list[str]] = {}
    for gene, lineages in marked.items():
        if all(kin(one, other) for one in lineages for other in lineages):
            for lineage in lineages:
                found.setdefault(lineage, []).append(str(gene))
    return found


#: Letters that cannot be seen, which text that was copied from a page holds.
_UNSEEN = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\xad"))
#: What spreadsheets make of some genes' names (Ziemann 2016, doi:10.1186/s13059-016-1044-7).
_DATE = r"\d{1,4}[-./](sep|mar|dec|sept|march)|(sep|mar|dec)[-./]\d{1,4}"


def read_markers(path: str | Path | None = None) -> pd.DataFrame:
    """Read a marker table (TSV).

    Parameters
    ----------
    path
        The file; None: the urinary table that comes with carseq.

    Returns
    -------
    pd.DataFrame
        One row a marker; columns as in :data:`MARKER_COLUMNS` (blank where the file has none). Lineages that mean one
        of carseq's have its name (`NK cells`: `NK`; `Monocyte`, `DC`: `myeloid`).

    Raises
    ------
    CarseqError
        If it cannot be read, lacks `lineage`, `cell_type` or `gene`, has a weight of no number, or no lineage `T` but
        markers of T cells.
    """
    path = Path(path) if path is not None else data_path(SHIPPED)
    try:
        text = whole_text(path).translate(_UNSEEN)
        table = pd.read_csv(
            io.StringIO(text), sep="\t", dtype=str, keep_default_na=False, comment="#"
        )
    except (*DAMAGED, ValueError) as error:  # type: ignore[misc]
        raise CarseqError(
            f"cannot read the marker table {path}",
            " ".join(str(error).split()),
            "give a tab-separated table with columns lineage, cell_type and gene",
        ) from None
    spelt = {name: re.sub(r"[\s_.-]+", "_", str(name).strip().lower()) for name in table.columns}
    known = {name: own for name, own in spelt.items() if own in MARKER_COLUMNS}
    if len(set(known.values())) == len(known):
        table = table.rename(columns=known)
    # Rows of a table that was longer in its spreadsheet.
    table = table[table.apply(lambda column: column.str.strip().ne("")).any(axis=1)]
    missing = [name for name in ("lineage", "cell_type", "gene") if name not in table]
    if missing or table.empty:
        raise CarseqError(
            f"the marker table {path} is not usable",
            f"it lacks {', '.join(missing)}{_other_mark(table)}" if missing else "it has no rows",
            "one row a marker, with columns " + ", ".join(MARKER_COLUMNS),
        )
    for name in {*MARKER_COLUMNS} & set(table):
        table[name] = table[name].str.strip()
    for name in ("lineage", "cell_type", "gene"):
        if (blank := table[name].eq("")).any():
            raise CarseqError(
                f"the marker table {path} has a row without {name}",
                f"row {int(np.flatnonzero(blank)[0]) + 1} of its {len(table)}",
                "fill the cell, or take the row out",
            )
    if (several := table["gene"].str.contains(r"[,;\s]")).any():
        raise CarseqError(
            f"the marker table {path} has several genes in one cell: {table['gene'][several].iloc[0][:80]}",
            "no gene is called so, and none of them would be looked at",
            "give each gene a row of its own",
        )
    if (dates := table["gene"].str.fullmatch(_DATE, case=False)).any():
        raise CarseqError(
            f"the marker table {path} has a date in place of a gene: {table['gene'][dates].iloc[0]}",
            "spreadsheets take names such as SEPT2, MARCH1 and DEC1 for dates",
            "write the gene's name of today (SEPTIN2, MARCHF1, BHLHE40) in a text editor",
        )
    named = table["lineage"][table["lineage"].str.contains(T_NAMES)]
    if len(named) and not table["lineage"].eq(T_LINEAGE).any():
        raise CarseqError(
            f"the marker table {path} has no lineage {T_LINEAGE}, but {named.iloc[0]!r}",
            "CAR T cells are looked for in cells of this lineage alone: no sample would have any",
            f"write {T_LINEAGE} as the lineage of all types of T cells",
        )
    for name in MARKER_COLUMNS:
        if name not in table:
            table[name] = ""
    weight = pd.to_numeric(table["weight"].replace("", "1"), errors="coerce")
    no_number = ~np.isfinite(weight)
    if no_number.any():
        bad = table.loc[no_number, "weight"].iloc[0]
        raise CarseqError(
            f"the marker table {path} has a weight that is not a number", repr(bad), "write 1 or -1"
        )
    table["weight"] = weight
    table["gene"] = one_release(pd.Index(table["gene"])).to_numpy()
    crossed = table["gene"].isin(CROSS_TALK)
    if crossed.any():
        log.warning(
            "markers left out, since CAR reads may land on them: %s",
            ", ".join(sorted(set(table.loc[crossed, "gene"]))),
        )
    if path != data_path(SHIPPED):
        table["lineage"] = _own_lineages(table)
        if not table["lineage"].eq(T_LINEAGE).any() and table["gene"].isin(OF_T).any():
            named = table["lineage"][table["gene"].isin(OF_T)]
            raise CarseqError(
                f"the marker table {path} has no lineage {T_LINEAGE}, but markers of T cells in {named.iloc[0]!r}",
                "CAR T cells are looked for in cells of this lineage alone: no sample would have any",
                f"write {T_LINEAGE} as the lineage of all types of T cells, and of no other cells",
            )
    once = ~table.duplicated(["lineage", "cell_type", "gene", "weight"])
    return table.loc[~crossed & once, list(MARKER_COLUMNS)].reset_index(drop=True)


def _own_lineages(table: pd.DataFrame) -> pd.Series:
    """Return the lineages of a user's table, those that mean one of carseq's by its name: monocytes are myeloid.

    By their names (:data:`LINEAGE_NAMES`), else by the markers that they share with carseq's table.
    """
    own = read_markers()
    positive = own[own["weight"] > 0].groupby("gene")["lineage"]
    alone = positive.first()[positive.nunique() == 1]
    by_name = {name.casefold(): name for name in own["lineage"].unique()} | LINEAGE_NAMES
    found: dict[str, str] = {}
    for name, part in table[~table["lineage"].isin(list(by_name.values()))].groupby("lineage"):
        bare = re.sub(r"[\s_-]+", " ", str(name).casefold())
        bare = re.sub(r" ?(cell|lymphocyte)?s?$", "", bare)
        genes = part["gene"][part["weight"] > 0].unique()
        shared = alone.reindex(genes).dropna().value_counts()
        if bare in by_name:
            found[str(name)] = by_name[bare]
        elif (
            shared.sum() >= LEAST_SHARED
            and shared.iloc[0] >= MOSTLY_SHARED * shared.sum()
            and shared.index[0] in OF_BLOOD
            and (shared.index[0] != T_LINEAGE or set(OF_T) & set(genes))
        ):
            found[str(name)] = str(shared.index[0])
    if found:
        log.warning(
            "lineages of the marker table are called as carseq calls them, the types keep their names: %s",
            ", ".join(f"{name} is {means}" for name, means in found.items()),
        )
    return table["lineage"].replace(found)


def _other_mark(table: pd.DataFrame) -> str:
    """Say what separates the columns of a table, if tabs do not."""
    mark = next((m for m in ",;|" if table.shape[1] == 1 and m in table.columns[0]), "")
    return f"; its columns are separated by {mark!r}, not by tabs" if mark else ""


def read_signatures(path: str | Path | None = None) -> pd.DataFrame:
    """Read T-cell state signatures (TSV: `state`, `gene`, `source`); None: those of carseq.

    Raises
    ------
    CarseqError
        If it cannot be read, or lacks `state` or `gene`.
    """
    path = Path(path) if path is not None else data_path("markers/t_states.tsv")
    remedy = "give a tab-separated table with columns state, gene and source"
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (*DAMAGED, ValueError) as error:  # type: ignore[misc]
        raise CarseqError(
            f"cannot read the signatures {path}", " ".join(str(error).split()), remedy
        ) from None
    if missing := [name for name in ("state", "gene") if name not in table]:
        raise CarseqError(
            f"the signatures {path} are not usable", f"it lacks {', '.join(missing)}", remedy
        )
    return table[~table["gene"].isin(CROSS_TALK)].reset_index(drop=True)


@dataclass(frozen=True)
class Atlas:
    """A marker table matched with the genes of a matrix.

    Attributes
    ----------
    types
        Cell types that have a marker in the matrix.
    lineage
        The lineage of each type.
    genes
        Positions of the marker genes in ``var``, shape (n_genes,).
    weights
        Marker weights, shape (n_types, n_genes): a type's own markers and its lineage's.
    own
        The type's own markers only, same shape.
    coverage
        Share of each lineage's markers that the matrix holds, 0 to 1.
    """

    types: list[str]
    lineage: np.ndarray
    genes: np.ndarray
    weights: np.ndarray
    own: np.ndarray
    coverage: dict[str, float]

    def types_of(self, lineage: str) -> list[str]:
        """Return the types of a lineage."""
        return [t for t, name in zip(self.types, self.lineage, strict=True) if name == lineage]

    def part(self, types: np.ndarray) -> Atlas:
        """Return the table without other types; ``types``: which, shape (n_types,), bool."""
        names = [t for t, kept in zip(self.types, types, strict=True) if kept]
        return replace(
            self,
            types=names,
            lineage=self.lineage[types],
            weights=self.weights[types],
            own=self.own[types],
        )

    @property
    def generic(self) -> np.ndarray:
        """True for types that stand for a whole lineage ("T cell" of T), shape (n_types,)."""
        return np.array(
            [t == f"{name} cell" for t, name in zip(self.types, self.lineage, strict=True)]
        )


def match_markers(adata: AnnData, markers: pd.DataFrame, car: str | None = None) -> Atlas:
    """Match a marker table with the genes of ``adata``, leaving out the CAR and the genes it shares sequence with.

    Raises
    ------
    CarseqError
        If gene symbols are not unique.
    """
    if not adata.var_names.is_unique:
        raise CarseqError(
            "gene symbols are not unique",
            f"{adata.var_names[adata.var_names.duplicated()][0]} is there twice",
            "call adata.var_names_make_unique() first",
        )
    table = markers[~markers["gene"].isin(car_genes(adata, car))]
    # Drop a type if most of its markers are not annotated: it would be scored by those it shares with related types.
    present = table["gene"].isin(adata.var_names)
    coverage = present[table["weight"] > 0].groupby(table["lineage"]).mean().to_dict()
    share = present.groupby(table["cell_type"]).mean()
    whole = table["lineage"] + " cell" == table["cell_type"]
    table = table[present & (whole | (table["cell_type"].map(share) >= MIN_ANNOTATED))]
    types = list(dict.fromkeys(table["cell_type"]))
    symbols = list(dict.fromkeys(table["gene"]))
    lineage_of = table.drop_duplicates("cell_type").set_index("cell_type")["lineage"]
    lineage = np.array([lineage_of[t] for t in types], dtype=object)
    own = np.zeros((len(types), len(symbols)))
    row, column = {t: i for i, t in enumerate(types)}, {g: i for i, g in enumerate(symbols)}
    for cell_type, gene, weight in zip(
        table["cell_type"], table["gene"], table["weight"].astype(float), strict=True
    ):
        own[row[cell_type], column[gene]] = weight
    weights = own.copy()
    for i, cell_type in enumerate(types):
        generic = f"{lineage[i]} cell"
        if generic in row and cell_type != generic:
            weights[i] = np.where(own[i] != 0, own[i], own[row[generic]])
    genes = adata.var_names.get_indexer(symbols)
    return Atlas(types, lineage, np.asarray(genes, dtype=np.int64), weights, own, coverage)


def informative_genes(adata: AnnData, car: str | None = None) -> np.ndarray:
    """Return True for genes that may describe a cell, shape (n_vars,).

    The CAR, the genes its reads may land on, mitochondrial genes and haemoglobin (of lysed
    erythrocytes) are left out.
    """
    out = adata.var_names.isin(car_genes(adata, car))
    haemoglobin = [name.upper() in {"HBA1", "HBA2", "HBB"} for name in adata.var_names]
    out |= is_mitochondrial(adata.var_names) | np.array(haemoglobin, dtype=bool)
    return np.asarray(~out)

"""The names of genes: symbols from a matrix of any lab, and how many of the marker genes it holds.

Markers are gene symbols (HGNC). A matrix may name its features by Ensembl ids, with or without a version, by symbols
behind a genome's prefix (``GRCh38_CD3E``), by names that R has changed (``HLA.DRA``), or by a RefSeq annotation's names
of mitochondrial genes (``COX1``). It may also hold another species, or a panel of some hundred genes. What is not
recognised here would later look like a finding about the sample ("no T cells").
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from carseq.data import path as data_path
from carseq.errors import CarseqError

if TYPE_CHECKING:
    from anndata import AnnData

#: Columns of `var` in which programs keep symbols: CELLxGENE, scanpy, Cell Ranger, STARsolo, Seurat, alevin.
SYMBOL_COLUMNS = (
    "feature_name",
    "gene_symbols",
    "gene_symbol",
    "gene_name",
    "gene_names",
    "symbol",
    "symbols",
    "Symbol",
    "SYMBOL",
    "hgnc_symbol",
    "gene_short_name",
    "GeneSymbol",
    "name",
    "features",
    "gene",
    "Gene",
)
#: Mitochondrial genes as RefSeq names them (NC_012920.1), which Ensembl and Cell Ranger write with `MT-` before.
REFSEQ_MITO = frozenset(
    [
        "ND1",
        "ND2",
        "ND3",
        "ND4",
        "ND4L",
        "ND5",
        "ND6",
        "COX1",
        "COX2",
        "COX3",
        "ATP6",
        "ATP8",
        "CYTB",
        "RNR1",
        "RNR2",
    ]
)
#: The same where they are named otherwise by MITOMAP and Ensembl (without its `MT-`).
_MITOMAP = frozenset({"CO1", "CO2", "CO3", "CYB"})
#: A matrix with fewer genes is a targeted panel: whole transcriptomes have 14,000 and more, even after a filter.
PANEL_GENES = 5_000
#: Below this share of a type's markers its label is doubtful, and `carseq check` warns.
FEW_MARKERS = 0.5

#: Genes that Ensembl lists on both X and Y (pseudoautosomal regions, GENCODE 44): their symbol stands twice.
PSEUDOAUTOSOMAL = frozenset({"CD99", "CSF2RA", "IL3RA"})
#: Marker genes whose Ensembl ids must be there before ids alone are understood: a few could be chance in made-up names.
MIN_IDS = 30

#: Genes of another species without a prefix, beside man's, from which they are taken for that: a matrix of two species
#: has 20,000, one of man a few by chance.
MIN_TWINS = 500

#: Share of names in small letters from which a program has written all of them so.
MOSTLY = 0.9

#: What programs write where a gene has no symbol.
_NO_NAME = frozenset({"", "none", "nan", "na", "n/a", "<na>", "null", "-", "."})
#: Share of different names that a column of symbols has.
LEAST_DISTINCT = 0.5

_ENSEMBL = re.compile(r"^ENS[A-Z]*G\d{6,}(\.\d+)?$")
_WITH_ID = re.compile(
    r"(^ENS[A-Z]*G\d{6,}(\.\d+)?[_|:;,/ -]+)|([_|:;,/ -]+\(?ENS[A-Z]*G\d{6,}(\.\d+)?\)?$)"
)
# RN7SL1_ENSG00000276168 is human, a gene of the signal recognition particle.
_FOREIGN_PREFIX = re.compile(
    r"^(mm\d+|GRCm\d+|mouse|mus_musculus|rn(?!7S[KL])\d+|mRatBN)([A-Za-z0-9.-]*_+|-{2,}|[:|/ ]+)",
    re.I,
)
_HUMAN_ENSEMBL, _OTHER_ENSEMBL = r"^ENSG\d{6,}", r"^ENS[A-Z]{3,}G\d{6,}"
# Cd3e, H2-Aa, mt-Co1; genes that mice alone have: Gm12345, 1110004F10Rik.
_SMALL_LETTERS = r"^(mt-)?[A-Z]\w*[a-z][\w.-]*$"
_MOUSE_ALONE = r"^(Gm\d{3,}|[\dA-Z]+Rik\d*|mt-[A-Z][a-z]+\d*|H2-[A-Z][a-z]?\d?)$"
# GRCh38_CD3E, GRCh38______CD3E, hg38---CD3E, GRCh38.CD3E, human:CD3E, gene-CD3E (RefSeq's GFF).
_HUMAN_PREFIX = re.compile(
    r"^((refdata-(gex|cellranger)-)?(GRCh3[78]|hg19|hg38|human|homo_sapiens|T2T)([A-Za-z0-9.-]*_+|-+|[.:|/ ]+)"
    r"|gene[-:])",
    re.I,
)


class Symbols(NamedTuple):
    """Symbols of a matrix's features, and where they come from (in words)."""

    names: pd.Index
    source: str


@functools.cache
def marker_genes() -> frozenset[str]:
    """Return the genes of all marker tables that come with carseq."""
    found: set[str] = set()
    for table in ("urinary", "t_states", "t_types"):
        genes = pd.read_csv(data_path(f"markers/{table}.tsv"), sep="\t", usecols=["gene"])["gene"]
        found |= set(genes)
    return frozenset(found)


@functools.cache
def _known_ids() -> dict[str, str]:
    """Return the symbols, by Ensembl id, of the genes that carseq's tables name (GENCODE 44)."""
    table = pd.read_csv(data_path("markers/gene_ids.tsv"), sep="\t", dtype=str)
    return dict(zip(table["ensembl_id"], table["gene"], strict=True))


@functools.cache
def _other_names() -> dict[str, str]:
    """Return carseq's symbol of a gene by the ones that HGNC gave it before or since (IGJ, now JCHAIN)."""
    table = pd.read_csv(
        data_path("markers/gene_ids.tsv"), sep="\t", dtype=str, keep_default_na=False
    )
    return {
        other: gene
        for gene, others in zip(table["gene"], table["other_names"], strict=True)
        for other in others.split(",")
        if other
    }


def one_release(names: pd.Index) -> pd.Index:
    """Return symbols with those of other releases replaced by carseq's (IGJ by JCHAIN), where the latter is not there.

    Parameters
    ----------
    names
        Gene symbols of a matrix, or of a table of markers.
    """
    others = _other_names()
    found = names[names.isin(list(others))]
    changed = {name: others[name] for name in found if others[name] not in names}
    return pd.Index([changed.get(name, name) for name in names]) if changed else names


def bare_ids(names: pd.Index) -> pd.Index:
    """Return Ensembl ids without their version; other names as they are."""
    return pd.Index([n.split(".")[0] if _ENSEMBL.match(n) else n for n in names.astype(str)])


def _without_prefix(names: pd.Index) -> pd.Index:
    """Cut a human genome's prefix (`GRCh38_`); features of a second species keep theirs."""
    return pd.Index([_HUMAN_PREFIX.sub("", n) for n in names])


def _variants(names: pd.Index, words: str) -> list[Symbols]:
    """Return a set of names as it is, and as it may have been before a program changed it."""
    made = [Symbols(names, words)]
    bare = _without_prefix(names)
    if not bare.equals(names):
        made.append(Symbols(bare, f"{words}, the genome's prefix cut"))
    alone = pd.Index([_WITH_ID.sub("", n) for n in names])
    if not alone.equals(names):
        made.append(Symbols(alone, f"{words}, the identifier cut"))
    return made


def _filled(column: pd.Series, names: pd.Index) -> pd.Index:
    """Return a column of `var` as names, those of the features where it has none."""
    text = column.astype(object).where(column.notna(), "").astype(str)
    return pd.Index(np.where(text.str.strip().str.lower().isin(_NO_NAME), names, text))


#: Source of symbols that are the features' own names, but for prefixes and former symbols.
OWN_NAMES = "the matrix's names"


def gene_symbols(
    names: pd.Index,
    columns: Mapping[str, Sequence[str]] | pd.DataFrame | None = None,
    *,
    by_id: Mapping[str, str] | None = None,
    own_ids: bool = True,
) -> Symbols:
    """Find the gene symbols of a matrix.

    Parameters
    ----------
    names
        Names of the features (``var_names``).
    columns
        Further columns of ``var``: those of :data:`SYMBOL_COLUMNS` first, then any that hold text.
    by_id
        Symbols by gene id, from the GTF; versions of the ids do not count.
    own_ids
        Whether the Ensembl ids of carseq's marker genes are tried too, where nothing else gives symbols.

    Returns
    -------
    Symbols
        One name for each feature. ``names`` are kept unless another source knows clearly more marker genes.
    """
    names = pd.Index(names.astype(str))
    candidates = _variants(names, OWN_NAMES)
    table = pd.DataFrame(columns) if columns is not None else pd.DataFrame()
    for column in SYMBOL_COLUMNS:
        if column in table:
            candidates += _variants(_filled(table[column], names), f"column {column!r} of var")
    # A column by any other name: what it holds tells.
    for column in table.columns.difference([*SYMBOL_COLUMNS], sort=False):
        given = table[column].astype(object)
        some = given[given.notna()].head(100)
        if len(some) and some.map(lambda value: isinstance(value, str)).all():
            text = _filled(given, names)
            # One that says something of genes (a pathway, the cells that they mark) names many alike.
            if text.nunique() >= LEAST_DISTINCT * names.nunique():
                candidates += _variants(text, f"column {column!r} of var")
    if (names == names.str.lower()).mean() > MOSTLY and not names.str.match(_ENSEMBL).any():
        candidates.append(Symbols(names.str.upper(), f"{OWN_NAMES}, in capitals"))
    if by_id:
        bare = bare_ids(names)
        symbol = {gene_id.split(".")[0]: name for gene_id, name in by_id.items()}
        known = pd.Index([symbol.get(n, n) for n in bare])
        if not known.equals(bare):
            candidates.append(Symbols(known, "the GTF, by gene id"))
    if own_ids:
        candidates += _by_own_ids(names, table)
    markers = marker_genes()
    # R writes HLA-DRA as HLA.DRA where names become those of a data frame.
    dotted = {m.replace("-", "."): m for m in markers if "-" in m}
    dotted |= {f"MT.{n}": f"MT-{n}" for n in ("CO1", "CO2", "CO3", "CYB", "ATP6", "ATP8")}
    dotted |= {f"MT.{n}": f"MT-{n}" for n in REFSEQ_MITO}
    score = [len(markers.intersection(c.names)) for c in candidates]
    best = int(np.argmax(score))
    # Its own names win unless another source knows clearly more.
    chosen = candidates[0] if score[0] >= 0.9 * score[best] else candidates[best]
    if chosen.names.isin(list(dotted)).any():
        plain = pd.Index([dotted.get(n, n) for n in chosen.names])
        chosen = Symbols(plain, chosen.source)
    return Symbols(one_release(chosen.names), chosen.source)


def _by_own_ids(names: pd.Index, table: pd.DataFrame) -> list[Symbols]:
    """Return the names with the ids of carseq's own genes replaced, if enough are there; ids of others stay."""
    found = []
    known = _known_ids()
    for ids, where in [
        (bare_ids(_without_prefix(names)), OWN_NAMES),
        *(
            (bare_ids(pd.Index(table[column].astype(str))), f"column {column!r} of var")
            for column in table.columns
            if table[column].astype(str).head(20).str.match(_ENSEMBL).any()
        ),
    ]:
        if ids.isin(list(known)).sum() >= MIN_IDS:
            symbols = [known.get(i, n) for i, n in zip(ids, names, strict=True)]
            found.append(Symbols(pd.Index(symbols), f"the Ensembl ids of marker genes, {where}"))
    return found


def with_symbols(
    adata: AnnData, *, car: str | None = None, by_id: Mapping[str, str] | None = None
) -> str:
    """Name the genes of a matrix by their symbols, in place; the CAR keeps its name.

    Parameters
    ----------
    adata
        Any matrix; `var_names` become symbols (made unique), `var["gene_id"]` keeps the former names where it is not
        there yet.
    car
        Name of the CAR among the features.
    by_id
        Symbols by gene id, from the GTF; versions of the ids do not count.

    Returns
    -------
    str
        Where the symbols come from, in words; empty where the names were symbols already.
    """
    before = pd.Index(adata.var_names.astype(str))
    found = gene_symbols(before, adata.var, by_id=by_id)
    if found.names.equals(before):
        return ""
    named = [old if old == car else new for old, new in zip(before, found.names, strict=True)]
    if "gene_id" not in adata.var:
        adata.var["gene_id"] = (
            adata.var["gene_ids"] if "gene_ids" in adata.var else before.to_numpy()
        )
    adata.var_names = pd.Index(named)
    adata.var_names_make_unique()
    return found.source


def is_mitochondrial(names: pd.Index) -> np.ndarray:
    """Return which genes are mitochondrial, shape (n_genes,): `MT-*`, or other names of them where there is no such.

    RefSeq's (`COX1`), MITOMAP's (`CO1`, `CYB`), and either behind `MT` or `MT_` (`MTCO1`).
    """
    return _mitochondrial(tuple(names.astype(str))).copy()


# The matrices of a study have the same genes, and each step asks of them again.
@functools.lru_cache(maxsize=4)
def _mitochondrial(names: tuple[str, ...]) -> np.ndarray:
    upper = pd.Index(names, dtype=object).str.upper()
    found = np.asarray(upper.str.match(r"^MT[-.]"), dtype=bool)
    if not found.any():
        # COX1 and ATP6 alone could be other things (PTGS1's alias); a mitochondrial genome brings them together.
        bare = upper.str.replace(r"^(MT_?|CHRMT?_)(?=(ND|CO|ATP|CY|RNR)[A-Z0-9]+$)", "", regex=True)
        refseq = np.asarray(bare.isin(REFSEQ_MITO | _MITOMAP), dtype=bool)
        if refseq.sum() >= 5:
            return refseq
    return found


def are_foreign(names: pd.Index) -> np.ndarray:
    """Return which features are those of another species, shape (n_features,).

    By a prefix (`mm10___Cd3e`, or any other behind which :data:`MIN_TWINS` of man's genes are there a second time, as
    `macFas5_CD3E`), or, where man's are there too, by the id (`ENSMUSG...` beside `ENSG...`) or the
    spelling (`Cd3e` beside `CD3E`, for :data:`MIN_TWINS` genes or more).
    """
    return _foreign(tuple(names.astype(str))).copy()


@functools.lru_cache(maxsize=4)
def _foreign(given: tuple[str, ...]) -> np.ndarray:
    names = pd.Index(given, dtype=object)
    found = np.asarray(names.str.match(_FOREIGN_PREFIX.pattern, flags=re.IGNORECASE), dtype=bool)
    found |= _second_genome(names)
    of_other = np.asarray(names.str.match(_OTHER_ENSEMBL), dtype=bool)
    if of_other.sum() >= MIN_TWINS and names.str.match(_HUMAN_ENSEMBL).any():
        found |= of_other
    spelled = np.asarray(names.str.match(_SMALL_LETTERS), dtype=bool)
    if spelled.sum() >= MIN_TWINS:
        twins = spelled & names.str.upper().isin(names[~spelled])
        if twins.sum() >= MIN_TWINS:
            # C1orf112 has no twin, nor has Gm12345.
            found |= twins | np.asarray(names.str.match(_MOUSE_ALONE), dtype=bool)
    return found


def _second_genome(names: pd.Index) -> np.ndarray:
    """Return which features stand behind a prefix that makes others of them a second time, shape (n_features,)."""
    found = np.zeros(len(names), dtype=bool)
    # The longest prefix first: Rnor_6.0_ before Rnor_; the names of neither are man's.
    for pattern in (
        r"^(.+?[_:|-]+[\d.]+[_:|-]+)(?=[A-Za-z])",
        r"^([A-Za-z][A-Za-z0-9.]*?[_:|-]+)(?=[A-Za-z])",
    ):
        prefix = names.str.extract(pattern, expand=False)
        for one, n in prefix.value_counts().items():
            if n < MIN_TWINS or _HUMAN_PREFIX.match(f"{one}A"):
                continue
            rows = np.asarray(prefix == one) & ~found
            behind = names[rows].str.slice(len(str(one))).str.upper()
            if behind.isin(names[~rows]).sum() >= MIN_TWINS:
                found |= rows
    return found


def species_of(names: pd.Index) -> str:
    """Return `human`, `mouse` or `unknown`, by the spelling of the marker genes and the kind of Ensembl ids."""
    markers = marker_genes()
    own = len(markers.intersection(names))
    # Mouse symbols are those of man in lower case but for the first letter: Cd3e.
    other = len({m.capitalize() for m in markers if len(m) > 2}.intersection(names))
    if other > max(own, 5):
        return "mouse"
    if own:
        return "human"
    ids = pd.Series(names.astype(str)).str.extract(r"^(ENS[A-Z]*G)\d")[0].value_counts()
    if len(ids):
        return {"ENSG": "human", "ENSMUSG": "mouse"}.get(str(ids.index[0]), "unknown")
    return "unknown"


def marker_coverage(names: pd.Index, markers: pd.DataFrame | None = None) -> pd.DataFrame:
    """Count how many of each type's markers are among the genes.

    Parameters
    ----------
    names
        Gene symbols of the matrix.
    markers
        Marker table with `lineage`, `cell_type`, `gene`, `weight`; None: the urinary table of carseq.

    Returns
    -------
    pandas.DataFrame
        A row a type: `lineage`, `cell_type`, `n_markers`, `n_found`, `share` (0 to 1).
    """
    if markers is None:
        markers = pd.read_csv(data_path("markers/urinary.tsv"), sep="\t", comment="#")
    positive = markers
    if "weight" in markers:
        weight = pd.to_numeric(markers["weight"], errors="coerce").fillna(1)
        positive = markers[weight > 0]
    present = positive["gene"].isin(names)
    table = (
        positive.assign(n_found=present)
        .groupby(["lineage", "cell_type"], sort=False)
        .agg(n_markers=("gene", "size"), n_found=("n_found", "sum"))
        .reset_index()
    )
    table["n_found"] = table["n_found"].astype(int)
    return table.assign(share=table["n_found"] / table["n_markers"])


def check_genes(names: pd.Index, what: str = "the matrix") -> list[str]:
    """Say what is unusual about a matrix's genes, for `carseq check` and the log.

    Parameters
    ----------
    names
        Gene symbols, after :func:`with_symbols`.
    what
        The matrix, in words, for the messages.

    Returns
    -------
    list of str
        Warnings; empty where all is as expected.

    Raises
    ------
    CarseqError
        If the genes are those of another species, or none of the marker genes is among them.
    """
    names = pd.Index(names.astype(str))
    markers = marker_genes()
    found = len(markers.intersection(names))
    species = species_of(names)
    if species == "mouse":
        raise CarseqError(
            f"the genes of {what} are those of mouse",
            f"for example {', '.join(names[:3])}",
            "carseq types human cells: give the human part of the matrix, or its human orthologs' symbols",
        )
    if not found:
        raise CarseqError(
            f"none of the {len(markers)} marker genes is among the features of {what}",
            f"it names its features {', '.join(names[:3])}, ...",
            "name genes by symbol (CD3E), add a column of var that holds the symbols "
            f"({', '.join(SYMBOL_COLUMNS[:3])}), or give the GTF whose gene_id the matrix uses",
        )
    warnings = []
    foreign = np.flatnonzero(are_foreign(names))
    if foreign.size:
        warnings.append(
            f"{what} holds {foreign.size:,} genes of another species ({names[foreign[0]]}, ...): their UMIs count as "
            "the cells', so that shares of UMIs are too low; give the human genes alone"
        )
    if len(names) < PANEL_GENES:
        warnings.append(
            f"{what} has {len(names):,} genes: a targeted panel; types whose markers it lacks cannot be recognized"
        )
    table = marker_coverage(names)
    few = table[table["share"] < FEW_MARKERS]
    if len(names) >= PANEL_GENES:
        # Matrices are often cut to the genes that were seen: without kidney cells, without their markers.
        few = few[few["lineage"].isin(["T", "NK"])]
    if len(few):
        shown = ", ".join(
            f"{r.cell_type} ({r.n_found} of {r.n_markers})" for r in few.head(6).itertuples()
        )
        more = f" and {len(few) - 6} more types" if len(few) > 6 else ""
        warnings.append(
            f"{what} lacks more than half of the markers of {shown}{more}: such labels are doubtful"
        )
    if not is_mitochondrial(names).any():
        warnings.append(
            f"{what} has no mitochondrial gene (MT-CO1, or COX1 as RefSeq writes it): the filter by mitochondrial "
            "UMIs does nothing"
        )
    return warnings

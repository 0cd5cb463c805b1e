"""T-cell receptors: contig tables joined to the cells, clonotypes, and what they say about the annotation.

Chains and their order are scirpy's (doi:10.1093/bioinformatics/btaa611), and a clonotype is what its documentation
calls one: the same nucleotides of the CDR3 and the same V gene in both main chains; it is looked for in
all samples of a patient, never across patients. A cell of which one chain was seen shares a clonotype with cells of
that chain alone.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from carseq.cells.markers import T_LINEAGE
from carseq.errors import CarseqError
from carseq.io.fasta import DAMAGED, whole_text
from carseq.log import get_logger
from carseq.schema.obs import OPTIONAL_OBS
from carseq.schema.tables import RECEPTORS
from carseq.study.texts import decimal_comma, is_missing, truth_of

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.receptor")

LOCI = ("TRA", "TRB", "TRG", "TRD")
#: Columns that a table must have: 10x (``*_contig_annotations.csv``) and AIRR rearrangements, with our names for them.
TENX = {
    "barcode": "barcode",
    "chain": "locus",
    "v_gene": "v_call",
    "j_gene": "j_call",
    "cdr3": "junction_aa",
    "cdr3_nt": "junction",
    "productive": "productive",
    "umis": "umi_count",
}
AIRR = {
    "cell_id": "barcode",
    "v_call": "v_call",
    "j_call": "j_call",
    "junction_aa": "junction_aa",
    "junction": "junction",
    "productive": "productive",
}
#: AIRR's columns that say how often a chain was seen, the best first.
COUNTS = ("umi_count", "duplicate_count", "consensus_count")
#: Kinds of scirpy's chain_pairing with more than one beta (or delta) chain: rare in one cell, by allelic exclusion.
TWO_BETA = ("extra VDJ", "two full chains", "multichain", "ambiguous")
#: Other columns that are read where they are there.
_FURTHER = ("contig_id", "high_confidence", "locus")
#: IMGT writes the species before a gene (Homsap TRBV2).
_BEFORE_GENE = r"^.*?\b(?=TR[ABGD][VDJC])"
#: Chains from which on it is no chance that none is productive.
FEW = 5
#: No barcode in common is an error from so many T cells and barcodes with a contig.
MANY = 20
#: Share of T cells with a receptor below which the library, or its pairing with the sample, is in doubt: 10x V(D)J
#: libraries show one in half of the T cells or more.
LEAST_SHARE = 0.3


def _comments(lines: list[str]) -> int:
    """Return how many lines of comments stand before a table; TRUST4's header begins with ``#`` too."""
    for number, line in enumerate(lines):
        # A remark has commas too, with a blank behind them.
        if not line.startswith("#") or len(re.split("[\t;]|,(?! )", line)) > 3:
            return number
    return 0


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table between tabs, commas or semicolons as text, blanks around its cells cut."""
    text = whole_text(path)
    lines = text.splitlines()
    # Separated by tabs (AIRR), commas (10x), or semicolons, where a spreadsheet saved it.
    first = _comments(lines)
    header = lines[first] if lines else ""
    separator = max("\t,;", key=header.count)
    rows = [line for line in lines[first + 1 :] if line.strip("\0 \t,;") and line[0] != "#"]
    usual = min((row.count(separator) for row in rows[:-1]), default=header.count(separator))
    if text.count('"') % 2 or (rows and '"' not in rows[-1] and rows[-1].count(separator) < usual):
        raise CarseqError(
            f"the table of receptors {path} is cut off",
            f"its last line ends within a row: {rows[-1][-60:]!r}" if rows else "",
            "transfer it again; compare its md5",
        )
    # Behind each row some programs write a separator that the header lacks; without this, row names are before it.
    is_longer = bool(rows) and usual == header.count(separator) + 1
    ends = is_longer and all(row.rstrip(" ").endswith(separator) for row in rows)
    table = pd.read_csv(
        io.StringIO(text),
        sep=separator,
        dtype=str,
        keep_default_na=False,
        skiprows=first,
        index_col=False if ends else None,
    )
    table = table.rename(columns=lambda name: str(name).strip())
    return table.apply(lambda column: column.fillna("").astype(str).str.strip())


def read_contigs(path: str | Path) -> pd.DataFrame:
    """Read the chains of T-cell receptors from 10x's contig annotations (CSV) or AIRR rearrangements (TSV).

    Parameters
    ----------
    path
        ``filtered_contig_annotations.csv``, ``all_contig_annotations.csv`` or an AIRR TSV; may be gzipped.

    Returns
    -------
    pandas.DataFrame
        Productive chains that the caller was sure of, one row each: ``barcode``, ``locus`` (TRA, TRB, TRG, TRD),
        ``v_call``, ``j_call``, ``junction`` (nt), ``junction_aa``, ``umi_count``.

    Raises
    ------
    CarseqError
        If it cannot be read, is neither format, lacks a column or the cells' names, or holds no chain of a T-cell
        receptor.
    """
    path = Path(path)
    remedy = (
        "give 10x's filtered_contig_annotations.csv or an AIRR rearrangement TSV with cell_id (TRUST4: "
        "..._barcode_airr.tsv; MiXCR: `mixcr exportAirr`)"
    )
    try:
        table = _read_table(path)
        known = {name.lower(): name for name in (*TENX, *AIRR, *COUNTS, *_FURTHER)}
        spelt = {name: known.get(str(name).strip().lower(), name) for name in table.columns}
        if len(set(spelt.values())) == len(spelt):
            table = table.rename(columns=spelt)
        table = table.where(~table.apply(lambda column: column.map(is_missing)), "")
    except CarseqError as error:
        if error.message.endswith("is cut off"):
            raise
        raise CarseqError(
            f"cannot read the table of receptors {path}", error.cause, error.remedy
        ) from None
    except (*DAMAGED, ValueError) as error:  # type: ignore[misc]
        # EmptyDataError and ParserError are ValueErrors.
        cause = " ".join(str(error).split())[:300]
        raise CarseqError(f"cannot read the table of receptors {path}", cause, remedy) from None
    names = TENX if "contig_id" in table or "cdr3_nt" in table else AIRR
    missing = [name for name in names if name not in table]
    if missing:
        kind = "10x contig annotations" if names is TENX else "AIRR rearrangements"
        raise CarseqError(
            f"the table of receptors {path} lacks {', '.join(missing)}",
            f"read as {kind}, it has {', '.join(map(str, table.columns[:12]))}",
            remedy,
        )
    chains = table[list(names)].rename(columns=names)
    if names is AIRR:
        # Some V genes are of two loci (TRAV29/DV5), a J gene is of one.
        called = chains["j_call"].where(chains["j_call"] != "", chains["v_call"])
        by_gene = called.str.replace(_BEFORE_GENE, "", regex=True).str[:3]
        given = table.get("locus", by_gene)
        chains["locus"] = given.where(given != "", by_gene)
        counted = next((name for name in COUNTS if name in table), None)
        chains["umi_count"] = table[counted] if counted else "1"
    if len(chains) and (chains["barcode"] == "").all():
        raise CarseqError(
            f"the table of receptors {path} names no cells",
            f"its column {next(k for k, v in names.items() if v == 'barcode')} is empty",
            "give the table of a single-cell library",
        )
    of_t = chains["locus"].str.upper().isin(LOCI)
    if len(chains) and not of_t.any():
        raise CarseqError(
            f"{path} holds no chain of a T-cell receptor",
            f"it has {', '.join(sorted(set(chains['locus']))[:6])}",
            "give the T-cell library (vdj_t), not that of B cells",
        )
    says = {
        name: table[name].map(truth_of)
        for name in ("high_confidence", "productive")
        if name in table
    }
    for name, said in says.items():
        if len(odd := table[name][said.isna()]):
            raise CarseqError(
                f"{name} in the table of receptors {path} is {odd.iloc[0].strip().lower()!r}",
                "it must be true or false; spreadsheets translate the two words (WAHR, VRAI)",
                "give the file as the counting program wrote it, or put the words back",
            )
    if len(chains) >= FEW and (table["productive"] == "").all():
        raise CarseqError(
            f"the table of receptors {path} says of no chain that it is productive",
            f"its column productive is empty in all {len(chains)} rows",
            remedy,
        )
    sure = says.get("high_confidence", says["productive"]).astype(bool)
    if "high_confidence" in table and (table["high_confidence"] == "").all():
        sure = pd.Series(data=True, index=table.index)
    # 10x writes None for a CDR3 that it did not find, R writes NA: both are empty here.
    whole = (chains["junction"] != "") & (chains["junction_aa"] != "")
    chains = chains[
        of_t & says["productive"].astype(bool) & sure & whole & (chains["barcode"] != "")
    ].copy()
    chains["locus"] = chains["locus"].str.upper()
    # The gene without its allele, which tools tell apart or not: the first of those named.
    for name in ("v_call", "j_call"):
        gene = chains[name].str.replace(_BEFORE_GENE, "", regex=True)
        chains[name] = gene.str.split(r"[*,]", regex=True).str[0].str.strip()
    chains["junction"] = chains["junction"].str.upper()
    if numbers := decimal_comma(chains["umi_count"]):
        chains["umi_count"] = numbers
    counted = pd.to_numeric(chains["umi_count"], errors="coerce").replace([np.inf, -np.inf], np.nan)
    chains["umi_count"] = counted.clip(0, 1e9).fillna(1).astype(int)
    return _each_once(chains.drop(columns="productive"))


def _each_once(chains: pd.DataFrame) -> pd.DataFrame:
    """Return the chains of which a cell has several contigs once, named as the one of the most UMIs, with their sum.

    Programs assemble a chain twice, and files of several lanes that were joined name it twice, with the same UMIs or
    others: a cell would have two beta chains.
    """
    chains = chains.drop_duplicates()
    same = ["barcode", "locus", "junction"]
    n = chains.groupby(same)["umi_count"].transform("sum")
    most = chains.sort_values("umi_count", ascending=False, kind="stable").drop_duplicates(same)
    return chains.assign(umi_count=n).loc[most.index.sort_values()].reset_index(drop=True)


def match_contigs(chains: pd.DataFrame, barcodes: pd.Index, sample: str) -> pd.DataFrame:
    """Return the chains of the cells named, their barcodes written as the cells' are (with or without ``-1``).

    Parameters
    ----------
    chains
        From :func:`read_contigs`.
    barcodes
        Barcodes of the cells, or of a whole matrix.
    sample
        Name of the sample, for the message.

    Raises
    ------
    CarseqError
        If there are many of both and hardly one in common.
    """
    from carseq.io.barcodes import match_barcodes, strangers

    matched = match_barcodes(chains, barcodes, strict=False)
    own = matched[matched["barcode"].isin(barcodes)]
    n_own, n_given = own["barcode"].nunique(), chains["barcode"].nunique()
    # Some barcodes of another sample are always met by chance.
    if min(len(barcodes), n_given) >= MANY and strangers(n_own, n_given, len(barcodes)):
        raise CarseqError(
            f"the receptors and the cells of sample {sample} share {'no barcode' if own.empty else 'hardly a barcode'}",
            f"{n_own} of {len(barcodes):,} cells have one of the {n_given:,} receptors; receptors have "
            f"{chains['barcode'].iloc[0]}, the cells have {barcodes[0]}",
            "give the contig table made from this sample's library",
        )
    return own


def add_receptors(adata: AnnData, files: Mapping[str, str | Path]) -> AnnData:
    """Join T-cell receptors to the cells of a cohort and find clonotypes in each patient's samples.

    Parameters
    ----------
    adata
        Cohort, indexed ``sample:barcode``; ``obs``: ``sample``, ``barcode``, ``patient``, ``lineage``.
    files
        Contig table by sample (:func:`read_contigs`); samples may be without.

    Returns
    -------
    AnnData
        The same object, with ``tcr_chains``, ``tcr_pairing``, ``cdr3_tra``, ``cdr3_trb``, ``clonotype`` and
        ``clonotype_size`` in ``obs`` (:data:`carseq.schema.obs.OPTIONAL_OBS`). Droplets with more chains than
        one cell has, or with those of two, get no clonotype.

    Raises
    ------
    CarseqError
        If a table cannot be used or belongs to other cells.
    """
    from carseq.io.barcodes import match_barcodes

    obs = adata.obs
    for name, column in OPTIONAL_OBS.columns.items():
        if name != "protein_lineage":
            obs[name] = 0 if column.dtype == "int64" else ""
    parts = []
    for sample, path in files.items():
        own = obs[obs["sample"].astype(str) == sample]
        chains = read_contigs(path)
        t_cells = own["lineage"].astype(str) == T_LINEAGE
        barcodes = pd.Index(own["barcode"].astype(str))
        if t_cells.sum() >= MANY:
            chains = match_contigs(chains, barcodes, sample)
        else:
            # Among few T cells it may be chance that none has a receptor.
            chains = match_barcodes(chains, barcodes, strict=False)
            chains = chains[chains["barcode"].isin(barcodes)]
        log.info(
            "sample %s: %d of %d cells have a T-cell receptor",
            sample,
            chains["barcode"].nunique(),
            len(own),
        )
        parts.append(chains.assign(cell_id=sample + ":" + chains["barcode"]))
    joined = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if len(joined):
        found = _clonotypes(joined, obs["patient"].astype(str))
        for name in found:
            obs.loc[found.index, name] = found[name].to_numpy()
    return adata


def _clonotypes(chains: pd.DataFrame, patient: pd.Series) -> pd.DataFrame:
    """Return the columns of :func:`add_receptors` by cell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scirpy as ir

        rows = chains.drop(columns="barcode").assign(
            sequence_id=[f"contig_{i}" for i in range(len(chains))], productive=True
        )
        airr = ir.io.read_airr(rows)
        ir.pp.index_chains(airr)
        ir.tl.chain_qc(airr)
        fields = ["locus", "junction_aa", "junction", "v_call"]
        seen = ir.get.airr(airr, fields, ["VJ_1", "VJ_2", "VDJ_1", "VDJ_2"])
    result = pd.DataFrame(index=airr.obs_names)
    loci = seen[[f"{chain}_locus" for chain in ("VJ_1", "VJ_2", "VDJ_1", "VDJ_2")]]
    result["tcr_chains"] = [
        "+".join(x for x in row if isinstance(x, str)) for row in loci.to_numpy()
    ]
    result["tcr_pairing"] = airr.obs["chain_pairing"].astype(str)
    for name, chain, locus in (("cdr3_tra", "VJ_1", "TRA"), ("cdr3_trb", "VDJ_1", "TRB")):
        cdr3 = seen[f"{chain}_junction_aa"].astype(object)
        result[name] = cdr3.where(seen[f"{chain}_locus"] == locus, "").fillna("")
    # What scirpy's define_clonotypes does with metric identity, same V gene, primary chains of both arms; that function
    # (0.22.5) fails where no cell has a chain of one arm, as in a sample of one T cell.
    of_patient = patient.reindex(airr.obs_names).to_numpy()
    main = [f"{chain}_{field}" for chain in ("VJ_1", "VDJ_1") for field in ("junction", "v_call")]
    keys = seen[main].astype(object).fillna("").assign(patient=of_patient)
    clone = keys.groupby([*main, "patient"], sort=False).ngroup().astype(object)
    clone = clone.mask(result["tcr_pairing"].isin(["multichain", "ambiguous"]))
    clone = clone.mask(_of_two_cells(seen, result["tcr_pairing"], of_patient))
    size = clone.map(clone.value_counts())
    # Numbered within the patient, the largest first; of like size in the cells' order.
    table = pd.DataFrame({"patient": of_patient, "clone": clone, "size": size}).dropna()
    first = table.drop_duplicates("clone").sort_values("size", ascending=False, kind="stable")
    number = first.groupby("patient", observed=True).cumcount() + 1
    names = dict(zip(first["clone"], first["patient"] + ":" + number.astype(str), strict=True))
    result["clonotype"] = clone.map(names).fillna("").astype(str)
    result["clonotype_size"] = size.fillna(0).astype(np.int64)
    return result


def _of_two_cells(seen: pd.DataFrame, pairing: pd.Series, patient: np.ndarray) -> np.ndarray:
    """Return which droplets of two full pairs of chains hold two cells rather than one, shape (n_cells,).

    One cell in some 300 has two of both chains, since the second beta chain is excluded; of a chip's T cells more share
    a droplet. Their main chains may be of one cell each, a pair that no cell has. A clone of such cells shows all four
    chains in two cells or more, and no less often than one pair of them alone.
    """
    names = ["VJ_1", "VJ_2", "VDJ_1", "VDJ_2"]
    chains = seen[[f"{name}_junction" for name in names]].astype(object).fillna("").to_numpy()
    whole = (pairing == "two full chains").to_numpy()
    fours, pairs = Counter[Any](), Counter[Any]()
    for row, one, four in zip(chains, patient, whole, strict=True):
        if four:
            fours[one, frozenset(row)] += 1
        else:
            pairs[one, row[0], row[2]] += 1
    found = np.zeros(len(whole), dtype=bool)
    for i in np.flatnonzero(whole):
        row, one = chains[i], patient[i]
        alone = sum(pairs[one, a, b] for a in row[:2] for b in row[2:])
        found[i] = fours[one, frozenset(row)] < max(2, alone)
    return found


def receptor_table(obs: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    """Hold the annotation against T-cell receptors.

    Parameters
    ----------
    obs
        Cells after :func:`add_receptors`; ``sample``, ``lineage``, ``is_doublet``.
    samples
        Samples that came with receptors.

    Returns
    -------
    pandas.DataFrame
        Schema ``RECEPTORS``, a row a sample. Doublets are left out.
    """
    rows: list[dict[str, Any]] = []
    for sample in samples:
        own = obs[(obs["sample"].astype(str) == sample) & ~obs["is_doublet"].astype(bool)]
        has = own["tcr_chains"] != ""
        is_t = own["lineage"].astype(str) == T_LINEAGE
        chains = own["tcr_chains"].str.split("+")
        paired = chains.map(lambda c: {"TRA", "TRB"} <= set(c) or {"TRG", "TRD"} <= set(c)).astype(
            bool
        )
        other = own.loc[paired & ~is_t, "lineage"].astype(str).value_counts()
        of_sample = own[own["clonotype"] != ""].drop_duplicates("clonotype")
        n_t = int(is_t.sum())
        rows.append(
            {
                "sample": sample,
                "n_cells": len(own),
                "n_receptor": int(has.sum()),
                "n_t_cells": n_t,
                "n_t_receptor": int((has & is_t).sum()),
                "share_t_receptor": float((has & is_t).sum() / n_t) if n_t else float("nan"),
                "n_paired_not_t": int(other.sum()),
                "paired_not_t": ", ".join(f"{name} {n}" for name, n in other.items()),
                "n_two_beta": int(own["tcr_pairing"].isin(TWO_BETA).sum()),
                "n_clonotypes": len(of_sample),
                "n_expanded": int((of_sample["clonotype_size"] > 1).sum()),
            }
        )
    return RECEPTORS.conform(pd.DataFrame(rows, columns=list(RECEPTORS.columns)))

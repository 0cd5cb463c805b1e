"""Every ``obs`` key of ``cohort/cells.h5ad``, declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from carseq.schema.column import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

#: ``obs`` of ``cohort/cells.h5ad`` from optional inputs: empty (0) in samples that come without them.
OPTIONAL_OBS = Schema(
    "optional obs",
    {
        "protein_lineage": Column(
            "str",
            "lineage by surface proteins: T, B, NK, myeloid, epithelial, erythroid, conflict",
        ),
        "tcr_chains": Column("str", "chains of the T-cell receptor, such as TRA+TRB"),
        "tcr_pairing": Column(
            "str", "scirpy's chain_pairing: single pair, orphan VJ, extra VDJ, multichain, ..."
        ),
        "cdr3_tra": Column("str", "amino acids of the CDR3 with its anchors, main alpha chain"),
        "cdr3_trb": Column("str", "the same of the main beta chain"),
        "clonotype": Column(
            "str", "PATIENT:NUMBER; the same CDR3 nucleotides and V genes of both main chains"
        ),
        "clonotype_size": Column("int64", "cells of the clonotype in all samples of the patient"),
    },
)

#: ``obs`` of ``cohort/cells.h5ad``; the index is ``sample:barcode``.
OBS = Schema(
    "obs",
    {
        "sample": Column("str", "sample"),
        "patient": Column("str", "patient"),
        "compartment": Column("str", "urine, blood, product or other"),
        "timepoint": Column("str", "time point", label="Time point"),
        "role": Column("str", "case, negative_control or product"),
        "barcode": Column("str", "cell barcode"),
        "total_umis": Column("int64", "UMIs, the CAR included", label="UMIs", unit="count"),
        "n_genes": Column("int64", "genes with at least one UMI", label="Genes", unit="count"),
        "pct_mito": Column(
            "float64",
            "mitochondrial UMIs, %; NaN where the matrix holds no such gene",
            label="Mitochondrial",
            unit="percent",
        ),
        "doublet_score": Column("float64", "scrublet score; NaN where there are too few cells"),
        "is_doublet": Column("bool", "called a doublet", label="Doublet"),
        "leiden": Column("str", "cluster"),
        "lineage": Column(
            "str", "T, NK, B, plasma, myeloid, kidney, urogenital, erythroid, unknown, ..."
        ),
        "cell_type": Column("str", "cell type"),
        "cell_type_confidence": Column(
            "float64", "confidence of the type, 0 to 1; of unknown: that it is not a lineage"
        ),
        "t_state": Column("str", "state of a T cell, empty for others", label="T-cell state"),
        "car_umis": Column(
            "int64",
            "CAR molecules: unique, junction and shared with p_car >= 0.5",
            label="CAR UMIs",
            unit="count",
        ),
        "car_umis_unique": Column(
            "int64",
            "CAR molecules of evidence unique or junction",
            label="CAR-only UMIs",
            unit="count",
        ),
        "car_evidence": Column(
            "int64",
            "CAR molecules that the model counts: those told apart and, beside one of them, the expected number of "
            "shared ones",
            label="CAR UMIs counted",
            unit="count",
        ),
        "car_expected_ambient": Column(
            "float64",
            "CAR molecules expected from ambient RNA",
            label="Ambient, expected",
            unit="count",
        ),
        "car_expected_background": Column(
            "float64",
            "false CAR molecules expected beyond that: chimeras, swaps, ambient RNA missed",
            label="Background, expected",
            unit="count",
        ),
        "car_null_shape": Column(
            "float64", "shape of the negative binomial of all false CAR molecules of the cell"
        ),
        "car_prior": Column(
            "float64",
            "chance of a CAR T cell of this depth, type and clone, by the sample's other cells; NaN for other cells",
        ),
        "car_log_own": Column(
            "float64", "log likelihood of the CAR count in a CAR T cell; NaN for other cells"
        ),
        "car_log_ambient": Column(
            "float64",
            "log likelihood of the CAR count from false molecules alone; NaN for other cells",
        ),
        "car_clone_support": Column(
            "float64",
            "log odds of a CAR T cell that the other cells of its clonotype add; NaN without a receptor",
            label="Clone support",
        ),
        "car_posterior": Column(
            "float64",
            "probability that the cell is a CAR T cell; NaN for cells that the model does not evaluate (doublets, and "
            "what is not a T cell)",
            label="Posterior",
            unit="fraction",
        ),
        "car_call": Column("str", "positive, uncertain or negative", label="Call"),
        "car_reason": Column(
            "str",
            "why, as a code: positive, few_molecules, shared_only, no_molecule, t_cell_doublet, doublet, "
            "unknown_type, explained_by_ambient, unexplained or not_t_cell",
            label="Reason",
        ),
        "car_reason_text": Column(
            "str", "why, in words, with the cell's own numbers", label="Reason in words"
        ),
    },
)

#: Further columns of ``obs``: the cells room's workings, and what optional inputs give. Columns of the samples sheet
#: are beside them under their own names.
OBS_MORE = Schema(
    "obs, further",
    {
        "gating": Column("str", "how cells were sorted, from the samples sheet"),
        "sequencing_run": Column("str", "libraries sequenced together, from the samples sheet"),
        "library": Column("str", "library that holds several samples, from the samples sheet"),
        "tag": Column("str", "what marks the sample in its library, from the samples sheet"),
        "pct_intronic": Column(
            "float64", "reads in introns, %, by Cell Ranger's BAM; NaN where it is not known"
        ),
        "pct_hb": Column(
            "float64",
            "haemoglobin UMIs (HBA1, HBA2, HBB), %; NaN where the matrix holds none of them",
        ),
        "xist_umis": Column(
            "float64", "UMIs of XIST; NaN where the matrix lacks it", label="XIST", unit="count"
        ),
        "y_umis": Column(
            "float64",
            "UMIs of RPS4Y1 and six more genes of the Y chromosome; NaN where the matrix lacks all of them",
            label="Y genes",
            unit="count",
        ),
        "log10_genes_per_umi": Column("float64", "log10 genes / log10 UMIs; NaN below 2 UMIs"),
        "doublet_reason": Column(
            "str", "lineage conflict, scrublet, SOLO or two transcriptomes; empty for single cells"
        ),
        "doublet_pair": Column(
            "float64", "log-likelihood ratio of two lineages' transcriptomes against one, tempered"
        ),
        "doublet_partner": Column("str", "type of the second cell by that, empty where none"),
        "solo_score": Column("float64", "SOLO's probability of a doublet, where asked for"),
        "lineage_confidence": Column("float64", "probability of the lineage, 0 to 1"),
        "cell_type_ontology_term_id": Column(
            "str", "Cell Ontology term of the cell type; empty where it has none"
        ),
        "cell_type_2": Column("str", "type by the second method, a linear model of the markers"),
        "lineage_2": Column("str", "its lineage"),
        "reference_type": Column("str", "label of the user's reference, by scANVI"),
        "reference_confidence": Column("float64", "its probability, 0 to 1"),
        "celltypist_type": Column("str", "label of the user's CellTypist model"),
        "celltypist_confidence": Column("float64", "its probability, 0 to 1"),
        "contamination": Column(
            "float64",
            "ambient share of the cell's UMIs, 0 to 1; one number in all cells of a sample where nothing measured it",
        ),
        "intact_fraction": Column(
            "float64",
            "estimated share of its mRNA that the cell kept, 0 to 1; 1 where it cannot be judged",
        ),
        "is_damaged": Column(
            "bool", "lost its cytoplasm: few ribosomal, many nuclear UMIs; flagged, not removed"
        ),
        "pct_ribo": Column(
            "float64", "UMIs of ribosomal protein genes, %; NaN where the matrix holds none"
        ),
        "pct_nuclear": Column(
            "float64", "UMIs of MALAT1 and NEAT1, %; NaN where the matrix holds neither"
        ),
        "marker_coverage": Column(
            "float64", "share of the cell type's markers that the matrix holds, 0 to 1"
        ),
        "qc_reason": Column("str", "which quality filter took the cell out; empty for cells kept"),
        "S_score": Column("float64", "score of the genes of S phase"),
        "G2M_score": Column("float64", "score of the genes of G2 and M phase"),
        "phase": Column(
            "str",
            "phase of the cell cycle by scanpy's scores, beside the cohort's other cells: G1, S or G2M, also of cells "
            "that do not divide (`t_state` says which T cells do)",
        ),
        **{
            f"score_{state}": Column(
                "float64", f"z score of the signature `{state}` in a T cell; NaN for other cells"
            )
            for state in (
                "naive",
                "memory",
                "effector",
                "exhausted",
                "regulatory",
                "proliferating",
                "tissue-resident",
                "interferon-responsive",
            )
        },
        **OPTIONAL_OBS.columns,
        "car_ambient_shape": Column(
            "float64", "shape of the gamma distribution of ambient CAR molecules between droplets"
        ),
    },
)

#: What else ``cohort/cells.h5ad`` holds.
H5AD = {
    "X": "log1p of counts per 10,000",
    'layers["counts"]': "raw counts (UMIs), the CAR a gene among them",
    'layers["corrected"]': "expected UMIs without ambient RNA, the CAR's as they are (`cells.corrected`)",
    'layers["cellbender"]': "CellBender's counts, the CAR's as they are (`cells.cellbender`)",
    'obsm["protein"]': "antibody counts, where a sample has them; NaN in samples without",
    'uns["protein_names"]': "the antibodies, in the order of obsm's columns",
    'obsm["X_umap"]': "map of the cells",
    'obsm["X_scVI"]': "latent space (or `X_harmony`, `X_pca`, by what was done)",
    'obsm["lineage_probability"]': "probability of each lineage",
    'uns["lineage_probability_names"]': "the lineages, in the order of obsm's columns",
    'obsm["t_type_probability"]': "probability of each T-cell type in a T cell; 0 in others",
    'uns["t_type_probability_names"]': "the types, in the order of obsm's columns",
    'uns["car_homologs"]': "genes that share sequence with the CAR, if the construct is known",
    'uns["library_failed"]': "samples that failed, with their median genes in a cell",
    'uns["genes_missing"]': "samples whose matrix lacks genes of others, with these genes: they count 0 there",
    'obsp["connectivities"]': "graph of neighbours",
    'obsp["distances"]': "distances in it",
    'var["gene_id"]': "identifier of the gene in the annotation",
    'uns["car"]': "name of the CAR gene",
    'uns["car_model"]': "parameters of the calling model",
    'uns["integration"]': "what was done, what was configured, and why they differ",
    'uns["leiden"]': "parameters of the clustering",
    'uns["neighbors"]': "parameters of the graph",
    'uns["sketch"]': "above 200,000 cells: how many of them the graph was made of, which is then not kept",
    'uns["umap"]': "parameters of the map",
}


def with_samples(obs: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Return ``obs`` with the samples' metadata: the one place where they reach the cells.

    Parameters
    ----------
    obs
        A row a cell, with column ``sample``; columns of the same names are replaced.
    samples
        A row a sample: column ``sample`` and whatever else is to be carried.

    Returns
    -------
    pandas.DataFrame
        A copy; the new columns are categories.

    Examples
    --------
    >>> import pandas as pd
    >>> obs = pd.DataFrame({"sample": ["A", "B", "A"]})
    >>> samples = pd.DataFrame({"sample": ["A", "B"], "timepoint": ["D0", "D28"]})
    >>> list(with_samples(obs, samples)["timepoint"])
    ['D0', 'D28', 'D0']
    """
    names, obs = obs["sample"].astype(str), obs.copy()
    by_sample = samples.set_index("sample")
    for column in by_sample:
        obs[column] = names.map(by_sample[column]).astype("category")
    return obs


def conform_obs(obs: pd.DataFrame) -> pd.DataFrame:
    """Return ``obs`` with every column of schema ``OBS``; blanks where a column is not there."""
    obs = obs.copy()
    blanks: dict[str, Any] = {"str": "", "int64": 0, "bool": False, "float64": np.nan}
    for name, column in OBS.columns.items():
        if name not in obs:
            obs[name] = blanks[column.dtype]
        elif column.dtype == "str":
            # Categories and missing values: a blank is a name for neither.
            obs[name] = obs[name].astype("object").where(obs[name].notna(), "")
        elif column.dtype in {"int64", "bool"}:
            obs[name] = obs[name].fillna(0)
    return OBS.conform(obs)

"""Every table carseq writes, declared once."""

from __future__ import annotations

from carseq.schema.column import Column, Schema
from carseq.schema.obs import OBS

MOLECULES = Schema(
    "molecules",
    {
        "sample": Column("str", "sample"),
        "barcode": Column("str", "cell barcode, as in the BAM"),
        "umi": Column("str", "corrected UMI", label="UMI"),
        "n_reads": Column(
            "int64", "reads of this molecule that are CAR candidates", label="Reads", unit="count"
        ),
        "evidence": Column("str", "unique, junction or shared"),
        "p_car": Column(
            "float64", "probability that the molecule is CAR mRNA", label="P(CAR)", unit="fraction"
        ),
        "tx_start": Column(
            "int64", "first base on the CAR transcript, 0-based", label="From base", unit="bases"
        ),
        "tx_end": Column(
            "int64", "end on the CAR transcript, exclusive", label="To base", unit="bases"
        ),
        "domains": Column("str", "domains touched, comma-separated"),
        "edits": Column("int64", "fewest edits of a read against the CAR transcript"),
        "endogenous_gene": Column(
            "str", "most similar homologous gene, empty if none", label="Homologous gene"
        ),
        "source": Column("str", "aligned, homolog or unmapped"),
    },
)

LOSSES = Schema(
    "losses",
    {
        "sample": Column("str", "sample"),
        "step": Column("str", "where the reads went"),
        "unit": Column("str", "reads or molecules"),
        "n": Column("int64", "how many", label="Number", unit="count"),
        "meaning": Column("str", "the step in words"),
    },
)

#: ``cohort/samples.tsv``: what the samples sheet says of each sample. Further columns of the sheet follow these.
METADATA = Schema(
    "metadata",
    {
        "sample": Column("str", "sample"),
        "patient": Column("str", "patient"),
        "compartment": Column("str", "urine, blood, product or other"),
        "timepoint": Column("str", "time point", label="Time point"),
        "role": Column("str", "case, negative_control or product"),
    },
)

DETECTION = Schema(
    "detection",
    {
        **METADATA.columns,
        "gating": Column(
            "str",
            "how cells were sorted: unsorted, car_enriched, car_depleted, t_enriched, cd45_depleted or other",
        ),
        "n_cells": Column("int64", "cells kept", label="Cells", unit="count"),
        "n_t_cells": Column("int64", "T cells kept (no doublets)", label="T cells", unit="count"),
        "n_car_positive": Column(
            "int64", "T cells called positive", label="Called positive", unit="count"
        ),
        "verdict": Column("str", "detected, not_detected (above the limit) or undetermined"),
        "verdict_text": Column("str", "the verdict in words", label="Verdict in words"),
        "prevalence": Column(
            "float64",
            "CAR T cells among the T cells sequenced, corrected for dropout: the mean of the posterior",
            label="CAR T share",
            unit="fraction",
        ),
        "prevalence_low": Column(
            "float64", "lower end of its 95 % interval", label="95 % from", unit="fraction"
        ),
        "prevalence_high": Column(
            "float64",
            "upper end; the detection limit where no T cell shows the CAR, at least the limit where none was called",
            label="95 % to",
            unit="fraction",
        ),
        "prevalence_is": Column(
            "str",
            "fraction, or purity: after a sort by the CAR, or where cells were kept for it, it says how pure these are",
            label="CAR T share is",
        ),
        "detection_limit": Column(
            "float64",
            "smallest CAR T fraction of T cells that would have given a positive call with a probability of 95 %; "
            "NaN without T cells",
            unit="fraction",
        ),
        "sensitivity": Column(
            "float64",
            "probability that a CAR T cell of this sample is called positive, at its fraction (at the limit if silent)",
            unit="fraction",
        ),
        "expected_false_calls": Column(
            "float64", "expected false positives among the positive calls", unit="count"
        ),
        "ambient_assumed": Column(
            "bool",
            "whether ambient RNA was assumed: no empty droplets, hardly a molecule in them, or (`carseq call`) cells "
            "without a contamination",
            label="Ambient assumed",
        ),
        "n_t_at_least_1_umi": Column(
            "int64",
            "T cells that the rule `1 CAR molecule or more` would call",
            label="T cells, ≥ 1 UMI",
            unit="count",
        ),
        "n_t_at_least_2_umis": Column(
            "int64",
            "T cells that the rule `2 CAR molecules or more` would call",
            label="T cells, ≥ 2 UMIs",
            unit="count",
        ),
    },
)

#: ``cohort/rules.tsv``.
RULES = Schema(
    "rules",
    {
        "sample": Column("str", "sample"),
        "rule": Column(
            "str", "carseq, 1, 2 or 3 CAR-only UMIs or more in a T cell, or a mixture of counts"
        ),
        "n_t_cells": Column("int64", "T cells of the sample", label="T cells", unit="count"),
        "n_called": Column(
            "int64",
            "of them called by the rule; -1 if it could not be fitted",
            label="Called",
            unit="count",
        ),
        "n_both": Column("int64", "called by the rule and by carseq", label="Both", unit="count"),
        "n_only_rule": Column(
            "int64", "called by the rule alone", label="Rule alone", unit="count"
        ),
        "n_only_carseq": Column(
            "int64", "called by carseq alone", label="carseq alone", unit="count"
        ),
        "overlap": Column(
            "float64",
            "called by both among those called by either; NaN if none is",
            label="Overlap",
            unit="fraction",
        ),
        "note": Column("str", "why a rule was not fitted"),
    },
)

#: ``cohort/thresholds.tsv``.
THRESHOLDS = Schema(
    "thresholds",
    {
        "sample": Column("str", "sample"),
        "fdr": Column(
            "float64",
            "false discovery rate allowed among the positive calls",
            label="False discovery rate",
            unit="fraction",
        ),
        "in_use": Column("bool", "whether it is the one the calls were made with"),
        "least_posterior": Column(
            "float64",
            "probability of the least certain positive cell; NaN without one",
            unit="fraction",
        ),
        "n_t_cells": Column("int64", "T cells kept (no doublets)", label="T cells", unit="count"),
        "n_car_positive": Column(
            "int64", "T cells that would be called positive", label="Called positive", unit="count"
        ),
        "expected_false_calls": Column(
            "float64", "expected false positives among them", unit="count"
        ),
        "sensitivity": Column(
            "float64", "probability that a CAR T cell would be called positive", unit="fraction"
        ),
        "detection_limit": Column(
            "float64",
            "smallest CAR T fraction excluded with 95 % confidence if no cell is called",
            unit="fraction",
        ),
        "verdict": Column("str", "the verdict there would be"),
    },
)

#: ``cohort/downsampling.tsv``.
DOWNSAMPLING = Schema(
    "downsampling",
    {
        "sample": Column("str", "sample"),
        "share": Column(
            "float64", "share of the molecules kept", label="Molecules kept", unit="fraction"
        ),
        "median_umis": Column(
            "float64", "median UMIs of a T cell with as many", label="UMIs, median", unit="count"
        ),
        "n_t_cells": Column("int64", "T cells kept (no doublets)", label="T cells", unit="count"),
        "expected_positive": Column(
            "float64", "positive calls expected", label="Positive, expected", unit="count"
        ),
        "expected_positive_low": Column(
            "float64",
            "lower end of the range of 95 % of random subsets of the molecules",
            label="95 % from",
            unit="count",
        ),
        "expected_positive_high": Column(
            "float64", "upper end of it", label="95 % to", unit="count"
        ),
        "sensitivity": Column(
            "float64", "probability that a CAR T cell would be called positive", unit="fraction"
        ),
        "detection_limit": Column(
            "float64",
            "smallest CAR T fraction excluded with 95 % confidence if no cell is called",
            unit="fraction",
        ),
    },
)

#: ``report/run_times.tsv``.
RUN_TIMES = Schema(
    "run_times",
    {
        "rule": Column("str", "rule of the workflow"),
        "n_jobs": Column("int64", "its jobs that were measured", label="Jobs", unit="count"),
        "minutes": Column(
            "float64", "their wall-clock time, summed", label="Minutes, all jobs", unit="minutes"
        ),
        "longest_minutes": Column(
            "float64", "the longest of them", label="Minutes, longest job", unit="minutes"
        ),
        "cpu_minutes": Column(
            "float64",
            "their CPU time, summed over threads",
            label="CPU minutes, all jobs",
            unit="minutes",
        ),
        "memory_mb": Column(
            "float64",
            "the most memory (resident) of one process of one of them, MB",
            label="Memory, most (MB)",
            unit="MB",
        ),
    },
)

LOCALIZATION = Schema(
    "localization",
    {
        "sample": Column(
            "str", "sample; empty where all samples of a patient and compartment are pooled"
        ),
        "patient": Column("str", "patient"),
        "compartment": Column("str", "compartment"),
        "timepoint": Column("str", "time point; those pooled, comma-separated", label="Time point"),
        "level": Column(
            "str",
            "lineage, cell_type, t_state, or `cell_type x t_state` (the states of T cells by type)",
        ),
        "group": Column("str", "the lineage, type or state; `type x state` where crossed"),
        "n_cells": Column("int64", "cells of the group", label="Cells", unit="count"),
        "n_car_positive": Column(
            "int64", "of them called positive", label="Called positive", unit="count"
        ),
        "n_car_signal": Column(
            "int64",
            "of them with at least one CAR molecule",
            label="With CAR molecules",
            unit="count",
        ),
        "estimate": Column(
            "float64",
            "CAR T fraction, corrected for dropout (T cells only, else NaN)",
            label="CAR T share",
            unit="fraction",
        ),
        "low": Column(
            "float64", "lower end of its 95 % interval", label="95 % from", unit="fraction"
        ),
        "high": Column(
            "float64",
            "upper end of its 95 % interval; without a positive call, what the samples' verdicts do not exclude",
            label="95 % to",
            unit="fraction",
        ),
        "method": Column("str", "how the estimate was made"),
        "n_samples": Column("int64", "samples the row rests on", label="Samples", unit="count"),
        "n_explained": Column(
            "int64",
            "cells that are not T cells whose CAR molecules ambient RNA explains",
            label="Explained by ambient RNA",
            unit="count",
        ),
        "n_unexplained": Column(
            "int64",
            "cells that are not T cells with more than ambient RNA explains: unseen doublet or engulfed T cell",
            label="Not explained by it",
            unit="count",
        ),
        "n_undecided": Column(
            "int64",
            "cells of unknown lineage with CAR molecules: may be T cells or not",
            label="Lineage unknown",
            unit="count",
        ),
        "n_doublets": Column(
            "int64",
            "doublets of the group with CAR molecules, counted apart",
            label="Doublets",
            unit="count",
        ),
    },
)

CONTRASTS = Schema(
    "contrasts",
    {
        "contrast": Column(
            "str",
            "what is compared: urine against blood, against baseline, over time, T-cell state, T-cell type",
        ),
        "patient": Column("str", "patient; empty where several patients are combined"),
        "sample": Column("str", "sample of interest; empty for several patients"),
        "reference": Column("str", "sample compared with; the same one for states and types"),
        "n_t_cells": Column(
            "int64", "T cells of the group of interest", label="T cells", unit="count"
        ),
        "n_car_positive": Column(
            "int64", "of them called positive", label="Called positive", unit="count"
        ),
        "n_t_cells_reference": Column(
            "int64", "T cells of the reference", label="T cells, reference", unit="count"
        ),
        "n_car_positive_reference": Column(
            "int64", "of them called positive", label="Positive, reference", unit="count"
        ),
        "estimate": Column(
            "float64",
            "odds ratio of being a CAR T cell, corrected for depth and dropout",
            label="Odds ratio",
            unit="ratio",
        ),
        "low": Column(
            "float64",
            "lower end of its 95 % profile-likelihood interval",
            label="95 % from",
            unit="ratio",
        ),
        "high": Column(
            "float64",
            "upper end of its 95 % profile-likelihood interval",
            label="95 % to",
            unit="ratio",
        ),
        "p": Column(
            "float64",
            "p value of the likelihood ratio, calibrated by simulation",
            label="p",
            unit="p",
        ),
        "q": Column(
            "float64",
            "Benjamini-Hochberg adjusted p over the table's rows of this contrast and number of patients "
            "(one, or several)",
            label="q",
            unit="p",
        ),
        "method": Column("str", "how it was made, or why there is none"),
        "compartment": Column("str", "compartment, or both compared"),
        "group": Column(
            "str",
            "T-cell state or type of interest; empty for whole samples",
            label="State or type",
        ),
        "reference_group": Column("str", "what it is compared with; empty for whole samples"),
        "fraction": Column(
            "float64",
            "CAR T fraction of the group, corrected for dropout",
            label="CAR T share",
            unit="fraction",
        ),
        "fraction_reference": Column(
            "float64", "that of the reference", label="CAR T share, reference", unit="fraction"
        ),
        "n_patients": Column("int64", "patients the row rests on", label="Patients", unit="count"),
        "reading": Column("str", "to whom the row applies, in words", label="Applies to"),
    },
)

TARGET = Schema(
    "target",
    {
        "sample": Column("str", "sample"),
        "patient": Column("str", "patient"),
        "compartment": Column("str", "compartment"),
        "timepoint": Column("str", "time point", label="Time point"),
        "role": Column("str", "case, negative_control or product"),
        "target": Column("str", "gene of the antigen that the CAR binds"),
        "level": Column("str", "all cells, lineage or cell_type"),
        "group": Column("str", "the lineage or type"),
        "n_cells": Column("int64", "cells of the group (no doublets)", label="Cells", unit="count"),
        "n_expressing": Column(
            "int64",
            "of them with a molecule of the target or more",
            label="Cells expressing",
            unit="count",
        ),
        "fraction": Column(
            "float64",
            "cells with a molecule of the target; a shallow cell may express it without showing one",
            label="Expressing",
            unit="fraction",
        ),
        "low": Column(
            "float64",
            "lower end of its exact 95 % interval (Clopper-Pearson)",
            label="95 % from",
            unit="fraction",
        ),
        "high": Column(
            "float64", "upper end of its exact 95 % interval", label="95 % to", unit="fraction"
        ),
        "n_t_cells": Column("int64", "T cells of the sample", label="T cells", unit="count"),
        "n_car_positive": Column(
            "int64", "of them called positive", label="Called positive", unit="count"
        ),
        "car_fraction": Column(
            "float64",
            "CAR T cells among its T cells, corrected for dropout",
            label="CAR T share",
            unit="fraction",
        ),
        "car_low": Column(
            "float64", "lower end of its 95 % interval", label="95 % from", unit="fraction"
        ),
        "car_high": Column(
            "float64", "upper end of its 95 % interval", label="95 % to", unit="fraction"
        ),
        "note": Column("str", "why there is no fraction; else empty"),
    },
)

CLINIC = Schema(
    "clinic",
    {
        "sample": Column("str", "sample"),
        "patient": Column("str", "patient"),
        "compartment": Column("str", "compartment"),
        "timepoint": Column("str", "time point", label="Time point"),
        "role": Column("str", "case, negative_control or product"),
        "measure": Column("str", "column of the samples sheet"),
        "value": Column("float64", "its value, in the unit of the sheet"),
        "kind": Column("str", "car_share, vector_copies or clinical"),
        "place": Column(
            "float64",
            "place along time: the number in the time point (D28: 28) where all have one, else the order in the sheet",
        ),
        "car_fraction": Column(
            "float64",
            "CAR T cells among the T cells sequenced, corrected for dropout: the mean of the posterior; NaN after a "
            "sort by the CAR",
            label="CAR T share",
            unit="fraction",
        ),
        "car_low": Column(
            "float64", "lower end of its 95 % interval", label="95 % from", unit="fraction"
        ),
        "car_high": Column(
            "float64", "upper end of its 95 % interval", label="95 % to", unit="fraction"
        ),
        "measured": Column(
            "float64",
            "the value as a fraction of T cells (CAR T shares only)",
            label="Measured share",
            unit="fraction",
        ),
        "difference": Column(
            "float64",
            "carseq's fraction less the measured one; NaN where the sample is undetermined",
            unit="fraction",
        ),
        "inside": Column(
            "str",
            "yes or no: whether the measured fraction lies in carseq's interval, wider where there are few T cells; "
            "empty where there is none",
            label="Within the interval",
        ),
    },
)

AGREEMENT = Schema(
    "agreement",
    {
        "measure": Column("str", "column of the samples sheet: a CAR T share or vector copies"),
        "kind": Column("str", "car_share or vector_copies"),
        "n_samples": Column("int64", "samples with both numbers", label="Samples", unit="count"),
        "n_patients": Column("int64", "patients they come from", label="Patients", unit="count"),
        "n_inside": Column(
            "int64",
            "samples whose measured share lies in carseq's 95 % interval, wider where there are few T cells",
            label="Within the interval",
            unit="count",
        ),
        "mean_difference": Column(
            "float64", "mean of carseq's fraction less the measured one", unit="fraction"
        ),
        "limit_low": Column(
            "float64",
            "mean difference less 1.96 standard deviations, from three samples on (Bland & Altman 1986)",
            label="Limits of agreement, from",
            unit="fraction",
        ),
        "limit_high": Column(
            "float64", "mean difference plus 1.96 standard deviations", label="to", unit="fraction"
        ),
        "rank_correlation": Column("float64", "Spearman's, from four samples on", unit="ratio"),
        "reading": Column("str", "the numbers in words", label="In words"),
    },
)

CLONOTYPES = Schema(
    "clonotypes",
    {
        "patient": Column("str", "patient"),
        "clonotype": Column("str", "clonotype"),
        "compartments": Column("str", "compartments it was seen in, comma-separated"),
        "samples": Column("str", "samples it was seen in, comma-separated"),
        "n_compartments": Column(
            "int64", "how many compartments share it", label="Compartments", unit="count"
        ),
        "n_cells": Column("int64", "its T cells", label="Cells", unit="count"),
        "n_car_positive": Column(
            "int64", "of them called positive", label="Called positive", unit="count"
        ),
        "cells_by_compartment": Column("str", "its T cells (CAR T cells called) by compartment"),
        "car_in": Column(
            "str",
            "compartments in which one of its cells was called positive",
            label="Called positive in",
        ),
    },
)

#: What other methods call the cells of each type: ``cohort/annotation.tsv``.
ANNOTATION = Schema(
    "annotation",
    {
        "cell_type": Column("str", "cell type as the report gives it"),
        "method": Column("str", "the other method"),
        "label": Column("str", "what it calls them"),
        "n_cells": Column("int64", "cells", label="Cells", unit="count"),
        "share": Column(
            "float64", "of the cells of the type", label="Share of the type", unit="fraction"
        ),
    },
)

#: How well samples mix and types stay apart: ``cohort/integration.tsv``.
INTEGRATION = Schema(
    "integration",
    {
        "space": Column("str", "latent space: before (pca) or after integration; or the clusters"),
        "figure": Column("str", "what was measured; 1 is best"),
        "value": Column("float64", "0 to 1"),
        "n_cells": Column("int64", "cells it was measured on", label="Cells", unit="count"),
    },
)

BLOOD_IN_URINE = Schema(
    "blood_in_urine",
    {
        "sample": Column("str", "urine sample"),
        "patient": Column("str", "patient"),
        "timepoint": Column("str", "time point", label="Time point"),
        "blood_sample": Column("str", "blood sample compared with, empty if there is none"),
        "pairing": Column(
            "str", "same time point, other time point, no blood sample or blood sorted otherwise"
        ),
        "population": Column(
            "str",
            "marker population of blood; `combined`: those used, together",
            label="Marker population",
        ),
        "n_urine": Column(
            "int64",
            "its cells in urine (haemoglobin: molecules)",
            label="In urine",
            unit="count",
        ),
        "n_blood": Column("int64", "its cells in the blood sample", label="In blood", unit="count"),
        "n_t_urine": Column(
            "int64",
            "T cells in urine they are compared with",
            label="T cells in urine",
            unit="count",
        ),
        "n_t_blood": Column(
            "int64",
            "T cells in the blood sample they are compared with",
            label="T cells in blood",
            unit="count",
        ),
        "estimate": Column(
            "float64",
            "share of the urine's T cells that came with blood; NaN if nothing shows it",
            label="T cells from blood",
            unit="fraction",
        ),
        "low": Column(
            "float64", "lower end of its 95 % interval", label="95 % from", unit="fraction"
        ),
        "high": Column(
            "float64", "upper end of its 95 % interval", label="95 % to", unit="fraction"
        ),
        "used": Column("bool", "whether it enters the combined estimate"),
        "note": Column("str", "why it shows blood, or why it was not used"),
        "car_expected": Column(
            "float64",
            "combined only: CAR T cells expected from blood, median; NaN with blood of another time",
            label="CAR T cells blood would bring",
        ),
        "car_expected_low": Column("float64", "lower end of its 95 % interval"),
        "car_expected_high": Column("float64", "upper end of its 95 % interval"),
        "car_seen": Column(
            "float64",
            "combined only: CAR T cells in urine, corrected for dropout",
            label="CAR T cells in urine",
        ),
        "car_seen_low": Column("float64", "lower end of its 95 % interval"),
        "car_seen_high": Column("float64", "upper end of its 95 % interval"),
        "p_blood_alone": Column(
            "float64",
            "probability that as many CAR T cells as urine holds came with blood",
            label="P(blood alone)",
            unit="fraction",
        ),
        "car_verdict": Column(
            "str",
            "not_by_blood, maybe_by_blood or undetermined; empty without CAR T cells",
        ),
        "car_verdict_text": Column("str", "the same in words", label="CAR T cells from blood?"),
    },
)

PROTEIN_AGREEMENT = Schema(
    "protein_agreement",
    {
        "sample": Column("str", "sample"),
        "protein_lineage": Column("str", "lineage by surface proteins, or all"),
        "n_cells": Column(
            "int64",
            "single cells that proteins assign to it",
            label="Assigned by proteins",
            unit="count",
        ),
        "n_agree": Column(
            "int64", "of them annotated alike", label="Annotated alike", unit="count"
        ),
        "agreement": Column("float64", "their share", unit="fraction"),
        "n_unknown": Column("int64", "of them annotated as unknown", label="Unknown", unit="count"),
        "else_annotated": Column("str", "other lineages they were given, with their numbers"),
    },
)

RECEPTORS = Schema(
    "receptors",
    {
        "sample": Column("str", "sample with T-cell receptors"),
        "n_cells": Column("int64", "single cells", label="Cells", unit="count"),
        "n_receptor": Column(
            "int64",
            "of them with a productive chain of a T-cell receptor",
            label="With a receptor",
            unit="count",
        ),
        "n_t_cells": Column(
            "int64", "single T cells by their transcriptome", label="T cells", unit="count"
        ),
        "n_t_receptor": Column(
            "int64",
            "of them with a receptor",
            label="T cells with one",
            unit="count",
        ),
        "share_t_receptor": Column(
            "float64",
            "share of T cells with a receptor",
            label="Share of T cells",
            unit="fraction",
        ),
        "n_paired_not_t": Column(
            "int64",
            "cells with both chains that are not T cells by their transcriptome",
            label="Other cells with both chains",
            unit="count",
        ),
        "paired_not_t": Column("str", "their lineages, with their numbers", label="Their lineages"),
        "n_two_beta": Column(
            "int64",
            "cells with two beta (or delta) chains or more: doublets, as a rule",
            label="Cells with two beta chains",
            unit="count",
        ),
        "n_clonotypes": Column("int64", "clonotypes", label="Clonotypes", unit="count"),
        "n_expanded": Column(
            "int64",
            "of them in two cells or more of the patient",
            label="In two cells or more",
            unit="count",
        ),
    },
)
#: Tables of the localize room, by the stem of their file.
BY_NAME = {
    s.name: s
    for s in (LOCALIZATION, CONTRASTS, TARGET, CLINIC, AGREEMENT, CLONOTYPES, BLOOD_IN_URINE)
}


#: The part of ``obs`` that the calling room writes for each sample.
CALLS = Schema(
    "calls", {n: c for n, c in OBS.columns.items() if n == "barcode" or n.startswith("car_")}
)

BARCODES = Schema(
    "barcodes",
    {
        "barcode": Column("str", "barcode with at least one UMI"),
        "total_umis": Column("int64", "UMIs", label="UMIs", unit="count"),
        "n_genes": Column("int64", "genes with at least one UMI", label="Genes", unit="count"),
        "p_empty": Column(
            "float64", "p value of its profile, were it an empty droplet; NaN where not tested"
        ),
        "q_empty": Column("float64", "the same, Benjamini-Hochberg adjusted"),
        "is_cell": Column("bool", "called a cell"),
        "reason": Column("str", "why"),
    },
)

AMBIENT = Schema(
    "ambient",
    {
        "gene": Column("str", "gene"),
        "umis": Column("int64", "UMIs in the sample's empty droplets"),
        "fraction": Column("float64", "share of all of them", label="Share", unit="fraction"),
        "mean_total": Column("float64", "UMIs of a mean empty droplet of the sample"),
        "largest": Column("int64", "most UMIs of a droplet taken for empty"),
    },
)

KNEE = Schema(
    "knee",
    {
        "barcode": Column("str", "barcode"),
        "rank": Column("int64", "rank by UMIs, 1 the most"),
        "total_umis": Column("int64", "UMIs", label="UMIs", unit="count"),
        "is_cell": Column("bool", "called a cell"),
        "reason": Column("str", "why"),
        "car_umis": Column(
            "int64", "UMIs of the CAR in the matrix", label="CAR UMIs", unit="count"
        ),
    },
)

FILTERS = Schema(
    "filters",
    {
        "sample": Column("str", "sample"),
        "step": Column("str", "what was filtered for"),
        "n_before": Column("int64", "cells before", label="Before", unit="count"),
        "n_removed": Column("int64", "cells removed", label="Removed", unit="count"),
        "n_after": Column("int64", "cells after", label="After", unit="count"),
        "n_car_bearing_removed": Column(
            "int64", "removed cells that hold a CAR UMI", label="CAR-bearing removed", unit="count"
        ),
        "car_bearing_removed": Column("str", "their barcodes, comma-separated"),
        "removed": Column("str", "barcodes of all removed cells, comma-separated"),
    },
)

DOMAINS = Schema(
    "domains",
    {
        "name": Column("str", "domain"),
        "kind": Column("str", "its kind: signal peptide, binder, hinge, LTR R, ..."),
        "start": Column(
            "int64", "first base on the CAR transcript, 0-based", label="From base", unit="bases"
        ),
        "end": Column(
            "int64", "end on the CAR transcript, exclusive", label="To base", unit="bases"
        ),
        "identity": Column("float64", "identity with the known part, 0 to 1"),
        "source": Column("str", "where the known part is from"),
    },
)

COVERAGE = Schema(
    "coverage",
    {
        "base": Column("int64", "base of the CAR transcript, 0-based"),
        "expected_3p": Column("float64", "of 100 CAR molecules, those with a 3' read over it"),
        "expected_5p": Column("float64", "the same of 5' reads"),
    },
)

HOMOLOGY = Schema(
    "homology",
    {
        "start": Column("int64", "first base of the run, 0-based", label="From base", unit="bases"),
        "end": Column("int64", "its end, exclusive", label="To base", unit="bases"),
        "class": Column("str", "car_only, shared or junction"),
        "gene": Column("str", "most similar homologous gene, empty for car_only"),
        "identity": Column(
            "float64", "best identity with it, 0 to 1; NaN for car_only", unit="fraction"
        ),
    },
)

LOCI = Schema(
    "loci",
    {
        "contig": Column("str", "contig of the genome"),
        "start": Column("int64", "first base of an exon of the homolog, 0-based"),
        "end": Column("int64", "its end, exclusive"),
        "gene": Column("str", "the homologous gene"),
    },
)

SUPPORT = Schema(
    "support",
    {
        "sample": Column("str", "sample"),
        "construct": Column("str", "construct"),
        "n_molecules": Column("int64", "molecules it explains", unit="count"),
        "n_best": Column(
            "int64", "of them, those it explains better than every other", unit="count"
        ),
        "log_odds": Column("float64", "log-odds against random bases, summed over molecules, nats"),
        "supported": Column(
            "bool",
            "whether more molecules (at least three) fit it best than fit any other construct best",
        ),
    },
)

#: Of ``carseq explain``: ``molecules.tsv`` of one cell.
EVIDENCE = Schema(
    "explain molecules",
    {**MOLECULES.columns, "counted": Column("bool", "whether the molecule counts as the CAR's")},
)

#: Of ``carseq share --rename``: ``OUT.names.tsv``, to be kept and not to be shared.
SHARED_NAMES = Schema(
    "shared names",
    {
        "name": Column("str", "name of a sample or patient"),
        "shared_as": Column("str", "its name in the shared files"),
    },
)

#: Of ``carseq quicklook``: ``SAMPLE.barcodes.tsv``.
QUICKLOOK = Schema(
    "quicklook barcodes",
    {
        "barcode": Column("str", "barcode on the list with a CAR molecule"),
        "reads": Column("int64", "its reads, of any gene"),
        "rank": Column("int64", "its rank among all barcodes by reads"),
        "car_molecules": Column("int64", "CAR molecules"),
        "unique": Column(
            "int64", "of them unique or junction, in no part of a human gene that is not compared"
        ),
        "shared": Column("int64", "of them shared with a human gene, or in such a part"),
        "p_car": Column("float64", "sum of their probabilities", label="P(CAR)", unit="fraction"),
        "car_reads": Column("int64", "reads of them"),
    },
)

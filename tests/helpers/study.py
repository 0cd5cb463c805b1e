"""A small synthetic results folder, written without running the workflow.

Cells, molecules and estimates are drawn. What follows from them is made by the code that makes it in a run: construct,
calls and their reasons, verdicts and their sentences, read accounting, rules, clinic and agreement.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from scipy import sparse

from carseq import __version__
from carseq.calling import decide, rules
from carseq.calling.calls import choose, write_calls
from carseq.calling.counts import cell_losses
from carseq.calling.draws import CellTerms
from carseq.calling.negbin import upper_tail
from carseq.cells.annotation import is_single_t
from carseq.construct import load_construct
from carseq.construct.outputs import write_construct
from carseq.data import path as data_path
from carseq.io.files import write_table
from carseq.io.h5ad import write_h5ad
from carseq.localize import agreement, clinical
from carseq.molecules.accounting import account
from carseq.schema.obs import OBS
from carseq.schema.tables import (
    AGREEMENT,
    CLINIC,
    CLONOTYPES,
    CONTRASTS,
    DETECTION,
    DOWNSAMPLING,
    FILTERS,
    HOMOLOGY,
    KNEE,
    LOCALIZATION,
    LOSSES,
    MOLECULES,
    RULES,
    TARGET,
    THRESHOLDS,
)
from carseq.schema.thresholds import FDR

CAR = "HBI0101"
CONSTRUCT = load_construct(data_path("constructs/hbi0101_surrogate_native.gb"), name=CAR)
TX_LENGTH = len(CONSTRUCT.sequence)
DOMAINS = list(CONSTRUCT.domains[["name", "kind", "start", "end"]].itertuples(index=False))
#: Stretches that human genes share, as homology with a whole genome finds them.
SHARED = [(2251, 2458, "CD8A"), (2458, 2584, "TNFRSF9"), (2584, 2920, "CD247")]
TYPES = [
    ("CD8 T", "T"),
    ("CD4 T", "T"),
    ("macrophage", "myeloid"),
    ("neutrophil", "myeloid"),
    ("B", "B"),
    ("plasma", "plasma"),
    ("proximal tubule", "kidney"),
    ("thick ascending limb", "kidney"),
    ("podocyte", "kidney"),
    ("urothelial", "urogenital"),
    ("squamous", "urogenital"),
]
STATES = ["naive", "effector memory", "exhausted", "proliferating"]


@dataclass(frozen=True)
class Sample:
    """What to draw for a sample."""

    name: str
    patient: str
    compartment: str = "urine"
    timepoint: str = "D28"
    role: str = "case"
    n_cells: int = 300
    t_share: float = 0.2
    car_share: float = 0.35
    from_matrix: bool = False


def demo_samples() -> list[Sample]:
    """Return samples of every verdict, with the names users should not choose."""
    return [
        Sample("P01_urine_D28", "P01", n_cells=315),
        Sample("P01_blood_D28", "P01", "blood", n_cells=420, t_share=0.6, car_share=0.12),
        Sample("P01_product", "P01", "product", "D0", "product", 320, 0.95, 0.5),
        Sample("P02_urine_D28", "P02", n_cells=460, t_share=0.15, car_share=0.0),
        Sample("P03_urine_D90", "P03", timepoint="D90", n_cells=8, t_share=0.25, car_share=0.0),
        Sample("P04_urine_D28", "P04", n_cells=0),
        Sample(
            "HD1_urine", "HD1", timepoint="", role="negative_control", n_cells=190, car_share=0.0
        ),
        Sample("P05_matrix", "P05", n_cells=120, car_share=0.2, from_matrix=True),
    ]


def hostile_samples() -> list[Sample]:
    """Return samples whose names try to break out of the page."""
    return [
        Sample(
            "</script><script>window.hacked=1<", "<img src=x onerror=window.hacked=2>", n_cells=60
        ),
        Sample('"quoted" & <b>bold</b>', "O'Neil", timepoint="<i>D1</i>", n_cells=40),
    ]


def big_samples(n_samples: int = 20, n_cells: int = 50_000) -> list[Sample]:
    """Return a study at the size the page must still carry; every third sample is a product."""
    return [
        Sample(
            f"P{i:02d}_{'product' if i % 3 == 2 else 'urine'}_D{i}",
            f"P{i:02d}",
            "product" if i % 3 == 2 else "urine",
            f"D{i}",
            "product" if i % 3 == 2 else "case",
            n_cells // n_samples,
            0.9 if i % 3 == 2 else 0.2,
            0.6,
        )
        for i in range(n_samples)
    ]


def write_study(
    results: Path, samples: list[Sample] | None = None, *, seed: int = 0, n_genes: int = 20
) -> Path:
    """Write a whole results folder and return it."""
    rng = np.random.default_rng(seed)
    samples = demo_samples() if samples is None else samples
    results.mkdir(parents=True, exist_ok=True)
    _write_construct(results)
    obs_parts, detection, losses_all = [], [], []
    for index, sample in enumerate(samples):
        obs = _draw_cells(sample, rng)
        molecules = _draw_molecules(sample, obs, rng)
        obs_parts.append(obs)
        # A sample's name is a folder's name in real life; hostile ones live in the tables alone.
        folder = results / "samples" / sample.name
        if "/" not in sample.name:
            _write_sample(folder, sample, obs, molecules, rng, index)
        detection.append(_detect(sample, obs))
        losses_all.append(molecules)
    cells = pd.concat([part for part in obs_parts if len(part)] or [OBS.empty()])
    _write_cohort(results / "cohort", cells, rng, n_genes)
    table = pd.DataFrame(detection, columns=list(DETECTION.columns))
    write_table(table, results / "cohort" / "detection.tsv", DETECTION)
    write_table(_localize(cells), results / "cohort" / "localization.tsv", LOCALIZATION)
    write_table(_contrast(table), results / "cohort" / "contrasts.tsv", CONTRASTS)
    write_table(_thresholds(table, cells), results / "cohort" / "thresholds.tsv", THRESHOLDS)
    write_table(_downsampling(table), results / "cohort" / "downsampling.tsv", DOWNSAMPLING)
    beside = RULES.conform(rules(cells, is_single_t(cells).to_numpy()))
    write_table(beside, results / "cohort" / "rules.tsv", RULES)
    _write_benchmarks(results, samples)
    _write_beside(table, results / "cohort")
    config = {
        "samples": "samples.tsv",
        "results": "results",
        "construct": {
            "file": "hbi0101_surrogate_native.gb",
            "name": "HBI0101",
            "target": "TNFRSF17",
        },
        "reference": {"fasta": "genome.fa", "gtf": "genes.gtf", "star_index": None},
        "calling": {"fdr": 0.05},
        "cells": {"integration": "scvi", "resolution": 1.0},
    }
    (results / "run_config.yaml").write_text(yaml.safe_dump(config))
    versions = {
        "carseq": __version__,
        "STAR": "2.7.10b",
        "scanpy": "1.11.4",
        "scvi-tools": "1.3.3",
        "anndata": "0.12.2",
        "python": "3.12.3",
        "snakemake": "9.27.0",
        "leidenalg": "0.10.2",
    }
    (results / "versions.json").write_text(json.dumps(versions))
    return results


@cache
def _construct_files() -> dict[str, bytes]:
    """Return the files that carseq writes of the construct, by name: made once."""
    with TemporaryDirectory() as folder:
        write_construct(CONSTRUCT, folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _write_construct(results: Path) -> None:
    folder = results / "construct"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _construct_files().items():
        (folder / name).write_bytes(content)
    edges = sorted({0, TX_LENGTH, *(x for s, e, _ in SHARED for x in (s, e))})
    genes = {(s, e): g for s, e, g in SHARED}
    rows = [
        (
            s,
            e,
            "shared" if (s, e) in genes else "car_only",
            genes.get((s, e), ""),
            1.0 if (s, e) in genes else np.nan,
        )
        for s, e in pairwise(edges)
    ]
    table = pd.DataFrame(rows, columns=list(HOMOLOGY.columns))
    write_table(table, folder / "homology.tsv", HOMOLOGY)


def _draw_cells(sample: Sample, rng: np.random.Generator) -> pd.DataFrame:
    n = sample.n_cells
    if n == 0:
        return OBS.empty()
    is_t = rng.random(n) < sample.t_share
    kind = np.where(is_t, rng.integers(0, 2, n), rng.integers(2, len(TYPES), n))
    types = [TYPES[k] for k in kind]
    total = rng.lognormal(8, 0.6, n).astype(int) + 500
    is_car = is_t & (rng.random(n) < sample.car_share)
    ambient = rng.poisson(0.04 if sample.car_share else 0.004, n)
    umis = np.where(is_car, rng.negative_binomial(2, 0.45, n), 0) + ambient
    doublet = rng.random(n) < 0.04
    posterior = np.clip(0.03 + 0.55 * umis - 0.2 * (umis == 1) * rng.random(n), 0, 0.999)
    if sample.role == "negative_control":
        posterior = np.minimum(posterior, 0.4)
    bases = np.array(list("ACGT"))
    barcodes = ["".join(row) for row in bases[rng.integers(0, 4, (n, 16))]]
    obs = pd.DataFrame(
        {
            "sample": sample.name,
            "patient": sample.patient,
            "compartment": sample.compartment,
            "timepoint": sample.timepoint,
            "role": sample.role,
            "barcode": barcodes,
            "total_umis": total,
            "n_genes": (total**0.85).astype(int),
            "pct_mito": rng.gamma(2, 3, n),
            "doublet_score": np.nan if n < 30 else rng.beta(1, 8, n),
            "is_doublet": doublet,
            "leiden": [str(k) for k in kind],
            "lineage": [t[1] for t in types],
            "cell_type": [t[0] for t in types],
            "cell_type_confidence": rng.beta(8, 2, n),
            "t_state": np.where(is_t, rng.choice(STATES, n), ""),
            "car_umis": umis,
            "car_umis_unique": rng.binomial(umis, 0.8),
            "car_expected_ambient": 0.04 * total / total.mean(),
            "car_expected_background": 1e-6 * total,
            "car_null_shape": 1.0,
            "car_evidence": umis,
            "car_clone_support": np.nan,
            "contamination": rng.beta(2, 30, n),
            "lineage_2": [TYPES[k][1] for k in np.where(rng.random(n) < 0.9, kind, 4)],
        }
    )
    obs.index = pd.Index([f"{sample.name}:{b}" for b in barcodes])
    _call(obs, posterior)
    return OBS.conform(obs[~obs.index.duplicated()])


def _call(obs: pd.DataFrame, posterior: np.ndarray) -> None:
    """Write calls and reasons of cells whose T cells have these posteriors."""
    is_t = is_single_t(obs).to_numpy()
    own, n = posterior[is_t], int(is_t.sum())
    k, ambient = obs["car_evidence"].to_numpy(float)[is_t], obs["car_expected_ambient"][is_t]
    prior, log_null = np.full(n, 0.3), np.full(n, -4.0)
    odds = np.log(own / (1 - own)) - np.log(0.3 / 0.7)
    chosen, _ = choose(own, upper_tail(k, ambient.to_numpy(float), np.ones(n)), FDR)
    positive = np.zeros(n, dtype=bool)
    positive[chosen] = True
    write_calls(obs, is_t, CellTerms(prior, log_null + odds, log_null), positive)


def _draw_molecules(sample: Sample, obs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    if sample.from_matrix or not len(obs):
        return MOLECULES.empty()
    barcodes = np.repeat(obs["barcode"].to_numpy(), obs["car_umis"].to_numpy())
    empties = np.array(["EMPTY" + "ACGT"[i % 4] * 11 for i in range(max(1, len(obs) // 20))])
    rejected = rng.choice(obs["barcode"].to_numpy(), len(obs) // 20)
    barcodes = np.concatenate([barcodes, empties, rejected])
    n = len(barcodes)
    start = np.clip(TX_LENGTH - rng.gamma(2, 180, n).astype(int) - 91, 0, None)
    start = np.where(rng.random(n) < 0.35, rng.integers(0, TX_LENGTH - 400, n), start)
    end = np.minimum(start + 91 + rng.integers(0, 250, n), TX_LENGTH)
    overlap = np.full(n, "", dtype=object)
    for s, e, gene in SHARED:
        overlap[(start >= s - 20) & (start < e)] = gene
    overlap[n - len(rejected) :] = "CD247"
    evidence = np.where(
        overlap != "", np.where(rng.random(n) < 0.3, "junction", "shared"), "unique"
    )
    evidence[n - len(rejected) :] = "shared"
    p_car = np.where(evidence == "shared", rng.uniform(0.5, 0.95, n), 0.999)
    p_car[n - len(rejected) :] = rng.uniform(0, 0.2, len(rejected))
    domains = [
        ",".join(d[0] for d in DOMAINS if d[2] < e and d[3] > s)
        for s, e in zip(start, end, strict=True)
    ]
    bases = np.array(list("ACGT"))
    table = pd.DataFrame(
        {
            "sample": sample.name,
            "barcode": barcodes,
            "umi": ["".join(row) for row in bases[rng.integers(0, 4, (n, 12))]],
            "n_reads": rng.geometric(0.3, n),
            "evidence": evidence,
            "p_car": p_car,
            "tx_start": start,
            "tx_end": end,
            "domains": domains,
            "edits": rng.poisson(0.3, n),
            "endogenous_gene": overlap,
            "source": np.where(overlap != "", "homolog", "aligned"),
        }
    )
    return MOLECULES.conform(table)


def _write_sample(
    folder: Path,
    sample: Sample,
    obs: pd.DataFrame,
    molecules: pd.DataFrame,
    rng: np.random.Generator,
    index: int,
) -> None:
    for room in ("solo", "cells", "molecules"):
        (folder / room).mkdir(parents=True, exist_ok=True)
    if not sample.from_matrix:
        n_reads = max(len(obs), 5) * 21_000
        summary = {
            "chemistry": "10x_3p_v3",
            "whitelist": "3M-february-2018",
            "strand": "Forward",
            "n_reads": n_reads,
            "valid_barcodes": 0.52 if sample.n_cells == 0 else 0.94,
            "mapped_genome": 0.41 if index == 3 else 0.83,
            "mapped_gene_unique": 0.55,
            "saturation": 0.63,
            "reads_sense": int(n_reads * 0.5),
            "reads_antisense": int(n_reads * 0.05),
        }
        (folder / "solo" / "summary.json").write_text(json.dumps(summary))
        write_table(molecules, folder / "molecules" / "molecules.parquet", MOLECULES)
        counts = Counter(
            on_contig=9 * len(molecules),
            no_barcode=len(molecules),
            unmapped_looked_at=n_reads // 10,
        )
        losses = account(sample.name, counts, molecules)
        cells = pd.DataFrame({"is_cell": True}, index=pd.Index(obs["barcode"], name="barcode"))
        carried = cell_losses(losses, molecules, cells, obs)
        write_table(carried, folder / "molecules" / "losses.tsv", LOSSES)
    n_empty = 2500
    totals = np.concatenate(
        [obs["total_umis"].to_numpy(), rng.lognormal(3.2, 1, n_empty).astype(int) + 1]
    )
    car = np.concatenate([obs["car_umis"].to_numpy(), rng.poisson(0.006, n_empty)])
    is_cell = np.arange(len(totals)) < len(obs)
    knee = pd.DataFrame({"total_umis": totals, "is_cell": is_cell, "car_umis": car})
    knee = knee.sort_values("total_umis", ascending=False).reset_index(drop=True)
    knee.insert(0, "rank", np.arange(1, len(knee) + 1))
    knee = knee.assign(barcode=[f"B{i}" for i in range(len(knee))], reason="")
    write_table(knee, folder / "cells" / "knee.tsv", KNEE)
    n = len(obs)
    filters = [
        ("too few genes", n + 80, 50, n + 30, 2),
        ("too many mitochondrial UMIs", n + 30, 30, n, 1),
    ]
    columns = ["step", "n_before", "n_removed", "n_after", "n_car_bearing_removed"]
    table = pd.DataFrame(filters, columns=columns).assign(
        sample=sample.name, car_bearing_removed="", removed=""
    )
    write_table(table, folder / "cells" / "filters.tsv", FILTERS)


def _detect(sample: Sample, obs: pd.DataFrame) -> dict[str, object]:
    t_cells = obs[(obs["lineage"] == "T") & ~obs["is_doublet"]]
    n, k = len(t_cells), int((t_cells["car_call"] == "positive").sum())
    sensitivity = 0.71 if n else np.nan
    limit = min(1.0, 3 / (n * 0.71)) if n else np.nan
    share = k / n / 0.71 if n else np.nan
    half = 1.96 * np.sqrt(max(share * (1 - min(share, 1)), 0.001) / n) if n else np.nan
    false_calls = 0.03 * k
    verdict, text = decide(k, n, 0.0, limit, false_calls, role=sample.role)
    return {
        "sample": sample.name,
        "patient": sample.patient,
        "compartment": sample.compartment,
        "timepoint": sample.timepoint,
        "role": sample.role,
        "n_cells": len(obs),
        "n_t_cells": n,
        "n_car_positive": k,
        "verdict": verdict,
        "prevalence": min(share, 1) if n else np.nan,
        "prevalence_low": max(share - half, 0) if n else np.nan,
        "prevalence_high": min(share + half, 1) if n else np.nan,
        "detection_limit": limit,
        "sensitivity": sensitivity,
        "expected_false_calls": false_calls if n else np.nan,
        "verdict_text": text,
        "gating": "unsorted",
        "prevalence_is": "fraction",
        "ambient_assumed": False,
        "n_t_at_least_1_umi": int((t_cells["car_umis"] >= 1).sum()),
        "n_t_at_least_2_umis": int((t_cells["car_umis"] >= 2).sum()),
    }


def _localize(cells: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for level in ("lineage", "cell_type", "t_state"):
        for (name, group), part in cells.groupby(["sample", level], observed=True):
            if not group:
                continue
            is_t = (part["lineage"] == "T").all()
            k, n = int((part["car_call"] == "positive").sum()), len(part)
            share = k / n / 0.71
            rows.append(
                {
                    "sample": name,
                    **{c: part[c].iloc[0] for c in ("patient", "compartment", "timepoint")},
                    "level": level,
                    "group": group,
                    "n_cells": n,
                    "n_car_positive": k,
                    "n_car_signal": int((part["car_umis"] > 0).sum()),
                    "estimate": min(share, 1) if is_t else np.nan,
                    "low": max(share - 0.5 / np.sqrt(n), 0) if is_t else np.nan,
                    "high": min(share + 0.5 / np.sqrt(n), 1) if is_t else np.nan,
                    "method": "dropout-corrected posterior fraction" if is_t else "counts only",
                    "n_samples": 1,
                    "n_explained": int((part["car_umis"] > 0).sum()) if not is_t else 0,
                    **dict.fromkeys(("n_unexplained", "n_undecided", "n_doublets"), 0),
                }
            )
    return pd.DataFrame(rows, columns=list(LOCALIZATION.columns))


def _write_beside(detection: pd.DataFrame, folder: Path) -> None:
    """Write the target's cells and the clinic's numbers of a study."""
    known = detection[["sample", "patient", "compartment", "timepoint", "role"]]
    of_car = detection[["prevalence", "prevalence_low", "prevalence_high"]]
    car = of_car.set_axis(["car_fraction", "car_low", "car_high"], axis=1)
    rows = [
        known.join(car).assign(
            target="TNFRSF17", level="lineage", group=group, n_cells=40, n_expressing=k, fraction=k / 40,
            low=max(k / 40 - 0.1, 0), high=k / 40 + 0.15, n_t_cells=detection["n_t_cells"],
            n_car_positive=detection["n_car_positive"], note="",
        )
        for group, k in (("plasma", 30), ("B", 4), ("T", 0))
    ]  # fmt: skip
    target = pd.concat(rows).sort_values("sample", kind="stable")
    write_table(target, folder / "target.tsv", TARGET)
    numbers = {"proteinuria_g_per_day": 1.0, "car_pct_flow": 12.0}
    given = {
        str(name): {measure: start + i for measure, start in numbers.items()}
        for i, name in enumerate(detection["sample"])
    }
    beside = clinical(detection, given)
    write_table(beside, folder / "clinic.tsv", CLINIC)
    write_table(agreement(beside), folder / "agreement.tsv", AGREEMENT)
    write_table(CLONOTYPES.empty(), folder / "clonotypes.tsv", CLONOTYPES)


def _contrast(detection: pd.DataFrame) -> pd.DataFrame:
    rows = []
    urine = detection[detection["compartment"] == "urine"]
    for row in urine.itertuples():
        others = detection[
            (detection["patient"] == row.patient) & (detection["compartment"] != "urine")
        ]
        for other in others.itertuples():
            odds = (row.n_car_positive + 0.5) / (row.n_t_cells - row.n_car_positive + 0.5)
            base = (other.n_car_positive + 0.5) / (other.n_t_cells - other.n_car_positive + 0.5)
            rows.append(
                {
                    "contrast": f"urine against {other.compartment}",
                    "patient": row.patient,
                    "sample": row.sample,
                    "reference": other.sample,
                    "n_t_cells": row.n_t_cells,
                    "n_car_positive": row.n_car_positive,
                    "n_t_cells_reference": other.n_t_cells,
                    "n_car_positive_reference": other.n_car_positive,
                    "estimate": odds / base,
                    "low": odds / base / 2.2,
                    "high": odds / base * 2.2,
                    "p": 0.004,
                    "q": 0.008,
                    "method": "odds ratio by likelihoods of single cells at their depth; profile likelihood",
                    "compartment": f"urine and {other.compartment}",
                    "group": "",
                    "reference_group": "",
                    "fraction": min(row.prevalence, 1),
                    "fraction_reference": min(other.prevalence, 1),
                    "n_patients": 1,
                    "reading": f"patient {row.patient} alone: an estimate for this patient, no claim about others",
                }
            )
    return pd.DataFrame(rows, columns=list(CONTRASTS.columns))


def _thresholds(detection: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in detection[detection["n_t_cells"] > 0].itertuples():
        posterior = cells.loc[cells["sample"] == row.sample, "car_posterior"]
        for fdr in (0.001, 0.01, 0.05, 0.1, 0.3):
            n = int((posterior > 1 - fdr).sum()) if fdr != 0.05 else row.n_car_positive
            rows.append(
                {
                    "sample": row.sample,
                    "fdr": fdr,
                    "in_use": fdr == 0.05,
                    "least_posterior": 1 - fdr if n else np.nan,
                    "n_t_cells": row.n_t_cells,
                    "n_car_positive": n,
                    "expected_false_calls": fdr * n / 2,
                    "sensitivity": 0.71 + 0.3 * (fdr - 0.05),
                    "detection_limit": row.detection_limit,
                    "verdict": decide(n, row.n_t_cells, 0.0, row.detection_limit, fdr * n / 2)[0],
                }
            )
    return pd.DataFrame(rows, columns=list(THRESHOLDS.columns))


def _downsampling(detection: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in detection[detection["n_t_cells"] > 0].itertuples():
        for share in np.arange(1, 11) / 10:
            expected = row.n_car_positive * share**0.6
            rows.append(
                {
                    "sample": row.sample,
                    "share": share,
                    "median_umis": 3000 * share,
                    "n_t_cells": row.n_t_cells,
                    "expected_positive": expected,
                    "expected_positive_low": 0.8 * expected,
                    "expected_positive_high": 1.1 * expected,
                    "sensitivity": 0.71 * share**0.6,
                    "detection_limit": min(1.0, row.detection_limit / share**0.6),
                }
            )
    return pd.DataFrame(rows, columns=list(DOWNSAMPLING.columns))


def _write_benchmarks(results: Path, samples: list[Sample]) -> None:
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    jobs = {"cohort": 96.0, **{f"{s.name}/align": 300.0 for s in samples if "/" not in s.name}}
    for name, seconds in jobs.items():
        path = results / "benchmarks" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Snakemake writes a dash where a job was too short to be measured.
        path.write_text(
            f"{head}{seconds}\t0:01:35\t857.49\t1939.9\t794.9\t-\t97.9\t0.1\t93.8\t90.6\n"
        )


def _write_cohort(
    folder: Path, cells: pd.DataFrame, rng: np.random.Generator, n_genes: int
) -> None:
    genes = ["HBI0101", *[f"GENE{i}" for i in range(1, n_genes)]]
    counts = rng.poisson(0.5, (len(cells), n_genes)).astype(np.float32)
    if len(cells):
        counts[:, 0] = cells["car_umis"].to_numpy()
    matrix = sparse.csr_matrix(counts)
    adata = ad.AnnData(X=matrix.copy(), obs=cells, var=pd.DataFrame(index=genes))
    adata.X.data = np.log1p(adata.X.data)
    adata.layers["counts"] = matrix
    names = [t[0] for t in TYPES]
    where = cells["cell_type"].map({t: i for i, t in enumerate(names)}).to_numpy(dtype=float)
    angle = where / len(names) * 2 * np.pi
    centre = np.stack([7 * np.cos(angle), 7 * np.sin(angle)], axis=1)
    adata.obsm["X_umap"] = centre + rng.normal(0, 0.9, (len(cells), 2))
    folder.mkdir(parents=True, exist_ok=True)
    write_h5ad(adata, folder / "cells.h5ad")


def verdict_row(**changes: Any) -> SimpleNamespace:
    """Return a row of ``detection.tsv`` as the report reads it, with changes."""
    given: dict[str, Any] = {
        "n_cells": 315,
        "n_t_cells": 63,
        "n_car_positive": 21,
        "verdict": "detected",
        "prevalence": 0.38,
        "prevalence_low": 0.27,
        "prevalence_high": 0.5,
        "detection_limit": 0.06,
        "sensitivity": 0.71,
        "expected_false_calls": 0.6,
        "reason": "",
    }
    return SimpleNamespace(**{**given, **changes})

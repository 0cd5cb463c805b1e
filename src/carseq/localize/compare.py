"""Contrasts: samples of a patient, and T-cell states and types of a sample, by their odds of CAR T cells."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from carseq.calling import gates
from carseq.calling.gates import BY_CAR
from carseq.errors import CarseqError
from carseq.localize.odds import PSI, Comparison, Expression, Profile, compare, over_patients
from carseq.parallel import in_processes
from carseq.schema.tables import CONTRASTS
from carseq.study.times import first_names

if TYPE_CHECKING:
    from anndata import AnnData

#: Fewest cells on either side for which a state or type is compared with the rest of its sample's T cells.
MIN_GROUP = 5
#: Levels of T cells compared within a sample, and the contrasts' names.
WITHIN = {"t_state": "T-cell state", "cell_type": "T-cell type"}
_METHOD = "odds ratio by likelihoods of single cells at their depth; profile likelihood"


@dataclass(frozen=True)
class ContrastRow:
    """A comparison within a patient, and what it is about."""

    contrast: str
    patient: str
    sample: str
    reference: str
    compartment: str
    group: str
    reference_group: str
    cells: pd.DataFrame
    cells_reference: pd.DataFrame
    result: Comparison = field(default_factory=Comparison)
    #: The time points that differ from contrast to contrast.
    times: str = ""
    #: Seeds what is drawn for it.
    seed: str = ""

    def record(self) -> dict[str, object]:
        """Return the row of the table."""
        return {
            **self._about(),
            "patient": self.patient,
            "sample": self.sample,
            "reference": self.reference,
            "estimate": self.result.estimate,
            "low": self.result.low,
            "high": self.result.high,
            "p": self.result.p,
            "method": self.result.note or _METHOD,
            "fraction": self.result.fraction,
            "fraction_reference": self.result.fraction_reference,
            "n_patients": 1,
            "reading": f"patient {self.patient} alone: an estimate for this patient, no claim about others",
        }

    def _about(self) -> dict[str, object]:
        return {
            "contrast": self.contrast,
            "compartment": self.compartment,
            "group": self.group,
            "reference_group": self.reference_group,
            "n_t_cells": len(self.cells),
            "n_car_positive": int((self.cells["car_call"] == "positive").sum()),
            "n_t_cells_reference": len(self.cells_reference),
            "n_car_positive_reference": int((self.cells_reference["car_call"] == "positive").sum()),
        }


def contrasts(adata: AnnData, samples: pd.DataFrame, *, processes: int = 1) -> pd.DataFrame:
    """Compare CAR T fractions between samples of a patient, and between T-cell states and types of a sample.

    Fractions are corrected for depth and dropout (:mod:`carseq.localize.odds`), so that a shallow sample with few
    calls is not taken for one with few CAR T cells. Urine is compared with blood of the same patient and time point
    (never a negative control); a sample with the patient's negative control, and with an earlier sample, of the same
    compartment; a state or type with the other T cells of its sample (how CAR T cells differ in composition from
    other T cells: the odds ratio is the same either way). Samples whose cells were sorted in different ways, or by the
    CAR, are not compared with each other. Where two patients or more have a contrast, a row brings
    them together.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    samples
        One row a sample, in the order of the sheet (the later time point below the earlier): ``sample``,
        ``patient``, ``compartment``, ``timepoint``, ``role``.
    processes
        How many contrasts are worked out at once; the result is the same.

    Returns
    -------
    pandas.DataFrame
        Schema ``CONTRASTS``.

    Raises
    ------
    CarseqError
        If the cohort has no calls.
    """
    obs = adata.obs
    missing = [
        c for c in ("car_call", "car_log_own", "car_null_shape", "car_evidence") if c not in obs
    ]
    if missing or not {"draws", "evidence"} <= set(adata.uns.get("car_model", {})):
        raise CarseqError(
            "the cells have no calls to compare",
            f"they lack {', '.join(missing) or 'the fitted model'}",
            "run the calls again (carseq.calling.call_cells, rule `calling`)",
        )
    t_cells = obs[obs["car_log_own"].notna()]
    expression = Expression(adata)
    asked = [*between_samples(obs, t_cells, samples), *_within_samples(t_cells, samples)]

    def compared(row: ContrastRow) -> Comparison:
        pair = expression.pair(row.cells.index, row.cells_reference.index)
        return compare(pair, seed=zlib.crc32(row.seed.encode()))

    results = in_processes(compared, asked, processes)
    rows = [replace(row, result=result) for row, result in zip(asked, results, strict=True)]
    records = [row.record() for row in rows] + [*rows_over_patients(rows)]
    table = pd.DataFrame(records, columns=list(CONTRASTS.columns))
    table["q"] = np.nan
    for _, family in table[table["p"].notna()].groupby(["contrast", table["n_patients"] > 1]):
        table.loc[family.index, "q"] = stats.false_discovery_control(family["p"].to_numpy(float))
    return CONTRASTS.conform(table)


def sample_pairs(
    samples: pd.DataFrame, cells: pd.DataFrame | None = None
) -> Iterator[tuple[str, str, pd.Series, pd.Series]]:
    """Yield (contrast, compartment, sample of interest, reference) within patients, the widest in time first.

    ``D28`` and ``day 28`` are one time point; a sample without one is not compared over time. Samples are compared only
    if their cells were sorted alike, and never after a sort by the CAR: their fraction then says how the sort was set;
    ``cells`` is their ``obs``, which holds the sheet's own words for a sort.
    """
    times = samples["timepoint"].astype(str)
    gated = samples.reset_index(drop=True).assign(
        _gate=gates(samples, cells).to_numpy(), timepoint=times.map(first_names(times)).to_numpy()
    )
    for _, own in gated.groupby("patient", sort=False):
        rows = [row for _, row in own.iterrows()]
        found = []
        for a in rows:
            for b in rows:
                if a["_gate"] != b["_gate"] or a["_gate"] in BY_CAR:
                    continue
                same_place = a["compartment"] == b["compartment"]
                same_time = a["timepoint"] == b["timepoint"]
                both_cases = a["role"] == b["role"] == "case"
                two_places = a["compartment"] == "urine" and b["compartment"] == "blood"
                if two_places and same_time and both_cases:
                    found.append(("urine against blood", "urine and blood", a, b))
                is_baseline = b["role"] == "negative_control" and a["role"] != "negative_control"
                if is_baseline and same_place:
                    found.append(("against baseline", str(a["compartment"]), a, b))
                known = a["timepoint"] != "" and b["timepoint"] != ""
                if same_place and both_cases and a.name > b.name and not same_time and known:
                    found.append(("over time", str(a["compartment"]), a, b))
        order = {"urine against blood": 0, "against baseline": 1, "over time": 2}
        yield from sorted(
            found, key=lambda f: (order[f[0]], -(f[2].name - f[3].name) if order[f[0]] == 2 else 0)
        )


def between_samples(
    obs: pd.DataFrame, t_cells: pd.DataFrame, samples: pd.DataFrame
) -> Iterator[ContrastRow]:
    """Yield what is to be compared between samples, without its result."""
    by_sample = {str(name): cells for name, cells in t_cells.groupby("sample", observed=True)}
    for contrast, compartment, a, b in sample_pairs(samples, obs):
        names = str(a["sample"]), str(b["sample"])
        one, other = (by_sample.get(name, t_cells.iloc[:0]) for name in names)
        times = {
            "over time": f"{a['timepoint']} against {b['timepoint']}",
            "against baseline": str(a["timepoint"]),
        }.get(contrast, "")
        yield ContrastRow(
            contrast, str(a["patient"]), *names, compartment, "", "", one, other, times=times,
            seed=" ".join(names),
        )  # fmt: skip


def _within_samples(t_cells: pd.DataFrame, samples: pd.DataFrame) -> Iterator[ContrastRow]:
    """Yield what is to be compared within samples, without its result."""
    for sample in samples.itertuples():
        own = t_cells[t_cells["sample"] == sample.sample]
        if sample.role == "negative_control" or not (own["car_umis"] > 0).any():
            continue
        name = str(sample.sample)
        for level, contrast in WITHIN.items():
            labels = own[level].astype(str)
            for group in sorted(set(labels) - {""}):
                here = (labels == group).to_numpy()
                if min(here.sum(), (~here).sum()) < MIN_GROUP:
                    continue
                yield ContrastRow(
                    contrast, str(sample.patient), name, name, str(sample.compartment),
                    group, "other T cells", own[here], own[~here], seed=f"{name} {contrast}",
                )  # fmt: skip


def rows_over_patients(rows: list[ContrastRow]) -> Iterator[dict[str, object]]:
    """Yield a row for each contrast that two patients or more have; no sample enters one twice.

    Samples of one time are brought together. Those against baseline of which no other patient has the time are taken
    together, too.
    """
    compared = [row for row in rows if row.result.profile is not None]
    at_time: dict[tuple[str, str, str], set[str]] = {}
    for row in compared:
        at_time.setdefault((row.contrast, row.compartment, row.times), set()).add(row.patient)
    families: dict[tuple[str, str, str, str], dict[str, list[ContrastRow]]] = {}
    for row in compared:
        alone = len(at_time[row.contrast, row.compartment, row.times]) < 2
        other = alone and row.contrast == "against baseline"
        family = (row.contrast, row.compartment, row.group, "other" if other else row.times)
        of_patient = families.setdefault(family, {})
        own = of_patient.setdefault(row.patient, [])
        used = {name for other in own for name in (other.sample, other.reference)}
        if not used & {row.sample, row.reference}:
            own.append(row)
    for (contrast, compartment, group, _), patients in families.items():
        if len(patients) < 2:
            continue
        profiles = [
            Profile(
                PSI, np.sum([r.result.profile.on(PSI) for r in own if r.result.profile], axis=0)
            )
            for own in patients.values()
        ]
        summary = over_patients(profiles)
        n = len(patients)
        used_rows = [row for own in patients.values() for row in own]
        times = ", ".join(dict.fromkeys(row.times for row in used_rows if row.times))
        cells = pd.concat([r.cells for r in used_rows])
        reference = pd.concat([r.cells_reference for r in used_rows])
        about = ContrastRow(
            contrast, "", "", "", compartment, group, used_rows[0].reference_group,
            cells, reference,
        )  # fmt: skip
        yield {
            **about.record(),
            "estimate": summary.estimate,
            "low": summary.low,
            "high": summary.high,
            "p": summary.p,
            "method": "random effects of the patients' profile likelihoods; "
            f"t distribution with {n - 1} degree{'s' if n > 2 else ''} of freedom; "
            f"log odds ratios scatter by {summary.tau:.2g} between patients",
            "n_patients": n,
            "reading": (f"{times}; " if times else "")
            + f"{n} patients: what patients like these have in common"
            + ("; so few that only a large effect could show" if n < 5 else ""),
        }

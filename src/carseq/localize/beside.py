"""Numbers of the samples sheet beside the CAR T fraction: the clinic, flow cytometry, qPCR. Descriptive only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from carseq.errors import CarseqError
from carseq.log import get_logger
from carseq.schema.codes import MEASURES
from carseq.schema.shares import column_code, most_of_share, names_persons
from carseq.schema.tables import AGREEMENT, CLINIC
from carseq.study.times import DAYS, unit_of

log = get_logger(__name__)

#: Columns of vector copies: on no scale with a share, but they should rise with it.
_COPIES = re.compile(r"^(vcn|vector_copies|car_copies)(_.+)?$")
#: Codes of :data:`carseq.schema.codes.MEASURES`.
SHARE, COPIES, CLINICAL = MEASURES


def kind_of(measure: str) -> str:
    """Return what a column of the samples sheet measures, by its name (any case)."""
    name = column_code(measure)
    if most_of_share(name) is not None:
        return SHARE
    return COPIES if _COPIES.match(name) else CLINICAL


def clinical(detection: pd.DataFrame, given: Mapping[str, Mapping[str, object]]) -> pd.DataFrame:
    """Put the numeric further columns of the samples sheet beside the CAR T fraction.

    Numbers that stand for persons or records (``mrn``, ``patient_id``, ``birth_year``) measure nothing: they stay in
    the sheet.

    Parameters
    ----------
    detection
        Schema ``DETECTION``.
    given
        Further columns of the sheet by sample. A column counts as numeric if everything in it is a number.

    Returns
    -------
    pandas.DataFrame
        Schema ``CLINIC``, a row a number given; no rows where there are none.

    Raises
    ------
    CarseqError
        For a CAR T share that is not a share.
    """
    place = time_places([str(t) for t in detection["timepoint"]])
    sheet = pd.DataFrame.from_dict({s: dict(v) for s, v in given.items()}, orient="index")
    rows = []
    for measure in sheet.columns:
        text = sheet[measure].map(lambda v: "" if v is None or v != v else str(v).strip())
        numbers = pd.to_numeric(text.where(text != ""), errors="coerce")
        if numbers.notna().sum() != (text != "").sum() or not np.isfinite(numbers.dropna()).all():
            continue
        if names_persons(str(measure)):
            log.info("the column %s names persons or records: it is put beside nothing", measure)
            continue
        kind = kind_of(str(measure))
        for sample in detection.itertuples():
            value = float(numbers.get(sample.sample, np.nan))
            if np.isnan(value):
                continue
            measured = _share(str(measure), value, str(sample.sample)) if kind == SHARE else np.nan
            # A purity says how the sort was set: it is compared with nothing.
            fraction = sample.prevalence if sample.prevalence_is != "purity" else np.nan
            # The fraction of an undetermined sample is what the prior makes of it.
            known = np.isfinite(measured) and np.isfinite(fraction)
            known = bool(known and sample.verdict != "undetermined")
            low, high = of_other_cells(sample)
            inside = low <= measured <= high
            rows.append(
                {
                    **{key: getattr(sample, key) for key in ("sample", "patient", "compartment", "timepoint", "role")},
                    "measure": str(measure),
                    "value": value,
                    "kind": kind,
                    "place": place[str(sample.timepoint)],
                    "car_fraction": fraction,
                    "car_low": sample.prevalence_low if np.isfinite(fraction) else np.nan,
                    "car_high": sample.prevalence_high if np.isfinite(fraction) else np.nan,
                    "measured": measured,
                    "difference": sample.prevalence - measured if known else np.nan,
                    "inside": ("yes" if inside else "no") if known else "",
                }
            )  # fmt: skip
    return CLINIC.conform(pd.DataFrame(rows, columns=list(CLINIC.columns)))


def of_other_cells(row: Any) -> tuple[float, float]:
    """Return where the CAR T fraction of other T cells of a sample may lie, at 95 %.

    The interval of a sample with calls is that of just the cells seen, as few as three; flow cytometry looks at others.
    That of a sample without a call is one of the whole sample already.

    Parameters
    ----------
    row
        A row of schema ``DETECTION``.
    """
    low, high, n = float(row.prevalence_low), float(row.prevalence_high), int(row.n_t_cells)
    if not row.n_car_positive or not np.isfinite([low, high]).all():
        return low, high
    # As many CAR T cells as either end has, with Jeffreys' prior.
    ends = [
        stats.beta.ppf(p, n * share + 0.5, n * (1 - share) + 0.5)
        for p, share in ((0.025, low), (0.975, high))
    ]
    return min(low, float(ends[0])), max(high, float(ends[1]))


def time_places(timepoints: list[str]) -> dict[str, float]:
    """Return where time points lie: in days if their names say so, else in the order of the sheet.

    Days, weeks, months and years mix; numbers of one other unit (``visit 2``) stand for themselves, dates for the days
    since the first; ``baseline`` and the like come before the first.
    """
    distinct = list(dict.fromkeys(timepoints))
    in_order = {t: float(i) for i, t in enumerate(distinct)}
    found = {t: unit_of(t) for t in distinct}
    known = {t: time for t, time in found.items() if time is not None}
    units = {unit for unit, _ in known.values()} - {"before"}
    if len(known) < len(distinct) or not units or (len(units) > 1 and not units <= set(DAYS)):
        return in_order
    scale = DAYS if len(units) > 1 else dict.fromkeys(units, 1.0)
    place = {t: number * scale[unit] for t, (unit, number) in known.items() if unit in scale}
    first = min(place.values())
    if units == {"date"}:
        # Days since the first.
        place, first = {t: number - first for t, number in place.items()}, 0.0
    words = [t for t in distinct if t not in place]
    return {t: first - len(words) + i for i, t in enumerate(words)} | place


def _share(measure: str, value: float, sample: str) -> float:
    most = most_of_share(measure) or 1.0
    if not 0 <= value <= most:
        raise CarseqError(
            f"{measure} of sample {sample} is not a share of T cells: {value:g}",
            f"its name says that it lies between 0 and {most:g}",
            "correct the samples sheet, or give the column another name",
        )
    return value / most


def agreement(clinic: pd.DataFrame) -> pd.DataFrame:
    """Say how the CAR T fraction agrees with other measurements of it, after Bland and Altman.

    Differences are described, not tested: samples of one patient are not independent, and flow cytometry or qPCR
    looks at other cells of the sample (doi:10.1016/S0140-6736(86)90837-8).

    Parameters
    ----------
    clinic
        Schema ``CLINIC``.

    Returns
    -------
    pandas.DataFrame
        Schema ``AGREEMENT``, one row a measure of the CAR; none where there is no such column.
    """
    rows = []
    both = clinic[(clinic["kind"] != CLINICAL) & clinic["car_fraction"].notna()]
    both = both[(both["kind"] != SHARE) | both["difference"].notna()]
    for (measure, kind), own in both.groupby(["measure", "kind"], sort=False):
        n = len(own)
        mean = spread = rank = float("nan")
        if kind == SHARE:
            mean = float(own["difference"].mean())
            spread = float(own["difference"].std(ddof=1)) if n >= 3 else float("nan")
        if n >= 4 and own["value"].nunique() > 1 and own["car_fraction"].nunique() > 1:
            rank = float(stats.spearmanr(own["value"], own["car_fraction"]).statistic)
        inside = int((own["inside"] == "yes").sum())
        patients = own["patient"].nunique()
        of = (
            f"{n} sample{'s' if n != 1 else ''} of {patients} patient{'s' if patients != 1 else ''}"
        )
        if kind == SHARE:
            reading = f"{of}: carseq's fraction is {100 * abs(mean):.1f} percentage points "
            reading += f"{'above' if mean >= 0 else 'below'} on average; {inside} of {n} within its interval"
            reading += ", which allows for other T cells being measured"
        else:
            reading = (
                f"{of}: copies are on no scale with a share of cells; only their ranks are compared"
            )
        rows.append(
            {
                "measure": measure,
                "kind": kind,
                "n_samples": n,
                "n_patients": patients,
                "n_inside": inside,
                "mean_difference": mean,
                "limit_low": mean - 1.96 * spread,
                "limit_high": mean + 1.96 * spread,
                "rank_correlation": rank,
                "reading": reading,
            }
        )
    return AGREEMENT.conform(pd.DataFrame(rows, columns=list(AGREEMENT.columns)))

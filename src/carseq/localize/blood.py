"""Blood in urine: how many of a urine sample's T cells and CAR T cells could come from contamination by blood.

Blood that contributes T cells to urine also contributes its other cells, in the proportions of the paired blood sample:
naive T cells, B cells, plasmacytoid dendritic cells, red cells and platelets: the marker populations of blood.
With counts x and y of such a population, and T cells t and s, in urine and in blood, the share of the urine's T cells
that come from blood is

    f = (x / y) / (t / s)

which is the odds ratio of a two by two table and has an exact interval. A population that also enters urine from
other sources makes f too large. So each population gives an upper bound, and the scarcest gives the closest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from carseq.calling.fractions import draw_fraction
from carseq.calling.gates import BY_CAR, gate_of, gates
from carseq.cells.annotation import T_LINEAGE, is_single_t
from carseq.schema.codes import BLOOD
from carseq.schema.tables import BLOOD_IN_URINE
from carseq.study.times import first_names

if TYPE_CHECKING:
    from anndata import AnnData


#: A population is left out if urine holds more of it, compared with the scarcest one, than chance gives this often.
MAX_CHANCE = 0.05
#: Below this probability blood alone does not explain the CAR T cells. The share that came with blood ends at 1, so
#: that what is not known of it lies below: of 1,600 simulated studies of urine that held nothing but blood 6.4 % had a
#: probability below 0.05, and of 600 of them 3.7 % one below 0.03. (Without the end at 1 a third of the true
#: differences were missed where urine held 30 T cells.)
MAX_BLOOD_ALONE = 0.03
N_DRAWS = 20_000
#: Haemoglobin molecules of the blood sample below which they may be noise: a red cell holds hundreds.
MIN_HAEMOGLOBIN = 100
#: With at least this many of each the normal interval of the log odds ratio is within 2 % of the exact one, which takes
#: long.
MANY = 100
NAIVE = "naive T cell"
#: In the tally: 1 where the T cells have states, 0 where naive ones are known by their type alone.
STATES_GIVEN = "states given"
#: Populations with fewer cells than this in blood are left out of the lower confidence limit, which they would pull to
#: zero.
MIN_IN_BLOOD = 50
COMBINED = "combined"
SORTED_OTHERWISE = "blood sorted otherwise"


@dataclass(frozen=True)
class MarkerPopulation:
    """A kind of cell that shows how much blood came into the urine.

    Attributes
    ----------
    name
        As in the table.
    find
        Takes ``obs``, gives True for these cells.
    with_t_cells
        Whether it passes through the preparation of cells as T cells do: mononuclear cells do, but red cells and
        platelets are lysed or spun off in one sample and not in the other.
    source
        Why it shows blood.
    """

    name: str
    find: Callable[[pd.DataFrame], pd.Series]
    with_t_cells: bool
    source: str


def _type_is(*names: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda obs: obs["cell_type"].astype(str).isin(names)


def _lineage_is(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda obs: obs["lineage"].astype(str).eq(name)


def _naive_t(obs: pd.DataFrame) -> pd.Series:
    naive = obs["cell_type"].astype(str).str.startswith("naive ")
    if "t_state" in obs:
        naive |= obs["t_state"].astype(str).eq("naive")
    return naive & _lineage_is(T_LINEAGE)(obs)


#: Neutrophils, monocytes and NK cells do not show blood: urine of inflamed kidneys holds its own (AMP: 90 % myeloid).
POPULATIONS = (
    MarkerPopulation(
        NAIVE,
        _naive_t,
        True,
        "naive T cells stay in blood and lymph (Mackay et al. 1990, doi:10.1084/jem.171.3.801)",
    ),
    MarkerPopulation(
        "B cell",
        _lineage_is("B"),
        True,
        "scarce in urine; lupus kidneys hold some (Arazi et al. 2019, doi:10.1038/s41590-019-0398-x)",
    ),
    MarkerPopulation(
        "plasmacytoid dendritic cell",
        _type_is("plasmacytoid dendritic cell"),
        True,
        "scarce in urine; lupus kidneys hold some (Arazi et al. 2019, doi:10.1038/s41590-019-0398-x)",
    ),
    MarkerPopulation(
        "platelet",
        _type_is("platelet"),
        False,
        "no cell of tissue; lost or kept by how the sample was spun",
    ),
    MarkerPopulation(
        "erythroid cell",
        _lineage_is("erythroid"),
        False,
        "red cells also pass a damaged glomerulus alone (Birch and Fairley 1979, Lancet 2:845), and are lysed",
    ),
)


@dataclass(frozen=True)
class _Counts:
    """Cells of a marker population and T cells of a urine sample and its blood sample."""

    x: int
    y: int
    t: int
    s: int
    scale: float = 1.0
    #: Whether the population is of T cells, so that urine may hold no other.
    among: bool = False

    @property
    def telling(self) -> bool:
        """Whether blood holds the population, and both hold T cells to compare with."""
        others = self.t > 0 or (self.among and self.x > 0)
        return self.y > 0 and others and self.s > 0

    def share(self) -> tuple[float, float, float]:
        """Return the share of T cells from blood and its exact 95 % interval, at most 1."""
        if not self.telling:
            return float("nan"), float("nan"), float("nan")
        many = min(self.x, self.y, self.t, self.s) >= MANY
        kind = "sample" if many else "conditional"
        result = stats.contingency.odds_ratio([[self.x, self.t], [self.y, self.s]], kind=kind)
        interval = result.confidence_interval(0.95)
        odds = result.statistic
        if not self.t:  # half a cell in each place, as in _counts
            odds = (self.x + 0.5) * (self.s + 0.5) / (self.y + 0.5) / 0.5
        values = np.array([odds, interval.low, interval.high]) * self.scale
        estimate, low, high = (float(v) for v in np.minimum(values, 1.0))
        return estimate, low, high

    def draws(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the share from its posterior: Poisson counts, Jeffreys priors."""
        x, y, t, s = (rng.gamma(n + 0.5, size=N_DRAWS) for n in (self.x, self.y, self.t, self.s))
        return np.minimum(x / y / (t / s) * self.scale, 1.0)


def _counts(names: Sequence[str], urine: pd.Series, blood: pd.Series) -> _Counts:
    """Count populations together; naive T cells are compared with the other T cells.

    If urine holds only naive T cells, half a cell is added for the others (Haldane 1956).
    """
    x, y = (int(sample[list(names)].sum()) for sample in (urine, blood))
    if NAIVE not in names:
        return _Counts(x, y, int(urine["T"]), int(blood["T"]))
    t, s = (int(sample["T"] - sample[NAIVE]) for sample in (urine, blood))
    others = t or 0.5
    scale = (blood["T"] / s) * (others / (urine["T"] - t + others)) if s and urine["T"] else 1.0
    return _Counts(x, y, t, s, float(scale), among=bool(urine["T"]))


def _tally(obs: pd.DataFrame) -> pd.Series:
    """Count T cells, each marker population, and haemoglobin molecules in single cells of one sample."""
    single = obs[~obs["is_doublet"].astype(bool)]
    counts = {kind.name: int(kind.find(single).sum()) for kind in POPULATIONS}
    t_cells = single[_lineage_is(T_LINEAGE)(single)]
    stated = "t_state" in obs and t_cells["t_state"].astype(str).ne("").any()
    counts[STATES_GIVEN] = int(stated or not len(t_cells))
    counts["T"] = len(t_cells)
    if "pct_hb" in obs and not obs["pct_hb"].isna().any():
        molecules = obs["pct_hb"].to_numpy(float) / 100 * obs["total_umis"].to_numpy(float)
        counts["haemoglobin"] = round(molecules.sum())
    return pd.Series(counts)


def paired_blood(
    samples: pd.DataFrame, row: pd.Series, cells: pd.DataFrame | None = None
) -> tuple[pd.Series | None, str]:
    """Return the blood sample that a urine sample is compared with, and how they are paired.

    Parameters
    ----------
    samples
        One row a sample: ``sample``, ``patient``, ``compartment``, ``timepoint``, ``n_t_cells``.
    row
        The urine sample's row of it.
    cells
        Their ``obs``, whose ``gating`` holds the sheet's words.

    Returns
    -------
    blood : pandas.Series or None
        The patient's blood, sorted like the urine, of the same time point, else any blood of the patient; of several
        the one with most T cells.
    pairing : str
        ``same time point``, ``other time point``, ``no blood sample`` or ``blood sorted otherwise`` (also after a sort
        by the CAR).
    """
    blood = samples[(samples["compartment"] == "blood") & (samples["patient"] == row["patient"])]
    if "gating" in samples:
        # What was sorted otherwise says nothing of these cells.
        gate = gates(samples, cells)
        # After a sort by the CAR the T cells are those that the sort was set for.
        alike = (gate[blood.index] == gate[row.name]) & (gate[row.name] not in BY_CAR)
        if len(blood) and not alike.any():
            return None, SORTED_OTHERWISE
        blood = blood[alike]
    name_of = first_names([str(row["timepoint"]), *samples["timepoint"].astype(str)])
    times = blood["timepoint"].astype(str).map(name_of)
    same = blood[times == str(row["timepoint"])]
    if "role" in samples:
        # Blood from before the infusion is of another time, though a sheet names none.
        is_control = row["role"] == "negative_control"
        same = same[(same["role"] == "negative_control") == is_control]
    chosen = same if len(same) else blood
    if not len(chosen):
        return None, "no blood sample"
    pairing = "same time point" if len(same) else "other time point"
    return chosen.loc[chosen["n_t_cells"].idxmax()], pairing


def blood_in_urine(adata: AnnData, detection: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Estimate how many of the T cells and CAR T cells of each urine sample could come from blood.

    Each marker population gives an estimate. The combined one pools the mononuclear populations that blood holds,
    without those of which urine holds more than the scarcest of them explains (they have sources of their own); only
    where there are none are platelets and red cells taken. The interval is that of the counts: that these cells survive
    in urine as T cells do is an assumption. Where a population has a source in urine that is too small to show, the
    estimate is too high; the lower end is therefore the lowest of theirs, and the upper end holds.

    Blood contributes CAR T cells in the proportion that its sample shows. ``p_blood_alone`` is the probability that
    these are as many as urine holds; with blood of another time point, as if every T cell of blood were a CAR T cell.
    Both samples are taken for what they are, a few of many cells: of six T cells of blood none may be a CAR T cell by
    chance.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`; ``obs`` with ``sample``, ``lineage``, ``cell_type``,
        ``is_doublet`` and, where there, ``t_state``, ``pct_hb`` and ``total_umis``.
    detection
        Schema ``DETECTION``, of the same cohort.
    seed
        Seed of the draws behind the CAR T cells' interval.

    Returns
    -------
    pandas.DataFrame
        Schema ``BLOOD_IN_URINE``: a row a urine sample and marker population, the combined estimate last.
    """
    parts: list[pd.DataFrame] = []
    by_sample = dict(list(adata.obs.groupby(adata.obs["sample"].astype(str), observed=True)))
    nothing = adata.obs.iloc[:0]
    for _, row in detection[detection["compartment"] == "urine"].iterrows():
        blood_row, pairing = paired_blood(detection, row, adata.obs)
        urine_obs = by_sample.get(str(row["sample"]), nothing)
        blood_name = "" if blood_row is None else str(blood_row["sample"])
        blood_obs = by_sample.get(blood_name, nothing)
        shares, pooled = shares_from_counts(
            _tally(urine_obs),
            _tally(blood_obs),
            blood_name,
            t_sorted=gate_of(row.get("gating")) == "t_enriched",
        )
        if pairing == SORTED_OTHERWISE:
            shares.loc[shares.index[-1], "note"] = (
                "blood of this patient was sorted otherwise, or both by the CAR: there is no estimate"
            )
        shares = shares.assign(
            sample=row["sample"],
            patient=row["patient"],
            timepoint=row["timepoint"],
            blood_sample=blood_name,
            pairing=pairing,
        )
        if pairing == "other time point":
            shares.loc[shares.index[-1], "note"] += "; blood of another time point"
        last = shares.index[-1]
        of_car = _car(adata, row, blood_row, pairing, pooled, urine_obs, blood_obs, seed)
        for key, value in of_car.items():
            shares.loc[last, key] = value
        parts.append(shares)
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return BLOOD_IN_URINE.conform(table.reindex(columns=list(BLOOD_IN_URINE.columns)))


def blood_shares(obs: pd.DataFrame, urine: str, blood: str) -> pd.DataFrame:
    """Estimate the share of a urine sample's T cells that come from blood, without calls.

    Parameters
    ----------
    obs
        Cells of both samples: ``sample``, ``lineage``, ``cell_type``, ``is_doublet`` and, where there, ``t_state``,
        ``pct_hb`` and ``total_umis``. Without ``t_state`` naive T cells are counted but not used.
    urine, blood
        Names of the samples.

    Returns
    -------
    pandas.DataFrame
        A row a marker population and the combined estimate last: ``population``, counts, ``estimate``, ``low``,
        ``high``, ``used``, ``note``.
    """
    own, other = (_tally(obs[obs["sample"].astype(str) == name]) for name in (urine, blood))
    return shares_from_counts(own, other, blood)[0]


def shares_from_counts(
    urine: pd.Series, blood: pd.Series, blood_name: str, *, t_sorted: bool = False
) -> tuple[pd.DataFrame, _Counts]:
    """Return a row a marker population and the combined one, and the counts behind the latter.

    Of samples of sorted T cells (``t_sorted``) only naive T cells tell: how many others there are is the sort's doing.
    """
    used, why = _choose(urine, blood, t_sorted=t_sorted)
    rows = [
        {
            **_row(w.name, _counts([w.name], urine, blood)),
            "used": w.name in used,
            "note": why[w.name],
        }
        for w in POPULATIONS
    ]
    if "haemoglobin" in urine and "haemoglobin" in blood:
        rows.append(_haemoglobin(urine, blood))
    pooled = _counts(used, urine, blood) if used else _Counts(0, 0, urine["T"], blood["T"])
    last = {**_row(COMBINED, pooled), "used": bool(used)}
    last["note"] = _explain(used, blood_name, urine)
    # Any of them may have a source in urine too small to show: the lower end is that of the lowest.
    lows = [row["low"] for row in rows if row["used"] and row["n_blood"] >= MIN_IN_BLOOD]
    last["low"] = min([last["low"], *lows])
    rows.append(last)
    return pd.DataFrame(rows), pooled


def _row(name: str, counts: _Counts) -> dict[str, Any]:
    estimate, low, high = counts.share()
    return {
        "population": name,
        "n_urine": counts.x,
        "n_blood": counts.y,
        "n_t_urine": counts.t,
        "n_t_blood": counts.s,
        "estimate": estimate,
        "low": low,
        "high": high,
        **_explained(""),
    }


def _explained(code: str) -> dict[str, str]:
    """Return the code of what blood explains, and the sentence for it."""
    return {"car_verdict": code, "car_verdict_text": BLOOD.get(code, "")}


def _haemoglobin(urine: pd.Series, blood: pd.Series) -> dict[str, Any]:
    """Return the row of haemoglobin molecules: lysed red cells, without an interval since they come in clumps."""
    row = _row("haemoglobin", _Counts(0, 0, int(urine["T"]), int(blood["T"])))
    row["n_urine"], row["n_blood"] = int(urine["haemoglobin"]), int(blood["haemoglobin"])
    if row["n_blood"] >= MIN_HAEMOGLOBIN and row["n_t_urine"] and row["n_t_blood"]:
        per_t = row["n_urine"] / row["n_t_urine"]
        row["estimate"] = min(1.0, per_t / (row["n_blood"] / row["n_t_blood"]))
    return {**row, "used": False, "note": "molecules, of lysed red cells too; shown only"}


def _choose(
    urine: pd.Series, blood: pd.Series, *, t_sorted: bool
) -> tuple[list[str], dict[str, str]]:
    """Return the populations to pool, and what to say of each."""
    why = {w.name: w.source for w in POPULATIONS}
    counts = {w.name: _counts([w.name], urine, blood) for w in POPULATIONS}
    for name, of in counts.items():
        if not of.telling:
            missing = "T cells to compare with" if of.y else "such cells"
            why[name] = f"no {missing} in the blood or urine sample: there is no estimate"
    telling = [w for w in POPULATIONS if counts[w.name].telling]
    if not (urine.get(STATES_GIVEN, 1) and blood.get(STATES_GIVEN, 1)) and counts[NAIVE].telling:
        # A type asks that naive CD4 and CD8 be told apart, with the sample's mix of types as a prior: half of the
        # naive cells of blood got the label in simulated samples, and a quarter to a third of those in urine.
        telling = [w for w in telling if w.name != NAIVE]
        why[NAIVE] = (
            "known by type alone, which fewer naive cells of urine than of blood are given: not used"
        )
    if t_sorted:
        for kind in telling:
            if kind.name != NAIVE:
                why[kind.name] = "the sort of T cells left as many as it did by chance: not used"
        telling = [w for w in telling if w.name == NAIVE]
    pool = [w.name for w in telling if w.with_t_cells] or [w.name for w in telling]
    if not pool:
        return [], why
    # The scarcest, and of equally scarce ones that of which blood holds most.
    lowest = min(pool, key=lambda name: (counts[name].x / counts[name].y, -counts[name].y))
    kept = []
    for name in pool:
        table = [[counts[name].x, counts[lowest].x], [counts[name].y, counts[lowest].y]]
        p = 1.0 if name == lowest else stats.fisher_exact(table, alternative="greater").pvalue
        if p < MAX_CHANCE / max(len(pool) - 1, 1):
            why[name] = f"urine holds more than blood explains, compared with {lowest}s: not used"
        else:
            kept.append(name)
    for kind in telling:
        if kind.name not in pool:
            why[kind.name] = f"not used beside mononuclear cells: {kind.source}"
    return kept, why


def _explain(used: list[str], blood_name: str, urine: pd.Series) -> str:
    if not blood_name:
        return "no blood sample of this patient: there is no estimate"
    if not urine["T"]:
        return "no T cells in this urine"
    if not used:
        return (
            f"none of the marker populations of blood among the cells of {blood_name}: no estimate"
        )
    kinds = [f"{name}s" for name in used]
    text = " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
    text = f"judged by its {text} against those of {blood_name}"
    by_name = {w.name: w for w in POPULATIONS}
    if not any(by_name[name].with_t_cells for name in used):
        text += "; these may have been removed from one of the two samples: not to be relied on"
    return text


def _car(
    adata: AnnData,
    row: pd.Series,
    blood_row: pd.Series | None,
    pairing: str,
    pooled: _Counts,
    urine_obs: pd.DataFrame,
    blood_obs: pd.DataFrame,
    seed: int,
) -> dict[str, Any]:
    """Return how many CAR T cells blood would bring, how many there are, and whether blood alone explains them."""
    n_t = float(row["n_t_cells"])
    found: dict[str, Any] = {
        "car_seen": n_t * row["prevalence"],
        "car_seen_low": n_t * row["prevalence_low"],
        "car_seen_high": n_t * row["prevalence_high"],
        **_explained("undetermined" if row["n_car_positive"] else ""),
    }
    if blood_row is None or not n_t or not pooled.telling:
        return found
    rng = np.random.default_rng(seed)
    share = pooled.draws(rng)
    if pairing == "same time point":
        cells = blood_obs.index[is_single_t(blood_obs)]
        # Of the cells seen; of the blood that they are a sample of, with Jeffreys' prior.
        seen = np.rint(draw_fraction(adata, cells, N_DRAWS, rng) * len(cells))
        in_blood = rng.beta(seen + 0.5, len(cells) - seen + 0.5)
    else:
        in_blood = np.ones(N_DRAWS)
    brought = share * in_blood
    low, middle, high = np.quantile(brought, [0.025, 0.5, 0.975]) * n_t
    found["car_expected_high"] = high
    if pairing == "same time point":
        found.update(car_expected=middle, car_expected_low=low)
    if row["n_car_positive"]:
        there = draw_fraction(adata, urine_obs.index[is_single_t(urine_obs)], N_DRAWS, rng)
        # As many T cells as the urine's, drawn from what blood brings.
        by_chance = rng.binomial(int(n_t), np.clip(brought, 0.0, 1.0)) / n_t
        p = float((by_chance >= there - 1e-9).mean())
        found["p_blood_alone"] = p
        found |= _explained("not_by_blood" if p < MAX_BLOOD_ALONE else "maybe_by_blood")
    return found

"""False CAR molecules: ambient RNA, chimeras and molecules swapped from other libraries.

A cell with N molecules, of which a share c is ambient RNA, shows ``c x N x share`` CAR molecules that are not its own;
``share`` is the CAR's part of the sample's ambient RNA. Four sources of evidence tell how many there are:

- the cells of its library (the sample's own, where it is alone in one). Ambient RNA comes from cells that broke, so
  the CAR's part of it is of the order of the CAR's part of all cells' molecules, as a rule somewhat less. This is the
  prior.
- the empty droplets, where the matrix holds them.
- cells of the library that cannot be CAR T cells (B cells, myeloid cells, kidney cells, ...). They lie in the same
  ambient RNA. They are evidence on both sides: CAR molecules in them raise what is expected in T cells, their absence
  lowers it. Rarely these molecules are the cells' own (engulfed CAR T cells, unseen doublets); then they only lower it.
- T cells without a CAR molecule. Whatever the CAR T fraction, there cannot be more false molecules than leave this many
  T cells without one.

What T cells show tells further of it: :mod:`carseq.calling.level`.

Chimeras and swaps add their own rate. A negative control's T cells are evidence of that rate too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from carseq.calling.counts import library_of
from carseq.calling.negbin import Floats, joint_shape, log_pmf
from carseq.cells.annotation import T_LINEAGE

#: Ambient share (0-1) of a cell's molecules where nobody measured it: what filtered 10x matrices of intact cells
#: show as a rule (SoupX, doi:10.1093/gigascience/giaa151, gives 2-12 %).
ASSUMED_CONTAMINATION = 0.05
#: With fewer molecules in empty droplets than this, ambient RNA is not measured: the matrix holds called cells only.
MIN_AMBIENT_UMIS = 10_000
#: The CAR's part of ambient RNA, relative to its part of the cells' molecules: median and log-sd. Cells that break
#: are more often other cells than T cells. (0.2-1.1 in this project's simulator; an assumption for real samples.)
OWN_SHARE, OWN_SHARE_SD = 0.6, 0.7
#: The grid of that part's logarithm, in standard deviations: at least so far, and to what empty droplets show.
_Z_LEAST, _Z_MOST, _Z_STEP = -4, 3, 0.25
#: How far the cells' contamination may be off as a whole, median and log-sd: measured, and assumed.
MEASURED_OFF, ASSUMED_OFF = (1.0, 0.5), (0.6, 0.8)
#: Degrees of freedom of the t distribution of an assumed contamination's error.
FREEDOM = 4
#: Ambient molecules of a droplet scatter around what its sample and size give, with a coefficient of variation of
#: 0.6: shape of a gamma distribution. An assumption, and a cautious one: S100A8, S100A9 and LYZ in 431 T cells of 10x
#: PBMC 1k v3 scatter with a shape of 5, in those of two CITE-seq sets of PBMC by chance alone. (They rise with the
#: square root of a cell's molecules, not in proportion; expected so, sorted T cells had 9.3 % false calls, not 6.3 %.)
DROPLET_SHAPE = 1 / 0.6**2
#: Cells of other lineages may hold somewhat more or less ambient RNA than T cells: shape of a gamma distribution.
OTHER_SHAPE = 10.0
#: Chance, before anything is seen, that other cells' CAR molecules are their own and thus no evidence of ambient RNA.
#: 11,476 cells of 12 public libraries that were no T cells held none: rare. So it is accepted only where T cells
#: contradict them.
PRIOR_ENGULFED = 3e-4
#: Chimeras and swaps as a share of the CAR's share of all molecules: the prior's mean (PCR chimeras), and the upper
#: bound.
PRIOR_CHIMERIC, MAX_CHIMERIC = 0.002, 0.02
#: Shape of the gamma prior of their rate: near zero as a rule, rarely far above.
CHIMERIC_SHAPE = 0.02
#: Lineages among which T cells may hide.
KIN_OF_T = ("T", "NK", "unknown")
#: Most molecules of one cell that are evidence: more are an unseen doublet or an engulfed T cell. Where the median cell
#: shows some, ambient RNA is so much that three times the median are added.
MOST_OF_A_CELL, TIMES_MEDIAN = 2, 3


@dataclass(frozen=True)
class Background:
    """False CAR molecules expected in every cell of a cohort.

    Attributes
    ----------
    ambient, chimeric
        Expected molecules from ambient RNA, and from chimeras and swaps; one number a cell.
    shape
        Shape of the negative binomial of both together.
    assumed
        By sample: whether its ambient RNA was assumed, for want of empty droplets or of a contamination.
    evidence
        By sample: the input of :func:`ambient_rate`, so that it can be computed again.
    """

    ambient: Floats
    chimeric: Floats
    shape: Floats
    assumed: dict[str, bool]
    evidence: dict[str, Evidence]


@dataclass(frozen=True)
class Evidence:
    """The evidence of one sample on its false CAR molecules.

    Attributes
    ----------
    car, molecules
        CAR molecules of all cells of its library, and their molecules.
    empty_car, empty_molecules
        The same of the empty droplets.
    other_car, other_ambient, other_molecules
        CAR molecules, expected ambient molecules of any gene, and molecules of the cells of its library that cannot be
        CAR T cells.
    assumed
        Whether contamination was assumed, or the CAR's share of ambient RNA for want of empty droplets.
    t_cells, t_silent
        T cells, and those of them without a CAR molecule.
    t_ambient, t_molecules
        Expected ambient molecules of any gene in T cells, and their molecules.
    t_shape
        Shape of the gamma distribution of ambient molecules between T cells.
    """

    car: float
    molecules: float
    empty_car: float
    empty_molecules: float
    other_car: float
    other_ambient: float
    other_molecules: float
    assumed: bool
    t_cells: float = 0.0
    t_silent: float = 0.0
    t_ambient: float = 0.0
    t_molecules: float = 0.0
    t_shape: float = 1.0

    @property
    def has_empty(self) -> bool:
        """Whether empty droplets tell the CAR's share of ambient RNA."""
        return self.empty_molecules > 0

    def to_row(self) -> list[float]:
        """Return it as numbers, for ``uns``."""
        return [float(getattr(self, name)) for name in self.__dataclass_fields__]

    def at_fraction(self, fraction: float, car: float, shown: float) -> Evidence:
        """Return the evidence of a sample like this one that holds CAR T cells, if this one holds none.

        Parameters
        ----------
        fraction
            CAR T fraction of its T cells (0-1).
        car
            CAR molecules that all T cells would show if they were CAR T cells.
        shown
            Share (0-1) of CAR T cells that would show one.
        """
        return replace(
            self,
            car=self.car + fraction * car,
            t_silent=self.t_silent * (1 - fraction * shown),
        )

    @classmethod
    def from_row(cls, row: npt.ArrayLike) -> Evidence:
        """Return it from numbers."""
        # Results of version 0.2.0 hold no T cells, which were not looked at then.
        stored = dict(zip(cls.__dataclass_fields__, np.asarray(row).tolist(), strict=False))
        return cls(**(stored | {"assumed": bool(stored["assumed"])}))


def contamination_of(obs: pd.DataFrame, samples: pd.DataFrame) -> tuple[Floats, dict[str, bool]]:
    """Return the ambient share of every cell's molecules, and which samples have no measured one.

    A sample without empty droplets whose cells all have one and the same contamination (the lower bound of the
    estimate, or a default) has no measured one. It is assumed then, as it is for cells without a number.

    Parameters
    ----------
    obs
        Cells: ``sample`` and, if known, ``contamination`` (0-1).
    samples
        Index sample; ``ambient_umis``.

    Returns
    -------
    share : numpy.ndarray
        One number a cell, 0-1.
    assumed : dict of bool
        By sample: whether it has no contamination of its own, or no empty droplets to measure it by.
    """
    share = np.full(len(obs), np.nan)
    if "contamination" in obs:
        share = np.clip(pd.to_numeric(obs["contamination"], errors="coerce").to_numpy(float), 0, 1)
    names = obs["sample"].astype(str).to_numpy()
    assumed = {}
    for sample, row in samples.iterrows():
        own = names == str(sample)
        known = share[own]
        known = known[np.isfinite(known)]
        empty = has_empty_droplets(row)
        measured = len(known) > 0 and (empty or np.ptp(known) > 1e-9)
        if not measured:
            share[own] = ASSUMED_CONTAMINATION
        elif len(known) < own.sum():
            share[own] = np.where(np.isfinite(share[own]), share[own], np.median(known))
        assumed[str(sample)] = not empty or (bool(own.any()) and not measured)
    return share, assumed


def has_empty_droplets(row: pd.Series) -> bool:
    """Return whether a sample's empty droplets hold enough molecules (``ambient_umis``) to tell of its ambient RNA."""
    return float(row.get("ambient_umis", 0) or 0) >= MIN_AMBIENT_UMIS


def ambient_rate(evidence: Evidence) -> tuple[float, float, float, float]:
    """Work out how many false CAR molecules a sample's cells show.

    The CAR's share of ambient RNA, the error of the contamination and the rate of chimeras are averaged over a grid.

    Parameters
    ----------
    evidence
        Of the sample.

    Returns
    -------
    tuple of float
        CAR molecules per ambient molecule and the shape of its gamma distribution; chimeras and swaps per molecule of
        a cell, and the shape of theirs.
    """
    weight, product, chimeric = _rates(evidence)
    of_ambient = float((weight * product).sum())
    spread = float((weight * (product - of_ambient) ** 2).sum())
    of_chimeric = float((weight * chimeric).sum())
    chimeric_spread = float((weight * (chimeric - of_chimeric) ** 2).sum())
    return (
        of_ambient,
        float(np.clip(of_ambient**2 / max(spread, 1e-300), 0.05, 1e4)),
        of_chimeric,
        float(np.clip(of_chimeric**2 / max(chimeric_spread, 1e-300), CHIMERIC_SHAPE, 1e4)),
    )


def log_prior_of_level(evidence: Evidence, log_level: Floats) -> Floats:
    """Return the log prior of the false CAR molecules in a sample's T cells, by all but these cells' own molecules.

    Parameters
    ----------
    evidence
        Of the sample.
    log_level
        Logarithms of the false molecules in all its T cells, evenly spaced: the grid.
    """
    e = evidence
    weight, product, chimeric = _rates(replace(e, t_cells=0.0))
    found = np.log(product * e.t_ambient + chimeric * e.t_molecules)
    at = (found - log_level[0]) / (log_level[1] - log_level[0])
    at = np.clip(at.ravel(), 0, len(log_level) - 1)
    low = np.minimum(at.astype(int), len(log_level) - 2)
    above, weight = at - low, np.broadcast_to(weight, found.shape).ravel()
    mass = np.bincount(low, weight * (1 - above), minlength=len(log_level))
    mass += np.bincount(low + 1, weight * above, minlength=len(log_level))
    return np.asarray(np.log(mass + 1e-9))


def _rates(evidence: Evidence) -> tuple[Floats, Floats, Floats]:
    """Return the posterior of false CAR molecules on a grid of three axes, and what it is of.

    Returns
    -------
    weight : numpy.ndarray
        Sums to 1: share of ambient RNA x error of the contamination x rate of chimeras.
    product : numpy.ndarray
        CAR molecules per ambient molecule; the last axis has length 1.
    chimeric : numpy.ndarray
        Chimeras and swaps per molecule of a cell: the last axis.
    """
    e = evidence
    seen = max(e.car, 0.0) + 0.5
    share = seen / max(e.molecules, 1000.0)
    # The fewer CAR molecules there are, the less the own cells' share is known.
    share_sd = np.sqrt(OWN_SHARE_SD**2 + min(1 / seen, 2.0))
    most = _Z_MOST
    if e.empty_car > 0:
        # Ambient RNA of CAR T cells that all broke holds far more of the CAR than the cells that are left.
        measured = np.log(e.empty_car / e.empty_molecules / (share * OWN_SHARE)) / share_sd
        most = max(most, np.ceil(measured + 1))
    z = np.arange(_Z_LEAST, most + _Z_STEP / 2, _Z_STEP)
    rate = share * OWN_SHARE * np.exp(share_sd * z)
    middle, sd = ASSUMED_OFF if e.assumed else MEASURED_OFF
    y = np.linspace(-3, 5, 25)
    off = middle * np.exp(sd * y)
    chimeric = np.concatenate([[0.0], share * np.exp(np.linspace(np.log(1e-5), np.log(0.1), 19))])
    log_chimeric = CHIMERIC_SHAPE * np.log(np.maximum(chimeric, share * 1e-6))
    log_chimeric -= CHIMERIC_SHAPE * chimeric / (PRIOR_CHIMERIC * share)
    # The error of a measured contamination is taken as normal; an assumed one may be far off (a lysed product).
    log_off = -(FREEDOM + 1) / 2 * np.log1p(y**2 / FREEDOM) if e.assumed else -0.5 * y**2
    product = (rate[:, None] * off)[:, :, None]
    log_weight = -0.5 * z[:, None, None] ** 2 + log_off[None, :, None] + log_chimeric
    if e.empty_molecules > 0:
        mean = rate * e.empty_molecules
        log_weight = log_weight + (e.empty_car * np.log(mean) - mean)[:, None, None]
    if e.other_molecules > 0:
        mean = product * e.other_ambient + chimeric * e.other_molecules
        log_weight = log_weight + _of_other_cells(e.other_car, mean)
    if e.t_cells > 0:
        mean = product * e.t_ambient + chimeric * e.t_molecules
        log_weight = log_weight + _of_silent(e, mean / e.t_cells)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    return weight, product, chimeric


def _of_other_cells(seen: float, mean: Floats) -> Floats:
    """Return the log likelihood of the other cells' CAR molecules: false ones, or some of them their own.

    Parameters
    ----------
    seen
        CAR molecules in them.
    mean
        False molecules expected in them.
    """
    false = log_pmf(np.array(seen), mean, OTHER_SHAPE)
    # Any number of them may be the cells' own: then at most the others are false.
    at_most = special.betainc(OTHER_SHAPE, seen + 1, OTHER_SHAPE / (OTHER_SHAPE + mean))
    own = np.log(np.maximum(at_most, 1e-300)) - np.log(seen + 1)
    return np.logaddexp(np.log1p(-PRIOR_ENGULFED) + false, np.log(PRIOR_ENGULFED) + own)


def _of_silent(e: Evidence, mean: Floats) -> Floats:
    """Return the log likelihood of the T cells without a CAR molecule, up to a constant.

    A T cell without false molecules shows no CAR molecule unless it is a CAR T cell that shows some of its own. The
    share of such cells is not estimated here: the one that fits best is taken. So the evidence sets an upper limit to
    false molecules, not a lower one.

    Parameters
    ----------
    e
        Of the sample.
    mean
        False molecules expected in a T cell.
    """
    silent, shown = e.t_silent, e.t_cells - e.t_silent
    log_none = np.minimum(
        -e.t_shape * np.log1p(mean / e.t_shape), np.log(max(silent, 1e-9) / e.t_cells)
    )
    return np.asarray(
        special.xlogy(silent, np.exp(log_none)) + shown * np.log(-np.expm1(log_none - 1e-15))
    )


def background(obs: pd.DataFrame, samples: pd.DataFrame) -> Background:
    """Work out the false CAR molecules of every cell of a cohort.

    Parameters
    ----------
    obs
        Cells: ``sample``, ``total_umis``, ``lineage``, ``is_doublet``, ``car_evidence`` and, if known,
        ``contamination``.
    samples
        Index sample; ``ambient_umis``, ``ambient_car``, ``role`` and, if known, ``library``. Samples of one library lie
        in the same ambient RNA.
    """
    total, k = obs["total_umis"].to_numpy(float), obs["car_evidence"].to_numpy(float)
    names, lineage = obs["sample"].astype(str).to_numpy(), obs["lineage"].astype(str).to_numpy()
    single = ~obs["is_doublet"].to_numpy(bool)
    other, of_t = single & ~np.isin(lineage, KIN_OF_T), single & (lineage == T_LINEAGE)
    share, assumed = contamination_of(obs, samples)
    ambient, chimeric, shape = np.zeros(len(obs)), np.zeros(len(obs)), np.ones(len(obs))
    evidence = {}
    library = {str(s): library_of(str(s), row.get("library")) for s, row in samples.iterrows()}
    for sample, row in samples.iterrows():
        own = names == str(sample)
        mates = [name for name, held in library.items() if held == library[str(sample)]]
        around = np.isin(names, mates)
        others, t_cell = around & other, own & of_t
        exposed = (share * total)[t_cell]
        known = has_empty_droplets(row)
        e = Evidence(
            car=float(k[around].sum()),
            molecules=float(total[around].sum()),
            empty_car=float(row["ambient_car"]) if known else 0.0,
            empty_molecules=float(row["ambient_umis"]) if known else 0.0,
            other_car=float(np.minimum(k[others], _most(k[others])).sum()),
            other_ambient=float((share * total)[others].sum()),
            other_molecules=float(total[others].sum()),
            assumed=assumed[str(sample)],
            t_cells=float(t_cell.sum()),
            t_silent=float((k[t_cell] == 0).sum()),
            t_ambient=float(exposed.sum()),
            t_molecules=float(total[t_cell].sum()),
            t_shape=1 / (1 / DROPLET_SHAPE + _relative_variance(exposed)),
        )
        evidence[str(sample)] = e
        per_ambient, ambient_shape, rate, rate_shape = ambient_rate(e)
        here = share[own] * total[own] * per_ambient
        if str(row.get("role", "")) == "negative_control":
            quiet = of_t[own] & (k[own] <= 1)
            rate, rate_shape = _of_control(
                e, rate, rate_shape, float((k[own] - here)[quiet].sum()), total[own][quiet].sum()
            )
        ambient[own], chimeric[own] = here, rate * total[own]
        per_cell = 1 / (1 / ambient_shape + 1 / DROPLET_SHAPE)
        shape[own] = joint_shape(here, per_cell, chimeric[own], np.full(own.sum(), rate_shape))
    return Background(ambient, chimeric, shape, assumed, evidence)


def _relative_variance(values: Floats) -> float:
    """Return the variance of numbers in units of their squared mean; 0 where there is none."""
    mean = float(values.mean()) if len(values) else 0.0
    return float(values.var()) / mean**2 if mean > 0 else 0.0


def _most(counts: Floats) -> float:
    """Return the most CAR molecules of one cell that are evidence, from those of all."""
    return MOST_OF_A_CELL + TIMES_MEDIAN * float(np.median(counts)) if len(counts) else 0.0


def _of_control(
    e: Evidence, rate: float, shape: float, excess: float, molecules: float
) -> tuple[float, float]:
    """Return the rate of chimeras and swaps of a negative control, whose quiet T cells are evidence too.

    The rate is capped at ``MAX_CHIMERIC`` times the CAR's share: without the cap, a mislabelled control that holds
    CAR T cells would raise its own background and hide them.
    """
    share = (e.car + 0.5) / max(e.molecules, 1000.0)
    weight = CHIMERIC_SHAPE + max(excess, 0.0)
    taught = weight / (CHIMERIC_SHAPE / max(PRIOR_CHIMERIC * share, 1e-12) + molecules)
    taught = min(taught, MAX_CHIMERIC * share)
    return (taught, weight) if taught > rate else (rate, shape)

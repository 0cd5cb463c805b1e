"""calling: from CAR molecules to CAR T cells, with a probability for each and a verdict for each sample.

The model, for T cells. A cell with N molecules that is no CAR T cell shows CAR molecules from ambient RNA
alone: contamination x N x the sample's ambient CAR share. The count is negative binomial, since the share (few CAR
molecules in the empty droplets) and the single cell's contamination are uncertain. Chimeras, swapped molecules and
ambient RNA that was missed add a rate of their own, learned from the sample's cells that cannot be CAR T cells by their
lineage and from negative controls. A CAR T cell adds its own: negative binomial with mean mu x N and shape r, with a
weak prior from published libraries; r is shared by the cohort, mu scatters between its samples. A sample's CAR T
fraction is its own. Everything is averaged over the values of mu, r and the fraction that the data leave plausible.
``positive`` cells are the largest set whose expected share of false calls is within ``fdr``.

A T cell whose droplet also holds a CAR T cell, unseen, is taken for a CAR T cell: in simulated studies that is one
positive call in a hundred (``benchmarks/RESULTS.md``), which needs no term of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from carseq.cells.annotation import T_LINEAGE, is_single_t
from carseq.errors import CarseqError
from carseq.log import get_logger
from carseq.schema.tables import DETECTION, LOSSES

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger(__name__)

Floats = npt.NDArray[np.float64]
#: Prior of mu: 5 CAR molecules per 10,000 in CAR T cells (median of positive cells in 34 CARPALL 5' libraries);
#: libraries and constructs differ several-fold, hence a log-sd of 1.
PRIOR_MU, PRIOR_MU_SD = 5e-4, 1.0
#: Prior of the negative binomial's shape: expression varies about as much as its mean.
PRIOR_SHAPE, PRIOR_SHAPE_SD = 1.5, 0.7
#: A molecule counts for a cell if it is more likely CAR than endogenous.
MIN_P_CAR = 0.5
#: An ambient explanation must be this improbable for a positive call, whatever the prior says. (At 0.05, 20 simulated
#: studies gave 1.3 % false calls and 86 % of an oracle's; at 0.15, 2.8 % and 92 %.)
MAX_AMBIENT_P = 0.15
#: CAR molecules outside T cells are said to be more than ambient RNA explains if it shows so many this rarely.
MAX_STRANGE_P = 0.05
#: A sample in which no more than this CAR T fraction could be excluded is undetermined, not negative.
UNDETERMINED_ABOVE = 0.5
#: From this share of molecules that the construct cannot show (an ORF alone, a part), silence means nothing.
MAX_UNSEEN = 0.5
#: Share of the reads of all copies of a molecule that its own library must hold (Griffiths et al. 2018).
MIN_SWAP_SHARE = 0.8
#: How a sample's CAR expression scatters around its cohort's (log-sd): T cells of urine, blood and product differ in
#: activation. An assumption; a tight one would make intervals of the CAR T fraction too short.
SAMPLE_SD = 0.3
#: Ambient molecules of a droplet scatter around what its sample and size give, with a coefficient of variation of
#: 0.6: shape of a gamma distribution. An assumption, since a single cell's contamination cannot be measured.
DROPLET_SHAPE = 1 / 0.6**2
#: False CAR molecules beyond ambient RNA (chimeras, swaps), as a share of the CAR's share of all molecules: what is
#: assumed where nothing is known (PCR chimeras), and the most that a control's T cells may teach.
PRIOR_STRAY, MAX_STRAY = 0.002, 0.02
#: Shape of the gamma prior of their rate: near zero as a rule, now and then far above.
STRAY_SHAPE = 0.02
#: Lineages among which T cells may hide.
KIN_OF_T = ("T", "NK")
#: Cells of one sample and count whose depth and false expectation differ by less (in logs) are taken together.
DEPTH_STEP, NULL_STEP = 0.05, 0.1
#: Pairs of mu and shape below this share of the best one's weight are left out of averages.
MIN_WEIGHT = 0.01
_CHUNK = 256
UNEXPLAINED = "more than ambient RNA explains: unseen doublet or engulfed T cell"


def count_car(molecules: pd.DataFrame, barcodes: pd.Index) -> pd.DataFrame:
    """Count the CAR molecules of the barcodes of one sample.

    Returns
    -------
    pandas.DataFrame
        By barcode: ``car_umis`` (unique, junction, and shared with p_car >= 0.5) and ``car_umis_unique``.
    """
    own = molecules[molecules["p_car"] >= MIN_P_CAR]
    told_apart = own[own["evidence"].isin(["unique", "junction"])]
    return pd.DataFrame(
        {
            "car_umis": own["barcode"].value_counts().reindex(barcodes, fill_value=0).astype(int),
            "car_umis_unique": told_apart["barcode"]
            .value_counts()
            .reindex(barcodes, fill_value=0)
            .astype(int),
        },
        index=barcodes,
    )


def drop_swapped(
    molecules: Mapping[str, pd.DataFrame], runs: Mapping[str, str]
) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """Drop molecules that came over from another library of the same sequencing run.

    Two libraries share a barcode and a UMI by chance hardly ever; reads with a swapped sample index share both. A
    molecule stays in the sample that has at least ``MIN_SWAP_SHARE`` of the reads of all its copies; where no sample
    has, it is dropped everywhere (Griffiths et al. 2018, doi:10.1038/s41467-018-05083-x; swappedDrops of DropletUtils).

    Parameters
    ----------
    molecules
        Schema ``MOLECULES``, by sample; barcodes may carry Cell Ranger's ``-1``.
    runs
        Sequencing run by sample; samples without one (or with an empty one) are left as they are.

    Returns
    -------
    kept : dict of pandas.DataFrame
        The tables without swapped molecules.
    dropped : dict of int
        Molecules dropped, by sample.
    """
    kept = dict(molecules)
    dropped = dict.fromkeys(molecules, 0)
    by_run: dict[str, list[str]] = {}
    for sample in molecules:
        if runs.get(sample):
            by_run.setdefault(str(runs[sample]), []).append(sample)
    for names in by_run.values():
        if len(names) < 2:
            continue
        copies = pd.concat(
            [molecules[s][["barcode", "umi", "n_reads"]].assign(owner=s) for s in names]
        )
        copies["barcode"] = copies["barcode"].str.rsplit("-", n=1).str[0]
        of_all = copies.groupby(["barcode", "umi"])["n_reads"].transform("sum").to_numpy(float)
        here = (
            copies.groupby(["barcode", "umi", "owner"])["n_reads"].transform("sum").to_numpy(float)
        )
        stays = here >= MIN_SWAP_SHARE * of_all
        owner = copies["owner"].to_numpy(str)
        for sample in names:
            own = stays[owner == sample]
            kept[sample] = molecules[sample][own]
            dropped[sample] = int((~own).sum())
    return kept, dropped


def unseen_share(findings: list[dict[str, object]], strand: str | None) -> float:
    """Return the share (0-1) of CAR molecules a construct cannot show, by the costs of its lint.

    Parameters
    ----------
    findings
        Content of ``lint.json``.
    strand
        ``Forward`` (3'), ``Reverse`` (5'), or None where it is not known: then the worse of both.
    """
    keys = {"Forward": ["umis_lost_3p"], "Reverse": ["umis_lost_5p"]}.get(
        strand or "", ["umis_lost_3p", "umis_lost_5p"]
    )
    lost = [float(str(f[k])) for f in findings for k in keys if f.get(k) is not None]
    return max(lost, default=0.0) / 100


def ambient_car(
    barcodes: pd.DataFrame, ambient: pd.DataFrame, molecules: pd.DataFrame | None, car: str
) -> dict[str, float]:
    """Count molecules and CAR molecules in the empty droplets of a sample.

    Parameters
    ----------
    barcodes
        Of :func:`carseq.cells.call_barcodes`: index barcode, ``total_umis``, ``is_cell``.
    ambient
        Of :func:`carseq.cells.ambient_profile`: ``gene``, ``umis``.
    molecules
        CAR molecules of the sample; None takes the matrix's counts of the CAR.
    car
        Name of the CAR.

    Returns
    -------
    dict
        ``ambient_umis`` and ``ambient_car``.
    """
    if molecules is None:
        in_empty = ambient.loc[ambient["gene"].astype(str) == car, "umis"].sum()
        return {"ambient_umis": float(ambient["umis"].sum()), "ambient_car": float(in_empty)}
    # Droplets just above the ambient range may be shallow cells; they are not counted either way.
    largest = int(ambient["largest"].iloc[0]) if len(ambient) else 0
    empty = barcodes[~barcodes["is_cell"].astype(bool) & (barcodes["total_umis"] <= largest)]
    counts = count_car(molecules, empty.index)
    return {
        "ambient_umis": float(empty["total_umis"].sum()),
        "ambient_car": float(counts["car_umis"].sum()),
    }


def _nb_logpmf(k: Floats, mean: Floats, shape: float | Floats) -> Floats:
    """Log-probability of a negative binomial with a mean and a shape (variance = mean + mean^2 / shape)."""
    mean = np.maximum(mean, 1e-12)
    return np.asarray(stats.nbinom.logpmf(k, shape, shape / (shape + mean)))


def _nb_sf(k: Floats, mean: Floats, shape: float | Floats) -> Floats:
    """P(X >= k)."""
    mean = np.maximum(mean, 1e-12)
    return np.asarray(stats.nbinom.sf(k - 1, shape, shape / (shape + mean)))


@dataclass(frozen=True)
class _Data:
    """T cells of the cohort, or groups of like ones: CAR counts, molecules, false molecules expected, sample code."""

    k: Floats
    n: Floats
    null: Floats
    null_shape: Floats
    code: npt.NDArray[np.intp]
    samples: list[str]

    @classmethod
    def of(cls, obs: pd.DataFrame) -> _Data:
        """Return called T cells of one sample, from their rows of ``obs``."""
        return cls(
            k=obs["car_umis"].to_numpy(float),
            n=obs["total_umis"].to_numpy(float),
            null=(obs["car_expected_ambient"] + obs["car_expected_background"]).to_numpy(float),
            null_shape=obs["car_null_shape"].to_numpy(float),
            code=np.zeros(len(obs), dtype=np.intp),
            samples=["cells"],
        )

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> _Data:
        """Return some of the cells."""
        return _Data(
            self.k[rows],
            self.n[rows],
            self.null[rows],
            self.null_shape[rows],
            self.code[rows],
            self.samples,
        )

    def groups(self) -> tuple[_Data, Floats, npt.NDArray[np.intp]]:
        """Join like cells of one sample: those of one count, about one depth and one false expectation.

        Returns
        -------
        groups : _Data
            Means of the groups.
        size : numpy.ndarray
            Cells of each.
        inverse : numpy.ndarray
            Group of each cell.
        """
        keys = np.column_stack(
            [
                self.k,
                np.round(np.log(np.maximum(self.n, 1)) / DEPTH_STEP),
                np.round(np.log(np.maximum(self.null, 1e-12)) / NULL_STEP),
            ]
        )
        found, inverse = np.unique(keys, axis=0, return_inverse=True)
        inverse = inverse.ravel()
        size = np.bincount(inverse, minlength=len(found)).astype(float)

        def mean(values: Floats) -> Floats:
            return np.bincount(inverse, values, minlength=len(found)) / size

        code = np.zeros(len(found), dtype=np.intp)
        groups = _Data(
            found[:, 0],
            mean(self.n),
            mean(self.null),
            mean(self.null_shape),
            code,
            self.samples,
        )
        return groups, size, inverse

    def log_null(self, k: Floats | None = None) -> Floats:
        """Return the log-probability of the counts without an own CAR molecule."""
        return _nb_logpmf(self.k if k is None else k, self.null, self.null_shape)

    def log_car(self, mu: Floats, shape: Floats, k: Floats | None = None) -> Floats:
        """Return the log-probability of the counts of CAR T cells, cells x parameters.

        The sum of own and false molecules has their means and variances added.
        """
        return _nb_logpmf((self.k if k is None else k)[:, None], *self.of_car(mu, shape))

    def of_car(self, mu: Floats, shape: Floats) -> tuple[Floats, Floats]:
        """Return mean and shape of the counts of CAR T cells, cells x parameters."""
        own, null = self.n[:, None] * mu, self.null[:, None]
        return own + null, _joint_shape(own, shape, null, self.null_shape[:, None])


def _joint_shape(one: Floats, shape: Floats, other: Floats, other_shape: Floats) -> Floats:
    """Return the shape of the sum of two negative binomials of means ``one`` and ``other``, by its variance."""
    return (one + other) ** 2 / np.maximum(one**2 / shape + other**2 / other_shape, 1e-30)


@dataclass(frozen=True)
class Model:
    """The fitted model.

    Attributes
    ----------
    mu, shape
        CAR molecules per molecule of a CAR T cell, and the negative binomial's shape: the cohort's geometric means.
    prevalence
        CAR T fraction of T cells by sample, posterior mean.
    points
        By sample: mu, shape, posterior weight (they sum to 1), and the CAR T fraction that goes with them; n x 4.
        Everything is averaged over them, since few CAR T cells say little of how much CAR they express.
    evidence
        By sample: log likelihood of every mu (rows) and shape (columns) of the grid, whatever the CAR T fraction.
    """

    mu: float
    shape: float
    prevalence: dict[str, float]
    points: dict[str, Floats]
    evidence: dict[str, Floats]


@dataclass(frozen=True)
class _Terms:
    """What the posterior of T cells is made of."""

    prior: Floats
    log_car: Floats
    log_null: Floats

    def posterior(self) -> Floats:
        """Return the probability of being a CAR T cell."""
        own, rest = np.log(self.prior) + self.log_car, np.log1p(-self.prior) + self.log_null
        return np.asarray(np.exp(own - np.logaddexp(own, rest)))


_MU = np.exp(np.arange(-3.0, 3.05, 0.1)) * PRIOR_MU
_SHAPE = np.exp(np.linspace(-1.4, 1.4, 7)) * PRIOR_SHAPE
_PI = (np.arange(60) + 0.5) / 60
#: Every pair of mu and shape, as one list.
_MU_OF, _SHAPE_OF = (x.ravel() for x in np.meshgrid(_MU, _SHAPE, indexing="ij"))


def _fit(data: _Data) -> tuple[Model, _Terms]:
    """Work out the posterior of mu, shape and the samples' CAR T fractions on a grid.

    A sample's mu scatters around the cohort's by ``SAMPLE_SD``, the shape is shared, the CAR T fraction is the
    sample's own. The prior of a cell is what the other cells say.
    """
    by_sample = [data.take(data.code == code).groups() for code in range(len(data.samples))]
    log_fraction = _log_prior(_PI)
    tables = [
        _log_likelihood(groups, size, _MU_OF, _SHAPE_OF, _PI) + log_fraction
        for groups, size, _ in by_sample
    ]
    evidence = [
        np.logaddexp.reduce(table, axis=1).reshape(len(_MU), len(_SHAPE)) for table in tables
    ]
    scatter = _scatter()
    marginals = [_of_cohort(own) for own in evidence]
    of_all = _log_prior_expression() + sum(marginals)
    weight = np.exp(of_all - of_all.max())
    weight /= weight.sum()
    prevalence, points = {}, {}
    terms = _Terms(*(np.empty(len(data.k)) for _ in range(3)))
    for code, (sample, table, marginal) in enumerate(
        zip(data.samples, tables, marginals, strict=True)
    ):
        groups, _, inverse = by_sample[code]
        others = of_all - marginal
        expected = scatter.T @ np.exp(others - others.max())
        log_weight = np.log(np.maximum(expected, 1e-300)).ravel()[:, None] + table
        own_weight = np.exp(log_weight - log_weight.max())
        own_weight /= own_weight.sum()
        prevalence[sample] = float(own_weight.sum(axis=0) @ _PI)
        of_pair = own_weight.sum(axis=1)
        kept = of_pair >= MIN_WEIGHT * of_pair.max()
        points[sample] = np.column_stack(
            [
                _MU_OF[kept],
                _SHAPE_OF[kept],
                of_pair[kept] / of_pair[kept].sum(),
                own_weight[kept] @ _PI / of_pair[kept],
            ]
        )
        of_groups = _terms(groups, own_weight)
        rows = data.code == code
        for into, values in (
            (terms.prior, of_groups.prior),
            (terms.log_car, of_groups.log_car),
            (terms.log_null, of_groups.log_null),
        ):
            into[rows] = values[inverse]
    mu = float(np.exp(weight.sum(axis=1) @ np.log(_MU)))
    shape = float(np.exp(weight.sum(axis=0) @ np.log(_SHAPE)))
    return Model(
        mu, shape, prevalence, points, dict(zip(data.samples, evidence, strict=True))
    ), terms


def _scatter() -> Floats:
    """Return how a sample's mu (columns) scatters around its cohort's (rows)."""
    distance = (np.log(_MU)[:, None] - np.log(_MU)) / SAMPLE_SD
    scatter = np.exp(-0.5 * distance**2)
    return np.asarray(scatter / scatter.sum(axis=1, keepdims=True))


def _log_prior_expression() -> Floats:
    """Return the log prior of the cohort's mu (rows) and shape (columns) on their grid."""
    of_mu = stats.norm.logpdf(np.log(_MU), np.log(PRIOR_MU), PRIOR_MU_SD)[:, None]
    of_shape = stats.norm.logpdf(np.log(_SHAPE), np.log(PRIOR_SHAPE), PRIOR_SHAPE_SD)
    return np.asarray(of_mu + of_shape)


def _of_cohort(evidence: Floats) -> Floats:
    """Return what a sample's evidence says of the cohort's mu and shape."""
    top = evidence.max()
    return np.asarray(np.log(np.maximum(_scatter() @ np.exp(evidence - top), 1e-300)) + top)


def _log_prior(fraction: Floats) -> Floats:
    """Return the log of the prior Beta(0.5, 1) of CAR T fractions on an even grid.

    Few or no CAR T cells are likelier than many, and next to nothing is assumed beyond that.
    """
    log_density = -0.5 * np.log(fraction)
    return np.asarray(log_density - np.logaddexp.reduce(log_density))


def _odds(groups: _Data, mu: Floats, shape: Floats) -> Floats:
    """Return how much likelier the counts are of a CAR T cell: groups x pairs of mu and shape."""
    log_odds = groups.log_car(mu, shape) - groups.log_null()[:, None]
    return np.asarray(np.exp(np.minimum(log_odds, 500.0)))


def _log_likelihood(
    groups: _Data, size: Floats, mu: Floats, shape: Floats, fraction: Floats
) -> Floats:
    """Return the log-likelihood of cells, relative to none being a CAR T cell: pairs of mu and shape x fractions."""
    total = np.zeros((len(mu), len(fraction)))
    for first in range(0, len(size), _CHUNK):
        part = slice(first, first + _CHUNK)
        odds = _odds(groups.take(part), mu, shape)
        for own, n_cells in zip(odds, size[part], strict=True):
            total += n_cells * np.log1p(fraction * (own[:, None] - 1))
    return total


def _terms(groups: _Data, weight: Floats) -> _Terms:
    """Return the posterior's terms for cells of each group, averaged over what the other cells leave possible."""
    of_pair = weight.sum(axis=1)
    pairs = of_pair >= 1e-4 * of_pair.max()
    weight = weight[pairs]
    odds, log_null = _odds(groups, _MU_OF[pairs], _SHAPE_OF[pairs]), groups.log_null()
    prior, ratio = np.empty(len(odds)), np.empty(len(odds))
    for i, own in enumerate(odds):
        # Without the cell itself, which would else count twice.
        rest = weight / (1 + _PI * (own[:, None] - 1))
        with_car = rest @ _PI
        prior[i] = with_car.sum() / rest.sum()
        ratio[i] = with_car @ own / with_car.sum()
    return _Terms(prior, log_null + np.log(ratio), log_null)


def _profile(
    data: _Data, points: Floats, chosen: npt.NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Return estimate and 95 % interval of the CAR T fraction of chosen cells of one sample.

    The posterior on a grid, averaged over the sample's plausible mu and shape; equal-tailed,
    but reaching 0 when no cell shows the CAR. The estimate is its mode.
    """
    if not chosen.any():
        return float("nan"), float("nan"), float("nan")
    cells = data.take(chosen)
    return _ends(*_posterior(cells, points), silent=not (cells.k > 0).any())


#: Grid of CAR T fractions on which estimates and intervals are read.
_FRACTIONS = (np.arange(400) + 0.5) / 400


def _posterior(cells: _Data, points: Floats) -> tuple[Floats, Floats]:
    """Return posterior and log likelihood of the CAR T fraction on ``_FRACTIONS``, averaged over the points."""
    groups, size, _ = cells.groups()
    likelihood = _log_likelihood(groups, size, points[:, 0], points[:, 1], _FRACTIONS)
    log_posterior = likelihood + _log_prior(_FRACTIONS)
    share = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
    posterior = points[:, 2] @ (share / share.sum(axis=1, keepdims=True))
    return posterior, np.logaddexp.reduce(likelihood + np.log(points[:, [2]]), axis=0)


def _ends(posterior: Floats, log_likelihood: Floats, *, silent: bool) -> tuple[float, float, float]:
    """Return the mode of the likelihood and the interval of the posterior; from 0 where no cell shows the CAR."""
    cumulative = np.cumsum(posterior)
    low, high = (float(x) for x in np.interp([0.025, 0.975], cumulative, _FRACTIONS))
    if silent:
        low, high = 0.0, float(np.interp(0.95, cumulative, _FRACTIONS))
    estimate = float(_FRACTIONS[np.argmax(log_likelihood)])
    return (0.0 if estimate <= _FRACTIONS[0] else estimate), low, high


def _limit(n_t: int, sensitivities: list[tuple[float, float]]) -> float:
    """Return the smallest CAR T fraction at which no positive call has a probability of 5 % or less.

    Parameters
    ----------
    n_t
        T cells.
    sensitivities
        (sensitivity, weight) under each plausible mu and shape.
    """

    def silent(fraction: float) -> float:
        return sum(w * (1 - fraction * s) ** n_t for s, w in sensitivities) - 0.05

    if n_t == 0 or silent(1.0) > 0:
        return 1.0
    return float(optimize.brentq(silent, 0.0, 1.0))


def call_cells(
    adata: AnnData,
    molecules: Mapping[str, pd.DataFrame] | None,
    samples: pd.DataFrame,
    *,
    car: str,
    fdr: float = 0.05,
) -> pd.DataFrame:
    """Call CAR T cells in a cohort and give each sample its verdict.

    Parameters
    ----------
    adata
        Cells x genes; ``obs`` needs ``sample``, ``barcode``, ``total_umis``, ``lineage``, ``is_doublet`` and, where
        known, ``contamination`` (share of ambient molecules in the cell, 0-1; 0.05 where absent). Gains the
        ``car_*`` columns of :data:`carseq.schema.obs.OBS`.
    molecules
        Schema ``MOLECULES``, by sample; samples absent from it take the matrix's counts of the CAR.
    samples
        One row a sample: ``sample``, ``ambient_umis`` and ``ambient_car`` (molecules and CAR molecules in its empty
        droplets), and ``patient``, ``compartment``, ``timepoint``, ``role``, which go into the result; optional
        ``car_unseen``, the share (0-1) of CAR molecules its construct cannot show.
    car
        Name of the CAR in ``var_names``.
    fdr
        Expected share of false calls among the positive ones of a sample.

    Returns
    -------
    pandas.DataFrame
        Schema ``DETECTION``, one row a sample.

    Raises
    ------
    CarseqError
        If a needed column is missing.
    """
    obs = adata.obs
    missing = [
        c for c in ("sample", "barcode", "total_umis", "lineage", "is_doublet") if c not in obs
    ]
    if missing:
        raise CarseqError(
            f"cells lack {', '.join(missing)}",
            f"obs has {', '.join(obs.columns)}",
            "run the cells room first",
        )
    names = list(dict.fromkeys(samples["sample"].astype(str)))
    _add_counts(adata, molecules, car)
    by_sample = samples.assign(sample=samples["sample"].astype(str)).set_index("sample")
    strangers = sorted(set(obs["sample"].astype(str)) - set(names))
    if strangers:
        raise CarseqError(
            f"cells of sample {strangers[0]} are not in the samples table",
            f"it has {', '.join(names[:8])}",
            "give every sample of the cells a row",
        )
    umis = obs["sample"].astype(str).map(by_sample["ambient_umis"]).to_numpy(float)
    in_empty = obs["sample"].astype(str).map(by_sample["ambient_car"]).to_numpy(float)
    contamination = (
        obs["contamination"].to_numpy(float) if "contamination" in obs else np.full(len(obs), 0.05)
    )
    total = obs["total_umis"].to_numpy(float)
    # Share of the CAR in the ambient RNA: gamma posterior from the empty droplets, Jeffreys prior.
    share = (in_empty + 0.5) / np.maximum(umis, 1000.0)
    expected = contamination * total * share
    is_t = is_single_t(obs).to_numpy()
    roles = by_sample["role"] if "role" in by_sample else pd.Series(dtype=str)
    background, stray_shape = _strays(obs, expected, roles)
    shape = _joint_shape(
        expected, 1 / (1 / (in_empty + 0.5) + 1 / DROPLET_SHAPE), background, stray_shape
    )
    obs["car_expected_ambient"] = expected
    obs["car_expected_background"] = background
    obs["car_null_shape"] = shape
    codes = pd.Categorical(obs["sample"].astype(str), categories=names).codes
    t_samples = sorted(set(codes[is_t].tolist()))
    recode = {old: new for new, old in enumerate(t_samples)}
    data = _Data(
        k=obs["car_umis"].to_numpy(float)[is_t],
        n=total[is_t],
        null=(expected + background)[is_t],
        null_shape=shape[is_t],
        code=np.array([recode[c] for c in codes[is_t]], dtype=np.intp),
        samples=[names[c] for c in t_samples],
    )
    model, terms = _fit(data)
    if len(data.k):
        log.info(
            "CAR T cells hold %.2g CAR molecules per 10,000 (shape %.2g)",
            model.mu * 1e4,
            model.shape,
        )
    posterior = terms.posterior()
    p_ambient = _nb_sf(data.k, data.null, data.null_shape)
    call = np.where(data.k > 0, "uncertain", "negative").astype(object)
    cutoff = dict.fromkeys(data.samples, fdr)
    for code, sample in enumerate(data.samples):
        own = np.flatnonzero((data.code == code) & (data.k > 0))
        chosen, cutoff[sample] = choose(posterior[own], p_ambient[own], fdr)
        call[own[chosen]] = "positive"
    _write_calls(adata, is_t, terms, call)
    rows = [
        _verdict(adata, by_sample.loc[name], data, model, is_t, cutoff.get(name, fdr))
        for name in names
    ]
    table = pd.DataFrame(rows, columns=list(DETECTION.columns))
    adata.uns["car_model"] = {
        "mu": model.mu,
        "shape": model.shape,
        "samples": np.array(data.samples, dtype=object),
        "prevalence": np.array([model.prevalence[s] for s in data.samples]),
        # Number of the sample, mu, shape, weight, CAR T fraction.
        "points": np.concatenate(
            [np.zeros((0, 5))]
            + [np.insert(model.points[s], 0, i, axis=1) for i, s in enumerate(data.samples)]
        ),
        "unseen": np.array([float(by_sample.loc[s].get("car_unseen", 0.0)) for s in data.samples]),
        # Log likelihood of each mu and shape of the grid: samples x mu x shape.
        "evidence": np.array([model.evidence[s] for s in data.samples]).reshape(
            -1, len(_MU), len(_SHAPE)
        ),
        "fdr": fdr,
        "car": car,
    }
    return DETECTION.conform(table)


def choose(posterior: Floats, p_ambient: Floats, fdr: float) -> tuple[npt.NDArray[np.intp], float]:
    """Choose the cells of one sample to call positive.

    The largest set whose expected share of false calls is within ``fdr``, of cells that are more likely CAR T cells
    than not and that ambient RNA explains with a probability of ``MAX_AMBIENT_P`` at most.

    Parameters
    ----------
    posterior, p_ambient
        Of the sample's T cells with a CAR molecule: the probability of a CAR T cell, and that of so many molecules
        from false ones alone.
    fdr
        Expected share of false calls.

    Returns
    -------
    chosen : numpy.ndarray
        Positions of the positive cells.
    cutoff : float
        The least probability of being no CAR T cell that is still called.
    """
    eligible = np.flatnonzero(p_ambient <= MAX_AMBIENT_P)
    eligible = eligible[np.argsort(-posterior[eligible], kind="stable")]
    risk = np.cumsum(1 - posterior[eligible]) / np.arange(1, len(eligible) + 1)
    positive = eligible[: int((risk <= fdr).sum())]
    positive = positive[posterior[positive] > 0.5]
    return positive, max(fdr, float((1 - posterior[positive]).max(initial=0.0)))


def fraction_of(adata: AnnData, cells: pd.Index) -> tuple[float, float, float]:
    """Return the dropout-corrected CAR T fraction of T cells, with its 95 % interval.

    Parameters
    ----------
    adata
        Cohort after :func:`call_cells`.
    cells
        Index of the T cells in question. Those of several samples are taken to share one fraction, each sample
        with what its CAR T cells express.

    Returns
    -------
    tuple of float
        Estimate, lower and upper end; NaN for no cells.
    """
    if not len(cells):
        return float("nan"), float("nan"), float("nan")
    own = adata.obs.loc[cells]
    log_prior = _log_prior(_FRACTIONS)
    log_posterior, log_likelihood = log_prior, np.zeros(len(_FRACTIONS))
    for sample, part in own.groupby(own["sample"].astype(str)):
        points = _points_of(adata.uns["car_model"], str(sample))
        posterior, likelihood = _posterior(_Data.of(part), points)
        log_posterior = log_posterior + np.log(np.maximum(posterior, 1e-300)) - log_prior
        log_likelihood = log_likelihood + likelihood
    posterior = np.exp(log_posterior - log_posterior.max())
    silent = not (own["car_umis"] > 0).any()
    return _ends(posterior / posterior.sum(), log_likelihood, silent=silent)


def draw_fraction(
    adata: AnnData, cells: pd.Index, n: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw the dropout-corrected CAR T fraction of T cells of one sample from its posterior.

    Parameters
    ----------
    adata
        Cohort after :func:`call_cells`.
    cells
        Index of the T cells in question, at least one.
    n
        Number of draws.
    rng
        Source of randomness.
    """
    own = adata.obs.loc[cells]
    points = _points_of(adata.uns["car_model"], str(own["sample"].iloc[0]))
    posterior, _ = _posterior(_Data.of(own), points)
    chosen = rng.choice(_FRACTIONS, n, p=posterior / posterior.sum())
    return chosen + (rng.random(n) - 0.5) / len(_FRACTIONS)


def _points_of(fitted: Mapping[str, Any], sample: str) -> Floats:
    """Return the points (:class:`Model`) of a sample, from ``uns["car_model"]``."""
    number = [str(s) for s in fitted["samples"]].index(sample)
    points = np.asarray(fitted["points"])
    return points[points[:, 0] == number, 1:]


def explain_posterior(adata: AnnData, index: str) -> pd.DataFrame:
    """Return what the posterior of one T cell is made of.

    Parameters
    ----------
    adata
        Cohort after :func:`call_cells`.
    index
        Name of the cell, ``sample:barcode``.

    Returns
    -------
    pandas.DataFrame
        ``term``, ``value``, ``meaning``; the three terms of the posterior first, the posterior made of them last.

    Raises
    ------
    CarseqError
        If there is no such cell, or it is no T cell, which has no posterior.
    """
    if index not in adata.obs_names:
        raise CarseqError(
            f"there is no cell {index}", "it is not in the cohort", "give sample:barcode"
        )
    cell = adata.obs.loc[index]
    if not np.isfinite(cell["car_prior"]):
        raise CarseqError(
            f"the posterior of {index} has no terms",
            f"only T cells that are no doublets have: {cell['car_reason']}",
        )
    points = _points_of(adata.uns["car_model"], str(cell["sample"]))
    mu = float(np.exp(points[:, 2] @ np.log(points[:, 0])))
    prior, log_car, log_null = (
        float(cell[c]) for c in ("car_prior", "car_log_own", "car_log_ambient")
    )
    terms = _Terms(*(np.array([x]) for x in (prior, log_car, log_null)))
    rows = [
        ("log likelihood, own and ambient", log_car, "natural log of the chance of this count in a CAR T cell"),
        ("log likelihood, ambient alone", log_null, "natural log of the chance of this count in another T cell"),
        ("prior", prior, "CAR T fraction of the sample's T cells, by all cells but this one"),
        ("CAR molecules", float(cell["car_umis"]), "seen in the cell"),
        ("expected own", mu * float(cell["total_umis"]), "CAR molecules a CAR T cell of this depth would show"),
        ("expected ambient", float(cell["car_expected_ambient"]), "CAR molecules from ambient RNA"),
        ("expected background", float(cell["car_expected_background"]), "CAR molecules from chimeras and swaps"),
        ("posterior", float(terms.posterior()[0]), "prior x own / (prior x own + (1 - prior) x ambient alone)"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["term", "value", "meaning"])


def _strays(obs: pd.DataFrame, expected: Floats, roles: pd.Series) -> tuple[Floats, Floats]:
    """Return the CAR molecules expected in each cell beyond the estimated ambient RNA, and the estimate's shape.

    They come from chimeras, swaps and ambient RNA that was estimated too low, in proportion to a cell's molecules.
    Witnesses are a sample's cells that cannot be CAR T cells by their lineage, with at most two molecules counted
    of each (unseen doublets hold more), and the T cells of a negative control with one molecule at most. Where they
    are few, the rate is ``PRIOR_STRAY`` of the cohort's CAR share. A control's T cells are believed up to
    ``MAX_STRAY`` of that share, so that a control full of CAR T cells cannot hush itself.
    """
    total, k = obs["total_umis"].to_numpy(float), obs["car_umis"].to_numpy(float)
    sample, lineage = obs["sample"].astype(str).to_numpy(), obs["lineage"].astype(str).to_numpy()
    single = ~obs["is_doublet"].to_numpy(bool)
    sums = pd.DataFrame({"k": k, "n": total}).groupby(sample).sum()
    share = float((sums["k"] / sums["n"].clip(lower=1)).mean()) if len(sums) else 0.0
    prior = max(PRIOR_STRAY * share, 1e-12)
    other = single & ~np.isin(lineage, [*KIN_OF_T, "unknown"])
    rate, shape = np.full(len(obs), prior), np.full(len(obs), STRAY_SHAPE)
    for name in sums.index:
        own = sample == name
        witness = own & other
        excess = max(float(np.minimum(k, 2)[witness].sum() - expected[witness].sum()), 0.0)
        molecules = total[witness].sum()
        estimate = (STRAY_SHAPE + excess) / (STRAY_SHAPE / prior + molecules)
        weight = STRAY_SHAPE + excess
        if roles.get(name) == "negative_control":
            quiet = own & single & (lineage == T_LINEAGE) & (k <= 1)
            more = max(float((k - expected)[quiet].sum()), 0.0)
            both = (weight + more) / (STRAY_SHAPE / prior + molecules + total[quiet].sum())
            estimate, weight = max(estimate, min(both, MAX_STRAY * share)), weight + more
        rate[own], shape[own] = estimate, weight
    return rate * total, shape


def _add_counts(adata: AnnData, molecules: Mapping[str, pd.DataFrame] | None, car: str) -> None:
    """Write ``car_umis`` and ``car_umis_unique``, from molecules or else from the matrix."""
    obs = adata.obs
    matrix = adata.layers.get("counts", adata.X)
    if car in adata.var_names:
        column = matrix[:, adata.var_names.get_loc(car)]
        counts = (
            np.asarray(column.todense()).ravel()
            if hasattr(column, "todense")
            else np.asarray(column).ravel()
        )
    else:
        counts = np.zeros(adata.n_obs)
    car_umis, unique = counts.astype(int), counts.astype(int)
    for sample, table in (molecules or {}).items():
        rows = np.flatnonzero((obs["sample"] == sample).to_numpy())
        found = count_car(table, pd.Index(obs["barcode"].iloc[rows].astype(str)))
        car_umis[rows] = found["car_umis"].to_numpy()
        unique[rows] = found["car_umis_unique"].to_numpy()
    obs["car_umis"], obs["car_umis_unique"] = car_umis, unique


def _write_calls(
    adata: AnnData, is_t: npt.NDArray[np.bool_], terms: _Terms, call: npt.NDArray[np.object_]
) -> None:
    """Write posterior, its terms, call and reason of every cell."""
    obs = adata.obs
    n = len(obs)
    for name, values, elsewhere in (
        ("car_prior", terms.prior, np.nan),
        ("car_log_own", terms.log_car, np.nan),
        ("car_log_ambient", terms.log_null, np.nan),
        ("car_posterior", terms.posterior(), 0.0),
    ):
        column = np.full(n, elsewhere)
        column[is_t] = values
        obs[name] = column
    calls = np.full(n, "negative", dtype=object)
    calls[is_t] = call
    k, expected = obs["car_umis"].to_numpy(), obs["car_expected_ambient"].to_numpy(float)
    doublet = obs["is_doublet"].to_numpy(bool)
    lineage = obs["lineage"].astype(str).to_numpy()
    reasons = []
    for i in range(n):
        seen = f"{k[i]} CAR molecule{'s' if k[i] != 1 else ''}, {expected[i]:.2g} expected from ambient RNA"
        if k[i] == 0:
            reasons.append(
                "no CAR molecule seen"
                + ("; may still be a CAR T cell (dropout)" if is_t[i] else "")
            )
        elif is_t[i]:
            reasons.append(f"T cell; {seen}")
        elif doublet[i]:
            calls[i] = "uncertain" if lineage[i] in (T_LINEAGE, "unknown") else "negative"
            reasons.append(f"doublet; {seen}")
        elif lineage[i] == "unknown":
            calls[i] = "uncertain"
            reasons.append(f"cell of unknown type; {seen}")
        else:
            likely = (
                _nb_sf(np.array([k[i]], float), np.array([expected[i]]), 1.0)[0] > MAX_STRANGE_P
            )
            why = "explained by ambient RNA" if likely else UNEXPLAINED
            reasons.append(f"not a T cell ({lineage[i]}); {seen}; {why}")
    obs["car_call"] = calls.astype(str)
    obs["car_reason"] = reasons


def _verdict(
    adata: AnnData,
    meta: pd.Series,
    data: _Data,
    model: Model,
    is_t: npt.NDArray[np.bool_],
    cutoff: float,
) -> dict[str, object]:
    """Return the detection row of a sample."""
    obs, sample = adata.obs, str(meta.name)
    own = (obs["sample"] == sample).to_numpy()
    # T cells of this sample, as rows of `data`.
    chosen = own[is_t]
    n_t = int(chosen.sum())
    unseen = float(meta.get("car_unseen", 0.0))
    positive = own & is_t & (obs["car_call"] == "positive").to_numpy()
    n_positive = int(positive.sum())
    points = model.points.get(sample, np.zeros((0, 4)))
    sensitivities = _sensitivity(data, points, chosen, cutoff)
    sensitivity = sum(s * w for s, w in sensitivities)
    limit = _limit(n_t, sensitivities)
    estimate, low, high = _profile(data, points, chosen)
    if n_t and not n_positive:
        # One upper bound for one question: what silence excludes.
        low, high = 0.0, max(high, limit)
    false_calls = float((1 - obs["car_posterior"].to_numpy(float)[positive]).sum())
    verdict, reason = decide(n_positive, n_t, unseen, limit, false_calls)
    return {
        "sample": sample,
        **{key: str(meta[key]) if key in meta else "" for key in ("patient", "compartment", "timepoint", "role")},
        "n_cells": int(own.sum()),
        "n_t_cells": n_t,
        "n_car_positive": n_positive,
        "verdict": verdict,
        "prevalence": estimate,
        "prevalence_low": low,
        "prevalence_high": high,
        "detection_limit": limit,
        "sensitivity": sensitivity if n_t else float("nan"),
        "expected_false_calls": false_calls,
        "reason": reason,
        "n_t_at_least_1_umi": int((data.k[chosen] >= 1).sum()),
        "n_t_at_least_2_umis": int((data.k[chosen] >= 2).sum()),
    }  # fmt: skip


def decide(
    n_positive: int, n_t: int, unseen: float, limit: float, false_calls: float
) -> tuple[str, str]:
    """Return the verdict of a sample and its reason.

    Parameters
    ----------
    n_positive, n_t
        Positive calls, and T cells.
    unseen
        Share (0-1) of CAR molecules that the construct cannot show.
    limit
        Detection limit (0-1).
    false_calls
        Expected false calls among the positive ones.
    """
    if n_positive:
        reason = f"{n_positive} of {n_t} T cells called positive, {false_calls:.2g} of them expected to be false"
        return "detected", reason
    if n_t == 0:
        return "undetermined", "no T cells in this sample"
    if unseen >= MAX_UNSEEN:
        reason = f"no positive call among {n_t} T cells, but {unseen:.0%} of the CAR's molecules could not be seen "
        return "undetermined", f"{reason}with this construct: give the whole transcript"
    if limit > UNDETERMINED_ABOVE:
        reason = f"only {n_t} T cell{'s' if n_t != 1 else ''}: "
        reason += f"even a CAR T fraction of {UNDETERMINED_ABOVE:.0%} could not be excluded"
        return "undetermined", reason
    reason = f"no positive call among {n_t} T cells; "
    reason += f"CAR T cells above {limit:.1%} of T cells are excluded with 95 % confidence"
    return f"not detected above {limit:.2g}", reason


def _sensitivity(
    data: _Data, points: Floats, chosen: npt.NDArray[np.bool_], cutoff: float
) -> list[tuple[float, float]]:
    """Return the mean probability that a CAR T cell like these T cells would be called positive.

    For each group of like cells, the fewest CAR molecules that would be called are sought, and their tail probability
    taken under each plausible mu and shape: (sensitivity, weight).
    """
    if not chosen.any():
        return [(0.0, 1.0)]
    cells = data.take(chosen)
    groups, size, _ = replace(cells, k=np.zeros(len(cells.k))).groups()
    mu, shape, weight, _ = points.T
    needed = _needed(groups, points, cutoff)
    can = np.isfinite(needed)
    of_car = groups.take(can).of_car(mu, shape)
    called = size[can] @ _nb_sf(needed[can, None], *of_car) / size.sum()
    return [(float(s), float(w)) for s, w in zip(called, weight, strict=True)]


def _needed(cells: _Data, points: Floats, cutoff: float) -> Floats:
    """Return the fewest CAR molecules with which each cell would be called positive; infinite if 29 do not do."""
    mu, shape, weight, fraction = points.T
    needed = np.full(len(cells.n), np.inf)
    for k in range(1, 30):
        counts = np.full(len(cells.n), float(k))
        own = np.exp(cells.log_car(mu, shape, counts)) @ (weight * fraction)
        rest = np.exp(cells.log_null(counts)) * (weight @ (1 - fraction))
        enough = rest <= cutoff * (own + rest)
        enough &= _nb_sf(counts, cells.null, cells.null_shape) <= MAX_AMBIENT_P
        needed = np.where(np.isinf(needed) & enough, k, needed)
    return needed


def cell_losses(
    losses: pd.DataFrame,
    molecules: pd.DataFrame,
    calls: pd.DataFrame,
    obs: pd.DataFrame,
    *,
    swapped: int = 0,
) -> pd.DataFrame:
    """Carry the read accounting of one sample on to the calls.

    Parameters
    ----------
    losses
        Schema ``LOSSES``, as made with the molecules.
    molecules
        CAR molecules of the sample, without swapped ones.
    calls
        Barcode calls of the sample: index barcode, ``is_cell``.
    obs
        ``obs`` of the cells kept of the sample.
    swapped
        Molecules that :func:`drop_swapped` dropped.

    Returns
    -------
    pandas.DataFrame
        Schema ``LOSSES`` with the molecules' ways: swapped from another library, uncertain origin,
        droplet not called, filtered cell, doublet, other lineage, T cell; and among T cells by call.
    """
    kept = obs.set_index("barcode")
    own = molecules[molecules["p_car"] >= MIN_P_CAR]
    called = own["barcode"].isin(calls.index[calls["is_cell"].astype(bool)])
    in_kept = own["barcode"].isin(kept.index)
    lineage = own["barcode"].map(kept["lineage"].astype(str))
    doublet = own["barcode"].map(kept["is_doublet"]).eq(True)
    call = own["barcode"].map(kept["car_call"].astype(str))
    t_cell = in_kept & ~doublet & lineage.eq(T_LINEAGE)
    rows = [
        ("swapped_from_another_library", swapped, "with the same barcode and UMI in another library of the run"),
        ("more_likely_endogenous", len(molecules) - len(own), "shared molecules more likely endogenous than CAR"),
        ("droplet_not_called", int((~called).sum()), "in droplets not called a cell (mostly ambient RNA)"),
        ("filtered_cell", int((called & ~in_kept).sum()), "in cells removed by quality filters"),
        ("doublet", int((in_kept & doublet).sum()), "in doublets"),
        ("other_lineage", int((in_kept & ~doublet & ~lineage.eq(T_LINEAGE)).sum()), "in cells that are no T cells"),
        ("t_cell_uncertain", int((t_cell & call.ne("positive")).sum()), "in T cells not called positive"),
        ("t_cell_positive", int((t_cell & call.eq("positive")).sum()), "in T cells called positive"),
    ]  # fmt: skip
    more = pd.DataFrame(rows, columns=["step", "n", "meaning"])
    more["unit"] = "molecules"
    more["sample"] = losses["sample"].iloc[0]
    return LOSSES.conform(pd.concat([losses, more], ignore_index=True))

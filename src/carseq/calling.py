"""calling: from CAR molecules to CAR T cells, with a probability for each and a verdict for each sample.

The model, for T cells. A cell with N molecules that is no CAR T cell shows CAR molecules from ambient RNA
alone: contamination x N x the sample's ambient CAR share, whose uncertainty (few CAR molecules in the empty
droplets) makes the count negative binomial. A CAR T cell adds its own: negative binomial with mean mu x N and
shape r, both shared by the cohort, with a weak prior from published libraries. A sample's CAR T fraction is
its own. ``positive`` cells are the largest set whose expected share of false calls is within ``fdr``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from carseq.errors import CarseqError
from carseq.log import get_logger
from carseq.tables import DETECTION, LOSSES

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
#: An ambient explanation must be this improbable for a positive call, whatever the prior says.
MAX_AMBIENT_P = 0.05
#: A sample in which no more than this CAR T fraction could be excluded is undetermined, not negative.
UNDETERMINED_ABOVE = 0.5
#: From this share of molecules that the construct cannot show (an ORF alone, a part), silence means nothing.
MAX_UNSEEN = 0.5
#: Share of the reads of all copies of a molecule that its own library must hold (Griffiths et al. 2018).
MIN_SWAP_SHARE = 0.8
#: T cells of a sample that weigh the plausible expression levels, at most.
MAX_WEIGHED = 3000
T_LINEAGE = "T"
UNEXPLAINED = "more than ambient RNA explains: unseen doublet or engulfed T cell"


@dataclass(frozen=True)
class Model:
    """Fitted parameters: ``mu`` (CAR molecules per molecule of a CAR T cell), ``shape``, CAR T fraction by sample.

    ``points`` are further values of (mu, shape) with their posterior weights: intervals and limits are averaged
    over them, since few CAR T cells say little of how much CAR they express.
    """

    mu: float
    shape: float
    prevalence: dict[str, float]
    points: tuple[tuple[float, float, float], ...] = ()

    def plausible(self) -> tuple[tuple[float, float, float], ...]:
        """Return values of (mu, shape) the cohort allows, each with its posterior weight (they sum to 1)."""
        return self.points or ((self.mu, self.shape, 1.0),)


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


def match_barcodes(
    molecules: pd.DataFrame, barcodes: pd.Index, *, strict: bool = True
) -> pd.DataFrame:
    """Write the molecules' barcodes as the matrix writes them: with Cell Ranger's ``-1`` or without.

    Parameters
    ----------
    molecules
        Molecules of one sample.
    barcodes
        Barcodes of its matrix.
    strict
        Whether to raise where nothing matches.

    Raises
    ------
    CarseqError
        If, whatever the suffix, none of ten or more barcodes with a molecule is in the matrix.
    """
    if molecules.empty or molecules["barcode"].isin(barcodes).any():
        return molecules
    bare = {str(b).rsplit("-", 1)[0]: str(b) for b in barcodes}
    written = molecules["barcode"].str.rsplit("-", n=1).str[0].map(bare)
    if written.notna().any():
        return molecules.assign(barcode=written.fillna(molecules["barcode"]))
    if strict and molecules["barcode"].nunique() >= 10:
        raise CarseqError(
            f"the molecules and the matrix of sample {molecules['sample'].iloc[0]} share no barcode",
            f"molecules have {molecules['barcode'].iloc[0]}, the matrix has {next(iter(barcodes), 'none')}",
            "give the matrix that was made with this BAM",
        )
    return molecules


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
        here = copies.groupby(["barcode", "umi", "owner"])["n_reads"].transform("sum").to_numpy(float)
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
    """T cells of the cohort: CAR counts, molecules, ambient expectation, ambient shape, sample code."""

    k: Floats
    n: Floats
    ambient: Floats
    ambient_shape: Floats
    code: npt.NDArray[np.intp]
    samples: list[str]

    def log_null(self, k: Floats | None = None) -> Floats:
        return _nb_logpmf(self.k if k is None else k, self.ambient, self.ambient_shape)

    def log_car(self, mu: float, shape: float, k: Floats | None = None) -> Floats:
        return _nb_logpmf(self.k if k is None else k, mu * self.n + self.ambient, shape)


def _fit(data: _Data) -> Model:
    """Maximise the posterior of mu, shape and the samples' CAR T fractions (L-BFGS)."""
    n_samples = len(data.samples)
    log_null = data.log_null()

    def loss(theta: Floats) -> float:
        mu, shape = np.exp(theta[0]), np.exp(theta[1])
        log_pi = -np.logaddexp(0, -theta[2:])[data.code]
        log_rest = -np.logaddexp(0, theta[2:])[data.code]
        likelihood = np.logaddexp(log_pi + data.log_car(mu, shape), log_rest + log_null).sum()
        prior = float(stats.norm.logpdf(theta[0], np.log(PRIOR_MU), PRIOR_MU_SD))
        prior += float(stats.norm.logpdf(theta[1], np.log(PRIOR_SHAPE), PRIOR_SHAPE_SD))
        # Jeffreys-like Beta(0.5, 1) on the fraction, on the logit scale: keeps an empty sample near zero.
        prior += float((-0.5 * np.logaddexp(0, -theta[2:]) - np.logaddexp(0, theta[2:])).sum())
        return -float(likelihood + prior)

    start = np.concatenate([[np.log(PRIOR_MU), np.log(PRIOR_SHAPE)], np.full(n_samples, -1.0)])
    bounds = [(np.log(1e-6), np.log(0.2)), (np.log(0.1), np.log(50.0)), *[(-9.0, 9.0)] * n_samples]
    fitted = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    mu, shape = np.exp(fitted.x[:2])
    prevalence = 1 / (1 + np.exp(-fitted.x[2:]))
    by_sample = {s: float(p) for s, p in zip(data.samples, prevalence, strict=True)}
    return Model(float(mu), float(shape), by_sample, _weigh(data))


def _weigh(data: _Data) -> tuple[tuple[float, float, float], ...]:
    """Return plausible (mu, shape, weight), by the cohort's likelihood with the CAR T fractions integrated out.

    A coarse grid over the prior finds where the posterior lies, a second one is laid over that place. At most
    ``MAX_WEIGHED`` T cells of a sample are used, evenly thinned: fewer cells only widen the intervals.
    """
    rows = np.concatenate(
        [
            np.flatnonzero(data.code == c)[
                :: max(1, int(np.ceil((data.code == c).sum() / MAX_WEIGHED)))
            ]
            for c in range(len(data.samples))
        ]
    )
    k, n, ambient, code = data.k[rows], data.n[rows], data.ambient[rows], data.code[rows]
    log_null = _nb_logpmf(k, ambient, data.ambient_shape[rows])
    pi = (np.arange(60) + 0.5) / 60
    log_jeffreys = -0.5 * np.log(pi) - 0.5 * np.log1p(-pi)

    def marginal(log_mu: float, log_shape: float) -> float:
        log_car = _nb_logpmf(k, np.exp(log_mu) * n + ambient, float(np.exp(log_shape)))
        mixed = np.logaddexp(np.log(pi)[:, None] + log_car, np.log1p(-pi)[:, None] + log_null)
        total = float(stats.norm.logpdf(log_mu, np.log(PRIOR_MU), PRIOR_MU_SD))
        total += float(stats.norm.logpdf(log_shape, np.log(PRIOR_SHAPE), PRIOR_SHAPE_SD))
        for c in range(len(data.samples)):
            total += float(np.logaddexp.reduce(mixed[:, code == c].sum(axis=1) + log_jeffreys))
        return total

    mus = np.linspace(np.log(PRIOR_MU) - 3, np.log(PRIOR_MU) + 3, 21)
    shapes = np.linspace(np.log(PRIOR_SHAPE) - 1.4, np.log(PRIOR_SHAPE) + 1.4, 5)
    for last in (False, True):
        grid = np.array([(m, s) for m in mus for s in shapes])
        log_weight = np.array([marginal(m, s) for m, s in grid])
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        if last:
            break
        centre = weight @ grid
        spread = np.sqrt(weight @ (grid - centre) ** 2).clip([0.15, 0.2], None)
        mus = centre[0] + spread[0] * np.linspace(-2.5, 2.5, 9)
        shapes = centre[1] + spread[1] * np.linspace(-1.5, 1.5, 3)
    kept = weight >= 0.01 * weight.max()
    weight = weight[kept] / weight[kept].sum()
    return tuple(
        (float(np.exp(m)), float(np.exp(s)), float(w))
        for (m, s), w in zip(grid[kept], weight, strict=True)
    )


def _profile(
    data: _Data, model: Model, chosen: npt.NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Return estimate and 95 % interval of the CAR T fraction of chosen cells.

    The posterior under a Jeffreys prior on a grid, averaged over the plausible mu and shape; equal-tailed, but
    reaching 0 when no cell shows the CAR. The estimate is its mode.
    """
    if not chosen.any():
        return float("nan"), float("nan"), float("nan")
    grid = (np.arange(400) + 0.5) / 400
    k, n, ambient = data.k[chosen], data.n[chosen], data.ambient[chosen]
    log_null = _nb_logpmf(k, ambient, data.ambient_shape[chosen])
    log_rest = np.log1p(-grid)[:, None] + log_null
    posterior, likelihood = np.zeros(len(grid)), np.full(len(grid), -np.inf)
    for mu, shape, weight in model.plausible():
        log_car = _nb_logpmf(k, mu * n + ambient, shape)
        own = np.logaddexp(np.log(grid)[:, None] + log_car, log_rest).sum(axis=1)
        likelihood = np.logaddexp(likelihood, own + np.log(weight))
        log_posterior = own - 0.5 * np.log(grid) - 0.5 * np.log1p(-grid)
        share = np.exp(log_posterior - log_posterior.max())
        posterior += weight * share / share.sum()
    cumulative = np.cumsum(posterior)
    low, high = (float(x) for x in np.interp([0.025, 0.975], cumulative, grid))
    if not (k > 0).any():
        low, high = 0.0, float(np.interp(0.95, cumulative, grid))
    estimate = float(grid[np.argmax(likelihood)])
    return (0.0 if estimate <= grid[0] else estimate), low, high


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
        ``car_*`` columns of :data:`carseq.tables.OBS`.
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
    obs["car_expected_ambient"] = expected
    obs["car_ambient_shape"] = in_empty + 0.5
    is_t = ((obs["lineage"] == T_LINEAGE) & ~obs["is_doublet"].astype(bool)).to_numpy()
    codes = pd.Categorical(obs["sample"].astype(str), categories=names).codes
    t_samples = sorted(set(codes[is_t].tolist()))
    recode = {old: new for new, old in enumerate(t_samples)}
    data = _Data(
        k=obs["car_umis"].to_numpy(float)[is_t],
        n=total[is_t],
        ambient=expected[is_t],
        ambient_shape=in_empty[is_t] + 0.5,
        code=np.array([recode[c] for c in codes[is_t]], dtype=np.intp),
        samples=[names[c] for c in t_samples],
    )
    model = _fit(data) if len(data.k) else Model(PRIOR_MU, PRIOR_SHAPE, {})
    log.info(
        "CAR T cells hold %.2g CAR molecules per 10,000 (shape %.2g)", model.mu * 1e4, model.shape
    )
    posterior = _posterior(data, model, data.k)
    p_ambient = _nb_sf(data.k, data.ambient, data.ambient_shape)
    call = np.where(data.k > 0, "uncertain", "negative").astype(object)
    cutoff = dict.fromkeys(data.samples, fdr)
    for code, sample in enumerate(data.samples):
        eligible = np.flatnonzero((data.code == code) & (data.k > 0) & (p_ambient <= MAX_AMBIENT_P))
        eligible = eligible[np.argsort(-posterior[eligible], kind="stable")]
        risk = np.cumsum(1 - posterior[eligible]) / np.arange(1, len(eligible) + 1)
        n_positive = int((risk <= fdr).sum())
        positive = eligible[:n_positive]
        positive = positive[posterior[positive] > 0.5]
        call[positive] = "positive"
        if len(positive):
            cutoff[sample] = max(fdr, float((1 - posterior[positive]).max()))
    _write_calls(adata, is_t, posterior, call)
    rows = [
        _verdict(adata, by_sample.loc[name], data, model, is_t, cutoff.get(name, fdr))
        for name in names
    ]
    table = pd.DataFrame(rows, columns=list(DETECTION.columns))
    adata.uns["car_model"] = {
        "mu": model.mu,
        "shape": model.shape,
        "plausible": np.array(model.plausible()),
        "fdr": fdr,
        "car": car,
    }
    return DETECTION.conform(table)


def fraction_of(adata: AnnData, cells: pd.Index) -> tuple[float, float, float]:
    """Return the dropout-corrected CAR T fraction of T cells, with its 95 % interval.

    Parameters
    ----------
    adata
        Cohort after :func:`call_cells`.
    cells
        Index of the T cells in question.

    Returns
    -------
    tuple of float
        Estimate, lower and upper end; NaN for no cells.
    """
    own = adata.obs.loc[cells]
    fitted = adata.uns["car_model"]
    data = _Data(
        k=own["car_umis"].to_numpy(float),
        n=own["total_umis"].to_numpy(float),
        ambient=own["car_expected_ambient"].to_numpy(float),
        ambient_shape=own["car_ambient_shape"].to_numpy(float),
        code=np.zeros(len(own), dtype=np.intp),
        samples=["cells"],
    )
    points = tuple((float(m), float(s), float(w)) for m, s, w in np.asarray(fitted["plausible"]))
    model = Model(float(fitted["mu"]), float(fitted["shape"]), {}, points)
    return _profile(data, model, np.ones(len(own), dtype=bool))


def _posterior(data: _Data, model: Model, k: Floats) -> Floats:
    """Return the probability of each T cell being a CAR T cell had it shown k CAR molecules."""
    if not len(data.k):
        return np.zeros(0)
    pi = np.array([model.prevalence[s] for s in data.samples])[data.code]
    log_car = np.log(pi) + data.log_car(model.mu, model.shape, k)
    log_null = np.log1p(-pi) + data.log_null(k)
    return np.asarray(np.exp(log_car - np.logaddexp(log_car, log_null)))


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
    adata: AnnData, is_t: npt.NDArray[np.bool_], posterior: Floats, call: npt.NDArray[np.object_]
) -> None:
    """Write posterior, call and reason of every cell."""
    obs = adata.obs
    n = len(obs)
    full_posterior = np.zeros(n)
    full_posterior[is_t] = posterior
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
                _nb_sf(np.array([k[i]], float), np.array([expected[i]]), 1.0)[0] > MAX_AMBIENT_P
            )
            why = "explained by ambient RNA" if likely else UNEXPLAINED
            reasons.append(f"not a T cell ({lineage[i]}); {seen}; {why}")
    obs["car_posterior"] = full_posterior
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
    sensitivities = _sensitivity(data, model, chosen, cutoff)
    sensitivity = sum(s * w for s, w in sensitivities)
    limit = _limit(n_t, sensitivities)
    estimate, low, high = _profile(data, model, chosen)
    if n_t and not n_positive:
        # One upper bound for one question: what silence excludes.
        low, high = 0.0, max(high, limit)
    false_calls = float((1 - obs["car_posterior"].to_numpy(float)[positive]).sum())
    if n_positive:
        verdict = "detected"
        reason = f"{n_positive} of {n_t} T cells called positive, {false_calls:.2g} of them expected to be false"
    elif n_t == 0:
        verdict, reason = "undetermined", "no T cells in this sample"
    elif unseen >= MAX_UNSEEN:
        verdict = "undetermined"
        reason = f"no positive call among {n_t} T cells, but {unseen:.0%} of the CAR's molecules could not be seen "
        reason += "with this construct: give the whole transcript"
    elif limit > UNDETERMINED_ABOVE:
        verdict = "undetermined"
        reason = f"only {n_t} T cell{'s' if n_t != 1 else ''}: "
        reason += f"even a CAR T fraction of {UNDETERMINED_ABOVE:.0%} could not be excluded"
    else:
        verdict = f"not detected above {limit:.2g}"
        reason = f"no positive call among {n_t} T cells; "
        reason += f"CAR T cells above {limit:.1%} of T cells are excluded with 95 % confidence"
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
    }  # fmt: skip


def _sensitivity(
    data: _Data, model: Model, chosen: npt.NDArray[np.bool_], cutoff: float
) -> list[tuple[float, float]]:
    """Return the mean probability that a CAR T cell like these T cells would be called positive.

    For each cell, the fewest CAR molecules that would be called are sought, and their tail probability taken under
    each plausible mu and shape: (sensitivity, weight).
    """
    if not chosen.any():
        return [(0.0, 1.0)]
    needed = np.full(len(data.k), np.inf)
    for k in range(1, 30):
        counts = np.full(len(data.k), float(k))
        enough = 1 - _posterior(data, model, counts) <= cutoff
        enough &= _nb_sf(counts, data.ambient, data.ambient_shape) <= MAX_AMBIENT_P
        needed = np.where(np.isinf(needed) & enough, k, needed)
    callable_ = chosen & np.isfinite(needed)
    n, ambient, least = data.n[callable_], data.ambient[callable_], needed[callable_]
    return [
        (float(_nb_sf(least, mu * n + ambient, shape).sum() / chosen.sum()), weight)
        for mu, shape, weight in model.plausible()
    ]


def cell_losses(
    losses: pd.DataFrame, molecules: pd.DataFrame, calls: pd.DataFrame, obs: pd.DataFrame
) -> pd.DataFrame:
    """Carry the read accounting of one sample on to the calls.

    Parameters
    ----------
    losses
        Schema ``LOSSES``, as made with the molecules.
    molecules
        CAR molecules of the sample.
    calls
        Barcode calls of the sample: index barcode, ``is_cell``.
    obs
        ``obs`` of the cells kept of the sample.

    Returns
    -------
    pandas.DataFrame
        Schema ``LOSSES`` with the molecules' ways: uncertain origin, droplet not called, filtered cell,
        doublet, other lineage, T cell; and among T cells by call.
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

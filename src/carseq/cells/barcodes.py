"""Which barcodes are cells: a Monte Carlo test against ambient RNA on the raw matrix.

The test follows EmptyDrops (Lun 2019, doi:10.1186/s13059-019-1662-y), but assumes no number of
cells: everything is read from the distribution of total UMIs.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import scipy  # scipy.stats is loaded when it is asked for, which takes a second
from scipy import sparse, special

from carseq.cells.counts import column_sums, row_sums
from carseq.errors import CarseqError
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.barcodes")

#: Reason of a droplet that is no cell because the cells were given.
NOT_IN_LIST = "not in the given list"
#: A barcode of fewer UMIs is never tested: its cell type could not be recognized.
MIN_TOTAL = 20
#: A barcode is called on its total alone only from this many UMIs (EmptyDrops' own `lower` is 100).
MIN_OUTRIGHT = 100
#: Expected empty droplets among the barcodes called on their total alone, were the upper half of the empty droplets'
#: totals lognormal: simulated ambient RNA is less skewed, and at most 0.3 % were found (with 0.002, 72 % and not 86 %
#: were called of those above 500 UMIs in a sample of 30 % ambient RNA, with as many empty droplets among them).
OUTRIGHT_FALSE = 0.01
#: A barcode's UMI total is evidence that it is a cell only if fewer than this share of empty droplets reach it.
TELLING_TOTAL = 0.025
#: A matrix with hardly any barcode below this many UMIs was filtered before.
FILTERED = 200
#: In a raw matrix at least this share of the barcodes has less than a tenth of the UMIs of a typical cell (of 10x
#: libraries, nine tenths and more; of cells alone, log totals spread with a standard deviation of 1: 0.1).
LEAST_EMPTY = 0.2
#: The share from which a list of at least so many barcodes is none of cells.
MOSTLY_EMPTY, MIN_BARCODES = 0.5, 100
#: From so many barcodes on they cannot all be cells of one library.
MOST_CELLS = 30_000
#: Index hopping gives thousands of barcodes whose totals peak below this many UMIs.
HOPPED_BELOW = 50
#: Barcodes that are compared with each other to tell empty droplets from cells, at most and at least.
MAX_COMPARED, MIN_COMPARED = 300, 30
#: Longest simulated droplet (UMIs): the test is certain long before.
MAX_SIMULATED = 20_000


def call_barcodes(
    raw: AnnData,
    *,
    fdr: float = 0.01,
    n_simulations: int = 10_000,
    seed: int = 0,
    ambient_max: float | None = None,
    barcodes: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Tell cells from empty droplets.

    Barcodes are called cells when (a) their total lies so far above the empty droplets' totals that
    next to none is expected there, or above the knee of the rank curve, or (b) their counts are not
    a multinomial draw from the ambient profile (Monte Carlo p value, Benjamini-Hochberg over all
    tested barcodes). Above nearly all empty droplets (:data:`TELLING_TOTAL`) that p value and the total's are
    joined by Fisher's method: an empty droplet's profile is independent of its total, and macrophages, whose RNA much
    of the ambient RNA is, differ from it in neither alone. Below the Monte Carlo resolution the tail of p comes from a
    gamma distribution with the simulations' mean, variance and skewness.

    Parameters
    ----------
    raw
        Raw counts (UMIs), n_barcodes × n_genes, every barcode with at least one UMI.
    fdr
        False discovery rate of test (b).
    n_simulations
        Simulated ambient droplets.
    seed
        Seed of the simulations.
    ambient_max
        Barcodes of at most this many UMIs make the ambient profile. None: found from the totals.
    barcodes
        The user's own list of cells: they are taken, nothing is tested.

    Returns
    -------
    pd.DataFrame
        Indexed by barcode: `total_umis`, `n_genes`, `p_empty`, `q_empty` (NaN where not tested),
        `is_cell`, `reason`; `attrs` holds `ambient_max`, `outright`, `knee` (UMIs).

    Raises
    ------
    CarseqError
        If none of the user's barcodes is in the matrix.

    Notes
    -----
    `p_empty` is the profile's alone, uniform in empty droplets. The joined p value is uniform over all empty droplets,
    but small among those taken for their totals, which are the ones tested: `fdr` is then a setting, not a
    guarantee. What it lets through is measured (benchmarks/RESULTS.md: 0.4 % empty droplets among the calls at 0.01).

    Real ambient RNA scatters more than a multinomial, so large debris may be called; quality
    filters catch part of it.
    """
    counts = sparse.csr_matrix(raw.X)
    totals = row_sums(counts)
    table = pd.DataFrame(
        {
            "total_umis": np.rint(totals).astype(np.int64),
            "n_genes": np.asarray(counts.getnnz(axis=1), dtype=np.int64),
            "p_empty": np.nan,
            "q_empty": np.nan,
            "is_cell": False,
            "reason": "as few UMIs as an empty droplet",
        },
        index=pd.Index(raw.obs_names, name="barcode"),
    )

    def like_ambient(left: float, right: float) -> bool:
        within = np.flatnonzero((totals >= left) & (totals <= right))
        return _all_alike(counts[within[:: max(1, len(within) // MAX_COMPARED)]], seed)

    limits = total_limits(totals, ambient_max, like_ambient)
    lower, outright = limits.ambient_max, limits.outright
    table.attrs = {"ambient_max": lower, "outright": outright, "knee": limits.knee}
    if barcodes is not None:
        return _user_calls(table, barcodes)
    if not len(table):
        return table

    kept = totals >= min(outright, MAX_SIMULATED + 1)
    tested = (totals > max(lower, MIN_TOTAL - 1)) & (totals <= MAX_SIMULATED)
    ambient = totals <= lower
    if tested.any() and ambient.any():
        used = np.flatnonzero(column_sums(counts) > 0)
        profile = good_turing(column_sums(counts[ambient])[used])
        rows = np.flatnonzero(tested & ~kept)
        p, q = np.full(len(table), np.nan), np.full(len(table), np.nan)
        if rows.size:
            p[rows] = _p_empty(counts[rows][:, used], profile, n_simulations, seed)
            joined = _joined(p[rows], limits.p_total(totals[rows]))
            q[rows] = scipy.stats.false_discovery_control(joined)
        table["p_empty"], table["q_empty"] = p, q
        differs = q <= fdr
        table.loc[tested, "reason"] = "counts look ambient"
        table.loc[differs, "reason"] = "counts differ from ambient RNA"
        table["is_cell"] = differs
    elif tested.any():
        log.warning(
            "no empty droplets to compare with: every barcode of %d UMIs is kept", MIN_TOTAL
        )
        table.loc[tested, ["is_cell", "reason"]] = [True, "no empty droplets to compare with"]
    table.loc[kept, "is_cell"] = True
    table.loc[kept, "reason"] = "far more UMIs than an empty droplet"
    n = int(table["is_cell"].sum())
    log.info(
        "%d of %d barcodes are cells (%d by their total, from %.0f UMIs; ambient: up to %.0f UMIs)",
        n,
        len(table),
        int(kept.sum()),
        outright,
        lower,
    )
    if n == 0:
        log.warning("no cells: the largest barcode has %d UMIs", int(totals.max(initial=0)))
    return table


def _user_calls(table: pd.DataFrame, barcodes: Iterable[str]) -> pd.DataFrame:
    wanted = pd.Index(dict.fromkeys(str(b) for b in barcodes))
    found = table.index.isin(wanted)
    if len(wanted) and not found.any():
        raise CarseqError(
            "none of the given cell barcodes is in the matrix",
            f"given e.g. {wanted[0]}, matrix e.g. {table.index[0] if len(table) else '(empty)'}",
            "write the barcodes as the matrix does (with or without a suffix such as -1)",
        )
    table["is_cell"] = found
    table["reason"] = np.where(found, "in the given list", NOT_IN_LIST)
    if found.sum() < len(wanted):
        log.warning("%d given barcodes have no UMI in the matrix", len(wanted) - found.sum())
    return table


def _all_alike(counts: sparse.csr_matrix, seed: int) -> bool:
    """Return whether barcodes could be draws from one profile, as empty droplets are and cells are not."""
    counts = counts[:, np.flatnonzero(column_sums(counts) > 0)]
    if counts.shape[0] < MIN_COMPARED:
        return False
    p = _p_empty(counts, good_turing(column_sums(counts)), 1000, seed)
    return bool(np.mean(p > 0.01) > 0.5)


def _joined(p_profile: np.ndarray, p_total: np.ndarray) -> np.ndarray:
    """Join two independent p values by Fisher's method where the second is known."""
    joined = scipy.stats.chi2.sf(-2 * (np.log(p_profile) + np.log(np.maximum(p_total, 1e-300))), 4)
    return np.where(p_total < TELLING_TOTAL, joined, p_profile)


class Limits(NamedTuple):
    """What the totals say, in UMIs; the last two are of the empty droplets' log totals."""

    #: Barcodes up to it make the ambient profile.
    ambient_max: float
    #: Barcodes from it on are cells without a test; inf where the totals do not say.
    outright: float
    #: Knee of the rank curve; inf where there is none.
    knee: float
    #: Median, and standard deviation of their upper half; NaN where there are no empty droplets.
    median: float = float("nan")
    spread: float = float("nan")

    def p_total(self, totals: np.ndarray) -> np.ndarray:
        """Return the share of empty droplets with as many UMIs, were their upper half lognormal; 1 where unknown."""
        share = scipy.stats.norm.sf((np.log(totals) - self.median) / self.spread)
        return np.nan_to_num(share, nan=1.0)


def total_limits(
    totals: np.ndarray,
    ambient_max: float | None = None,
    like_ambient: Callable[[float, float], bool] | None = None,
) -> Limits:
    """Read limits from the total UMIs of all barcodes.

    Parameters
    ----------
    totals
        UMIs a barcode, shape (n_barcodes,).
    ambient_max
        The first limit, where the user gives it.
    like_ambient
        Tells whether the barcodes of a range of totals could be draws from one profile.

    Returns
    -------
    Limits
        As far as the totals tell them.
    """
    totals = totals[totals >= 1]
    filtered = few_are_empty(totals)
    if filtered and like_ambient is not None:
        # Empty droplets of a sample without cells are few sizes, too, but all alike.
        filtered = not like_ambient(1.0, float(np.median(totals)))
    elif filtered:
        filtered = bool(np.quantile(totals, 0.01) >= FILTERED)
    if totals.size < 10 or filtered:
        return Limits(ambient_max or 0.0, float("inf"), float("inf"))
    left, right = _empty_range(totals, like_ambient)
    low = totals[(totals >= left) & (totals <= right)]
    # The tenth above it is tested, so that shallow cells among the empty droplets get a chance.
    lower = float(np.quantile(low, 0.9)) if ambient_max is None else float(ambient_max)
    knee = _knee(totals)
    middle, upper, high = np.quantile(low, [0.5, 0.9, 0.975])
    median = float(np.log(middle))
    # Small cells among the empty droplets widen the higher quantile more.
    estimates = [
        np.log(q / middle) / scipy.stats.norm.ppf(p) for q, p in ((upper, 0.9), (high, 0.975))
    ]
    limits = Limits(lower, float("inf"), knee, median, max(float(min(estimates)), 0.05))
    # Empty droplets expected above a total, were their upper half lognormal, against barcodes there.
    ordered = np.sort(totals[totals > high])
    outright = float("inf")
    if ordered.size:
        above = ordered.size - np.arange(ordered.size)
        expected = low.size * limits.p_total(ordered)
        fine = np.flatnonzero(expected <= OUTRIGHT_FALSE * above)
        if fine.size:
            outright = float(ordered[fine[0]])
    if knee >= 5 * high:
        outright = min(outright, knee)
    return limits._replace(outright=float(max(outright, MIN_OUTRIGHT, 1.5 * high)))


def most_are_empty(totals: np.ndarray) -> bool:
    """Return whether the totals of a matrix are mostly those of empty droplets, as in a raw one.

    Parameters
    ----------
    totals
        Molecules of each barcode.
    """
    totals = totals[totals >= 1]
    return bool(
        totals.size >= MIN_BARCODES and np.mean(totals < 0.1 * _typical(totals)) > MOSTLY_EMPTY
    )


def _typical(totals: np.ndarray) -> float:
    """Return the molecules of a typical cell: of the barcode at which half of all molecules lie in larger ones."""
    ordered = np.sort(totals)[::-1]
    return float(ordered[int(np.searchsorted(np.cumsum(ordered), 0.5 * ordered.sum()))])


def few_are_empty(totals: np.ndarray) -> bool:
    """Return whether the totals of a matrix are those of cells alone: no barcodes that are far smaller than a cell."""
    totals = totals[totals >= 1]
    if not 10 <= totals.size <= MOST_CELLS:
        return False
    return bool(np.mean(totals < 0.1 * _typical(totals)) < LEAST_EMPTY)


def check_raw(raw: AnnData, path: object, *, seed: int = 0) -> None:
    """Check that a matrix given as raw holds empty droplets.

    Parameters
    ----------
    raw
        Counts, barcodes × genes.
    path
        Its file, for the message.
    seed
        Seed of the comparison of barcodes.

    Raises
    ------
    CarseqError
        If it holds cells alone, which must be given as `matrix`.
    """
    totals = row_sums(raw.X)
    if not few_are_empty(totals):
        return
    counts = sparse.csr_matrix(raw.X)
    lower = np.flatnonzero(totals <= np.median(totals))
    if _all_alike(counts[lower[:: max(1, len(lower) // MAX_COMPARED)]], seed):
        return
    raise CarseqError(
        f"{path} is not a raw matrix: it holds no empty droplets",
        f"its {len(totals):,} barcodes have {np.quantile(totals, 0.01):.0f} to {totals.max():.0f} UMIs; a raw one has "
        "many thousands with a tenth of a cell's and fewer",
        "give it in the column `matrix`, whose barcodes are all taken for cells, or give the raw_feature_bc_matrix",
    )


def _empty_range(
    totals: np.ndarray, like_ambient: Callable[[float, float], bool] | None = None
) -> tuple[float, float]:
    """Return the least and the largest total of the empty droplets' bulk, in UMIs.

    The bulk is the lowest peak of the smoothed density of log totals, up to the valley behind it
    or to a tenth of its height. A peak below 10 UMIs (sequencing errors in barcodes) is passed over
    where a larger group of up to 200 UMIs follows it and cells follow that. So is one below 50 UMIs (barcodes of
    other libraries, by index hopping) where a group follows that is a large part of it and whose barcodes are alike.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    step = 0.05
    levels, n = np.unique(np.floor(totals), return_counts=True)
    edges = np.arange(0.0, np.log(levels[-1] + 1) + 10 * step, step)
    # A total stands for [total, total + 1), so that small totals leave no comb.
    at = np.stack([levels, levels + 1]).T.ravel()
    reached = np.stack([np.cumsum(n) - n, np.cumsum(n)]).T.ravel()
    density = np.diff(np.interp(np.exp(edges), at, reached, left=0))
    smooth = np.r_[0.0, gaussian_filter1d(density, 0.2 / step, mode="constant")]
    peaks = find_peaks(smooth, height=0.02 * smooth.max(), prominence=0.02 * smooth.max())[0]
    # A peak counts if the valley before it is well under both neighbours, beyond counting noise
    # (a smoothed bin averages about 14 bins: 2 sqrt(pi) sigma).
    groups: list[int] = []
    for peak in peaks:
        if groups:
            valley = smooth[groups[-1] : peak].min()
            lesser = min(smooth[groups[-1]], smooth[peak])
            if valley > 0.85 * lesser or lesser - valley < 4 * np.sqrt(lesser / 14):
                groups[-1] = max(groups[-1], int(peak), key=lambda i: smooth[i])
                continue
        groups.append(int(peak))
    groups = groups or [int(np.argmax(smooth))]
    borders = [
        first + int(np.argmin(smooth[first:second])) for first, second in itertools.pairwise(groups)
    ]
    chosen = 0
    if len(groups) >= 3 and edges[groups[0]] < np.log(10) and edges[groups[1]] < np.log(200):
        size = np.add.reduceat(smooth, [0, *borders])
        chosen = int(size[1] > 3 * size[2:].sum())

    def bulk(group: int) -> tuple[float, float]:
        end = borders[group] if group < len(borders) else smooth.size - 1
        low = np.flatnonzero(smooth[groups[group] : end] < 0.1 * smooth[groups[group]])
        if low.size:
            end = groups[group] + int(low[0])
        left = np.exp(edges[borders[group - 1]]) if group else 1.0
        return float(left), float(np.exp(edges[min(end, edges.size - 1)]))

    sizes = np.add.reduceat(smooth, [0, *borders])
    while like_ambient and chosen < len(borders) and edges[groups[chosen]] < np.log(HOPPED_BELOW):
        if sizes[chosen + 1] < 0.1 * sizes[chosen] or not like_ambient(*bulk(chosen + 1)):
            break
        chosen += 1
    return bulk(chosen)


def _knee(totals: np.ndarray) -> float:
    """Return the knee of the log-log rank curve: its point farthest above the chord, in UMIs."""
    ordered = np.sort(totals)[::-1]
    rank = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True]) + 1
    if rank.size < 4:
        return float("inf")
    x, y = np.log(rank), np.log(ordered[rank - 1])
    height = (y - y[0]) - (y[-1] - y[0]) * (x - x[0]) / max(x[-1] - x[0], 1e-9)
    best = int(np.argmax(height))
    return float(ordered[rank[best] - 1]) if height[best] > 0 else float("inf")


def good_turing(counts: np.ndarray) -> np.ndarray:
    """Return proportions in which unseen genes share the mass of the genes seen once.

    Good's estimate of the unseen mass, N1/N (doi:10.1093/biomet/40.3-4.237); seen genes keep their
    relative shares, which EmptyDrops' full Good-Turing smoothing changes little.

    Parameters
    ----------
    counts
        UMIs a gene, shape (n_genes,).

    Returns
    -------
    np.ndarray
        Proportions, all above zero, that sum to 1.
    """
    total, unseen = counts.sum(), counts <= 0
    if total <= 0:
        return np.full(counts.shape, 1 / max(counts.size, 1))
    if not unseen.any():
        return counts / total
    mass = min(max((counts == 1).sum(), 1) / total, 0.5)
    return np.where(unseen, mass / unseen.sum(), counts / total * (1 - mass))


def _p_empty(counts: Any, profile: np.ndarray, n_simulations: int, seed: int) -> np.ndarray:
    """Return the probability of counts as unlike ``profile`` as each row's, shape (n_rows,)."""
    counts = sparse.csr_matrix(counts)
    totals = np.rint(row_sums(counts)).astype(np.int64)
    # Terms of the multinomial log-likelihood; the same for observed and simulated droplets.
    logs = counts.copy().astype(np.float64)
    rounded = np.rint(logs.data)
    logs.data = rounded * np.log(profile)[logs.indices] - special.gammaln(rounded + 1)
    observed = row_sums(logs) + special.gammaln(totals + 1)
    order = np.lexsort((observed, totals))
    lengths, start = np.unique(totals[order], return_index=True)
    below, moments = _compiled()(
        np.cumsum(profile),
        np.log(profile),
        lengths,
        np.r_[start, totals.size].astype(np.int64),
        observed[order],
        int(n_simulations),
        int(seed),
    )
    p = (below + 1.0) / (n_simulations + 1.0)
    group = np.repeat(np.arange(lengths.size), np.diff(np.r_[start, totals.size]))
    mean = moments[0] / n_simulations
    var = np.maximum(moments[1] / n_simulations - mean**2, 1e-9)
    third = moments[2] / n_simulations - 3 * mean * var - mean**3
    skew = np.clip(-third / var**1.5, 0.05, 2.0)
    z = -(observed[order] - mean[group]) / np.sqrt(var[group])
    tail = scipy.stats.pearson3.sf(z, skew[group])
    p = np.where(below < 10, np.minimum(p, np.maximum(tail, 1e-300)), p)
    result = np.empty(totals.size)
    result[order] = p
    return result


@functools.cache
def _compiled() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Compile the simulation on first use (numba takes seconds)."""
    import numba

    @numba.njit(cache=True)
    def simulate(  # type: ignore[no-untyped-def]
        cumulative, logp, lengths, start, observed, n_simulations, seed
    ):
        # One simulated droplet grows UMI by UMI and is compared at every total that was observed.
        np.random.seed(seed)  # noqa: NPY002 (numba's own generator)
        longest = lengths[-1]
        n_genes = logp.size
        # A guide table makes drawing a gene O(1) on average.
        guide = np.empty(n_genes + 1, dtype=np.int64)
        j = 0
        for i in range(n_genes + 1):
            while j < n_genes - 1 and cumulative[j] < i / n_genes:
                j += 1
            guide[i] = j
        counts = np.zeros(n_genes, dtype=np.int64)
        drawn = np.empty(longest, dtype=np.int64)
        logs = np.zeros(longest + 2)
        for i in range(1, longest + 2):
            logs[i] = np.log(i)
        hits = np.zeros(observed.size + 1, dtype=np.int64)
        moments = np.zeros((3, lengths.size))
        for _ in range(n_simulations):
            value = 0.0
            at = 0
            for n in range(longest):
                u = np.random.random()  # noqa: NPY002
                gene = guide[int(u * n_genes)]
                while gene < n_genes - 1 and cumulative[gene] < u:
                    gene += 1
                counts[gene] += 1
                drawn[n] = gene
                value += logp[gene] - logs[counts[gene]] + logs[n + 1]
                if n + 1 == lengths[at]:
                    moments[0, at] += value
                    moments[1, at] += value * value
                    moments[2, at] += value * value * value
                    # Observed values are sorted within a total: every one >= value gets a hit.
                    lo, hi = start[at], start[at + 1]
                    while lo < hi:
                        mid = (lo + hi) // 2
                        if observed[mid] < value:
                            lo = mid + 1
                        else:
                            hi = mid
                    if lo < start[at + 1]:
                        hits[lo] += 1
                    at += 1
            for n in range(longest):
                counts[drawn[n]] = 0
        below = np.zeros(observed.size, dtype=np.int64)
        for at in range(lengths.size):
            running = 0
            for i in range(start[at], start[at + 1]):
                running += hits[i]
                below[i] = running
        return below, moments

    return simulate


def knee_table(
    calls: pd.DataFrame, *, max_points: int = 2000, car: pd.Series | None = None
) -> pd.DataFrame:
    """Return the points of a barcode rank plot.

    Parameters
    ----------
    calls
        From :func:`call_barcodes`.
    max_points
        Points kept, evenly spaced in log rank. Every uncalled barcode with CAR UMIs is kept besides.
    car
        CAR UMIs a barcode, indexed by barcode.

    Returns
    -------
    pd.DataFrame
        `barcode`, `rank` (1 is the largest), `total_umis`, `is_cell`, `reason`, `car_umis`.
    """
    table = calls.sort_values("total_umis", ascending=False, kind="stable").reset_index()
    table = table.rename(columns={table.columns[0]: "barcode"})
    table["rank"] = np.arange(1, len(table) + 1)
    umis = 0 if car is None else car.reindex(table["barcode"]).fillna(0).to_numpy()
    table["car_umis"] = np.asarray(umis, dtype=np.int64) if car is not None else 0
    if len(table) > max_points:
        spaced = np.unique(np.rint(np.geomspace(1, len(table), max_points)).astype(int)) - 1
        keep = np.zeros(len(table), dtype=bool)
        keep[spaced] = True
        keep |= ((table["car_umis"] > 0) & ~table["is_cell"]).to_numpy()
        table = table[keep]
    columns = ["barcode", "rank", "total_umis", "is_cell", "reason", "car_umis"]
    return table[columns].reset_index(drop=True)

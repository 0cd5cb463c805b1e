"""How probable a molecule inside a stretch shared with a gene is the CAR's, before its bases are read.

A molecule whose reads all lie inside a shared stretch could be either transcript. How many molecules of each are
expected there is learnt from what the sample shows, not from a modelled coverage alone:

1. **Beside the stretch.** Molecules that overlap the edge of the stretch are told apart and lie next to those that
   are not. Their number gives the density of either transcript where it matters.
2. **Elsewhere on the transcripts.** The told-apart molecules of each barcode say how many of either a cell holds.
3. **The same stretch in cells that do not hold the CAR.** Barcodes with molecules of the gene but none of the CAR show
   how many shared molecules the gene gives per told-apart one; barcodes with both show what the CAR adds.

For one stretch, a barcode's shared molecules are Poisson with mean ``a * c + b * g``: ``c`` and ``g`` are its expected
told-apart molecules of CAR and gene (empirical Bayes over barcodes), ``a`` and ``b`` the shared molecules per
told-apart one. ``a`` and ``b`` have wide log-normal priors, sharpened by (1). The probability is averaged over their
joint posterior on a grid, so that little evidence leaves it near what the gene's known molecules suggest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from carseq.construct import Transcript
from carseq.log import get_logger
from carseq.molecules.score import Scorer
from carseq.molecules.stretches import Stretch
from carseq.sequence.alignment import MIN_BASES

log = get_logger(__name__)

Floats = npt.NDArray[np.float64]

#: Insert sizes of 10x libraries, nt: the distance of a read's far end from the primed end of its transcript
#: (10x Genomics, CG000204: fragments of 400 bp with adapters peak at 350 nt of insert).
INSERT, INSERT_SD = 350.0, 100.0
#: Molecules farther than this from the primed end are internally primed or degraded, nt.
FAR = 700
#: Bases beyond the edge of a stretch with which a read is told apart (`DECISIVE` nats at 1.33 nats a base).
TELLING = 4
#: Standard deviation of the log of shared molecules per told-apart one around the modelled coverage: a factor of
#: three for the CAR; five for a gene, whose isoforms, poly(A) sites and introns the model does not know.
SD_CAR, SD_GENE = 1.1, 1.6
#: Coefficient of variation of the density inside a stretch around that at its edges (sites of internal priming).
EDGE_CV = 0.5
#: Range of the shape of the gamma distribution of told-apart molecules over barcodes.
SHAPES = 0.02, 50.0
_GRID = 48


@dataclass(frozen=True)
class Coverage:
    """Where reads fall on a transcript, by their distance from the end at which it was primed.

    Attributes
    ----------
    mean, sd
        Of the peak, nt.
    elsewhere
        Share of molecules spread evenly over the transcript: internally primed or degraded.
    from_start
        Whether distance counts from the 5' end (5' chemistry) or from the 3' end.
    """

    mean: float
    sd: float
    elsewhere: float
    from_start: bool

    def share(self, first: float, last: float, length: int, read_length: int) -> float:
        """Return the share of a transcript's molecules whose read starts within [first, last)."""
        if last <= first:
            return 0.0
        near, far = (
            (first + read_length, last + read_length)
            if self.from_start
            else (length - last, length - first)
        )
        near, beyond = special.ndtr((np.array([near, far]) - self.mean) / self.sd)
        even = (last - first) / max(length - read_length, 1)
        return float((1 - self.elsewhere) * (beyond - near) + self.elsewhere * min(even, 1.0))


def fit_coverage(distances: Sequence[int], from_start: bool, *, far_share: float = 1.0) -> Coverage:
    """Fit :class:`Coverage` to distances of reads from the primed end, nt.

    Parameters
    ----------
    distances
        Of molecules.
    from_start
        Whether distances count from the 5' end.
    far_share
        Share of the transcript's places that lie beyond ``FAR`` and whose molecules are among those given.
    """
    found = np.asarray(distances, dtype=float)
    peak = found[found <= FAR]
    # Two of twelve pseudo-molecules are off the peak: the share in published 3' data is 10-20 %.
    elsewhere = ((found > FAR).sum() + 2 * far_share) / (len(found) + 12) / max(far_share, 0.2)
    elsewhere = min(float(elsewhere), 0.5)
    if len(peak) < 50:
        return Coverage(INSERT, INSERT_SD, elsewhere, from_start)
    middle = float(np.median(peak))
    # The median absolute deviation, as a standard deviation of a normal distribution.
    spread = float(np.median(np.abs(peak - middle)) / special.ndtri(0.75))
    return Coverage(middle, min(max(spread, 30.0), 200.0), elsewhere, from_start)


@dataclass(frozen=True)
class Expected:
    """Told-apart molecules of a transcript expected in each barcode.

    Attributes
    ----------
    total
        Told-apart molecules of the sample.
    shape, rate
        Of the gamma distribution of a barcode's expectation, before its own molecules are seen.
    seen
        Told-apart molecules by barcode.
    """

    total: float
    shape: float
    rate: float
    seen: Mapping[str, int]

    @classmethod
    def of(cls, seen: Mapping[str, int], n_barcodes: int) -> Expected:
        """Fit the distribution over barcodes by moments.

        Parameters
        ----------
        seen
            Told-apart molecules of barcodes that have any.
        n_barcodes
            Barcodes with a molecule of either transcript.
        """
        n = max(n_barcodes, len(seen), 1)
        counts = np.fromiter(seen.values(), dtype=float, count=len(seen))
        mean = (counts.sum() + 0.5) / n
        variance = float((counts**2).sum() / n - (counts.sum() / n) ** 2)
        shape = mean**2 / max(variance - mean, 1e-9)
        shape = float(np.clip(shape, *SHAPES))
        return cls(float(counts.sum()) + 0.5, shape, shape / mean, seen)

    def at(self, barcode: str, *, without: int = 0) -> float:
        """Return the expectation of a barcode, ``without`` some of its own molecules."""
        own = max(self.seen.get(barcode, 0) - without, 0)
        return (own + self.shape) / (1 + self.rate)


def shared_odds(
    table: pd.DataFrame,
    scorer: Scorer,
    homolog_molecules: Mapping[str, set[tuple[str, str]]],
    from_start: bool,
) -> Floats:
    """Return the probability that each candidate molecule is the CAR's.

    Parameters
    ----------
    table
        Candidates: ``barcode``, ``umi``, ``n_reads``, ``evidence``, ``tx_start``, ``tx_end``, ``endogenous_gene`` and
        ``odds`` (nats, for the CAR against the gene from the reads alone).
    scorer
        Of the CAR and its homologs.
    homolog_molecules
        By gene: its molecules ((barcode, UMI)) that do not resemble the CAR.
    from_start
        Whether reads are counted from the 5' end (5' chemistry).

    Returns
    -------
    numpy.ndarray
        One probability a row.
    """
    odds = table["odds"].to_numpy(dtype=float)
    p_car = special.expit(np.clip(odds, -50, 50))
    if table.empty:
        return p_car
    evidence = table["evidence"].to_numpy()
    told_apart = np.isin(evidence, ["unique", "junction"])
    p_car[evidence == "unique"] = np.maximum(p_car[evidence == "unique"], 0.99)
    gene_of = table["endogenous_gene"].to_numpy()
    start, end = table["tx_start"].to_numpy(), table["tx_end"].to_numpy()
    barcodes = table["barcode"].to_numpy()
    spans = (end - start)[told_apart & (table["n_reads"] == 1)]
    spans = spans if len(spans) else end - start
    read_length = max(int(np.median(spans)), MIN_BASES + TELLING)
    distances = [
        min(_distances(scorer.construct.transcripts, int(a), int(b), from_start), default=0)
        for a, b in zip(start[told_apart], end[told_apart], strict=True)
    ]
    coverage = fit_coverage(
        distances, from_start, far_share=_far_share(scorer, read_length, from_start)
    )
    for gene in pd.unique(gene_of):
        if not gene:
            continue
        of_gene = gene_of == gene
        endogenous = (evidence == "endogenous") & of_gene
        keys = set(homolog_molecules.get(gene, ()))
        keys |= set(zip(barcodes[endogenous], table["umi"].to_numpy()[endogenous], strict=True))
        seen_gene = pd.Series([b for b, _ in keys], dtype=object).value_counts().to_dict()
        seen_car = pd.Series(barcodes[told_apart], dtype=object).value_counts().to_dict()
        everyone = {*seen_gene, *seen_car, *barcodes[of_gene]}
        car = Expected.of(seen_car, len(everyone))
        own = Expected.of(seen_gene, len(everyone))
        for stretch in scorer.stretches.get(
            gene, [Stretch(gene, 0, len(scorer.construct.sequence))]
        ):
            overlap = np.minimum(end, stretch.end) - np.maximum(start, stretch.start)
            near = overlap >= MIN_BASES
            rows = np.flatnonzero(of_gene & (evidence == "shared") & (overlap > 0))
            beside = near & (
                (told_apart & ((start < stretch.start) | (end > stretch.end))) | endogenous
            )
            beside &= (start >= stretch.start - read_length) & (end <= stretch.end + read_length)
            density = _Density.of(
                stretch, read_length, car, own, coverage, scorer.construct.transcripts, from_start
            )
            n_reads = table["n_reads"].to_numpy()
            density = density.sharpened(n_reads[beside & told_apart], n_reads[beside & endogenous])
            p_car[rows] = density.p_car(
                np.array([car.at(b) for b in barcodes[rows]]),
                np.array([own.at(b) for b in barcodes[rows]]),
                odds[rows],
            )
            log.info(
                "%s, bases %d-%d: %d molecules that cannot be told apart, %.1f of them the CAR's; told apart beside "
                "them: %d of the CAR, %d of %s",
                gene,
                stretch.start + 1,
                stretch.end,
                len(rows),
                p_car[rows].sum(),
                int((beside & told_apart).sum()),
                int((beside & endogenous).sum()),
                gene,
            )
        # A read that only a base or two tell apart may be the gene's with a sequencing error: the more so, the more
        # molecules the gene has in that cell.
        rows = np.flatnonzero(of_gene & (evidence == "junction"))
        prior = np.log(
            [car.at(b, without=1) / own.at(b) for b in barcodes[rows]] if len(rows) else []
        )
        p_car[rows] = special.expit(np.clip(odds[rows] + prior, -50, 50))
    return p_car


@dataclass(frozen=True)
class _Density:
    """What is known of the shared molecules expected in a stretch, on a grid of expected totals.

    Attributes
    ----------
    totals_car, totals_gene
        Told-apart molecules of either in the sample.
    mean_car, mean_gene
        Shared molecules per told-apart one, as modelled.
    inside
        Share of the places beside and inside the stretch at which a read is inside, for CAR and gene.
    log_car, log_gene
        Log density of the evidence beside the stretch at each grid point, once sharpened.
    """

    totals_car: float
    totals_gene: float
    mean_car: float
    mean_gene: float
    inside: tuple[float, float]
    n_car: tuple[float, float] = (0.0, 0.0)
    n_gene: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(
        cls,
        stretch: Stretch,
        read_length: int,
        car: Expected,
        gene: Expected,
        coverage: Coverage,
        transcripts: Sequence[Transcript],
        from_start: bool,
    ) -> _Density:
        """Return what coverage alone says."""
        first, last = (
            stretch.start - TELLING + 1,
            max(stretch.end - read_length + TELLING, stretch.start + 2 * TELLING),
        )
        beside = max(read_length - MIN_BASES - TELLING, TELLING)
        shares = []
        for transcript in transcripts:
            length = len(transcript.sequence)
            shift = _before(transcript, stretch.start) - stretch.start
            spots = [(first, last), (first - beside, first), (last, last + beside)]
            shares.append(
                [coverage.share(a + shift, b + shift, length, read_length) for a, b in spots]
            )
        within, left, right = np.mean(shares, axis=0)
        within = min(max(within, 1e-5), 0.95)
        places = (last - first) / (last - first + 2 * beside)
        by_coverage = within / max(within + left + right, 1e-9)
        # The gene's transcript is taken to be some 2,000 nt long with an even coverage; its prior is the wider one.
        even = min((last - first) / 2000, 0.5)
        return cls(
            car.total,
            gene.total,
            within / (1 - within),
            even / (1 - even),
            (float(np.clip((by_coverage + places) / 2, 0.02, 0.98)), places),
        )

    def sharpened(
        self, reads_car: npt.NDArray[np.int64], reads_gene: npt.NDArray[np.int64]
    ) -> _Density:
        """Return the density with the told-apart molecules beside the stretch, given by their numbers of reads."""
        found = []
        for reads, inside in zip((reads_car, reads_gene), self.inside, strict=True):
            # A molecule of n reads is shared if all of them lie inside.
            power = inside ** (reads if len(reads) else np.ones(1))
            found.append((float(len(reads)), float((power / (1 - power)).mean())))
        return _Density(
            self.totals_car, self.totals_gene, self.mean_car, self.mean_gene, self.inside, *found
        )

    def _log_prior(
        self, expected: Floats, total: float, mean: float, sd: float, beside: tuple[float, float]
    ) -> Floats:
        """Return the log density of expected shared molecules of one transcript."""
        n, ratio = beside
        prior = stats.norm.logpdf(np.log(expected), np.log(total * mean), sd)
        shape = 1 / EDGE_CV**2
        rate = expected / max(ratio, 1e-3)
        return np.asarray(prior + stats.nbinom.logpmf(n, shape, shape / (shape + rate)))

    def p_car(self, car: Floats, gene: Floats, odds: Floats) -> Floats:
        """Return the probability of each shared molecule.

        Parameters
        ----------
        car, gene
            Told-apart molecules expected in the molecule's barcode.
        odds
            What its reads say, nats.
        """
        n = len(odds)
        if not n:
            return np.zeros(0)
        grid = np.geomspace(0.003, 3.0 * n + 20, _GRID)
        weight = (
            self._log_prior(grid, self.totals_car, self.mean_car, SD_CAR, self.n_car)[:, None]
            + self._log_prior(grid, self.totals_gene, self.mean_gene, SD_GENE, self.n_gene)[None, :]
            - grid[:, None]
            - grid[None, :]
        )
        kinds, which, times = np.unique(
            np.round(np.column_stack([np.log(car), np.log(gene), odds]), 2),
            axis=0,
            return_inverse=True,
            return_counts=True,
        )
        which = which.ravel()
        share_car = np.exp(kinds[:, 0] + kinds[:, 2]) / self.totals_car
        share_gene = np.exp(kinds[:, 1]) / self.totals_gene
        for c, g, m in zip(share_car, share_gene, times, strict=True):
            weight += m * np.log(grid[:, None] * c + grid[None, :] * g)
        weight = np.exp(weight - weight.max())
        weight /= weight.sum()
        p = np.empty(len(kinds))
        for i, (c, g) in enumerate(zip(share_car, share_gene, strict=True)):
            own = grid[:, None] * c
            p[i] = (weight * own / (own + grid[None, :] * g)).sum()
        return p[which]


def _far_share(scorer: Scorer, read_length: int, from_start: bool) -> float:
    """Return the share of a read's places that lie beyond ``FAR`` on every form of the CAR and are told apart."""
    stretches = [s for own in scorer.stretches.values() for s in own]
    transcripts = scorer.construct.transcripts
    places = range(0, len(scorer.construct.sequence) - read_length, 10)
    far = [
        min(_distances(transcripts, p, p + read_length, from_start), default=0) > FAR
        and not any(s.start <= p and p + read_length <= s.end for s in stretches)
        for p in places
    ]
    return float(np.mean(far)) if far else 1.0


def _before(transcript: Transcript, place: int) -> int:
    """Return how many bases of a form lie before a place of the full transcript."""
    return sum(min(max(place - first, 0), last - first) for first, last in transcript.blocks)


def _distances(
    transcripts: Sequence[Transcript], start: int, end: int, from_start: bool
) -> list[int]:
    """Return how far a molecule at [start, end) of the full transcript reaches from the primed end of each form."""
    found = []
    for transcript in transcripts:
        before = 0
        for first, last in transcript.blocks:
            place = end if from_start else start
            if first <= place - from_start < last:
                on_form = before + place - first
                found.append(on_form if from_start else len(transcript.sequence) - on_form)
            before += last - first
    return found

"""How probable a molecule inside a stretch shared with a gene is the CAR's.

A molecule whose reads all lie inside a shared stretch could be either transcript. How many molecules of each are
expected there is learnt from what the sample shows:

1. **Beside the stretch.** Molecules that overlap its edge are told apart and lie next to those that are not. Their
   number gives the density of either transcript where it matters.
2. **Elsewhere on the transcripts.** The told-apart molecules of each barcode say how many of either a cell holds.
3. **The same stretch in cells that do not hold the CAR.** Barcodes with molecules of the gene but none of the CAR show
   how many shared molecules the gene gives per told-apart one; barcodes with both show what the CAR adds.

For one stretch, a barcode's shared molecules are Poisson with mean ``a * c + b * g``: ``c`` and ``g`` are its expected
told-apart molecules of CAR and gene (empirical Bayes over barcodes), ``a`` and ``b`` the shared molecules per
told-apart one. ``a`` and ``b`` have wide log-normal priors, sharpened by (1). The probability is averaged over their
joint posterior on a grid, so that little evidence leaves it near what the gene's known molecules suggest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from carseq.log import get_logger
from carseq.molecules.coverage import FAR, Coverage, Floats, Ints, fit_coverage, on_form, reach
from carseq.molecules.score import Scorer
from carseq.molecules.stretches import Stretch
from carseq.sequence.alignment import DECISIVE, MIN_BASES

log = get_logger(__name__)


#: Log-odds (nats) from which a molecule is taken for the CAR's whatever the gene's expression: two bases that differ.
#: One base (6.7 nats) may be a sequencing error, of which an abundant gene has many.
SURE = 10.0
#: Standard deviation of the log of shared molecules per told-apart one around the modelled coverage: a factor of
#: two for the CAR; three for a gene, whose isoforms, poly(A) sites and introns the model does not know. These and
#: `EDGE_CV` were settled on seeds 1 and 2 of `benchmarks/molecules.py shared`.
SD_CAR, SD_GENE = 0.8, 1.2
#: Length at which a gene's transcript is taken for the prior of its coverage, nt (median of human mRNAs: 2,300).
GENE_LENGTH = 2_000
#: Bases beyond a stretch up to which told-apart CAR molecules count as beside it. (Where the gene's other reads lie is
#: not known: of the gene, only molecules that overlap the stretch count.)
FLANK = 100
#: Coefficient of variation of the density inside a stretch around that beside it, where many places beside it are
#: looked at, and the number of places at which its square is twice that: sites of internal priming heap up molecules.
EDGE_CV, EDGE_PLACES = 0.3, 100
#: Rates of CAR and gene in the grid of their joint distribution over barcodes, and rounds in which it is fitted.
_RATES, _ROUNDS = (14, 20), 60
#: Least probability of a molecule with bases that no gene shares.
UNIQUE = 0.99
_GRID = 48


@dataclass(frozen=True)
class Expected:
    """Told-apart molecules of CAR and gene expected in each barcode.

    The two go together: a CAR T cell expresses the genes of a T cell, and a droplet with ambient RNA alone has little
    of either. Their joint distribution over barcodes is therefore estimated without a form given to it: weights of a
    grid of rates, by expectation maximization (Kiefer and Wolfowitz, 1956), stopped early, which keeps it smooth.

    Attributes
    ----------
    car, gene
        Expected molecules by barcode.
    totals
        Their sums, at least half a molecule.
    """

    car: Mapping[str, float]
    gene: Mapping[str, float]
    totals: tuple[float, float]

    @classmethod
    def of(cls, barcodes: Iterable[str], of_car: Iterable[str], of_gene: Iterable[str]) -> Expected:
        """Estimate the rates.

        Parameters
        ----------
        barcodes
            Every barcode with a molecule of either transcript, told apart or not.
        of_car, of_gene
            Barcodes of told-apart molecules, one each.
        """
        n_car, n_gene = Counter(of_car), Counter(of_gene)
        names = sorted({*barcodes, *n_car, *n_gene})
        pairs = Counter((n_car[name], n_gene[name]) for name in names)
        seen = np.array(list(pairs), dtype=float)
        times = np.fromiter(pairs.values(), dtype=float, count=len(pairs))
        least = 0.05 / max(len(names), 1)
        rates = [
            np.geomspace(least, max(counts.max(initial=0) * 1.3, 2.0), n)
            for counts, n in zip(seen.T, _RATES, strict=True)
        ]
        fits = [
            np.exp(counts[:, None] * np.log(own) - own - special.gammaln(counts + 1)[:, None])
            for counts, own in zip(seen.T, rates, strict=True)
        ]
        weight = np.full(_RATES, 1 / (_RATES[0] * _RATES[1]))
        for _ in range(_ROUNDS):
            mixed = ((fits[0] @ weight) * fits[1]).sum(axis=1)
            ratio = times / np.maximum(mixed, 1e-300)
            weight *= (fits[0] * ratio[:, None]).T @ fits[1] / len(names)
        mixed = np.maximum(((fits[0] @ weight) * fits[1]).sum(axis=1), 1e-300)
        means = [
            (((fits[0] * rates[0]) @ weight) * fits[1]).sum(axis=1) / mixed,
            ((fits[0] @ weight) * (fits[1] * rates[1])).sum(axis=1) / mixed,
        ]
        totals = [max(float(times @ mean), 0.5) for mean in means]
        by_pair = dict(zip(pairs, zip(*(m.tolist() for m in means), strict=True), strict=True))
        found = {name: by_pair[n_car[name], n_gene[name]] for name in names}
        return cls(
            {name: c for name, (c, _) in found.items()},
            {name: g for name, (_, g) in found.items()},
            (totals[0], totals[1]),
        )

    def at(self, barcodes: npt.NDArray[np.object_]) -> tuple[Floats, Floats]:
        """Return the expected molecules of CAR and gene in some barcodes."""
        return (
            np.array([self.car[b] for b in barcodes], dtype=float),
            np.array([self.gene[b] for b in barcodes], dtype=float),
        )


@dataclass(frozen=True)
class _Places:
    """Where a read overlaps a stretch by enough bases to be scored, and where it is told apart there.

    Attributes
    ----------
    share
        Of the CAR's molecules, those that are not told apart in the stretch, by the modelled coverage.
    inside
        For CAR and gene: of the places beside and inside the stretch, the share (for the CAR weighted by coverage)
        where a molecule is not told apart.
    beside
        For CAR and gene: places beside it, where one is.
    width
        Places where a molecule of the gene is not told apart.
    """

    share: float
    inside: tuple[float, float]
    beside: tuple[int, int]
    width: int

    @classmethod
    def of(cls, stretch: Stretch, windows: _Windows, scorer: Scorer, coverage: Coverage) -> _Places:
        """Look at every place of a read on the CAR."""
        starts, length = windows.starts, windows.read_length
        overlap = np.minimum(starts + length, stretch.end) - np.maximum(starts, stretch.start)
        near = overlap >= min(MIN_BASES, stretch.end - stretch.start)
        around = overlap > -FLANK
        unsure = near & (windows.odds < SURE)
        undecided = near & (windows.odds < DECISIVE)
        told_apart = around & (windows.odds >= SURE), near & (windows.odds >= DECISIVE)
        weight = np.mean(
            [
                coverage.density(on_form(t, starts), len(t.sequence), length)
                for t in scorer.construct.transcripts
            ],
            axis=0,
        )
        share = float(weight[unsure].sum())
        beside = int(told_apart[0].sum()), int(told_apart[1].sum())
        by_coverage = share / max(share + float(weight[told_apart[0]].sum()), 1e-12)
        even = unsure.sum() / max(unsure.sum() + beside[0], 1)
        # Half way between the modelled and an even coverage: the model knows no sites of internal priming.
        inside = (by_coverage + even) / 2, undecided.sum() / max(undecided.sum() + beside[1], 1)
        return cls(
            float(np.clip(share, 1e-5, 0.95)),
            (float(np.clip(inside[0], 0.02, 0.98)), float(np.clip(inside[1], 0.02, 0.98))),
            beside,
            int(undecided.sum()),
        )


@dataclass(frozen=True)
class _Windows:
    """Every read-long piece of the CAR and its log-odds against the homologs, nats."""

    starts: Ints
    odds: Floats
    read_length: int

    @classmethod
    def of(cls, scorer: Scorer, read_length: int) -> _Windows:
        """Score the pieces as reads are scored."""
        sequence = scorer.construct.sequence
        n = max(len(sequence) - read_length + 1, 1)
        odds = np.full(n, np.inf)
        near = np.zeros(n, dtype=bool)
        for stretch in (stretch for own in scorer.stretches.values() for stretch in own):
            near[max(stretch.start - read_length, 0) : stretch.end] = True
        pieces = {int(i): sequence[i : i + read_length] for i in np.flatnonzero(near)}
        scorer.score_all(pieces.values())
        for i, piece in pieces.items():
            # Pieces that the CAR does not explain are full of N.
            if (score := scorer.score(piece)) is not None and score.homologous:
                odds[i] = score.car - score.homolog
        return cls(np.arange(n), odds, read_length)


def car_probabilities(
    table: pd.DataFrame, scorer: Scorer, homolog_molecules: Mapping[str, set[tuple[str, str]]]
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

    Returns
    -------
    numpy.ndarray
        One probability a row.
    """
    odds = table["odds"].to_numpy(dtype=float)
    p_car = special.expit(np.clip(odds, -50, 50))
    evidence = table["evidence"].to_numpy()
    unique = evidence == "unique"
    p_car[unique] = np.maximum(p_car[unique], UNIQUE)
    genes = table["endogenous_gene"].to_numpy()
    if not (genes != "").any():
        return p_car
    from_start = not scorer.prefer_3p
    start, end = table["tx_start"].to_numpy(), table["tx_end"].to_numpy()
    barcodes = table["barcode"].to_numpy(dtype=object)
    n_reads = table["n_reads"].to_numpy()
    sure = unique | ((evidence == "junction") & (odds >= SURE))
    of_one = (end - start)[n_reads == 1]
    read_length = int(np.median(of_one if len(of_one) else end - start))
    windows = _Windows.of(scorer, max(read_length, MIN_BASES + 5))
    coverage = _fit(scorer, start[sure], end[sure], windows, from_start)
    for gene in sorted(set(genes) - {""}):
        of_gene = genes == gene
        endogenous = (evidence == "endogenous") & of_gene
        keys = set(homolog_molecules.get(gene, ()))
        keys |= set(zip(barcodes[endogenous], table["umi"].to_numpy()[endogenous], strict=True))
        expected = Expected.of(barcodes[of_gene], barcodes[sure], (barcode for barcode, _ in keys))
        unsure = of_gene & ((evidence == "shared") | ((evidence == "junction") & ~sure))
        for stretch in scorer.stretches.get(gene, []):
            overlap = np.minimum(end, stretch.end) - np.maximum(start, stretch.start)
            rows = np.flatnonzero(unsure & (overlap > 0))
            if not len(rows):
                continue
            unsure[rows] = False
            margin = read_length + FLANK
            local = (start >= stretch.start - margin) & (end <= stretch.end + margin)
            beside = (
                sure & local & (overlap > -FLANK),
                endogenous & (overlap >= min(MIN_BASES, stretch.end - stretch.start)),
            )
            density = _Density.of(
                _Places.of(stretch, windows, scorer, coverage),
                expected.totals,
                (n_reads[beside[0]], n_reads[beside[1]]),
            )
            p_car[rows] = density.p_car(*expected.at(barcodes[rows]), odds[rows])
            log.info(
                "%s, bases %d-%d: %d molecules that are not told apart, %.1f of them the CAR's; told apart beside "
                "them: %d of the CAR, %d of %s",
                gene,
                stretch.start + 1,
                stretch.end,
                len(rows),
                p_car[rows].sum(),
                int(beside[0].sum()),
                int(beside[1].sum()),
                gene,
            )
        # What lies in no stretch (a gapped alignment): at the told-apart molecules of the cell.
        rows = np.flatnonzero(unsure)
        car, own = expected.at(barcodes[rows])
        prior = np.log(car / own)
        p_car[rows] = special.expit(np.clip(odds[rows] + prior, -50, 50))
    return p_car


@dataclass(frozen=True)
class _Density:
    """What is known of the molecules in a stretch that are not told apart, before their cells are looked at.

    Each pair is of the CAR and of the gene.

    Attributes
    ----------
    totals
        Told-apart molecules in the sample.
    means
        Molecules that are not told apart there per told-apart one, as modelled.
    n_beside
        Told-apart molecules at the stretch.
    ratios
        Molecules that are not told apart expected for each of these.
    shapes
        Of the negative binomial distribution of ``n_beside``: how well they foretell what lies inside.
    """

    totals: tuple[float, float]
    means: tuple[float, float]
    n_beside: tuple[int, int]
    ratios: tuple[float, float]
    shapes: tuple[float, float]

    @classmethod
    def of(
        cls, places: _Places, totals: tuple[float, float], reads_beside: tuple[Ints, Ints]
    ) -> _Density:
        """Return it from coverage and from the told-apart molecules beside the stretch, by their numbers of reads."""
        even = float(np.clip(places.width / GENE_LENGTH, 1e-4, 0.5))
        ratios, shapes = [], []
        for reads, inside, n_places in zip(reads_beside, places.inside, places.beside, strict=True):
            # A molecule of n reads is not told apart if all of them lie inside.
            power = inside ** (reads if len(reads) else np.ones(1))
            ratios.append(float((power / (1 - power)).mean()))
            shapes.append(1 / EDGE_CV**2 / (1 + EDGE_PLACES / max(n_places, 1)))
        return cls(
            totals,
            (places.share / (1 - places.share), even / (1 - even)),
            (len(reads_beside[0]), len(reads_beside[1])),
            (ratios[0], ratios[1]),
            (shapes[0], shapes[1]),
        )

    def _log_prior(self, expected: Floats, which: int, sd: float) -> Floats:
        """Return the log density of the expected number of either transcript's molecules, but for a constant."""
        mean = self.totals[which] * self.means[which]
        prior = -0.5 * ((np.log(expected) - np.log(mean)) / sd) ** 2
        shape, beside, n = self.shapes[which], expected / self.ratios[which], self.n_beside[which]
        # Normal and negative binomial, but for what does not depend on `expected`: scipy.stats takes a second to load.
        seen = special.xlogy(n, beside) - (n + shape) * np.log(shape + beside)
        return np.asarray(prior + seen)

    def p_car(self, car: Floats, gene: Floats, odds: Floats) -> Floats:
        """Return the probability that each molecule is the CAR's.

        Parameters
        ----------
        car, gene
            Told-apart molecules expected in the molecule's barcode.
        odds
            What its reads say, nats.
        """
        grid = np.geomspace(0.003, 3.0 * len(odds) + 20, _GRID)
        weight = (
            (self._log_prior(grid, 0, SD_CAR) - grid)[:, None]
            + (self._log_prior(grid, 1, SD_GENE) - grid)[None, :]
        )  # fmt: skip
        # Molecules alike are looked at once.
        logs = np.column_stack(
            [np.log(car) - np.log(self.totals[0]) + odds, np.log(gene) - np.log(self.totals[1])]
        )
        kinds, which, times = np.unique(
            np.round(logs, 2), axis=0, return_inverse=True, return_counts=True
        )
        mixed = [(grid[:, None] * c, grid[None, :] * g) for c, g in np.exp(kinds)]
        for (of_car, of_gene), n in zip(mixed, times, strict=True):
            weight += n * np.log(of_car + of_gene)
        weight = np.exp(weight - weight.max())
        weight /= weight.sum()
        p = np.array([(weight * of_car / (of_car + of_gene)).sum() for of_car, of_gene in mixed])
        return p[which.ravel()]


def _fit(scorer: Scorer, starts: Ints, ends: Ints, windows: _Windows, from_start: bool) -> Coverage:
    """Fit the coverage of the CAR to its told-apart molecules."""
    transcripts = scorer.construct.transcripts
    distances = reach(transcripts, starts, ends, from_start)
    places = reach(transcripts, windows.starts, windows.starts + windows.read_length, from_start)
    told_apart = windows.odds >= SURE
    far_share = float(np.mean((places > FAR) & told_apart))
    return fit_coverage(distances.tolist(), from_start, far_share=far_share)

"""Barcodes as different programs write them, and whether two inputs of a sample are of the same barcodes.

A barcode is written as PREFIX + BASES + SUFFIX: ``ACGT``, ``ACGT-1`` (Cell Ranger), ``ACGT-2`` (the second library of
an aggregated run), ``ACGT_1`` (Seurat), ``GSM1_ACGT-1`` (GEO), ``sample:ACGT``. Two inputs that were written
differently are matched by the bases, library by library, and by the **share** that fits: a list of a million barcodes
always contains some of another sample.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from carseq.errors import CarseqError
from carseq.schema.percent import plain_percent

#: Bases of a barcode in one piece (10x, Drop-seq) or several (split-pool: ``AAC-GGT-TTA``), with what stands around.
_ONE_PIECE = re.compile(r"^(.*?[^A-Za-z0-9])??([ACGTN]{8,}(?:[-_+.][ACGTN]{8,})*)([^A-Z].*)?$")
_PIECES = re.compile(r"^(.*?[^A-Za-z0-9])??([ACGTN]{3,}(?:[-_+.][ACGTN]{3,})+)([^A-Z].*)?$")
_SUFFIX = re.compile(r"^(.*?)(-\d+)?$")
#: Libraries told apart in one input at most; more of them are not libraries but names of cells.
MAX_LIBRARIES = 100
#: Share of a matrix's barcodes from which on a way to write them is a library's.
FEWEST_OF_LIBRARY = 0.05
#: A second way to write the barcodes that fits this well beside the best one makes the match ambiguous.
RIVAL = 0.5
#: Fewest barcodes for which a share of them is meaningful.
FEWEST = 10
#: Least share of the reads of a BAM that lie in the barcodes of its matrix, or of these barcodes that have reads, in
#: two inputs of one sample. Of another sample's, the share is that of two random parts of a list: 0.001 to 0.04.
MIN_SHARE = 0.1
#: The same of receptors and cells, of which few may be T cells.
LEAST_COMMON = 0.03
#: A matrix of more barcodes holds many of any sample's, by chance.
MOST_BY_CHANCE = 50_000
#: Share of a matrix's molecules that its largest barcodes hold, by which it is compared: barcodes of a few molecules
#: are in any sample's list.
TOP = 0.5
#: A barcode with fewer molecules than this share of the largest (their 99th percentile) holds no cell, roughly.
EMPTY = 0.1
#: Reads that must be expected in empty droplets before their absence is noticed.
MIN_EXPECTED = 20


def bare_barcode(barcode: str) -> str:
    """Return a barcode without what programs write before and behind its bases.

    >>> bare_barcode("GSM1_ACGTACGTACGTACGT-1")
    'ACGTACGTACGTACGT'
    """
    return barcode_parts(barcode)[1]


def is_umi(umi: str, length: int | None = None) -> bool:
    """Return whether a UMI was read whole, without an N, and is not of one base alone, which is no UMI but a tail.

    STARsolo and Cell Ranger count no others.

    >>> is_umi("ACGTACGTACGT"), is_umi("ACGTNCGTACGT"), is_umi("GGGGGGGGGGGG"), is_umi("ACGT", 12)
    (True, False, False, False)
    """
    return length in (None, len(umi)) and set(umi) <= set("ACGT") and len(set(umi)) > 1


def barcode_parts(barcode: str) -> tuple[str, str, str]:
    """Return prefix, bases and suffix of a barcode; of one without bases, all but a suffix ``-1`` is its name."""
    for pattern in (_ONE_PIECE, _PIECES):
        if found := pattern.match(barcode):
            return found[1] or "", found[2], found[3] or ""
    found = _SUFFIX.match(barcode)
    return ("", found[1], found[2] or "") if found else ("", barcode, "")


@dataclass(frozen=True)
class BarcodeMatch:
    """How the barcodes of one input are written in another.

    Attributes
    ----------
    written
        By (prefix, suffix) of the first input, (prefix, suffix) in the other. Empty: they are written alike.
    share
        Share of the first input's barcodes that the other has, by weight, 0 to 1.
    libraries
        Libraries (prefix and suffix) of the other input.
    """

    written: dict[tuple[str, str], tuple[str, str]]
    share: float
    libraries: int = 1

    def rewrite(self, barcodes: Iterable[str]) -> list[str]:
        """Return barcodes of the first input as the other writes them."""
        if not self.written:
            return [str(b) for b in barcodes]
        result = []
        for barcode in barcodes:
            before, bases, behind = barcode_parts(str(barcode))
            new = self.written.get((before, behind))
            result.append(str(barcode) if new is None else f"{new[0]}{bases}{new[1]}")
        return result

    def words(self) -> str:
        """Say how the barcodes are written differently, or nothing."""
        return "; ".join(
            f"{a[0]}...{a[1]} in one is {b[0]}...{b[1]} in the other"
            for a, b in self.written.items()
            if a != b
        )


def compare_barcodes(
    given: Sequence[str] | pd.Index,
    known: Sequence[str] | pd.Index,
    *,
    weights: Sequence[float] | None = None,
    what: str = "the two inputs",
) -> BarcodeMatch:
    """Find how the barcodes of one input are written in another.

    Parameters
    ----------
    given
        Barcodes of one input, each once.
    known
        Barcodes of the other, each once.
    weights
        What each of ``given`` counts for, such as its reads.
    what
        The inputs, for messages.

    Returns
    -------
    BarcodeMatch
        Its ``share`` is 0 where nothing fits.

    Raises
    ------
    CarseqError
        If two ways to write them fit about equally well.
    """
    given, known = pd.Index(given).astype(str), pd.Index(known).astype(str)
    weight = np.ones(len(given)) if weights is None else np.asarray(weights, dtype=float)
    total = float(weight.sum())
    if not len(given) or not len(known) or total <= 0:
        return BarcodeMatch({}, 0.0)
    alike = given.isin(known)
    exact = float(weight[alike].sum()) / total
    if exact > RIVAL and exact * total >= FEWEST:
        return BarcodeMatch({}, exact)
    ours, theirs = _libraries(given), _libraries(known)
    if len(ours) > MAX_LIBRARIES or len(theirs) > MAX_LIBRARIES:
        return BarcodeMatch({}, exact, len(theirs))
    written: dict[tuple[str, str], tuple[str, str]] = {}
    reached = 0.0
    for style, (rows, bases) in ours.items():
        fits = sorted(
            (
                (float(weight[rows][bases.isin(of)].sum()), other)
                for other, (_, of) in theirs.items()
            ),
            reverse=True,
        )
        best, other = fits[0]
        if not best:
            continue
        if len(fits) > 1 and fits[1][0] >= RIVAL * best and best > 2:
            raise CarseqError(
                f"the barcodes of {what} match in more than one way",
                f"{style[0]}...{style[1]} may be {other[0]}...{other[1]} or {fits[1][1][0]}...{fits[1][1][1]}",
                "give this sample's own library alone, its barcodes written as in the other input",
            )
        written[style] = other
        reached += best
    if len(ours) > 1 and len(theirs) == 1 and written:
        # Of an aggregated input one library is this sample's; chance matches of the others are none.
        by_style = {
            style: float(weight[ours[style][0]][ours[style][1].isin(theirs[other][1])].sum())
            for style, other in written.items()
        }
        ranked = sorted(by_style, key=lambda s: -by_style[s])
        first = by_style[ranked[0]]
        if len(ranked) > 1 and by_style[ranked[1]] >= RIVAL * first and first > 2:
            clash = _overlap(ours[ranked[0]][1], ours[ranked[1]][1], next(iter(theirs.values()))[1])
            if clash:
                raise CarseqError(
                    f"the barcodes of {what} match in more than one way",
                    f"both {''.join(ranked[0])} and {''.join(ranked[1])} fit",
                    "give this sample's own library alone",
                )
        else:
            own = ranked[0]
            written = {s: (w if s == own else s) for s, w in written.items()}
            reached = first
            # What is written in another library's way must not meet this sample's barcodes.
            written |= {s: (f"other library {''.join(s)} ", "") for s in ours if s != own}
    if reached / total <= exact:
        return BarcodeMatch({}, exact, len(theirs))
    return BarcodeMatch(written, reached / total, len(theirs))


def libraries_of(barcodes: pd.Index) -> list[str]:
    """Return how the libraries of a matrix are written (``...-1``), those of at least :data:`FEWEST_OF_LIBRARY`.

    Of many barcodes, some thousand evenly over them are looked at. None where too many are names of cells.
    """
    some = barcodes[:: max(1, len(barcodes) // 5000)].astype(str)
    held = {style: len(rows) for style, (rows, _) in _libraries(some).items()}
    styles = [style for style, n in held.items() if n >= FEWEST_OF_LIBRARY * len(some)]
    return (
        [f"{before}...{behind}" for before, behind in styles] if len(held) <= MAX_LIBRARIES else []
    )


def _libraries(barcodes: pd.Index) -> dict[tuple[str, str], tuple[np.ndarray, pd.Index]]:
    """Return, by prefix and suffix, the places and the bases of the barcodes written so."""
    parts = [barcode_parts(b) for b in barcodes]
    styles: dict[tuple[str, str], list[int]] = {}
    for i, (before, _, behind) in enumerate(parts):
        styles.setdefault((before, behind), []).append(i)
    return {
        style: (np.array(rows), pd.Index([parts[i][1] for i in rows]))
        for style, rows in styles.items()
    }


def _overlap(first: pd.Index, second: pd.Index, within: pd.Index) -> bool:
    return bool((first.isin(second) & first.isin(within)).sum() > 0.5 * first.isin(within).sum())


def match_barcodes(
    molecules: pd.DataFrame,
    barcodes: pd.Index,
    *,
    strict: bool = True,
    match: BarcodeMatch | None = None,
) -> pd.DataFrame:
    """Write the barcodes of a table as the matrix writes them.

    Parameters
    ----------
    molecules
        Molecules, or chains of receptors, of one sample: column ``barcode``.
    barcodes
        Barcodes of its matrix.
    strict
        Whether to raise where nothing matches.
    match
        How they are written, where that is known from more than these few (:func:`compare_barcodes` of all reads).

    Raises
    ------
    CarseqError
        If the barcodes match in more than one way; or, with ``strict``, if none of ten or more is in the matrix, or
        the two are written so differently that none could be.
    """
    if molecules.empty:
        return molecules
    given = molecules["barcode"].astype(str)
    names = given.drop_duplicates()
    sample = str(molecules["sample"].iloc[0]) if "sample" in molecules else "the sample"
    found = match or compare_barcodes(
        pd.Index(names), barcodes, what=f"the molecules and the matrix of {sample}"
    )
    if strict and not found.share and len(barcodes) and match is None:
        lengths = [
            {len(barcode_parts(str(b))[1]) for b in some[:200]} for some in (names, barcodes)
        ]
        if len(names) >= FEWEST or not lengths[0] & lengths[1]:
            raise CarseqError(
                f"the molecules and the matrix of sample {sample} share no barcode",
                f"molecules have {names.iloc[0]}, the matrix has {barcodes[0]}",
                "give the matrix that was made with this BAM",
            )
    if not found.written:
        return molecules
    # What matches neither way stays as it was.
    new = {
        old: name if name in barcodes or old in barcodes else old
        for old, name in zip(names, found.rewrite(names), strict=True)
    }
    return molecules.assign(barcode=given.map(new))


@dataclass(frozen=True)
class Belonging:
    """What the barcodes of a BAM's reads say about the matrix that is given beside it.

    Attributes
    ----------
    match
        How the BAM's barcodes are written in the matrix.
    in_matrix
        Share of the reads whose barcode is in the matrix.
    in_top
        Share of the reads in the barcodes that hold half of the matrix's molecules.
    seen_top
        Share of these barcodes that have a read.
    cells_only
        Whether the matrix has empty droplets and the BAM no reads of them.
    n_empty
        Empty droplets of the matrix, roughly.
    n_reads
        Reads looked at.
    doubts
        What makes the BAM doubtful, and what to do about it.
    """

    match: BarcodeMatch
    in_matrix: float
    in_top: float
    seen_top: float
    cells_only: bool
    n_empty: int
    n_reads: int
    doubts: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> str:
        """Return it as JSON."""
        held = asdict(self)
        held["match"]["written"] = [[*a, *b] for a, b in self.match.written.items()]
        return json.dumps(held, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Belonging:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        CarseqError
            If the text is not that.
        """
        try:
            held = json.loads(text)
            match = held.pop("match")
            written = {(a, b): (c, d) for a, b, c, d in match["written"]}
            doubts = tuple((told, remedy) for told, remedy in held.pop("doubts", ()))
            matched = BarcodeMatch(written, match["share"], match["libraries"])
            return cls(match=matched, doubts=doubts, **held)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CarseqError(
                "a sample's belonging.json is cut off or damaged",
                f"{type(error).__name__}: {error}",
                "delete it, run again",
            ) from None

    def words(self) -> str:
        """Say it in a line."""
        told = f"{plain_percent(self.in_matrix)} of the BAM's reads are in the matrix's barcodes"
        if how := self.match.words():
            told += f" ({how})"
        if self.cells_only:
            told += (
                f"; the BAM has no reads of the {self.n_empty:,} empty droplets of the matrix: the ambient RNA's share "
                "of the CAR is taken from the matrix, if the CAR is in it, else it is unknown"
            )
        return told


def check_belonging(reads: pd.Series, totals: pd.Series, sample: str) -> Belonging:
    """Check that a BAM and a matrix are of one sample, by the barcodes of any reads.

    Parameters
    ----------
    reads
        Reads by barcode of some 100,000 reads of the BAM (:func:`carseq.io.bam.barcodes_of_bam`).
    totals
        Molecules by barcode of the matrix.
    sample
        Name of the sample, for messages.

    Raises
    ------
    CarseqError
        If they are of different samples, or the matrix holds several libraries.
    """
    what = f"the BAM and the matrix of sample {sample}"
    remedy = "give the matrix that was made with this BAM"
    if not len(reads):
        raise CarseqError(f"the BAM of sample {sample} has no read with a barcode", "", remedy)
    totals = totals.sort_values(ascending=False)
    match = compare_barcodes(reads.index, totals.index, weights=reads.to_numpy(float), what=what)
    written = reads.set_axis(match.rewrite(reads.index.astype(str)))
    n_reads = float(written.sum())
    share_of = totals.cumsum() / max(float(totals.sum()), 1.0)
    top = totals.index[: int((share_of < TOP).sum()) + 1]
    in_matrix = float(written[written.index.isin(totals.index)].sum()) / n_reads
    in_top = float(written[written.index.isin(top)].sum()) / n_reads
    seen_top = float(top.isin(written.index).mean())
    if max(in_top, seen_top) < MIN_SHARE:
        raise _not_together(
            what,
            f"{plain_percent(in_top)} of the BAM's reads lie in the matrix's largest barcodes (half of its molecules "
            f"do); the BAM has {written.index[0]}, the matrix {totals.index[0]}",
            f"{remedy}; two samples' rows may be exchanged",
            "the matrix",
            top,
            written.index,
        )
    if in_matrix < MIN_SHARE and in_top < MIN_SHARE / 2 and len(top) >= FEWEST and seen_top < RIVAL:
        raise CarseqError(
            f"{what} do not belong together",
            f"{plain_percent(in_matrix)} of the BAM's reads have a barcode of the matrix",
            remedy,
        )
    styles = pd.Series([barcode_parts(str(b))[::2] for b in top])
    if styles.nunique() > 1:
        own = set(match.written.values()) or {
            barcode_parts(str(b))[::2] for b in written.index[:1000]
        }
        others = ~styles.isin(own)
        if others.mean() > MIN_SHARE:
            libraries = sorted({"...".join(s) for s in styles[others]})
            raise CarseqError(
                f"the matrix of sample {sample} holds other libraries than its BAM",
                f"{plain_percent(others.mean())} of its largest barcodes are written {', '.join(libraries[:4])}; the "
                f"BAM's are {', '.join('...'.join(s) for s in own)}",
                "give the matrix of this library alone (that of `cellranger count`, not of `aggr`), or cut it out",
            )
    cells = max(float(np.quantile(totals.iloc[: max(1, len(totals) // 10)], 0.5)), 1.0)
    empty = totals.index[totals < EMPTY * cells]
    expected = float(totals[empty].sum()) / max(float(totals.sum()), 1.0)
    found = float(written[written.index.isin(empty)].sum()) / n_reads
    cells_only = expected * n_reads >= MIN_EXPECTED and found < 0.1 * expected
    return Belonging(match, in_matrix, in_top, seen_top, cells_only, len(empty), int(n_reads))


#: Bases of a barcode in letters of either case.
_BASES = re.compile(r"[ACGTN]{8,}", re.IGNORECASE)
#: Bases that tell one barcode from another, and barcodes that are looked at for another way to write them.
_TELLS, _SOME = 12, 2000


def _written_otherwise(given: pd.Index, known: pd.Index) -> tuple[str, str] | None:
    """Return how barcodes that do not match would, in words, and what to do; None if in no way.

    Parameters
    ----------
    given
        Barcodes of one input.
    known
        Those of the other.
    """

    def bases(names: pd.Index) -> list[str]:
        return [found[0] for name in names if (found := _BASES.search(str(name)))]

    own, others = bases(given[:_SOME]), {b.upper() for b in bases(known)}
    if len(own) < FEWEST or not others:
        return None
    n = min(map(len, own))
    begun = {other[:n] for other in others}
    length = len(next(iter(others)))
    turned = str.maketrans("ACGTN", "TGCAN")
    for told, remedy, fits in (
        ("in small letters", "write them in capitals", [b.upper() in others for b in own]),
        (
            "from their other strand (as their reverse complement)",
            "turn them: A for T, C for G, backwards",
            [b.upper().translate(turned)[::-1] in others for b in own],
        ),
        (
            f"with their first {n} bases of {length}",
            "give them whole",
            [_TELLS <= n < length and b.upper()[:n] in begun for b in own],
        ),
    ):
        if sum(fits) >= RIVAL * len(own):
            return told, remedy
    return None


def _not_together(
    what: str, cause: str, remedy: str, one: str, own: pd.Index, other: pd.Index
) -> CarseqError:
    """Return the error for inputs of other barcodes: of other samples, or of the same ones that are written otherwise.

    Parameters
    ----------
    what, cause, remedy
        The inputs, how few barcodes they share, and what to do if they are of other samples.
    one
        The input that ``own`` are the barcodes of.
    own, other
        Barcodes of the one and of the other, the largest first.
    """
    if spelt := _written_otherwise(own, other):
        told, how = spelt
        return CarseqError(
            f"{what} write barcodes in two ways",
            f"those of {one} are the other's {told}: {own[0]}, {other[0]}",
            f"{how}, or give what the counting program wrote",
        )
    return CarseqError(f"{what} do not belong together", cause, remedy)


def by_chance(n_given: int, n_known: int) -> float:
    """Return how many barcodes two samples share by chance: random parts of the shortest list, 737,280 barcodes."""
    return n_given * n_known / 737_280


def check_cells(cells: pd.Index, totals: pd.Series, sample: str) -> BarcodeMatch:
    """Check that a list of cells is of the raw matrix that is given with it.

    Parameters
    ----------
    cells
        Barcodes of the cells, each once.
    totals
        Molecules by barcode of the raw matrix.
    sample
        Name of the sample, for messages.

    Raises
    ------
    CarseqError
        If half of the cells or more are not in it or, in a matrix of most of the list, are no larger than others.
    """
    what = f"the cells in `matrix` and the raw matrix of sample {sample}"
    match = compare_barcodes(cells, totals.index, what=what)
    written = pd.Index(match.rewrite(cells))
    held = totals.sort_values(ascending=False).index
    # With most barcodes of the list in a matrix, any sample's cells are: but only its own are among the largest.
    if len(held) > MOST_BY_CHANCE:
        held = held[: max(2 * len(cells), len(held) // 5)]
    share = float(written.isin(held).mean()) if len(written) else 1.0
    if share < RIVAL:
        raise _not_together(
            what,
            f"{plain_percent(share)} of {len(cells):,} cells are "
            f"{'among the largest' if len(held) < len(totals) else 'in it'}; cells are written {cells[0]}, "
            f"barcodes of the matrix {totals.index[0]}",
            "give the filtered and the raw matrix of one run; two samples' rows may be exchanged",
            "the cells",
            cells,
            totals.index,
        )
    return match


def check_receptors_of(given: pd.Index, totals: pd.Series, sample: str) -> BarcodeMatch:
    """Check that barcodes with a receptor are of the sample whose matrix is given.

    A few matches may be all there are, where a sample has few T cells; no more than chance gives are none.

    Parameters
    ----------
    given
        Barcodes, each once.
    totals
        Molecules by barcode of the matrix.
    sample
        Name of the sample, for messages.

    Raises
    ------
    CarseqError
        If hardly more of them than by chance are among the largest barcodes of the matrix.
    """
    match = compare_barcodes(
        given, totals.index, what=f"the receptors and the matrix of sample {sample}"
    )
    written = pd.Index(match.rewrite(given))
    top = totals.sort_values(ascending=False).index[: max(2 * len(given), 1000)]
    if strangers(int(written.isin(top).sum()), len(given), len(top)):
        raise _not_together(
            f"the receptors and the matrix of sample {sample}",
            f"{int(written.isin(top).sum())} of {len(given):,} barcodes are among the matrix's largest; receptors have "
            f"{given[0]}, the matrix {totals.index[0]}",
            "give the contig table made from this sample's library; two samples' rows may be exchanged",
            "the receptors",
            given,
            totals.index,
        )
    return match


def strangers(shared: int, n_given: int, n_known: int) -> bool:
    """Return whether two lists of barcodes share so few that they are of different samples."""
    if min(n_given, n_known) < 2 * FEWEST:
        return False
    share = max(shared / n_given, shared / n_known)
    return shared <= 3 * by_chance(n_given, n_known) or (
        share < LEAST_COMMON and min(n_given, n_known) >= 10 * FEWEST
    )


#: Of two lots of reads: the share of one in barcodes that the other has, of the other's own share in them, below which
#: they are of two libraries; reads that must be expected there; and the least own share: by chance, two samples have
#: some hundredths in common.
OF_OWN_BARCODES, MIN_SHARED, LEAST_OWN = 0.3, 30, 0.05


def other_library(first: Sequence[str], second: Sequence[str]) -> bool:
    """Return whether two lots of reads, as those of two lanes, are of different cells.

    All lanes of a library have reads of the same cells. Two halves of one lot say how many reads of another should lie
    in the barcodes that it has.

    Parameters
    ----------
    first, second
        The barcodes of some reads of each.
    """
    known = set(first[::2])
    own = sum(barcode in known for barcode in first[1::2]) / max(1, len(first) // 2)
    expected = own * len(second)
    if own < LEAST_OWN or expected < MIN_SHARED:
        return False
    return sum(barcode in known for barcode in second) < OF_OWN_BARCODES * expected


#: Share of one lot of reads in barcodes that another has, of the other's own share in them, from which they are of the
#: same cells.
OF_SAME_BARCODES = 0.5


def same_library(first: Sequence[str], second: Sequence[str]) -> bool:
    """Return whether two lots of reads, as those of two samples, are of the same cells.

    Parameters
    ----------
    first, second
        The barcodes of some reads of each.
    """
    for one, two in ((first, second), (second, first)):
        known = set(one[::2])
        own = sum(barcode in known for barcode in one[1::2]) / max(1, len(one) // 2)
        expected = own * len(two)
        if own < LEAST_OWN or expected < MIN_SHARED:
            return False
        if sum(barcode in known for barcode in two) < OF_SAME_BARCODES * expected:
            return False
    return True


def of_two_libraries(parts: str, other: str = "") -> str:
    """Say that parts of a sample's reads, such as lanes, are of another library than the rest.

    Parameters
    ----------
    parts
        The parts.
    other
        What they are compared with, if it is none of them.

    >>> of_two_libraries("L2 and L1").partition(": ")[0]
    'L2 and L1 have hardly a barcode in common'
    """
    return (
        f"{parts} have hardly a barcode in common{f' with {other}' if other else ''}: they are of two libraries, and "
        "cells of one barcode are taken for one cell"
    )


#: What to do about lanes of two libraries.
APART = "make them two samples, or leave out the lane of another sample"

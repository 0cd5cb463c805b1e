"""The chemistry of a sample, found from its reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from Bio.Seq import reverse_complement

from carseq.errors import CarseqError
from carseq.io.barcodes import APART, of_two_libraries, other_library
from carseq.library.fastq import check_reads_of_pair, first_reads
from carseq.library.geometry import (
    BARCODE_LENGTH,
    CHEMISTRIES,
    Chemistry,
    is_observed,
    layout,
    own_name,
    parse_geometry,
    preset_of,
)
from carseq.library.observed import learn_barcodes
from carseq.library.presets import OBSERVED, PRESETS, Preset
from carseq.library.reads import check_read_length
from carseq.library.strand import MIN_STRAND_READS, count_strands_each, measured_strand
from carseq.library.whitelist import (
    barcode_codes,
    encode,
    known_whitelist,
    on_list,
    read_parts,
    read_whitelist,
    share_on_list,
)
from carseq.log import get_logger
from carseq.schema.percent import plain_percent

log = get_logger(__name__)
#: Share of the reads of one R1 that may be too short for barcode and UMI, and of a sample's without a word.
MOST_SHORT, FEW_SHORT = 0.5, 0.01
#: Bases of R2 that no gene can be told by: 16 are met a few times in a genome of 3 · 10⁹ bases by chance.
SHORTEST_CDNA = 18
#: Share of reads whose barcode is on the list, exactly: about 0.95 in good libraries, under 0.05 for a wrong list
#: (0.002 by chance for the 6.8 million barcodes of v3).
MIN_VALID = 0.4
#: From this share on no other list is tried: at most a tenth of a known list is in another.
SURELY_VALID = 0.8
#: Bases that may stand before the barcode in R1 and are looked for.
MOST_BEFORE = 12
#: Share of R2 reads that begin with a valid barcode from which R1 and R2 are swapped or mixed (0.002 by chance).
MIXED = 0.2
#: Reads from which barcodes are learnt where no list was made of all of them.
_LEARN = 2_000_000
#: The same of the share of reads that map to transcripts which are in most cells.
OF_USUAL_GENES = 0.2
#: Share of a lane's reads that have one UMI, or an N in it, from which no molecules can be counted.
MOST_UMIS_ALIKE = 0.5
#: Share of the reads that have the name of the one before, above which it is no pair's: all have one name.
_ALL_ALIKE = 0.7
#: Parts by which a barcode of several parts is recognized: a list of every combination of three may have 57 million.
_TOLD_BY = 2
#: Share of valid barcodes in a pair of files, of that in the best pair of the sample, below which it is a bad one.
OF_USUAL = 0.6


def detect_chemistry(
    pairs: Sequence[tuple[str | Path, str | Path]],
    panel: Sequence[str],
    *,
    sample: str = "the sample",
    chemistry: str = "auto",
    whitelist: str | Path | None = None,
    n: int = 100_000,
) -> Chemistry:
    """Find the chemistry of a sample from its first reads, or check the one given.

    Parameters
    ----------
    pairs
        (R1, R2) FASTQ files of the sample.
    panel
        Transcripts (sense), as :func:`strand_panel` chooses them.
    sample
        Its name, for messages.
    chemistry
        ``auto``, a known name, or a STARsolo geometry (:func:`parse_geometry`).
    whitelist
        The list of valid barcodes; None takes the best of the known ones; ``observed``, or None for a kit whose list is
        not known, learns them from the first reads (:mod:`carseq.library.observed`).
    n
        Reads looked at, over all pairs.

    Raises
    ------
    CarseqError
        If no list fits, R1 and R2 are swapped, R1 is too short, or the strand contradicts the chemistry given.
    """
    chemistry = own_name(chemistry)
    units = [_Unit.read(first, second, max(1000, n // len(pairs))) for first, second in pairs]
    named = _named(chemistry, sample)
    several = named if named and len(named.parts) > 1 else None
    place = _barcode_place(named)
    r1_length = int(np.median([len(s) for unit in units for s in unit.r1]))
    shortest = place[0] - 1 + place[1] + (named.umi[1] if named else 10)
    if several:
        shortest = several.end - several.shifts
        units = [unit.seen_by(several) for unit in units]
    codes = _some_codes([unit.of_r1 or unit.r1 for unit in units], *place)
    observed = is_observed(chemistry, None if whitelist is None else str(whitelist))
    if observed:
        if chemistry in CHEMISTRIES and CHEMISTRIES[chemistry][2] is None:
            # Learnt barcodes fit any kit: those of an older one of the same strand have a list, and shorter UMIs.
            known = {(listed, way) for _, way, listed in CHEMISTRIES.values() if listed}
            same_way = {listed for listed, way in known if way == CHEMISTRIES[chemistry][1]}
            other_way = {listed for listed, _ in known} - same_way
            _explain_kit(sample, chemistry, [unit.r1 for unit in units], other_way)
        learnt = learn_barcodes(
            [r1 for r1, _ in pairs], layout(chemistry), sample=sample, n=_LEARN
        ).words
        codes_learnt = _two_parts(learnt) if several else _encoded(learnt[0])
        lists = {OBSERVED: (Path(OBSERVED), codes_learnt)}
        shares = {OBSERVED: share_on_list(codes, codes_learnt)}
    else:
        lists, shares = _read_lists(_candidate_lists(chemistry, whitelist, sample), several, codes)
    best = max(shares, key=lambda name: shares[name])
    held = ", ".join(f"{plain_percent(share)} on {name}" for name, share in shares.items())
    log.info("%s: reads with a barcode of a list: %s", sample, held)
    if shares[best] < MIN_VALID:
        swapped = _some_codes([unit.of_r2 or unit.r2 for unit in units], *place)
        if not several:
            _explain_place(sample, [read for unit in units for read in unit.r1], lists, *place)
        if whitelist is None and not observed:
            _explain_kit(sample, chemistry, [unit.r1 for unit in units], lists)
        _explain_bad_barcodes(sample, pairs, shares, swapped, lists, whitelist, r1_length, shortest)
    path, barcodes = lists[best]
    _check_units(sample, units, barcodes, *place, shortest)
    sense, antisense = _strands(sample, units, panel)
    measured = measured_strand(sense, antisense)
    if chemistry == "auto" and not measured and sense + antisense >= MIN_STRAND_READS:
        raise CarseqError(
            f"the reads of {sample} do not tell whether they are 3' or 5'",
            f"{sense} of the looked-at reads map in sense and {antisense} in antisense",
            "name its chemistry in the samples sheet; if both strands are real, the library may be a mix",
        )
    if named:
        name = chemistry if chemistry in PRESETS else "custom"
        cb_start, cb_length = named.parts[0]
        (umi_start, umi_length), strand = named.umi, named.strand
    else:
        name = chemistry
        if name == "auto":
            source = "given" if observed else best
            name = _name(source, barcodes, r1_length, measured, sample)
        cb_start, cb_length = place
        umi_start = BARCODE_LENGTH + 1
        umi_length, strand, _ = CHEMISTRIES[name]
    end = several.end - several.shifts if several else umi_start - 1 + umi_length
    if r1_length < end:
        raise CarseqError(
            f"R1 of {sample} is too short for {name}",
            f"R1 has {r1_length} nt; barcode and UMI need {end}",
            "check that r1 is the barcode read, untrimmed, and that the chemistry is right",
        )
    _check_lengths(sample, name, units, end)
    if not several:
        _check_umis(sample, units, umi_start, umi_length)
    if measured and measured != strand:
        raise _contradicted(sample, chemistry, name, strand, (sense, antisense))
    if not measured and panel:
        log.warning(
            "%s: the strand could not be checked (%d sense, %d antisense reads)",
            sample,
            sense,
            antisense,
        )
    # Of a barcode of several parts, none tells the cell.
    others = () if several else _other_libraries(units, cb_start, cb_length)
    if others:
        lanes = f"{', '.join(others[:4])} and {units[0].names[0]}"
        log.warning("%s: %s; %s", sample, of_two_libraries(lanes), APART)
    return Chemistry(
        name=name,
        cb_start=cb_start,
        cb_length=cb_length,
        umi_start=umi_start,
        umi_length=umi_length,
        strand=strand,
        whitelist=str(path),
        valid_barcodes=round(shares[best], 4),
        n_reads=sum(len(unit.r1) for unit in units),
        read_length=int(np.median([len(s) for unit in units for s in unit.r2])),
        reads_sense=sense,
        reads_antisense=antisense,
        positions=chemistry if several else "",
        other_libraries=others,
    )


def first_barcodes(
    pairs: Sequence[tuple[str | Path, str | Path]], chemistry: str, n: int
) -> list[str]:
    """Return the barcodes of a sample's first reads, as they were read.

    Parameters
    ----------
    pairs
        (R1, R2) FASTQ files of the sample.
    chemistry
        As the samples sheet has it; ``auto`` is 10x.
    n
        Reads looked at, over all pairs.
    """
    chemistry = own_name(chemistry)
    preset = layout(chemistry) if preset_of(chemistry) or parse_geometry(chemistry) else None
    each = max(1, n // max(1, len(pairs)))
    reads = (sequence for r1, _ in pairs for _, sequence in first_reads(r1, each))
    return [preset.barcode(read) if preset else read[:BARCODE_LENGTH] for read in reads]


def _named(chemistry: str, sample: str) -> Preset | None:
    """Return where barcode and UMI lie in reads of a kit or geometry; None for 10x's and for ``auto``."""
    if preset_of(chemistry) or parse_geometry(chemistry):
        named = layout(chemistry)
        if named.note:
            log.warning("%s: %s", sample, named.note)
        return named
    if chemistry != "auto" and chemistry not in CHEMISTRIES:
        raise CarseqError(
            f"unknown chemistry {chemistry!r} of {sample}",
            "",
            f"use auto, {', '.join((*CHEMISTRIES, *PRESETS))}, or a STARsolo geometry ('soloCBstart 1 soloCBlen 16 "
            f"...')",
        )
    return None


def _barcode_place(named: Preset | None) -> tuple[int, int]:
    """Return start (from 1) and length of the barcode; of one of several parts, those of its first parts joined."""
    if named is None:
        return 1, BARCODE_LENGTH
    if len(named.parts) > 1:
        return 1, sum(length for _, length in named.parts[:_TOLD_BY])
    return named.parts[0]


def _some_codes(
    of_units: Sequence[Sequence[str]], start: int, length: int
) -> npt.NDArray[np.uint64]:
    """Return the barcodes of about 20,000 reads of all units."""
    reads = [read for of_unit in of_units for read in of_unit]
    return barcode_codes(reads[:: max(1, len(reads) // 20_000)], start, length)


def _contradicted(
    sample: str, chemistry: str, name: str, strand: str, seen: tuple[int, int]
) -> CarseqError:
    """Return the error for reads on the other strand than their chemistry's; ``seen``: sense and antisense reads."""
    return CarseqError(
        f"the reads of {sample} contradict its chemistry {chemistry}",
        f"{seen[0]} of the looked-at reads map in sense and {seen[1]} in antisense; {name} expects "
        f"{'sense (3 prime)' if strand == 'Forward' else 'antisense (5 prime)'}",
        "write `auto` into the chemistry column, or the right chemistry",
    )


def _read_lists(
    candidates: Mapping[str, Path], several: Preset | None, codes: npt.NDArray[np.uint64]
) -> tuple[dict[str, tuple[Path, npt.NDArray[np.uint64]]], dict[str, float]]:
    """Read barcode lists until one surely fits; return them and the shares of the reads that are on each.

    Parameters
    ----------
    candidates
        Files of the lists, by name.
    several
        Where the parts of a barcode lie, if it has several.
    codes
        Barcodes of some reads.
    """
    lists, shares = {}, {}
    for name, path in candidates.items():
        if several:
            known = _two_parts(read_parts(path, [length for _, length in several.parts]))
        else:
            known = read_whitelist(path)
        lists[name] = (path, known)
        shares[name] = share_on_list(codes, known)
        if shares[name] >= SURELY_VALID:
            break
    return lists, shares


def _encoded(words: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Return the codes of barcodes of one length."""
    text = "".join(words).encode()
    return encode(np.frombuffer(text, dtype=np.uint8).reshape(len(words), -1))


def _two_parts(words: Sequence[Sequence[str]]) -> npt.NDArray[np.uint64]:
    """Return the codes of every first part with every second one: these two tell a barcode of the list from another."""
    return _encoded([a + b for a in words[0] for b in words[1]])


@dataclass(frozen=True)
class _Unit:
    """The first reads of a pair of files."""

    names: tuple[str, str]
    r1: list[str]
    r2: list[str]
    #: The first parts of a barcode of several, as read in R1 and at the same places of R2.
    of_r1: list[str] = field(default_factory=list)
    of_r2: list[str] = field(default_factory=list)

    def seen_by(self, preset: Preset) -> _Unit:
        """Return the unit with the first parts of its barcodes cut out."""
        return replace(
            self,
            of_r1=[preset.barcode(s, _TOLD_BY) for s in self.r1],
            of_r2=[preset.barcode(s, _TOLD_BY) for s in self.r2],
        )

    @classmethod
    def read(cls, first: str | Path, second: str | Path, n: int) -> _Unit:
        check_reads_of_pair(first, second, 1000)
        one, two = first_reads(first, n), first_reads(second, n)
        for path, reads in ((first, one), (second, two)):
            same = sum(a[0] == b[0] for a, b in pairwise(reads))
            if same > _ALL_ALIKE * len(reads):
                raise CarseqError(
                    f"the reads of {path} have one name",
                    f"{same} of its first {len(reads)} reads are called {reads[0][0]}: a read's name ends at the first "
                    "blank",
                    "put another letter for the blank, in R1 and R2 alike (`sed '1~4s/ /_/'`), or give the files as "
                    "they were sequenced",
                )
            if same > 0.3 * len(reads):
                raise CarseqError(
                    f"{path} holds R1 and R2 of each pair, one behind the other",
                    f"{same} of its first {len(reads)} reads have the name of the read before",
                    "cut it into R1 and R2 (`reformat.sh`, `seqtk seq -1` and `-2`)",
                )
        return cls((Path(first).name, Path(second).name), [s for _, s in one], [s for _, s in two])


def _check_lengths(sample: str, name: str, units: Sequence[_Unit], end: int) -> None:
    """Raise if most reads of a pair's R1 are too short for the chemistry found; warn if some of the sample's are.

    STAR takes no read whose UMI is cut short.
    """
    short = [np.array([len(read) < end for read in unit.r1]) for unit in units]
    for unit, too_short in zip(units, short, strict=True):
        if too_short.mean() > MOST_SHORT:
            raise CarseqError(
                f"R1 in {unit.names[0]} of {sample} is too short for {name}",
                f"{plain_percent(float(too_short.mean()))} of its reads have fewer than the {end} nt of barcode and "
                "UMI, and would be lost",
                "give the untrimmed reads, or the lane of another chemistry as a sample of its own",
            )
        if (cdna := int(np.median([len(read) for read in unit.r2]))) < SHORTEST_CDNA:
            raise CarseqError(
                f"R2 in {unit.names[1]} of {sample} is too short for cDNA",
                f"it has {cdna} nt: no gene can be told by so few; index reads have 8 or 10",
                "name the cDNA read in `r2` (10x: ..._R2_001.fastq.gz; of SRA often the longest), untrimmed",
            )
        check_read_length(cdna, f"the reads of R2 in {unit.names[1]} of {sample}")
    share = float(np.concatenate(short).mean())
    if share > FEW_SHORT:
        log.warning(
            "%s: %s of the reads of R1 are shorter than barcode and UMI (%d nt) and are lost: give untrimmed reads",
            sample,
            plain_percent(share),
            end,
        )


def _check_umis(sample: str, units: Sequence[_Unit], start: int, length: int) -> None:
    """Raise if most reads of a pair have one UMI, or none that was read: its molecules could not be told apart."""
    for unit in units:
        umis = Counter(read[start - 1 : start - 1 + length] for read in unit.r1)
        unread = sum(n for umi, n in umis.items() if "N" in umi)
        umi, most = umis.most_common(1)[0]
        if max(unread, most) > MOST_UMIS_ALIKE * len(unit.r1) and len(unit.r1) >= MIN_STRAND_READS:
            why = (
                f"have an N in it: {unread:,} of the first {len(unit.r1):,}"
                if unread >= most
                else f"have {umi}: {most:,} of the first {len(unit.r1):,}"
            )
            raise CarseqError(
                f"R1 in {unit.names[0]} of {sample} has no UMIs",
                f"most of its reads {why}, so that molecules could not be told apart",
                "give the reads as they were sequenced: the UMI was cut out, masked or filled up, or R1 ended before "
                "it; else check the chemistry",
            )


def _other_libraries(units: Sequence[_Unit], start: int, length: int) -> tuple[str, ...]:
    """Return the first files of pairs that seem to be of another library than the sample's first pair."""
    place = slice(start - 1, start - 1 + length)
    lanes = [[read[place] for read in unit.r1] for unit in units]
    return tuple(
        unit.names[0]
        for unit, lane in zip(units[1:], lanes[1:], strict=True)
        if other_library(lanes[0], lane)
    )


def _check_units(
    sample: str,
    units: Sequence[_Unit],
    barcodes: npt.NDArray[np.uint64],
    start: int,
    length: int,
    shortest: int,
) -> None:
    """Check each pair of files by itself: pooled with good ones, a bad one may pass.

    Raises
    ------
    CarseqError
        If R1 and R2 of a pair are swapped or mixed, its R1 is too short, or far fewer of its reads than of the
        other pairs' have a valid barcode.
    """

    # All at once: each question to the list goes through millions of barcodes.
    asked = [
        barcode_codes(reads[:: max(1, len(reads) // 5000)], start, length)
        for unit in units
        for reads in (unit.of_r1 or unit.r1, unit.of_r2 or unit.r2)
    ]
    ends = np.cumsum([len(codes) for codes in asked])[:-1]
    shares = [
        float(listed.mean()) if len(listed) else 0.0
        for listed in np.split(on_list(np.concatenate(asked), barcodes), ends)
    ]
    valid = shares[::2]
    usual = max(valid)
    for unit, own, in_r2 in zip(units, valid, shares[1::2], strict=True):
        first, second = unit.names
        of_sample = f"{first} of {sample}"
        if in_r2 >= MIXED:
            swapped = own < MIXED
            raise CarseqError(
                f"R1 and R2 of {sample} are {'swapped' if swapped else 'mixed'} in {first} and {second}",
                f"{plain_percent(in_r2)} of the reads of {second} begin with a valid barcode, and "
                f"{plain_percent(own)} of those of {first}",
                "exchange the columns r1 and r2 of this unit"
                if swapped
                else "each file seems to hold both reads in turn: cut them apart",
            )
        if (median := int(np.median([len(s) for s in unit.r1]))) < shortest:
            raise CarseqError(
                f"R1 in {of_sample} is too short to hold barcode and UMI",
                f"it has {median} nt, at least {shortest} are needed",
                "check that r1 is the barcode read, untrimmed",
            )
        if own < max(MIN_VALID, OF_USUAL * usual):
            unread = sum(
                s[start - 1 : start - 1 + length].count("N") > length // 2 for s in unit.r1
            )
            why = (
                f"; {plain_percent(unread / len(unit.r1))} of its reads have N for bases there"
                if unread
                else ""
            )
            raise CarseqError(
                f"few reads in {of_sample} have a valid barcode",
                f"{plain_percent(own)}, against {plain_percent(usual)} in the best of its {len(units)} "
                f"pairs of files{why}",
                "leave the unit out of units.tsv, or demultiplex it again: it failed, or is of another library",
            )


def strand_reads(n_pairs: int) -> int:
    """Return how many reads of each pair of a sample's files tell the strand."""
    return max(2000, 20_000 // n_pairs)


def _strands(sample: str, units: Sequence[_Unit], panel: Sequence[str]) -> tuple[int, int]:
    """Return the reads that map in sense and in antisense; raise where pairs of files differ."""
    each = strand_reads(len(units))
    counts = count_strands_each([unit.r2[:each] for unit in units], panel)
    told = {
        measured_strand(*count): unit.names[0] for unit, count in zip(units, counts, strict=True)
    }
    # All lanes of a library have the same genes: one with next to none is of another kind.
    looked_at = [min(each, len(unit.r2)) for unit in units]
    shares = [sum(count) / max(1, n) for count, n in zip(counts, looked_at, strict=True)]
    usual = max(shares, default=0.0)
    for unit, share, n in zip(units, shares, looked_at, strict=True):
        if usual * n >= MIN_STRAND_READS and share < OF_USUAL_GENES * usual:
            raise CarseqError(
                f"few reads in {unit.names[1]} of {sample} are of genes",
                f"{plain_percent(share)} of them map to transcripts that are in most cells, against "
                f"{plain_percent(usual)} in the best of its {len(units)} pairs of files",
                "leave the unit out of units.tsv: it is of another library (hashtags, antibodies, receptors, guides) "
                "or of another species; a library of receptors goes into the column `tcr`, as a table",
            )
    if {"Forward", "Reverse"} <= set(told):
        raise CarseqError(
            f"the files of {sample} are of different chemistries",
            f"reads of {told['Forward']} are sense (3'), those of {told['Reverse']} antisense (5')",
            "make them two samples",
        )
    return sum(c[0] for c in counts), sum(c[1] for c in counts)


def _candidate_lists(chemistry: str, whitelist: str | Path | None, sample: str) -> dict[str, Path]:
    """Return the whitelists to try: name -> path."""
    if whitelist is not None:
        return {"given": Path(whitelist)}
    if chemistry == "auto":
        names = sorted({w for *_, w in CHEMISTRIES.values() if w})
    else:
        known = CHEMISTRIES.get(chemistry, (0, "", None))[2]
        if chemistry in PRESETS:
            known = PRESETS[chemistry].known
        if known is None:
            raise CarseqError(
                f"{sample} needs a whitelist",
                f"no list is known for {chemistry}",
                "name it in the `whitelist` column of the samples sheet or in `chemistry.whitelist`; `observed` "
                "learns the barcodes from the reads",
            )
        names = [known]
    return {name: known_whitelist(name) for name in names}


def _name(
    best: str, codes: npt.NDArray[np.uint64], r1_length: int, strand: str, sample: str
) -> str:
    """Return the chemistry that fits a list, R1's length and the strand of the reads."""
    if best == "given":
        # A list of the user's own is often a part of a known one, which then tells the UMI's length.
        some = codes[:: max(1, len(codes) // 2000)]
        for name in sorted({w for *_, w in CHEMISTRIES.values() if w}):
            if share_on_list(some, read_whitelist(known_whitelist(name))) > 0.9:
                best = name
                break
    umi = {"10x_version2": 10, "10x_version3": 12, "10x_version4": 12}.get(
        best, 12 if r1_length >= 28 else 10
    )
    strand = strand or "Forward"
    fitting = [
        name
        for name, (length, expected, known) in CHEMISTRIES.items()
        if length == umi
        and expected == strand
        and (known == best or best == "given" or strand == "Reverse")
    ]
    if not fitting:
        raise CarseqError(
            f"no known chemistry fits {sample}",
            f"UMI of {umi} nt, strand {strand}",
            "name it yourself",
        )
    return fitting[-1] if strand == "Reverse" else fitting[0]


def of_strand(chemistry: Chemistry, strand: str) -> Chemistry:
    """Return a chemistry whose reads turned out to be of the other strand, under the name of the like kit.

    Parameters
    ----------
    chemistry
        As detected without a panel.
    strand
        ``Forward`` or ``Reverse``.
    """
    like = [
        name
        for name, (umi, way, _) in CHEMISTRIES.items()
        if umi == chemistry.umi_length and way == strand
    ]
    known = chemistry.name in CHEMISTRIES and CHEMISTRIES[chemistry.name][1] != strand
    return replace(chemistry, strand=strand, name=like[-1] if known and like else chemistry.name)


def _explain_place(
    sample: str,
    reads: Sequence[str],
    lists: Mapping[str, tuple[Path, npt.NDArray[np.uint64]]],
    start: int,
    length: int,
) -> None:
    """Raise if R1 holds barcodes of a list, but written otherwise or at another place.

    Parameters
    ----------
    sample
        Its name.
    reads
        R1.
    lists
        Path and barcodes of each list that was tried.
    start, length
        Where barcodes should lie, from 1.
    """
    some = reads[:: max(1, len(reads) // 2000)]
    place = slice(start - 1, start - 1 + length)

    def fits(given: Sequence[str], at: int = start) -> bool:
        codes = barcode_codes(given, at, length)
        return any(share_on_list(codes, known) >= MIN_VALID for _, known in lists.values())

    if fits([read.upper() for read in some]):
        raise CarseqError(
            f"R1 of {sample} is in small letters",
            "barcodes are compared letter by letter, and lists are in capitals",
            "give the reads as they were sequenced, or in capitals (`zcat R1 | sed '2~4y/acgtn/ACGTN/' | gzip`)",
        )
    if fits([reverse_complement(read[place]) for read in some], 1):
        raise CarseqError(
            f"R1 of {sample} holds barcodes of the other strand",
            "their reverse complements are on a list",
            "give the reads as they were sequenced: their bases were reversed",
        )
    for at in range(1, start + MOST_BEFORE + 1):
        if at != start and fits(some, at):
            raise CarseqError(
                f"the barcodes of {sample} do not begin at base {start} of R1",
                f"they begin at base {at}: other bases stand before them",
                f"cut these off (`cutadapt -u {at - 1}`), or write where the parts lie into the `chemistry` column, "
                f"such as 'soloCBstart {at} soloCBlen {length} soloUMIstart {at + length} soloUMIlen 12'",
            )
    # One of the four bases is the one that is missing; by chance none of them is often right.
    filled = [barcode_codes([base + read for read in some], start, length) for base in "ACGT"]
    if start == 1 and any(
        sum(share_on_list(codes, known) for codes in filled) >= MIN_VALID
        for _, known in lists.values()
    ):
        raise CarseqError(
            f"the first base of R1 of {sample} was cut off",
            "its reads begin with the second base of barcodes of a list",
            "give the reads as they were sequenced (of `bcl2fastq`, without a base mask that leaves out the first "
            "cycle; of a trimmer, its input)",
        )
    unread = Counter(i for read in some for i, base in enumerate(read[place], start) if base == "N")
    at, n = unread.most_common(1)[0] if unread else (0, 0)
    if n > MOST_SHORT * len(some):
        raise CarseqError(
            f"hardly a barcode of {sample} was read whole",
            f"base {at} of R1 is N in {plain_percent(n / len(some))} of the reads: a cycle of the sequencer failed",
            "sequence the library again, or ask for the reads with the base called; a lane without the fault may stand "
            "alone",
        )


def _explain_kit(
    sample: str,
    chemistry: str,
    of_units: Sequence[Sequence[str]],
    tried: Collection[str],
) -> None:
    """Raise if the barcodes of R1 are those of another known list than that of the chemistry that was named.

    Parameters
    ----------
    sample
        Its name.
    chemistry
        As the samples sheet has it.
    of_units
        R1, by pair of files.
    tried
        Names of lists that do not fit, or are of no account.
    """
    codes = _some_codes(of_units, 1, BARCODE_LENGTH)
    others = {k: v for k, v in _candidate_lists("auto", None, sample).items() if k not in tried}
    for name, path in others.items():
        if (share := share_on_list(codes, read_whitelist(path))) >= MIN_VALID:
            raise CarseqError(
                f"the barcodes of {sample} are not those of {chemistry}",
                f"{plain_percent(share)} of its reads begin with a barcode of {name}",
                "write `auto` into the chemistry column, or the right chemistry",
            )


def _explain_bad_barcodes(
    sample: str,
    pairs: Sequence[tuple[str | Path, str | Path]],
    shares: dict[str, float],
    swapped: npt.NDArray[np.uint64],
    lists: dict[str, tuple[Path, npt.NDArray[np.uint64]]],
    whitelist: str | Path | None,
    r1_length: int,
    shortest: int,
) -> None:
    """Raise the error that says why barcodes are not on the list."""
    in_r2 = {name: share_on_list(swapped, barcodes) for name, (_, barcodes) in lists.items()}
    if max(in_r2.values()) >= MIN_VALID:
        raise CarseqError(
            f"R1 and R2 of {sample} are swapped",
            f"{plain_percent(max(in_r2.values()))} of the reads of {Path(pairs[0][1]).name} begin with a valid barcode",
            "exchange the columns r1 and r2 of its units",
        )
    if r1_length < shortest:
        raise CarseqError(
            f"R1 of {sample} is too short to hold barcode and UMI",
            f"it has {r1_length} nt, at least {shortest} are needed",
            "check that r1 is the barcode read, untrimmed",
        )
    best = max(shares.values())
    if whitelist is not None:
        raise CarseqError(
            f"the whitelist {whitelist} does not fit {sample}",
            f"{plain_percent(best)} of its reads carry a barcode of the list; {plain_percent(MIN_VALID)} or more are "
            "expected",
            "leave the whitelist empty to try the known 10x lists, or give the list of this chemistry",
        )
    raise CarseqError(
        f"no known 10x whitelist fits {sample}",
        "; ".join(f"{name}: {plain_percent(share)} of reads" for name, share in shares.items()),
        "for 10x 5' v3 write `10x_5p_v3` into the `chemistry` column: its barcodes are learnt from the reads; for "
        f"another kit name it ({', '.join(PRESETS)}) or its geometry, and its list in the `whitelist` column",
    )

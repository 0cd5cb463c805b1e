"""The introns of a CAR's mRNA: those of the retroviral leader, of promoters, and annotated ones.

The gamma-retroviral donor lies in the packaging signal (GGGAG|GTAAGC) and the acceptor before env
(CTCCAAG|CTCACTTACAGG). Reads place the acceptor: of 475 spliced molecules of axi-cel in MSGV1 458 join there and 17
join 11 nt downstream (4,000 reads of a 10x 5' amplicon, mehdiborji/nanoranger @5a4df55e).
"""

from __future__ import annotations

import re

from carseq.construct.model import Construct
from carseq.construct.parts import find_part, find_sites, parts
from carseq.construct.vectormap import Feature

#: Bases on either side of a splice site that are looked for.
_DONOR_BEFORE, _DONOR_AFTER = 30, 12
_ACCEPTOR_BEFORE, _ACCEPTOR_AFTER = 20, 12
#: Most edits in the second exon's first bases where it is joined to the first one.
_JOINED_EDITS = 3
#: Share of edits at which a splice site counts: leaders of MoMuLV, MSCV and MP71 each have their own donor below.
_EDITS = 0.15
#: The same with more around it, for vectors that differ by up to 15 % from the known ones: parts with a donor, with
#: an acceptor (MP71's stands directly before the insert), bases around them, share of edits.
_DONOR_PARTS, _ACCEPTOR_PARTS = ("MoMuLV_psi", "MSGV1_psi"), ("MoMuLV_psi", "MP71_psi")
_FAR_BEFORE, _FAR_AFTER, _FAR_EDITS = 60, 40, 0.2
#: Introns of promoters: exon before it, end of the intron, exon bases at the end of that part.
_PROMOTER_INTRONS = (
    ("EF1A_exon1", "EF1A_intron_end", 0),
    ("CAG_exon1", "CAG_intron_end", 15),
    # Of CBh, whose intron begins as CAG's.
    ("CAG_exon1", "MVM_intron", 0),
    ("UbC_exon1", "UbC_intron_end", 2),
    # Of HTLV-1's R-U5 in composite promoters: a donor as U1 reads it and an acceptor; no measurement of it is known.
    ("HTLV1_exon1", "HTLV1_intron_end", 0),
    ("CMV_exon1", "CMV_intron_end", 15),
    ("CMV_exon1", "HBB_intron_end", 15),
)
#: Bases before the donor by which a promoter's first exon is known that an mRNA's beginning cuts.
_EXON_END = 14
#: Splice sites near the ends of an annotated intron: bases within and beyond it in which they lie, the bases before an
#: acceptor and how many of them are C or T, and the shortest intron.
_DONOR, _ACCEPTOR = re.compile("GT[AG]AG[TGC]"), re.compile("[CT]AG")
_WITHIN, _BEYOND, _TRACT, _PYRIMIDINES, _SHORTEST = 70, 10, 14, 9, 50
#: Introns known from end to end.
_WHOLE_INTRONS = ("pCI_intron", "SV40_late_intron", "MVM_intron")
#: Words for an intron.
_INTRON = re.compile(r"(?<![a-z])intr[oó]ne?(?![a-z])|интрон|内含子|イントロン", re.I)


def is_intron(feature: Feature) -> bool:
    """Whether a feature is an intron by its kind or its name; primers and sites are named after introns too."""
    named = feature.kind == "misc_feature" and _INTRON.search(feature.label)
    return feature.kind == "intron" or bool(named)


def donors() -> list[str]:
    """Return the bases around the donor of each known leader; the donor lies before GTAAGC."""
    found = []
    for name in ("MoMuLV_psi", "MSGV1_psi"):
        bases = parts()[name]
        cut = bases.index("GTAAGC")
        found.append(bases[cut - _DONOR_BEFORE : cut + _DONOR_AFTER])
    return found


def acceptor() -> str:
    """Return the bases around the env acceptor, which lies before CTCACTTACAGG."""
    bases = parts()["MoMuLV_psi"]
    cut = bases.index("CTCACTTACAGG")
    return bases[cut - _ACCEPTOR_BEFORE : cut + _ACCEPTOR_AFTER]


def _junctions(site: str, before: int, sequence: str) -> list[int]:
    """Return where a splice site lies: the place ``before`` bases into each hit."""
    after = len(site) - before
    found = []
    for start, end, _ in find_part(site, sequence, _EDITS):
        # With an indel in the site, the nearer side tells: the bases behind it are fewer.
        found.append(start + before if end - start == len(site) else end - after)
    return found


def acceptors(sequence: str) -> list[int]:
    """Return the env acceptors of gamma-retroviral leaders in a sequence: where the second exon begins."""
    return _junctions(acceptor(), _ACCEPTOR_BEFORE, sequence)


def _far(names: tuple[str, ...], site: str, after: int, sequence: str) -> list[int]:
    """Return where a splice site lies in a sequence, found by 60 nt before it and ``after`` behind it."""
    best: dict[int, float] = {}
    for name in names:
        bases = parts()[name]
        cut = bases.index(site)
        around = bases[cut - _FAR_BEFORE : cut + after]
        for found in find_sites(around, (_FAR_BEFORE,), sequence, _FAR_EDITS):
            place = found.places[0]
            best[place] = max(found.identity, best.get(place, 0))
    # Leaders are alike: of places close to each other the one of the most similar leader counts.
    kept: list[int] = []
    for place in sorted(best, key=lambda p: -best[p]):
        if all(abs(place - k) > _FAR_BEFORE for k in kept):
            kept.append(place)
    return sorted(kept)


def _is_lost(transcript: str, place: int, names: tuple[str, ...], site: str, at: int) -> bool:
    """Whether a splice site is that of a known leader but for its GT or AG, which begins ``at`` bases from its place.

    In a leader that differs around it too, one base more or less tells nothing.
    """
    core = {_FAR_BEFORE + at, _FAR_BEFORE + at + 1}
    behind = _FAR_AFTER if at == 0 else _ACCEPTOR_AFTER
    own = transcript[max(0, place - _FAR_BEFORE) : place + behind]
    for name in names:
        bases = parts()[name]
        cut = bases.index(site)
        known = bases[cut - _FAR_BEFORE : cut + behind]
        differ = {i for i, (a, b) in enumerate(zip(own, known, strict=False)) if a not in (b, "N")}
        if differ and differ <= core:
            return True
    return False


def splice_sites(transcript: str) -> tuple[int, int] | None:
    """Return (donor, acceptor) of a gamma-retroviral transcript: the psi intron's half-open range, or None.

    None where a leader has no donor or no acceptor (pMSCV and LN vectors have no acceptor), or where one was destroyed.

    Examples
    --------
    >>> psi = parts()["MoMuLV_psi"]
    >>> cut, join = splice_sites(psi)
    >>> psi[cut - 5 : cut], psi[cut : cut + 6], psi[join - 3 : join], psi[join : join + 12]
    ('GGGAG', 'GTAAGC', 'AAG', 'CTCACTTACAGG')
    """
    cuts = sorted(p for site in donors() for p in _junctions(site, _DONOR_BEFORE, transcript))
    joins = acceptors(transcript)
    cuts = cuts or _far(_DONOR_PARTS, "GTAAGC", _FAR_AFTER, transcript)
    if cuts and not joins:
        joins = _far(_ACCEPTOR_PARTS, "CTCACTTACAGG", _ACCEPTOR_AFTER, transcript)
    cuts = [p for p in cuts if not _is_lost(transcript, p, _DONOR_PARTS, "GTAAGC", 0)]
    joins = [p for p in joins if not _is_lost(transcript, p, _ACCEPTOR_PARTS, "CTCACTTACAGG", -2)]
    if not cuts or not joins or joins[-1] <= cuts[0]:
        return None
    return cuts[0], joins[-1]


def _promoter_introns(sequence: str) -> list[tuple[int, int]]:
    found = []
    for before, behind, exon in _PROMOTER_INTRONS:
        bases = parts()[before]
        # A sequence may begin some bases behind the start of transcription.
        first = find_part(bases, sequence) or find_part(bases[-_EXON_END:], sequence[: len(bases)])
        last = find_part(parts()[behind], sequence)
        if not first or not last:
            continue
        cut = sequence.find("GT", max(first[0][1] - 2, 0), first[0][1] + 4)
        join = last[-1][1] - exon
        if 0 <= cut < join:
            found.append((cut, join))
    for name in _WHOLE_INTRONS:
        found += [(start, end) for start, end, _ in find_part(parts()[name], sequence)]
    return found


def _between_sites(transcript: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the intron that a map's feature means, None where it has no splice sites.

    Features of introns often have some bases of the exons on either side.
    """
    if transcript.startswith("GT", start) and transcript.endswith("AG", start, end):
        return start, end
    donor = _DONOR.search(transcript, max(0, start - _BEYOND), min(start + _WITHIN, end))
    lo, hi = max(start, end - _WITHIN), end + _BEYOND
    acceptors = [
        (sum(base in "CT" for base in transcript[m.start() - _TRACT : m.start()]), m.end())
        for m in _ACCEPTOR.finditer(transcript, lo, hi)
    ]
    best = max(acceptors, default=(0, 0))
    if donor is None or best[0] < _PYRIMIDINES or best[1] - donor.start() < _SHORTEST:
        return None
    return donor.start(), best[1]


def find_introns(
    transcript: str, orf: tuple[int, int], annotated: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the introns before the reading frame, half-open, in order.

    Parameters
    ----------
    transcript
        The full-length transcript.
    orf
        The reading frame on it.
    annotated
        Introns that the map names. Of one that does not run from GT to AG the splice sites near its ends are taken;
        one without them is left out.
    """
    psi = splice_sites(transcript)
    found = _promoter_introns(transcript)
    if psi is not None:
        found.append(psi)
    for start, end in annotated:
        if 0 <= start < end and (place := _between_sites(transcript, start, end)) is not None:
            found.append(place)
    kept: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if start > 0 and end <= orf[0] and (not kept or start >= kept[-1][1]):
            kept.append((start, end))
    return kept


def introns_within(construct: Construct, full: str, orf: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the introns of a longer mRNA of a construct: those known by sequence, and those that its map named.

    Parameters
    ----------
    construct
        The construct before its ends were put on.
    full
        Its mRNA with them.
    orf
        The reading frame on that.
    """
    own = [construct.sequence[start:end] for start, end in construct.introns]
    places = [(at, at + len(bases)) for bases in own if (at := full.find(bases)) >= 0]
    return find_introns(full, orf, places)


def joined_leader(sequence: str) -> int | None:
    """Return where the two exons of a gamma-retroviral leader are joined in a spliced mRNA, or None."""
    psi = parts()["MoMuLV_psi"]
    for site in donors():
        left = site[:_DONOR_BEFORE]
        right = psi[psi.index("CTCACTTACAGG") :][:30]
        found = find_sites(left + right[:12], (_DONOR_BEFORE,), sequence, _EDITS)
        # The second exon's bases tell it from an intron whose donor was destroyed.
        hits = [site for site in found if site.edits[1] <= _JOINED_EDITS]
        if hits and splice_sites(sequence) is None:
            return hits[0].places[0]
    return None

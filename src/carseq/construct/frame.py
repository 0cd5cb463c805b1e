"""Faults of the CAR's reading frame: frameshift, premature stop, missing start, missing or cut-off domains."""

from __future__ import annotations

from dataclasses import dataclass

import edlib

from carseq.construct.antibody import variable_domains
from carseq.construct.coding import STOPS, translate
from carseq.construct.findings import Level
from carseq.construct.identify import INHIBITORY
from carseq.construct.model import Construct
from carseq.construct.orfs import MAX_DOMAIN_EDITS
from carseq.construct.parts import find_part, find_protein, known_proteins
from carseq.construct.promoters import known_starts
from carseq.construct.protein import CAR_KINDS, MIN_SECOND, UNNAMED, has_signal_peptide
from carseq.construct.setting import is_joined

#: Residues of a domain that must be there for a piece of it to be looked at; shorter ones occur by chance.
_MIN_PIECE = 25
#: Residues of CD3zeta that must be in another frame to tell of a frameshift in it.
_MIN_REST = 5
#: Residues that are open before the first ATG of a frame that has lost its start.
_MIN_OPEN = 8
#: Bases by which an IRES may reach into the frame before or behind it.
_TOUCH = 12
#: Bases between a CAR and a 2A peptide that joins it to another protein: a linker, a furin site, a tag.
_JOINT = 90
#: Edits (share) of a run of a marker's residues, and bases between a 2A peptide and the first such run or the CAR's
#: binder: a leader, a tag, two linkers.
_RUN_EDITS, _LEADER = 0.12, 300
#: Last residues of a marker or of CD3zeta that tell that they are in another frame.
_END = 3
#: Residues of a known signal peptide's halves, and bases before a marker in which they lie.
_HALF, _HEAD = 8, 150
#: Markers and cytokines that begin with a signal peptide.
_WITH_LEADER = {"CD19t", "NGFRt", "EGFRt", "RQR8", "Thy1.1", "HER2t", "dnTGFBR2"} | {
    *("IL7", "IL12A", "IL12B", "IL15", "IL15RA", "IL21", "CCL19"),
}
#: Bases before a frame in which a variable domain is its own, and residues behind its start in which that may end.
_BINDER_REACH, _SECOND_V = 3000, 60
#: Most bases of a linker between two proteins that are one switch (FKBP12 and caspase 9).
_LINKER = 60
#: Residues at either end of a 2A peptide that tell it where a base was lost within.
_HALF_2A = 8
#: Residues behind the CAR's last domain from which on its stop codon seems to be lost.
_MIN_RUN = 8
#: Unknown residues of a frame that may be a domain which is missed.
_MIN_UNKNOWN = 5
#: Kinds of domain whose place in another frame tells of a fault. Markers and backbone genes have frames of their own.
_TELLING = {"signal peptide", "binder", *CAR_KINDS}
#: Signalling that a CAR may have instead of CD3zeta.
_INSTEAD = {"signalling", "costimulatory"}


@dataclass(frozen=True)
class Fault:
    """A fault of the reading frame: its level, code, what was seen, what to do, and where (a base)."""

    code: str
    message: str
    remedy: str
    position: int
    level: Level = "warn"


@dataclass(frozen=True)
class Piece:
    """A protein domain found in any frame: its name, kind, frame (0-2) and half-open range on the transcript."""

    name: str
    kind: str
    frame: int
    start: int
    end: int


def pieces(construct: Construct) -> list[Piece]:
    """Return the known CAR domains of the transcript's sense strand, whatever their frame, in order."""
    found = []
    for frame in range(3):
        text = translate(construct.sequence[frame:])
        for domain in known_proteins(*_TELLING):
            if len(domain.sequence) < _MIN_PIECE and domain.kind != "signal peptide":
                continue
            for start, end, _ in find_protein(domain.sequence, text, MAX_DOMAIN_EDITS):
                place = (frame + 3 * start, frame + 3 * end)
                found.append(Piece(domain.name, domain.kind, frame, *place))
    return sorted(found, key=lambda p: (p.start, p.end))


def extent(construct: Construct) -> tuple[int, int]:
    """Return where the CAR's coding part lies: its ORF and every domain, out of frame or not."""
    places = [(p.start, p.end) for p in pieces(construct)]
    if construct.orf:
        places.append(construct.orf)
    if not places:
        return 0, len(construct.sequence)
    return min(a for a, _ in places), max(b for _, b in places)


def reading_faults(construct: Construct) -> list[Fault]:
    """Return the faults of the CAR's reading frame, by position.

    Out-of-frame or cut-off domains give them away: a domain behind the stop in the ORF's own frame tells of a
    premature stop, one in another frame of a frameshift. A part of a CAR has neither start nor stop, nor need it hold
    all domains: it has none.
    """
    if construct.orf is None or construct.form == "partial":
        return []
    start, end = construct.orf
    sequence = construct.sequence
    found: list[Fault] = []
    frame = start % 3
    everything = pieces(construct)
    inside = [p for p in everything if p.frame == frame and p.start >= start and p.end <= end]
    # Of a domain found in two frames (repeats) the one in the CAR's frame counts, but no marker's behind a 2A peptide.
    lo, hi = _own(construct)
    known = {p.name for p in inside if lo <= p.start < hi}
    outside = [
        p
        for p in everything
        if p not in inside and p.name not in known and not _is_apart(construct, p)
    ]
    # A leader behind the CAR's stop codon, or behind its last domain, is that of a second protein.
    rows = [r for r in construct.domain_rows if start <= r.start and r.end <= end]
    inner = max((r.end for r in rows if r.kind in CAR_KINDS), default=end - 3)
    outside = [p for p in outside if p.kind != "signal peptide" or p.start < min(inner, end - 3)]
    shifted = [p for p in outside if p.frame != frame]
    # A stop codon inside a domain counts as one edit of it: the domain then reaches across the frame's end.
    across = [p for p in outside if p.frame == frame and p.start < end - 3 < p.end - 3]
    later = [p for p in outside if p.frame == frame and p.start >= end - 3]
    earlier = [p for p in outside if p.frame == frame and p.end <= start]
    stops = [i for i in range(start, end - 3, 3) if sequence[i : i + 3] in STOPS]
    look = (
        "Check the map there; compare it with the reads (`carseq construct FILE --bam READS.bam`)."
    )
    if shifted:
        names = ", ".join(p.name for p in shifted)
        found.append(
            Fault(
                "frameshift",
                f"In another reading frame than the CAR's ORF ({start + 1}-{end}): {names}. An insertion or "
                "deletion breaks the frame.",
                look,
                end if shifted[-1].end > end else start,
                "error",
            )
        )
    cut = None if shifted or stops else _shifted_signalling(construct)
    if cut is not None:
        found.append(cut)
    if stops:
        behind = ", ".join(p.name for p in inside if p.start > stops[0]) or "the rest of the CAR"
        found.append(
            Fault(
                "premature_stop",
                f"The reading frame stops at base {stops[0] + 3} ({sequence[stops[0] : stops[0] + 3]}) "
                f"before {behind}.",
                look,
                stops[0] + 3,
                "error",
            )
        )
    elif later or (across and sequence[end - 3 : end] in STOPS):
        names = ", ".join(p.name for p in later) or f"the end of {across[0].name}"
        found.append(
            Fault(
                "premature_stop",
                f"The reading frame stops at base {end} ({sequence[end - 3 : end]}) before {names}.",
                look,
                end,
                "error",
            )
        )
    found += _lost_start(construct, earlier)
    joints: list[Fault] = []
    if not any(f.code in ("frameshift", "premature_stop") for f in found):
        joints = _broken_joints(construct)
    in_gene = _ends_in_gene(construct)
    if not in_gene and end - start >= 3 and sequence[end - 3 : end] not in STOPS:
        found.append(
            Fault(
                "no_stop",
                "The CAR's reading frame has no stop codon.",
                "Check the 3' end of the map.",
                end,
            )
        )
    elif not in_gene and cut is None and all(f.level == "error" for f in joints):
        # A frame that runs on where the 2A peptide behind the CAR is broken has lost no stop codon.
        found += _run_on(construct)
    found += joints
    if not found:
        found += _binder_before(construct) or _no_signal_peptide(construct)
        found += _marker_without_leader(construct) + _behind_ires(construct)
    missing = _missing_domains(construct, [*inside, *outside])
    # What a shift or a stop codon takes out of the frame does not lack besides; a CD3zeta whose rest is in another
    # frame is not cut off.
    broken = {f.code for f in found} & {"frameshift", "premature_stop"}
    kept = {"truncated_cd3zeta", "no_cd3zeta"} if cut is None else set()
    found += [f for f in missing if f.code in kept or not broken]
    return sorted(found, key=lambda f: f.position)


def _own(construct: Construct) -> tuple[int, int]:
    """Return where the CAR's own protein lies in its reading frame, between the 2A peptides beside it."""
    assert construct.orf is not None
    start, end = construct.orf
    rows = [r for r in construct.domain_rows if start <= r.start and r.end <= end]
    core = [r for r in rows if r.kind in CAR_KINDS]
    first = min((r.start for r in core), default=start)
    last = max((r.end for r in core), default=end)
    joints = [r for r in rows if r.kind == "2A peptide"]
    return (
        max((r.end for r in joints if r.end <= first), default=start),
        min((r.start for r in joints if r.start >= last), default=end),
    )


def _ends_in_gene(construct: Construct) -> bool:
    """Whether the CAR's frame may go on in the gene that a donor is knocked into, whose last exons end the mRNA."""
    known = construct.three is not None and construct.three.known
    return not known and any(code == "knock_in" for code, _ in construct.notes)


def _run_on(construct: Construct) -> list[Fault]:
    """Return the fault of a frame that goes on behind the CAR's last domain for some residues of nothing known."""
    assert construct.orf is not None
    start, end = construct.orf
    rows = [r for r in construct.domain_rows if start <= r.start and r.end <= end]
    inner = max((r.end for r in rows if r.kind in ("CD3zeta", "signalling")), default=end)
    last = max(rows, key=lambda r: r.end, default=None)
    if last is None or last.name != UNNAMED or last.start > inner:
        return []
    n = (end - 3 - inner) // 3
    if not _MIN_RUN <= n < MIN_SECOND:
        return []
    return [
        Fault(
            "no_stop",
            f"The reading frame goes on behind the CAR's last domain for {n} residues of nothing known: its stop codon "
            f"seems to be lost (base {inner + 1}).",
            "Check the map there; ignore this if the CAR ends in a tag that carseq does not know.",
            inner,
        )
    ]


def _broken_joints(construct: Construct) -> list[Fault]:
    """Return the faults of 2A peptides directly before or behind the CAR that are not in its frame."""
    assert construct.orf is not None
    start, end = construct.orf
    rows = [r for r in construct.domain_rows if start <= r.start and r.end <= end]
    inner = max((r.end for r in rows if r.kind in CAR_KINDS), default=end)
    faults: dict[bool, Fault] = {}
    for frame in range(3):
        text = translate(construct.sequence[frame:])
        for domain in known_proteins("2A peptide"):
            for first, last, _ in find_protein(domain.sequence, text, MAX_DOMAIN_EDITS):
                lo, hi = frame + 3 * first, frame + 3 * last
                shifted = frame != start % 3
                if shifted and -_JOINT <= start - hi <= _JOINT:
                    faults[True] = Fault(
                        "frameshift",
                        f"{domain.name} before the CAR (bases {lo + 1}-{hi}) lies in another reading frame: the CAR "
                        "behind it would not be translated. An insertion or deletion breaks the frame.",
                        "Check the map there; compare it with the reads (`carseq construct FILE --bam READS.bam`).",
                        start,
                        "error",
                    )
                elif -_TOUCH <= lo - inner <= _JOINT and (shifted or lo >= end - 3):
                    faults[False] = Fault(
                        "frameshift" if shifted else "premature_stop",
                        f"{domain.name} behind the CAR (bases {lo + 1}-{hi}) "
                        + (
                            "lies in another reading frame"
                            if shifted
                            else "lies behind a stop codon"
                        )
                        + ": the protein behind it would not be translated. The CAR is.",
                        "Check the map there if cells are sorted by that protein.",
                        inner,
                        "warn",
                    )
    return list(faults.values()) or _broken_partners(construct)


@dataclass(frozen=True)
class _Run:
    """Some residues of a marker: its name, where they lie in it, the frame that has them, and their half-open place."""

    name: str
    at: int
    frame: int
    start: int
    end: int


def _runs(sequence: str, lo: int, hi: int, last: bool) -> list[_Run]:
    """Return what ``sequence[lo:hi]`` holds of the markers and switches beside its end (or start), in whatever frame.

    They follow each other with no more than a linker, or a 2A peptide and a leader, between; of several copies the
    nearest one counts.
    """
    texts = [translate(sequence[lo + offset : hi]) for offset in range(3)]
    sizes = {d.name: len(d.sequence) for d in known_proteins("marker", "switch")}
    found = []
    for domain in known_proteins("marker", "switch"):
        final = max(0, len(domain.sequence) - _MIN_PIECE)
        for at in [*range(0, final, _MIN_PIECE), final]:
            piece = domain.sequence[at : at + _MIN_PIECE]
            for offset, text in enumerate(texts):
                for a, b, _ in find_part(piece, text, _RUN_EDITS):
                    start = lo + offset + 3 * a
                    found.append(_Run(domain.name, at, start % 3, start, start + 3 * (b - a)))
    found.sort(key=lambda r: r.start, reverse=last)
    edge = hi if last else lo
    kept: list[_Run] = []
    for run in found:
        between = sequence[run.end : edge] if last else sequence[edge : run.start]
        copies = [k for k in kept if k.name == run.name]
        again = bool(copies) and (run.at >= copies[-1].at) == last
        # Another one that no 2A peptide joins is a protein of its own (a floxed reporter before the CAR). A base lost
        # near the end of one may hide a run of either.
        joint = _LINKER
        if kept:
            one, two = (run, kept[-1]) if last else (kept[-1], run)
            hidden = two.at + sizes[one.name] - one.at - _MIN_PIECE
            joint += 3 * max(0, min(hidden, 2 * _MIN_PIECE))
        apart = bool(kept) and not copies and len(between) > joint and not _half_2a(between)
        if len(between) > _LEADER or again or apart:
            break
        kept.append(run)
        edge = run.start if last else run.end
    return sorted(kept, key=lambda r: r.start)


def _half_2a(sequence: str) -> bool:
    """Whether one end of a 2A peptide lies in a sequence, in whatever frame."""
    texts = [translate(sequence[offset:]) for offset in range(3)]
    return any(
        end in text
        for domain in known_proteins("2A peptide")
        for end in (domain.sequence[:_HALF_2A], domain.sequence[-_HALF_2A:])
        for text in texts
    )


def _names(runs: list[_Run]) -> str:
    return " and ".join(dict.fromkeys(run.name for run in runs))


def _broken_partners(construct: Construct) -> list[Fault]:
    """Return the faults of a marker before or behind the CAR that the 2A peptide in the CAR's frame does not join.

    A base lost within the marker, or a stop codon, parts it from the 2A peptide however far off. The ribosome that
    began at a marker before the CAR then never comes to the CAR; of one behind it the marker alone is lost.
    """
    assert construct.orf is not None
    start, end = construct.orf
    sequence = construct.sequence
    rows = [r for r in construct.domain_rows if r.kind in CAR_KINDS or r.kind == "binder"]
    first = min((r.start for r in rows), default=start)
    inner = max((r.end for r in rows), default=end)
    own, head = start % 3, translate(sequence[start % 3 :])
    joints = sorted(
        (own + 3 * a, own + 3 * b)
        for domain in known_proteins("2A peptide")
        for a, b, _ in find_protein(domain.sequence, head, MAX_DOMAIN_EDITS)
    )
    faults = []
    # What is left of a marker may have parts of a CAR's (RQR8: CD8A's) before the 2A peptide.
    signals = [r.start for r in rows if r.kind in ("CD3zeta", *_INSTEAD)]
    rest = max(
        (j[1] for j in joints if start <= j[0] and j[1] <= min(signals, default=0)), default=0
    )
    first = max(first, rest)
    # Within the frame, a first binder without a name may lie between.
    near = [j for j in joints if j[1] <= first and (first - j[1] <= _LEADER or start <= j[0])]
    before = max(near, default=None)
    if before is not None and len(runs := _runs(sequence, 0, before[0], True)) > 1:
        shifted = any(run.frame != own for run in runs)
        codons = range(runs[0].start, before[0], 3)
        stop = None if shifted else next((i for i in codons if sequence[i : i + 3] in STOPS), None)
        why = "a base was lost or added before that, or its start codon is missing"
        if stop is not None:
            why = f"a stop codon lies between (base {stop + 3})"
        if shifted or stop is not None or start > runs[0].start:
            faults.append(
                Fault(
                    "frameshift" if stop is None else "premature_stop",
                    f"{_names(runs)} before the CAR and the 2A peptide that joins them (bases "
                    f"{before[0] + 1}-{before[1]}) lie in no common reading frame: {why}. The CAR behind it would not "
                    "be translated.",
                    "Check the map there; compare it with the reads (`carseq construct FILE --bam READS.bam`).",
                    before[0],
                    "error",
                )
            )
    if before is None and len(runs := _runs(sequence, 0, start, True)) > 1:
        last = runs[-1]
        piece = Piece(last.name, "marker", last.frame, last.start, last.end)
        if _half_2a(sequence[last.end : start]) and not _is_apart(construct, piece):
            faults.append(
                Fault(
                    "frameshift" if last.frame != own else "premature_stop",
                    f"{_names(runs)} lies before the CAR (bases {runs[0].start + 1}-{last.end}), and the 2A peptide "
                    "between is not whole in any frame: the CAR behind it would not be translated.",
                    "Check the map there; compare it with the reads (`carseq construct FILE --bam READS.bam`).",
                    start,
                    "error",
                )
            )
    return faults + _broken_behind(construct, joints, inner)


def _broken_behind(construct: Construct, joints: list[tuple[int, int]], inner: int) -> list[Fault]:
    """Return the fault of a marker behind the CAR, which a 2A peptide or a linker joins to it.

    Parameters
    ----------
    construct
        The CAR.
    joints
        2A peptides in its frame.
    inner
        Where its last domain ends.
    """
    assert construct.orf is not None
    start, end = construct.orf
    sequence, own = construct.sequence, start % 3
    behind = next((j for j in joints if 0 <= j[0] - inner <= _JOINT), None)
    first = inner if behind is None else behind[1]
    runs = _runs(sequence, first, len(sequence), False)
    if len(runs) < 2:
        return []
    head = runs[0]
    shifted = any(run.frame != own for run in runs)
    if not shifted and runs[-1].end <= end:
        return _broken_end(sequence, runs[-1])
    why = "changes its reading frame" if shifted else f"has a stop codon in it (base {end})"
    told = f"{_names(runs)} behind the CAR {why}: it would not be made whole. The CAR is."
    if behind is None:
        piece = Piece(head.name, "marker", head.frame, head.start, head.end)
        whole = any(inner <= j[0] and j[1] <= head.start for j in joints)
        if whole or _is_apart(construct, piece):
            return []
        if _half_2a(sequence[inner : head.start]):
            told = (
                f"{_names(runs)} lies behind the CAR (bases {head.start + 1}-{runs[-1].end}), and the 2A peptide "
                "between is not whole in any frame: the protein behind it would not be made. The CAR is."
            )
        # What lies behind the CAR's own stop codon was never joined to it (the rest of another vector's gene).
        elif not head.start - 3 * head.at < min(inner + _LINKER, end):
            return []
    return [
        Fault(
            "frameshift" if shifted else "premature_stop",
            told,
            "Check the map there if cells are sorted by that protein.",
            first,
            "warn",
        )
    ]


def _broken_end(sequence: str, run: _Run) -> list[Fault]:
    """Return the fault of a marker behind the CAR whose last residues are in another frame than the run before them."""
    whole = next(d.sequence for d in known_proteins("marker", "switch") if d.name == run.name)
    if _shifted_end(sequence, whole, run.start - 3 * run.at) is None:
        return []
    return [
        Fault(
            "frameshift",
            f"The last residues of {run.name} behind the CAR are in another reading frame: it would not be made whole. "
            "The CAR is.",
            "Check the map there if cells are sorted by that protein.",
            run.start,
            "warn",
        )
    ]


def _lost_leader(sequence: str, at: int) -> bool:
    """Whether a marker that begins at ``at`` has no signal peptide in frame, but half of a known one before it."""
    lo = max(0, at - _LEADER)
    before = translate(sequence[lo + (at - lo) % 3 : at]).rpartition("*")[2]
    begun = before + translate(sequence[at : at + 3 * _MIN_PIECE])
    if any(begun[i] == "M" and has_signal_peptide(begun[i:]) for i in range(len(before))):
        return False
    texts = [translate(sequence[at - n : at]) for n in range(_HEAD, _HEAD + 3)]
    halves = [
        half
        for leader in known_proteins("signal peptide")
        for half in (leader.sequence[:_HALF], leader.sequence[-_HALF:])
    ]
    return any(half in text for half in halves for text in texts)


def _marker_without_leader(construct: Construct) -> list[Fault]:
    """Return the fault of a marker before the CAR that begins without its signal peptide."""
    assert construct.orf is not None
    start, end = construct.orf
    rows = [r for r in construct.domain_rows if start <= r.start and r.end <= end]
    first = next((r for r in rows if r.name != UNNAMED), None)
    if (
        first is None
        or first.name not in _WITH_LEADER
        or not _lost_leader(construct.sequence, first.start)
    ):
        return []
    return [
        Fault(
            "no_signal_peptide",
            f"{first.name} before the CAR (from base {first.start + 1} on) begins without a signal peptide: a base of "
            "its leader, or its start codon, may be missing. The CAR behind it would then not be translated.",
            "Check the map there; compare it with the reads (`carseq construct FILE --bam READS.bam`).",
            first.start,
        )
    ]


def _behind_ires(construct: Construct) -> list[Fault]:
    """Return the fault of a marker that an IRES behind the CAR translates, which the CAR's frame does not show."""
    assert construct.orf is not None
    end, sequence = construct.orf[1], construct.sequence
    ires = [r for r in construct.domain_rows if r.kind == "IRES" and r.start >= end - _TOUCH]
    runs = _runs(sequence, ires[0].end, len(sequence), False) if ires else []
    if len(runs) < 2:
        return []
    first, last = runs[0], runs[-1]
    begin = first.start - 3 * first.at
    if len({run.frame for run in runs}) > 1:
        code, why = "frameshift", "is broken by an insertion or deletion"
    elif any(sequence[i : i + 3] in STOPS for i in range(first.start, last.end, 3)):
        code, why = "premature_stop", "has a stop codon in it"
    elif first.name in _WITH_LEADER and _lost_leader(sequence, begin):
        code, why = (
            "no_signal_peptide",
            "begins without a signal peptide: a base of its leader may be missing",
        )
    else:
        return _broken_end(sequence, last)
    return [
        Fault(
            code,
            f"{_names(runs)} behind the CAR's IRES (from base {begin + 1} on) {why}: it would not be made whole. The "
            "CAR is.",
            "Check the map there if cells are sorted by that protein.",
            begin,
        )
    ]


def _binder_before(construct: Construct) -> list[Fault]:
    """Return the fault of a CAR whose frame begins behind a variable domain of it: a base or a stop codon parts them.

    Where its leader is a known one, that tells; of an unknown leader nothing else does.
    """
    assert construct.orf is not None
    start, sequence = construct.orf[0], construct.sequence
    if is_joined(sequence, start):
        return []
    lo = max(0, start - _BINDER_REACH)
    before = [
        Piece(
            d.name, "binder", (lo + offset) % 3, lo + offset + 3 * d.start, lo + offset + 3 * d.end
        )
        for offset in range(3)
        for d in variable_domains(translate(sequence[lo + offset : start + 3 * _SECOND_V]))
    ]
    own = start % 3
    before = [
        p
        for p in before
        if p.start < start
        # In the CAR's own frame a stop codon parts it from that.
        and (p.frame != own or "*" in translate(sequence[p.end : start]))
        and not _is_apart(construct, p)
    ]
    if not before:
        return []
    last = max(before, key=lambda p: p.end)
    shifted = last.frame != own
    return [
        Fault(
            "frameshift" if shifted else "premature_stop",
            f"{last.name} (bases {last.start + 1}-{last.end}) lies before the CAR's reading frame, "
            + (
                "in another one: an insertion or deletion breaks the frame."
                if shifted
                else "and a stop codon between them."
            ),
            "Check the map there; compare it with the reads (`carseq construct FILE --bam READS.bam`).",
            last.end,
            "error",
        )
    ]


def _no_signal_peptide(construct: Construct) -> list[Fault]:
    """Return the fault of a CAR without a signal peptide: a base in it, or its start codon, may be lost."""
    assert construct.orf is not None
    start, end = construct.orf
    rows = [r for r in construct.domain_rows if start <= r.start and r.end <= end]
    kinds = [r.kind for r in rows]
    # What spans the membrane before it binds (NKG2D's own) has none, nor what a gene's exon or a 2A peptide precedes.
    spans = kinds.index("transmembrane") if "transmembrane" in kinds else len(kinds)
    if (
        "signal peptide" in kinds[:spans]
        or "binder" not in kinds[:spans]
        or any(kind in ("2A peptide", "marker", "switch") for kind in kinds[:spans])
        or has_signal_peptide(construct.protein)
        or is_joined(construct.sequence, start)
    ):
        return []
    return [
        Fault(
            "no_signal_peptide",
            f"The CAR's reading frame begins without a signal peptide (base {start + 1}): it would not reach the "
            "membrane. A base of its leader, or its start codon, may be missing.",
            "Check the 5' end of the reading frame.",
            start,
        )
    ]


def _is_apart(construct: Construct, piece: Piece) -> bool:
    """Whether a domain is that of another protein: an IRES or a promoter lies between it and the CAR's frame."""
    assert construct.orf is not None
    start, end = construct.orf
    lo, hi = (piece.end, start) if piece.end <= start else (end, piece.start)
    if lo >= hi:
        return False
    ires = [r for r in construct.domain_rows if r.kind == "IRES"]
    # A part of the frame's edge may look like one of the IRES's.
    if any(lo - _TOUCH <= r.start and r.end <= hi + _TOUCH for r in ires):
        return True
    return bool(known_starts(construct.sequence, lo, hi))


def _lost_start(construct: Construct, earlier: list[Piece]) -> list[Fault]:
    """Return the fault of a frame that began before its first ATG.

    A leader without a stop codon in the CAR's frame is not enough (one of 60-150 nt often has none): it must hold a
    CAR domain, or the file must begin inside the frame and no signal peptide follow the ATG.
    """
    assert construct.orf is not None
    start, sequence = construct.orf[0], construct.sequence
    first = start
    while first >= 3 and sequence[first - 3 : first] not in STOPS:
        first -= 3
    residues = (start - first) // 3
    lost = [p for p in earlier if p.start >= first]
    five = construct.five is not None and construct.five.known
    cut = (
        first < 3
        and residues >= _MIN_OPEN
        and not five
        and not has_signal_peptide(construct.protein)
    )
    if not (lost or cut) or is_joined(sequence, start):
        return []
    what = ", ".join(p.name for p in lost) or f"{residues} residues"
    return [
        Fault(
            "missing_start",
            f"The reading frame is open before its first ATG (base {start + 1}): {what} would not be "
            "translated, the start codon seems to be missing.",
            "Check the 5' end of the map.",
            start,
            "error" if lost else "warn",
        )
    ]


def _missing_domains(construct: Construct, found: list[Piece]) -> list[Fault]:
    """Return a fault for each kind of domain that the CAR lacks, by its name."""
    assert construct.orf is not None
    start, end = construct.orf
    rows = [r for r in construct.domain_rows if r.start >= start and r.end <= end]
    kinds = {r.kind for r in rows}
    # The constant parts of a TCR, and Notch's core, are their own stalk and span the membrane.
    core = next((what for what in ("TCR", "Notch") if any(what in r.name for r in rows)), "")
    faults = []
    if not any(p.kind == "CD3zeta" for p in found):
        instead = [r.name for r in rows if r.kind in _INSTEAD]
        short = sum((r.end - r.start) // 3 for r in rows if r.kind == "CD3zeta")
        spans = max((r.end for r in rows if r.kind == "transmembrane"), default=end)
        inner = sum((r.end - r.start) // 3 for r in rows if r.name == UNNAMED and r.start >= spans)
        zeta = _zeta(construct, instead, core, short, inner)
        faults += [] if zeta is None else [zeta]
    for kind, code, what in (
        ("binder", "no_binder", "binder (scFv, VHH, DARPin, natural ligand)"),
        ("hinge", "no_hinge", "hinge or spacer"),
        ("transmembrane", "no_transmembrane", "transmembrane domain"),
    ):
        if core and kind != "binder":
            continue
        if kind not in kinds and not any(p.kind == kind for p in found):
            # A hinge of a few residues is common; a CAR without a transmembrane part is none.
            level: Level = "warn"
            n_unknown = construct.protein.count("X")
            if code != "no_binder":
                level = "info" if code == "no_hinge" else "error"
            if level == "error" and n_unknown >= _MIN_UNKNOWN:
                level = "warn"
            faults.append(
                Fault(
                    code,
                    f"No {what} was found in the CAR's reading frame."
                    + (
                        f" {n_unknown} of its residues are unknown."
                        if n_unknown >= _MIN_UNKNOWN
                        else ""
                    ),
                    "Check the map; ignore this if the CAR has one that carseq does not know.",
                    start,
                    level,
                )
            )
    return faults


def _shifted_signalling(construct: Construct) -> Fault | None:
    """Return the fault of a signalling domain whose beginning and rest are in different frames, or None."""
    assert construct.orf is not None
    start, protein = construct.orf[0], construct.protein
    places = []
    for domain in known_proteins("CD3zeta", "signalling"):
        zeta = domain.sequence
        hit = edlib.align(zeta[:_MIN_PIECE], protein, mode="HW", task="locations", k=3)
        first = hit["locations"][0][0] if hit["editDistance"] >= 0 else 0
        if not first and domain.kind != "CD3zeta":
            continue
        if zeta[-_MIN_REST:] in protein[first:]:
            # In frame to its end, whatever another species' looks like in another frame.
            return None
        places.append((domain.name, zeta, first))
    for name, zeta, first in places:
        lo = start + 3 * first
        if (end := _shifted_end(construct.sequence, zeta, lo)) is not None:
            return Fault(
                "frameshift",
                f"The reading frame breaks in the last residues of {name} (before base {end + 1}): those behind are in "
                "another frame. An insertion or deletion breaks the frame.",
                "Check the map there; compare it with the reads (`carseq construct FILE --bam READS.bam`).",
                end,
                "error",
            )
        size = 3 * (len(zeta) + 12) if first else len(construct.sequence)
        for n in range(len(zeta) - _MIN_PIECE, _MIN_REST - 1, -3):
            rest = zeta[-n:]
            for shift in (1, 2):
                other = translate(construct.sequence[lo + shift : lo + shift + size])
                found = find_protein(rest, other, MAX_DOMAIN_EDITS)
                if found:
                    base = lo + shift + 3 * found[0][0]
                    return Fault(
                        "frameshift",
                        f"The reading frame breaks in {name} before base {base + 1}, from where on its last {n} "
                        "residues are in another frame. An insertion or deletion breaks the frame.",
                        "Check the map there; compare it with the reads (`carseq construct FILE --bam READS.bam`).",
                        base,
                        "error",
                    )
    return None


def _shifted_end(sequence: str, whole: str, lo: int) -> int | None:
    """Return where the last residues of a protein that begins at ``lo`` lie if they are one base off its frame."""
    at = lo + 3 * (len(whole) - _END)
    places = [at + shift for shift in (0, -1, 1)]
    ends = [translate(sequence[a : a + 3 * _END]) for a in places]
    tail = whole[-_END:]
    return None if ends[0] == tail or tail not in ends else places[ends.index(tail)]


def _agreeing(own: str, zeta: str) -> int:
    """Return how many residues of CD3zeta a protein shows: up to the last stretch of five that agrees."""
    kept = _MIN_PIECE
    for n in range(_MIN_PIECE, min(len(own), len(zeta)) + 1):
        if own[n - 5 : n] == zeta[n - 5 : n]:
            kept = n
    return kept


def _zeta(
    construct: Construct, instead: list[str], core: str, short: int, inner: int
) -> Fault | None:
    """Return what is wrong with a CD3zeta that was not found as a whole; None if it only has other residues.

    Parameters
    ----------
    construct
        The CAR.
    instead
        Names of the other domains that signal.
    core
        ``TCR`` where it has constant parts of one, ``Notch`` where it has Notch's core, else empty.
    short
        Residues of CD3zeta that were found all the same.
    inner
        Residues without a name behind the transmembrane domain.
    """
    zeta = known_proteins("CD3zeta")[0].sequence
    head = zeta[:_MIN_PIECE]
    protein = construct.protein
    assert construct.orf is not None
    hit = edlib.align(head, protein, mode="HW", task="locations", k=3)
    if hit["editDistance"] >= 0:
        first = hit["locations"][0][0]
        kept = _agreeing(protein[first:], zeta)
        if kept == len(zeta):
            return None
        at = construct.orf[0] + 3 * (first + kept)
        if _ends_in_gene(construct):
            return Fault(
                "truncated_cd3zeta",
                f"CD3zeta goes on in the gene that the CAR is knocked into: {kept} of its {len(zeta)} residues are in "
                f"the file (up to base {at}).",
                "Ignore this if the donor is made for CD247.",
                at,
                "info",
            )
        return Fault(
            "truncated_cd3zeta",
            f"CD3zeta is cut off: {kept} of its {len(zeta)} residues are in the reading frame (up to base {at}).",
            "Check the 3' end of the map; ignore this for a CAR with a shortened CD3zeta.",
            at,
        )
    if short:
        return Fault(
            "truncated_cd3zeta",
            f"CD3zeta is incomplete: {short} of its {len(zeta)} residues are in the reading frame.",
            "Check the map; ignore this for a CAR with a shortened CD3zeta.",
            construct.orf[1],
        )
    if core == "Notch" and not instead:
        return Fault(
            "no_cd3zeta",
            "No CD3zeta or other signalling domain was found in the reading frame: a synNotch receptor releases a "
            "transcription factor, and signals as no CAR does.",
            "To find CAR T cells, give the vector of the CAR that it switches on; this one finds cells that have it.",
            construct.orf[1],
            "error",
        )
    if core == "TCR" and not instead:
        instead = ["the CD3 chains beside its TCR constant parts (STAR, HIT)"]
    if instead:
        does = "inhibits" if INHIBITORY.issuperset(instead) else "signals"
        return Fault(
            "no_cd3zeta",
            f"No CD3zeta was found in the reading frame; the CAR {does} through {', '.join(instead)}.",
            "Ignore this if the CAR is made so.",
            construct.orf[1],
            "info",
        )
    if inner >= _MIN_PIECE:
        return Fault(
            "no_cd3zeta",
            f"No known signalling domain was found; {inner} residues behind the transmembrane domain are of no known "
            "one.",
            "Ignore this if the CAR signals through another protein (ZAP-70, LAT); else check the map there.",
            construct.orf[1],
        )
    return Fault(
        "no_cd3zeta",
        "No CD3zeta or other signalling domain was found in the reading frame.",
        "Check the map for a frameshift or a truncated domain; without signalling the receptor is not a CAR.",
        construct.orf[1],
        "error",
    )

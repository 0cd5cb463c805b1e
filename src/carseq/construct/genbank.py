"""GenBank files as programs really write them.

Plasmid editors bend the LOCUS line (names with spaces, shifted columns), leave out sections or write features that end
before they begin. The sequence and the other features are sound nevertheless, so each part is read on its own: a
feature that cannot be understood is left out with a remark; only a file that was cut off is refused.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from carseq.construct.vectormap import Feature, feature_kind, feature_label

_QUALIFIER = re.compile(r"/(\w+)=?(.*)", re.S)
#: A line of bases that is not indented: with its number, or bases alone.
_BASES = re.compile(r"\d+(\s+[A-Za-z*.-]+)*\s*|[ACGTURYSWKMBDHVN\s]+", re.IGNORECASE)
#: Share of the numbers of a record's lines up to which those that do not follow tell of lost or repeated lines.
_MAX_BREAKS = 0.1
_FEATURE = re.compile(r"^ {1,8}(\S+)\s+(\S.*)$")


@dataclass
class GenBankRecord:
    """A record: its name, sequence, topology (None where it is not said), features, words and remarks.

    ``missing`` and ``cut_short`` say what it lacks of its bases: see :func:`lacking`.
    """

    name: str
    sequence: str
    circular: bool | None
    is_protein: bool
    features: list[Feature] = field(default_factory=list)
    text: str = ""
    remarks: list[str] = field(default_factory=list)
    missing: str = ""
    cut_short: str = ""


class CutOffError(ValueError):
    """A file that ends before its sequence does."""


def read_genbank(text: str) -> list[GenBankRecord]:
    """Return the records of a GenBank file.

    Raises
    ------
    CutOffError
        If the sequence is shorter than the LOCUS line says and the record has no end (``//``).
    """
    found = []
    for lines, ended in _records(text.splitlines()):
        record = _record(lines, ended)
        if record is not None:
            found.append(record)
    return found


def _records(lines: list[str]) -> Iterator[tuple[list[str], bool]]:
    own: list[str] = []
    for line in lines:
        if line.startswith("//"):
            yield own, True
            own = []
        elif line.startswith("LOCUS") and any(x.startswith("LOCUS") for x in own):
            yield own, False
            own = [line]
        else:
            own.append(line)
    if any(line.strip() for line in own):
        yield own, False


def _record(lines: list[str], ended: bool) -> GenBankRecord | None:
    locus = next((x for x in lines if x.startswith("LOCUS")), "")
    if not locus and not any(x.startswith("ORIGIN") for x in lines):
        return None
    section, words, features, bases = "", [], [], []
    for line in lines:
        if line[:1].strip() and not (section == "ORIGIN" and _BASES.fullmatch(line)):
            section = line.split()[0]
            if section == "ORIGIN":
                continue
        if section == "ORIGIN":
            bases.append(line)
        elif section == "FEATURES":
            features.append(line)
        elif section in ("DEFINITION", "COMMENT"):
            words.append(line.replace(section, "", 1).strip())
    sequence = "".join(map(_letters_of, bases))
    told = _length_told(locus)
    length = int(told.group(1).replace(",", "")) if told else None
    rest = locus[told.end() :] if told else locus[5:]
    circular = True if re.search(r"\bcircular\b", rest, re.I) else None
    if circular is None and re.search(r"\blinear\b", rest, re.I):
        circular = False
    name = locus[5 : told.start()].strip() if told else (locus[5:].split() or [""])[0]
    if not ended and (length is None or len(sequence) < length):
        raise CutOffError(
            f"the record {name or '(without a name)'} ends after {len(sequence):,} bases"
            + (f" of {length:,}" if length else "")
            + " and has no closing line (//)"
        )
    record = GenBankRecord(name, sequence, circular, bool(told and told.group(2) == "aa"))
    record.text = " ".join(words)
    if length is not None and length < len(sequence):
        record.remarks.append(
            f"the LOCUS line says {length:,} bp, the sequence has {len(sequence):,}"
        )
    if not locus:
        record.remarks.append("it has no LOCUS line: its head may be lost")
    record.missing, record.cut_short = lacking(bases, length)
    _read_features(features, record)
    return record


def _length_told(locus: str) -> re.Match[str] | None:
    """Return the length and the kind of letters that a LOCUS line tells; names hold such words, too (``CD19-15aa``)."""
    told = [
        *(
            list(re.finditer(r"(?<!\S)(\d[\d,]*)\s*(bp|aa)(?![\w-])", locus))
            or re.finditer(r"(\d+)\s*(bp|aa)\b", locus)
        )
    ]
    return told[-1] if told else None


def _letters_of(line: str) -> str:
    return re.sub(r"[\d\s/]", "", line)


def lacking(lines: list[str], length: int | None) -> tuple[str, str]:
    """Say what a record lacks of its bases, or has twice or in another order, as its length and its numbers tell.

    Parameters
    ----------
    lines
        Lines of bases, numbered in front (GenBank) or behind (EMBL).
    length
        Of the sequence, as the record says.

    Returns
    -------
    missing : str
        That lines of bases are missing, repeated or exchanged, as their numbers show; empty where they show nothing.
    cut_short : str
        Else that the record is shorter than it says; empty where it is not.
    """
    seen, gap = 0, ""
    numbered: list[tuple[int, int]] = []
    for line in lines:
        own = _letters_of(line)
        number = re.match(r"\s*(\d+)\s", line) or re.search(r"\s(\d+)\s*$", line)
        if number and own:
            first = int(number[1]) - (len(own) - 1 if number.re.pattern.endswith("$") else 0)
            numbered.append((first, len(own)))
            # Some programs number from 0.
            if first > seen + 1 and not gap:
                gap = f"base {first:,} follows base {seen:,}"
        seen += len(own)
    if length is not None and seen < length:
        told = f"{seen:,} of {length:,} bases are there"
        if gap:
            return f"Lines of bases are missing from the map: {gap}, and {told}.", ""
        return "", f"The map is shorter than it says: {told}."
    # A line of another length than the rest was edited by hand. Numbers that follow no rule tell nothing.
    usual = [n for n, _ in Counter(n for _, n in numbered).most_common(1)]
    inner = [n in usual for _, n in numbered[:-1]] + [True]
    breaks = [
        (a + n, b)
        for ((a, n), (b, _)), whole in zip(pairwise(numbered), pairwise(inner), strict=True)
        if b != a + n and (all(whole) or b <= 1)
    ]
    if breaks and len(breaks) <= _MAX_BREAKS * len(numbered):
        last, first = breaks[0]
        what = f"base {first:,} follows base {last - 1:,}"
        return f"Lines of bases of the map are missing, repeated or exchanged: {what}.", ""
    return "", ""


def _read_features(lines: list[str], record: GenBankRecord) -> None:
    """Add the features of a record; those that cannot be placed become remarks."""
    blocks: list[tuple[str, list[str]]] = []
    for line in map(str.expandtabs, lines):
        head = _FEATURE.match(line)
        if head and not head.group(1).startswith("/") and line[:21].strip():
            blocks.append((head.group(1), [head.group(2)]))
        elif blocks and line.strip():
            blocks[-1][1].append(line.strip())
    for kind, parts in blocks:
        place, qualifiers = _split(parts)
        label = feature_label(qualifiers)
        if kind == "source":
            continue
        try:
            found = _place(place, len(record.sequence), record.circular)
        except (ValueError, IndexError, AttributeError, AssertionError) as error:
            reason = str(error).splitlines()[0] if str(error) else "unreadable"
            record.remarks.append(f"the feature {label or kind} ({place}) was left out: {reason}")
            continue
        if record.circular is None and f"..{len(record.sequence)},1.." in place:
            # It runs across the origin of a circle.
            record.circular = True
        kind = feature_kind(kind, next(iter(qualifiers.get("regulatory_class", ())), ""))
        record.features.append(Feature(kind, label, *found))


def _split(parts: list[str]) -> tuple[str, dict[str, list[str]]]:
    """Return a feature's location and the values of its qualifiers."""
    place, values = "", []
    qualifiers: dict[str, list[str]] = {}
    for part in parts:
        match = _QUALIFIER.match(part)
        if match:
            values = qualifiers.setdefault(match.group(1), [])
            values.append(match.group(2))
        elif not qualifiers:
            place += part
        else:
            values[-1] += f" {part}"
    return place.replace(" ", ""), {
        key: [value.strip().strip('"') for value in own] for key, own in qualifiers.items()
    }


def _place(text: str, size: int, circular: bool | None) -> tuple[int, int, int]:
    """Return (start, end, strand) of a location; ``end`` may pass the origin of a circle."""
    backwards = re.fullmatch(r"(?:complement\()?<?(\d+)\.\.>?(\d+)\)?", text)
    if backwards and int(backwards.group(1)) > int(backwards.group(2)) and not circular:
        raise ValueError("it ends before it begins")
    if backwards and int(backwards.group(1)) == int(backwards.group(2)) + 1:
        raise ValueError("it ends before it begins")
    if (
        backwards
        and int(backwards.group(1)) <= int(backwards.group(2))
        and text.startswith("complement(") == text.endswith(")")
    ):
        # Nearly every feature is one range; Biopython reads the others.
        start, end = int(backwards.group(1)) - 1, int(backwards.group(2))
        strand = -1 if text.startswith("complement(") else 1
    else:
        start, end, strand = _joined(text, size, circular)
    if not 0 <= start < end or start >= size:
        raise ValueError("it lies outside the sequence")
    return start, end, strand


def _joined(text: str, size: int, circular: bool | None) -> tuple[int, int, int]:
    """Return (start, end, strand) of a location of several ranges."""
    from Bio import BiopythonWarning
    from Bio.SeqFeature import CompoundLocation, Location

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BiopythonWarning)
        location = Location.fromstring(text, size, bool(circular))
    start, end = int(location.start), int(location.end)
    if isinstance(location, CompoundLocation) and end - start == size:
        # A feature across the origin of a circular map: join(9000..9174,1..200).
        ordered = sorted(location.parts, key=lambda p: int(p.start))
        start = int(ordered[-1].start)
        end = start + sum(len(p) for p in ordered)
    return start, end, location.strand or 1

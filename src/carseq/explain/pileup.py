"""Reads laid on a transcript, and drawn as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from carseq.explain.model import Pileup, Placement
from carseq.sequence.alignment import align

#: Width of the text where there is no terminal to ask: a read of 90-100 bases and its label fit in a line.
WIDTH = 120
#: Columns left of the bases.
LABEL = 12


def place(read: str, reference: str) -> Placement:
    """Lay a read on a transcript as the scores do (local, same costs), and keep the bases to draw."""
    found = align(read, reference)
    return Placement(
        found.start,
        found.on_read,
        found.on_reference,
        read[: found.read_start],
        read[found.read_end :],
        found.score,
    )


def draw(pileup: Pileup, width: int = WIDTH) -> str:
    """Draw a pileup as text.

    Parameters
    ----------
    pileup
        Reads on a transcript.
    width
        Characters of a line; longer pileups are cut into blocks.

    Returns
    -------
    str
        Rulers, numbers, the transcript's bases, and the reads: ``.`` equal, a letter for another base, ``-`` for
        a missing one, small letters in an end that the score leaves out.
    """
    cells = {label: _columns(placed, pileup.sequence) for label, placed in pileup.reads}
    first = min(column for own in cells.values() for column, _ in own)
    last = max(column for own in cells.values() for column, _ in own)
    inserted = Counter[int]()
    for own in cells.values():
        for column, nth in own:
            inserted[column] = max(inserted[column], nth)
    columns = [(p, nth) for p in range(first, last + 1) for nth in range(inserted[p] + 1)]
    step = max(20, width - LABEL)
    lines = []
    for i in range(0, len(columns), step):
        block = columns[i : i + step]
        lines += _draw_block(pileup, cells, block)
        lines.append("")
    return "\n".join(lines[:-1])


def _columns(placed: Placement, sequence: str) -> dict[tuple[int, int], str]:
    """Return the character of a read at (base of the transcript, nth base inserted behind it)."""

    def end(first: int, bases: str) -> dict[tuple[int, int], str]:
        under = [
            sequence[p] if 0 <= p < len(sequence) else "" for p in range(first, first + len(bases))
        ]
        drawn = ["." if a == b else a.lower() for a, b in zip(bases, under, strict=True)]
        return {(first + i, 0): character for i, character in enumerate(drawn)}

    found = end(placed.start - len(placed.head), placed.head)
    at, nth = placed.start - 1, 0
    for base, other in zip(placed.read, placed.target, strict=True):
        if other == "-":
            nth += 1
        else:
            at, nth = at + 1, 0
        found[at, nth] = "." if base == other else base
    return found | end(at + 1, placed.tail)


def _draw_block(
    pileup: Pileup,
    cells: Mapping[str, Mapping[tuple[int, int], str]],
    block: Sequence[tuple[int, int]],
) -> list[str]:
    """Draw the columns of one block."""
    length = len(pileup.sequence)

    def line(label: str, characters: Iterable[str]) -> str:
        return f"{label:<{LABEL}}{''.join(characters)}".rstrip()

    lines = []
    for name, ruler in pileup.rulers.items():
        names = [ruler[p] if 0 <= p < length else "" for p, _ in block]
        if any(names):
            lines.append(line(name, _ruler(names)))
    lines.append(line("base", _numbers(pileup.positions, block)))
    bases = ["-" if nth else pileup.sequence[p] if 0 <= p < length else " " for p, nth in block]
    lines.append(line("transcript", bases))
    for label, own in cells.items():
        ends = min(own), max(own)
        drawn = [own.get(c, "-" if ends[0] < c < ends[1] else " ") for c in block]
        if any(c != " " for c in drawn):
            lines.append(line(label, drawn))
    return lines


def _ruler(names: Sequence[str]) -> str:
    """Return a ruler: each run of a name as ``|--- name ---|``."""
    text, start = "", 0
    for end in range(1, len(names) + 1):
        if end == len(names) or names[end] != names[start]:
            span = end - start
            if not names[start]:
                text += " " * span
            elif span < 5:
                text += "|" + "-" * (span - 1)
            else:
                label = f" {names[start]} " if len(names[start]) <= span - 4 else names[start]
                text += f"|{label[: span - 2]:-^{span - 2}}|"
            start = end
    return text


def _numbers(positions: Sequence[int], block: Sequence[tuple[int, int]]) -> str:
    """Return a line with ``|`` and its number at every 20th base."""
    text = [" "] * len(block)
    for i, (p, nth) in enumerate(block):
        if nth == 0 and 0 <= p < len(positions) and positions[p] % 20 == 0:
            label = f"|{positions[p]}"
            if i + len(label) <= len(block):
                text[i : i + len(label)] = label
    return "".join(text)

"""What a construct is: its transcripts, its reading frame, its ends, and its form on disk (construct.json)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carseq.construct.coding import translate
from carseq.construct.domains import COLUMNS, domain_rows
from carseq.construct.protein import Stretch
from carseq.errors import CarseqError

if TYPE_CHECKING:
    import pandas as pd

#: A thing noticed while the construct was derived: (code, text).
Note = tuple[str, str]
#: Version of the layout of construct.json.
LAYOUT = 1


@dataclass(frozen=True)
class Transcript:
    """An mRNA of the CAR, sense strand, without its poly(A) tail.

    Attributes
    ----------
    name
        ``unspliced``, ``spliced``, or ``transcript`` where only one form exists; ``internal`` (and
        ``internal_spliced``) for one from an internal promoter beside the LTR's.
    sequence
        Upper-case bases (ACGT, N for ambiguous ones).
    blocks
        Its exons on the full-length transcript, 0-based half-open, in order.
    """

    name: str
    sequence: str
    blocks: tuple[tuple[int, int], ...]


def forms(
    sequence: str, introns: Sequence[tuple[int, int]], internal: int | None = None
) -> tuple[Transcript, ...]:
    """Return the transcripts on a contig: whole, spliced, and those from an internal promoter.

    Parameters
    ----------
    sequence
        The full-length transcript.
    introns
        Its introns, half-open, in order.
    internal
        Where the mRNA of an internal promoter beside the LTR's begins, or None.

    Examples
    --------
    >>> [t.name for t in forms("A" * 40, [(5, 15)], 20)], forms("A" * 40, [(5, 15)])[1].blocks
    (['unspliced', 'spliced', 'internal'], ((0, 5), (15, 40)))
    """
    found = [_cut("unspliced" if introns else "transcript", sequence, 0, [])]
    if introns:
        found.append(_cut("spliced", sequence, 0, introns))
    if internal is not None:
        found.append(_cut("internal", sequence, internal, []))
        if any(start > internal for start, _ in introns):
            found.append(_cut("internal_spliced", sequence, internal, introns))
    return tuple(found)


def _cut(name: str, sequence: str, first: int, introns: Sequence[tuple[int, int]]) -> Transcript:
    """Return the transcript from ``first`` to the end without the introns behind ``first``."""
    blocks, at = [], first
    for start, end in introns:
        if start > first:
            blocks.append((at, start))
            at = end
    blocks.append((at, len(sequence)))
    return Transcript(name, "".join(sequence[a:b] for a, b in blocks), tuple(blocks))


@dataclass(frozen=True)
class End:
    """One end of the mRNA: what was found there, and whether that settles where the mRNA begins or ends.

    Attributes
    ----------
    what
        The part in words: ``MSCV R``, ``EF1alpha promoter``, ``nothing known``.
    known
        True where the part tells the end (an R, a transcription start, a poly(A) signal).
    """

    what: str
    known: bool


@dataclass(frozen=True)
class Construct:
    """A CAR: its transcripts and where its domains lie.

    Attributes
    ----------
    name
        Name of the contig, the gene and the row in every matrix.
    form
        The form the sequence was taken for: plasmid, provirus, transcript, orf or partial.
    transcripts
        The full-length transcript first; it is also the contig.
    orf
        ``(start, end)`` of the CAR's ORF on the full-length transcript, stop included, or None.
    notes
        What was found on the way, for the lint: (code, text).
    surrogate
        Whether the file says of itself that it is not the true sequence.
    five, three
        The mRNA's 5' and 3' end; None where nobody looked (a construct made by hand).
    backbone
        Name of the vector whose ends were put on, or None.
    """

    name: str
    form: str
    transcripts: tuple[Transcript, ...]
    orf: tuple[int, int] | None
    notes: tuple[Note, ...] = field(default=())
    surrogate: bool = False
    five: End | None = None
    three: End | None = None
    backbone: str | None = None

    @property
    def sequence(self) -> str:
        """The full-length transcript."""
        return self.transcripts[0].sequence

    @property
    def protein(self) -> str:
        """Translation of the ORF, without the stop; empty if there is none."""
        if self.orf is None:
            return ""
        start, end = self.orf
        return translate(self.sequence[start:end]).rstrip("*")

    @property
    def introns(self) -> tuple[tuple[int, int], ...]:
        """Introns of the full-length transcript, half-open, in order."""
        spliced = next((t for t in self.transcripts if t.name == "spliced"), None)
        if spliced is None:
            return ()
        return tuple((before[1], behind[0]) for before, behind in pairwise(spliced.blocks))

    @property
    def internal(self) -> int | None:
        """Where the mRNA of an internal promoter beside the LTR's begins, or None."""
        return next((t.blocks[0][0] for t in self.transcripts if t.name == "internal"), None)

    @cached_property
    def domain_rows(self) -> tuple[Stretch, ...]:
        """Domains on the full-length transcript, in order."""
        found = domain_rows(self.sequence, self.orf, partial=self.form == "partial")
        return tuple(found)

    @cached_property
    def domains(self) -> pd.DataFrame:
        """Domains on the full-length transcript as a table: name, kind, start, end, identity, source."""
        import pandas as pd

        return pd.DataFrame(self.domain_rows, columns=COLUMNS)

    def to_json(self) -> str:
        """Return the derived construct as JSON text: all that the file's map gave, domains included.

        Only the full-length transcript's bases are written; the other transcripts are made of its exons.

        Examples
        --------
        >>> one = Construct("CAR", "orf", (Transcript("transcript", "ATGTAA", ((0, 6),)),), (0, 6))
        >>> Construct.from_json(one.to_json()) == one
        True
        """
        rows = [
            {**row._asdict(), "identity": None if isnan(row.identity) else row.identity}
            for row in self.domain_rows
        ]
        content: dict[str, Any] = {
            "layout": LAYOUT,
            "name": self.name,
            "form": self.form,
            "surrogate": self.surrogate,
            "backbone": self.backbone,
            "five_prime": None if self.five is None else vars(self.five),
            "three_prime": None if self.three is None else vars(self.three),
            "orf": self.orf,
            "sequence": self.sequence,
            "transcripts": [{"name": t.name, "exons": t.blocks} for t in self.transcripts],
            "notes": [{"code": code, "text": text} for code, text in self.notes],
            "domains": rows,
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Construct:
        """Return the construct that :meth:`to_json` wrote.

        Raises
        ------
        CarseqError
            If the text is not of this layout.
        """
        try:
            content = json.loads(text)
            if content["layout"] != LAYOUT:
                raise CarseqError(
                    "construct.json was written by another version of carseq",
                    f"its layout is {content['layout']}, this version reads {LAYOUT}",
                    "derive the construct again (delete construct/construct.json)",
                )
            sequence = content["sequence"]
            transcripts = tuple(
                Transcript(
                    t["name"],
                    "".join(sequence[a:b] for a, b in t["exons"]),
                    tuple((a, b) for a, b in t["exons"]),
                )
                for t in content["transcripts"]
            )
            five, three = content["five_prime"], content["three_prime"]
            found = cls(
                content["name"],
                content["form"],
                transcripts,
                None if content["orf"] is None else (content["orf"][0], content["orf"][1]),
                tuple((note["code"], note["text"]) for note in content["notes"]),
                content["surrogate"],
                None if five is None else End(**five),
                None if three is None else End(**three),
                content["backbone"],
            )
            rows = tuple(
                Stretch(**{**row, "identity": nan if row["identity"] is None else row["identity"]})
                for row in content["domains"]
            )
        except (
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            RecursionError,
        ) as error:
            raise CarseqError(
                "construct.json cannot be read",
                f"{type(error).__name__}: {error}",
                "derive the construct again (delete construct/construct.json)",
            ) from None
        # The domains are part of the file: they need not be searched for again.
        found.__dict__["domain_rows"] = rows
        return found


def read_construct(path: str | Path) -> Construct:
    """Return the construct of a ``construct.json``.

    Raises
    ------
    CarseqError
        If the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CarseqError(
            f"cannot read {path}",
            getattr(error, "strerror", None) or str(error),
            "delete it if it is there, run the rule `construct` again",
        ) from None
    return Construct.from_json(text)

"""The map of a vector in memory: its sequence, its features, turned round or cut open elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from carseq.construct.coding import reverse_complement


@dataclass(frozen=True)
class Feature:
    """A feature of a map: its type, label and place (0-based half-open; ``end`` may pass the origin).

    ``strand`` is 1 or -1, and 0 where the map gives it none: it then counts on both.
    """

    kind: str
    label: str
    start: int
    end: int
    strand: int

    @property
    def is_sense(self) -> bool:
        """Whether it lies on the strand that is read, or on none."""
        return self.strand >= 0


#: What GenBank's and EMBL's ``regulatory`` features are, by their class.
_CLASSES = {"promoter": "promoter", "polyA_signal_sequence": "polyA_signal"}
#: Types of features that carseq asks for, by their letters: programs write ``Promoter`` and ``polyA signal``, too.
_KINDS = {
    "".join(filter(str.isalpha, kind)).lower(): kind
    for kind in (
        *(
            "promoter",
            "enhancer",
            "intron",
            "exon",
            "CDS",
            "gene",
            "mRNA",
            "misc_feature",
            "source",
        ),
        *("primer", "primer_bind", "protein_bind", "polyA_signal", "polyA_site", "regulatory"),
    )
} | dict.fromkeys(("polya", "polyasignalsequence", "polyadenylationsignal"), "polyA_signal")


def feature_kind(kind: str, regulatory_class: str = "") -> str:
    """Return a feature's type as GenBank writes it; that of a ``regulatory`` one is told by its class.

    Examples
    --------
    >>> feature_kind("Promoter"), feature_kind("polyA signal"), feature_kind("regulatory", "promoter")
    ('promoter', 'polyA_signal', 'promoter')
    """
    kind = _KINDS.get("".join(filter(str.isalpha, kind)).lower(), kind)
    return _CLASSES.get(regulatory_class, kind) if kind == "regulatory" else kind


#: Qualifiers that name a feature, best first (VectorBuilder's and ApE's among them), and those that tell what it is.
_NAMES = (
    *("label", "name", "standard_name", "official_designation", "apeinfo_label"),
    *("gene", "product", "locus_tag"),
)
_NOTES = ("note", "function")
#: Letters of a note that is a name, not a text, and words in it for what a feature is; others tell its colour.
_SHORT = 40
_WHAT = re.compile(r"promot|intr[oó]n|pol[yi][- ]?\(?a|enhancer|primer|\bpA\b", re.I)
_COLOUR = re.compile(r"\W*colou?r\b", re.I)


def feature_label(qualifiers: Mapping[str, Sequence[str]]) -> str:
    """Return a feature's name with what a short note says it is (``PGK1 (promoter)``); without a name the note.

    Parameters
    ----------
    qualifiers
        The values of each of its qualifiers, whose names may be written with capitals.
    """
    told = {key.lower(): [value for value in values if value] for key, values in qualifiers.items()}
    name = next((told[k][0] for k in _NAMES if told.get(k)), "")
    notes = [note for k in _NOTES for note in told.get(k, ()) if not _COLOUR.match(note)]
    what = next((note for note in notes if len(note) <= _SHORT and _WHAT.search(note)), "")
    if not name:
        return what or next(iter(notes), "")
    return f"{name} ({what})" if what and what.lower() not in name.lower() else name


#: Bases of the shortest and of the longest overlap of a circle's ends in a file.
_OVERLAP, _MAX_OVERLAP = 30, 3000


@dataclass(frozen=True)
class VectorMap:
    """A vector's sequence with what its file says about it.

    Attributes
    ----------
    sequence
        Upper-case bases (ACGT, N for ambiguous ones).
    circular
        True or False where the file says so, None where it does not (FASTA).
    features
        Annotated features.
    text
        Description and comment of the file.
    remarks
        What was skipped or repaired while the file was read, for the lint.
    missing, cut_short
        What the file lacks of the bases that it says it has (:func:`carseq.construct.genbank.lacking`), for the lint.
    """

    sequence: str
    circular: bool | None
    features: tuple[Feature, ...]
    text: str
    remarks: tuple[str, ...] = field(default=())
    missing: str = ""
    cut_short: str = ""

    def reverse(self) -> VectorMap:
        """Return the map of the other strand."""
        n = len(self.sequence)
        features = tuple(
            replace(f, start=n - f.end, end=n - f.start, strand=-f.strand) for f in self.features
        )
        features = tuple(
            replace(f, start=f.start + n, end=f.end + n) if f.start < 0 else f for f in features
        )
        return replace(self, sequence=reverse_complement(self.sequence), features=features)

    def rotate(self, origin: int) -> VectorMap:
        """Return the circular map cut open at ``origin``; features that the cut breaks are left out."""
        n = len(self.sequence)
        origin %= n
        moved = (
            replace(f, start=(f.start - origin) % n, end=(f.start - origin) % n + f.end - f.start)
            for f in self.features
        )
        sequence = self.sequence[origin:] + self.sequence[:origin]
        return replace(self, sequence=sequence, features=tuple(f for f in moved if f.end <= n))

    def once(self) -> VectorMap:
        """Return the map of a circle without the last bases that repeat its first ones, as an assembler leaves them.

        A file that calls itself a circle is one as it is, and so is one whose ends are no more than a short repeat.
        """
        bases = self.sequence
        at = bases.find(bases[:_OVERLAP], max(_OVERLAP, len(bases) - _MAX_OVERLAP))
        while at >= 0 and not bases.startswith(bases[at:]):
            at = bases.find(bases[:_OVERLAP], at + 1)
        if at < 0 or self.circular is not None:
            return self
        features = tuple(f for f in self.features if f.end <= at)
        return replace(self, sequence=bases[:at], features=features)

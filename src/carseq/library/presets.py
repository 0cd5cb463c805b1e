"""Kits beside 10x's: where barcode and UMI lie in their barcode read, and where their barcode lists come from.

A barcode may have several parts, each with a list of its own. The barcode read is called R1 here whatever the kit calls
it: of Parse and SPLiT-seq it is the kit's R2, and the cDNA is its R1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from carseq.errors import CarseqError

Span = tuple[int, int]

#: The word that a sheet or configuration has in place of a list if barcodes are learnt from the reads.
OBSERVED = "observed"


@dataclass(frozen=True)
class Preset:
    """A geometry of the barcode read.

    Attributes
    ----------
    parts
        1-based start and length of each part of the barcode, nt.
    umi
        The same of the UMI.
    strand
        Of R2 against the mRNA: ``Forward`` or ``Reverse``.
    known
        List of ngs_tools that holds the barcodes; None: they are learnt from the reads unless a list is given.
    linkers
        1-based start and bases of what stands between the parts; looked at only where the first base may be shifted.
    shifts
        Most bases before the first part.
    note
        What a user of the kit should know.
    """

    parts: tuple[Span, ...]
    umi: Span
    strand: str = "Forward"
    known: str | None = None
    linkers: tuple[tuple[int, str], ...] = ()
    shifts: int = 0
    note: str = ""

    @property
    def end(self) -> int:
        """Bases of R1 that hold barcode and UMI."""
        return max(start - 1 + length for start, length in (*self.parts, self.umi)) + self.shifts

    @property
    def barcode_length(self) -> int:
        """Bases of all parts."""
        return sum(length for _, length in self.parts)

    def shift(self, read: str) -> int:
        """Return how many bases precede the first part, by the linkers; 0 if none fits."""
        for shift in range(self.shifts + 1):
            errors = 0
            for start, bases in self.linkers:
                found = read[start - 1 + shift : start - 1 + shift + len(bases)]
                errors += sum(a != b for a, b in zip(found, bases, strict=False)) + len(bases)
                errors -= len(found)
            if errors <= 1:
                return shift
        return 0

    def barcode(self, read: str, parts: int | None = None) -> str:
        """Return the parts of a read's barcode, put together; of the first ``parts`` alone if that is given."""
        shift = self.shift(read) if self.shifts else 0
        spans = self.parts[:parts]
        return "".join(read[start - 1 + shift : start - 1 + shift + n] for start, n in spans)

    def star_options(self, whitelists: Sequence[str]) -> dict[str, object]:
        """Return STARsolo's options of a barcode of several parts (STAR manual, "Complex" barcodes).

        Parameters
        ----------
        whitelists
            A file for each part.
        """
        if not self.shifts:
            positions = [f"0_{s - 1}_0_{s + n - 2}" for s, n in self.parts]
            umi = f"0_{self.umi[0] - 1}_0_{self.umi[0] + self.umi[1] - 2}"
            anchor: dict[str, object] = {}
        else:
            # From the first part to the end of the last linker: what is known of it is the anchor. Places before its
            # end are counted from its start (2), others from its end (3).
            end = max(start + len(bases) for start, bases in self.linkers) - 1
            text = ["N"] * end
            for start, bases in self.linkers:
                text[start - 1 : start - 1 + len(bases)] = bases
            anchor = {"soloAdapterSequence": "".join(text)}

            def place(at: int) -> str:
                return f"2_{at - 1}" if at <= end else f"3_{at - end}"

            positions = [f"{place(s)}_{place(s + n - 1)}" for s, n in self.parts]
            umi = f"{place(self.umi[0])}_{place(self.umi[0] + self.umi[1] - 1)}"
        return {
            "soloType": "CB_UMI_Complex",
            "soloCBwhitelist": list(whitelists),
            "soloCBposition": positions,
            "soloUMIposition": umi,
            # The other ways of correction are for barcodes of one part.
            "soloCBmatchWLtype": "1MM",
            **anchor,
        }


#: Sources: BD Rhapsody, original beads: STARsolo commands of users and lists of ngs_tools (BDWTA, 97 x 97 x 97);
#: enhanced beads: STAR issue 1607 (inserts of 0-3 bases before the first part, linkers GTGA and GACA). Parse Evercode
#: and SPLiT-seq: scg_lib_structs; splitpipe's amplicons NNNNNNNNNN33333333-30-22222222-22-11111111 (v1, v2) and
#: NNNNNNNNNN33333333-12-22222222-12-11111111 (v3). Singleron: CeleScope's chemistry_dict.py (C8L16C8L16C8L1U12,
#: C9L16C9L16C9L1U12). SeekOne: seeksoultools (B17U12; DD5V1 is its 5' kit). DNBelab C4: its pipeline's read structure
#: with dark cycles (cell barcode R1:1-10 and 11-20, UMI R1:21-30). Drop-seq: Macosko 2015 (12 and 8 bases).
PRESETS: dict[str, Preset] = {
    "dropseq": Preset(((1, 12),), (13, 8)),
    "seekone_dd_3p": Preset(((1, 17),), (18, 12)),
    "seekone_dd_5p": Preset(((1, 17),), (18, 12), "Reverse"),
    "dnbelab_c4": Preset(
        ((1, 20),),
        (21, 10),
        note="several beads may share a droplet of DNBelab C4, and one cell then has several barcodes: only the kit's "
        "oligo library tells which; give dnbc4tools' BAM and matrix if cells are to be counted",
    ),
    "singleron_v1": Preset(((1, 8), (25, 8), (49, 8)), (58, 12)),
    "singleron_v2": Preset(((1, 9), (26, 9), (51, 9)), (61, 12)),
    "bd_rhapsody": Preset(((1, 9), (22, 9), (44, 9)), (53, 8), known="BDWTA"),
    "bd_rhapsody_enhanced": Preset(
        ((1, 9), (14, 9), (27, 9)),
        (36, 8),
        known="BDWTA",
        linkers=((10, "GTGA"), (23, "GACA")),
        shifts=3,
        note="the list of the 96-plex beads is used; those of 384 (since 2023) need their own in `whitelist`",
    ),
    "parse_v2": Preset(
        ((11, 8), (49, 8), (79, 8)),
        (1, 10),
        note="r1 is the read with the barcodes, the kit's R2; each well of the first round has two barcodes (oligo-dT "
        "and hexamers), so that a cell may show as two: give split-pipe's BAM and matrix if cells are to be counted",
    ),
    "parse_v3": Preset(
        ((11, 8), (31, 8), (51, 8)),
        (1, 10),
        note="r1 is the read with the barcodes, the kit's R2; each well of the first round has two barcodes (oligo-dT "
        "and hexamers), so that a cell may show as two: give split-pipe's BAM and matrix if cells are to be counted",
    ),
}
#: Reads of probes, not of mRNA: a CAR is seen only by a probe made for it.
PROBES = ("10x_flex",)

_POSITION = re.compile(r"0_(\d+)_0_(\d+)")


def parse_positions(text: str) -> Preset | None:
    """Return the geometry of a barcode of several parts, or None if the text is none.

    Written as ``soloCBposition 0_0_0_8 0_21_0_29 0_43_0_51 soloUMIposition 0_52_0_59 soloStrand Forward``.

    Raises
    ------
    CarseqError
        If it is one, but not complete.

    Examples
    --------
    >>> parse_positions("soloCBposition 0_0_0_8 0_21_0_29 soloUMIposition 0_52_0_59")
    Preset(parts=((1, 9), (22, 9)), umi=(53, 8), strand='Forward', known=None, linkers=(), shifts=0, note='')
    """
    words = text.replace("--", " ").replace("=", " ").replace(",", " ").split()
    if "soloCBposition" not in words:
        return None
    given: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("solo"):
            values = given.setdefault(word, [])
        else:
            values.append(word)
    strand = (given.pop("soloStrand", None) or ["Forward"])[0].capitalize()
    spans: dict[str, list[Span]] = {}
    for key, places in given.items():
        matched = [_POSITION.fullmatch(place) for place in places]
        ends = [(int(m[1]), int(m[2])) for m in matched if m]
        if len(ends) < len(places) or not ends or any(b < a for a, b in ends):
            raise _no_positions(text, f"{key} is not written as 0_START_0_END, from 0")
        spans[key] = [(a + 1, b - a + 1) for a, b in ends]
    unknown = sorted(set(spans) - {"soloCBposition", "soloUMIposition"})
    if unknown or len(spans.get("soloUMIposition", [])) != 1:
        cause = f"unknown {unknown}" if unknown else "it needs one soloUMIposition"
        raise _no_positions(text, cause)
    if fault := place_fault([*spans["soloCBposition"], *spans["soloUMIposition"]], strand):
        raise _no_positions(text, fault)
    return Preset(tuple(spans["soloCBposition"]), spans["soloUMIposition"][0], strand)


def place_fault(places: Sequence[Span], strand: str) -> str:
    """Say why barcode and UMI cannot lie at some places of the barcode read; empty if they can.

    Parameters
    ----------
    places
        1-based start and length of each part of the barcode and of the UMI, nt.
    strand
        Of R2 against the mRNA.
    """
    if strand not in ("Forward", "Reverse"):
        return f"soloStrand is Forward (3') or Reverse (5'), not {strand}"
    if any(start < 1 or length < 1 for start, length in places):
        return "soloCBstart and soloUMIstart count from 1, and lengths are 1 or more"
    ordered = sorted(places)
    for (start, length), (following, _) in pairwise(ordered):
        if start + length > following:
            return f"barcode and UMI overlap: base {following} of the read would belong to two of its parts"
    return ""


def _no_positions(text: str, cause: str) -> CarseqError:
    return CarseqError(
        f"the chemistry {text!r} is not a STARsolo geometry",
        cause,
        "write it as 'soloCBposition 0_0_0_8 0_21_0_29 soloUMIposition 0_52_0_59 soloStrand Forward'",
    )

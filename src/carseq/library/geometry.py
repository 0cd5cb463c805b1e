"""What a chemistry is: where barcode and UMI lie, which list, which strand."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from carseq.errors import CarseqError
from carseq.library.presets import OBSERVED, PRESETS, Preset, parse_positions, place_fault
from carseq.library.whitelist import found_here, shared_name

#: Known chemistries: length of the UMI, strand of R2 against the mRNA, whitelist of ngs_tools. All begin R1
#: with a 16-nt barcode. 10x has published no free copy of the 5' v3 (GEM-X) list: its barcodes are learnt from the
#: reads (:mod:`carseq.library.observed`), unless a list is given.
CHEMISTRIES: dict[str, tuple[int, str, str | None]] = {
    "10x_3p_v2": (10, "Forward", "10x_version2"),
    "10x_3p_v3": (12, "Forward", "10x_version3"),
    "10x_3p_v4": (12, "Forward", "10x_version4"),
    "10x_5p_v1": (10, "Reverse", "10x_version2"),
    "10x_5p_v2": (10, "Reverse", "10x_version2"),
    "10x_5p_v3": (12, "Reverse", None),
}
#: What Cell Ranger calls them (its option ``--chemistry`` and its ``web_summary.html``, 10x Genomics): of paired 5'
#: reads R2 alone is taken.
OF_CELL_RANGER = {
    "SC3Pv2": "10x_3p_v2",
    "SC3Pv3": "10x_3p_v3",
    "SC3Pv3-polyA": "10x_3p_v3",
    "SC3Pv3HT": "10x_3p_v3",
    "SC3Pv3HT-polyA": "10x_3p_v3",
    "SC3Pv4": "10x_3p_v4",
    "SC3Pv4-polyA": "10x_3p_v4",
    "SC5P-R2": "10x_5p_v2",
    "SC5P-PE": "10x_5p_v2",
    "SC5PHT": "10x_5p_v2",
    "SC5P-R2-v3": "10x_5p_v3",
    "SC5P-PE-v3": "10x_5p_v3",
}
BARCODE_LENGTH = 16
#: Longest barcode and UMI of one part that kallisto counts and the search of FASTQ files looks up, nt: 2 bits a base in
#: a number of 64 (BUS format).
LONGEST = 32
#: Doublets per cell recovered: 0.8 % for each 1,000 cells on Next GEM and older chips, and half of that on
#: GEM-X chips (10x Genomics, user guides of the kits: multiplet rate by cells recovered).
DOUBLETS_PER_CELL = 8e-6
GEMX_DOUBLETS_PER_CELL = 4e-6
GEMX = ("10x_3p_v4", "10x_5p_v3")


@dataclass(frozen=True)
class Chemistry:
    """The chemistry of a sample, as it will be given to STARsolo.

    Attributes
    ----------
    name
        A known chemistry, or ``custom``.
    cb_start, cb_length, umi_start, umi_length
        1-based starts and lengths on R1, nt.
    strand
        Forward (R2 is sense, 3') or Reverse (R2 is antisense, 5').
    whitelist
        Path of the list.
    valid_barcodes
        Share of the looked-at reads whose barcode is on the list, exactly.
    n_reads
        Reads looked at.
    read_length
        Median length of R2, nt.
    reads_sense, reads_antisense
        Reads that map to a panel of transcripts, by strand.
    positions
        Of a barcode of several parts: the preset's name, or STARsolo's geometry. Then ``cb_start`` and ``cb_length``
        are those of the first part.
    other_libraries
        R1 files that seem to be of another library than the sample's first.
    """

    name: str
    cb_start: int
    cb_length: int
    umi_start: int
    umi_length: int
    strand: str
    whitelist: str
    valid_barcodes: float
    n_reads: int
    read_length: int
    reads_sense: int
    reads_antisense: int
    positions: str = ""
    other_libraries: tuple[str, ...] = ()

    @property
    def preset(self) -> Preset | None:
        """The geometry of a barcode of several parts; None for one of one part."""
        return preset_of(self.positions) if self.positions else None

    def to_json(self) -> str:
        """Return the chemistry as JSON; a known list without its folder, which is that of the user's Python."""
        held = {**asdict(self), "whitelist": shared_name(self.whitelist)}
        if not self.other_libraries:
            # As earlier versions wrote it.
            del held["other_libraries"]
        return json.dumps(held, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Chemistry:
        """Read a chemistry written by :meth:`to_json`.

        Raises
        ------
        CarseqError
            If the text is not one.
        """
        try:
            found = cls(**json.loads(text))
            return replace(
                found,
                whitelist=found_here(found.whitelist),
                other_libraries=tuple(found.other_libraries),
            )
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise CarseqError(
                "a sample's chemistry.json is cut off or damaged",
                str(error),
                "delete it, run again",
            ) from None


def why_not_one_part(chemistry: Chemistry) -> str:
    """Say why reads of a chemistry are only taken by STARsolo; empty if kallisto and the search take them too."""
    if chemistry.positions:
        return "its barcode has several parts, which are corrected one by one"
    if max(chemistry.cb_length, chemistry.umi_length) > LONGEST:
        return f"its barcode or UMI has more than {LONGEST} bases"
    if chemistry.strand not in ("Forward", "Reverse"):
        return "the strand of its reads is not known"
    return ""


def doublets_per_cell(chemistry: str | None) -> float:
    """Return the doublets that each cell recovered adds to the share of doublets, by the chemistry's chip.

    Parameters
    ----------
    chemistry
        Name of a chemistry; None, or one that no 10x chip belongs to: the rate of the older chips is assumed.
    """
    return GEMX_DOUBLETS_PER_CELL if chemistry in GEMX else DOUBLETS_PER_CELL


def parse_geometry(text: str) -> dict[str, int | str] | None:
    """Return a STARsolo geometry, or None if the text is not one.

    Written as ``soloCBstart 1 soloCBlen 16 soloUMIstart 17 soloUMIlen 12 soloStrand Forward``.

    Raises
    ------
    CarseqError
        If it is one, but incomplete.
    """
    words = text.replace("--", " ").replace("=", " ").replace(",", " ").split()
    if not any(word.startswith("solo") for word in words) or parse_positions(text):
        return None
    given = dict(zip(words[::2], words[1::2], strict=False))
    wanted = {
        "soloCBstart": 1,
        "soloCBlen": None,
        "soloUMIstart": None,
        "soloUMIlen": None,
        "soloStrand": "Forward",
    }
    unknown = sorted(set(given) - set(wanted))
    missing = [k for k, default in wanted.items() if default is None and k not in given]
    if unknown or missing:
        raise CarseqError(
            f"the chemistry {text!r} is not a STARsolo geometry",
            "; ".join(
                filter(
                    None,
                    [
                        f"unknown {unknown}" if unknown else "",
                        f"missing {missing}" if missing else "",
                    ],
                )
            ),
            "write it as 'soloCBstart 1 soloCBlen 16 soloUMIstart 17 soloUMIlen 12 soloStrand Forward'",
        )
    merged = {k: given.get(k, default) for k, default in wanted.items()}
    try:
        numbers = {k: int(str(v)) for k, v in merged.items() if k != "soloStrand"}
    except ValueError:
        raise CarseqError(
            f"the chemistry {text!r} is not a STARsolo geometry", "starts and lengths are numbers"
        ) from None
    strand = str(merged["soloStrand"]).capitalize()
    barcode = numbers["soloCBstart"], numbers["soloCBlen"]
    if fault := place_fault([barcode, (numbers["soloUMIstart"], numbers["soloUMIlen"])], strand):
        raise CarseqError(f"the chemistry {text!r} is not a STARsolo geometry", fault)
    return {**numbers, "soloStrand": strand}


def preset_of(chemistry: str) -> Preset | None:
    """Return the geometry of a kit that is not 10x's, or of a barcode of several parts; None for all else.

    Raises
    ------
    CarseqError
        If the text is such a geometry, but not complete.
    """
    return PRESETS.get(chemistry) or parse_positions(chemistry)


def own_name(chemistry: str) -> str:
    """Return carseq's name of a chemistry that Cell Ranger names otherwise; any other text as it is.

    Examples
    --------
    >>> own_name("SC5P-R2-v3"), own_name("sc3pv3"), own_name("auto")
    ('10x_5p_v3', '10x_3p_v3', 'auto')
    """
    names = {name.lower(): own for name, own in OF_CELL_RANGER.items()}
    return names.get(chemistry.strip().lower(), chemistry)


def strand_named(chemistry: str) -> str | None:
    """Return the strand of R2 that a chemistry names, None if it names none (``auto``)."""
    if chemistry in CHEMISTRIES:
        return CHEMISTRIES[chemistry][1]
    if preset := preset_of(chemistry):
        return preset.strand
    geometry = parse_geometry(chemistry)
    return str(geometry["soloStrand"]) if geometry else None


def is_observed(chemistry: str, whitelist: str | None) -> bool:
    """Return whether barcodes are learnt from the reads: asked for, or of a kit whose list is not known.

    Parameters
    ----------
    chemistry
        As the sheet names it.
    whitelist
        As the sheet or the configuration names it.
    """
    if whitelist is not None:
        return whitelist == OBSERVED
    if chemistry in CHEMISTRIES:
        return CHEMISTRIES[chemistry][2] is None
    return chemistry in PRESETS and PRESETS[chemistry].known is None


def layout(chemistry: str) -> Preset:
    """Return where barcode and UMI of a chemistry lie; of ``auto`` and 10x's kits, those of 10x.

    Raises
    ------
    CarseqError
        If the text is a geometry that is not complete.
    """
    if preset := preset_of(chemistry):
        return preset
    if geometry := parse_geometry(chemistry):
        start, length = int(geometry["soloCBstart"]), int(geometry["soloCBlen"])
        umi = int(geometry["soloUMIstart"]), int(geometry["soloUMIlen"])
        return Preset(((start, length),), umi, str(geometry["soloStrand"]))
    umi_length, strand, _ = CHEMISTRIES.get(chemistry, (10, "Forward", None))
    return Preset(((1, BARCODE_LENGTH),), (BARCODE_LENGTH + 1, umi_length), strand)

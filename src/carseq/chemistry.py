"""Barcode geometry and strand of a library, detected from its reads and checked against what was said."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import dnaio
import mappy
import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib

from carseq.errors import CarseqError
from carseq.log import get_logger

log = get_logger(__name__)

#: Known chemistries: length of the UMI, strand of R2 against the mRNA, whitelist of ngs_tools. All begin R1
#: with a 16-nt barcode. 10x has published no free copy of the 5' v3 (GEM-X) list: users give that path.
CHEMISTRIES: dict[str, tuple[int, str, str | None]] = {
    "10x_3p_v2": (10, "Forward", "10x_version2"),
    "10x_3p_v3": (12, "Forward", "10x_version3"),
    "10x_3p_v4": (12, "Forward", "10x_version4"),
    "10x_5p_v1": (10, "Reverse", "10x_version2"),
    "10x_5p_v2": (10, "Reverse", "10x_version2"),
    "10x_5p_v3": (12, "Reverse", None),
}
BARCODE_LENGTH = 16
#: Share of reads whose barcode is on the list, exactly: about 0.95 in good libraries, under 0.05 for a wrong list
#: (0.002 by chance for the 6.8 million barcodes of v3).
MIN_VALID = 0.4
#: From this share on no other list is tried: at most a tenth of a known list stands in another.
SURELY_VALID = 0.8
#: Reads that must map to the panel before the strand is believed, and the share that must agree.
MIN_STRAND_READS = 50
MIN_STRAND_SHARE = 0.75
#: What reading a cut-off or damaged file raises.
DAMAGED: tuple[type[Exception], ...] = (OSError, EOFError, isal_zlib.error)  # type: ignore[assignment]
#: Genes that any nucleated cell transcribes, for the strand panel.
_ABUNDANT = re.compile(
    r"^(RP[LS]\d|MT-|ACTB$|B2M$|EEF1A1$|TMSB|FT[LH]|GAPDH$|TPT1$|MALAT1$|HLA-[ABC]$)"
)


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

    def to_json(self) -> str:
        """Return the chemistry as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Chemistry:
        """Read a chemistry written by :meth:`to_json`."""
        return cls(**json.loads(text))


def encode(sequences: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return a 64-bit code of each of n equally long ASCII sequences (n x length).

    Words of eight bytes are mixed by an odd multiplier (2^64 divided by the golden ratio), so that two of
    10 million barcodes share a code with a chance of about 3e-6.
    """
    width = -(-sequences.shape[1] // 8) * 8
    if width == sequences.shape[1]:
        padded = np.ascontiguousarray(sequences)
    else:
        padded = np.zeros((len(sequences), width), dtype=np.uint8)
        padded[:, : sequences.shape[1]] = sequences
    codes = np.zeros(len(sequences), dtype=np.uint64)
    for word in padded.view(np.uint64).T:
        codes ^= word
        codes *= np.uint64(0x9E3779B97F4A7C15)
        codes ^= codes >> np.uint64(29)
    return codes


def read_whitelist(path: str | Path) -> npt.NDArray[np.uint64]:
    """Return the codes (:func:`encode`) of a whitelist (plain or .gz; columns after the first are ignored).

    Raises
    ------
    CarseqError
        If it cannot be read, is empty, or its barcodes differ in length.
    """
    path = Path(path)
    try:
        return _barcode_list(path, path.stat().st_mtime_ns)
    except (OSError, EOFError) as error:
        raise CarseqError(
            f"cannot read the whitelist {path}", str(error), "check its path"
        ) from None


@lru_cache(maxsize=4)
def _barcode_list(path: Path, _changed: int) -> npt.NDArray[np.uint64]:
    """Read a whitelist, once as long as the file stays as it is."""
    raw = path.read_bytes()
    zipped = raw[:2] == b"\x1f\x8b"
    with igzip.open(io.BytesIO(raw), "rb") if zipped else io.BytesIO(raw) as stream:
        if (codes := _bare_barcodes(stream)) is not None:
            return codes
        stream.seek(0)
        text = stream.read()
    words = [line.split()[0].split(b"-")[0] for line in text.splitlines() if line.strip()]
    lengths = {len(w) for w in words}
    if len(lengths) != 1 or not 8 <= min(lengths) <= 31:
        raise CarseqError(
            f"{path} is not a barcode whitelist",
            "it is empty" if not words else f"its lines have {sorted(lengths)[:4]} characters",
            "give a file with one barcode a line, all of one length",
        )
    return encode(np.frombuffer(b"".join(words), dtype=np.uint8).reshape(len(words), -1))


def _bare_barcodes(stream: io.BytesIO | igzip.IGzipFile) -> npt.NDArray[np.uint64] | None:
    """Return the codes of a list of nothing but barcodes of one length, None for any other.

    Piece by piece, so that each stays in the processor's cache.
    """
    width = len(stream.readline())
    stream.seek(0)
    if not width:
        return None
    block = np.empty((1 << 15, width), dtype=np.uint8)
    codes = []
    while size := stream.readinto(block.data.cast("B")):
        lines = block[: size // width]
        bare = (lines[:, -1] == ord("\n")).all() and (lines[:, :-1] >= ord("A")).all()
        if size % width or not bare:
            return None
        codes.append(encode(lines[:, :-1]))
    return np.concatenate(codes)


def known_whitelist(name: str) -> Path:
    """Return the path of a whitelist that comes with ngs_tools, such as ``10x_version3``."""
    import importlib.util

    spec = importlib.util.find_spec("ngs_tools")
    if spec is None or spec.origin is None:
        raise CarseqError(
            "the package ngs-tools is missing",
            "it holds the 10x whitelists",
            "pip install ngs-tools",
        )
    return Path(spec.origin).parent / "chemistry" / "whitelists" / f"{name}_whitelist.txt.gz"


def _head(path: str | Path, n: int) -> list[tuple[str, str]]:
    """Return (name, sequence) of the first reads of a FASTQ file."""
    try:
        with dnaio.open(path) as reads:
            return [(r.id, r.sequence) for r in islice(reads, n)]
    except OSError as error:
        raise CarseqError(
            f"cannot read {path}",
            error.strerror or str(error),
            "check the path in units.tsv and its permissions",
        ) from None
    except (dnaio.FileFormatError, dnaio.UnknownFileFormat, EOFError) as error:
        raise CarseqError(
            f"{path} is not a FASTQ file",
            " ".join(str(error).split()),
            "transfer the file again; compare its md5",
        ) from None


def _barcodes(sequences: Iterable[str], start: int, length: int) -> npt.NDArray[np.uint64]:
    """Return codes of the barcodes at ``start`` (1-based) of reads long enough to hold one."""
    words = [
        s[start - 1 : start - 1 + length].encode()
        for s in sequences
        if len(s) >= start - 1 + length
    ]
    return encode(np.frombuffer(b"".join(words), dtype=np.uint8).reshape(len(words), length))


def on_list(
    codes: npt.NDArray[np.uint64], whitelist: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """Return which codes are on a list.

    The list, the longer side by far, is first thinned to those that share 24 bits with a code, which spares sorting it.
    """
    if not len(codes) or not len(whitelist):
        return np.zeros(len(codes), dtype=bool)
    prefix = np.uint64(64 - 24)
    seen = np.zeros(1 << 24, dtype=bool)
    seen[codes >> prefix] = True
    pieces = (whitelist[i : i + (1 << 15)] for i in range(0, len(whitelist), 1 << 15))
    near = np.sort(np.concatenate([piece[seen[piece >> prefix]] for piece in pieces]))
    if not len(near):
        return np.zeros(len(codes), dtype=bool)
    place = np.minimum(np.searchsorted(near, codes), len(near) - 1)
    return np.asarray(near[place] == codes)


def _share(codes: npt.NDArray[np.uint64], whitelist: npt.NDArray[np.uint64]) -> float:
    """Return the share of codes on a list."""
    return float(on_list(codes, whitelist).mean()) if len(codes) else 0.0


def check_pair(r1: str | Path, r2: str | Path, *, n: int = 1000) -> None:
    """Check that two FASTQ files can be read and pair up.

    Raises
    ------
    CarseqError
        If a file is missing, not FASTQ or empty, if read names differ, or one has more reads among the first ``n``.
    """
    first, second = _head(r1, n), _head(r2, n)
    if not first or not second:
        empty = r1 if not first else r2
        raise CarseqError(
            f"{empty} holds no reads",
            "",
            "leave the unit out of units.tsv, or transfer the file again",
        )
    if len(first) != len(second):
        raise CarseqError(
            f"{r1} and {r2} hold different numbers of reads",
            f"{len(first)} and {len(second)} among the first {n}",
            "one of them is cut off: transfer it again, or demultiplex both anew",
        )
    for (name1, _), (name2, _) in zip(first, second, strict=True):
        if name1.removesuffix("/1") != name2.removesuffix("/2"):
            raise CarseqError(
                f"{r1} and {r2} are not a pair",
                f"read names differ: {name1} and {name2}",
                "check that r1 and r2 of the unit come from the same lane and are unsorted",
            )


def count_reads(path: str | Path) -> int:
    """Return the number of reads of a FASTQ file, having read all of it.

    Lines are counted, at the speed of decompression.

    Raises
    ------
    CarseqError
        If the file cannot be read, is cut off, or ends within a read.
    """
    lines, last = 0, ord("\n")
    block = np.empty(1 << 20, dtype=np.uint8)
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with igzip.open(path, "rb") if zipped else open(path, "rb") as stream:
            while size := stream.readinto(block.data):
                lines += int(np.count_nonzero(block[:size] == ord("\n")))
                last = int(block[size - 1])
    except DAMAGED as error:
        raise CarseqError(
            f"{path} is damaged", " ".join(str(error).split()), "transfer the file again"
        ) from None
    lines += last != ord("\n")
    if lines % 4:
        raise CarseqError(
            f"{path} is damaged",
            f"its {lines} lines are not four a read",
            "transfer the file again",
        )
    return lines // 4


def check_counts(pairs: Sequence[tuple[str | Path, str | Path]]) -> int:
    """Check that the files of each pair hold the same number of reads; return how many in all.

    STAR stops silently at the end of the shorter file of a pair.

    Raises
    ------
    CarseqError
        If they do not, or a file is damaged.
    """
    total = 0
    for r1, r2 in pairs:
        first, second = count_reads(r1), count_reads(r2)
        if first != second:
            raise CarseqError(
                f"{r1} and {r2} hold different numbers of reads",
                f"{first:,} and {second:,}",
                "one of them is cut off: transfer it again, or demultiplex both anew",
            )
        total += first
    return total


def strand_panel(
    transcripts: Iterable[tuple[str, str]], *, size: int = 2000, keep: int = 40_000
) -> list[str]:
    """Choose transcripts by which the strand of reads is found.

    Parameters
    ----------
    transcripts
        (gene symbol, spliced sense sequence).
    size
        Transcripts wanted: those of abundant genes, and others evenly over the rest.
    keep
        Transcripts of other genes looked at, at most.

    Returns
    -------
    list of str
        Sequences; one a gene.
    """
    abundant: dict[str, str] = {}
    others: dict[str, str] = {}
    for gene, sequence in transcripts:
        pool = abundant if _ABUNDANT.match(gene) else others
        if pool is abundant or len(others) < keep:
            pool.setdefault(gene, sequence)
    rest = list(others.values())
    step = max(1, len(rest) // max(1, size - len(abundant)))
    return [*abundant.values(), *rest[::step]][:size]


def count_strands(reads: Sequence[str], panel: Sequence[str]) -> tuple[int, int]:
    """Return how many reads map to the panel in sense and in antisense.

    Reads that map to both strands equally well are left out.
    """
    sequence = ("N" * 50).join(panel)
    index = mappy.Aligner(seq=sequence, preset="sr") if sequence else None
    if not index:
        return 0, 0
    sense = antisense = 0
    for read in reads:
        hits = sorted(((h.mlen - h.NM, h.strand) for h in index.map(read)), reverse=True)
        if hits and not (len(hits) > 1 and hits[1][0] == hits[0][0] and hits[1][1] != hits[0][1]):
            sense += hits[0][1] > 0
            antisense += hits[0][1] < 0
    return sense, antisense


def strand_of_bam(path: str | Path, panel: Sequence[str], *, n: int = 20_000) -> str:
    """Return the strand of the reads of a BAM: ``Forward`` (3') or ``Reverse`` (5').

    Raises
    ------
    CarseqError
        If the BAM cannot be read or its reads do not tell.
    """
    import pysam

    try:
        with pysam.AlignmentFile(str(path), "rb") as bam:
            # Evenly over the contigs: one end of one chromosome may hold few transcribed genes.
            contigs = [s.contig for s in bam.get_index_statistics() if s.mapped]
            reads = [
                r.get_forward_sequence() or ""
                for contig in contigs
                for r in islice(
                    (r for r in bam.fetch(contig) if not r.is_secondary), -(-n // len(contigs))
                )
            ]
    except (OSError, ValueError) as error:
        raise CarseqError(f"cannot read the BAM {path}", str(error), "check the path") from None
    sense, antisense = count_strands(reads, panel)
    strand = _measured_strand(sense, antisense)
    if not strand:
        raise CarseqError(
            f"the strand of {path} cannot be told",
            f"{sense} of {len(reads)} reads map in sense, {antisense} in antisense",
            "name the sample's chemistry in the sheet; else check that reference and BAM are of one species",
        )
    return strand


def strand_of_library(
    chemistry: str | Path | None, bam: str | Path, panel: str | Path, *, named: str = "auto"
) -> str:
    """Return the strand of a sample: from its ``chemistry.json``, the name in its sheet, or its BAM.

    Parameters
    ----------
    chemistry
        Path of a chemistry written by :meth:`Chemistry.to_json`, or nothing.
    bam
        The sample's BAM.
    panel
        FASTA of transcripts (sense).
    named
        The sheet's chemistry; ``auto`` leaves it to the reads.
    """
    if chemistry:
        return Chemistry.from_json(Path(chemistry).read_text()).strand
    if named in CHEMISTRIES:
        return CHEMISTRIES[named][1]
    if geometry := parse_geometry(named):
        return str(geometry["soloStrand"])
    with dnaio.open(panel) as sequences:
        return strand_of_bam(bam, [record.sequence for record in sequences])


def parse_geometry(text: str) -> dict[str, int | str] | None:
    """Return a STARsolo geometry, or None if the text is not one.

    Written as ``soloCBstart 1 soloCBlen 16 soloUMIstart 17 soloUMIlen 12 soloStrand Forward``.

    Raises
    ------
    CarseqError
        If it is one, but incomplete.
    """
    words = text.replace("--", " ").replace("=", " ").replace(",", " ").split()
    if not any(word.startswith("solo") for word in words):
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
    return {**numbers, "soloStrand": str(merged["soloStrand"])}


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
        The list of valid barcodes; None takes the best of the known ones.
    n
        Reads looked at, over all pairs.

    Raises
    ------
    CarseqError
        If no list fits, R1 and R2 are swapped, R1 is too short, or the strand contradicts the chemistry given.
    """
    r1: list[str] = []
    r2: list[str] = []
    for first, second in pairs:
        check_pair(first, second)
        share = max(1000, n // len(pairs))
        r1 += [s for _, s in _head(first, share)]
        r2 += [s for _, s in _head(second, share)]
    geometry = parse_geometry(chemistry)
    cb_start, cb_length = 1, BARCODE_LENGTH
    if geometry:
        cb_start, cb_length = int(geometry["soloCBstart"]), int(geometry["soloCBlen"])
    elif chemistry != "auto" and chemistry not in CHEMISTRIES:
        raise CarseqError(
            f"unknown chemistry {chemistry!r} of {sample}",
            "",
            f"use auto, {', '.join(CHEMISTRIES)}, or a STARsolo geometry ('soloCBstart 1 soloCBlen 16 ...')",
        )
    r1_length = int(np.median([len(s) for s in r1]))
    shortest = cb_start - 1 + cb_length + (int(geometry["soloUMIlen"]) if geometry else 10)
    codes = _barcodes(r1[:: max(1, len(r1) // 20_000)], cb_start, cb_length)
    swapped = _barcodes(r2[:: max(1, len(r2) // 20_000)], cb_start, cb_length)
    lists, shares = {}, {}
    for name, path in _candidate_lists(chemistry, whitelist, sample).items():
        lists[name] = (path, read_whitelist(path))
        shares[name] = _share(codes, lists[name][1])
        if shares[name] >= SURELY_VALID:
            break
    best = max(shares, key=lambda name: shares[name])
    log.info(
        "%s: reads with a valid barcode: %s", sample, {k: round(v, 3) for k, v in shares.items()}
    )
    if shares[best] < MIN_VALID:
        _explain_bad_barcodes(sample, pairs, shares, swapped, lists, whitelist, r1_length, shortest)
    path = lists[best][0]
    sense, antisense = count_strands(r2[:20_000], panel)
    measured = _measured_strand(sense, antisense)
    if chemistry == "auto" and not measured and sense + antisense >= MIN_STRAND_READS:
        raise CarseqError(
            f"the reads of {sample} do not tell whether they are 3' or 5'",
            f"{sense} of the looked-at reads map in sense and {antisense} in antisense",
            "name its chemistry in the samples sheet; if both strands are real, the library may be a mix",
        )
    if geometry:
        name = "custom"
        umi_start, umi_length = int(geometry["soloUMIstart"]), int(geometry["soloUMIlen"])
        strand = str(geometry["soloStrand"])
    else:
        found = partial(_name, best, lists[best][1], r1_length, measured, sample)
        name = found() if chemistry == "auto" else chemistry
        umi_length, strand, _ = CHEMISTRIES[name]
        umi_start = BARCODE_LENGTH + 1
    if r1_length < umi_start - 1 + umi_length:
        raise CarseqError(
            f"R1 of {sample} is too short for {name}",
            f"R1 has {r1_length} nt; barcode and UMI need {umi_start - 1 + umi_length}",
            "check that r1 is the barcode read, untrimmed, and that the chemistry is right",
        )
    if measured and measured != strand:
        raise CarseqError(
            f"the reads of {sample} contradict its chemistry {chemistry}",
            f"{sense} of the looked-at reads map in sense and {antisense} in antisense; {name} expects "
            f"{'sense (3 prime)' if strand == 'Forward' else 'antisense (5 prime)'}",
            "write `auto` into the chemistry column, or the right chemistry",
        )
    if not measured:
        log.warning(
            "%s: the strand could not be checked (%d sense, %d antisense reads)",
            sample,
            sense,
            antisense,
        )
    return Chemistry(
        name=name,
        cb_start=cb_start,
        cb_length=cb_length,
        umi_start=umi_start,
        umi_length=umi_length,
        strand=strand,
        whitelist=str(path),
        valid_barcodes=round(shares[best], 4),
        n_reads=len(r1),
        read_length=int(np.median([len(s) for s in r2])),
        reads_sense=sense,
        reads_antisense=antisense,
    )


def _candidate_lists(chemistry: str, whitelist: str | Path | None, sample: str) -> dict[str, Path]:
    """Return the whitelists to try: name -> path."""
    if whitelist is not None:
        return {"given": Path(whitelist)}
    if chemistry == "auto":
        names = sorted({w for *_, w in CHEMISTRIES.values() if w})
    else:
        known = CHEMISTRIES.get(chemistry, (0, "", None))[2]
        if known is None:
            raise CarseqError(
                f"{sample} needs a whitelist",
                f"no list is known for {chemistry}",
                "name it in the `whitelist` column of the samples sheet or in `chemistry.whitelist`",
            )
        names = [known]
    return {name: known_whitelist(name) for name in names}


def _measured_strand(sense: int, antisense: int) -> str:
    """Return Forward, Reverse, or nothing where the reads do not tell."""
    total = sense + antisense
    if total < MIN_STRAND_READS:
        return ""
    if sense >= MIN_STRAND_SHARE * total:
        return "Forward"
    return "Reverse" if antisense >= MIN_STRAND_SHARE * total else ""


def _name(
    best: str, codes: npt.NDArray[np.uint64], r1_length: int, strand: str, sample: str
) -> str:
    """Return the chemistry that fits a list, R1's length and the strand of the reads."""
    if best == "given":
        # A list of the user's own is often a part of a known one, which then tells the UMI's length.
        some = codes[:: max(1, len(codes) // 2000)]
        for name in sorted({w for *_, w in CHEMISTRIES.values() if w}):
            if _share(some, read_whitelist(known_whitelist(name))) > 0.9:
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
    in_r2 = {name: _share(swapped, barcodes) for name, (_, barcodes) in lists.items()}
    if max(in_r2.values()) >= MIN_VALID:
        raise CarseqError(
            f"R1 and R2 of {sample} are swapped",
            f"{max(in_r2.values()):.0%} of the reads of {Path(pairs[0][1]).name} begin with a valid barcode",
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
            f"{best:.1%} of its reads carry a barcode of the list; {MIN_VALID:.0%} or more are expected",
            "leave the whitelist empty to try the known 10x lists, or give the list of this chemistry",
        )
    raise CarseqError(
        f"no known 10x whitelist fits {sample}",
        "; ".join(f"{name}: {share:.1%} of reads" for name, share in shares.items()),
        "name the list in the `whitelist` column (10x 5' v3 needs it), or the geometry in `chemistry`",
    )

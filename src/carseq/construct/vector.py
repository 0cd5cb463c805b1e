"""Reading a vector and deriving the transcript from it.

A gamma-retroviral or lentiviral mRNA begins at the R of the 5' LTR and is polyadenylated at the end of
the R of the 3' LTR: R-U5-psi-CAR-(WPRE)-U3-R. Both a provirus and a plasmid therefore give the transcript
by the same rule, and a transcript gives itself. R is found by sequence, so no annotation is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from io import StringIO
from itertools import pairwise
from pathlib import Path

import edlib
import pandas as pd
from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord

from carseq.config import Form
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.log import get_logger

log = get_logger(__name__)

#: Largest share of edits at which a stretch still counts as a known part. MSCV, SFG and MSGV differ from
#: MoMuLV by a few per cent in R; 12 % leaves room for them and none for chance (68 nt or more).
MAX_PART_EDITS = 0.12
#: A CAR's ORF is 1.3-1.6 kb (scFv 0.7, hinge to CD3zeta 0.6); shorter ORFs are not taken for one.
MIN_ORF = 600
_GENBANK = {".gb", ".gbk", ".genbank", ".gbff", ".ape"}


@dataclass(frozen=True)
class Transcript:
    """An mRNA of the CAR, sense strand, without its poly(A) tail.

    Attributes
    ----------
    name
        ``unspliced``, ``spliced``, or ``transcript`` where only one form exists.
    sequence
        Upper-case bases (ACGT, N for ambiguous ones).
    blocks
        Its exons on the full-length transcript, 0-based half-open, in order.
    """

    name: str
    sequence: str
    blocks: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Construct:
    """A CAR: its transcripts and where its domains lie.

    Attributes
    ----------
    name
        Name of the contig, the gene and the row in every matrix.
    form
        The form the sequence was taken for: plasmid, provirus, transcript or orf.
    transcripts
        The full-length transcript first; it is also the contig.
    orf
        ``(start, end)`` of the CAR's ORF on the full-length transcript, stop included, or None.
    notes
        What was found on the way, for the lint: (code, text).
    surrogate
        Whether the file says of itself that it is not the true sequence.
    """

    name: str
    form: str
    transcripts: tuple[Transcript, ...]
    orf: tuple[int, int] | None
    notes: tuple[tuple[str, str], ...] = field(default=())
    surrogate: bool = False

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
        return str(Seq(self.sequence[start : start + (end - start) // 3 * 3]).translate()).rstrip(
            "*"
        )

    @cached_property
    def domains(self) -> pd.DataFrame:
        """Domains on the full-length transcript: name, kind, start, end, identity, source."""
        from carseq.construct.domains import find_domains

        return find_domains(self)


@lru_cache
def parts() -> dict[str, str]:
    """Return the vector parts that come with carseq, by name."""
    return {r.id: str(r.seq).upper() for r in SeqIO.parse(data_path("sequences/parts.fa"), "fasta")}


def find_part(
    part: str, sequence: str, max_edits: float = MAX_PART_EDITS
) -> list[tuple[int, int, float]]:
    """Return every place of ``part`` in ``sequence`` as (start, end, identity), in order, not overlapping.

    Uses edlib's infix alignment: the whole part anywhere in the sequence, edits counted.
    """
    found: list[tuple[int, int, float]] = []
    stack = [(0, len(sequence))]
    limit = int(max_edits * len(part))
    while stack:
        lo, hi = stack.pop()
        if hi - lo < len(part) - limit:
            continue
        hit = edlib.align(part, sequence[lo:hi], mode="HW", task="locations", k=limit)
        if hit["editDistance"] < 0:
            continue
        start, end = hit["locations"][0]
        found.append((lo + start, lo + end + 1, 1 - hit["editDistance"] / len(part)))
        stack += [(lo, lo + start), (lo + end + 1, hi)]
    return sorted(found)


def read_vector(path: str | Path) -> SeqRecord:
    """Read the one sequence of a GenBank or FASTA file.

    Raises
    ------
    CarseqError
        If the file cannot be read, holds no sequence or more than one, or holds other than nucleotides.
    """
    path = Path(path)
    kind = "genbank" if path.suffix.lower() in _GENBANK else "fasta"
    try:
        text = path.read_text(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise CarseqError(
            f"cannot read the construct {path}",
            error.strerror or str(error),
            "give the path of a GenBank or FASTA file in `construct.file`",
        ) from None
    if text.startswith("LOCUS"):
        kind = "genbank"
    elif text.lstrip().startswith(">"):
        kind = "fasta"
    try:
        records = list(SeqIO.parse(StringIO(text), kind))
    except (ValueError, AssertionError) as error:
        raise CarseqError(
            f"{path} cannot be read as {kind}",
            str(error),
            "export the map again as GenBank or FASTA",
        ) from None
    if not records:
        raise CarseqError(
            f"{path} holds no sequence",
            f"it was read as {kind}"
            + (": a FASTA file begins with '>'" if kind == "fasta" else ""),
            "export the map as GenBank or FASTA",
        )
    if len(records) > 1:
        raise CarseqError(
            f"{path} holds {len(records)} sequences",
            ", ".join(r.id for r in records[:5]),
            "give a file with the CAR's vector alone",
        )
    record = records[0]
    sequence = str(record.seq).upper().replace("U", "T")
    odd = sorted(set(sequence) - set("ACGTRYSWKMBDHVN"))
    if odd or not sequence:
        raise CarseqError(
            f"{path} is not a nucleotide sequence",
            f"it holds {' '.join(odd[:8])}" if odd else "it is empty",
            "give the DNA of the vector, not a protein",
        )
    record.seq = Seq("".join(b if b in "ACGT" else "N" for b in sequence))
    return record


def longest_orf(sequence: str) -> tuple[int, int] | None:
    """Return (start, end) of the longest ATG..stop on the given strand, stop included, or None.

    An ORF that runs off the end counts up to the end.
    """
    best: tuple[int, int] | None = None
    for frame in range(3):
        protein = str(Seq(sequence[frame : frame + (len(sequence) - frame) // 3 * 3]).translate())
        position = 0
        for stretch in protein.split("*"):
            first = stretch.find("M")
            if first >= 0:
                start = frame + 3 * (position + first)
                end = min(frame + 3 * (position + len(stretch) + 1), len(sequence))
                if best is None or end - start > best[1] - best[0]:
                    best = (start, end)
            position += len(stretch) + 1
    return best


def _orient(sequence: str, circular: bool) -> tuple[str, list[tuple[int, int, float]], str]:
    """Return the sequence on the strand (and, if circular, rotation) whose R repeats enclose the ORF."""
    candidates = []
    for strand in ("+", "-"):
        oriented = sequence if strand == "+" else str(Seq(sequence).reverse_complement())
        doubled = oriented + oriented if circular else oriented
        for name in ("MoMuLV_R", "HIV1_R"):
            hits = find_part(parts()[name], doubled)
            for first, second in pairwise(hits):
                span = doubled[first[0] : second[1]]
                if second[0] - first[1] > len(sequence):
                    continue
                orf = longest_orf(span)
                if orf and orf[1] - orf[0] >= MIN_ORF:
                    candidates.append((orf[1] - orf[0], -len(span), doubled, [first, second], name))
    if candidates:
        *_, doubled, hits, name = max(candidates, key=lambda c: c[:2])
        return doubled, hits, name
    forward, backward = longest_orf(sequence), longest_orf(str(Seq(sequence).reverse_complement()))
    length = [0 if orf is None else orf[1] - orf[0] for orf in (forward, backward)]
    if length[1] > length[0]:
        return str(Seq(sequence).reverse_complement()), [], "reversed"
    return sequence, [], ""


def splice_sites(transcript: str) -> tuple[int, int] | None:
    """Return (donor, acceptor) of the psi intron of a gamma-retroviral transcript: the intron's half-open range.

    The donor lies after nt 62 of the packaging signal (AG|GTAAGC), the gag/pol acceptor after nt 1013
    (TTACAG|GCTC); both from the sequence of ``MoMuLV_psi``. None where either is missing.
    """
    psi = parts()["MoMuLV_psi"]
    donor = find_part(psi[32:92], transcript)
    acceptor = find_part(psi[973:1053], transcript)
    if not donor or not acceptor:
        return None
    cut = transcript.find("GTAAG", donor[0][0] + 24, donor[0][0] + 40)
    join = transcript.find("CAG", acceptor[0][0] + 32, acceptor[0][0] + 48)
    if cut < 0 or join < 0 or join <= cut:
        return None
    return cut, join + 3


def load_construct(path: str | Path, *, name: str = "CAR", form: Form = "auto") -> Construct:
    """Read a vector and derive the CAR's transcripts.

    Parameters
    ----------
    path
        GenBank or FASTA file.
    name
        Name of the CAR in the reference.
    form
        What the file holds; ``auto`` finds out: two R repeats around an ORF make it a plasmid, provirus
        or full transcript; an ORF that fills at least 90 % of it makes it an ORF; else a transcript.

    Raises
    ------
    CarseqError
        If the file cannot be read, holds no ORF, or the form asked for cannot be derived.
    """
    record = read_vector(path)
    raw = str(record.seq)
    text = " ".join([record.description, str(record.annotations.get("comment", ""))]).lower()
    surrogate = "surrogate" in text
    circular = record.annotations.get("topology") == "circular" or form == "plasmid"
    notes: list[tuple[str, str]] = []
    hits: list[tuple[int, int, float]] = []
    family = ""
    sequence = raw
    if form in ("auto", "plasmid", "provirus"):
        sequence, hits, family = _orient(raw, circular)
        if family == "reversed":
            notes.append(
                (
                    "reverse_strand",
                    "the ORF lies on the reverse strand of the file; it was turned round",
                )
            )
    if hits:
        start, end = hits[0][0], hits[1][1]
        transcript = sequence[start:end]
        if form == "auto":
            inside = start > 0 or end < len(raw)
            form = ("plasmid" if circular else "provirus") if inside else "transcript"
        notes.append(
            ("vector", "gamma-retroviral LTRs" if family == "MoMuLV_R" else "lentiviral LTRs")
        )
    elif form in ("plasmid", "provirus"):
        raise CarseqError(
            f"no transcript can be derived from {path} as a {form}",
            "no two copies of a known LTR R region (MoMuLV, HIV-1) enclose an ORF of 600 nt",
            "give the transcript itself with `form: transcript`, or the ORF with `form: orf`",
        )
    else:
        transcript = sequence.rstrip("A") if sequence.endswith("A" * 10) else sequence
    orf = longest_orf(transcript)
    if orf is None or orf[1] - orf[0] < MIN_ORF:
        raise CarseqError(
            f"no CAR reading frame in {path}",
            f"the longest ORF has {0 if orf is None else orf[1] - orf[0]} nt; a CAR's has 1,300 or more",
            "check that the file holds the CAR's vector and not its backbone alone",
        )
    if form == "auto":
        form = "orf" if orf[1] - orf[0] >= 0.9 * len(transcript) else "transcript"
    forms = [Transcript("transcript", transcript, ((0, len(transcript)),))]
    intron = splice_sites(transcript) if form != "orf" else None
    if intron is not None and intron[1] <= orf[0]:
        cut, join = intron
        blocks = ((0, cut), (join, len(transcript)))
        forms = [
            Transcript("unspliced", transcript, ((0, len(transcript)),)),
            Transcript("spliced", transcript[:cut] + transcript[join:], blocks),
        ]
    return Construct(name, form, tuple(forms), orf, tuple(notes), surrogate)

"""Reading the map of a vector: GenBank, EMBL, SnapGene's .dna or FASTA, however it was exported."""

from __future__ import annotations

import gzip
import re
import warnings
from dataclasses import dataclass, replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from Bio import BiopythonWarning, SeqIO
from Bio.Seq import Seq
from Bio.SeqFeature import CompoundLocation
from Bio.SeqRecord import SeqRecord

from carseq.errors import CarseqError

_GENBANK = {".gb", ".gbk", ".genbank", ".gbff", ".ape"}
#: Letters of proteins that no nucleotide code uses.
_ONLY_PROTEIN = set("EFILPQZJOX")
#: Viral vectors have 5-15 kb with their plasmid, adenoviral ones 36 kb; a longer sequence is a genome.
MAX_LENGTH = 200_000
_SNAPGENE = b"\t\x00\x00\x00\x0eSnapGene"


@dataclass(frozen=True)
class Feature:
    """A feature of a map: its type, label and place (0-based half-open; ``end`` may pass the origin)."""

    kind: str
    label: str
    start: int
    end: int
    strand: int


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
    """

    sequence: str
    circular: bool | None
    features: tuple[Feature, ...]
    text: str

    def reverse(self) -> VectorMap:
        """Return the map of the other strand."""
        n = len(self.sequence)
        features = tuple(
            replace(f, start=n - f.end, end=n - f.start, strand=-f.strand) for f in self.features
        )
        features = tuple(
            replace(f, start=f.start + n, end=f.end + n) if f.start < 0 else f for f in features
        )
        return replace(
            self, sequence=str(Seq(self.sequence).reverse_complement()), features=features
        )

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


def _features(record: SeqRecord) -> tuple[Feature, ...]:
    found = []
    for feature in record.features:
        location: Any = feature.location
        if location is None or feature.type == "source":
            continue
        start, end = int(location.start), int(location.end)
        if isinstance(location, CompoundLocation) and end - start == len(record):
            # A feature across the origin of a circular map: join(9000..9174,1..200).
            ordered = sorted(location.parts, key=lambda p: int(p.start))
            start = int(ordered[-1].start)
            end = start + sum(len(p) for p in ordered)
        label = ""
        for key in ("label", "name", "standard_name", "gene", "product", "note"):
            if feature.qualifiers.get(key):
                label = str(feature.qualifiers[key][0])
                break
        found.append(Feature(feature.type, label, start, end, location.strand or 1))
    return tuple(found)


def _parse(data: bytes, path: Path) -> tuple[list[SeqRecord], str]:
    """Return the records of a file and the name of its format, told by its first bytes."""
    text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    if data.startswith(_SNAPGENE) or (path.suffix.lower() == ".dna" and b"SnapGene" in data[:64]):
        kind = "snapgene"
    elif text.startswith("LOCUS"):
        kind = "genbank"
    elif text.startswith("ID   "):
        kind = "embl"
    elif text.lstrip().startswith(">"):
        kind, text = "fasta", text.lstrip()
    else:
        kind = "genbank" if path.suffix.lower() in _GENBANK else "fasta"
    handle = BytesIO(data) if kind == "snapgene" else StringIO(text)
    # Exports of SnapGene, Benchling and ApE bend the LOCUS line; Biopython reads them and warns.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BiopythonWarning)
        return list(SeqIO.parse(handle, kind)), kind


def read_vector(path: str | Path) -> VectorMap:
    """Read the one sequence of a GenBank, EMBL, SnapGene or FASTA file.

    Raises
    ------
    CarseqError
        If the file cannot be read, holds no sequence or more than one, or holds other than nucleotides.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CarseqError(
            f"cannot read the construct {path}",
            error.strerror or str(error),
            "give the path of a GenBank, SnapGene or FASTA file in `construct.file`, or a name from "
            "`carseq construct list`",
        ) from None
    try:
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        records, kind = _parse(data, path)
    except Exception as error:  # Biopython's parsers raise whatever a broken file leads them to
        raise CarseqError(
            f"{path} cannot be read as the map of a vector",
            str(error) or type(error).__name__,
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
            ", ".join(str(r.id) for r in records[:5]),
            "give a file with the vector of one CAR alone; a second CAR needs a run of its own",
        )
    record = records[0]
    try:
        sequence = re.sub(r"\s", "", str(record.seq)).upper().replace("U", "T")
    except Exception as error:  # a GenBank file whose sequence was left out
        raise CarseqError(
            f"{path} holds no sequence",
            str(error),
            "export the map again with its sequence (ORIGIN)",
        ) from None
    if len(sequence) > MAX_LENGTH:
        raise CarseqError(
            f"{path} is too long for a vector",
            f"it has {len(sequence):,} bases; a vector with its plasmid has 5,000-15,000",
            "give the map of the CAR's vector, not a genome or a chromosome",
        )
    odd = sorted(set(sequence) - set("ACGTRYSWKMBDHVN"))
    if odd or not sequence:
        protein = bool(_ONLY_PROTEIN & set(odd))
        raise CarseqError(
            f"{path} is not a nucleotide sequence",
            (f"it holds {' '.join(odd[:8])}" + (", letters of a protein" if protein else ""))
            if odd
            else "it is empty",
            "give the DNA of the vector, not a protein"
            if protein or not odd
            else "take the characters named above out of the sequence",
        )
    topology = record.annotations.get("topology")
    circular = None if topology is None or kind == "fasta" else topology == "circular"
    return VectorMap(
        "".join(b if b in "ACGT" else "N" for b in sequence),
        circular,
        _features(record),
        f"{record.description} {record.annotations.get('comment', '')}",
    )

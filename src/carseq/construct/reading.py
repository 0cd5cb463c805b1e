"""Reading the map of a vector: GenBank, EMBL, SnapGene's .dna, FASTA or a pasted sequence, however it was exported."""

from __future__ import annotations

import contextlib
import gzip
import re
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from carseq.construct.genbank import CutOffError, lacking, read_genbank
from carseq.construct.vectormap import Feature, VectorMap, feature_kind, feature_label
from carseq.errors import CarseqError
from carseq.study.construct_file import split_record

__all__ = ["Feature", "VectorMap", "read_vector", "split_record"]

#: Letters of proteins that no nucleotide code uses.
_ONLY_PROTEIN = set("EFILPQZJOX*")
_BASES = set("ACGTURYSWKMBDHVN")
#: Viral vectors have 5-15 kb with their plasmid, adenoviral ones 36 kb; a longer sequence is a genome.
MAX_LENGTH = 200_000
#: A pasted sequence has at least this many letters; less is text.
_MIN_PASTED = 60
#: Records of a file that are looked at for the CAR.
_LOOKED_AT = 20
#: Share of A, C, G, T and N from which a sequence with other letters is one of bases, not a protein: of the latter's
#: residues a third have these letters.
_MOSTLY_BASES = 0.8
#: Lines above a pasted sequence that may be its name, and letters of a name that could be read as bases.
_MAX_NAMED, _MAX_WORD = 3, 10
#: A name before the bases of its line, as in a row of a table or an alignment, or behind it a colon; the share of A, C,
#: G, T and N from which letters that could all be bases are no name.
_NAME_BEFORE = re.compile(
    "\\s*(\\S.*?)(?:[\\s:,;=|\"'>\u2019\u2032\u2013\u2014-]|5['\u2019\u2032])+(?=(?:[ACGTUN]\\s*){30})",
    re.I,
)
_NO_NAME = 0.8
#: Characters without width, as pages and documents hold them, and the line above the sequence in files of DNASTAR's.
_WIDTHLESS = re.compile("[\u200b\u200c\u200d\u2060\ufeff\u00ad]")
_DNASTAR = re.compile(r"^\^\^[ \t]*$", re.M)
#: Pseudouridine and N1-methylpseudouridine, as sequences of mRNAs made in vitro have them for uridine.
_PSEUDOURIDINE = re.compile("M?\N{GREEK CAPITAL LETTER PSI}")
_COMPLEMENT = str.maketrans("ACGTU", "TGCAA")
#: A first line of bases as GenBank has it.
_NUMBERED = re.compile(r"^ORIGIN.*\n\s*\d+ [A-Za-z]{10}", re.M)
#: The length that a FASTA header tells, as SnapGene, ApE and Benchling write it, and that of a GFF3 table.
_TOLD_BP = re.compile(
    r"\((\d[\d,]*) bp\)|\s(\d+) ?bp(?:,? (?:ds-?)?DNA)?(?:,? (?:circular|linear))?$"
)
_REGION = re.compile(r"^##sequence-region\s+(\S+)\s+1\s+(\d+)", re.M)
#: The line of GCG's programs that parts the words from the sequence, and tells its length.
_GCG = re.compile(r"^.*\bLength:\s*(\d+).*\.\.[ \t]*$", re.M)
#: Share of residues in which a protein may differ from a published CAR's.
_SAME_PROTEIN = 0.05
_SNAPGENE = b"\t\x00\x00\x00\x0eSnapGene"
#: SnapGene's packet of DNA, and those of other sequences.
_SNAPGENE_DNA, _SNAPGENE_OTHERS = 0, {21: "a protein", 32: "an RNA"}
_SNAPGENE_FEATURES = 10
#: Files that are something else, by their first bytes, and what to do with them.
_OTHERS = (
    (b"%PDF", "a PDF", "copy the sequence into a text file, or export the map as GenBank"),
    (b"{\\rtf", "a rich text (RTF) document", "save it as plain text (.txt)"),
    (b"\xd0\xcf\x11\xe0", "an old Office document", "save its sequence as plain text (.txt)"),
    (b"\x89PNG", "a picture (PNG)", "export the map as GenBank instead"),
    (b"\xff\xd8\xff", "a picture (JPEG)", "export the map as GenBank instead"),
    (b"GIF8", "a picture (GIF)", "export the map as GenBank instead"),
    (b"ABIF", "a sequencing trace (ABI)", "give the map of the whole vector, not a read"),
    (b".scf", "a sequencing trace (SCF)", "give the map of the whole vector, not a read"),
    (b"BAM\x01", "a BAM file", "give the map of the vector; reads go to `--bam`"),
    (b"CRAM", "a CRAM file", "give the map of the vector; reads go to `--bam`"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it and give the map inside"),
    (b"Rar!", "a RAR archive", "unpack it and give the map inside"),
    (b"BZh", "a bzip2 file", "unpack it (bunzip2) and give the map inside"),
    (b"\xfd7zXZ", "an xz file", "unpack it (unxz) and give the map inside"),
    (b"SQLite format", "a database", "export the map as GenBank or FASTA"),
)
_REMEDY = "export the map as GenBank, SnapGene (.dna) or FASTA"


@dataclass
class _Record:
    """A sequence of a file, before it is judged."""

    name: str
    sequence: str
    circular: bool | None = None
    features: tuple[Feature, ...] = ()
    text: str = ""
    remarks: tuple[str, ...] = ()
    is_protein: bool = False
    missing: str = ""
    cut_short: str = ""


def _refuse(path: Path, what: str, why: str, remedy: str = _REMEDY) -> CarseqError:
    return CarseqError(f"{path} {what}", why, remedy)


def _decoded(data: bytes, path: Path) -> str:
    """Return the text of a file, in whatever encoding it was saved, with Unix line ends."""
    for mark, encoding in (
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            text = data.decode(encoding, errors="replace")
            break
    else:
        # UTF-16 without its mark: every other byte of plain text is 0.
        head = data[:400]
        if len(head) > 40 and head[1::2].count(0) > 0.9 * len(head[1::2]):
            text = data.decode("utf-16-le", errors="replace")
        elif len(head) > 40 and head[::2].count(0) > 0.9 * len(head[::2]):
            text = data.decode("utf-16-be", errors="replace")
        elif b"\x00" in head:
            raise _refuse(
                path, "is not the map of a vector", "it holds binary data of no known kind"
            )
        else:
            text = data.decode("utf-8-sig", errors="replace")
    return _WIDTHLESS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _check_kind(data: bytes, path: Path) -> None:
    """Refuse a file that is something else, by what it is."""
    for mark, what, remedy in _OTHERS:
        if data.startswith(mark):
            raise _refuse(path, "is not the map of a vector", f"it is {what}", remedy)
    if data.startswith(b"PK\x03\x04"):
        import zipfile

        inside: list[str] = []
        with contextlib.suppress(zipfile.BadZipFile):
            inside = zipfile.ZipFile(BytesIO(data)).namelist()
        if any(name.startswith("word/") for name in inside):
            what, remedy = "a Word document", "save its sequence as plain text (.txt)"
        elif any(name.startswith("xl/") for name in inside):
            what, remedy = "an Excel workbook", "copy the sequence into a text file"
        else:
            named = ", ".join(n for n in inside if not n.endswith("/"))[:200]
            what = "a zip archive" + (f" of {named}" if named else "")
            remedy = "unpack it and give the map inside"
        raise _refuse(path, "is not the map of a vector", f"it is {what}", remedy)


def _snapgene(data: bytes, path: Path) -> list[_Record]:
    """Return the record of a .dna file; its packets tell whether it is whole."""
    from Bio import BiopythonWarning, SeqIO

    at = 0
    packets: dict[int, bytes] = {}
    while at < len(data):
        if at + 5 > len(data):
            raise CutOffError(f"its packet at byte {at:,} is cut off")
        kind, size = struct.unpack_from(">BI", data, at)
        if at + 5 + size > len(data):
            raise CutOffError(
                f"its packet at byte {at:,} has {len(data) - at - 5:,} of {size:,} bytes"
            )
        packets.setdefault(kind, data[at + 5 : at + 5 + size])
        at += 5 + size
    if _SNAPGENE_DNA not in packets:
        what = next((_SNAPGENE_OTHERS[k] for k in packets if k in _SNAPGENE_OTHERS), "no sequence")
        raise _refuse(
            path,
            "is not the map of a vector",
            f"it is a file of SnapGene's that holds {what}",
            "give the DNA of the vector (.dna), or export the sequence as GenBank or FASTA",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BiopythonWarning)
            records = [_biopython(r) for r in SeqIO.parse(BytesIO(data), "snapgene")]
        undirected = _undirected(packets.get(_SNAPGENE_FEATURES, b""))
        for record in records:
            record.features = tuple(
                replace(f, strand=0) if (f.label, f.start) in undirected else f
                for f in record.features
            )
        return records
    except Exception as error:  # whatever a packet of another version leads Biopython to
        flags, *bases = packets[_SNAPGENE_DNA]
        return [
            _Record(
                path.stem,
                bytes(bases).decode("ascii", errors="replace"),
                bool(flags & 1),
                remarks=(f"its features could not be read ({str(error)[:80]})",),
            )
        ]


def _undirected(xml: bytes) -> set[tuple[str, int]]:
    """Return SnapGene's features that have no direction, or both: name, first base. Biopython takes them for sense."""
    from xml.etree import ElementTree

    found = set()
    for feature in ElementTree.fromstring(xml).iter("Feature") if xml else ():
        ranges = [s.get("range", "").partition("-")[0] for s in feature.iter("Segment")]
        if feature.get("directionality") not in ("1", "2"):
            starts = [int(start) - 1 for start in ranges if start.isdigit()]
            found.add((feature.get("name", ""), min(starts, default=-1)))
    return found


def _biopython(record: Any) -> _Record:
    """Return a record of Biopython's as one of ours."""
    from Bio.SeqFeature import CompoundLocation

    features = []
    for feature in record.features:
        location = feature.location
        if location is None or feature.type == "source":
            continue
        start, end = int(location.start), int(location.end)
        if isinstance(location, CompoundLocation) and end - start == len(record):
            ordered = sorted(location.parts, key=lambda p: int(p.start))
            start = int(ordered[-1].start)
            end = start + sum(len(p) for p in ordered)
        label = feature_label({k: [str(x) for x in v] for k, v in feature.qualifiers.items()})
        kind = feature_kind(feature.type, feature.qualifiers.get("regulatory_class", [""])[0])
        features.append(Feature(kind, label, start, end, location.strand or 0))
    topology = record.annotations.get("topology")
    words = f"{record.description} {record.annotations.get('comment', '')}"
    return _Record(
        str(record.id),
        str(record.seq),
        None if topology is None else topology == "circular",
        tuple(features),
        words,
    )


def _fasta(text: str) -> list[_Record]:
    found: list[_Record] = []
    lines: list[str] = []
    for line in [*text.splitlines(), ">"]:
        if line.startswith(">"):
            if found:
                # PIR has a title below the name.
                lines = lines[1:] if lines and _is_word(lines) else lines
                found[-1].sequence = "".join(lines)
            lines = []
            words = line[1:].strip()
            found.append(_Record(words.split()[0] if words else "", "", text=words))
        elif not line.startswith(";"):
            lines.append(re.sub(r"[\s\d]", "", line))
    for record in found[:-1]:
        if (told := _TOLD_BP.search(record.text)) is not None:
            _, record.cut_short = lacking(
                [record.sequence], int((told[1] or told[2]).replace(",", ""))
            )
    return [r for r in found[:-1] if r.sequence or r.name]


def _with_gff(records: list[_Record], table: str) -> list[_Record]:
    """Return the records of a GFF3 file with the features of its table: places from 1, the attributes name them."""
    rows = [x.split("\t") for x in table.splitlines() if not x.startswith("#")]
    rows = [row for row in rows if len(row) > 8 and row[3].isdigit() and row[4].isdigit()]
    lengths = {name: int(end) for name, end in _REGION.findall(table)}
    for record in records:
        found = []
        for row in rows:
            if row[0] != record.name and len(records) > 1:
                continue
            told = dict(re.findall(r"\s*([^=;]+)=([^;]*)", row[8]))
            if told.get("Is_circular", "").lower() == "true":
                record.circular = True
            start, end = int(row[3]) - 1, int(row[4])
            if row[2].lower() in ("region", "source") or not 0 <= start < end:
                continue
            keys = ("Name", "label", "gene", "product", "Note", "ID")
            label = unquote(next((told[k] for k in keys if told.get(k)), ""))
            kind = feature_kind(row[2])
            strand = {"+": 1, "-": -1}.get(row[6], 0)
            found.append(Feature(kind, label, start, end, strand))
        record.features = tuple(found)
        length = lengths.get(record.name)
        record.cut_short = record.cut_short or lacking([record.sequence], length)[1]
    return records


def _is_before_fasta(text: str) -> bool:
    """Whether a FASTA file may begin with a text: comments, a few words, or the table of a GFF3 file."""
    lines = [line for line in text.splitlines() if line.strip()]
    if "##FASTA" in lines:
        return True
    words = [line for line in lines if not line.startswith(("#", ";"))]
    return len(words) <= _MAX_NAMED and not any(
        len(_letters(line)) >= _MIN_PASTED / 2 and _is_bases(line) for line in words
    )


def _letters(text: str) -> str:
    """Return the letters of a pasted sequence, without numbers, marks and gaps."""
    text = re.sub(r"[\s\d/.>|'\"`\u2032\u2018\u2019\u201c\u201d-]", "", text).upper()
    return _PSEUDOURIDINE.sub("T", text)


def _is_word(lines: list[str]) -> bool:
    """Whether the first of some lines is a name that could be read as bases: ``CAR`` is three of IUPAC's."""
    letters = _letters(lines[0])
    short = 0 < len(letters) <= _MAX_WORD and len(lines) > 1 and len(lines[1]) > 2 * len(letters)
    return short and not set(letters) <= set("ACGTUN")


def _name_before(line: str) -> tuple[str, str] | None:
    """Return the name in a line and the bases behind it, None for a line of bases or of words alone.

    Letters that could all be bases are a name if few of them are A, C, G or T, and they are no block as the next one.
    """
    found = _NAME_BEFORE.match(line)
    if found is None or not _is_bases(line[found.end() :]):
        return None
    name, bases = found[1], line[found.end() :]
    letters = _letters(name)
    if set(letters) <= _BASES:
        share = sum(c in "ACGTUN" for c in letters)
        if share >= _NO_NAME * len(letters) or len(bases.split()[0]) == len(letters):
            return None
    return name, bases


def _is_name(lines: list[str]) -> bool:
    """Whether the first of some lines is one above a sequence, which holds none of its bases."""
    return _name_before(lines[0]) is None and (not _is_bases(lines[0]) or _is_word(lines))


def _one_strand(lines: list[str]) -> list[str] | None:
    """Return every other line of a sequence that was copied with its other strand below each line; None for another."""
    rows = [row for line in lines if (row := _letters(line))]
    upper, lower = rows[::2], rows[1::2]
    told = {row.translate(_COMPLEMENT) for row in upper}
    both = len(rows) > 3 and len(upper) == len(lower) and set(lower) == told
    return upper if both else None


def _is_bases(text: str) -> bool:
    letters = _letters(text)
    return not letters or set(letters) <= _BASES


def _pasted(text: str, path: Path) -> list[_Record]:
    """Return a sequence without a header: bare or numbered lines of bases."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and not _letters(lines[0]):
        # Numbers alone, as PHYLIP's programs have them.
        lines = lines[1:]
    # A name above the sequence or in its first line, as people write it; quotation marks and 5' and 3' around it.
    n = 0
    while n < min(_MAX_NAMED, len(lines) - 1) and _is_name(lines[n:]):
        n += 1
    remark = "the file has no header: it was read as a bare sequence"
    name, rest = lines[0] if n else "", lines[n:]
    if rest and (parted := _name_before(rest[0])) is not None:
        name, rest = parted[0], [parted[1], *rest[1:]]
    if name and _is_bases("".join(rest)):
        remark += f"; {name[:40]!r} was taken for its name"
        lines = rest
    if (upper := _one_strand(lines)) is not None:
        remark += "; the line below each is its other strand"
        lines = upper
    letters = _letters("".join(lines))
    if not letters:
        raise _refuse(
            path, "holds no sequence", "it is empty" if not text.strip() else "it holds no letters"
        )
    share = sum(c in _BASES for c in letters) / len(letters)
    if len(letters) >= _MIN_PASTED and share > 0.97:
        return [
            _Record(
                path.stem,
                letters,
                remarks=(remark,),
            )
        ]
    lines = [x for x in text.splitlines() if x.strip() and not x.startswith("#")]
    if lines and lines[0].count("\t") >= 7:
        what = "an annotation table (GTF, GFF or BED), which holds no bases"
    elif text.lstrip()[:200].lower().startswith(("<!doctype html", "<html")):
        what = "a web page"
    elif text.lstrip().startswith("<"):
        what = "an XML document (SBOL or the like)"
    elif text.lstrip().startswith("{"):
        what = "a JSON document"
    elif re.match(r"@\S+\n[ACGTN]+\n\+", text):
        what = "a FASTQ file: reads, not the vector"
    elif (
        letters.isalpha()
        and all(c in set("ACDEFGHIKLMNPQRSTVWY*X") for c in letters)
        and share < 0.8
    ):
        what = "a protein or a text"
    else:
        what = f"text that begins with {text.strip()[:40]!r}"
    raise _refuse(path, "is not the map of a vector", f"it is {what}")


def _records(data: bytes, path: Path) -> tuple[list[_Record], str]:
    """Return the records of a file and the name of its format, recognized by its first bytes."""
    if data.startswith(_SNAPGENE) or (path.suffix.lower() == ".dna" and b"SnapGene" in data[:64]):
        return _snapgene(data, path), "SnapGene"
    _check_kind(data, path)
    text = _decoded(data, path)
    lead = text.lstrip()
    if lead.startswith("{\\rtf"):
        raise _refuse(
            path,
            "is not the map of a vector",
            "it is a rich text (RTF) document",
            "save it as plain text",
        )
    has_locus = re.search(r"^LOCUS\b", text, re.M) is not None
    # The head of a file may be lost.
    if ("\nORIGIN" in text and (has_locus or _NUMBERED.search(text))) or lead.startswith("LOCUS"):
        found = [
            _Record(
                r.name,
                r.sequence,
                r.circular,
                tuple(r.features),
                r.text,
                tuple(r.remarks),
                r.is_protein,
                r.missing,
                r.cut_short,
            )
            for r in read_genbank(text[text.index("LOCUS") if has_locus else 0 :])
        ]
        return found, "GenBank"
    if lead.startswith("ID   "):
        from Bio import BiopythonWarning, SeqIO

        if not re.search(r"^//", text, re.M):
            raise CutOffError("the record has no closing line (//)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BiopythonWarning)
            records = [_biopython(r) for r in SeqIO.parse(StringIO(lead), "embl")]
        for record, own in zip(records, re.split(r"^//.*$", lead, flags=re.M), strict=False):
            told = re.search(r"^(?:ID|SQ) .*?(\d+) BP", own, re.M)
            bases = re.split(r"^SQ .*$", own, flags=re.M)[-1].splitlines()
            record.missing, record.cut_short = lacking(bases, int(told[1]) if told else None)
        return records, "EMBL"
    if (mark := _DNASTAR.search(text)) is not None:
        return _pasted(text[mark.end() :], path), "DNASTAR"
    if (gcg := _GCG.search(text)) is not None:
        records = _pasted(text[gcg.end() :], path)
        if len(records[0].sequence) < int(gcg[1]):
            raise CutOffError(f"{len(records[0].sequence):,} of {int(gcg[1]):,} bases are there")
        return records, "GCG"
    header = re.search(r"^>", text, re.M)
    if header and _is_before_fasta(text[: header.start()]):
        return _with_gff(_fasta(text[header.start() :]), text[: header.start()]), "FASTA"
    return _pasted(text, path), "a bare sequence"


def _chosen(records: list[_Record], wanted: str | None, path: Path) -> _Record:
    """Return the record that was asked for, or the only one."""
    names = ", ".join(r.name or "(without a name)" for r in records[:8])
    if wanted is not None:
        mine = [r for r in records if r.name == wanted] or [
            r for r in records if r.name.lower() == wanted.lower()
        ]
        if len(mine) != 1:
            raise CarseqError(
                f"{path} has no record named {wanted!r}"
                if not mine
                else f"{path} has {len(mine)} records named {wanted!r}",
                f"its records are {names}",
                "name one of them behind the #",
            )
        return mine[0]
    if len(records) > 1:
        raise CarseqError(
            f"{path} holds {len(records)} sequences",
            names,
            f"name the one with the CAR: {path.name}#{_most_like_a_car(records) or 'NAME'}; a second CAR needs a run "
            "of its own",
        )
    return records[0]


def _most_like_a_car(records: list[_Record]) -> str:
    """Return the name of the record whose frame is most like a CAR's; of the first one where none is."""
    from carseq.construct.coding import reverse_complement
    from carseq.construct.orfs import car_orf

    def score(record: _Record) -> int:
        bases = re.sub(r"[^ACGTN]", "N", record.sequence.upper().replace("U", "T"))[:MAX_LENGTH]
        found = [car_orf(strand) for strand in (bases, reverse_complement(bases))]
        return max(orf.score if orf else 0 for orf in found)

    return max(records[:_LOOKED_AT], key=score).name


def read_vector(path: str | Path) -> VectorMap:
    """Read one sequence of a GenBank, EMBL, SnapGene or FASTA file, or a pasted one.

    Parameters
    ----------
    path
        The file; ``FILE#name`` for one of several records.

    Raises
    ------
    CarseqError
        If the file cannot be read or was cut off, holds no sequence or several without one being named, or holds
        other than nucleotides.
    """
    file, wanted = split_record(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        # A path has one / where an address has two.
        if re.match(r"(https?|ftp|s3|gs):/", str(file)):
            raise CarseqError(
                f"the construct {file} is an address",
                "a construct is read by its path",
                "fetch the file and give its path",
            ) from None
        raise CarseqError(
            f"cannot read the construct {file}",
            error.strerror or str(error),
            "give the path of a GenBank, SnapGene or FASTA file in `construct.file`, or a name from "
            "`carseq construct list`",
        ) from None
    try:
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        records, kind = _records(data, file)
    except CarseqError:
        raise
    except (CutOffError, EOFError, zlib.error, struct.error) as error:
        raise CarseqError(
            f"{file} cannot be read as the map of a vector: it is cut off",
            str(error) or type(error).__name__,
            "copy or download the file again; a part of a map would give a wrong mRNA",
        ) from None
    except Exception as error:  # Biopython's parsers raise whatever a broken file leads them to
        raise CarseqError(
            f"{file} cannot be read as the map of a vector",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
            _REMEDY,
        ) from None
    if not records:
        raise CarseqError(f"{file} holds no sequence", f"it was read as {kind}", _REMEDY)
    record = _chosen(records, wanted, file)
    return VectorMap(
        _bases(record, file, kind),
        record.circular,
        record.features,
        record.text,
        record.remarks,
        record.missing,
        record.cut_short,
    )


def _of_a_product(protein: str) -> str:
    """Return which construct of the library codes a protein, in words to add to a remedy; empty where none does."""
    import edlib

    from carseq.construct.coding import translate
    from carseq.construct.parts import sequences

    for name, frame in sequences("orfs.fa").items():
        own = translate(frame).rstrip("*")
        most = int(_SAME_PROTEIN * len(own))
        if edlib.align(protein, own, mode="NW", task="distance", k=most)["editDistance"] >= 0:
            return (
                f"; it is the protein of {name}, whose published bases come with carseq (`carseq construct show "
                f"{name}`). Another vector may have other codons for it"
            )
    return ""


def _bases(record: _Record, path: Path, kind: str) -> str:
    """Return the record's bases, upper case, with N for every ambiguous one."""
    sequence = re.sub(r"[\s\d]", "", record.sequence).upper()
    sequence = _PSEUDOURIDINE.sub("T", sequence).replace("U", "T")
    # Gaps of an alignment and a closing asterisk are not bases.
    sequence = sequence.replace("-", "").replace(".", "").rstrip("*")
    if not sequence or set(sequence) <= {"?", "N"}:
        raise CarseqError(
            f"{path} holds no sequence",
            f"it was read as {kind}; its record {record.name or ''} has no bases".replace(
                "  ", " "
            ),
            "export the map again with its sequence (ORIGIN)",
        )
    if len(sequence) > MAX_LENGTH:
        raise CarseqError(
            f"{path} is too long for a vector",
            f"it has {len(sequence):,} bases; a vector with its plasmid has 5,000-15,000",
            "give the map of the CAR's vector, not a genome or a chromosome",
        )
    odd = sorted(set(sequence) - _BASES)
    bases = sum(sequence.count(base) for base in "ACGTN") / len(sequence)
    if record.is_protein or (_ONLY_PROTEIN & set(odd) and bases < _MOSTLY_BASES):
        why = f"it holds {' '.join(odd[:8])}, letters of a protein"
        raise CarseqError(
            f"{path} is not a nucleotide sequence",
            why if odd else "its LOCUS line says aa: a protein",
            "give the DNA of the vector, not a protein" + _of_a_product(sequence),
        )
    if odd:
        first = re.search(f"[{re.escape(''.join(odd))}]", sequence)
        at = first.start() if first else 0
        raise CarseqError(
            f"{path} is not a nucleotide sequence",
            f"it holds {' '.join(odd[:8])} among its bases, first behind base {at:,}, in "
            f"{sequence[max(0, at - 10) : at + 15]!r}",
            "take what is no base out of the sequence (a table, notes or marks of a page); for an unknown base write N",
        )
    return "".join(b if b in "ACGT" else "N" for b in sequence)

"""Parts of a CAR's mRNA that are a human gene's by their protein, whose own mRNA may have the same bases.

A part may be coded as in its gene or otherwise: the protein does not tell. Whoever does not have the genome cannot say
whose a read is that lies in such a part alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from carseq.construct.model import Construct
from carseq.construct.parts import find_part, parts
from carseq.construct.protein import SIGNAL, UNNAMED, Stretch

#: The gene of each known domain of a human protein, by the domain's name.
GENES = {
    "CD8A signal peptide": "CD8A", "CSF2RA signal peptide": "CSF2RA", "CD28 signal peptide": "CD28",
    "CD33 signal peptide": "CD33", "IL2 signal peptide": "IL2", "CSF2 signal peptide": "CSF2",
    "CD4 signal peptide": "CD4", "CD3E signal peptide": "CD3E", "CD19 signal peptide": "CD19",
    "NGFR signal peptide": "NGFR", "GH1 signal peptide": "GH1", "DAP10 signal peptide": "HCST",
    "IGHV1 signal peptide": "IGHV1", "IGHV3 signal peptide": "IGHV3", "IGKV1 signal peptide": "IGKV1",
    "TRBV signal peptide": "TRBV", "CD8A hinge": "CD8A", "CD28 hinge": "CD28", "IgG4 hinge": "IGHG4",
    "IgG4 CH2": "IGHG4", "IgG4 CH3": "IGHG4", "IgG1 hinge": "IGHG1", "IgG1 CH2": "IGHG1", "IgG1 CH3": "IGHG1",
    "IgG2 hinge": "IGHG2", "IgD hinge": "IGHD", "DAP10 ectodomain": "HCST", "CD8A transmembrane": "CD8A",
    "CD28 transmembrane": "CD28", "CD4 transmembrane": "CD4", "4-1BB transmembrane": "TNFRSF9",
    "ICOS transmembrane": "ICOS", "CD3zeta transmembrane": "CD247", "FcRgamma transmembrane": "FCER1G",
    "OX40 transmembrane": "TNFRSF4", "CD27 transmembrane": "CD27", "CD3E transmembrane": "CD3E",
    "DAP12 transmembrane": "TYROBP", "PDGFRB transmembrane": "PDGFRB", "4-1BB": "TNFRSF9", "CD28": "CD28",
    "ICOS": "ICOS", "OX40": "TNFRSF4", "CD27": "CD27", "2B4": "CD244", "DAP10": "HCST", "CD40": "CD40",
    "GITR": "TNFRSF18", "CD3zeta": "CD247", "FcRgamma": "FCER1G", "CD3E": "CD3E", "CD3G": "CD3G", "CD3D": "CD3D",
    "DAP12": "TYROBP", "IL13": "IL13", "NKG2D ectodomain": "KLRK1", "APRIL": "TNFSF13", "BAFF": "TNFSF13B",
    "CD27 ectodomain": "CD27", "CD4 ectodomain": "CD4", "PD-1 ectodomain": "PDCD1", "FKBP12": "FKBP1A",
    "FRB": "MTOR", "iCasp9": "CASP9", "EGFRt": "EGFR", "CD19t": "CD19", "NGFRt": "NGFR", "RQR8": "CD8A",
    "DHFR": "DHFR", "IL15": "IL15", "IL18": "IL18", "antibody CH1": "IGHG1", "antibody C kappa": "IGKC",
    "CD247 start": "CD247", "CD3E ectodomain": "CD3E", "CD28 ectodomain": "CD28", "4-1BB ectodomain": "TNFRSF9",
    "HLA class I heavy chain": "HLA-A", "HLA-E heavy chain": "HLA-E", "beta-2 microglobulin": "B2M",
    "TCR alpha constant": "TRAC", "TCR beta constant": "TRBC1", "TCR delta constant": "TRDC",
    "TCR gamma constant": "TRGC1", "PD-1 transmembrane": "PDCD1", "PD-1 tail": "PDCD1",
    "CTLA-4 transmembrane": "CTLA4", "CTLA-4 tail": "CTLA4", "LIR-1 transmembrane": "LILRB1", "LIR-1 tail": "LILRB1",
    "CD16 ectodomain": "FCGR3A", "TACI ectodomain": "TNFRSF13B", "dnTGFBR2": "TGFBR2", "HER2t": "ERBB2",
    "CD20": "MS4A1", "IL7": "IL7", "CCL19": "CCL19", "IL12B": "IL12B", "IL12A": "IL12A", "IL21": "IL21",
    "IL15RA": "IL15RA", "CD3G transmembrane": "CD3G", "CD3G ectodomain": "CD3G", "CD3D transmembrane": "CD3D",
    "CD3D ectodomain": "CD3D", "Notch1 core": "NOTCH1", "MyD88": "MYD88", "TGFBR2 signal peptide": "TGFBR2",
}  # fmt: skip

#: Stands for the gene into which a donor is knocked that carseq does not know.
_ITS_GENE = "the gene it is made for"
#: Of the genes, those that no annotation need have under this name: names of other releases and the unknown one.
_OTHER_NAMES = frozenset({"TLE5", _ITS_GENE})
#: Families of genes, by what their names begin with.
_FAMILIES = ("IGHV", "IGKV", "IGLV", "TRBV")
#: Framework 3 of human V segments as the germline has it: a variable domain with these codons is read in B and plasma
#: cells too. Share of edits within which 40 bases of a read agree with the CAR (mutated antibodies, other segments).
_GERMLINE = {
    "IGHV": (
        *("IGHV1_FR3", "IGHV1B_FR3", "IGHV2_FR3", "IGHV3_FR3", "IGHV3B_FR3"),
        *("IGHV4_FR3", "IGHV5_FR3", "IGHV6_FR3"),
    ),
    "IGKV": ("IGKV1_FR3", "IGKV2_FR3", "IGKV3_FR3", "IGKV4_FR3"),
    "IGLV": ("IGLV1_FR3", "IGLV2_FR3", "IGLV3_FR3", "IGLV3B_FR3"),
}
_GERMLINE_EDITS = 0.12
#: Untranslated parts that are transcribed from a human gene too: name, gene, the part they begin with, the one they
#: end with, and what goes on behind it in the gene, of which a vector has some bases more. The intron of a promoter is
#: in the gene's unspliced RNA. That of GH1 is left out: no cell of blood or urine makes it.
_UNTRANSLATED = (
    ("EF1alpha exon 1", "EEF1A1", "EF1A_exon1", "EF1A_intron_end", "EEF1A1_exon2"),
    ("UbC exon 1", "UBC", "UbC_exon1", "UbC_intron_end", ""),
    ("PGK leader", "PGK1", "hPGK_leader", "", "PGK1_leader_rest"),
    ("IL2 leader", "IL2", "IL2_leader", "", ""),
    ("intron", "HBB", "HBB_intron_end", "", "HBB_exon3"),
    ("5' UTR", "HBB", "HBB_5UTR", "", ""),
    ("3' UTR", "HBB", "HBB_3UTR", "", ""),
    ("5' UTR", "HBA1", "HBA1_5UTR", "", ""),
    ("3' UTR", "HBA1", "HBA1_3UTR", "", ""),
    ("3' UTR", "HBA2", "HBA2_3UTR", "", ""),
    ("3' UTR", "TLE5", "TLE5_3UTR", "", ""),
    ("a part", "MT-RNR1", "MTRNR1", "", ""),
)
#: Bases that agree for each one that does not, where a gene goes on in a vector.
_AGREEING = 4

#: Names of parts of a frame that no known sequence tells, and how long one must be to hold a read, nt.
_UNKNOWN, _MIN_UNKNOWN = ("binder", "second ORF", UNNAMED), 90


#: Most bases without a name beside a part of a gene that may be the gene's: IL15's leader has 144.
_MAX_BESIDE = 180
#: Bases from a frame's end within which a part is its first or last one; the stop codon has three.
_AT_END = 6


class HumanPart(NamedTuple):
    """A part of the CAR's full-length transcript, 0-based half-open: its domain's name and gene."""

    name: str
    gene: str
    start: int
    end: int


def human_parts(construct: Construct, compared: Collection[str] = ()) -> list[HumanPart]:
    """Return the parts of a CAR that are a human gene's, in order.

    Parameters
    ----------
    construct
        The CAR.
    compared
        Genes that its reads are compared with, whose parts are left out.

    Examples
    --------
    >>> from carseq.construct.vector import load_construct
    >>> from carseq.data import path as data_path
    >>> car = load_construct(data_path("constructs/axi-cel.gb"))
    >>> [part.gene for part in human_parts(car, ["CD28", "CD247"])]
    ['CSF2RA']
    """
    rows = construct.domain_rows
    found = [
        HumanPart(row.name, GENES[row.name], *_whole(rows, row))
        for row in rows
        if row.name in GENES
    ]
    found += [
        *_germline(construct),
        *_untranslated(construct.sequence),
        *_knocked_into(construct),
    ]
    return sorted(
        (part for part in found if part.gene not in compared), key=lambda p: (p.start, p.end)
    )


def part_at_end(construct: Construct, end: str) -> HumanPart | None:
    """Return the part of a human gene with which a CAR's frame begins (``five``) or ends (``three``), or None.

    Examples
    --------
    >>> from carseq.construct.vector import load_construct
    >>> from carseq.data import path as data_path
    >>> car = load_construct(data_path("constructs/axi-cel.gb"))
    >>> [part_at_end(car, end).gene for end in ("five", "three")]
    ['CSF2RA', 'CD247']
    """
    assert construct.orf is not None
    start, last = construct.orf
    for part in human_parts(construct):
        near = part.start - start if end == "five" else last - part.end
        if abs(near) <= _AT_END:
            return part
    return None


def unknown_parts(construct: Construct) -> list[HumanPart]:
    """Return the parts of the CAR's frame that no known sequence tells, without a gene: they may be a human gene's."""
    return [
        HumanPart(row.name, "", row.start, row.end)
        for row in construct.domain_rows
        if row.name in _UNKNOWN and row.end - row.start >= _MIN_UNKNOWN
    ]


def _whole(rows: Sequence[Stretch], row: Stretch) -> tuple[int, int]:
    """Return a part's place with what lies directly beside it and may be the gene's own too.

    Of secreted and truncated proteins the known part is the mature one, cut at one of the places where people cut it:
    the gene's leader and a few residues of its tail have no names.
    """
    start, end = row.start, row.end
    for other in rows:
        if other.name not in (SIGNAL, UNNAMED) or other.end - other.start > _MAX_BESIDE:
            continue
        if other.end == row.start:
            start = other.start
        elif other.start == row.end and other.name == UNNAMED:
            end = other.end
    return start, end


def _germline(construct: Construct) -> list[HumanPart]:
    """Return the variable domains that have the codons of human V segments."""
    return [
        HumanPart(row.name, gene, *_whole(construct.domain_rows, row))
        for row in construct.domain_rows
        if row.name in ("VH", "VL", "VHH")
        for gene, segments in _GERMLINE.items()
        if any(
            find_part(parts()[name], construct.sequence[row.start : row.end], _GERMLINE_EDITS)
            for name in segments
        )
    ]


def is_annotated(gene: str, genes: Collection[str]) -> bool:
    """Whether an annotation has a part's gene, or one of its family; also where none need have it under this name."""
    if gene.startswith(_FAMILIES):
        return any(other.startswith(gene) for other in genes)
    return gene in genes or gene in _OTHER_NAMES


def _untranslated(sequence: str) -> list[HumanPart]:
    """Return the parts of human genes that no protein tells: introns of promoters, untranslated regions."""
    found = []
    for name, gene, first, last, further in _UNTRANSLATED:
        ends = [end for _, end, _ in find_part(parts()[last], sequence)] if last else []
        for start, end, _ in find_part(parts()[first], sequence):
            behind = [e for e in ends if e > end]
            whole = name.replace("exon 1", "exon 1 and intron") if behind else name
            end = min(behind, default=end)
            # An exon goes on behind the intron alone.
            if further and (behind or not last):
                end += _agreeing(sequence[end:], parts()[further])
            found.append(HumanPart(whole, gene, start, end))
    return found


def _agreeing(sequence: str, further: str) -> int:
    """Return how many bases of a sequence are those with which a gene goes on."""
    score = best = n = 0
    for i, (own, base) in enumerate(zip(sequence, further, strict=False), 1):
        score += 1 if own == base else -_AGREEING
        if score > best:
            best, n = score, i
    return n


def _knocked_into(construct: Construct) -> list[HumanPart]:
    """Return what a knock-in donor's mRNA has of the gene: before the 2A peptide, and behind a CAR without an end."""
    told = next((text for code, text in construct.notes if code == "knock_in"), None)
    if told is None or construct.orf is None:
        return []
    gene = "TRAC" if "TRAC" in told else _ITS_GENE
    start, end = construct.orf
    joint = [r.start for r in construct.domain_rows if r.kind == "2A peptide"]
    # A 2A peptide before the frame joins it to the gene, one within it may part two proteins of the CAR.
    first = start if start else min(joint, default=0)
    found = [HumanPart("exon", gene, 0, first)] if first else []
    if construct.three is None or not construct.three.known:
        found.append(HumanPart("end", gene, end, len(construct.sequence)))
    return found

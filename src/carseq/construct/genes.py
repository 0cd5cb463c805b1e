"""Parts of a CAR's mRNA that are a human gene's by their protein, whose own mRNA may have the same bases.

A part may be coded as in its gene or otherwise: the protein does not tell. Whoever does not have the genome cannot say
whose a read is that lies in such a part alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from carseq.construct.model import Construct

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
}  # fmt: skip

#: Of these, families of genes, which no annotation has under this name.
FAMILIES = frozenset({"IGHV1", "IGHV3", "IGKV1", "TRBV"})


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
    return [
        HumanPart(row.name, GENES[row.name], row.start, row.end)
        for row in construct.domain_rows
        if row.name in GENES and GENES[row.name] not in compared
    ]

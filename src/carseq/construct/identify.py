"""Is it a CAR? And if not, what does the file hold instead?

A CAR binds, spans the membrane and signals. A frame counts as one if it signals (CD3zeta, another ITAM or a
costimulatory domain) and has a second part of a CAR beside it, or if an antibody domain is anchored in the membrane.
Whole genes that hold such parts by nature (CD247, CD28, a TCR, HLA) do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from carseq.construct.antibody import variable_domains
from carseq.construct.coding import translate
from carseq.construct.orfs import all_frames
from carseq.construct.parts import find_protein, known_proteins
from carseq.construct.protein import CAR_KINDS, Stretch, protein_domains

#: ORFs from this length on are named when a file holds no CAR.
_MIN_NAMED = 300
#: Bases in which a whole CAR lies, and residues that a domain needs to count in a frame of chance.
_CAR_LENGTH, _MIN_TELLING = 2400, 20
_ANTIBODY = {"VH", "VL", "VHH", "DARPin", "ZHER2 affibody"}
#: Names of natural proteins and constant regions, and what a frame of them is.
_WHOLE = {
    "CD247 start": "the whole CD247 (CD3zeta) gene",
    "mouse CD247 start": "the whole Cd247 (CD3zeta) gene of the mouse",
    "CD28 ectodomain": "the whole CD28 gene",
    "4-1BB ectodomain": "the whole TNFRSF9 (4-1BB) gene",
    "CD3E ectodomain": "the whole CD3E gene",
    "CD3G ectodomain": "the whole CD3G gene",
    "CD3D ectodomain": "the whole CD3D gene",
    "HLA class I heavy chain": "an HLA class I chain",
    "HLA-E heavy chain": "an HLA-E chain",
    "beta-2 microglobulin": "beta-2 microglobulin (an HLA fusion)",
    "antibody CH1": "an antibody's heavy chain",
    "antibody C kappa": "an antibody's light chain",
}
#: Tails that inhibit: those of inhibitory CARs, and of the receptors themselves.
INHIBITORY = frozenset({"PD-1 tail", "CTLA-4 tail", "LIR-1 tail"})
#: A receptor whose ectodomain, transmembrane part and tail are all of one gene is that gene.
_OF_ONE_GENE = ("binder", "transmembrane", "costimulatory", "signalling", "CD3zeta")
_OWN = (("CD27", "the whole CD27 gene"), ("PD-1", "the whole PD-1 gene"), ("CD4", "CD4"))


@dataclass(frozen=True)
class Verdict:
    """Whether a frame is a CAR's, and in words what it is if it is not."""

    is_car: bool
    what: str


def _pieces(found: list[Stretch]) -> list[list[Stretch]]:
    """Return the stretches of each protein between 2A peptides."""
    cuts = [i + 1 for i, s in enumerate(found) if s.kind == "2A peptide"]
    return [found[a:b] for a, b in pairwise([0, *cuts, len(found)]) if b > a]


def _judge(piece: list[Stretch]) -> Verdict:
    kinds = {s.kind for s in piece if s.name != "unnamed"}
    names = {s.name for s in piece}
    antibody = bool(names & _ANTIBODY)
    signals = bool(kinds & {"CD3zeta", "signalling"})
    costimulates = "costimulatory" in kinds
    spans = "transmembrane" in kinds or "Notch1 core" in names
    tcr = sorted(n for n in names if "TCR" in n)
    whole = [_WHOLE[n] for n in names if n in _WHOLE]
    # No chain of a TCR has a variable domain like a heavy chain's: an antibody in its place makes a STAR or HIT.
    if tcr and names & {"VH", "VHH"}:
        return Verdict(True, "")
    if tcr:
        chains = " and ".join(tcr)
        return Verdict(False, f"a T cell receptor ({chains})")
    if any("HLA" in w for w in whole) and not antibody:
        return Verdict(False, whole[0] + (" fused to a signalling domain" if signals else ""))
    # A stretch without a name may be a gene's own ectodomain: only a known binder makes a CAR of a whole gene.
    known_binder = any(s.kind == "binder" and s.name != "binder" for s in piece)
    if whole and not known_binder:
        return Verdict(False, whole[0])
    if antibody and not (spans or signals or costimulates) and whole:
        return Verdict(False, next(iter(whole)))
    if not antibody:
        for prefix, what in _OWN:
            mine = {n for n in names if n.startswith(prefix)}
            if len(mine) > 1 and mine == {s.name for s in piece if s.kind in _OF_ONE_GENE}:
                return Verdict(False, what)
    inhibits = sorted(names & INHIBITORY)
    if inhibits and not (antibody or known_binder or costimulates or "CD3zeta" in kinds):
        gene = inhibits[0].removesuffix(" tail")
        return Verdict(False, f"the whole gene of {gene}, or its tail without a known binder")
    if not (signals or antibody or known_binder) and costimulates and spans:
        # A CAR's domains are of several genes, or it signals.
        spanning = [s.name for s in piece if s.kind == "transmembrane"]
        inner = [s.name for s in piece if s.kind == "costimulatory"]
        hinges = [s.name for s in piece if s.kind == "hinge" and s.name != "spacer"]
        of_another = any(not h.startswith(tuple(inner)) for h in hinges)
        if not of_another and all(
            "predicted" in s or s.removesuffix(" transmembrane") in inner for s in spanning
        ):
            return Verdict(
                False,
                f"the whole gene of {inner[0]}, or its transmembrane and inner part on an ectodomain that is not "
                "a known binder",
            )
    if (signals or costimulates) and (spans or kinds & {"hinge", "binder"}):
        return Verdict(True, "")
    if "antibody CH1" in names or "antibody C kappa" in names:
        return Verdict(False, "an antibody's chain" + (" on the cell's surface" if spans else ""))
    if antibody and spans:
        return Verdict(True, "")
    if antibody:
        return Verdict(
            False,
            "an antibody fragment alone (a scFv or VHH, nothing that spans the membrane or signals)",
        )
    if signals or costimulates:
        named = ", ".join(
            s.name for s in piece if s.kind in ("CD3zeta", "signalling", "costimulatory")
        )
        return Verdict(False, f"{named} alone")
    named = ", ".join(dict.fromkeys(s.name for s in piece if s.kind in ("marker", "switch", "tag")))
    return Verdict(False, named)


@lru_cache(maxsize=64)
def judge_protein(protein: str) -> Verdict:
    """Return whether a protein (2A partners included) is a CAR.

    Examples
    --------
    >>> from carseq.construct.coding import translate
    >>> from carseq.construct.parts import sequences
    >>> judge_protein(translate(sequences("orfs.fa")["ide-cel"]).rstrip("*")).is_car
    True
    >>> judge_protein("MKWKALFTAAILQAQLPITEAQSFGLLDPKLCYLLDGILFIYGVILTALFLRVKFSRS").is_car
    False
    """
    verdicts = [_judge(piece) for piece in _pieces(protein_domains(protein))]
    for verdict in verdicts:
        if verdict.is_car:
            return verdict
    told = list(dict.fromkeys(v.what for v in verdicts if v.what))
    return Verdict(False, "; ".join(told))


def is_broken_car(sequence: str, start: int) -> bool:
    """Whether a CAR lies behind ``start`` whose parts are in different reading frames (an insertion or deletion).

    Parameters
    ----------
    sequence
        The map, sense strand.
    start
        Where the frame begins that holds the CAR's first part.
    """
    kinds: set[str] = set()
    begins: list[tuple[int, int]] = []
    signals: list[tuple[int, int]] = []
    proteins = []
    for frame in range(3):
        protein = translate(sequence[start + frame : start + frame + _CAR_LENGTH])
        proteins.append(protein)
        for domain in known_proteins(*CAR_KINDS, "signal peptide", "natural", "TCR"):
            short = len(domain.sequence) < _MIN_TELLING
            if short and (domain.kind != "signal peptide" or frame):
                continue
            # A short leader tells at the frame's beginning alone.
            text = protein[: len(domain.sequence) + 3] if short else protein
            found = find_protein(domain.sequence, text, 0.15)
            if found and domain.kind in ("natural", "TCR"):
                return False
            if found:
                kinds.add(domain.kind)
                if domain.kind == "signal peptide":
                    begins.append((frame, found[0][1]))
                elif domain.kind in ("CD3zeta", "signalling", "costimulatory"):
                    signals.append((frame, found[-1][0]))
        antibodies = [(frame, d.end) for d in variable_domains(protein)]
        kinds |= {"antibody"} if antibodies else set()
        begins += antibodies
    # The frame itself holds the beginning: another one (HIV's env) may lie before a broken CAR.
    begins = [(f, end) for f, end in begins if f == 0 and "*" not in proteins[0][:end]]
    # Beginning and signalling part must be apart: in two frames, or in one with a stop codon between them.
    apart = any(
        f != g or "*" in proteins[f][end:first] for f, end in begins for g, first in signals
    )
    # Where the shift lies in the membrane part, and the hinge is short, binder and signalling part tell alone.
    alone = "antibody" in kinds and kinds & {"CD3zeta", "signalling"}
    return bool(apart and (kinds & {"transmembrane", "hinge"} or alone))


def what_it_holds(sequence: str) -> list[str]:
    """Return the known genes of a sequence (both strands), for the message that refuses it."""
    found: list[str] = []
    for protein in all_frames(sequence + sequence[:3000], _MIN_NAMED)[:40]:
        hits = [
            d.name
            for d in known_proteins("backbone", "marker", "switch", "TCR", "natural")
            if find_protein(d.sequence, protein, 0.15)
        ]
        verdict = judge_protein(protein)
        if not hits and verdict.what and not verdict.is_car:
            hits = [verdict.what]
        found += hits
    return list(dict.fromkeys(found))

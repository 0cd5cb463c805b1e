"""The lint's findings: a closed set of codes, each with its level and its meaning."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

Level = Literal["error", "warn", "info"]
LEVELS: tuple[Level, ...] = ("error", "warn", "info")


class Finding(TypedDict):
    """One lint finding.

    ``umis_lost_3p`` and ``umis_lost_5p`` say how many of 100 CAR UMIs the fault costs in that chemistry; None
    where the question does not arise, or that chemistry was not requested.
    """

    level: Level
    code: str
    message: str
    remedy: str
    umis_lost_3p: int | None
    umis_lost_5p: int | None


class Code(NamedTuple):
    """A code's usual level, what it means, what to do, and whether it changes no base (so that it costs nothing)."""

    level: Level
    meaning: str
    remedy: str = ""
    is_free: bool = False


#: Every code of the lint. *error*: the construct is wrong and must be corrected. *warn*: it costs UMIs, or something
#: was assumed that the user should check. *info*: good to know.
CODES: dict[str, Code] = {
    "not_a_car": Code(
        "error", "the reading frame is not a CAR's", "Give the map of the CAR's vector."
    ),
    "frameshift": Code(
        "error",
        "CAR domains lie in different reading frames (warn if it is a protein behind the CAR)",
    ),
    "premature_stop": Code(
        "error", "a stop codon lies within the CAR (warn if before a protein behind it)"
    ),
    "no_cd3zeta": Code(
        "error", "no CD3zeta (info if another domain signals, warn if an unknown one may)"
    ),
    "no_transmembrane": Code("error", "no transmembrane domain"),
    "missing_start": Code(
        "error", "the frame began before its first ATG (warn if no domain is lost)"
    ),
    "bases_missing": Code(
        "error",
        "lines of bases are missing from the file, or stand in it twice or in another order",
        "Download or export the map again: reads of what is missing or misplaced are lost.",
    ),
    "map_cut_short": Code(
        "warn",
        "the map is shorter than it says",
        "Download or export the map again; if its bases were taken out on purpose, correct the length that it says "
        "(LOCUS, ID).",
    ),
    "no_binder": Code("warn", "no antibody domain, DARPin or natural ligand"),
    "no_hinge": Code("info", "no hinge or spacer"),
    "no_signal_peptide": Code("warn", "the reading frame begins without a signal peptide"),
    "no_stop": Code("warn", "the reading frame has no stop codon, or goes on behind the CAR"),
    "truncated_cd3zeta": Code(
        "warn", "CD3zeta is cut off (info if it goes on in the gene that the CAR is knocked into)"
    ),
    "two_cars": Code(
        "warn", "two CARs on one mRNA", "Check that this is meant; they are counted as one."
    ),
    "orf_only": Code("warn", "only the reading frame is known"),
    "no_leader": Code("warn", "the mRNA's 5' end is missing"),
    "no_3p_end": Code("warn", "the mRNA's 3' end is missing"),
    "no_unspliced_form": Code("warn", "only the spliced mRNA is known"),
    "five_prime_guess": Code(
        "warn",
        "where the mRNA begins was guessed",
        "Check where the mRNA begins if your libraries are 5'; name the promoter in the map.",
    ),
    "three_prime_guess": Code(
        "warn",
        "where the mRNA ends was guessed",
        "Check where the mRNA ends if your libraries are 3'; give the map up to the 3' LTR.",
    ),
    "assumed_ends": Code(
        "warn",
        "ends, or an intron, were taken from a known vector",
        "Compare them with the reads (`carseq construct FILE --bam READS.bam`), or give the map of the true vector.",
    ),
    "assumed_sin": Code(
        "warn",
        "the vector was taken to be self-inactivating",
        "Give the map with its 3' LTR.",
        True,
    ),
    "shared_end": Code(
        "warn",
        "another mRNA of the vector has the CAR's 3' end",
        "Take CAR UMIs of 3' libraries as signs of the vector; 5' libraries tell the two mRNAs apart.",
        True,
    ),
    "inner_poly_a": Code(
        "warn",
        "a poly(A) signal lies between the CAR and the 3' LTR",
        "Check the map: a signal on the sense strand also cuts the genome that is packed into the virus.",
        True,
    ),
    "ambiguous": Code("warn", "ambiguous bases"),
    "partial": Code(
        "warn",
        "only a part of the CAR is known",
        "Give the whole plasmid map: what lies outside the part cannot be detected.",
    ),
    "surrogate": Code(
        "warn", "not the true sequence", "Put your own plasmid map into `construct.file`."
    ),
    "model": Code(
        "warn",
        "the frame is published, the vector around it is a model",
        "Put your own plasmid map into `construct.file`: this record's surroundings of the ORF are a model.",
    ),
    "knock_in": Code(
        "warn",
        "transcribed from an endogenous gene",
    ),
    "read_as_circle": Code(
        "warn",
        "a map called linear, or one that ends as it begins, was read as a circle",
        "Check the map's topology.",
        True,
    ),
    "read_with_remarks": Code("info", "something of the file was passed over", "", True),
    "reverse_strand": Code("info", "the map was turned round", "", True),
    "vector": Code("info", "the kind of vector", "", True),
    "self_inactivating": Code("info", "the LTR is silent in a transduced cell", "", True),
    "promoter": Code("info", "the promoter", "", True),
    "transposon": Code("info", "a transposon", "", True),
    "aav": Code("info", "an AAV genome", "", True),
    "integration": Code("info", "a knock-in with a promoter of its own", "", True),
    "shared_domains": Code("info", "reads equal an endogenous gene's"),
}

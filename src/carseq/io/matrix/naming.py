"""What the genes of a matrix are called, and which of them is the CAR."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.errors import CarseqError
from carseq.io.genes import OWN_NAMES, gene_symbols, marker_genes
from carseq.io.matrix.features import GENE, are_genes
from carseq.io.matrix.stored import Stored, Strings, tell_twice
from carseq.log import get_logger

if TYPE_CHECKING:
    from scipy import sparse

log = get_logger(__name__)

#: What people call the feature of a CAR: as whole words, so that CARD8, CARS1, SCARB1 and CARTPT do not match.
_CAR_NAMES = re.compile(
    r"(?<![a-z])p?car(-?t)?(?![a-z])|scfv|wpre|transgene|chima?eric|leucel|"
    r"(axi|tisa|ide|cilta|brexu|liso|obe)-?cel|fmc63|bbz|28z",
    re.IGNORECASE,
)
#: What people call other parts of its vector, and the receptors that are translated from the same mRNA.
_OF_VECTORS = re.compile(
    r"(?<![a-z])(?:[35]?'?[ _-]?ltr|msgv1?|mp71|sfg|mscv|psi|vector|provirus|plasmid|lenti\w*|retro\w*vir\w*"
    r"|(?:hu|t)egfrt?|egfrt|rqr8|(?:t|l|tl)ngfrt?|[tp]2a|icasp9?)(?![a-z])",
    re.IGNORECASE,
)
#: Share of ids that are Ensembl's from which on an id of another form is that of an added sequence.
MOSTLY_ENSEMBL = 0.9
#: Share of the symbols that may name two genes each, if a file has no ids: of GENCODE's, 0.1 % do.
NAMED_TWICE = 0.01


def car_name(feature: str) -> str:
    """Return how a configuration names a feature: with ``_`` for what a contig and a folder cannot be called.

    >>> car_name("CAR;CAR"), car_name("(CAR)"), car_name("BCMA-CAR.1")
    ('CAR_CAR', 'CAR', 'BCMA-CAR.1')
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "_", feature).lstrip("._-").rstrip("_") or "CAR"


def spell_car(read: Stored, path: Path, car: str | None) -> None:
    """Give the one feature that the configuration cannot name otherwise (``CAR;CAR``) the CAR's name, in place.

    A feature with the CAR's name is a gene unless the file says otherwise.
    """
    if car is None:
        return
    if not read.has_types:
        # Who names it knows more than a guess by its name: anti-BCMA is the CAR, not an antibody.
        own = (read.names == car) | (read.ids == car)
        own |= np.array([car_name(str(name)) == car for name in read.names], dtype=bool)
        read.types = np.where(own, GENE, read.types)
    if (read.names == car).any():
        return
    genes = np.flatnonzero(are_genes(read.types))
    meant = [i for i in genes if car_name(str(read.names[i])) == car]
    if len(meant) == 1:
        log.info("%s: the feature %s is taken for the CAR %s", path, read.names[meant[0]], car)
        read.names = read.names.copy()
        read.names[meant[0]] = car


def gene_names(
    read: Stored,
    is_gene: npt.NDArray[np.bool_],
    path: Path,
    symbols: Mapping[str, str] | Callable[[], Mapping[str, str]] | None,
    car: str | None,
) -> Strings:
    """Return the features' names, genes by their symbols where the file or the annotation knows them."""
    names = read.names.copy()
    own = pd.Index(names[is_gene].astype(str))
    columns = None if read.columns is None else read.columns[is_gene]
    # An annotation that is given knows all genes by their ids, not the markers alone.
    found = gene_symbols(own, columns, own_ids=symbols is None)
    if symbols is not None and not marker_genes().intersection(found.names) and own.size:
        known = symbols() if callable(symbols) else symbols
        found = gene_symbols(own, columns, by_id=known)
    if found.source != OWN_NAMES:
        log.info("%s: gene symbols are from %s", path, found.source)
    # The CAR's row has the CAR's name, whatever the other genes are called by.
    names[is_gene] = [o if o == car else str(n) for o, n in zip(own, found.names, strict=True)]
    return names


def check_genes(
    read: Stored,
    names: Strings,
    is_gene: npt.NDArray[np.bool_],
    path: Path,
    car: str | None,
) -> None:
    """Raise where a gene occurs twice; two genes of one symbol are told apart by their ids."""
    own = [f"{i}\t{n}" for i, n in zip(read.ids[is_gene], read.names[is_gene], strict=True)]
    # A list of one column gives each name as its id.
    has_ids = read.has_ids and bool((read.ids != read.names)[is_gene].any())
    held = pd.Index(own) if has_ids else pd.Index(read.names[is_gene])
    twice = held[held.duplicated()]
    # Some symbols of human annotations name two genes each; without ids these look like a mistake.
    if len(twice) > (0 if has_ids else NAMED_TWICE * len(held)):
        tell_twice(pd.Index([str(t).split("\t")[-1] for t in twice.append(twice)]), path, "gene")
    if car is not None and (names[is_gene] == car).sum() > 1:
        raise CarseqError(
            f"the matrix {path} has {(names[is_gene] == car).sum()} genes named {car}",
            "",
            "give `construct.name` as one of them is spelt, or join their counts",
        )


def check_car(
    read: Stored, names: Strings, is_gene: npt.NDArray[np.bool_], path: Path, car: str | None
) -> None:
    """Raise where no gene has the CAR's name."""
    if (names[is_gene] == car).any():
        return
    if (others := sorted(set(read.types[(names == car) & ~is_gene]))) or (
        others := sorted(set(read.types[(read.ids == car) & ~is_gene]))
    ):
        kind = ", ".join(map(str, others))
        raise CarseqError(
            f"{path} has no gene named {car}: the feature of this name is of type {kind}",
            "it counts no molecules of the CAR's mRNA",
            "give a matrix whose reference holds the CAR's sequence, or the FASTQ files or the BAM",
        )
    like = near_names(names[is_gene], car or "", read.ids[is_gene])
    raise CarseqError(
        f"{path} has no feature named {car}",
        "the sample has no reads, so its CAR counts can only come from this matrix",
        (
            f"write `construct.name: {car_name(like[0])}` if {_that(like[0])} is the CAR; "
            if len(like) == 1
            else ""
        )
        + (f"names that may be the CAR's are {', '.join(like)}: " if len(like) > 1 else "")
        + "give `construct.name` as the matrix spells it, a matrix made with the CAR in its reference, or the "
        "FASTQ files or the BAM",
    )


def _that(feature: str) -> str:
    return "that" if car_name(feature) == feature else f"the feature {feature}"


def rows_beside_car(names: npt.ArrayLike, ids: npt.ArrayLike, car: str) -> npt.NDArray[np.bool_]:
    """Return which genes may be other parts of the CAR's vector: called so, or added to a reference of Ensembl's genes.

    Carbonic anhydrases of the mouse are called Car2, Car4 ...: genes of a genome have its ids.

    >>> rows_beside_car(["CD3D", "CAR", "WPRE", "Car2"], ["CD3D", "CAR", "WPRE", "ENSMUSG00000027562"], "CAR").tolist()
    [False, False, True, False]
    """
    names, ids = (np.asarray(given, dtype=str) for given in (names, ids))
    if not len(names):
        return np.zeros(0, dtype=bool)
    is_ensembl = np.array([str(i).split("_")[-1].startswith("ENS") for i in ids])
    found: npt.NDArray[np.bool_] = ~is_ensembl & (names != car)
    # Beside Ensembl's genes a row of another id is one of the vector's, or of another added sequence.
    if is_ensembl.mean() < MOSTLY_ENSEMBL:
        found[found] = [
            bool(_CAR_NAMES.search(str(n)) or _OF_VECTORS.search(str(n))) for n in names[found]
        ]
    return found


def tell_car_rows(
    counts: sparse.csr_matrix, names: Strings, ids: Strings, car: str, what: str
) -> None:
    """Warn where another row may hold molecules of the CAR; raise where rows of it are all that there is.

    Parameters
    ----------
    counts
        Whole numbers, barcodes × genes.
    names, ids
        Of the genes.
    car
        The CAR's name.
    what
        The matrix, in words.

    Raises
    ------
    CarseqError
        If no gene but the CAR's was counted.
    """
    is_part = rows_beside_car(names, ids, car)
    molecules = np.asarray(counts.sum(axis=0)).ravel()
    if not molecules[~is_part & (names != car)].any():
        raise CarseqError(
            f"{what} counts the CAR alone",
            "T cells are known by their genes, and how deep a cell was sequenced by all of its molecules",
            "give the matrix of all genes, with the CAR among them",
        )
    held = np.flatnonzero(is_part & (molecules > 0))
    if len(held):
        log.warning(
            "%s: %s is counted with %.0f molecules; beside it are %s. If these are parts of the same mRNA (its scFv, "
            "WPRE, LTR), their molecules are not counted, and CAR T cells are missed: count the reads against one "
            "sequence of the whole transcript, or add up these rows where each molecule is in one of them",
            what,
            car,
            molecules[names == car].sum(),
            ", ".join(f"{names[i]} with {molecules[i]:.0f}" for i in held[:5]),
        )


def near_names(
    names: Iterable[str], car: str, ids: Iterable[str] | None = None, most: int = 5
) -> list[str]:
    """Return the features that may be the CAR's, the likeliest first.

    Parameters
    ----------
    names
        Names of the features.
    car
        The CAR's name as it was asked for.
    ids
        Their ids, in the same order. Where nearly all are Ensembl's, one of its own is that of an added sequence.
    most
        Names to return at most.

    Returns
    -------
    list of str
        First what is spelt otherwise or has the CAR's name as its id; else what resembles the name, is called as CARs
        are, or was added to a reference of Ensembl's genes.
    """
    import difflib

    genes = [str(name) for name in names]
    keys = [str(i) for i in ids] if ids is not None else genes
    same = [
        n
        for n, i in zip(genes, keys, strict=True)
        if n.lower() == car.lower() or i.lower() == car.lower()
    ]
    if same:
        return same[:most]
    ensembl = [key.split("_")[-1].startswith("ENS") for key in keys]
    added = (
        [n for n, known in zip(genes, ensembl, strict=True) if not known]
        if genes and np.mean(ensembl) >= MOSTLY_ENSEMBL
        else []
    )
    lowered = {n.lower(): n for n in genes}
    resembling = [
        lowered[n] for n in difflib.get_close_matches(car.lower(), lowered, n=most, cutoff=0.8)
    ]
    called_so = [n for n in genes if _CAR_NAMES.search(n)]
    return list(
        dict.fromkeys([*[n for n in added if n in set(called_so)], *resembling, *called_so, *added])
    )[:most]

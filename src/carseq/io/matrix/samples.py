"""Whether a matrix is of one sample."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.errors import CarseqError
from carseq.io.matrix.stored import Stored
from carseq.log import get_logger
from carseq.schema.percent import plain_percent

log = get_logger(__name__)

#: Columns of ``obs`` that name the sample or the donor of a barcode, in small letters and without marks: AnnData's and
#: scanpy's users, Seurat (orig.ident, hash.ID, MULTI_ID), CELLxGENE, BD (Sample_Tag), demultiplexing by genotype.
SAMPLE_COLUMNS = frozenset(
    ("sample", "sampleid", "samplename", "origident", "donorid", "donor", "donorassignment", "patient", "patientid",
     "subject", "subjectid", "individual", "individualid", "library", "libraryid", "batch", "gsm", "hashid", "multiid",
     "sampletag", "htomaxid")
)  # fmt: skip
#: What demultiplexing calls barcodes of no sample, or of several.
_NO_SAMPLE = frozenset(
    ("doublet", "negative", "multiplet", "undetermined", "unassigned", "unknown", "ambiguous", "nan", "", "singlet")
)  # fmt: skip
#: Share of a tag's cells from which a sample with hashtags is one sample, not a pool.
ONE_TAG = 0.9
#: As many names are no samples'.
MOST_NAMES = 1000


def check_one_sample(
    read: Stored, is_tag: npt.NDArray[np.bool_], path: Path, cells: Iterable[str] | None
) -> None:
    """Raise where hashtags say that the matrix holds several samples, and nothing says which cells are whose."""
    if is_tag.sum() < 2 or cells is not None:
        return
    tags = read.counts[:, is_tag].toarray()
    # The cells, roughly: the barcodes that hold the upper half of the molecules.
    total = np.asarray(read.counts[:, ~is_tag].sum(axis=1)).ravel()
    order = np.argsort(-total)
    top = order[: int(np.searchsorted(np.cumsum(total[order]), 0.5 * total.sum())) + 1]
    tags = tags[top][tags[top].sum(axis=1) >= 10]
    if not len(tags):
        return
    # Each tag is compared with its own level, since antibodies differ in how well they stain.
    own = tags.argmax(axis=1)
    share = np.bincount(own, minlength=tags.shape[1]) / len(tags)
    if share.max() >= ONE_TAG:
        return
    names = [str(n) for n in read.names[is_tag]]
    used = [f"{n} {plain_percent(s)}" for n, s in zip(names, share, strict=True) if s > 0][:6]
    raise CarseqError(
        f"the matrix {path} is of several samples that were pooled",
        f"it counts {len(names)} hashtags, and its cells differ in them: {', '.join(used)}",
        "give each sample its own matrix (Cell Ranger multi: per_sample_outs/*/count/sample_filtered_feature_bc_matrix)"
        ", or beside the pool's `raw_matrix` the sample's own cells in `matrix`",
    )


def tell_samples(
    obs: pd.DataFrame | None, path: Path, remedy: str = "give each its own matrix"
) -> bool:
    """Warn where the file says that its barcodes are of several samples; return whether it does.

    Parameters
    ----------
    obs
        What the file says of its barcodes.
    path
        The file.
    remedy
        What to do; ``{column}`` stands for the column's name.
    """
    if obs is None:
        return False
    for name in filter(_names_samples, obs.columns):
        held = [v for v in obs[name].dropna().astype(str).unique() if v.lower() not in _NO_SAMPLE]
        if 1 < len(held) < len(obs) / 2:
            log.warning(
                "%s: obs[%r] names %d samples or donors (%s): they are taken for one sample; %s",
                path,
                name,
                len(held),
                ", ".join(held[:4]),
                remedy.format(column=name),
            )
            return True
    return False


def _names_samples(column: object) -> bool:
    return re.sub(r"[\W_]", "", str(column).lower()) in SAMPLE_COLUMNS


#: What Space Ranger lays beside its matrices, what it writes into them, and what scanpy keeps of it.
_POSITIONS, _SPATIAL = "spatial/tissue_positions*", ("spatial", "visium")


def tell_spots(read: Stored, path: Path) -> None:
    """Warn where barcodes are spots on a slide, each of several cells."""
    import h5py

    kind = ""
    if path.suffix == ".h5":
        with suppress(OSError), h5py.File(path) as file:
            kind = str(np.ravel(file.attrs.get("chemistry_description", ""))[0:1])
    on_slide = any(word in kind.lower() for word in _SPATIAL) or any(path.parent.glob(_POSITIONS))
    if on_slide or (read.obs is not None and {"in_tissue", "array_row"} <= set(read.obs)):
        log.warning(
            "%s is of a slide (Space Ranger): a spot holds several cells and parts of cells, which are taken for one, "
            "so that neither types nor shares of CAR T cells hold; give libraries of single cells",
            path,
        )


#: What tools call cells that they added up, and in which columns of ``obs`` they say of how many each is the sum.
_METACELL = re.compile(
    r"(sea[-_ ]?cell|meta[-_. ]?cell|super[-_ ]?cell|pseudo[-_ ]?(bulk|cell))[-_. ]?\d|mc[-_.]?\d+$|M\d+\.\d\d$",
    re.IGNORECASE,
)
_CELLS_IN_ONE = (
    "psbulk_n_cells", "psbulk_cells", "grouped", "metacell_size", "supercell_size", "SEACell_size",
)  # fmt: skip
#: Columns of ``obs`` in which Seurat, scanpy and their users keep how many molecules a cell had.
_TOTALS = (
    "nCount_RNA", "n_counts", "total_counts", "nUMI", "n_umi", "n_umis", "total_umis",
)  # fmt: skip
#: By how much these may be more than the matrix holds (genes of few cells are often left out), and how closely the two
#: must go together to be of the same cells.
MORE_THAN_HELD, LEAST_ALIKE = 1.1, 0.8


def tell_metacells(read: Stored, path: Path) -> None:
    """Warn where barcodes are sums of several cells."""
    some = read.barcodes[:MOST_NAMES]
    called = sum(bool(_METACELL.match(str(name))) for name in some) > len(some) / 2
    of_several = False
    for name in _CELLS_IN_ONE:
        if read.obs is not None and name in read.obs:
            sizes = pd.to_numeric(read.obs[name], errors="coerce")
            of_several = of_several or bool(sizes.median() >= 2)
    if called or of_several:
        log.warning(
            "%s: its rows are sums of several cells (metacells, pseudobulks), each of which is taken for one cell: "
            "shares of CAR T cells mean nothing, and their types are mixed; give the matrix of the cells themselves",
            path,
        )


def tell_left_out(read: Stored, path: Path) -> None:
    """Warn where the file says of its cells that they had more molecules than it counts."""
    own = np.asarray(read.counts.sum(axis=1), dtype=float).ravel()
    for name in _TOTALS:
        if read.obs is None or name not in read.obs:
            continue
        said = pd.to_numeric(read.obs[name], errors="coerce").to_numpy(float)
        both = np.isfinite(said) & (said > 0) & (own > 0)
        # Sums of normalised values are seldom whole.
        if both.sum() < 2 or (said[both] != np.rint(said[both])).any() or not np.ptp(said[both]):
            continue
        more = float(np.median(said[both] / own[both]))
        alike = np.corrcoef(np.log(said[both]), np.log(own[both]))[0, 1]
        if more > MORE_THAN_HELD and alike > LEAST_ALIKE:
            log.warning(
                "%s: the median cell had %.0f molecules by obs[%r], and the matrix counts %.0f of it: where genes were "
                "left out (all but the variable ones) or molecules taken away, the share of the CAR is wrong; give the "
                "counts of all genes as they were (of no account if antibodies alone are missing)",
                path,
                np.median(said[both]),
                name,
                np.median(own[both]),
            )
            return


def names_within(path: str | Path) -> list[str]:
    """Return the names of samples that a matrix in HDF5 holds: Cell Ranger's ``--id``, or columns of ``obs``.

    Names that many barcodes have; nothing of a file that is none, or damaged: who reads it says so.
    """
    import h5py

    found: dict[str, None] = {}
    with suppress(OSError, KeyError, ValueError, RuntimeError, TypeError), h5py.File(path) as file:
        given = [np.ravel(file.attrs.get("library_ids", []))]
        obs = file.get("obs")
        for name in filter(_names_samples, obs) if isinstance(obs, h5py.Group) else ():
            column = obs.get(name)
            values = column.get("categories") if isinstance(column, h5py.Group) else column
            if isinstance(values, h5py.Dataset):
                given.append(np.ravel(values[:MOST_NAMES]))
        for values in given:
            found |= dict.fromkeys(v.decode() if isinstance(v, bytes) else str(v) for v in values)
    return list(found) if len(found) < MOST_NAMES else []

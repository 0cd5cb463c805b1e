"""Whether a matrix is of one sample."""

from __future__ import annotations

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

#: Columns of ``obs`` that name the sample or the donor of a barcode: AnnData's and scanpy's users, Seurat, CELLxGENE.
SAMPLE_COLUMNS = (
    "sample", "sample_id", "sample_name", "orig.ident", "donor_id", "donor", "patient", "patient_id",
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
    for name in SAMPLE_COLUMNS:
        if obs is None or name not in obs:
            continue
        held = obs[name].dropna().astype(str).unique()
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


def names_within(path: str | Path) -> list[str]:
    """Return the names of samples that a matrix in HDF5 holds: Cell Ranger's ``--id``, or columns of ``obs``.

    Names that many barcodes have; nothing of a file that is none, or damaged: who reads it says so.
    """
    import h5py

    found: dict[str, None] = {}
    with suppress(OSError, KeyError, ValueError, RuntimeError, TypeError), h5py.File(path) as file:
        given = [np.ravel(file.attrs.get("library_ids", []))]
        obs = file.get("obs")
        for name in SAMPLE_COLUMNS if isinstance(obs, h5py.Group) else ():
            column = obs.get(name)
            values = column.get("categories") if isinstance(column, h5py.Group) else column
            if isinstance(values, h5py.Dataset):
                given.append(np.ravel(values[:MOST_NAMES]))
        for values in given:
            found |= dict.fromkeys(v.decode() if isinstance(v, bytes) else str(v) for v in values)
    return list(found) if len(found) < MOST_NAMES else []

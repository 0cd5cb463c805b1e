"""Failures of the machine in plain words: a full disk, a quota, a missing permission, too little memory."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from carseq.errors import CarseqError

#: How a shell (137 is 128 + 9), Python and clusters write that signal 9 ended a job: it did not fail, it was killed.
KILLED = re.compile(r"SIGKILL|exit status (?:137|-9)\b|exit code:? 137\b", re.IGNORECASE)


def killed(what: str, signal: int | None = None) -> CarseqError:
    """Return the error that tells of a process which was killed and could say nothing itself."""
    return CarseqError(
        f"{what} was killed" + (f" (signal {signal})" if signal else ""),
        "most often because memory ran out",
        "run again with fewer jobs at a time (--cores 1), or on a machine with more memory",
    )


#: Error number -> (what it means, what to do).
_SYSTEM: dict[int, tuple[str, str]] = {
    errno.ENOSPC: (
        "the disk is full",
        "free disk space, or put `results` (for temporary files: TMPDIR) on another disk, then run again; "
        "finished jobs are not repeated",
    ),
    errno.EDQUOT: (
        "your disk quota is used up",
        "delete files of yours on that disk or ask for a larger quota, then run again; finished jobs are not repeated",
    ),
    errno.EROFS: (
        "the file system is read-only",
        "put `results` (for temporary files: TMPDIR) on a disk that can be written to; a disk that became read-only "
        "by itself has errors: ask its administrator",
    ),
    errno.EFBIG: (
        "the file is larger than this shell or file system allows",
        "run `ulimit -f unlimited` before, or put `results` on another file system, then run again",
    ),
    errno.EACCES: (
        "you have no permission",
        "ask its owner for the permission (`ls -l` shows who may do what), or name another file or folder",
    ),
    errno.EPERM: (
        "you have no permission",
        "ask its owner for the permission (`ls -l` shows who may do what), or name another file or folder",
    ),
    errno.EEXIST: (
        "a file is there already, where a folder or another file is to be",
        "name another folder, or move that file away",
    ),
    errno.ENOTDIR: (
        "a part of that path is a file, not a folder",
        "name another folder, or move that file away",
    ),
    errno.EISDIR: (
        "it is a folder, where a file is to be",
        "name a file in it",
    ),
    errno.EIO: (
        "the disk reported an error",
        "copy the file again from its source; if the error comes back, ask the disk's administrator",
    ),
    errno.ESTALE: (
        "the network disk has lost the file",
        "run again; ask the disk's administrator if it comes back",
    ),
    errno.ENOLCK: (
        "the disk gives no locks on files",
        "`export HDF5_USE_FILE_LOCKING=FALSE` before, or put the file on another disk, then run again",
    ),
    errno.EMFILE: (
        "too many files are open",
        "run `ulimit -n 4096` before, then run again",
    ),
    errno.ENAMETOOLONG: (
        "the name is longer than the file system allows",
        "use shorter names of samples or folders",
    ),
}

#: What libraries write instead of an error number.
_PHRASES = (
    (r"No space left on device", errno.ENOSPC),
    (r"Disk quota exceeded", errno.EDQUOT),
    (r"Read-only file system", errno.EROFS),
    (r"File too large", errno.EFBIG),
    (r"\berrno = (\d+)", None),
    (r"\[Errno (\d+)\]", None),
)

#: How libraries say that memory ran out without raising MemoryError: C++, HDF5, PyTorch, the kernel.
_MEMORY = re.compile(
    r"std::bad_alloc|MemoryError|memory allocation failed|can't allocate memory|not enough memory|"
    r"Cannot allocate memory|failed to map segment from shared object|Unable to allocate [\d.]+ \w+|unable to allocate",
    re.IGNORECASE,
)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _number(error: BaseException) -> int | None:
    """Return the system's error number that an error carries or names."""
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        return error.errno
    text = str(error)
    for pattern, number in _PHRASES:
        if found := re.search(pattern, text):
            named = int(found.group(1)) if number is None else number
            if named in _SYSTEM:
                return named
    return None


def _space(folder: str | Path) -> str:
    """Return how much of a file's disk is free, in words; empty if it cannot be found out."""
    place = Path(folder)
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        disk = shutil.disk_usage(place)
    except OSError:
        return ""
    free, total = (
        f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
        for size in (disk.free, disk.total)
    )
    # What was begun is removed by then.
    return f"{free} of {total} are free there without the unfinished file"


def machine_failure(
    error: BaseException, *, place: str | Path = "", memory: str = ""
) -> CarseqError | None:
    """Return a failure of the machine as an error with cause and remedy, or None if the error is another one.

    Parameters
    ----------
    error
        What was raised. What it was raised from counts too: libraries hide the system's error behind their own.
    place
        The file or folder that was written, for errors that name none.
    memory
        What to do if memory ran out; empty: the usual advice.

    Returns
    -------
    CarseqError or None
    """
    for cause in chain(error):
        if isinstance(cause, CarseqError):
            continue
        number = _number(cause)
        if isinstance(cause, MemoryError) or (
            number is None and not isinstance(cause, OSError) and _MEMORY.search(str(cause))
        ):
            text = " ".join(str(cause).split())[:300]
            return CarseqError(
                "memory ran out",
                text or "the machine or a limit (ulimit -v, a cluster's mem) gave no more",
                memory or "free memory, or run on a machine with more; then run again",
            )
        if number is not None:
            meaning, remedy = _SYSTEM[number]
            # Of a file that is moved into its place, the place is told.
            name = getattr(cause, "filename2", None) or getattr(cause, "filename", None) or place
            what = (
                f"cannot read or write {os.fsdecode(name)}"
                if name
                else "a file could not be written"
            )
            full = number in (errno.ENOSPC, errno.EDQUOT)
            space = _space(os.fsdecode(name)) if name and full else ""
            return CarseqError(what, f"{meaning}; {space}" if space else meaning, remedy)
    return None


def other_hdf5(path: str | Path, error: BaseException) -> CarseqError | None:
    """Return the error for a sound HDF5 file that needs other software; None if that is not the cause.

    It may be in a compression that HDF5 does not bring, or of a newer anndata.
    """
    text = " ".join(str(cause) for cause in chain(error))
    if named := re.search(r"No read method registered for IOSpec\(encoding_type='([^']*)'", text):
        return CarseqError(
            f"{path} was written by a newer anndata than this one",
            f"it holds a part that is written as {named[1]!r}",
            "update anndata (`pip install -U anndata`), or leave that part out where it was written: X, obs and var "
            "are enough",
        )
    if not re.search(r"required filter|filter.*not registered|open directory.*plugin", text):
        return None
    return CarseqError(
        f"{path} is compressed in a way that HDF5 does not know by itself",
        "it was written with a filter of hdf5plugin (zstd, blosc, lz4)",
        'where it was written, write it with `adata.write_h5ad(FILE, compression="gzip")`',
    )


#: What Snakemake and jobs write for a moment, at least (bytes).
_SCRATCH = 1 << 16


def check_scratch(folder: str | Path | None = None) -> None:
    """Check that files can be written for a moment: temporary ones, which Snakemake needs to choose jobs, or its notes.

    Parameters
    ----------
    folder
        A folder that is there; None: the one of temporary files.

    Raises
    ------
    CarseqError
        If it, the folder that TMPDIR names, or else the system's, is not there, full or read-only.
    """
    named = folder or os.environ.get("TMPDIR") or None
    try:
        with tempfile.TemporaryFile(dir=named) as out:
            out.write(bytes(_SCRATCH))
            out.flush()
    except OSError as error:
        told = machine_failure(error, place=named or "")
        remedy = "free disk space, or put the study on another disk, then run again"
        if error.errno in (errno.EACCES, errno.EPERM):
            remedy = "ask its owner for the permission, or run a copy of configuration and sheets in a folder of yours"
        raise CarseqError(
            f"{'files' if folder else 'temporary files'} cannot be written to {named or 'any folder of this system'}",
            told.cause if told else (error.strerror or str(error)),
            remedy
            if folder
            else "set TMPDIR to a folder on a disk with room, or unset it, then run again",
        ) from None

"""The size and checksum of every file that a job of the workflow made, so that a damaged one is found.

They lie in ``.checksums/`` of the results folder, one small file for each. A file that a crashed copy cut off, or that
was exchanged for another, keeps its name and perhaps its time; read as it is, it would change the results silently.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from carseq.errors import CarseqError

FOLDER = ".checksums"
#: Files up to this size are hashed whole; of larger ones this many bytes are, in ``BLOCKS`` blocks spread evenly.
WHOLE = 1 << 25
BLOCKS = 64
#: How many folders above a file its results folder may lie (results/samples/S/solo/raw.h5ad: three).
_DEPTH = 8
#: Snakemake's own mark in a folder that is an output.
_FOREIGN = ".snakemake_timestamp"

#: Files found whole by this process: (path, size, times of change; the second one cannot be set by hand).
_seen: set[tuple[str, int, int, int]] = set()


def damaged(path: str | Path, cause: str, *, word: str = "damaged") -> CarseqError:
    """Return the one error for a file of carseq's own that cannot be trusted.

    Parameters
    ----------
    path
        The file.
    cause
        How one knows.
    word
        ``cut off``, ``empty`` or ``damaged``.
    """
    ours = root_of(path) is not None
    remedy = (
        "delete it, run again" if ours else "copy it again from where it was made, or make it again"
    )
    return CarseqError(f"{path} is {word}", cause, remedy)


def root_of(path: str | Path) -> Path | None:
    """Return the results folder, one with checksums, in which a file lies; None if there is none."""
    path = Path(os.path.abspath(path))
    for parent in list(path.parents)[:_DEPTH]:
        if (parent / FOLDER).is_dir():
            return parent
    return None


def _files(path: Path) -> Iterator[Path]:
    """Yield a file, or the files of a folder."""
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if p.is_file() and p.name != _FOREIGN)
    elif path.is_file():
        yield path


def _digest(path: Path, size: int) -> str:
    made = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        if size <= WHOLE:
            made.update(stream.read())
        else:
            length = WHOLE // BLOCKS
            for i in range(BLOCKS):
                stream.seek((size - length) * i // (BLOCKS - 1))
                made.update(stream.read(length))
    return made.hexdigest()


def _record(root: Path, path: Path) -> Path:
    return root / FOLDER / path.relative_to(root)


def forget(root: str | Path, outputs: Iterable[str | Path]) -> None:
    """Remove the checksums of files that are about to be made anew."""
    root = Path(os.path.abspath(root))
    for output in outputs:
        record = _record(root, Path(os.path.abspath(output)))
        if record.is_dir():
            for file in record.rglob("*"):
                if file.is_file():
                    file.unlink(missing_ok=True)
        else:
            record.unlink(missing_ok=True)


def remember(root: str | Path, outputs: Iterable[str | Path]) -> None:
    """Write the checksums of files that a job has made, once the disk holds them.

    Parameters
    ----------
    root
        The results folder.
    outputs
        Files and folders in it.
    """
    root = Path(os.path.abspath(root))
    for output in outputs:
        for path in _files(Path(os.path.abspath(output))):
            with path.open("rb") as stream:
                # After a power cut no checksum may be there whose file is not.
                os.fsync(stream.fileno())
                size = os.fstat(stream.fileno()).st_size
            record = _record(root, path)
            record.parent.mkdir(parents=True, exist_ok=True)
            temporary = record.with_name(f".{record.name}.part")
            temporary.write_text(f"{size} {_digest(path, size)}\n")
            temporary.replace(record)


def _recorded(record: Path) -> tuple[int, str] | None:
    """Return what a checksum file holds; None if there is none or it is itself cut off."""
    try:
        size, digest = record.read_text().split()
        return (int(size), digest) if len(digest) == 32 else None
    except (OSError, ValueError):
        return None


def _check_size(path: Path, size: int, wanted: int) -> None:
    if size == 0 and wanted:
        raise damaged(path, f"it had {wanted:,} bytes when it was written", word="empty")
    if size < wanted:
        raise damaged(path, f"it has {size:,} of the {wanted:,} bytes written", word="cut off")
    if size > wanted:
        raise damaged(
            path, f"it has {size:,} bytes in place of the {wanted:,} written", word="changed"
        )


def _saved_by_hand(path: Path) -> bool:
    """Return whether a file is a notebook that an analyst ran and saved anew, which is what it is for."""
    if path.suffix != ".ipynb":
        return False
    try:
        return bool(json.loads(path.read_text())["cells"])
    except (ValueError, KeyError, TypeError):
        return False


def check_whole(path: str | Path) -> None:
    """Check that a file, or each file of a folder, is as the workflow wrote it.

    Files without a checksum (those of users, and of other programs) pass.

    Raises
    ------
    CarseqError
        If its size or content is another.
    """
    root = root_of(path)
    if root is None:
        return
    top = Path(os.path.abspath(path))
    for file in _files(top):
        known = _recorded(_record(root, file))
        if known is None:
            continue
        stat = file.stat()
        key = (str(file), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if key in _seen:
            continue
        if _saved_by_hand(file):
            continue
        _check_size(file, stat.st_size, known[0])
        if _digest(file, known[0]) != known[1]:
            raise damaged(file, "its content is not what was written", word="changed")
        _seen.add(key)
    if top.is_dir():
        folder = root / FOLDER / top.relative_to(root)
        for record in folder.rglob("*") if folder.is_dir() else ():
            file = root / record.relative_to(root / FOLDER)
            if record.is_file() and not file.exists():
                raise CarseqError(
                    f"{top} is not whole", f"{file.name} is missing", f"delete {top}, run again"
                )


def known_files(root: str | Path) -> Iterator[Path]:
    """Yield the files of a results folder whose checksum is known, whether they are there or not."""
    root = Path(root)
    folder = root / FOLDER
    for record in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if record.is_file():
            yield root / record.relative_to(folder)


def check_sizes(root: str | Path) -> None:
    """Check the size of every file of a results folder against what was written; their content is not read.

    Raises
    ------
    CarseqError
        If any is cut off or empty, naming the first.
    """
    root = Path(os.path.abspath(root))
    folder = root / FOLDER
    if not folder.is_dir():
        return
    for record in sorted(folder.rglob("*")):
        file = root / record.relative_to(folder)
        if not record.is_file() or not file.is_file() or (known := _recorded(record)) is None:
            continue
        size = file.stat().st_size
        # One that became larger was written by someone else: the job that reads it will say so.
        if size < known[0] and not _saved_by_hand(file):
            _check_size(file, size, known[0])


#: Files of users up to this size are read whole for their fingerprint; of larger ones ``PIECES`` pieces of ``PIECE``.
SMALL, PIECES, PIECE = 1 << 20, 4, 1 << 14


def fingerprint(path: str) -> str:
    """Return what tells a user's file from another of the same name, whatever their times; an address as it is.

    Snakemake looks at times alone, and a file that was moved, unpacked or restored from a backup keeps an old one. As a
    parameter of the rules that read the file, its fingerprint makes them run again.

    Parameters
    ----------
    path
        A file, or a folder of files. Of a file above ``SMALL`` bytes its size and pieces of it are looked at.
    """
    if "://" in path:
        return path
    try:
        top = Path(path)
        files = sorted(p for p in top.iterdir() if p.is_file()) if top.is_dir() else [top]
        stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        return _fingerprint(tuple(stats), top.is_dir())
    except (OSError, ValueError):
        return "not there"


@functools.lru_cache(maxsize=1024)
def _fingerprint(files: tuple[tuple[str, int, int], ...], named: bool) -> str:
    """Return the fingerprint of files: path, size and time of each."""
    made = hashlib.blake2b(digest_size=8)
    for path, size, _ in files:
        made.update(f"{Path(path).name if named else ''} {size} ".encode())
        with open(path, "rb") as stream:
            if size <= SMALL:
                made.update(stream.read())
                continue
            for i in range(PIECES):
                stream.seek((size - PIECE) * i // (PIECES - 1))
                made.update(stream.read(PIECE))
    return made.hexdigest()

"""Files written whole or not at all. Needs no library, so that every job and the Snakefile load it at once."""

from __future__ import annotations

import errno
import os
import re
import socket
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.checksums import forget, root_of

#: What a temporary file's name says of the machine that writes it. In a cluster many share one disk.
_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
#: In the name of every temporary file of :func:`atomic`.
_PART = "part"
#: Failures of reading that name no file: a disk's error, or a network disk's file that is gone.
_OF_READING = {errno.EIO, errno.ESTALE}
#: What a disk without permissions (exFAT, NTFS, some network disks) answers to who sets them.
_NO_MODES = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_PART_OF = re.compile(rf"\.{_HOST}-\d+-\w+\.{_PART}(\.|$)")


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there when the block ends well.

    A killed run leaves no half-written output behind, and what it left of its temporary file is removed by the next
    that writes the same file on this machine (a job of the workflow removes it on any machine).
    """
    path = Path(path)
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in _temporaries(path):
            if _is_orphan(left):
                left.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f"{_prefix(path)}{_HOST}-{os.getpid()}-", suffix=_suffix(path), dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        set_mode(temporary, 0o666 & ~umask)
        # What was known of the file that is replaced holds no longer.
        if root := root_of(path):
            forget(root, [path])
        temporary.replace(path)
    except Exception as error:
        # A write says no name, and that of the temporary file tells a user nothing.
        told = str(getattr(error, "filename", None) or "")
        # What was read meanwhile has no name either, but fails otherwise.
        nameless = not told and getattr(error, "errno", None) not in _OF_READING
        if nameless or _PART_OF.search(told):
            error.filename = str(path)  # type: ignore[attr-defined]
        raise
    finally:
        if name:
            Path(name).unlink(missing_ok=True)


def set_mode(path: Path, mode: int) -> None:
    """Set the permissions of a file or folder of one's own, where its disk has any."""
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise


def link_to(target: Path, link: Path) -> None:
    """Make a symbolic link.

    Raises
    ------
    CarseqError
        If the disk has none.
    """
    try:
        link.symlink_to(target)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
        raise CarseqError(
            f"no link to {target} can be made in {link.parent}",
            "its disk has no symbolic links, as exFAT, NTFS and some network disks",
            "put `results` on a disk of Linux (ext4, xfs, NFS, Lustre)",
        ) from error


def _prefix(path: Path) -> str:
    # A name may have 255 bytes: a long one is cut short, and its checksum tells it from its like.
    return f".{path.name.partition('.')[0][:40]}.{zlib.crc32(path.name.encode()):08x}."


def _suffix(path: Path) -> str:
    # Libraries choose format and compression by a name's end.
    return f".{_PART}{''.join(path.suffixes[-2:])}"


def _temporaries(path: Path) -> list[Path]:
    """Return the temporary files of a target, whoever writes them."""
    prefix, suffix = _prefix(path), _suffix(path)
    try:
        names = os.listdir(path.parent)
    except OSError:
        return []
    return [path.parent / n for n in names if n.startswith(prefix) and n.endswith(suffix)]


def _is_orphan(temporary: Path) -> bool:
    """Return whether the process that wrote a temporary file was on this machine and is gone."""
    host, _, rest = temporary.name.rpartition(f".{_PART}")[0].rpartition(".")[2].partition("-")
    pid = rest.partition("-")[0]
    if host != _HOST or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def remove_temporaries(outputs: Iterable[str | Path]) -> list[Path]:
    """Remove what killed jobs left of their outputs; only for who alone writes them.

    Returns
    -------
    list of pathlib.Path
        What was removed.
    """
    found = [left for output in outputs for left in _temporaries(Path(output))]
    for left in found:
        left.unlink(missing_ok=True)
    return found

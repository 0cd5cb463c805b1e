"""What takes long to make and is the same in every study, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

#: Bytes of the checksum at the head of each file.
_HEAD = 32


def cache_folder() -> Path:
    """Return the folder: ``carseq`` in ``XDG_CACHE_HOME``, else in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carseq"


def kept(kind: str, key: str, make: Callable[[], bytes]) -> bytes:
    """Return what ``make`` gives; it is asked once for each key, by all processes of a user.

    A file that is cut off or changed is made anew; where nothing can be written, nothing is kept.

    Parameters
    ----------
    kind
        What it is, as a part of the file's name.
    key
        All that the result depends on: versions of programs, names and times of files.
    make
        Makes it.
    """
    try:
        name = f"{kind}-{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}"
        path = cache_folder() / name
        stored = path.read_bytes()
        if (
            hashlib.blake2b(memoryview(stored)[_HEAD:], digest_size=_HEAD).digest()
            == stored[:_HEAD]
        ):
            return stored[_HEAD:]
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError):
        return make()
    made = make()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        try:
            with open(handle, "wb") as stream:
                stream.write(hashlib.blake2b(made, digest_size=_HEAD).digest())
                stream.write(made)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return made

"""What a finished study tells of the machine it was made on: `python tests/helpers/privacy.py RESULTS` lists the files.

Looked for, in the bytes of every file, unpacked where it is packed: the study's folder, the home folder, the names of
host and user, and that of the Python environment. Logs, STAR's own record of its index, and Snakemake's measures are
for the one who ran the study, and are left out.
"""

from __future__ import annotations

import getpass
import gzip
import os
import re
import socket
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

#: Not handed on.
AT_HOME = re.compile(r"^(logs|benchmarks|reference)/|Log\.final\.out$")


def secrets(results: Path) -> dict[str, re.Pattern[bytes]]:
    """Return what must stand nowhere."""
    folders = {
        "the study's folder": str(results.resolve().parent),
        "the home": str(Path.home()),
        "the environment": sys.prefix,
    }
    found = {
        what: re.compile(re.escape(path).encode() + rb"(?![\w])")
        for what, path in folders.items()
        if len(path) > 3
    }
    user = os.environ.get("USER") or getpass.getuser()
    for what, word in (("the host", socket.gethostname()), ("the user", user)):
        # "vm" or "root" may be letters of anything.
        if len(word) > 4:
            found[what] = re.compile(
                rb"(?<![A-Za-z0-9])" + re.escape(word).encode() + rb"(?![A-Za-z0-9])"
            )
    return found


def _texts(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, and what is packed in it."""
    if path.suffix == ".bam":
        # Its records are reads; what programs write of themselves stands in the header.
        import pysam

        with pysam.AlignmentFile(str(path), check_sq=False) as bam:
            yield str(bam.header).encode()
        return
    content = path.read_bytes()
    yield content
    if content[:2] == b"\x1f\x8b":
        # Not gzip.decompress: its time grows with the square of the number of members.
        with gzip.open(path) as stream:
            yield stream.read()
    if path.suffix == ".h5ad":
        import h5py
        import numpy as np

        held: list[str] = []
        with h5py.File(path) as file:
            file.visititems(lambda name, item: held.append(f"{name} {dict(item.attrs)}"))
            file.visititems(
                lambda name, item: (
                    held.append(str(np.asarray(item[()]).tolist()))
                    if isinstance(item, h5py.Dataset) and item.dtype.kind in "OSU"
                    else None
                )
            )
        yield "\n".join(held).encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            for name in packed.namelist():
                yield name.encode() + b"\n" + packed.read(name)


def told(results: Path, *more: Path) -> list[str]:
    """Return which files of a finished study tell what of the machine."""
    wanted = secrets(results)
    own = [p for p in sorted(results.rglob("*")) if p.is_file()]
    found = []
    for path in [*own, *more]:
        name = path.relative_to(results).as_posix() if path in own else path.name
        if AT_HOME.search(name) or name.startswith(".checksums"):
            continue
        for text in _texts(path):
            for what, pattern in wanted.items():
                if hit := pattern.search(text):
                    around = text[max(0, hit.start() - 40) : hit.end() + 20]
                    found.append(f"{name} tells {what}: {around!r}")
    return found


if __name__ == "__main__":
    lines = told(Path(sys.argv[1]))
    print("\n".join(lines) or "nothing is told")
    sys.exit(bool(lines))

"""Install carseq and its tools into the environment whose Python runs this: by uv, or by pip where uv fails.

usage: VENV/bin/python envs/install.py

uv takes a quarter of pip's time, but does not read pip's configuration: index, folders of wheels, certificate and
constraints are taken from there and given to it.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
WANTED = ["-c", "constraints.txt", "-e", ".[dev]"]
#: pip's options that uv has too, with uv's name; each value of a list is given on its own.
OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "constraint": "--constraints",
    "trusted-host": "--allow-insecure-host",
}
#: pip's options that say where packages come from and that uv is not given here: pip is used then.
UNKNOWN_TO_UV = (
    "proxy",
    "client-cert",
    "keyring-provider",
    "only-binary",
    "no-binary",
    "target",
    "prefix",
)


def settings(listed: str) -> dict[str, str]:
    """Return pip's settings from what ``pip config list`` prints.

    Parameters
    ----------
    listed : str
        Lines such as ``global.index-url='https://...'``.

    Returns
    -------
    dict of str to str
        Values by the option's name. The environment comes before the section of ``pip install``, and this before
        the global one, as in pip.
    """
    found: dict[str, tuple[int, str]] = {}
    for line in listed.splitlines():
        key, given, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if not given or section not in (ranks := ["global", "install", ":env:"]):
            continue
        rank = ranks.index(section)
        if rank >= found.get(name, (0, ""))[0]:
            found[name] = (rank, str(ast.literal_eval(value)))
    return {name: value for name, (_, value) in found.items()}


def uv_command(pip: dict[str, str]) -> tuple[list[str], dict[str, str]] | None:
    """Return uv's command and what to add to its environment for these settings of pip.

    Parameters
    ----------
    pip : dict of str to str
        As :func:`settings` gives them.

    Returns
    -------
    tuple or None
        ``None`` if pip is set to something that uv would not heed.
    """
    if any(pip.get(name) for name in UNKNOWN_TO_UV):
        return None
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "install", "--quiet", "--python", sys.executable, *WANTED]
    for name, option in OPTIONS.items():
        for value in pip.get(name, "").split():
            command += [option, value]
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        command.append("--no-index")
    # As pip does: the best version of all indexes, not that of the first that knows the name.
    command += ["--index-strategy", "unsafe-best-match"]
    environment = {}
    if "cert" in pip:
        environment["SSL_CERT_FILE"] = pip["cert"]
    if "default-timeout" in pip or "timeout" in pip:
        environment["UV_HTTP_TIMEOUT"] = pip.get("timeout", pip.get("default-timeout", ""))
    return command, environment


def pin(name: str) -> str:
    """Return the requirement of a package as constraints.txt pins it."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def by_uv() -> bool:
    """Install by uv; return whether that went well."""
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False)
    found = uv_command(settings(listed.stdout)) if listed.returncode == 0 else None
    if found is None:
        return False
    command, environment = found
    if subprocess.run([*PIP, "install", "--quiet", pin("uv")], check=False).returncode:
        return False
    return not subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, check=False
    ).returncode


def main() -> int:
    """Install; return the exit status."""
    if by_uv():
        return 0
    print(
        "carseq: uv could not install the environment; pip does it now, which takes longer",
        flush=True,
    )
    return subprocess.run([*PIP, "install", "--quiet", *WANTED], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

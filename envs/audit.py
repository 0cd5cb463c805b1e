"""Look for known holes in the packages of envs/requirements.lock, by pip-audit, and say plainly what came of it.

usage: python envs/audit.py [PIP_AUDIT]

PIP_AUDIT is the program, if it is installed; else it is put into build/audit. Exit code: 0 no known hole, 1 holes,
2 not asked, or not for all packages. pip-audit itself ends with 0 where the service that knows holes does not know a
package, as behind a mirror of PyPI that has files alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "envs" / "requirements.lock"
PIN = "pip-audit==2.10.1"
WELL, HOLES, NOT_ASKED = 0, 1, 2


def program() -> Path:
    """Return pip-audit, installed into an environment of its own."""
    place = ROOT / "build" / "audit"
    found = place / "bin" / "pip-audit"
    if not found.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run(
            [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", PIN], check=True
        )
    return found


def ask(audit: Path, requirements: Path, *options: str) -> tuple[list[dict], str]:
    """Return what pip-audit found of each package; where it found nothing, the last line that it printed.

    Parameters
    ----------
    audit : Path
        The program.
    requirements : Path
        Pinned packages.
    *options : str
        Further options.

    Returns
    -------
    list of dict
        ``name``, ``version`` and ``vulns``, or ``skip_reason``; empty if it could not ask.
    str
        Why not.
    """
    words = ["--disable-pip", *options, "--format", "json", "--progress-spinner", "off"]
    command = [str(audit), *words, "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)["dependencies"], ""
    except (ValueError, KeyError, TypeError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return [], lines[-1].strip()[:300] if lines else f"exit code {done.returncode}"


def not_asked(why: str) -> int:
    """Say that nothing is known, which is not that all is well."""
    print(f"carseq: NOT AUDITED, so nothing is known of holes in the lock: {why}", file=sys.stderr)
    print(
        "  what to do: run `make audit` where the package index itself answers; CI does so each week",
        file=sys.stderr,
    )
    return NOT_ASKED


def main() -> int:
    """Audit the lock; return the exit code."""
    try:
        audit = Path(sys.argv[1]) if len(sys.argv) > 1 else program()
    except (OSError, subprocess.CalledProcessError) as error:
        return not_asked(f"pip-audit cannot be installed ({error})")
    # One package first: where the service does not know it, it knows none.
    first = next(line.split()[0] for line in LOCK.read_text().splitlines() if "==" in line)
    with tempfile.TemporaryDirectory() as place:
        one = Path(place, "one.txt")
        one.write_text(f"{first}\n")
        try:
            found, why = ask(audit, one, "--no-deps")
        except OSError as error:
            return not_asked(str(error))
    if not found or "skip_reason" in found[0]:
        return not_asked(why or found[0]["skip_reason"])
    found, why = ask(audit, LOCK, "--require-hashes")
    if not found:
        return not_asked(why)
    skipped = [each["name"] for each in found if "skip_reason" in each]
    holes = 0
    for each in found:
        for hole in each.get("vulns", ()):
            holes += 1
            fixed = ", ".join(hole["fix_versions"]) or "no version yet"
            print(f"{each['name']} {each['version']}: {hole['id']}, mended in {fixed}")
    print(f"{len(found) - len(skipped)} packages audited, {holes} known holes")
    if holes:
        return HOLES
    return not_asked(f"the service does not know {', '.join(skipped)}") if skipped else WELL


if __name__ == "__main__":
    sys.exit(main())

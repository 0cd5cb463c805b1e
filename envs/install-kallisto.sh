#!/usr/bin/env bash
# Makes sure kallisto and bustools are there: on PATH, else those that lie in kb-python's wheel. Not kb-python itself,
# which asks for other versions of packages than carseq does. Both are under the BSD 2-clause licence, kept beside them.
# usage: install-kallisto.sh VENV       (with CARSEQ_KALLISTO_AGAIN=1 also where there are some)
set -euo pipefail
venv=$1
version=0.30.2
sha256=37a13794888ae358fa625fb0c79aaaa28eb04d75787a22b8ce196c1888aec237

if [ -z "${CARSEQ_KALLISTO_AGAIN:-}" ]; then
    for place in "" "$venv/bin/"; do
        # Those before 0.50, such as Debian 12's, cannot mask what the genome holds beside the transcripts.
        if command -v "${place}kallisto" >/dev/null && command -v "${place}bustools" >/dev/null \
                && ! "${place}kallisto" version | grep -qE 'version 0\.[1-4]?[0-9]\.'; then
            echo "carseq: $("${place}kallisto" version) is there, and $("${place}bustools" version)"
            exit 0
        fi
    done
fi
system="$(uname -s)-$(uname -m)"
case "$system" in
    Linux-x86_64) bins=linux ;;
    Darwin-x86_64) bins=darwin ;;
    Darwin-arm64) bins=darwin/m1 ;;
    *) bins= ;;
esac
if [ -n "$bins" ]; then
    echo "carseq: taking kallisto and bustools out of kb-python $version"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    if "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :none: \
            --dest "$folder" "kb-python==$version"; then
        "$venv/bin/python" - "$folder" "$sha256" "$bins" "$venv/share/kallisto" <<'PYTHON'
import hashlib, pathlib, shutil, sys, zipfile

folder, sha256, bins, target = sys.argv[1:]
(wheel,) = pathlib.Path(folder).glob("kb_python-*.whl")
found = hashlib.sha256(wheel.read_bytes()).hexdigest()
if found != sha256:
    sys.exit(f"carseq: {wheel.name} has the checksum {found}, not {sha256}: it is another file; try again")
shutil.rmtree(target, ignore_errors=True)
with zipfile.ZipFile(wheel) as packed:
    for program, licence in (("kallisto", "license.txt"), ("bustools", "LICENSE")):
        for name, mode in ((program, 0o755), (licence, 0o644)):
            out = pathlib.Path(target, program, name)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(packed.read(f"kb_python/bins/{bins}/{program}/{name}"))
            out.chmod(mode)
PYTHON
        for program in kallisto bustools; do
            ln -sf "$venv/share/kallisto/$program/$program" "$venv/bin/$program"
        done
        if "$venv/bin/kallisto" version && "$venv/bin/bustools" version; then
            exit 0
        fi
    fi
fi
cat >&2 <<'MESSAGE'
carseq could not install kallisto and bustools, which `solo.aligner: kallisto` needs.
  why:        no answer from the package index, or no programs for this system in kb-python
  what to do: conda install -c bioconda kallisto bustools     (any Linux or macOS)
              or name the folder of yours in `solo.kallisto`
MESSAGE
exit 1

#!/usr/bin/env bash
# Makes sure STAR is there: on PATH, else by conda, mamba or micromamba, else Debian's package.
# usage: install-star.sh VENV       (with CARSEQ_STAR_AGAIN=1 also where there is one)
set -euo pipefail
venv=$1
version=2.7.11b

if [ -z "${CARSEQ_STAR_AGAIN:-}" ] && command -v STAR >/dev/null; then
    echo "carseq: STAR $(STAR --version | tail -1) is on PATH"
    exit 0
fi
for conda in micromamba mamba conda; do
    if command -v "$conda" >/dev/null; then
        echo "carseq: installing STAR $version with $conda"
        if "$conda" create --yes --quiet --prefix "$venv/star" -c conda-forge -c bioconda "star=$version"; then
            ln -sf "$venv/star/bin/STAR" "$venv/bin/STAR"
            exit 0
        fi
        echo "carseq: $conda could not install STAR; trying the system's packages"
    fi
done
if command -v apt-get >/dev/null; then
    as_root=()
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null && as_root=(sudo -n); } || as_root=(false)
    if [ "${as_root[*]:-}" != false ]; then
        echo "carseq: installing Debian's rna-star"
        "${as_root[@]}" apt-get update -qq || true
        if "${as_root[@]}" apt-get install -y -qq --no-install-recommends rna-star >/dev/null; then
            command -v STAR >/dev/null && exit 0
        fi
    fi
fi
cat >&2 <<'MESSAGE'
carseq needs the aligner STAR and could not install it.
  why:        no STAR on PATH, no working conda, mamba or micromamba, and no right to install packages
  what to do: conda install -c bioconda star        (any Linux or macOS)
              sudo apt-get install rna-star          (Debian, Ubuntu)
              then give the same command again
MESSAGE
exit 1

#!/usr/bin/env bash
# profiles/slurm is tested against a real Slurm where one can be had; elsewhere those tests skip and say so.
# usage: install-slurm.sh [accounting]       (with slurmdbd and MariaDB, for the test of accounting)
# Nothing is started or configured here: the tests do both in a folder of their own.
set -euo pipefail
# Debian keeps the daemons out of a user's PATH.
export PATH="$PATH:/usr/sbin:/sbin"
more=()
[ "${1:-}" != accounting ] || more=(slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core)
if command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null \
    && { [ -z "${more[*]:-}" ] || command -v slurmdbd >/dev/null; }; then
    exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "carseq: installing Slurm for the tests of profiles/slurm"
    # Without this, Debian would start munge as a service.
    export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || true
    apt-get install -y -qq --no-install-recommends slurm-wlm munge "${more[@]}" >/dev/null 2>&1 && exit 0
fi
echo "carseq: no Slurm, and no right to install it: the tests of profiles/slurm will be skipped"

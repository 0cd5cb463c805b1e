#!/usr/bin/env bash
# profiles/sge is tested against a real Grid Engine where one can be had: `make gridtest`. Debian's package makes a cell
# in /var/lib/gridengine, in which the test starts the daemons and stops them again.
set -euo pipefail
if [ -x /usr/sbin/sge_qmaster ] && [ -x /usr/sbin/sge_execd ]; then
    exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "carseq: installing Grid Engine for the test of profiles/sge"
    export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || true
    apt-get install -y -qq --no-install-recommends gridengine-master gridengine-exec gridengine-client \
        >/dev/null 2>&1 && exit 0
fi
echo "carseq: no Grid Engine, and no right to install it: its test will be skipped"

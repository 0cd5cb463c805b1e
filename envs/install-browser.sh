#!/usr/bin/env bash
# The report is tested in a real browser where one can be had; elsewhere those tests skip and say so.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "carseq: installing Chromium for the report's tests"
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null && exit 0
fi
echo "carseq: no Chromium: the report's browser tests will be skipped"

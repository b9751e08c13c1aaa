#!/bin/sh
# Installs the official SPDX validator and the NTIA checker into a Python environment of their own, every package by checksum, and
# prints the folder with the programs `pyspdxtools` and `ntia-checker`.
set -eu
here=$(cd "$(dirname "$0")/spdx-validators" && pwd)
sum=$(cat "$here/requirements.txt" | sha256sum | cut -c1-16)
cache=${ASSAY_TEST_CACHE:-$HOME/.cache/assay}/tools/spdx-validators-$sum
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ ! -e "$cache/done" ]; then
    python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "the SPDX validators need Python: apt-get install python3-venv" >&2; exit 1; }
    rm -rf "$cache/venv"
    python3 -m venv "$cache/venv" >&2
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r "$here/requirements.txt" >&2
    touch "$cache/done"
fi
echo "$cache/venv/bin"

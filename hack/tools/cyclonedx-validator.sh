#!/bin/sh
# Installs a JSON Schema validator and the schema of CycloneDX 1.6 into a Python environment of their own, every package by checksum, and
# prints a program that validates the files it is given.
set -eu
here=$(cd "$(dirname "$0")/cyclonedx-validator" && pwd)
sum=$(cat "$here/requirements.txt" "$here/validate" | sha256sum | cut -c1-16)
cache=${ASSAY_TEST_CACHE:-$HOME/.cache/assay}/tools/cyclonedx-validator-$sum
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ ! -e "$cache/done" ]; then
    python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "the CycloneDX validator needs Python: apt-get install python3-venv" >&2; exit 1; }
    rm -rf "$cache/venv"
    python3 -m venv "$cache/venv" >&2
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r "$here/requirements.txt" >&2
    { echo "#!$cache/venv/bin/python3"; tail -n +2 "$here/validate"; } >"$cache/validate"
    chmod +x "$cache/validate"
    touch "$cache/done"
fi
echo "$cache/validate"

#!/bin/sh
# Builds the pinned syft (go.mod and go.sum beside it hold versions and checksums) once, and prints the path of the program.
# Takes some ten minutes the first time. Used by tests and benchmarks alone.
set -eu
here=$(cd "$(dirname "$0")/syft" && pwd)
sum=$(cat "$here/go.mod" "$here/go.sum" | sha256sum | cut -c1-16)
cache=${ASSAY_TEST_CACHE:-$HOME/.cache/assay}/tools/syft-$sum
if [ ! -x "$cache/syft" ]; then
    command -v go >/dev/null || { echo "syft is built from source: install Go 1.26.5 or newer" >&2; exit 1; }
    mkdir -p "$cache"
    (cd "$here" && GOFLAGS=-mod=readonly GOTOOLCHAIN=local nice -n 15 go build -buildvcs=false -trimpath -ldflags '-s -w' -o "$cache/syft.new" github.com/anchore/syft/cmd/syft)
    mv "$cache/syft.new" "$cache/syft"
fi
echo "$cache/syft"

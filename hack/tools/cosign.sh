#!/bin/sh
# Builds the pinned cosign (go.mod and go.sum beside it hold versions and checksums) once, and prints the path of the program.
set -eu
here=$(cd "$(dirname "$0")/cosign" && pwd)
sum=$(cat "$here/go.mod" "$here/go.sum" | sha256sum | cut -c1-16)
cache=${ASSAY_TEST_CACHE:-$HOME/.cache/assay}/tools/cosign-$sum
if [ ! -x "$cache/cosign" ]; then
    command -v go >/dev/null || { echo "cosign is built from source: install Go 1.26.5 or newer" >&2; exit 1; }
    mkdir -p "$cache"
    (cd "$here" && GOFLAGS=-mod=readonly GOTOOLCHAIN=local go build -buildvcs=false -trimpath -o "$cache/cosign.new" github.com/sigstore/cosign/v3/cmd/cosign)
    mv "$cache/cosign.new" "$cache/cosign"
fi
echo "$cache/cosign"

#!/bin/sh
# Builds the test registry (referrers API) and crane once, at the versions in go.mod and go.sum beside it, and prints the folder
# with the programs `registry` and `crane`.
set -eu
here=$(cd "$(dirname "$0")/registry" && pwd)
sum=$(cat "$here/main.go" "$here/go.mod" "$here/go.sum" | sha256sum | cut -c1-16)
cache=${ASSAY_TEST_CACHE:-$HOME/.cache/assay}/tools/registry-$sum
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ ! -x "$cache/bin/crane" ]; then
    command -v go >/dev/null || { echo "the test registry and crane are built from source: install Go 1.25 or newer" >&2; exit 1; }
    rm -rf "$cache/new"
    mkdir "$cache/new"
    cd "$here"
    export GOFLAGS=-mod=readonly GOTOOLCHAIN=local CGO_ENABLED=0
    go build -buildvcs=false -trimpath -o "$cache/new/registry" .
    go build -buildvcs=false -trimpath -o "$cache/new/crane" github.com/google/go-containerregistry/cmd/crane
    rm -rf "${cache:?}/bin"
    mv "$cache/new" "$cache/bin"
fi
echo "$cache/bin"

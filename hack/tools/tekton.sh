#!/bin/sh
# Builds the programs of hack/tools/tekton once, against the pinned Tekton (go.mod and go.sum beside them), and prints their folder:
# `types` writes core/src/tekton/types.rs, `verify` judges definitions and `bundle` reads bundles with Tekton's own code; `examples` are
# the definitions that Tekton's module brings. Takes some minutes the first time.
set -eu
here=$(cd "$(dirname "$0")/tekton" && pwd)
sum=$(cat "$0" "$here/go.mod" "$here/go.sum" "$here"/*/*.go | sha256sum | cut -c1-16)
cache=${ASSAY_TEST_CACHE:-$HOME/.cache/assay}/tools/tekton-$sum
if [ ! -d "$cache" ]; then
    command -v go >/dev/null || { echo "Tekton's verifier is built from source: install Go 1.26.5 or newer" >&2; exit 1; }
    rm -rf "$cache.new"
    mkdir -p "$cache.new"
    cd "$here"
    export GOFLAGS=-mod=readonly GOTOOLCHAIN=local
    nice -n 5 go build -buildvcs=false -trimpath -ldflags '-s -w' -o "$cache.new/" ./types ./verify ./bundle
    cp -R "$(go list -m -f '{{.Dir}}' github.com/tektoncd/pipeline)/examples" "$cache.new/examples"
    chmod -R u+w "$cache.new"
    mv "$cache.new" "$cache"
fi
echo "$cache"

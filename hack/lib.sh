# Sourced by the scripts in hack/: pinned tool versions, cache folders, messages. Needs `set -euo pipefail` in the caller.
# shellcheck shell=bash

NEXTEST_VERSION=0.9.151
DENY_VERSION=0.20.2
MACHETE_VERSION=0.9.2
AUDITABLE_VERSION=0.7.7
FUZZ_VERSION=0.13.2
KOPIUM_VERSION=0.24.1
export NEXTEST_VERSION DENY_VERSION MACHETE_VERSION AUDITABLE_VERSION FUZZ_VERSION KOPIUM_VERSION

# Everything that tests install or build outside the checkout lives under this folder.
ASSAY_CACHE=${ASSAY_TEST_CACHE:-${HOME:?HOME is not set}/.cache/assay}
ASSAY_TOOLS=$ASSAY_CACHE/tools
export ASSAY_CACHE ASSAY_TOOLS

note() { printf '%s\n' "-- $*" >&2; }
die() {
  printf '%s\n' "error: $*" >&2
  exit 1
}

# The Rust version the workspace asks for.
rust_version() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml; }

# cargo_tool NAME VERSION [cargo install flags...]: installs once, in a profile that is quick to build.
cargo_tool() {
  local name=$1 version=$2 root
  shift 2
  root=$ASSAY_TOOLS/$name-$version
  if [ ! -x "$root/bin/$name" ]; then
    note "building $name $version (once; a few minutes)"
    mkdir -p "$ASSAY_TOOLS"
    # One caller at a time: two set-ups on one machine must not write the same folder.
    (
      flock 9
      [ -x "$root/bin/$name" ] && exit 0
      CARGO_TARGET_DIR=$ASSAY_CACHE/tools-target \
        CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=0 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 RUSTFLAGS='' \
        cargo install --quiet --locked --version "=$version" --root "$root.partial" --no-track "$@" "$name"
      rm -rf "$root"
      mv "$root.partial" "$root"
    ) 9>"$ASSAY_TOOLS/.lock"
  fi
  PATH=$root/bin:$PATH
  export PATH
}

# tools_on_path: what hack/setup installed, in front of PATH. Installs nothing.
tools_on_path() {
  local name
  for name in "cargo-nextest-$NEXTEST_VERSION" "cargo-deny-$DENY_VERSION" "cargo-machete-$MACHETE_VERSION" \
    "cargo-auditable-$AUDITABLE_VERSION" "cargo-fuzz-$FUZZ_VERSION"; do
    if [ -d "$ASSAY_TOOLS/$name/bin" ]; then
      PATH=$ASSAY_TOOLS/$name/bin:$PATH
    fi
  done
  export PATH
}

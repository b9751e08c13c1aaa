#!/usr/bin/env bash
# Installs Keylime's verifier and registrar (7.14) and its last agent in Python (6.6), the only agent that a package registry has, with a
# software TPM: every package by checksum, nothing outside the cache. Prints the folder; `hack/keylime` starts what is in it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/keylime" && pwd)
sum=$(cat "$here/verifier.txt" "$here/agent.txt" "$here/debian.lock" | sha256sum | cut -c1-16)
cache=${ASSAY_TEST_CACHE:-$HOME/.cache/assay}/tools/keylime-$sum
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ ! -e "$cache/done" ]; then
  # Debian's own Python: it is where `venv` comes as a package.
  python=/usr/bin/python3
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    { echo "Keylime needs Python: apt-get install python3-venv" >&2; exit 1; }
  rm -rf "$cache/root" "$cache/verifier" "$cache/agent" "$cache/debs"
  mkdir "$cache/debs"
  (
    cd "$cache/debs"
    wanted=()
    while read -r package version architecture _; do
      wanted+=("$package:$architecture=$version")
    done < <(grep -v '^#' "$here/debian.lock")
    apt-get download -qq "${wanted[@]}" 2>/dev/null || { apt-get update -qq && apt-get download -qq "${wanted[@]}" 2>/dev/null; } ||
      { echo "not all packages are to be had: if Debian has newer ones, run hack/tools/keylime/update-debian" >&2; exit 1; }
    grep -v '^#' "$here/debian.lock" | while read -r package _ _ wanted_sum; do
      echo "$wanted_sum  $(ls "$package"_*.deb)" | sha256sum --quiet -c - ||
        { echo "$package does not have the locked SHA-256" >&2; exit 1; }
    done
    mkdir ../root
    for package in *.deb; do dpkg-deb -x "$package" ../root; done
  ) >&2
  rm -rf "$cache/debs"
  for part in verifier agent; do
    "$python" -m venv "$cache/$part" >&2
    "$cache/$part/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
      -r "$here/$part.txt" >&2
  done
  # Keylime imports it for policies signed with OpenPGP, which nothing here has.
  for part in verifier agent; do
    echo '"""Stands where the bindings of GPGME would: nothing here is signed with OpenPGP."""' \
      >"$(echo "$cache/$part"/lib/python3*/site-packages)/gpg.py"
  done
  touch "$cache/done"
fi
echo "$cache"

# Sourced by hack/demo: real projects, brought as source packages and turned into git repositories. Needs hack/lib.sh.
# shellcheck shell=bash

# source_of_crate NAME FOLDER: unpacks the version of the crate that Cargo.lock pins, checked against the checksum there.
source_of_crate() {
  local name=$1 folder=$2 version checksum archive
  version=$(locked "$name" version)
  checksum=$(locked "$name" checksum)
  archive=$(crate_archive "$name-$version")
  if [ -z "$archive" ]; then
    cargo fetch --locked --quiet
    archive=$(crate_archive "$name-$version")
  fi
  [ -n "$archive" ] || die "cargo brought no source package of $name $version"
  printf '%s  %s\n' "$checksum" "$archive" | sha256sum --check --quiet
  mkdir -p "$folder"
  tar -xzf "$archive" -C "$folder" --strip-components=1
}

crate_archive() { find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$1.crate" -print -quit 2>/dev/null; }

# locked NAME FIELD: a field of the first package of that name in Cargo.lock.
locked() {
  awk -v name="\"$1\"" -v field="$2" '
    $1 == "name" { here = ($3 == name) }
    here && $1 == field { gsub("\"", "", $3); print $3; exit }' Cargo.lock
}

# source_of_npm NAME VERSION SHA256 FOLDER: unpacks a package of npm, checked against a checksum of ours, and adds the lock file
# that npm made for it (published packages carry none).
source_of_npm() {
  local name=$1 version=$2 checksum=$3 folder=$4 archive=$ASSAY_CACHE/demo/$1-$2.tgz
  if ! printf '%s  %s\n' "$checksum" "$archive" | sha256sum --check --status 2>/dev/null; then
    command -v npm >/dev/null || die 'npm is missing; as root run: apt-get install npm'
    mkdir -p "$ASSAY_CACHE/demo"
    npm pack "$name@$version" --silent --pack-destination "$ASSAY_CACHE/demo" >/dev/null
    printf '%s  %s\n' "$checksum" "$archive" | sha256sum --check --quiet
  fi
  mkdir -p "$folder"
  tar -xzf "$archive" -C "$folder" --strip-components=1
  cp "hack/demo.d/$name/package-lock.json" "$folder/package-lock.json"
}

# repository FOLDER URL: makes a git repository of a folder, with one commit by a fixed person at a fixed time.
repository() {
  local folder=$1 url=$2
  git -C "$folder" init --quiet --initial-branch=main
  git -C "$folder" config user.name 'Demo Author'
  git -C "$folder" config user.email author@example.com
  git -C "$folder" config commit.gpgsign false
  git -C "$folder" remote add origin "$url"
  commit "$folder" 'Import the source package'
}

# commit FOLDER MESSAGE: commits all there is.
commit() {
  git -C "$1" add --all
  GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z' git -C "$1" commit --quiet --message "$2"
}

#!/usr/bin/env bash
# Makes the images on which result SBOMs are compared with another scanner, once, and prints the folder that holds them.
#
# Each is an OCI layout: debian (a root made by mmdebstrap), java, node, python, go, rust (a program, built from packages of the
# ecosystem's registry). Versions are pinned where the registry keeps them; the Debian root is what the configured mirror has.
# Needs: mmdebstrap umoci jq mvn npm pip go cargo; registries through their ordinary clients.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=hack/lib.sh
. hack/lib.sh

for program in mmdebstrap umoci mvn npm pip3 go cargo; do
  command -v "$program" >/dev/null || die "$program is missing; hack/setup says what to install"
done
sum=$(sha256sum <"$0" | cut -c1-16)
out=$ASSAY_CACHE/sbom-images-$sum
if [ -f "$out/complete" ]; then
  printf '%s\n' "$out"
  exit 0
fi
mkdir -p "$ASSAY_CACHE"
exec 9>"$ASSAY_CACHE/.sbom-images.lock"
flock 9
if [ -f "$out/complete" ]; then
  printf '%s\n' "$out"
  exit 0
fi
rm -rf "$out.partial"
mkdir -p "$out.partial"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# layout NAME FOLDER...: an image of one layer per folder.
layout() {
  local name=$1 folder
  shift
  umoci init --layout "$out.partial/$name" >&2
  umoci new --image "$out.partial/$name:latest" >&2
  for folder in "$@"; do
    # Not `umoci insert`: version 0.4.7 writes archives without end, which GNU tar and our reader refuse.
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1700000000 -C "$folder" -cf "$work/layer.tar" .
    umoci raw add-layer --image "$out.partial/$name:latest" "$work/layer.tar" >&2
  done
}

note "debian: a root by mmdebstrap"
mkdir "$work/debian"
mmdebstrap --quiet --variant=minbase --include=ca-certificates,perl-base,libjson-perl bookworm "$work/debian.tar" >&2
tar -xf "$work/debian.tar" -C "$work/debian" --exclude='./dev/*'
mkdir -p "$work/debian-upper/usr/local/bin"
printf '#!/bin/sh\necho app\n' >"$work/debian-upper/usr/local/bin/app"
layout debian "$work/debian" "$work/debian-upper"

note "python: pip install"
mkdir -p "$work/python/usr/local/lib/python3.11/site-packages"
pip3 install --quiet --disable-pip-version-check --no-compile --target "$work/python/usr/local/lib/python3.11/site-packages" \
  flask==3.0.3 requests==2.32.3 >&2
layout python "$work/python"

note "node: npm install"
mkdir -p "$work/node/app"
printf '{"name":"app","version":"1.0.0","private":true,"dependencies":{"express":"4.19.2","@sindresorhus/is":"6.3.1"}}' >"$work/node/app/package.json"
(cd "$work/node/app" && npm install --silent --no-audit --no-fund --ignore-scripts >&2)
layout node "$work/node"

note "java: mvn dependency:copy-dependencies"
mkdir -p "$work/mvn" "$work/java/app/lib"
cat >"$work/mvn/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>org.example</groupId><artifactId>app</artifactId><version>1.0</version><dependencies>
<dependency><groupId>com.google.guava</groupId><artifactId>guava</artifactId><version>33.2.1-jre</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>2.0.13</version></dependency>
<dependency><groupId>com.fasterxml.jackson.core</groupId><artifactId>jackson-databind</artifactId><version>2.17.1</version></dependency>
<dependency><groupId>org.apache.commons</groupId><artifactId>commons-lang3</artifactId><version>3.14.0</version></dependency>
</dependencies></project>
POM
(cd "$work/mvn" && mvn --batch-mode --quiet dependency:copy-dependencies -DoutputDirectory="$work/java/app/lib" >&2)
# One archive that holds the others, as application servers and Spring Boot have them.
mkdir -p "$work/war/WEB-INF/lib" "$work/war/META-INF"
cp "$work/java/app/lib"/jackson-*.jar "$work/war/WEB-INF/lib/"
printf 'Manifest-Version: 1.0\nImplementation-Title: shop\nImplementation-Version: 2.1\n' >"$work/war/META-INF/MANIFEST.MF"
(cd "$work/war" && python3 -m zipfile -c "$work/java/app/shop-2.1.war" META-INF WEB-INF)
layout java "$work/java"

note "go: go build"
mkdir -p "$work/gosrc" "$work/go/usr/bin"
cat >"$work/gosrc/main.go" <<'GO'
package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/text/language"
)

func main() {
	c := &cobra.Command{Use: language.English.String(), Run: func(*cobra.Command, []string) { fmt.Println("x") }}
	_ = c.Execute()
}
GO
(
  cd "$work/gosrc"
  go mod init example.org/app >&2
  go get github.com/spf13/cobra@v1.8.1 golang.org/x/text@v0.16.0 >&2
  CGO_ENABLED=0 go build -trimpath -o "$work/go/usr/bin/app" . >&2
)
layout go "$work/go"

note "rust: cargo auditable build"
cargo_tool cargo-auditable "$AUDITABLE_VERSION"
mkdir -p "$work/rustsrc/src" "$work/rust/usr/bin"
cat >"$work/rustsrc/Cargo.toml" <<'TOML'
[package]
name = "app"
version = "0.3.0"
edition = "2021"
[dependencies]
serde_json = "=1.0.120"
hex = "=0.4.3"
TOML
printf 'fn main() { println!("{} {}", serde_json::json!({"a": 1}), hex::encode("x")); }\n' >"$work/rustsrc/src/main.rs"
(cd "$work/rustsrc" && CARGO_TARGET_DIR=$work/rusttarget cargo auditable build --quiet >&2)
cp "$work/rusttarget/debug/app" "$work/rust/usr/bin/app"
layout rust "$work/rust"

touch "$out.partial/complete"
rm -rf "$out"
mv "$out.partial" "$out"
printf '%s\n' "$out"

# Sourced by hack/demo, which sets `work`: Debian's docker-registry on loopback, and the policies its images are judged by.
# shellcheck shell=bash disable=SC2154

# start_registry FOLDER: serves on a free port of loopback; sets `registry` to HOST:PORT and `registry_pid`.
start_registry() {
  local folder=$1 port
  command -v docker-registry >/dev/null || die 'docker-registry is missing; as root run: apt-get install docker-registry'
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  mkdir -p "$folder"
  cat >"$folder/config.yml" <<EOF
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: $folder/data }, delete: { enabled: true } }
http: { addr: "127.0.0.1:$port" }
EOF
  docker-registry serve "$folder/config.yml" >"$folder/log" 2>&1 &
  registry_pid=$!
  registry=127.0.0.1:$port
  local deadline=$((SECONDS + 20))
  until curl --silent --fail --output /dev/null "http://$registry/v2/"; do
    kill -0 "$registry_pid" 2>/dev/null || { cat "$folder/log" >&2; die 'the registry ended'; }
    [ "$SECONDS" -lt "$deadline" ] || die 'the registry does not answer'
    sleep 0.1
  done
}

# identity NAME KEY: an identity of a policy, in YAML's flow form.
identity() { printf '{name: %s, keys: [{key: %s}]}' "$1" "$(jq --raw-input --slurp . <"$2")"; }

# policy NAME BUILDER_KEY: the part that the gate's and the arbiter's policy share.
policy() {
  cat <<EOF
apiVersion: assay.dev/v1alpha1
kind: TrustPolicy
metadata: {name: $1}
spec:
  mode: Enforce
  images: [{host: "$registry", path: demo/**}]
  sources:
    repositories: ["https://git.example.com/demo/assay", "https://git.example.com/demo/clap", "https://git.example.com/demo/debug"]
    refs: [refs/heads/main]
    binding: Provenance
  authors: {threshold: 1, identities: [$(identity author "$work/author.pub")]}
  builders:
    - id: https://assay.dev/builder/local
      buildTypes: [https://assay.dev/buildtypes/recipe/v1]
      identities: [$(identity builder "$2")]
EOF
}

# gates DIGEST: the part that asks for the gate's word under the policy of this digest.
gates() {
  cat <<EOF
  gates:
    verifierId: https://gate.example.com
    identities: [$(identity gate "$work/gate.pub")]
    policyDigests: ["$1"]
    maxAgeSeconds: 3600
  sbom: {deniedPackages: [{purl: "pkg:npm/event-stream"}]}
  inputs: {hermetic: Required, contents: NotRequired}
  forwardOnly: {}
EOF
}

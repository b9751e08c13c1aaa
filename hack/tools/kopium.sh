#!/usr/bin/env bash
# Writes the Rust bindings of Tekton's CRDs into a folder: kopium.sh FOLDER. Builds the pinned kopium once.
# Without a folder it only builds kopium, and prints its path as the other tools do.
#
# The CRDs are those of the Tekton module that hack/tools/tekton/go.mod pins. kopium stays out of the workspace's lock file.
set -euo pipefail
out=${1-}
[ -z "$out" ] || out=$(realpath -m "$out")
cd "$(dirname "$0")/../.."
# shellcheck source=hack/lib.sh
. hack/lib.sh

cargo_tool kopium "$KOPIUM_VERSION"
if [ -z "$out" ]; then
  command -v kopium
  exit 0
fi
crds=$(cd hack/tools/tekton && GOFLAGS=-mod=readonly GOTOOLCHAIN=local go list -m -f '{{.Dir}}' github.com/tektoncd/pipeline)/config/300-crds
[ -d "$crds" ] || die "Tekton's module is not there; run 'go mod download' in hack/tools/tekton"

mkdir -p "$out"
# file of the CRD, version, module of ours
while read -r crd version module; do
  # --no-condition: the standard Condition demands a lastTransitionTime and drops knative's severity.
  kopium --filename "$crds/300-$crd.yaml" --api-version "$version" --schema=disabled --no-condition \
    --derive Default --derive PartialEq --smart-derive-elision |
    sed '/^\/\/ kopium command:/d' >"$out/$module.rs"
  rustfmt --edition 2024 --config-path "$PWD/rustfmt.toml" "$out/$module.rs"
done <<'EOF'
customrun v1beta1 custom_run
pipeline v1 pipeline
pipelinerun v1 pipeline_run
stepaction v1beta1 step_action
task v1 task
taskrun v1 task_run
verificationpolicy v1alpha1 verification_policy
EOF

# shellcheck shell=bash
# The same versions on kind, for a laptop: containers instead of namespaces, released manifests instead of the modules'.

kind_up() {
    local program version
    for program in kind kubectl docker; do
        type -P "$program" >/dev/null || die "'--kind' needs $program"
    done
    version=$(awk '$1 == "k8s.io/kubernetes" || $2 == "k8s.io/kubernetes" { print $NF; exit }' "$HERE/kube/go.mod")
    if ! kind get clusters 2>/dev/null | grep -qx "assay-$NAME"; then
        kind create cluster --name "assay-$NAME" --image "kindest/node:$version" --wait 120s
    fi
    local context=kind-assay-$NAME
    kind_apply "$context" pipeline "$(pinned tekton github.com/tektoncd/pipeline)" release.yaml
    kind_apply "$context" triggers "$(pinned tekton github.com/tektoncd/triggers)" release.yaml interceptors.yaml
    kind_apply "$context" chains "$(pinned chains github.com/tektoncd/chains)" release.yaml
    local namespace
    for namespace in tekton-pipelines tekton-pipelines-resolvers tekton-chains; do
        command kubectl --context "$context" wait deployment --all -n "$namespace" --for condition=Available --timeout 300s
    done
    say "kind cluster 'assay-$NAME' is up: kubectl --context $context"
}

pinned() {
    awk -v module="$2" '$1 == module && $2 ~ /^v/ { print $2; exit } $2 == module && $3 ~ /^v/ { print $3; exit }' "$HERE/$1/go.mod"
}

# kind_apply CONTEXT PROJECT VERSION FILE...
kind_apply() {
    local context=$1 project=$2 version=$3 file
    shift 3
    for file in "$@"; do
        command kubectl --context "$context" apply --server-side --force-conflicts \
            -f "https://github.com/tektoncd/$project/releases/download/$version/$file"
    done
}

kind_down() {
    type -P kind >/dev/null || die "'--kind' needs kind"
    kind delete cluster --name "assay-$NAME"
}

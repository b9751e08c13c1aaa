# shellcheck shell=bash
# Tekton Pipelines, Triggers and Chains, from the manifests that their modules carry at the pinned version.

# render_manifests: sets MANIFESTS, a folder with one file per component; images and patches filled in by kustomize.
render_manifests() {
    MANIFESTS=$CACHE/manifests/$PROFILE-$({
        cat "$HERE"/{tekton,chains}/go.mod "$HERE/manifests/tekton.$PROFILE.yaml"
        declare -f render_all render
        echo "$IMAGES_HASH"
    } | sha256sum | cut -c1-16)
    [[ -e $MANIFESTS ]] && return 0
    mkdir -p "$CACHE/manifests" "$CACHE/tmp"
    local work
    work=$(mktemp -d "$CACHE/tmp/manifests.XXXXXX")
    say "rendering manifests"
    render_all "$work"
    mv -T "$work/out" "$MANIFESTS"
    rm -rf "$work"
}

render_all() {
    local work=$1 pipeline triggers chains
    pipeline=$(module_folder tekton github.com/tektoncd/pipeline)
    triggers=$(module_folder tekton github.com/tektoncd/triggers)
    chains=$(module_folder chains github.com/tektoncd/chains)
    mkdir -p "$work/out"
    render "$work" pipelines "$pipeline"/config/*.yaml "$pipeline"/config/100-namespace/*.yaml "$pipeline"/config/300-crds/*.yaml
    render "$work" resolvers "$pipeline"/config/resolvers/*.yaml
    render "$work" chains "$chains"/config/*.yaml
    if [[ $PROFILE == full ]]; then
        render "$work" triggers "$triggers"/config/*.yaml "$triggers"/config/interceptors/*deployment.yaml \
            "$triggers"/config/interceptors/*secrets.yaml
        render "$work" interceptors "$triggers"/config/interceptors/core-interceptors.yaml
    fi
}

# render WORK COMPONENT FILE...
render() {
    local work=$1 component=$2 folder=$1/$2 file
    shift 2
    mkdir -p "$folder/from"
    for file in "$@"; do
        sed -E "s,ko://github.com/tektoncd/([a-z]+)/cmd/([a-z]+),localhost/assay/\1-\2:$IMAGES_HASH,
            s,cgr.dev/chainguard/busybox@sha256:[0-9a-f]+,localhost/assay/busybox:$IMAGES_HASH," \
            "$file" >"$folder/from/$(basename "$(dirname "$file")")-$(basename "$file")"
    done
    {
        echo "resources:"
        for file in "$folder"/from/*.yaml; do echo "- from/$(basename "$file")"; done
        cat "$HERE/manifests/tekton.$PROFILE.yaml"
    } >"$folder/kustomization.yaml"
    "$KUBE_BIN/kubectl" kustomize "$folder" >"$work/out/$component.yaml"
}

apply() {
    kubectl apply --server-side --force-conflicts -f "$1" >>"$STATE/logs/apply.log" 2>&1
}

# apply_tekton: components side by side, as most of the time goes into waiting for one object after the other.
apply_tekton() {
    local marker component jobs=() job
    marker=$STATE/applied-$(basename "$MANIFESTS")
    [[ -e $marker ]] && return 0
    kubectl create namespace tekton-pipelines --dry-run=client -o yaml | kubectl apply --server-side -f - >/dev/null
    for component in pipelines resolvers chains triggers; do
        [[ -e $MANIFESTS/$component.yaml ]] || continue
        wait_until 60 "the objects of $component are applied" apply "$MANIFESTS/$component.yaml" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job" || exit 1; done
    configure_chains
    touch "$marker"
}

# configure_chains: an unencrypted P-256 key, as Chains reads it from x509.pem; its public half is for verifiers.
configure_chains() {
    local keys=$STATE/chains
    mkdir -p "$keys"
    if [[ ! -e $keys/cosign.pub ]]; then
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$keys/x509.pem"
        openssl pkey -in "$keys/x509.pem" -pubout -out "$keys/cosign.pub"
    fi
    kubectl create secret generic signing-secrets -n tekton-chains --from-file="$keys/x509.pem" --dry-run=client -o yaml |
        kubectl apply --server-side --force-conflicts -f - >/dev/null
    kubectl patch configmap chains-config -n tekton-chains --type merge -p '{"data": {
        "artifacts.taskrun.format": "slsa/v2alpha4", "artifacts.taskrun.storage": "tekton,oci",
        "artifacts.pipelinerun.format": "slsa/v2alpha4", "artifacts.pipelinerun.storage": "tekton,oci",
        "artifacts.pipelinerun.enable-deep-inspection": "true", "artifacts.oci.storage": "oci",
        "storage.oci.repository.insecure": "true", "builddefinition.buildtype": "https://tekton.dev/chains/v2/slsa-tekton",
        "transparency.enabled": "false"}}' >/dev/null
}

# webhook_answers: an object passes Tekton's admission webhook; until then its creation is refused or times out.
webhook_answers() {
    kubectl create --dry-run=server -f - <<'YAML'
apiVersion: tekton.dev/v1
kind: Task
metadata: {generateName: probe-, namespace: default}
spec: {steps: [{name: probe, image: probe, command: [probe]}]}
YAML
}

# tekton_in_pods_ready: by the pods themselves, since a Deployment's status lags behind pods that were just replaced.
tekton_in_pods_ready() {
    kubectl get deployments,pods -A -o json | jq -e '
        [.items[] | select(.metadata.namespace | startswith("tekton-"))] |
        ([.[] | select(.kind == "Deployment")] | length) as $wanted |
        [.[] | select(.kind == "Pod")] |
        length == $wanted and $wanted > 0 and all(.[];
            .metadata.deletionTimestamp == null and any(.status.conditions[]?; .type == "Ready" and .status == "True"))'
}

# The webhook of Triggers, too, must answer before its own objects can be created.
apply_interceptors() {
    [[ -e $STATE/interceptors ]] && return 0
    apply "$MANIFESTS/interceptors.yaml" && touch "$STATE/interceptors"
}

# start_tekton_processes: what the Deployments describe, on the machine, each under its own service account.
start_tekton_processes() {
    endpoints tekton-pipelines tekton-pipelines-webhook https-webhook 8443
    as_process tekton-webhook tekton-pipelines tekton-pipelines-webhook "$TEKTON_BIN/pipeline-webhook" 21
    as_process tekton-controller tekton-pipelines tekton-pipelines-controller "$TEKTON_BIN/pipeline-controller" 22
    as_process tekton-events tekton-pipelines tekton-events-controller "$TEKTON_BIN/pipeline-events" 23
    as_process tekton-resolvers tekton-pipelines-resolvers tekton-pipelines-remote-resolvers "$TEKTON_BIN/pipeline-resolvers" 24
    as_process chains tekton-chains tekton-chains-controller "$CHAINS_BIN/chains-controller" 25
}

# endpoints NAMESPACE SERVICE PORT-NAME PORT: where the API server finds a process that stands behind a Service.
endpoints() {
    kubectl apply --server-side -f - >/dev/null <<YAML
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: $2-process, namespace: $1, labels: {kubernetes.io/service-name: $2}}
addressType: IPv4
endpoints: [{addresses: ["$NODE_IP"], conditions: {ready: true}}]
ports: [{name: $3, port: $4, protocol: TCP}]
YAML
}

# as_process NAME NAMESPACE DEPLOYMENT BINARY NUMBER: every process needs ports of its own, made from NUMBER.
as_process() {
    local name=$1 namespace=$2 deployment=$3 binary=$4 number=$5 spec account arguments environment
    alive "$name" && return 0
    spec=$(kubectl get deployment "$deployment" -n "$namespace" -o json | jq '.spec.template.spec')
    account=$(jq -r .serviceAccountName <<<"$spec")
    account_kubeconfig "$namespace" "$account" >"$STATE/conf/$name.kubeconfig"
    mapfile -d '' -t arguments < <(jq -j '.containers[0].args // [] | .[] + "\u0000"' <<<"$spec")
    mapfile -d '' -t environment < <(jq -j --arg namespace "$namespace" '.containers[0].env[]
        | select(.name != "SSL_CERT_FILE" and .name != "SSL_CERT_DIR")
        | .name + "=" + (if .valueFrom then $namespace else .value // "" end) + "\u0000"' <<<"$spec")
    environment+=("KUBECONFIG=$STATE/conf/$name.kubeconfig" "POD_NAME=$name"
        "PROBES_PORT=${number}080" "METRICS_PROMETHEUS_PORT=${number}090" "PROFILING_PORT=${number}008")
    if [[ $name == chains ]]; then
        # Chains reads its key from a fixed path: a read-only /etc with that one folder more, seen by this process alone.
        mkdir -p "$STATE/chains/etc/signing-secrets"
        cp "$STATE/chains/x509.pem" "$STATE/chains/etc/signing-secrets/x509.pem"
        start "$name" env "${environment[@]}" unshare --mount sh -c \
            'mount -t overlay overlay -o lowerdir="$0:/etc" /etc && exec "$@"' "$STATE/chains/etc" "$binary" "${arguments[@]}"
        return
    fi
    start "$name" env "${environment[@]}" "$binary" "${arguments[@]}"
}

# account_kubeconfig NAMESPACE ACCOUNT: a service account's own token, so that its real permissions apply.
account_kubeconfig() {
    local token
    token=$(kubectl create token "$2" -n "$1" --duration 720h)
    cat <<YAML
apiVersion: v1
kind: Config
current-context: $NAME
clusters:
- name: $NAME
  cluster: {server: "$API", certificate-authority-data: $(base64 -w0 <"$PKI/ca.crt")}
users:
- name: $2
  user: {token: $token}
contexts:
- name: $NAME
  context: {cluster: $NAME, user: $2}
YAML
}

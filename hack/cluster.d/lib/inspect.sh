# shellcheck shell=bash
# What a person or a test wants to know of a running cluster.

# need_running: sets what other commands use, without building anything.
need_running() {
    [[ -e $STATE/index && -e $KUBECONFIG_FILE ]] || die "cluster '$NAME' is not up"
    PKI=$STATE/pki
    NODE_NAME=$NAME
    local component
    for component in kube tekton chains toolbox coredns sigstore; do
        declare -g "${component^^}_BIN=$(component_folder "$component")"
    done
    DEBIAN=$(ensure_debian machine)
}

cluster_kubeconfig() {
    if [[ -n ${KUBECONFIG:-} ]]; then
        echo "$KUBECONFIG"
        return
    fi
    [[ -e $KUBECONFIG_FILE ]] || die "cluster '$NAME' is not up"
    echo "$KUBECONFIG_FILE"
}

cluster_env() {
    need_running
    cat <<TEXT
export KUBECONFIG='$KUBECONFIG_FILE'
export ASSAY_CLUSTER_NAME='$NAME'
export ASSAY_CLUSTER_PROFILE='$PROFILE'
export ASSAY_CLUSTER_HOST='$NETWORK.1'
export ASSAY_CLUSTER_NODE='$NODE_IP'
export ASSAY_CLUSTER_ISSUER='$API'
export ASSAY_CLUSTER_CA='$STATE/pki/ca.crt'
export ASSAY_CLUSTER_LOGS='$STATE/logs'
export ASSAY_CLUSTER_KUBECTL='$KUBE_BIN/kubectl'
export ASSAY_TOOLBOX='$TOOLBOX_BIN/toolbox'
export ASSAY_REGISTRY='$REGISTRY'
export ASSAY_REFERRERS_REGISTRY='$REFERRERS_REGISTRY'
export ASSAY_GIT_FOLDER='$STATE/git'
export ASSAY_GIT_URL='http://$NODE_IP:3000'
export ASSAY_CHAINS_KEY='$STATE/chains/cosign.pub'
TEXT
    if [[ $PROFILE == full ]]; then
        cat <<TEXT
export ASSAY_CLUSTER_BUSYBOX='$(busybox_name)'
export ASSAY_CLUSTER_IMAGES='$CACHE/images/$(busybox_name | cut -d: -f2)'
export ASSAY_COSIGN='$SIGSTORE_BIN/cosign'
export ASSAY_FULCIO_URL='http://$NODE_IP:5555'
export ASSAY_FULCIO_ROOT='$STATE/sigstore/fulcio.crt'
export ASSAY_TIMESTAMP_URL='http://$NODE_IP:3004'
export ASSAY_TIMESTAMP_CHAIN='$STATE/sigstore/timestamp-chain.pem'
TEXT
    fi
}

# busybox_name: the running cluster's own answer, which stays right when the checkout has moved on.
busybox_name() {
    kubectl get deployment tekton-pipelines-controller -n tekton-pipelines -o json |
        jq -r '.spec.template.spec.containers[0].args | .[index("-shell-image") + 1]'
}

cluster_status() {
    [[ -e $STATE/index ]] || die "cluster '$NAME' is not up"
    printf 'cluster %s, profile %s, %s, state %s\n' "$NAME" "$PROFILE" "$API" "$STATE"
    local name pid dead=0
    printf '%-22s %8s %9s %9s\n' daemon pid RSS/MiB own/MiB
    for name in $(started_names); do
        if alive "$name"; then
            pid=$(pid_of "$name")
            printf '%-22s %8d %9d %9d\n' "$name" "$pid" \
                $(($(memory "$pid" VmRSS) / 1024)) $(($(memory "$pid" RssAnon) / 1024))
        else
            printf '%-22s %8s\n' "$name" dead
            dead=1
        fi
    done
    pod_processes
    return $dead
}

memory() {
    awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"
}

# pod_processes: what runs in the cluster's control group; one hierarchy is enough, every process is in each.
pod_processes() {
    local root pid
    root=$(cgroup_roots | grep -m1 -E '/pids$|^/sys/fs/cgroup$' || cgroup_roots | head -1)
    [[ -d $root/$CGROUP ]] || return 0
    while read -r pid; do
        [[ -e /proc/$pid/status ]] || continue
        printf '%-22s %8d %9d %9d\n' "pod: $(basename "$(readlink "/proc/$pid/exe" 2>/dev/null)")" "$pid" \
            $(($(memory "$pid" VmRSS) / 1024)) $(($(memory "$pid" RssAnon) / 1024))
    done < <(find "$root/$CGROUP" -name cgroup.procs -exec cat {} + | sort -n)
}

cluster_logs() {
    [[ -d $STATE/logs ]] || die "cluster '$NAME' has no logs"
    local name names=("$@")
    ((${#names[@]} > 0)) || mapfile -t names < <(basename -s .log "$STATE"/logs/*.log)
    for name in "${names[@]}"; do
        sed "s/^/$name: /" "$STATE/logs/$name.log"
    done
}

cluster_tool() {
    local program=${1:?a program is needed: cosign, ctr, toolbox, or one of the machine}
    shift
    case $program in
    cosign) inside "$SIGSTORE_BIN/cosign" "$@" ;;
    toolbox) inside "$TOOLBOX_BIN/toolbox" "$@" ;;
    ctr) ctr "$@" ;;
    *) inside "$program" "$@" ;;
    esac
}

# cluster_load ARCHIVE...: imports images and names them by digest too, as import_images does.
cluster_load() {
    [[ $PROFILE == full ]] || die "profile '$PROFILE' has no node to load images into"
    local archive name digest
    for archive in "$@"; do
        [[ -f $archive ]] || die "no archive '$archive'"
        ctr images import "$archive"
    done
    ctr images list | awk 'NR > 1 { print $1, $3 }' | while read -r name digest; do
        [[ $name == *@* || $name == sha256:* ]] || ctr images tag --force "$name" "${name%:*}@$digest" >/dev/null
    done
}

# collect FOLDER: everything that explains a failure, in files.
collect() {
    local folder=$1 resource namespace pod
    mkdir -p "$folder"/{objects,pods}
    cp -r "$STATE/logs" "$folder/daemons"
    cluster_status >"$folder/status" || true
    kubectl get events -A --sort-by .lastTimestamp >"$folder/events" 2>&1 || true
    for resource in $(kubectl api-resources --verbs list -o name 2>/dev/null | grep -vE '^(secrets|events)'); do
        kubectl get "$resource" -A -o yaml >"$folder/objects/$resource.yaml" 2>/dev/null || true
    done
    [[ $PROFILE == full ]] || return 0
    kubectl get pods -A --no-headers -o custom-columns=:metadata.namespace,:metadata.name |
        while read -r namespace pod; do
            kubectl logs -n "$namespace" "$pod" --all-containers --prefix >"$folder/pods/$namespace-$pod.log" 2>&1 </dev/null || true
        done
}

# existing_cluster: KUBECONFIG names it; what it lacks is said, not installed.
existing_cluster() {
    local kubectl
    kubectl=$(type -P kubectl) || die "kubectl is needed to use the cluster of KUBECONFIG"
    "$kubectl" get --raw /readyz >/dev/null || die "the cluster of KUBECONFIG=$KUBECONFIG does not answer"
    local group
    for group in tekton.dev triggers.tekton.dev; do
        "$kubectl" get --raw "/apis/$group" >/dev/null 2>&1 || die "the cluster of KUBECONFIG=$KUBECONFIG does not serve $group"
    done
    say "using the cluster of KUBECONFIG=$KUBECONFIG"
}

# shellcheck shell=bash disable=SC2154
# Checks that end or damage the cluster, which is why they are asked for by name.

run_restart_checks() {
    check "up again changes nothing" up_is_idempotent
    check "up with KUBECONFIG uses that cluster" up_uses_an_existing_cluster
    local daemon
    for daemon in $("$CLUSTER" status --name "$name" | awk 'NR > 2 && $1 != "pod:" { print $1 }'); do
        victim=$daemon
        check "kill -9 $daemon, up, a TaskRun succeeds" survives_kill
    done
    check "down twice leaves nothing" down_leaves_nothing
    check "up after down" up_after_down
}

up_is_idempotent() {
    local before
    before=$("$CLUSTER" status --name "$name" | awk 'NR > 2 && $1 != "pod:" { print $1, $2 }')
    "$CLUSTER" up --name "$name"
    expect "daemons and their pids" "$before" "$("$CLUSTER" status --name "$name" | awk 'NR > 2 && $1 != "pod:" { print $1, $2 }')"
}

# A copy of the file is a cluster that somebody else made, as far as `up` can tell. One that does not answer is refused.
up_uses_an_existing_cluster() {
    local before copy=$work/existing.kubeconfig path=${ASSAY_CLUSTER_KUBECTL%/*}:$PATH
    before=$("$CLUSTER" status --name "$name" | awk 'NR > 2 && $1 != "pod:" { print $1, $2 }')
    cp "$KUBECONFIG" "$copy"
    PATH=$path KUBECONFIG=$copy "$CLUSTER" up --name "$name-other" 2>&1 | tee /dev/stderr | grep -F "using the cluster of KUBECONFIG=$copy"
    expect "daemons and their pids" "$before" "$("$CLUSTER" status --name "$name" | awk 'NR > 2 && $1 != "pod:" { print $1, $2 }')"
    sed -i 's|server: .*|server: https://127.0.0.1:1|' "$copy"
    ! PATH=$path KUBECONFIG=$copy "$CLUSTER" up --name "$name-other"
}

survives_kill() {
    kill -KILL "$("$CLUSTER" status --name "$name" | awk -v daemon="$victim" '$1 == daemon { print $2 }')"
    "$CLUSTER" up --name "$name"
    task_run_succeeds
}

# A run that needs every part: webhook, controller, node. Without a node, the webhook's and the controller's answer is enough.
task_run_succeeds() {
    local run image=${ASSAY_CLUSTER_BUSYBOX:-any:1}
    run=$(create <<YAML
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {generateName: again-}
spec: {taskSpec: {steps: [{name: s, image: "$image", script: "#!/bin/sh\ntrue\n"}]}}
YAML
    )
    run=${run/.tekton.dev/}
    if [[ $ASSAY_CLUSTER_PROFILE == full ]]; then
        succeeded "$run"
    else
        until_true 60 kubectl get pod -n "$NAMESPACE" "${run#*/}-pod" -o name
    fi
}

down_leaves_nothing() {
    local namespaces
    namespaces=$(ip netns list | grep -c ^cni- || true)
    expect "network namespaces of pods outside the cluster's folder" 0 "$namespaces"
    "$CLUSTER" down --name "$name"
    "$CLUSTER" down --name "$name"
    expect mounts "" "$(grep -E "/assay/cluster/$name/|/assay-cluster/$name/" /proc/mounts || true)"
    expect "network namespaces of pods" "$namespaces" "$(ip netns list | grep -c ^cni- || true)"
    expect namespaces "" "$(ip netns list | awk -v netns="assay-$name" '$1 == netns')"
    expect groups "" "$(find /sys/fs/cgroup -maxdepth 2 -name "assay-$name")"
    expect processes "" "$(pgrep -fa "/assay/cluster/$name/|/assay-cluster/$name/" || true)"
}

up_after_down() {
    local environment
    "$CLUSTER" up --name "$name" --profile "$ASSAY_CLUSTER_PROFILE"
    # The names of images are those of what is cached now, which need not be what the cluster before was made of.
    environment=$("$CLUSTER" env --name "$name")
    eval "$environment"
    kubectl create namespace "$NAMESPACE"
    until_true 30 kubectl get serviceaccount default -n "$NAMESPACE"
    task_run_succeeds
}


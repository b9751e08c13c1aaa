# shellcheck shell=bash
# up and down.

cluster_up() {
    if $KIND; then
        kind_up
        return
    fi
    if [[ -n ${KUBECONFIG:-} && $KUBECONFIG != "$KUBECONFIG_FILE" ]]; then
        existing_cluster
        return
    fi
    require_root_linux
    PROFILE=${PROFILE:-full}
    if [[ -e $STATE/profile && $(<"$STATE/profile") != "$PROFILE" ]]; then
        die "cluster '$NAME' has profile $(<"$STATE/profile"): take it down first, or give another --name"
    fi
    describe_machine
    prepare
    lock_machine
    mkdir -p "$STATE"/{logs,pids,conf} "$RUN"
    [[ -e $STATE/index ]] || allocate_index >"$STATE/index"
    echo "$PROFILE" >"$STATE/profile"
    set_addresses "$(<"$STATE/index")"
    NODE_NAME=$NAME
    stop_clients_of_the_dead
    network_up
    flock -u 9
    certificates
    say "network and certificates"
    start_control_plane
    if [[ $PROFILE == full ]]; then
        finish_full
    else
        finish_api
    fi
    say "cluster '$NAME' ($PROFILE) is up: $API"
}

# describe_machine: the two facts that decide which settings a kubelet needs, first in every log.
describe_machine() {
    local cgroups=v1
    [[ -e /sys/fs/cgroup/cgroup.controllers ]] && cgroups=v2
    say "kernel $(uname -r), cgroup $cgroups, CapBnd $(awk '/CapBnd/ { print $2 }' /proc/self/status)"
}

programs() {
    ensure_binaries kube tekton chains toolbox
    DEBIAN=$(ensure_debian machine)
    [[ $PROFILE == full ]] || return 0
    ensure_binaries coredns
    ! $SIGSTORE || ensure_binaries sigstore
    DEBIAN_GIT=$(ensure_debian git)
}

prepare() {
    programs
    if [[ $PROFILE == full ]]; then
        ensure_images
        ensure_image_store
    else
        IMAGES_HASH=api
    fi
    render_manifests
}

cluster_build() {
    PROFILE=${PROFILE:-full}
    if [[ ${1:-} == --programs ]]; then
        programs
        return
    fi
    prepare
    say "the cache holds everything for profile $PROFILE: $(du -sm "$CACHE" | cut -f1) MB in $CACHE"
}

start_control_plane() {
    start_etcd
    start_registries
    start_git_server
    if [[ $PROFILE == full ]]; then
        node_configuration
        place_images
        start_containerd
    fi
    wait_until 30 "etcd answers" etcd_ready
    start_apiserver
    wait_until 60 "the API server is ready" apiserver_ready
    say "API server is ready"
    start_controllers
    issuer_discovery
}

# finish_full: manifests are applied while the node starts, and their pods wait for it.
finish_full() {
    wait_until 30 "containerd answers" containerd_ready
    renew_images
    start_node
    ! $SIGSTORE || start_sigstore
    apply_dns
    apply_tekton
    say "manifests are applied"
    wait_until 60 "the node is Ready" node_ready
    wait_until 60 "the default service account exists" default_account_exists
    say "node is Ready"
    renew_pods
    wait_until 180 "Tekton's pods are ready" tekton_in_pods_ready
    say "Tekton's pods are ready"
    wait_until 60 "Tekton's webhook answers" webhook_answers
    wait_until 60 "Triggers' webhook takes the core interceptors" apply_interceptors
    wait_until 60 "the registries answer" registries_ready
    ! $SIGSTORE || wait_until 60 "the Sigstore services answer" sigstore_ready
}

finish_api() {
    wait_until 60 "the default service account exists" default_account_exists
    apply_tekton
    say "manifests are applied"
    start_tekton_processes
    wait_until 60 "Tekton's webhook answers" webhook_answers
    wait_until 60 "the registries answer" registries_ready
}

# stop_clients_of_the_dead: what only lost itself is just started again. But kubelet, kube-proxy and controllers take a
# minute to trust an API server that came back, and new ones take seconds; in pods they are replaced by renew_pods.
stop_clients_of_the_dead() {
    RENEW_PODS=false
    dead etcd apiserver || return 0
    say "the API server's data or process was lost: starting its clients again, too"
    stop controller-manager scheduler kubelet proxy tekton-webhook tekton-controller tekton-events tekton-resolvers chains
    stop apiserver
    RENEW_PODS=true
}

renew_pods() {
    $RENEW_PODS || return 0
    local namespace
    for namespace in tekton-pipelines tekton-pipelines-resolvers tekton-chains; do
        kubectl delete pods --all -n "$namespace" --grace-period 1 --wait=false >/dev/null
    done
}

cluster_down() {
    if $KIND; then
        kind_down
        return
    fi
    require_root_linux
    if $ALL; then
        local folder
        for folder in "$STATE_ROOT"/*/; do
            [[ -e $folder/index ]] || continue
            PROFILE=''
            select_cluster "$(basename "$folder")"
            remove_cluster
        done
        return
    fi
    remove_cluster
}

remove_cluster() {
    lock_machine
    local name
    for name in $(started_names); do
        # What they could still write is deleted with the rest.
        if alive "$name"; then kill -KILL "$(pid_of "$name")"; fi
    done
    stop_pods
    remove_traces
    unmount_below "$STATE"
    unmount_below "$RUN"
    wait_until 20 "the control groups are empty" cgroup_remove
    network_down
    rm -rf --one-file-system "$STATE" "$RUN"
    rmdir "$RUN_ROOT" "$STATE_ROOT" 2>/dev/null || true
    flock -u 9
    say "cluster '$NAME' is gone"
}

# stop_pods: shims outlive containerd on purpose, so pods are found by control group and shims by their socket.
stop_pods() {
    cgroup_kill
    pkill -KILL -f -- "^[^ ]*containerd-shim-runc-v2 .*-address $RUN/containerd.sock" || true
    cgroup_kill
}

# remove_traces: what shims, CNI and kubelet leave at paths that cannot be configured.
remove_traces() {
    local address socket result id
    for address in "$RUN"/containerd/io.containerd.runtime.v2.task/k8s.io/*/address; do
        [[ -e $address ]] || continue
        socket=$(<"$address")
        rm -f "${socket#unix://}"
    done
    for result in /var/lib/cni/results/"$NETNS"-*-eth0; do
        id=${result#"/var/lib/cni/results/$NETNS-"}
        id=${id%-eth0}
        # A longer name may begin like this one; what remains must be a container's.
        [[ ! $id =~ ^[0-9a-f]{64}$ ]] || rm -f "$result" "/var/lib/cni/results/cni-loopback-$id-lo"
    done
    rmdir /var/lib/cni/results /var/lib/cni /run/containerd/s /run/containerd 2>/dev/null || true
    [[ ! -d /var/log/containers ]] || find /var/log/containers -lname "$STATE/pod-logs/*" -delete
}

unmount_below() {
    local mount
    while read -r mount; do
        umount -l "$mount" 2>/dev/null || true
    done < <(awk -v folder="$1/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | tac)
}

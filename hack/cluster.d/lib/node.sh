# shellcheck shell=bash
# The node of profile `full`: containerd, kubelet, kube-proxy. Settings that look odd are answers to machines met:
# no CAP_SYS_RESOURCE (oom scores and open-file limits cannot be raised) and cgroup v1.

node_configuration() {
    local cni=$DEBIAN/usr/lib/cni registry
    mkdir -p "$STATE/conf/cni" "$RUN"
    for registry in "$REGISTRY" "$REFERRERS_REGISTRY"; do
        mkdir -p "$STATE/conf/certs.d/$registry"
        write_file "$STATE/conf/certs.d/$registry/hosts.toml" <<TOML
server = "http://$registry"
[host."http://$registry"]
capabilities = ["pull", "resolve"]
TOML
    done
    write_file "$STATE/conf/containerd.toml" <<TOML
version = 2
root = "$STATE/containerd"
state = "$RUN/containerd"
[grpc]
address = "$RUN/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "$STATE/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$(image_name pause)"
stream_server_address = "127.0.0.1"
stream_server_port = "0"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "$STATE/conf/certs.d"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$cni"
conf_dir = "$STATE/conf/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "$DEBIAN/usr/sbin/runc"
SystemdCgroup = false
TOML
    write_file "$STATE/conf/cni/10-assay.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "$NETNS", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$RUN/cni", "ranges": [[{"subnet": "$PODS.0/24"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
    write_file "$STATE/conf/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
cgroupsPerQOS: true
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: 20000
makeIPTablesUtilChains: false
address: $NODE_IP
healthzBindAddress: 127.0.0.1
containerRuntimeEndpoint: unix://$RUN/containerd.sock
podLogsDir: $STATE/pod-logs
volumePluginDir: $STATE/volume-plugins
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-server.crt
tlsPrivateKeyFile: $PKI/kubelet-server.key
clusterDomain: cluster.local
clusterDNS: [$SERVICES.0.10]
resolvConf: ""
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}
serializeImagePulls: false
maxPods: 100
YAML
    write_file "$STATE/conf/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $PKI/proxy.kubeconfig}
bindAddress: $NODE_IP
hostnameOverride: $NODE_NAME
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clusterCIDR: $PODS.0/24
nodePortAddresses: ["$NETWORK.0/24"]
conntrack: {maxPerCore: 0, min: 0}
oomScoreAdj: 0
nftables: {minSyncPeriod: 100ms}
YAML
}

start_containerd() {
    start containerd env "PATH=$DEBIAN/usr/bin:$DEBIAN/usr/sbin:$PATH" \
        "$DEBIAN/usr/bin/containerd" --config "$STATE/conf/containerd.toml" --log-level warn
}

ctr() {
    "$DEBIAN/usr/bin/ctr" --address "$RUN/containerd.sock" --namespace k8s.io "$@"
}

containerd_ready() {
    ctr version
}

start_node() {
    cgroup_make
    start kubelet env "PATH=$DEBIAN/usr/sbin:$PATH" "$KUBE_BIN/kubelet" --config "$STATE/conf/kubelet.yaml" \
        --kubeconfig "$PKI/node.kubeconfig" --root-dir "$STATE/kubelet" --cert-dir "$STATE/kubelet/pki" \
        --hostname-override "$NODE_NAME" --node-ip "$NODE_IP"
    start proxy "$KUBE_BIN/kube-proxy" --config "$STATE/conf/kube-proxy.yaml"
}

node_ready() {
    [[ $(kubectl get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

# Each cluster's pods have a control group of their own, below the root of every controller (v1) or the one root (v2).
cgroup_roots() {
    awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts
}

cgroup_make() {
    local root
    for root in $(cgroup_roots); do
        mkdir -p "$root/$CGROUP"
        # A new cpuset of version 1 is empty and takes no process until it is given what its parent has.
        if [[ -e $root/$CGROUP/cpuset.cpus && -e $root/cgroup.procs && ! -e $root/cgroup.controllers ]]; then
            cat "$root/cpuset.cpus" >"$root/$CGROUP/cpuset.cpus"
            cat "$root/cpuset.mems" >"$root/$CGROUP/cpuset.mems"
        fi
    done
}

cgroup_kill() {
    local root group pid
    for root in $(cgroup_roots); do
        [[ -d $root/$CGROUP ]] || continue
        while read -r group; do
            while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done <"$group/cgroup.procs" || true
        done < <(find "$root/$CGROUP" -depth -type d)
    done
}

cgroup_remove() {
    local root group
    for root in $(cgroup_roots); do
        [[ -d $root/$CGROUP ]] || continue
        while read -r group; do rmdir "$group" 2>/dev/null || true; done < <(find "$root/$CGROUP" -depth -type d)
        [[ ! -d $root/$CGROUP ]] || return 1
    done
}

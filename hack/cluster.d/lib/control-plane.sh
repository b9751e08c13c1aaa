# shellcheck shell=bash
# etcd, kube-apiserver, kube-controller-manager, kube-scheduler and two registries, as processes of the namespace.

start_etcd() {
    # No fsync: a test cluster may lose its state with the machine, and the kernel keeps it when only etcd dies.
    start etcd "$DEBIAN/usr/bin/etcd" --name "$NODE_NAME" --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380
}

etcd_ready() {
    inside curl -sf -m 2 http://127.0.0.1:2379/health
}

start_apiserver() {
    local routing=false
    # Without kube-proxy nothing programs service addresses: the API server calls webhooks at their endpoints instead.
    [[ $PROFILE == api ]] && routing=true
    start apiserver "$KUBE_BIN/kube-apiserver" \
        --bind-address "$NODE_IP" --advertise-address "$NODE_IP" --secure-port 6443 \
        --etcd-servers http://127.0.0.1:2379 --service-cluster-ip-range "$SERVICES.0.0/16" \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged=true \
        --client-ca-file "$PKI/ca.crt" --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
        --kubelet-client-certificate "$PKI/apiserver-kubelet.crt" --kubelet-client-key "$PKI/apiserver-kubelet.key" \
        --kubelet-certificate-authority "$PKI/ca.crt" --kubelet-preferred-address-types InternalIP \
        --service-account-key-file "$PKI/service-account.pub" \
        --service-account-signing-key-file "$PKI/service-account.key" \
        --service-account-issuer "$API" --service-account-jwks-uri "$API/openid/v1/jwks" \
        --api-audiences "$API,https://kubernetes.default.svc" \
        --requestheader-client-ca-file "$PKI/front-proxy-ca.crt" --requestheader-allowed-names front-proxy \
        --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
        --requestheader-extra-headers-prefix X-Remote-Extra- \
        --proxy-client-cert-file "$PKI/front-proxy.crt" --proxy-client-key-file "$PKI/front-proxy.key" \
        --enable-aggregator-routing="$routing" --profiling=false
}

apiserver_ready() {
    [[ $(kubectl get --raw /readyz) == ok ]]
}

start_controllers() {
    start controller-manager "$KUBE_BIN/kube-controller-manager" \
        --kubeconfig "$PKI/controller-manager.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false \
        --authentication-kubeconfig "$PKI/controller-manager.kubeconfig" \
        --authorization-kubeconfig "$PKI/controller-manager.kubeconfig" \
        --allocate-node-cidrs=false --use-service-account-credentials \
        --service-account-private-key-file "$PKI/service-account.key" --root-ca-file "$PKI/ca.crt" \
        --cluster-signing-cert-file "$PKI/ca.crt" --cluster-signing-key-file "$PKI/ca.key"
    [[ $PROFILE == api ]] || start scheduler "$KUBE_BIN/kube-scheduler" \
        --kubeconfig "$PKI/scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false \
        --authentication-kubeconfig "$PKI/scheduler.kubeconfig" \
        --authorization-kubeconfig "$PKI/scheduler.kubeconfig"
}

default_account_exists() {
    kubectl get serviceaccount default -n default
}

# start_registries: Debian's docker-registry has no referrers API, so clients use the fallback tag there; the other has it.
start_registries() {
    write_file "$STATE/conf/registry.yaml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $STATE/registry}, delete: {enabled: true}}
http: {addr: "$NODE_IP:5000"}
YAML
    start registry "$DEBIAN/usr/bin/docker-registry" serve "$STATE/conf/registry.yaml"
    mkdir -p "$STATE/referrers-registry"
    start referrers-registry "$TOOLBOX_BIN/toolbox" registry -listen "$NODE_IP:5001" -blobs "$STATE/referrers-registry"
}

# start_git_server: bare repositories that tests put below $STATE/git, at http://NODE:3000/NAME.git.
start_git_server() {
    mkdir -p "$STATE/git"
    start git-server "$TOOLBOX_BIN/toolbox" git -listen "$NODE_IP:3000" -root "$STATE/git"
}

registries_ready() {
    curl -sf -m 2 "http://$REGISTRY/v2/" && curl -sf -m 2 "http://$REFERRERS_REGISTRY/v2/"
}

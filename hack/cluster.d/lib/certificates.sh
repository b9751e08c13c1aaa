# shellcheck shell=bash
# Keys, certificates and kubeconfigs: two authorities, P-256 leaves, made once per cluster by openssl.

certificates() {
    PKI=$STATE/pki
    [[ -e $PKI/complete ]] && return 0
    rm -rf "$PKI"
    mkdir -p "$PKI"
    chmod 700 "$PKI"
    authority ca assay-cluster
    authority front-proxy-ca assay-front-proxy
    local api="IP:$NODE_IP,IP:127.0.0.1,IP:$SERVICES.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default"
    leaf ca apiserver /CN=kube-apiserver serverAuth "$api,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    leaf ca kubelet-server "/CN=$NODE_NAME" serverAuth "IP:$NODE_IP,DNS:$NODE_NAME"
    leaf ca apiserver-kubelet /O=system:masters/CN=apiserver-kubelet clientAuth
    leaf front-proxy-ca front-proxy /CN=front-proxy clientAuth
    leaf ca admin /O=system:masters/CN=admin clientAuth
    leaf ca node "/O=system:nodes/CN=system:node:$NODE_NAME" clientAuth
    leaf ca controller-manager /CN=system:kube-controller-manager clientAuth
    leaf ca scheduler /CN=system:kube-scheduler clientAuth
    leaf ca proxy /CN=system:kube-proxy clientAuth
    openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$PKI/service-account.key" 2>/dev/null ||
        openssl genrsa -out "$PKI/service-account.key" 2048 2>/dev/null
    openssl pkey -in "$PKI/service-account.key" -pubout -out "$PKI/service-account.pub"
    local user
    for user in node controller-manager scheduler proxy; do
        kubeconfig "$user" >"$PKI/$user.kubeconfig"
    done
    kubeconfig admin >"$KUBECONFIG_FILE"
    chmod 600 "$KUBECONFIG_FILE"
    touch "$PKI/complete"
}

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$2" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature \
        -keyout "$PKI/$1.key" -out "$PKI/$1.crt" 2>/dev/null
}

# leaf AUTHORITY FILE SUBJECT USAGE [ALTERNATIVE NAMES]
leaf() {
    local extensions="basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=$4"
    [[ -z ${5:-} ]] || extensions+=$'\n'"subjectAltName=$5"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$3" -keyout "$PKI/$2.key" 2>/dev/null |
        openssl x509 -req -CA "$PKI/$1.crt" -CAkey "$PKI/$1.key" -CAcreateserial -days 3650 \
            -extfile <(echo "$extensions") -out "$PKI/$2.crt" 2>/dev/null
}

# kubeconfig USER: everything inside the file, so that it can be copied.
kubeconfig() {
    cat <<YAML
apiVersion: v1
kind: Config
current-context: $NAME
clusters:
- name: $NAME
  cluster: {server: "$API", certificate-authority-data: $(base64 -w0 <"$PKI/ca.crt")}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 <"$PKI/$1.crt"), client-key-data: $(base64 -w0 <"$PKI/$1.key")}
contexts:
- name: $NAME
  context: {cluster: $NAME, user: $1}
YAML
}

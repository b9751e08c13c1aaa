# shellcheck shell=bash
# Fulcio and a timestamp authority, as processes of the namespace.

# issuer_discovery: Fulcio, like any verifier of service account tokens, reads the issuer's keys without logging in.
issuer_discovery() {
    kubectl create clusterrolebinding assay:issuer-discovery --clusterrole=system:service-account-issuer-discovery \
        --group=system:unauthenticated --dry-run=client -o yaml | kubectl apply --server-side -f - >/dev/null
}

start_sigstore() {
    local folder=$STATE/sigstore
    mkdir -p "$folder"
    [[ -e $folder/complete ]] || sigstore_keys "$folder"
    cat >"$folder/fulcio.json" <<JSON
{"OIDCIssuers": {"$API": {"IssuerURL": "$API", "ClientID": "sigstore", "Type": "kubernetes"}}}
JSON
    # Its HTTP side reaches its gRPC side at localhost, whatever address the latter is told.
    start fulcio env "SSL_CERT_FILE=$PKI/ca.crt" "$SIGSTORE_BIN/fulcio" serve --host "$NODE_IP" --port 5555 \
        --grpc-host 127.0.0.1 --grpc-port 5554 --metrics-port 2113 --config-path "$folder/fulcio.json" --ct-log-url "" \
        --ca fileca --fileca-cert "$folder/fulcio.crt" --fileca-key "$folder/fulcio.key" --fileca-key-passwd assay \
        --fileca-watch=false
    start timestamp-authority "$SIGSTORE_BIN/timestamp-server" serve --host "$NODE_IP" --port 3004 \
        --timestamp-signer file --file-signer-key-path "$folder/timestamp.key" --file-signer-passwd assay \
        --certificate-chain-path "$folder/timestamp-chain.pem" --disable-ntp-monitoring
}

# sigstore_keys FOLDER: an authority for signing certificates, and a chain for time stamps.
sigstore_keys() {
    local folder=$1
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$folder/fulcio.plain"
    openssl req -x509 -key "$folder/fulcio.plain" -days 3650 -subj /O=assay-test/CN=fulcio \
        -addext basicConstraints=critical,CA:TRUE,pathlen:1 -addext keyUsage=critical,keyCertSign,cRLSign \
        -out "$folder/fulcio.crt"
    encrypt_key "$folder/fulcio.plain" "$folder/fulcio.key"

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /O=assay-test/CN=timestamp-root \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$folder/timestamp-root.key" -out "$folder/timestamp-root.crt" 2>/dev/null
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$folder/timestamp.plain"
    openssl req -new -key "$folder/timestamp.plain" -subj /O=assay-test/CN=timestamp |
        openssl x509 -req -CA "$folder/timestamp-root.crt" -CAkey "$folder/timestamp-root.key" -CAcreateserial -days 3650 \
            -extfile <(printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature \
                extendedKeyUsage=critical,timeStamping) -out "$folder/timestamp.crt" 2>/dev/null
    encrypt_key "$folder/timestamp.plain" "$folder/timestamp.key"
    cat "$folder/timestamp.crt" "$folder/timestamp-root.crt" >"$folder/timestamp-chain.pem"
    touch "$folder/complete"
}

encrypt_key() {
    openssl ec -aes256 -passout pass:assay -in "$1" -out "$2" 2>/dev/null
    rm "$1"
}

sigstore_ready() {
    curl -sf -m 2 "http://$NODE_IP:5555/healthz" && curl -sf -m 2 "http://$NODE_IP:3004/ping"
}

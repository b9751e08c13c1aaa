# shellcheck shell=bash disable=SC2154
# Checks of Chains, cosign, Fulcio and the timestamp authority, and the list of all checks.

run_checks() {
    if [[ $ASSAY_CLUSTER_PROFILE == api ]]; then
        check "both registries answer" registries_answer
        check "Tekton's webhook validates and defaults" webhook_refuses_and_defaults
        check "PipelineRun: CustomRun, resolved parameters" custom_run_without_pods
        check "TaskRun ended by hand is signed by Chains" task_run_without_pods
        return
    fi
    check "a pod runs to completion" pod_completes
    check "a memory limit kills" memory_is_limited
    check "names resolve, services are reached" names_and_services
    check "pods cannot leave the machine" no_way_out
    check "images are pulled from both registries" image_is_pulled
    check "an image archive is loaded and runs" archive_is_loaded
    check "one registry has the referrers API" referrers_are_listed
    check "Tekton's webhook validates and defaults" webhook_refuses_and_defaults
    check "TaskRun: script, result, workspace" task_run
    check "PipelineRun: CustomRun, resolved parameters" custom_run
    check "cluster resolver" cluster_resolver
    check "bundle resolver" bundle_resolver
    check "git resolver" git_resolver
    check "GitHub event becomes a PipelineRun" event_listener
    check "Chains signs; real cosign verifies" chains_and_cosign
    check "Chains does not sign with a CustomRun child" chains_skips_custom_runs
    check "Fulcio certifies a service account" fulcio_certificate
    check "the timestamp authority stamps" timestamp
    check "cosign signs keyless, with a time stamp" cosign_keyless
}

chains_and_cosign() {
    local image digest
    image=$ASSAY_REGISTRY/$NAMESPACE/app
    digest=$("$CLUSTER" tool --name "$name" toolbox push -layout "$ASSAY_CLUSTER_IMAGES" -name "$ASSAY_CLUSTER_BUSYBOX" "$image:1")
    digest=${digest##*@}
    create <<YAML
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {name: signed}
spec:
  taskSpec:
    results: [{name: IMAGE_URL}, {name: IMAGE_DIGEST}]
    steps:
    - name: say
      image: $ASSAY_CLUSTER_BUSYBOX
      script: |
        #!/bin/sh
        printf %s '$image' >\$(results.IMAGE_URL.path)
        printf %s '$digest' >\$(results.IMAGE_DIGEST.path)
YAML
    succeeded taskrun/signed
    until_true 60 is_signed taskrun/signed
    expect "Chains' word" true "$(signed_word taskrun/signed)"
    attestation_verifies "$image@$digest" "$ASSAY_CHAINS_KEY" >"$work/attestation.json"
    jq -r .payload "$work/attestation.json" | base64 -d >"$work/statement.json"
    expect predicate https://slsa.dev/provenance/v1 "$(jq -r .predicateType "$work/statement.json")"
    expect subject "${digest#sha256:}" "$(jq -r '.subject[0].digest.sha256' "$work/statement.json")"
    # The check must be able to fail: another key does not verify.
    openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout -out "$work/other.pub"
    if attestation_verifies "$image@$digest" "$work/other.pub"; then
        echo "an attestation verified with a key that did not sign it" >&2
        return 1
    fi
}

attestation_verifies() {
    "$ASSAY_COSIGN" verify-attestation --key "$2" --type slsaprovenance1 --insecure-ignore-tlog --allow-http-registry \
        --new-bundle-format=false "$1"
}

signed_word() {
    kubectl get -n "$NAMESPACE" "$1" -o 'jsonpath={.metadata.annotations.chains\.tekton\.dev/signed}'
}

is_signed() {
    [[ -n $(signed_word "$1") ]]
}

# tektoncd/chains#1210: what Assay's recorded gate works around. When this fails, Chains has changed: good news.
chains_skips_custom_runs() {
    kubectl get pipelinerun -n "$NAMESPACE" custom -o name
    # Chains has seen the run: its TaskRuns, which ended before it, are signed.
    until_true 60 is_signed taskrun/custom-last
    expect "signed" "" "$(signed_word pipelinerun/custom)"
}

service_account_token() {
    kubectl create serviceaccount "$1" -n "$NAMESPACE" >/dev/null
    kubectl create token "$1" -n "$NAMESPACE" --audience sigstore
}

fulcio_certificate() {
    local token subject proof
    token=$(service_account_token signer)
    subject=system:serviceaccount:$NAMESPACE:signer
    openssl ecparam -name prime256v1 -genkey -noout -out "$work/signer.key"
    proof=$(printf %s "$subject" | openssl dgst -sha256 -sign "$work/signer.key" | base64 -w0)
    jq -n --arg token "$token" --arg proof "$proof" --arg key "$(openssl ec -in "$work/signer.key" -pubout 2>/dev/null)" \
        '{credentials: {oidcIdentityToken: $token},
          publicKeyRequest: {publicKey: {algorithm: "ECDSA", content: $key}, proofOfPossession: $proof}}' |
        curl -sS --fail-with-body -m 20 -H 'Content-Type: application/json' --data-binary @- "$ASSAY_FULCIO_URL/api/v2/signingCert" \
            -o "$work/fulcio.json"
    jq -r '(.signedCertificateDetachedSct // .signedCertificateEmbeddedSct).chain.certificates[0]' "$work/fulcio.json" >"$work/signer.crt"
    openssl verify -CAfile "$ASSAY_FULCIO_ROOT" -purpose any "$work/signer.crt"
    openssl x509 -in "$work/signer.crt" -noout -ext subjectAltName |
        grep -qF "URI:https://kubernetes.io/namespaces/$NAMESPACE/serviceaccounts/signer"
}

timestamp() {
    head -c 64 /dev/urandom >"$work/signature"
    openssl ts -query -data "$work/signature" -sha256 -cert -out "$work/query.tsq"
    curl -sS --fail-with-body -m 20 -H 'Content-Type: application/timestamp-query' --data-binary "@$work/query.tsq" \
        "$ASSAY_TIMESTAMP_URL/api/v1/timestamp" -o "$work/reply.tsr"
    openssl ts -verify -data "$work/signature" -in "$work/reply.tsr" -CAfile "$ASSAY_TIMESTAMP_CHAIN"
}

cosign_keyless() {
    local token
    token=$(service_account_token keyless)
    echo artifact >"$work/artifact"
    "$ASSAY_COSIGN" trusted-root create --fulcio="url=$ASSAY_FULCIO_URL,certificate-chain=$ASSAY_FULCIO_ROOT" \
        --tsa="url=$ASSAY_TIMESTAMP_URL,certificate-chain=$ASSAY_TIMESTAMP_CHAIN" --out "$work/trusted-root.json"
    "$ASSAY_COSIGN" sign-blob --yes --use-signing-config=false --identity-token "$token" --fulcio-url "$ASSAY_FULCIO_URL" \
        --timestamp-server-url "$ASSAY_TIMESTAMP_URL/api/v1/timestamp" --tlog-upload=false --new-bundle-format \
        --trusted-root "$work/trusted-root.json" --bundle "$work/artifact.sigstore.json" "$work/artifact"
    "$ASSAY_COSIGN" verify-blob --new-bundle-format --trusted-root "$work/trusted-root.json" --use-signed-timestamps \
        --insecure-ignore-tlog --insecure-ignore-sct --bundle "$work/artifact.sigstore.json" \
        --certificate-oidc-issuer "$ASSAY_CLUSTER_ISSUER" \
        --certificate-identity "https://kubernetes.io/namespaces/$NAMESPACE/serviceaccounts/keyless" "$work/artifact"
}

# shellcheck shell=bash disable=SC2154
# Checks of the cluster itself: pods, services, names, two registries. What Tekton, Chains and Sigstore do on it is
# tested by the suites of tests/cluster.

run_checks() {
    check "both registries answer" registries_answer
    [[ $ASSAY_CLUSTER_PROFILE == full ]] || return 0
    check "a pod runs to completion" pod_completes
    check "a memory limit kills" memory_is_limited
    check "names resolve, services are reached" names_and_services
    check "pods cannot leave the machine" no_way_out
    check "images are pulled from both registries" image_is_pulled
    check "one registry has the referrers API" referrers_are_listed
    check "an image archive is loaded and runs" archive_is_loaded
}

pod_completes() {
    create <<YAML
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: $ASSAY_CLUSTER_BUSYBOX
    command: [sh, -c, "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; echo done"]
    resources: {limits: {memory: 32Mi}}
    securityContext: {runAsNonRoot: true, runAsUser: 65532, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false,
      capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
YAML
    until_true 60 phase plain Succeeded
    expect "the pod's log" "$(printf '%s\ndone' "$NAMESPACE")" "$(kubectl logs -n "$NAMESPACE" plain)"
}

phase() {
    [[ $(kubectl get pod -n "$NAMESPACE" "$1" -o 'jsonpath={.status.phase}') == "$2" ]]
}

memory_is_limited() {
    create <<YAML
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: $ASSAY_CLUSTER_BUSYBOX, command: [sh, -c, "tail /dev/zero"], resources: {limits: {memory: 32Mi}}}
YAML
    until_true 60 phase greedy Failed
    expect reason OOMKilled "$(kubectl get pod -n "$NAMESPACE" greedy \
        -o 'jsonpath={.status.containerStatuses[0].state.terminated.reason}')"
}

names_and_services() {
    create <<YAML
apiVersion: v1
kind: Pod
metadata: {name: names}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: $ASSAY_CLUSTER_BUSYBOX
    command: [sh, -c, "nslookup kubernetes.default.svc.cluster.local && nc -w 5 kubernetes.default 443 </dev/null && echo reached"]
YAML
    until_true 60 phase names Succeeded
    kubectl logs -n "$NAMESPACE" names | grep -qx reached
}

# Refused by the network at once, not just unanswered: nobody would answer at this address anyway.
no_way_out() {
    create <<YAML
apiVersion: v1
kind: Pod
metadata: {name: outside}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: $ASSAY_CLUSTER_BUSYBOX, command: [sh, -c, "! nc -w 20 192.0.2.1 80 </dev/null"]}
YAML
    until_true 60 phase outside Succeeded
    kubectl logs -n "$NAMESPACE" outside
    kubectl logs -n "$NAMESPACE" outside | grep -qiE 'unreachable|no route'
}

# An image pushed to each registry is pulled from there by its digest.
image_is_pulled() {
    local registry reference pod
    for registry in "$ASSAY_REGISTRY" "$ASSAY_REFERRERS_REGISTRY"; do
        reference=$("$CLUSTER" tool --name "$name" toolbox push -layout "$ASSAY_CLUSTER_IMAGES" \
            -name "$ASSAY_CLUSTER_BUSYBOX" "$registry/$NAMESPACE/busybox:1")
        pod=pulled-${registry##*:}
        create <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $pod}
spec:
  restartPolicy: Never
  containers: [{name: main, image: "$reference", imagePullPolicy: Always, command: ["true"]}]
YAML
        until_true 60 phase "$pod" Succeeded
    done
}

# An archive with one image under a name of its own, cut out of the cluster's images.
archive_is_loaded() {
    local layout=$work/loaded manifest blob
    mkdir -p "$layout/blobs/sha256"
    cp "$ASSAY_CLUSTER_IMAGES/oci-layout" "$layout/"
    jq --arg from "$ASSAY_CLUSTER_BUSYBOX" --arg to "localhost/$NAMESPACE/loaded:1" '
        .manifests |= [.[] | select(.annotations."io.containerd.image.name" == $from)
            | .annotations = {"io.containerd.image.name": $to}]' "$ASSAY_CLUSTER_IMAGES/index.json" >"$layout/index.json"
    manifest=$(jq -r '.manifests[0].digest' "$layout/index.json")
    for blob in "$manifest" $(jq -r '.config.digest, .layers[].digest' "$ASSAY_CLUSTER_IMAGES/blobs/${manifest/://}"); do
        cp "$ASSAY_CLUSTER_IMAGES/blobs/${blob/://}" "$layout/blobs/sha256/"
    done
    tar -C "$layout" -cf "$work/loaded.tar" oci-layout index.json blobs
    "$CLUSTER" load --name "$name" "$work/loaded.tar"
    create <<YAML
apiVersion: v1
kind: Pod
metadata: {name: loaded}
spec:
  restartPolicy: Never
  containers: [{name: main, image: "localhost/$NAMESPACE/loaded:1", command: ["true"]}]
YAML
    until_true 60 phase loaded Succeeded
    # Chains reads digests from the names of images, and an imported image has none of its own.
    kubectl get pod -n "$NAMESPACE" loaded -o 'jsonpath={.status.containerStatuses[0].imageID}' | grep -q '@sha256:'
}

referrers_are_listed() {
    local type
    type=$(curl -sf -o /dev/null -w '%{http_code} %{content_type}' \
        "http://$ASSAY_REFERRERS_REGISTRY/v2/$NAMESPACE/busybox/referrers/sha256:$(printf %064d 0)")
    expect "answer of the referrers API" "200 application/vnd.oci.image.index.v1+json" "$type"
    expect "answer of docker-registry" 404 "$(curl -s -o /dev/null -w '%{http_code}' \
        "http://$ASSAY_REGISTRY/v2/$NAMESPACE/busybox/referrers/sha256:$(printf %064d 0)")"
}

registries_answer() {
    local registry
    for registry in "$ASSAY_REGISTRY" "$ASSAY_REFERRERS_REGISTRY"; do
        curl -sf -m 5 "http://$registry/v2/"
    done
}

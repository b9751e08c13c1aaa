# shellcheck shell=bash disable=SC2154
# Checks of Tekton Pipelines and Triggers.

webhook_refuses_and_defaults() {
    if create <<'YAML'
apiVersion: tekton.dev/v1
kind: Task
metadata: {name: broken}
spec: {steps: []}
YAML
    then
        echo "a Task without steps was accepted" >&2
        return 1
    fi
    create <<'YAML'
apiVersion: tekton.dev/v1
kind: Task
metadata: {name: defaults}
spec: {params: [{name: p}], steps: [{name: s, image: i, command: [c]}]}
YAML
    expect "type set by the webhook" string "$(kubectl get task -n "$NAMESPACE" defaults -o 'jsonpath={.spec.params[0].type}')"
}

task_run() {
    create <<YAML
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {name: script}
spec:
  workspaces: [{name: shared, emptyDir: {}}]
  taskSpec:
    workspaces: [{name: shared}]
    results: [{name: sum}]
    steps:
    - {name: write, image: $ASSAY_CLUSTER_BUSYBOX, script: "#!/bin/sh\necho 20 >\$(workspaces.shared.path)/n\n"}
    - name: read
      image: $ASSAY_CLUSTER_BUSYBOX
      script: |
        #!/bin/sh
        set -e
        printf %s \$((\$(cat \$(workspaces.shared.path)/n) + 22)) >\$(results.sum.path)
YAML
    succeeded taskrun/script
    expect result 42 "$(kubectl get taskrun -n "$NAMESPACE" script -o 'jsonpath={.status.results[0].value}')"
}

# A controller of a custom task is played by patching status, as that controller would.
custom_run() {
    create <<YAML
apiVersion: tekton.dev/v1
kind: PipelineRun
metadata: {name: custom}
spec:
  params: [{name: word, value: hello}]
  pipelineSpec:
    params: [{name: word}]
    tasks:
    - name: first
      taskSpec:
        results: [{name: said}]
        steps: [{name: say, image: $ASSAY_CLUSTER_BUSYBOX, script: "#!/bin/sh\nprintf world >\$(results.said.path)\n"}]
    - name: gate
      taskRef: {apiVersion: check.assay.dev/v1, kind: Played, name: any}
      params: [{name: text, value: "\$(params.word) \$(tasks.first.results.said)"}]
    - name: last
      params: [{name: verdict, value: "\$(tasks.gate.results.verdict)"}]
      taskSpec:
        params: [{name: verdict}]
        steps: [{name: test, image: $ASSAY_CLUSTER_BUSYBOX, script: "#!/bin/sh\n[ '\$(params.verdict)' = fine ]\n"}]
YAML
    until_true 60 kubectl get customrun -n "$NAMESPACE" custom-gate -o name
    expect "resolved parameter" "hello world" \
        "$(kubectl get customrun -n "$NAMESPACE" custom-gate -o 'jsonpath={.spec.params[0].value}')"
    end_custom_run custom-gate
    succeeded pipelinerun/custom
}

# end_custom_run NAME: what its controller does when it is done.
end_custom_run() {
    kubectl patch customrun -n "$NAMESPACE" "$1" --subresource status --type merge -p '{"status": {
        "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "results": [{"name": "verdict", "value": "fine"}]}}'
}

# Without a node: the run of a custom task alone, from creation to the end of its PipelineRun.
custom_run_without_pods() {
    create <<'YAML'
apiVersion: tekton.dev/v1
kind: PipelineRun
metadata: {name: alone}
spec:
  params: [{name: word, value: hello}]
  pipelineSpec:
    params: [{name: word}]
    tasks:
    - name: gate
      taskRef: {apiVersion: check.assay.dev/v1, kind: Played, name: any}
      params: [{name: text, value: "$(params.word) world"}]
YAML
    until_true 60 kubectl get customrun -n "$NAMESPACE" alone-gate -o name
    expect "resolved parameter" "hello world" \
        "$(kubectl get customrun -n "$NAMESPACE" alone-gate -o 'jsonpath={.spec.params[0].value}')"
    end_custom_run alone-gate
    succeeded pipelinerun/alone
}

# The pod of a TaskRun, which no node takes, is ended by hand: results come from its containers' termination messages.
task_run_without_pods() {
    create <<'YAML'
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {name: played}
spec: {taskSpec: {results: [{name: sum}], steps: [{name: s, image: "any:1", command: [any]}]}}
YAML
    until_true 60 kubectl get pod -n "$NAMESPACE" played-pod -o name
    local now message
    now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    message=$(jq -cn '[{key: "sum", value: "42", type: 1}]')
    jq -n --arg now "$now" --arg message "$message" '{status: {phase: "Succeeded", containerStatuses: [{
        name: "step-s", image: "any:1", imageID: ("any@sha256:" + ("0" * 64)), ready: false, restartCount: 0,
        state: {terminated: {exitCode: 0, reason: "Completed", startedAt: $now, finishedAt: $now, message: $message}}}]}}' >"$work/status.json"
    kubectl patch pod -n "$NAMESPACE" played-pod --subresource status --type merge --patch-file "$work/status.json"
    succeeded taskrun/played
    expect result 42 "$(kubectl get taskrun -n "$NAMESPACE" played -o 'jsonpath={.status.results[0].value}')"
    until_true 60 is_signed taskrun/played
    expect "Chains' word" true "$(signed_word taskrun/played)"
}

resolved_task() {
    cat <<YAML
apiVersion: tekton.dev/v1
kind: Task
metadata: {name: remote}
spec:
  results: [{name: from}]
  steps: [{name: say, image: $ASSAY_CLUSTER_BUSYBOX, script: "#!/bin/sh\nprintf $1 >\$(results.from.path)\n"}]
YAML
}

# run_resolved NAME RESOLVER PARAMETERS: the Task comes from elsewhere, runs, and its source is recorded.
run_resolved() {
    create <<YAML
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {name: $1}
spec: {taskRef: {resolver: $2, params: $3}}
YAML
    succeeded "taskrun/$1"
    expect "where the Task came from" "$2" "$(kubectl get taskrun -n "$NAMESPACE" "$1" -o 'jsonpath={.status.results[0].value}')"
    kubectl get taskrun -n "$NAMESPACE" "$1" -o 'jsonpath={.status.provenance.refSource.digest}' | grep -q '[0-9a-f]'
}

cluster_resolver() {
    resolved_task cluster | create
    run_resolved by-cluster cluster "[{name: kind, value: task}, {name: name, value: remote}, {name: namespace, value: $NAMESPACE}]"
}

bundle_resolver() {
    local reference
    resolved_task bundles >"$work/bundle.yaml"
    reference=$("$CLUSTER" tool --name "$name" toolbox bundle "$ASSAY_REGISTRY/$NAMESPACE/bundle:1" task/remote="$work/bundle.yaml")
    run_resolved by-bundle bundles "[{name: bundle, value: \"$reference\"}, {name: kind, value: task}, {name: name, value: remote}]"
}

git_resolver() {
    local repository=$work/repository commit
    git init -q -b main "$repository"
    resolved_task git >"$repository/task.yaml"
    git -C "$repository" add task.yaml
    git -C "$repository" -c user.name=check -c user.email=check@example.com commit -qm "A Task"
    commit=$(git -C "$repository" rev-parse HEAD)
    git init -q --bare "$ASSAY_GIT_FOLDER/$NAMESPACE.git"
    git -C "$repository" push -q "$ASSAY_GIT_URL/$NAMESPACE.git" main
    run_resolved by-git git "[{name: url, value: \"$ASSAY_GIT_URL/$NAMESPACE.git\"}, {name: revision, value: $commit}, {name: pathInRepo, value: task.yaml}]"
    expect "recorded commit" "$commit" \
        "$(kubectl get taskrun -n "$NAMESPACE" by-git -o 'jsonpath={.status.provenance.refSource.digest.sha1}')"
}

# A push event in GitHub's shape, signed as GitHub signs it, becomes a PipelineRun; with another signature it does not.
event_listener() {
    local role=tekton-triggers-eventlistener-roles body signature address
    create <<YAML
apiVersion: v1
kind: ServiceAccount
metadata: {name: listener}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: listener}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: $role}
subjects: [{kind: ServiceAccount, name: listener, namespace: $NAMESPACE}]
---
apiVersion: v1
kind: Secret
metadata: {name: hook}
stringData: {token: shared-secret}
---
apiVersion: triggers.tekton.dev/v1beta1
kind: TriggerTemplate
metadata: {name: build}
spec:
  params: [{name: commit}]
  resourcetemplates:
  - apiVersion: tekton.dev/v1
    kind: PipelineRun
    metadata: {generateName: triggered-}
    spec:
      params: [{name: commit, value: \$(tt.params.commit)}]
      pipelineSpec:
        params: [{name: commit}]
        tasks: [{name: one, taskSpec: {steps: [{name: s, image: $ASSAY_CLUSTER_BUSYBOX, command: ["true"]}]}}]
---
apiVersion: triggers.tekton.dev/v1beta1
kind: EventListener
metadata: {name: github}
spec:
  serviceAccountName: listener
  triggers:
  - name: push
    interceptors:
    - ref: {name: github}
      params: [{name: secretRef, value: {secretName: hook, secretKey: token}}, {name: eventTypes, value: [push]}]
    - ref: {name: cel}
      params: [{name: filter, value: "body.ref == 'refs/heads/main'"}]
    bindings: [{name: commit, value: \$(body.after)}]
    template: {ref: build}
YAML
    kubectl create clusterrolebinding "$NAMESPACE" --clusterrole=tekton-triggers-eventlistener-clusterroles \
        --serviceaccount="$NAMESPACE:listener"
    until_true 90 kubectl wait deployment el-github -n "$NAMESPACE" --for condition=Available --timeout=1s
    address=$(kubectl get service el-github -n "$NAMESPACE" -o 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}')
    body='{"ref":"refs/heads/main","after":"1234567890123456789012345678901234567890","repository":{"clone_url":"http://example.invalid/r.git"}}'
    signature=$(printf %s "$body" | openssl dgst -sha256 -hmac shared-secret -hex | sed 's/.* //')
    post_event "$address" "$body" "$(printf %064d 0)"
    until_true 60 post_event "$address" "$body" "$signature"
    until_true 60 triggered
    kubectl delete clusterrolebinding "$NAMESPACE"
    succeeded "$(kubectl get pipelinerun -n "$NAMESPACE" -l triggers.tekton.dev/trigger=push -o name | sed 's/\.tekton\.dev//')"
    # The forged event came first and would have been answered by now.
    expect "PipelineRuns made" 1 "$(kubectl get pipelinerun -n "$NAMESPACE" -l triggers.tekton.dev/trigger=push -o name | wc -l)"
}

# Service addresses exist in the cluster's network only.
post_event() {
    "$CLUSTER" tool --name "$name" curl -sf -m 10 -H 'Content-Type: application/json' -H 'X-GitHub-Event: push' \
        -H "X-Hub-Signature-256: sha256=$3" --data-binary "$2" "http://$1/"
}

triggered() {
    [[ $(kubectl get pipelinerun -n "$NAMESPACE" -l triggers.tekton.dev/trigger=push \
        -o 'jsonpath={.items[0].spec.params[0].value}' 2>/dev/null) == 1234567890* ]]
}

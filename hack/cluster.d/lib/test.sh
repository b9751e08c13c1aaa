# shellcheck shell=bash
# The Rust suites of tests/cluster on a running cluster, and whether one can run at all.

# cluster_possible: what `up` will need, tried where that is cheap.
cluster_possible() {
    if [[ -n ${KUBECONFIG:-} && $KUBECONFIG != "$KUBECONFIG_FILE" ]]; then
        existing_cluster
        return
    fi
    require_root_linux
    command -v go >/dev/null || die "Go is needed to build the cluster's programs"
    unshare --net --mount true 2>/dev/null || die "network and mount namespaces cannot be made on this machine"
    [[ -w /proc/sys/net/ipv4/ip_forward || -w /sys/fs/cgroup ]] || die "/proc/sys and /sys/fs/cgroup are read-only here"
}

# cluster_test [NEXTEST ARGUMENTS...]
cluster_test() {
    local profile=cluster began=$SECONDS status=0 settings reports
    if [[ -z ${KUBECONFIG:-} || $KUBECONFIG == "$KUBECONFIG_FILE" ]]; then
        need_running
        settings=$(cluster_env)
        eval "$settings"
    fi
    # The suites of triggers and of nodes: in tier `all`, and for whoever names one of them.
    if [[ ${ASSAY_TIER:-} == all || " $* " == *binary\(trigger\)* || " $* " == *binary\(api_nodes\)* || " $* " == *--test\ trigger* || " $* " == *--test\ api_nodes* ]]; then
        profile=cluster-all
    elif [[ ${ASSAY_TIER:-} == ci ]]; then
        say "tier ci leaves two suites to tier all: trigger and api_nodes"
    fi
    if [[ ${ASSAY_CLUSTER_PROFILE:-full} == api ]]; then
        profile=cluster-api
        say "profile 'api' has no node: only suites that begin with 'api' run; these do not:"
        list_tests cluster | grep -v '::api' >&2 || true
    fi
    if [[ -z ${ASSAY_BIN:-} ]]; then
        # Suites start `assay` and the steps' programs, and put the latter into images.
        cargo build --locked --quiet --manifest-path "$ROOT/Cargo.toml" --workspace --bins --examples
        ASSAY_BIN=$(cargo metadata --no-deps --format-version 1 --manifest-path "$ROOT/Cargo.toml" | jq -r .target_directory)/debug/assay
        export ASSAY_BIN
    fi
    # Suites use our own kinds; a controller of theirs watches their namespace.
    "${ASSAY_CLUSTER_KUBECTL:-kubectl}" apply --server-side --force-conflicts -f "$ROOT/controller/deploy/crds" >/dev/null
    reports=$(mktemp -d)
    ASSAY_CLUSTER_REPORT=$reports suites run --profile "$profile" "$@" || status=$?
    time_spent "$reports" $((SECONDS - began))
    rm -rf "$reports"
    return $status
}

# suites NEXTEST-COMMAND ARGUMENTS...: with the whole workspace chosen, dependencies have the features that every other
# build of it gives them; with `-p` cargo would build most of them once more.
suites() {
    local command=$1 suite targets=()
    shift
    for suite in "$ROOT"/tests/cluster/tests/*; do
        suite=$(basename "$suite" .rs)
        targets+=(--test "$suite")
    done
    cargo nextest "$command" --locked --cargo-quiet --manifest-path "$ROOT/Cargo.toml" --workspace "${targets[@]}" "$@"
}

# list_tests PROFILE: the tests it would run, one a line.
list_tests() {
    suites list --profile "$1" --message-format oneline 2>/dev/null
}

# time_spent FOLDER SECONDS: what the tests waited for, from the reports that each of them left.
time_spent() {
    local reports=("$1"/*.json)
    [[ -e ${reports[0]} ]] || return 0
    jq -rs --arg wall "$2" '
        def kind: if startswith("run ") then "programs" elif . == "create" then "creating objects" elif . == "collect" then "collecting failures"
            elif test(" ends$") then "runs and pods to end" elif test("signed by Chains") then "Chains to sign"
            elif test(" exists$") then "objects to exist" else "other conditions" end;
        "\(length) tests, \(map(.seconds) | add | round) s of tests in \($wall) s; they waited for:",
        (map(.spans[]) | group_by(.what | kind) | map({what: (.[0].what | kind), seconds: (map(.seconds) | add), count: length})
            | sort_by(-.seconds)[] | "  \(.seconds | . * 10 | round / 10) s  \(.what) (\(.count))"),
        "the longest tests:",
        (sort_by(-.seconds)[:5][] | "  \(.seconds | . * 10 | round / 10) s  \(.test): " +
            ([.spans | sort_by(-.seconds)[:3][] | "\(.what) \(.seconds | . * 10 | round / 10)"] | join(", ")))' "${reports[@]}" >&2
}

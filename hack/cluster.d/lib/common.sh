# shellcheck shell=bash
# Where everything lives, and the few helpers that every other file uses.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
NAME=${NAME:-default}
PROFILE=${PROFILE:-}
CACHE=${ASSAY_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/assay}/cluster
STATE_ROOT=${XDG_STATE_HOME:-$HOME/.local/state}/assay/cluster
RUN_ROOT=/run/assay-cluster
NETWORK=${ASSAY_CLUSTER_NETWORK:-10.87.0} # the /24 that joins the machine (.1) and its clusters (.10 and up)
SERVICES=10.96
PODS=10.88.0
BRIDGE=assay-bridge
STARTED_AT=$(date +%s%N)

# select_cluster NAME: all paths of one cluster. The folder under /run keeps socket paths short enough for the kernel.
select_cluster() {
    NAME=$1
    [[ $NAME =~ ^[a-z]([a-z0-9-]{0,20}[a-z0-9])?$ ]] || die "not a cluster name: '$NAME' (a-z, 0-9 and -, at most 22)"
    STATE=$STATE_ROOT/$NAME
    RUN=$RUN_ROOT/$NAME
    NETNS=assay-$NAME
    CGROUP=assay-$NAME
    KUBECONFIG_FILE=$STATE/admin.kubeconfig
    [[ -e $STATE/index ]] && set_addresses "$(<"$STATE/index")"
    if [[ -z $PROFILE && -e $STATE/profile ]]; then PROFILE=$(<"$STATE/profile"); fi
    return 0
}

set_addresses() {
    INDEX=$1
    NODE_IP=$NETWORK.$((INDEX + 10))
    API=https://$NODE_IP:6443
    REGISTRY=$NODE_IP:5000
    REFERRERS_REGISTRY=$NODE_IP:5001
}

# say writes a line with the time since the command began, so that every start is also a measurement.
say() {
    local tenths=$((($(date +%s%N) - STARTED_AT) / 100000000))
    printf '[%3d.%d s] %s\n' $((tenths / 10)) $((tenths % 10)) "$*" >&2
}

die() {
    printf 'hack/cluster: %s\n' "$*" >&2
    exit 1
}

# wait_until SECONDS WHAT COMMAND...: tries COMMAND until it succeeds.
wait_until() {
    local limit=$1 what=$2 deadline
    shift 2
    deadline=$(($(date +%s) + limit))
    until "$@" >/dev/null 2>&1; do
        (($(date +%s) < deadline)) || die "not within $limit s: $what (logs: $STATE/logs)"
        sleep 0.1
    done
}

# write_file PATH: standard input becomes the file, touched only when it differs: kube-proxy ends when its file is written.
write_file() {
    cat >"$1.new"
    if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

kubectl() {
    "$KUBE_BIN/kubectl" --kubeconfig "$KUBECONFIG_FILE" "$@"
}

# inside COMMAND...: runs COMMAND in the cluster's network. Not `ip netns exec`, which mounts a new /sys over the cgroups.
inside() {
    nsenter --net="/run/netns/$NETNS" -- "$@"
}

# lock_machine: addresses and the bridge belong to all clusters of the machine, so one command at a time changes them.
lock_machine() {
    mkdir -p "$RUN_ROOT"
    exec 9>"$RUN_ROOT/lock"
    flock -w 600 9 || die "another hack/cluster has held $RUN_ROOT/lock for ten minutes"
}

require_root_linux() {
    [[ $(uname -s) == Linux ]] || die "this machine is not Linux: use 'up --kind', or set KUBECONFIG to a cluster you have"
    [[ $EUID == 0 ]] || die "root is needed for namespaces, mounts and cgroups: use sudo, 'up --kind', or set KUBECONFIG"
    local missing=() program
    for program in ip nft nsenter unshare setsid openssl jq curl flock pkill dpkg-deb conntrack "$@"; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    ((${#missing[@]} == 0)) ||
        die "missing: ${missing[*]} (Debian: apt-get install iproute2 nftables util-linux procps openssl jq curl conntrack)"
}

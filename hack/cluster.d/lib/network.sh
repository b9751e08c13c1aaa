# shellcheck shell=bash
# A network namespace per cluster, without a default route: nothing in it can leave the machine.
# A bridge joins the machine and its clusters, so that the machine's kubectl, and a second cluster, reach the first.

network_up() {
    local host_link=assay-$INDEX
    if ! ip link show "$BRIDGE" >/dev/null 2>&1; then
        ip link add "$BRIDGE" type bridge
        ip address add "$NETWORK.1/24" dev "$BRIDGE"
    fi
    ip link set "$BRIDGE" up
    if [[ ! -e /run/netns/$NETNS ]]; then
        ip netns add "$NETNS"
    fi
    if ! inside ip link show eth0 >/dev/null 2>&1; then
        ip link delete "$host_link" 2>/dev/null || true
        # The same address on the link each time: neighbours remember it for a minute, also when the cluster was made anew.
        ip link add "$host_link" type veth peer name eth0 address "$(printf '0a:58:%02x:%02x:%02x:%02x' ${NODE_IP//./ })" netns "$NETNS"
        ip link set "$host_link" master "$BRIDGE" up
        inside ip address add "$NODE_IP/24" dev eth0
    fi
    ip link set "$host_link" up
    inside ip link set lo up
    inside ip link set eth0 up
    # Service addresses exist only as rules; without a route the kernel refuses them before a rule is asked.
    inside ip route replace "$SERVICES.0.0/16" dev eth0
    # These settings belong to the namespace, not to the machine.
    inside sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward
        for key in /proc/sys/net/bridge/bridge-nf-call-iptables; do [ ! -e $key ] || echo 1 >$key; done'
    # Pods reach the machine and other clusters under the node's address, the only one that those know.
    inside nft -f - <<NFT
table ip assay
delete table ip assay
table ip assay {
    chain postrouting {
        type nat hook postrouting priority 110; policy accept;
        ip saddr $PODS.0/24 oifname "eth0" ip daddr $NETWORK.0/24 masquerade
    }
}
NFT
}

# network_down: the namespace takes its links, addresses and firewall rules with it; the bridge goes with the last cluster.
network_down() {
    [[ -z ${INDEX:-} ]] || ip link delete "assay-$INDEX" 2>/dev/null || true
    ip netns delete "$NETNS" 2>/dev/null || true
    local others
    others=$(ip netns list | awk '$1 ~ /^assay-/' | wc -l)
    if ((others == 0)); then
        ip link delete "$BRIDGE" 2>/dev/null || true
    fi
}

# allocate_index: the lowest number that no other cluster's state holds.
allocate_index() {
    local index=0
    while grep -qsx "$index" "$STATE_ROOT"/*/index; do index=$((index + 1)); done
    ((index < 100)) || die "a hundred clusters on one machine are enough"
    echo "$index"
}

# Two network namespaces that are joined by a pair of interfaces, as two machines by a cable. To be sourced by a test; the
# namespaces go when it ends.
#   make_namespaces      ${namespaces[0]} with the address ${addresses[0]}, ${namespaces[1]} with ${addresses[1]}
#   in_namespace N COMMAND…    runs a command in one of them
namespaces=("relora$$a" "relora$$b")
addresses=(10.231.7.1 10.231.7.2)
addresses_of_ipv6=(fd00:231:7::1 fd00:231:7::2)

skip() { echo "skipped: $1"; exit 77; }
remove_namespaces() {
    for name in "${namespaces[@]}"; do ip netns delete "$name" 2>/dev/null || true; done
}
make_namespaces() {
    command -v ip >/dev/null || skip 'there is no command ip (package iproute2)'
    local n said
    trap remove_namespaces EXIT
    for n in 0 1; do
        said=$(ip netns add "${namespaces[n]}" 2>&1) || skip "network namespaces are not allowed here: $said"
    done
    said=$(ip -n "${namespaces[0]}" link add veth0 type veth peer name veth0 netns "${namespaces[1]}" 2>&1) ||
        skip "interfaces between namespaces are not allowed here: $said"
    for n in 0 1; do
        ip -n "${namespaces[n]}" address add "${addresses[n]}/24" dev veth0
        ip -n "${namespaces[n]}" address add "${addresses_of_ipv6[n]}/64" dev veth0 nodad 2>/dev/null || true
        ip -n "${namespaces[n]}" link set lo up
        ip -n "${namespaces[n]}" link set veth0 up
    done
}
in_namespace() {
    local name=${namespaces[$1]}
    shift
    ip netns exec "$name" "$@"
}

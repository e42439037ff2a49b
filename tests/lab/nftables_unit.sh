#!/usr/bin/env bash
# Follows the section on nftables of the manual of Proxmox VE, on a lab machine with systemd: nftables_unit.sh DIRECTORY
#
# DIRECTORY has the programs. Guests are network namespaces; a guest that was started before the switch is connected by a firewall
# bridge, one that was restarted after it by its own device. Meanwhile a host outside sends packets that the rules of either
# backend drop.
set -euo pipefail
source tests/lab/unit_checks.sh
units=(pve-firewall proxmox-firewall pvefw-logger)
program=/usr/libexec/proxmox/proxmox-firewall
tree=$(mktemp -d)
cp -r tests/conformance/cases/defaults-vm-ct/pve/. "$tree"
host=nodes/n1/host.fw
echo '[OPTIONS]' >"$tree/$host"
# an address for each guest, and what every guest accepts: ping, and TCP port 80
for vmid in 100 200; do
    printf '[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80\nIN Ping(ACCEPT)\n' >"$tree/firewall/$vmid.fw"
done
printf '[OPTIONS]\nenable: 1\n[RULES]\nIN Ping(ACCEPT)\n' >"$tree/firewall/cluster.fw"

# --- the node, its guests, and a host outside
node=10.0.200.9 outside=10.0.200.8
declare -A device=([100]=tap100i0 [200]=veth200i0) address=([100]=10.0.200.100 [200]=10.0.200.1)
declare -A mac=([100]=BC:24:11:10:20:30 [200]=BC:24:11:AA:BB:CC)
# peer NAME DEVICE ADDRESS: a namespace whose eth0 is connected with a device of the node
peer() {
    ip netns add "$1"
    ip link add "$2" type veth peer name eth0 netns "$1"
    [[ -z ${4:-} ]] || ip -n "$1" link set eth0 address "$4"
    ip -n "$1" address add "$3/24" dev eth0
    ip -n "$1" link set lo up
    ip -n "$1" link set eth0 up
    ip link set "$2" up
}
# firewall_bridge VMID: connects a guest as for iptables
firewall_bridge() {
    ip link add "fwbr$1i0" up type bridge
    ip link add "fwln$1i0" up master "fwbr$1i0" type veth peer name "fwpr$1p0"
    ip link set "fwpr$1p0" up master vmbr0
    ip link set "${device[$1]}" master "fwbr$1i0"
}
# without_firewall_bridge VMID: connects a guest as when it is started while nftables is selected
without_firewall_bridge() {
    ip link set "${device[$1]}" master vmbr0
    ip link delete "fwpr$1p0"
    ip link delete "fwbr$1i0"
}
ip link add vmbr0 up type bridge
ip address add "$node/24" dev vmbr0
peer outside eno1 $outside
ip link set eno1 master vmbr0
for vmid in 100 200; do
    peer "guest$vmid" "${device[$vmid]}" "${address[$vmid]}" "${mac[$vmid]}"
    firewall_bridge $vmid
done

# --- packets
# TCP ports 80 and 81 of the guests and of the node are open: opens FROM ADDRESS PORT
opens() { ip netns exec "$1" timeout 2 bash -c "echo >/dev/tcp/$2/$3" 2>/dev/null; }
listeners=()
for place in '' 'ip netns exec guest100' 'ip netns exec guest200'; do
    $place python3 -c 'import socket, time
sockets = [socket.create_server(("", port)) for port in (80, 81)]
time.sleep(3600)' &
    listeners+=($!)
done
# expect opens|dropped FROM ADDRESS PORT: records it if the packet does something else
expect() {
    local result=dropped
    if opens "$2" "$3" "$4"; then result=opens; fi
    [[ $result == "$1" ]] || echo "$2 to $3 port $4: $result" >>/tmp/wrong
}
filtered() {
    local vmid probes=()
    : >/tmp/wrong
    for vmid in 100 200; do
        expect opens outside "${address[$vmid]}" 80 & probes+=($!)
        expect dropped outside "${address[$vmid]}" 81 & probes+=($!)
    done
    expect opens guest100 "${address[200]}" 80 & probes+=($!)
    expect dropped guest100 "${address[200]}" 81 & probes+=($!)
    expect dropped outside $node 81 & probes+=($!)
    wait "${probes[@]}"
    [[ ! -s /tmp/wrong ]] || fail "$1: $(cat /tmp/wrong)"
}
# UDP packets to port 9 of the node and of both guests, all the time
ip netns exec outside python3 - $node "${address[100]}" "${address[200]}" <<'PYTHON' &
import socket, sys, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    for address in sys.argv[1:]:
        try: out.sendto(b'x', (address, 9))
        except OSError: pass  # an ICMP error
    time.sleep(0.005)
PYTHON
stream=$!
trap 'kill $stream "${listeners[@]}"' EXIT
# the table of an administrator, with a counter of the packets that reach the node behind all its filters; guests count too
admin='table inet admin { counter passed { }; chain input { type filter hook input priority 100; policy accept; udp dport 9 counter name passed; }; }'
for place in '' 'ip netns exec guest100' 'ip netns exec guest200'; do $place nft "$admin"; done
admin_table() { nft -s list table inet admin; }
admin=$(admin_table)
arrived() {
    for place in '' 'ip netns exec guest100' 'ip netns exec guest200'; do
        $place nft list counter inet admin passed | sed -n 's/.*packets \([0-9]*\) .*/\1/p'
    done
}
all_arrive() { [[ $(arrived | grep -cv '^0$') == 3 ]]; }
reset_counters() {
    for place in '' 'ip netns exec guest100' 'ip netns exec guest200'; do
        $place nft reset counter inet admin passed >/dev/null
    done
}
none_arrived() { [[ $(arrived | grep -c '^0$') == 3 ]] || fail "$1: packets passed that both backends drop: $(arrived | xargs)"; }

# --- rules of each backend
tables() { nft list tables | grep -c 'table inet proxmox-firewall$\|table bridge proxmox-firewall-guests$' || true; }
chains() { { iptables-legacy-save && ip6tables-legacy-save && ebtables-legacy-save; } | grep -c PVEFW || true; }
only_nftables() { [[ $(tables) == 2 && $(chains) == 0 ]]; }
only_iptables() { [[ $(tables) == 0 && $(chains) != 0 ]]; }
no_rules() { [[ $(tables) == 0 && $(chains) == 0 ]]; }
status_shows() { systemctl status --no-pager --lines 0 "$1" >/tmp/status && grep -qF "Status: \"$2\"" /tmp/status; }

began=$SECONDS
step() { echo "$((SECONDS - began)) s: $*"; }
wait_for 'packets that arrive without a firewall' all_arrive
echo "$node n1" >>/etc/hosts
install_node "$1" "$tree"
systemctl start pve-firewall proxmox-firewall
wait_for 'the rules of iptables' only_iptables
status_shows pve-firewall 'enabled, rules for the node and 2 guests with 2 devices' || fail "$(cat /tmp/status)"
status_shows proxmox-firewall 'without rules: host.fw selects pve-firewall' || fail "$(cat /tmp/status)"
reset_counters
filtered 'with iptables'

step 'nftables: 1'
echo 'nftables: 1' >>/etc/pve/$host
wait_for 'the rules of nftables only' only_nftables
systemctl is-active proxmox-firewall
wait_for 'the status of proxmox-firewall' status_shows proxmox-firewall 'enabled, rules for the node and 2 guests with 2 devices'
wait_for 'the status of pve-firewall' status_shows pve-firewall 'without rules: host.fw selects proxmox-firewall'
filtered 'guests that were not restarted'
without_firewall_bridge 100
filtered 'one guest was restarted'
without_firewall_bridge 200
filtered 'both guests were restarted'
nft list ruleset | grep 'chain guest-100-in' >/dev/null || fail "nft list ruleset: $(nft list ruleset)"
none_arrived 'nftables: 1'

step 'the script for tracing'
install tests/lab/tracebridge /root/tracebridge
/root/tracebridge
/root/tracebridge
stdbuf -oL nft monitor trace >/tmp/trace &
monitor=$!
ping() {
    ip netns exec outside python3 - "$1" <<'PYTHON'
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
out.sendto(b'\x08\x00\xf7\xfd\x00\x01\x00\x01', (sys.argv[1], 0))  # an echo request
PYTHON
}
traced() { ping "$1" && grep -q "trace id [0-9a-f]* $2 rule" /tmp/trace; }
wait_for 'the trace of a packet to a guest' traced "${address[100]}" 'bridge proxmox-firewall-guests guest-100-in'
grep -q 'bridge tracebridge trace rule' /tmp/trace || fail "the trace lacks the rule that starts it: $(cat /tmp/trace)"
if grep ' packet: ' /tmp/trace | grep -v icmp; then fail 'a packet that is not ICMP was traced'; fi
# logged VMID TABLE CHAIN: the log of the firewall has a step of this chain
logged() { grep -q "^$1 7 $3 .* trace id [0-9a-f]* $2 rule [0-9]* verdict " /var/log/pve-firewall.log; }
wait_for 'the trace of a packet to a guest in the log' logged 100 'bridge proxmox-firewall-guests' guest-100-in
nft delete table bridge tracebridge
# for traffic of the node, the same chains in a table inet
sed 's/table bridge/table inet/' /root/tracebridge >/root/traceinet
chmod +x /root/traceinet
/root/traceinet
wait_for 'the trace of a packet to the node' traced $node 'inet proxmox-firewall input'
wait_for 'the trace of a packet to the node in the log' logged 0 'inet proxmox-firewall' input
nft delete table inet tracebridge
if grep ' trace id ' /var/log/pve-firewall.log | grep 'INVALID='; then fail 'the log calls a traced packet invalid'; fi
kill $monitor
[[ $(nft list tables | grep -c trace) == 0 ]] || fail 'the tables for tracing still exist'
only_nftables || fail 'tracing has changed the rules'

step 'systemctl stop and start'
systemctl stop proxmox-firewall
no_rules || fail "rules remain after the stop: $(nft list ruleset)"
wait_for 'packets that arrive without rules' all_arrive
if systemctl is-active proxmox-firewall; then fail 'the unit is active after its stop'; fi
systemctl start proxmox-firewall
only_nftables || fail 'the start has not created the rules'
reset_counters
filtered 'started again'

step 'debug messages'
systemctl stop proxmox-firewall
cd /root
RUST_LOG=trace $program 2>"firewall_log_$(hostname).txt" >/tmp/stdout &
foreground=$!
wait_for 'the rules of a daemon in the foreground' only_nftables
grep -q '^table bridge proxmox-firewall-guests {' firewall_log_n1.txt || fail "the log: $(head -n 50 firewall_log_n1.txt)"
[[ ! -s /tmp/stdout ]] || fail "the daemon wrote to standard output: $(head /tmp/stdout)"
kill $foreground
wait $foreground || fail 'the daemon in the foreground has failed'
no_rules || fail 'the daemon in the foreground has left rules'
cd - >/dev/null
systemctl start proxmox-firewall
# as systemctl edit does
override=/etc/systemd/system/proxmox-firewall.service.d
mkdir $override
declare -A lines
rules=0
for level in trace debug info; do
    printf '[Service]\nEnvironment="RUST_LOG=%s"\n' $level >$override/override.conf
    systemctl daemon-reload
    systemctl restart proxmox-firewall
    echo "IN ACCEPT -p udp -dport 53 # $level" >>/etc/pve/firewall/100.fw
    rule_of_level() { nft list chain bridge proxmox-firewall-guests guest-100-in | grep -c 'dport 53' | grep -qx "$1"; }
    wait_for 'a new rule' rule_of_level $((++rules))
    sleep 1
    journalctl --no-pager -q "_SYSTEMD_INVOCATION_ID=$(systemctl show -p InvocationID --value proxmox-firewall)" >/tmp/journal.$level
    lines[$level]=$(wc -l </tmp/journal.$level)
done
rm -r $override
systemctl daemon-reload
echo "lines with trace, debug and info: ${lines[trace]}, ${lines[debug]}, ${lines[info]}"
((lines[trace] > lines[debug] && lines[debug] > lines[info] && lines[info] > 0)) || fail "$(tail -n 20 /tmp/journal.*)"
grep -q 'dport 53' /tmp/journal.trace || fail "the new rule is not in the journal: $(cat /tmp/journal.trace)"
systemctl restart proxmox-firewall

step 'nftables: 0'
reset_counters
sed -i 's/nftables: 1/nftables: 0/' /etc/pve/$host
wait_for 'the rules of iptables only' only_iptables
[[ $(arrived | sed -n 1p) == 0 ]] || fail 'nftables: 0: packets passed to the node that both backends drop'
# iptables filters a guest after its restart
for vmid in 100 200; do firewall_bridge $vmid; done
wait_for 'the status of pve-firewall' status_shows pve-firewall 'enabled, rules for the node and 2 guests with 2 devices'
reset_counters
filtered 'with iptables again'
none_arrived 'guests restarted after nftables: 0'
[[ $(admin_table) == "$admin" ]] || fail "the table of the administrator was changed: $(admin_table)"
# what is wrong for a short time during the switch or after a stop: each warning ends. A slow machine reports how long an update took
passing='rules are kept until|this firewall continues to filter|are not live: nothing is filtered|of the nftables backend are also in force|is a port of vmbr0 and not of fwbr|update took|^-- '
if journalctl --no-pager -q -u proxmox-firewall -u pve-firewall -p warning | grep -vE "$passing"; then fail 'there are warnings'; fi
step 'the section on nftables of the manual works'

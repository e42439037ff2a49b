#!/usr/bin/env bash
# Demonstrates the firewall on a small node in network namespaces. Nothing outside them is changed.
#
# Needs root and the packages of `make deps`. Takes about half a minute. PVEFW_PROGRAM sets the path of a program other than the release build.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"

program=${PVEFW_PROGRAM:-$PWD/target/release/pve-firewall}
tag=pvefw-tour-$$
node=$tag-node vm=$tag-vm100 ct=$tag-ct101 desk=$tag-desk
root=$(mktemp -d)
servers=()

if [ "$(id -u)" != 0 ]; then
    echo "ERROR: creating network namespaces needs root: run this as root" >&2
    exit 1
fi

clean_up() {
    set +e
    ip netns list | grep -q "^$node\b" && firewall stop
    [ ${#servers[@]} -gt 0 ] && kill "${servers[@]}" 2>/dev/null && wait "${servers[@]}" 2>/dev/null
    for namespace in "$node" "$vm" "$ct" "$desk"; do ip netns del "$namespace" 2>/dev/null; done
    rm -rf "$root"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

bold='' cyan='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' cyan=$'\e[36m' plain=$'\e[0m'; fi
say() { printf '\n%s=== %s%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$cyan" "$*" "$plain"; }
in_node() { ip netns exec "$node" "$@"; }
firewall() { in_node "$program" --root "$root" --node demo "$@"; }
run_command() { show "pve-firewall $*"; firewall "$@" 2>&1; }

# Adds a veth pair: $1 is a port of bridge $2 on the node; its peer is eth0 in namespace $3 with MAC $4 and address $5.
attach() {
    ip -n "$node" link add "$1" type veth peer name eth0 netns "$3"
    ip -n "$node" link set "$1" master "$2" up
    ip -n "$3" link set lo up
    ip -n "$3" link set eth0 address "$4" up
    ip -n "$3" address add "$5/24" dev eth0
}

# Adds the bridge that Proxmox VE creates between vmbr0 and a firewalled device of guest $1.
firewall_bridge() {
    in_node ip link add "fwbr$1i0" type bridge
    in_node ip link add "fwln$1i0" type veth peer name "fwpr$1p0"
    in_node ip link set "fwln$1i0" master "fwbr$1i0" up
    in_node ip link set "fwpr$1p0" master vmbr0 up
    in_node ip link set "fwbr$1i0" up
}

# Starts a server in namespace $1 on port $2 that sends $3 to each client. Perl is installed on every Debian system.
serve() {
    ip netns exec "$1" perl -MIO::Socket::INET -e '
        my $server = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die "$!\n";
        while (my $client = $server->accept) { print $client "$ARGV[1]\n"; close $client }' "$2" "$3" &
    servers+=($!)
}

# Connects from namespace $1 to address $2, port $3, and prints the result.
probe() {
    local answer
    answer=$(ip netns exec "$1" timeout 2 bash -c "exec 3<>/dev/tcp/$2/$3; head -n 1 <&3" 2>/dev/null) || true
    [ -n "$answer" ] && echo "passes: '$answer'" || echo "no answer"
}

# Prints the text $1 and the result of a connection.
try() {
    printf '%-58s ' "$1:"
    probe "$2" "$3" "$4"
}
answers() { [ "$(probe "$@")" != "no answer" ]; }

# Repeats a command until it succeeds, 20 s at most.
wait_until() {
    for _ in $(seq 400); do "$@" && return; sleep 0.05; done
    echo "ERROR: timed out waiting for: $*" >&2
    exit 1
}

# Prints the live rules of both variants of iptables.
rules() { in_node sh -c 'iptables-legacy-save -t filter; iptables-nft-save -t filter' 2>/dev/null; }
signatures() { firewall compile 2>/dev/null | grep -E '^(create|exists|update) ' | cut -d' ' -f2-; }
accepts_port() { rules | grep -- "-A tap100i0-IN .*--dport $1 -j ACCEPT" >/dev/null; }

say "A node with a bridge, a VM, a container, and the administrator's desk"
for namespace in "$node" "$vm" "$ct" "$desk"; do ip netns add "$namespace"; done
in_node ip link set lo up
in_node ip link add vmbr0 type bridge
in_node ip address add 10.10.10.1/24 dev vmbr0
in_node ip link set vmbr0 up
firewall_bridge 100
firewall_bridge 101
attach tap100i0 fwbr100i0 "$vm" bc:24:11:00:00:64 10.10.10.100
attach veth101i0 fwbr101i0 "$ct" bc:24:11:00:00:65 10.10.10.101
attach eno1 vmbr0 "$desk" 02:00:00:00:00:c8 10.10.10.200
for port in 22 80 5432; do serve "$vm" "$port" "VM 100, port $port"; done
serve "$ct" 22 "container 101, port 22"
serve "$node" 9100 "the node, port 9100"
serve "$node" 22 "the node, port 22"
mkdir -p "$root/etc"
cp -r examples/pve "$root/etc/pve"
show "find /etc/pve -type f"
(cd "$root" && find etc/pve -type f | sort | sed 's/^/\//')
show "cat /etc/pve/firewall/100.fw"
cat "$root/etc/pve/firewall/100.fw"

say "Start the firewall"
for server in "$vm 10.10.10.100 5432" "$ct 10.10.10.101 22" "$node 10.10.10.1 9100"; do wait_until answers $server; done
try "before: desk -> VM 100, port 22" "$desk" 10.10.10.100 22
run_command start
run_command status
run_command localnet
run_command status --verbose | sed -n '2,11p'

say "Some of the $(rules | grep -c '^-A') rules in iptables-save"
rules | grep -E '^-A (INPUT|FORWARD|OUTPUT|PVEFW-(INPUT|FORWARD|FWBR-OUT)|tap100i0-IN|GROUP-webserver-IN) '

say "Packets"
try "desk -> VM 100, port 80 (group webserver)" "$desk" 10.10.10.100 80
try "desk -> VM 100, port 22 (no rule, policy DROP)" "$desk" 10.10.10.100 22
try "container 101 -> VM 100, port 5432 (set friends)" "$ct" 10.10.10.100 5432
try "desk -> VM 100, port 5432 (not in set friends)" "$desk" 10.10.10.100 5432
try "desk -> container 101, port 22 (macro SSH, alias admin)" "$desk" 10.10.10.101 22
try "VM 100 -> container 101, port 22 (not in alias admin)" "$vm" 10.10.10.101 22
try "desk -> the node, port 9100 (alias admin)" "$desk" 10.10.10.1 9100
try "VM 100 -> the node, port 9100 (not in alias admin)" "$vm" 10.10.10.1 9100

say "Enable a rule: remove the '|' from '|IN SSH(ACCEPT)'"
before=$(signatures)
file=$root/etc/pve/firewall/100.fw
sed 's/^|IN SSH/IN SSH/' "$file" > "$file.tmp"
changed=$(date +%s%N)
mv "$file.tmp" "$file"
run_command status
wait_until accepts_port 22
echo "live after $(( ($(date +%s%N) - changed) / 1000000 )) ms; of $(wc -l <<< "$before") chains and sets, these were replaced:"
comm -13 <(sort <<< "$before") <(signatures | sort) | sed 's/^/    /'
rules | grep -E -- '^-A tap100i0-IN .*--dport 22 '
try "desk -> VM 100, port 22" "$desk" 10.10.10.100 22

say "A change that would lock out its administrator, who is connected from the desk by SSH"
export SSH_CONNECTION="10.10.10.200 51032 10.10.10.1 22"
candidate=$root/cluster.fw
# the address of the desk is 10.10.10.200
sed '/^\[RULES\]/a IN SSH(ACCEPT) -source 10.10.10.20\nIN DROP -p tcp -dport 22' "$root/etc/pve/firewall/cluster.fw" > "$candidate"
show "diff /etc/pve/firewall/cluster.fw /root/cluster.fw"
diff "$root/etc/pve/firewall/cluster.fw" "$candidate" || true
# Replaces the paths of the temporary directory by those on the node.
shown() { sed "s|$root/etc/pve|/etc/pve|g; s|$root/|/root/|g"; }
show "pve-firewall try /root/cluster.fw"
firewall try "$candidate" 2>&1 < /dev/null | shown || true
show "pve-firewall preview --force /root/cluster.fw"
firewall preview --force "$candidate" 2>&1 | shown
try "desk -> the node, port 22" "$desk" 10.10.10.1 22
show "pve-firewall try --force --for 10 /root/cluster.fw &"
firewall try --force --for 10 "$candidate" < /dev/null & trial=$!
locked_out() { ! answers "$desk" 10.10.10.1 22; }
wait_until locked_out
run_command status
try "desk -> the node, port 22" "$desk" 10.10.10.1 22
echo "after the deadline:"
ended=0
wait "$trial" || ended=$?
echo "exit status of try: $ended"
try "desk -> the node, port 22" "$desk" 10.10.10.1 22
unset SSH_CONNECTION

say "An invalid line is reported with file and line, and only that line is ignored"
echo 'IN ACCEPT -source nobody -p tcp -dport 25' >> "$file"
run_command status

say "Stop the firewall"
run_command stop
show "pve-firewall status"
firewall status 2>/dev/null
echo "rules left: $(rules | grep -c 'PVEFW\|tap100' || true)"
try "desk -> VM 100, port 22" "$desk" 10.10.10.100 22
say "All namespaces and files of the demonstration are removed now."

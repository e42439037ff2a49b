# Functions for all stages: checks that print a line each, queries of the machine's state, and a monitor of the rules.
# shellcheck shell=bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive

# check TEXT COMMAND: prints a line with the result. Failures are recorded in a file, because each stage is a process of its own
check() {
    local what=$1
    shift
    if "$@" >/test/last 2>&1 </dev/null; then
        echo "ok   $what"
    else
        echo "FAIL $what"
        sed 's/^/       /' /test/last
        echo "$what" >>/test/failed
    fi
}
title() { printf '\n%s\n' "$*"; }

# wait_until COMMAND: repeats it until it succeeds, 20 s at most
wait_until() { for _ in $(seq 200); do "$@" && return 0; sleep 0.1; done; "$@"; }

apt() { apt-get -qq -y -o Dpkg::Use-Pty=0 "$@"; }
install() { apt install --allow-downgrades "$@"; }
active() { systemctl is-active --quiet "$1"; }
pid() { systemctl show --property MainPID --value pve-firewall.service; }
own_daemon_runs() { [ "$(readlink "/proc/$(pid)/exe")" = /usr/sbin/pve-firewall ]; }
official_daemon_runs() { active pve-firewall.service && [ -e "/proc/$(pid)" ] && grep -q perl "/proc/$(pid)/cmdline"; }
is_current() { [ "$(pve-firewall status)" = 'Status: enabled/running' ]; }
rule() { iptables-legacy -w -S INPUT | grep -q -- '-j PVEFW-INPUT' && iptables-legacy -w -S PVEFW-INPUT | grep -q -- -j; }
no_rules() { ! iptables-legacy -w -S | grep PVEFW && ! ip6tables-legacy -w -S | grep PVEFW && ! ipset list -n | grep PVEFW; }
module() { [ "$(perl -MPVE::Firewall -e 'print PVE::Firewall::version()')" = "$1" ]; }
no_diversion() { ! dpkg-divert --list | grep pve-firewall-rs; }
own_program_installed() { head -c 4 /usr/sbin/pve-firewall | grep -q ELF; }
enabled() { systemctl is-enabled pve-firewall.service pvefw-logger.service; }

tables() { nft list tables | grep -q 'inet proxmox-firewall$' && nft list tables | grep -q proxmox-firewall-guests; }
chains() { iptables-legacy -w -S INPUT | grep -q PVEFW-INPUT; }
nft_pid() { systemctl show --property MainPID --value proxmox-firewall.service; }
own_nftables_daemon_runs() { [ "$(readlink "/proc/$(nft_pid)/exe")" = /usr/libexec/proxmox/proxmox-firewall ] && nft list table inet proxmox-firewall | grep -q PVESIG; }
official_nftables_daemon_runs() { [ "$(readlink "/proc/$(nft_pid)/exe")" != /usr/libexec/proxmox/proxmox-firewall ] && active proxmox-firewall.service && tables; }
# The node has no guests then, because the kernel may not track connections in bridges
select_nftables() {
    mv /etc/pve/.vmlist /test/vmlist
    echo '{"version":1}' >/etc/pve/.vmlist
    wait_until eval '! iptables-legacy -w -S | grep -q tap'
    cp /etc/pve/nodes/n1/host.fw /test/host.fw 2>/dev/null || : >/test/host.fw
    printf '[OPTIONS]\nlog_level_in: info\nnftables: 1\n' >/etc/pve/nodes/n1/host.fw
}
select_iptables() {
    cp /test/host.fw /etc/pve/nodes/n1/host.fw
    mv /test/vmlist /etc/pve/.vmlist
}

# A peer in a network namespace, connected by a veth pair: 192.0.2.9; the node has 192.0.2.1
make_peer() {
    ip link add in0 type veth peer name out0
    ip addr add 192.0.2.1/24 dev in0
    ip link set in0 up
    ip netns add far
    ip link set out0 netns far
    ip -n far addr add 192.0.2.9/24 dev out0
    ip -n far link set out0 up
    wait_until ip netns exec far bash -c 'echo >/dev/udp/192.0.2.1/9'
}

# The peer sends a thousand packets per second to a port that the firewall blocks. The receiver counts those that arrive.
stream() {
    ip netns exec far perl -MSocket -e 'socket(my $out, PF_INET, SOCK_DGRAM, 17); my $sent = 0;
        while (!-e "/test/enough") { $sent++ if send($out, "x", 0, sockaddr_in(9, inet_aton("192.0.2.1"))); select(undef, undef, undef, 0.001) }
        print $sent' >/test/sent &
    sender=$!
    perl -MSocket -e 'socket(my $in, PF_INET, SOCK_DGRAM, 17); bind($in, sockaddr_in(9, INADDR_ANY)) or die $!; my $got = 0;
        while (!-e "/test/enough") { vec(my $bits = "", fileno($in), 1) = 1; recv($in, $_, 9, 0), $got++ if select($bits, undef, undef, 0.1) }
        print $got' >/test/got &
    listener=$!
}
end_of_stream() {
    touch /test/enough
    wait "$sender" "$listener" ${watcher:+"$watcher"}
    watcher=
    rm /test/enough
    echo "$(cat /test/sent) packets were sent, $(cat /test/got) arrived"
    [ "$(cat /test/sent)" -gt 100 ]
}

# Checks repeatedly that the firewall's rules are live while the peer sends packets
watch_rules() {
    : >/test/gaps
    wait_until rule || return 1
    stream
    (while [ ! -e /test/enough ]; do rule || echo gap >>/test/gaps; done) &
    watcher=$!
}
rules_were_never_missing() {
    end_of_stream || return 1
    [ ! -s /test/gaps ] || echo "the rules were missing $(wc -l </test/gaps) times"
    [ ! -s /test/gaps ] && [ "$(cat /test/got)" = 0 ]
}

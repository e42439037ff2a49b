# Functions for all stages: checks that print a line each, queries of the machine's state, and a monitor of the rules.
# shellcheck shell=bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive

# Prints a line for each condition. Failures are printed with the reason, and counted in a file, because stages are processes
holds() {
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

# until_it COMMAND succeeds: 20 s at most
until_it() { for _ in $(seq 200); do "$@" && return 0; sleep 0.1; done; "$@"; }

apt() { apt-get -qq -y -o Dpkg::Use-Pty=0 "$@"; }
install() { apt install --allow-downgrades "$@"; }
active() { systemctl is-active --quiet "$1"; }
pid() { systemctl show --property MainPID --value pve-firewall.service; }
ours_runs() { [ "$(readlink "/proc/$(pid)/exe")" = /usr/sbin/pve-firewall ]; }
official_runs() { active pve-firewall.service && [ -e "/proc/$(pid)" ] && grep -q perl "/proc/$(pid)/cmdline"; }
in_step() { [ "$(pve-firewall status)" = 'Status: enabled/running' ]; }
rule() { iptables-legacy -w -S INPUT | grep -q -- '-j PVEFW-INPUT' && iptables-legacy -w -S PVEFW-INPUT | grep -q -- -j; }
no_rules() { ! iptables-legacy -w -S | grep PVEFW && ! ip6tables-legacy -w -S | grep PVEFW && ! ipset list -n | grep PVEFW; }
module() { [ "$(perl -MPVE::Firewall -e 'print PVE::Firewall::version()')" = "$1" ]; }
no_diversion() { ! dpkg-divert --list | grep pve-firewall-rs; }
ours_installed() { head -c 4 /usr/sbin/pve-firewall | grep -q ELF; }
enabled() { systemctl is-enabled pve-firewall.service pvefw-logger.service; }

tables() { nft list tables | grep -q 'inet proxmox-firewall$' && nft list tables | grep -q proxmox-firewall-guests; }
chains() { iptables-legacy -w -S INPUT | grep -q PVEFW-INPUT; }
nft_pid() { systemctl show --property MainPID --value proxmox-firewall.service; }
our_nftables_runs() { [ "$(readlink "/proc/$(nft_pid)/exe")" = /usr/libexec/proxmox/proxmox-firewall ] && nft list table inet proxmox-firewall | grep -q PVESIG; }
official_nftables_runs() { [ "$(readlink "/proc/$(nft_pid)/exe")" != /usr/libexec/proxmox/proxmox-firewall ] && active proxmox-firewall.service && tables; }
# The node without guests, because the kernel may not track connections in bridges
select_nftables() {
    mv /etc/pve/.vmlist /test/vmlist
    echo '{"version":1}' >/etc/pve/.vmlist
    until_it eval '! iptables-legacy -w -S | grep -q tap'
    cp /etc/pve/nodes/n1/host.fw /test/host.fw 2>/dev/null || : >/test/host.fw
    printf '[OPTIONS]\nlog_level_in: info\nnftables: 1\n' >/etc/pve/nodes/n1/host.fw
}
select_iptables() {
    cp /test/host.fw /etc/pve/nodes/n1/host.fw
    mv /test/vmlist /etc/pve/.vmlist
}

# A neighbour in a network namespace, behind a link of its own: 192.0.2.9 to the node's 192.0.2.1
make_neighbour() {
    ip link add in0 type veth peer name out0
    ip addr add 192.0.2.1/24 dev in0
    ip link set in0 up
    ip netns add far
    ip link set out0 netns far
    ip -n far addr add 192.0.2.9/24 dev out0
    ip -n far link set out0 up
    until_it ip netns exec far bash -c 'echo >/dev/udp/192.0.2.1/9'
}

# The neighbour sends to a port that the firewall keeps closed, a thousand packets a second; the receiver counts them.
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
    echo "$(cat /test/sent) packets were sent, $(cat /test/got) got through"
    [ "$(cat /test/sent)" -gt 100 ]
}

# Checks all the time that the firewall's rules are live, while the neighbour sends packets
watch_rules() {
    : >/test/gaps
    until_it rule || return 1
    stream
    (while [ ! -e /test/enough ]; do rule || echo gap >>/test/gaps; done) &
    watcher=$!
}
no_gap() {
    end_of_stream || return 1
    [ ! -s /test/gaps ] || echo "the rules were missing $(wc -l </test/gaps) times"
    [ ! -s /test/gaps ] && [ "$(cat /test/got)" = 0 ]
}

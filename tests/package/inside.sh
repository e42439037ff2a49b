#!/bin/bash
# Inside the throw-away Debian: the package is installed, upgraded, removed and purged, beside the official one and alone.
set -uo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
failed=0

# A line for each thing that must hold
holds() {
    local what=$1
    shift
    if "$@" >/test/last 2>&1; then
        echo "ok   $what"
    else
        echo "FAIL $what"
        sed 's/^/       /' /test/last
        failed=1
    fi
}
title() { printf '\n%s\n' "$*"; }
install() { dpkg -i "$1"; }
active() { systemctl is-active --quiet "$1"; }
pid() { systemctl show --property MainPID --value pve-firewall.service; }
# until COMMAND succeeds: 20 s at most
until_it() { for _ in $(seq 200); do "$@" && return 0; sleep 0.1; done; "$@"; }
ours_runs() { [ "$(readlink "/proc/$(pid)/exe")" = /usr/sbin/pve-firewall ]; }
official_runs() { active pve-firewall.service && [ -e "/proc/$(pid)" ] && grep -q perl "/proc/$(pid)/cmdline"; }
in_step() { [ "$(pve-firewall status)" = 'Status: enabled/running' ]; }
rule() { iptables-legacy -S INPUT | grep -q -- '-j PVEFW-INPUT' && iptables-legacy -S PVEFW-INPUT | grep -q -- -j; }
module() { [ "$(perl -MPVE::Firewall -e 'print PVE::Firewall::version()')" = "$1" ]; }
no_diversion() { ! dpkg-divert --list | grep pve-firewall-rs; }
ours_installed() { head -c 4 /usr/sbin/pve-firewall | grep -q ELF; }

# Looks all the time whether the firewall's rules are there, and counts when they are not
watch_rules() {
    : >/test/gaps
    until_it rule || return 1
    (while [ ! -e /test/enough ]; do rule || echo gap >>/test/gaps; done) &
    watcher=$!
}
no_gap() {
    touch /test/enough
    wait "$watcher"
    rm /test/enough
    [ ! -s /test/gaps ] || { echo "the rules were missing $(wc -l </test/gaps) times"; false; }
}

update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null
update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy >/dev/null

title 'Beside the official package'
holds 'the official package runs' install /test/official-6.0.4.deb
holds '  with its daemon' until_it official_runs
holds '  and rules' watch_rules
holds 'installation' install /test/package.deb
holds '  our daemon runs' until_it ours_runs
holds '  its rules are those of the configuration' until_it in_step
holds '  the Perl modules stay' module 6.0.4
holds '  no rule was dropped meanwhile' no_gap
holds '  the official program is aside' grep -q perl /usr/sbin/pve-firewall.official
holds '  the logger runs' active pvefw-logger.service

watch_rules
before=$(pid) started=$(stat -c %Y /run/pve-firewall/status.json)
holds 'upgrade' install /test/package-later.deb
holds '  the same process, anew' eval "[ \$(pid) = $before ] && [ \$(stat -c %Y /run/pve-firewall/status.json) != $started ]"
holds '  with the new program' until_it ours_runs
holds '  its rules are in step' until_it in_step
holds '  no rule was dropped meanwhile' no_gap

watch_rules
holds 'upgrade of the official package' install /test/official-6.0.5.deb
holds '  its modules are the new ones' module 6.0.5
holds '  our program is in place' ours_installed
holds '  and runs' until_it ours_runs
holds '  no rule was dropped meanwhile' no_gap

title 'Completion'
completion() {
    eval "$(COMPLETE=bash pve-firewall)"
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
    _clap_complete_pve_firewall pve-firewall "${!#}"
    printf '%s ' "${COMPREPLY[@]}"
}
holds 'nodes are offered' [ "$(completion pve-firewall --node n | tr -d '\v')" = 'n1 ' ]
if pve-firewall --help | grep -q simulate; then
    holds 'guests are offered' [ "$(completion pve-firewall simulate --to vm | tr -d '\v')" = 'vm100 ' ]
fi

title 'Removal beside the official package'
watch_rules
holds 'removal' dpkg -r pve-firewall-rs
holds '  the official program is back' grep -q perl /usr/sbin/pve-firewall
holds '  and unit' grep -q 'Type=forking' /usr/lib/systemd/system/pve-firewall.service
holds '  its daemon runs' until_it official_runs
holds '  no diversion is left' no_diversion
holds '  no rule was dropped meanwhile' no_gap
holds 'purge leaves the official package alone' dpkg -P pve-firewall-rs
holds '  its daemon runs' official_runs
holds '  it is enabled' systemctl is-enabled pve-firewall.service
holds '  all its files are there' dpkg --verify pve-firewall
holds 'the official package is purged' dpkg -P pve-firewall
holds '  its rules are gone' until_it eval '! rule 2>/dev/null'

title 'Alone, on a fresh Debian'
since=$(date '+%F %T')
holds 'installation' install /test/package.deb
holds '  the daemon runs' active pve-firewall.service
holds '  the logger runs' active pvefw-logger.service
holds '  rules are in step' until_it in_step
holds '  enabled for the next boot' systemctl is-enabled pve-firewall.service pvefw-logger.service
# a network namespace of its own has no limit for connections, the kernel's is that of the first one
complaints() { journalctl -u pve-firewall -u pvefw-logger -p warning -q --since "$since" | grep -v 'cannot set .*conntrack'; }
holds '  nothing was complained about' eval '! complaints'

ip link add out0 type veth peer name in0
ip addr add 192.0.2.1/24 dev in0
ip link set in0 up
ip link set out0 up
ip netns add far
ip link set out0 netns far
ip -n far addr add 192.0.2.9/24 dev out0
ip -n far link set out0 up
dropped() { ip netns exec far timeout 1 bash -c 'echo >/dev/tcp/192.0.2.1/8080' 2>/dev/null; grep -q "SRC=192.0.2.9 .*DPT=8080" /var/log/pve-firewall.log; }
holds 'a dropped packet is logged' until_it dropped
holds 'the log is rotated' logrotate --force /etc/logrotate.d/pve-firewall
holds '  to a new file' [ -s /var/log/pve-firewall.log.1 ]
holds '  which the logger writes' until_it dropped
holds '  with its owner and mode' [ "$(stat -c %U:%G:%a /var/log/pve-firewall.log)" = root:adm:640 ]

before=$(pid)
holds 'reload keeps the process' eval "systemctl reload pve-firewall && until_it in_step && [ \$(pid) = $before ]"
watch_rules
systemctl kill --kill-whom=main --signal=KILL pve-firewall.service
holds 'a killed daemon is started again' until_it eval "[ \$(pid) != 0 ] && [ \$(pid) != $before ] && in_step"
holds '  and its rules stay' no_gap
before=$(pid)
kill -STOP "$before"
sleep 0.2
holds 'the watchdog is armed' [ "$(systemctl show --property WatchdogUSec --value pve-firewall.service)" = 30s ]
kill -CONT "$before"
holds 'settings of the kernel are made' [ "$(cat /proc/sys/net/ipv4/tcp_syncookies)" = 1 ]
holds 'stopping removes every rule' eval "systemctl stop pve-firewall && ! iptables-save | grep PVEFW && ! ipset list -n | grep PVEFW"
holds 'and starting brings them back' eval "systemctl start pve-firewall && rule"
holds 'pages of the manual are installed' ls /usr/share/man/man8/pve-firewall.8.gz /usr/share/man/man8/pvefw-logger.8.gz /usr/share/man/man5/pve-firewall.fw.5.gz
for unit in pve-firewall pvefw-logger; do
    systemd-analyze security --no-pager "$unit.service" | tail -n 1 | sed 's/^/     /'
done
exposure() { systemd-analyze security --no-pager --threshold="$2" "$1"; }
holds 'the daemon is confined' exposure pve-firewall.service 45
holds 'the logger is confined' exposure pvefw-logger.service 25

holds 'removal' dpkg -r pve-firewall-rs
holds '  rules are gone' eval '! iptables-save | grep PVEFW'
holds 'purge' dpkg -P pve-firewall-rs
holds '  nothing is left' eval '! find /etc /usr /var/lib/pve-firewall /var/log /var/cache -path /var/lib/dpkg -prune -o \( -name "*pve-firewall*" -o -name "*pvefw*" \) -print 2>/dev/null | grep -v ^/etc/pve | grep .'
holds '  no diversion is left' no_diversion

[ "$failed" = 0 ] && printf '\nall is well\n'

#!/bin/bash
# Stage 1: installation, upgrades and removal with the official package. Its stub loads rules that the real package generated.
set -uo pipefail
. /test/inside/checks.sh
make_peer

title 'Without a firewall'
stream
sleep 0.5
check 'packets of the peer arrive' eval 'end_of_stream && [ "$(cat /test/got)" -gt 100 ]'

title 'With the official package'
check 'the official package is installed' install /test/official-6.0.4.deb /test/pve-manager.deb
check '  its daemon runs' wait_until official_daemon_runs
check '  its rules are live' watch_rules
dpkg-deb -x /test/package.deb /test/unpacked
diff() { /test/unpacked/usr/sbin/pve-firewall compile --diff >/test/diff; }
changes() { sed -n 's/^\([a-z].*\): \([a-z]* .*\)/\1 \2/p' /test/diff; }
check 'before installation, compile --diff compares the live rules' diff
on_purpose='ip4 filter update PVEFW-Drop
ip4 filter update PVEFW-Reject
ip6 filter update PVEFW-Drop
ip6 filter update PVEFW-Reject'
check '  which differ only in the chains that differ on purpose' eval '[ "$(changes)" = "$on_purpose" ] || { cat /test/diff; false; }'
check 'installation' install /test/package.deb
check '  the pve-firewall-rs daemon runs' wait_until own_daemon_runs
check '  its rules are those of the configuration' wait_until is_current
check '  the official Perl modules stay' module 6.0.4
check '  dependencies on the official package are satisfied' apt check
check '  the rules were never missing' rules_were_never_missing
check '  the official program is diverted' grep -q perl /usr/sbin/pve-firewall.official
check '  the logger runs' active pvefw-logger.service
check '  the log is rotated only by the rules of pve-firewall-rs' logrotate --force /etc/logrotate.conf
check '  the logger continues to write' wait_until eval 'kill -0 $(cat /run/pvefw-logger.pid) && [ -e /var/log/pve-firewall.log ]'

watch_rules
before=$(pid) started=$(stat -c %Y /run/pve-firewall/status.json)
check 'upgrade' install /test/package-later.deb
check '  the same process executes the new program' eval '[ $(pid) = $before ] && [ $(stat -c %Y /run/pve-firewall/status.json) != $started ]'
check '  the daemon runs the new program' wait_until own_daemon_runs
check '  its rules are current' wait_until is_current
check '  the rules were never missing' rules_were_never_missing

watch_rules
check 'upgrade of the official package' install /test/official-6.0.5.deb
check '  its new modules are installed' module 6.0.5
check '  the pve-firewall-rs program is in place' own_program_installed
check '  its program is diverted' grep -q 6.0.5 /usr/sbin/pve-firewall.official
check '  the pve-firewall-rs daemon runs' wait_until own_daemon_runs
check '  its rules are current' wait_until is_current
check '  the rules were never missing' rules_were_never_missing
check 'an official package that restarts its units' install /test/official-6.0.6.deb
check '  restarts the pve-firewall-rs daemon' wait_until own_daemon_runs
check '  its rules are current' wait_until is_current

systemctl stop pve-firewall
check 'an upgrade of the official package does not start a stopped firewall' eval 'install /test/official-6.0.5.deb && ! active pve-firewall'
systemctl start pve-firewall

title 'Completion'
completion() {
    eval "$(COMPLETE=bash pve-firewall)"
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
    _clap_complete_pve_firewall pve-firewall "${!#}"
    printf '%s ' "${COMPREPLY[@]}" | tr -d '\v'
}
check 'node names are completed' [ "$(completion pve-firewall --node n)" = 'n1 ' ]
ip link add vmbr0 type bridge
ip link add eno1 type veth peer name eno2
ip link set eno1 master vmbr0
check 'bridge ports are completed' [ "$(completion pve-firewall simulate --from vmbr)" = 'vmbr0/eno1 ' ]
ip link del vmbr0
ip link del eno1
check 'guests are completed' [ "$(completion pve-firewall simulate --to vm)" = 'vm100 ' ]

title 'The official nftables firewall'
stream
select_nftables
check 'the pve-firewall-rs nftables daemon runs' wait_until own_nftables_daemon_runs
check 'installation of the official nftables package' install /test/official-nftables.deb
check '  the pve-firewall-rs daemon runs' wait_until own_nftables_daemon_runs
check '  iptables has no chains' wait_until eval '! chains'
check 'removal of pve-firewall-rs' apt remove pve-firewall-rs
check '  the official nftables daemon runs' wait_until official_nftables_daemon_runs
check 'installation of pve-firewall-rs' install /test/package.deb
check '  the pve-firewall-rs daemon runs' wait_until own_nftables_daemon_runs
check '  no packet passed during the change' eval 'end_of_stream && [ "$(cat /test/got)" = 0 ]'
check 'purge of the official nftables package' apt purge proxmox-firewall
check '  the pve-firewall-rs daemon runs' wait_until own_nftables_daemon_runs
select_iptables
check '  the iptables rules are current again' wait_until is_current

title 'Removal with the official package installed'
watch_rules
check 'removal' apt remove pve-firewall-rs
check '  the official program is restored' grep -q perl /usr/sbin/pve-firewall
check '  its unit is restored' grep -q 'Type=forking' /lib/systemd/system/pve-firewall.service
check '  its daemon runs' wait_until official_daemon_runs
check '  no diversion is left' no_diversion
check '  the rules were never missing' rules_were_never_missing
check 'purge keeps the official package' apt purge pve-firewall-rs
check '  its daemon runs' official_daemon_runs
check '  it is enabled' enabled
check '  all its files are unchanged' [ -z "$(dpkg --verify pve-firewall)" ]

title 'Removal of the official package while pve-firewall-rs is installed'
check 'installation' install /test/package.deb
check '  the pve-firewall-rs daemon runs' wait_until own_daemon_runs
check 'purge of the official package' dpkg --purge pve-manager pve-firewall
check '  the pve-firewall-rs daemon runs' wait_until own_daemon_runs
check '  its rules are current' wait_until is_current
check '  it is enabled' enabled

title 'Installation of the official package after pve-firewall-rs'
watch_rules
check 'installation' install /test/official-6.0.4.deb
check '  the pve-firewall-rs daemon runs' own_daemon_runs
check '  its rules are current' wait_until is_current
check '  the Perl modules are installed' module 6.0.4
check '  the rules were never missing' rules_were_never_missing
watch_rules
check 'removal of pve-firewall-rs' apt purge pve-firewall-rs
check '  the official daemon runs' wait_until official_daemon_runs
check '  the rules were never missing' rules_were_never_missing
check 'purge of the official package' apt purge pve-firewall
check '  its rules are removed' wait_until no_rules
true

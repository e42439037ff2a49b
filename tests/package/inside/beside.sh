#!/bin/bash
# Stage 1: installation, upgrades and removal beside the official package. The stand-in for it loads rules that the real package has generated.
set -uo pipefail
. /test/inside/checks.sh
make_neighbour

title 'Without a firewall'
stream
sleep 0.5
holds 'what the neighbour sends gets through' eval 'end_of_stream && [ "$(cat /test/got)" -gt 100 ]'

title 'Beside the official package'
holds 'the official package runs' install /test/official-6.0.4.deb /test/pve-manager.deb
holds '  with its daemon' until_it official_runs
holds '  and rules' watch_rules
dpkg-deb -x /test/package.deb /test/unpacked
diff() { /test/unpacked/usr/sbin/pve-firewall compile --diff >/test/diff; }
changes() { sed -n 's/^\([a-z].*\): \([a-z]* .*\)/\1 \2/p' /test/diff; }
holds 'asked before installation: the rules of both are alike' diff
on_purpose='ip4 filter update PVEFW-Drop
ip4 filter update PVEFW-Reject
ip6 filter update PVEFW-Drop
ip6 filter update PVEFW-Reject'
holds '  but for the chains that differ on purpose' eval '[ "$(changes)" = "$on_purpose" ] || { cat /test/diff; false; }'
holds 'installation' install /test/package.deb
holds '  our daemon runs' until_it ours_runs
holds '  its rules are those of the configuration' until_it in_step
holds '  the Perl modules stay' module 6.0.4
holds '  packages that need the official one still have it' apt check
holds '  no rule was dropped meanwhile' no_gap
holds '  the official program is aside' grep -q perl /usr/sbin/pve-firewall.official
holds '  the logger runs' active pvefw-logger.service
holds '  the log is rotated by our rules alone' logrotate --force /etc/logrotate.conf
holds '  and the logger writes on' until_it eval 'kill -0 $(cat /run/pvefw-logger.pid) && [ -e /var/log/pve-firewall.log ]'

watch_rules
before=$(pid) started=$(stat -c %Y /run/pve-firewall/status.json)
holds 'upgrade' install /test/package-later.deb
holds '  the same process, executed again' eval '[ $(pid) = $before ] && [ $(stat -c %Y /run/pve-firewall/status.json) != $started ]'
holds '  with the new program' until_it ours_runs
holds '  its rules are in step' until_it in_step
holds '  no rule was dropped meanwhile' no_gap

watch_rules
holds 'upgrade of the official package' install /test/official-6.0.5.deb
holds '  its modules are the new ones' module 6.0.5
holds '  our program is in place' ours_installed
holds '  its program is aside' grep -q 6.0.5 /usr/sbin/pve-firewall.official
holds '  ours runs' until_it ours_runs
holds '  its rules are in step' until_it in_step
holds '  no rule was dropped meanwhile' no_gap
holds 'an official package that restarts its units' install /test/official-6.0.6.deb
holds '  restarts ours' until_it ours_runs
holds '  whose rules are in step' until_it in_step

systemctl stop pve-firewall
holds 'an upgrade of the official package leaves a stopped firewall alone' eval 'install /test/official-6.0.5.deb && ! active pve-firewall'
systemctl start pve-firewall

title 'Completion'
completion() {
    eval "$(COMPLETE=bash pve-firewall)"
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
    _clap_complete_pve_firewall pve-firewall "${!#}"
    printf '%s ' "${COMPREPLY[@]}" | tr -d '\v'
}
holds 'nodes are offered' [ "$(completion pve-firewall --node n)" = 'n1 ' ]
ip link add vmbr0 type bridge
ip link add eno1 type veth peer name eno2
ip link set eno1 master vmbr0
holds 'ports of bridges are offered' [ "$(completion pve-firewall simulate --from vmbr)" = 'vmbr0/eno1 ' ]
ip link del vmbr0
ip link del eno1
holds 'guests are offered' [ "$(completion pve-firewall simulate --to vm)" = 'vm100 ' ]

title 'The official nftables firewall'
stream
select_nftables
holds 'ours enforces' until_it our_nftables_runs
holds 'installation of the official one' install /test/official-nftables.deb
holds '  ours runs' until_it our_nftables_runs
holds '  and iptables has no chains' until_it eval '! chains'
holds 'removal of ours' apt remove pve-firewall-rs
holds '  the official one runs' until_it official_nftables_runs
holds 'installation of ours' install /test/package.deb
holds '  ours runs' until_it our_nftables_runs
holds '  no packet passed meanwhile' eval 'end_of_stream && [ "$(cat /test/got)" = 0 ]'
holds 'purge of the official one' apt purge proxmox-firewall
holds '  ours runs' until_it our_nftables_runs
select_iptables
holds '  iptables enforces again' until_it in_step

title 'Removal beside the official package'
watch_rules
holds 'removal' apt remove pve-firewall-rs
holds '  the official program is back' grep -q perl /usr/sbin/pve-firewall
holds '  and unit' grep -q 'Type=forking' /lib/systemd/system/pve-firewall.service
holds '  its daemon runs' until_it official_runs
holds '  no diversion is left' no_diversion
holds '  no rule was dropped meanwhile' no_gap
holds 'purge leaves the official package alone' apt purge pve-firewall-rs
holds '  its daemon runs' official_runs
holds '  it is enabled' enabled
holds '  all its files are there' [ -z "$(dpkg --verify pve-firewall)" ]

title 'The official package goes, while ours is there'
holds 'installation' install /test/package.deb
holds '  our daemon runs' until_it ours_runs
holds 'purge of the official package' dpkg --purge pve-manager pve-firewall
holds '  our daemon runs' until_it ours_runs
holds '  its rules are in step' until_it in_step
holds '  it is enabled' enabled

title 'The official package comes after ours'
watch_rules
holds 'installation' install /test/official-6.0.4.deb
holds '  our daemon runs' ours_runs
holds '  its rules are in step' until_it in_step
holds '  the Perl modules are there' module 6.0.4
holds '  no rule was dropped meanwhile' no_gap
watch_rules
holds 'removal of ours' apt purge pve-firewall-rs
holds '  the official daemon runs' until_it official_runs
holds '  no rule was dropped meanwhile' no_gap
holds 'purge of the official package' apt purge pve-firewall
holds '  its rules are gone' until_it no_rules
true

#!/bin/bash
# Stage 2: a fresh Debian without the official package; the units under systemd.
set -uo pipefail
. /test/inside/checks.sh
printf '[OPTIONS]\nlog_level_in: info\n' >/etc/pve/nodes/n1/host.fw

title 'Alone, on a fresh Debian'
since=$(date '+%F %T')
holds 'installation' install /test/package.deb
holds '  the daemon runs' active pve-firewall.service
holds '  the logger runs' active pvefw-logger.service
holds '  rules are in step' until_it in_step
holds '  enabled for the next boot' enabled
holds '  the daemon of nftables runs, without tables' eval 'active proxmox-firewall.service && ! nft list tables | grep proxmox'
# only the initial network namespace has a limit of connections
complaints() { journalctl -u pve-firewall -u pvefw-logger -p warning -q --since "$since" | grep -v 'cannot set .*conntrack'; }
holds '  nothing was complained about' eval '! complaints'
holds '  pages of the manual' ls /usr/share/man/man8/pve-firewall.8.gz /usr/share/man/man8/pvefw-logger.8.gz /usr/share/man/man5/pve-firewall.fw.5.gz
holds '  settings of the kernel are made' [ "$(cat /proc/sys/net/ipv4/tcp_syncookies)" = 1 ]

dropped() { ip netns exec far timeout 1 bash -c 'echo >/dev/tcp/192.0.2.1/8080' 2>/dev/null; grep -q "SRC=192.0.2.9 .*DPT=8080" /var/log/pve-firewall.log; }
holds 'a dropped packet is logged' until_it dropped
holds 'the log is rotated' logrotate --force /etc/logrotate.conf
holds '  to a new file' [ -s /var/log/pve-firewall.log.1 ]
holds '  which the logger writes' until_it dropped
holds '  with its owner and mode' [ "$(stat -c %U:%G:%a /var/log/pve-firewall.log)" = root:adm:640 ]

watch_rules
before=$(pid)
holds 'reload keeps the process' eval 'systemctl reload pve-firewall && until_it in_step && [ $(pid) = $before ]'
other_process() { [ "$(pid)" != 0 ] && [ "$(pid)" != "$before" ]; }
holds 'restart runs another process' eval 'systemctl restart pve-firewall && other_process && until_it in_step'
holds '  and its rules stay' no_gap
watch_rules
before=$(pid)
systemctl kill --kill-whom=main --signal=KILL pve-firewall.service
holds 'a killed daemon is started again' until_it eval 'other_process && in_step'
holds '  and its rules stay' no_gap

stream
select_nftables
holds 'nftables takes over' until_it eval 'tables && ! chains'
before=$(nft_pid)
holds '  reload keeps the process' eval 'systemctl reload proxmox-firewall && sleep 1 && tables && [ $(nft_pid) = $before ]'
holds '  its status is that of a running firewall' eval '/usr/libexec/proxmox/proxmox-firewall status | grep "^Status: enabled/running"'
holds '  and bridges pass nothing to iptables' until_it grep -qx 0 /proc/sys/net/bridge/bridge-nf-call-iptables
holds '  restart runs another process' eval 'systemctl restart proxmox-firewall && tables && [ $(nft_pid) != $before ]'
before=$(nft_pid)
systemctl kill --kill-whom=main --signal=KILL proxmox-firewall.service
holds '  a killed daemon is started again' until_it eval '[ $(nft_pid) != 0 ] && [ $(nft_pid) != $before ] && tables'
select_iptables
holds 'and iptables again' until_it eval 'chains && ! tables'
holds '  no packet passed meanwhile' eval 'end_of_stream && [ "$(cat /test/got)" = 0 ]'
until_it in_step

holds 'stopping removes every rule' eval 'systemctl stop pve-firewall && no_rules'
# time limits that are short enough for a test
mkdir -p /run/systemd/system/pve-firewall.service.d
printf '[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n' >/run/systemd/system/pve-firewall.service.d/impatient.conf
systemctl daemon-reload
holds 'and starting brings them back' eval 'systemctl start pve-firewall && rule'
sleep 5
watch_rules
before=$(pid)
holds 'who answers the watchdog is left alone' [ "$(systemctl show --property NRestarts --value pve-firewall.service)" = 0 ]
kill -STOP "$before"
holds 'a daemon that hangs is replaced' until_it eval 'other_process && in_step'
holds '  by the watchdog' eval 'journalctl -u pve-firewall -q --since "$since" | grep "Watchdog timeout"'
holds '  and its rules stay' no_gap
rm -r /run/systemd/system/pve-firewall.service.d
systemctl daemon-reload

for unit in pve-firewall proxmox-firewall pvefw-logger; do
    systemd-analyze security --no-pager "$unit.service" | tail -n 1 | sed 's/^/     /'
done
exposure() { systemd-analyze security --no-pager --threshold="$2" "$1"; }
holds 'the daemon is confined' exposure pve-firewall.service 34
holds 'the daemon of nftables is confined' exposure proxmox-firewall.service 32
holds 'the logger is confined' exposure pvefw-logger.service 14
capabilities() { sed -n "s,^CapBnd:\t,,p" "/proc/$(systemctl show --property MainPID --value "$1")/status"; }
# CAP_DAC_READ_SEARCH, NET_ADMIN, NET_RAW, SYS_MODULE; the logger NET_ADMIN alone
holds '  to what it needs' eval '[ "$(capabilities pve-firewall.service) $(capabilities pvefw-logger.service)" = "0000000000013004 0000000000001000" ] &&
    [ $(capabilities proxmox-firewall.service) = 0000000000013004 ]'
true

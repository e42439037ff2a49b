#!/bin/bash
# Stage 2: a fresh Debian without the official package; the units under systemd.
set -uo pipefail
. /test/inside/checks.sh
printf '[OPTIONS]\nlog_level_in: info\n' >/etc/pve/nodes/n1/host.fw

title 'Without the official package, on a fresh Debian'
since=$(date '+%F %T')
check 'installation' install /test/package.deb
check '  the daemon runs' active pve-firewall.service
check '  the logger runs' active pvefw-logger.service
check '  the live rules are current' wait_until is_current
check '  the units are enabled for the next boot' enabled
check '  the nftables daemon runs, without tables' eval 'active proxmox-firewall.service && ! nft list tables | grep proxmox'
# only the initial network namespace has a connection limit
warnings() { journalctl -u pve-firewall -u pvefw-logger -p warning -q --since "$since" | grep -v 'cannot set .*conntrack'; }
check '  no warning was logged' eval '! warnings'
check '  the manual pages are installed' ls /usr/share/man/man8/pve-firewall.8.gz /usr/share/man/man8/pvefw-logger.8.gz /usr/share/man/man5/pve-firewall.fw.5.gz
check '  the kernel settings are applied' [ "$(cat /proc/sys/net/ipv4/tcp_syncookies)" = 1 ]

dropped() { ip netns exec far timeout 1 bash -c 'echo >/dev/tcp/192.0.2.1/8080' 2>/dev/null; grep -q "SRC=192.0.2.9 .*DPT=8080" /var/log/pve-firewall.log; }
check 'a dropped packet is logged' wait_until dropped
check 'the log is rotated' logrotate --force /etc/logrotate.conf
check '  the old log is in a new file' [ -s /var/log/pve-firewall.log.1 ]
check '  the logger writes to the log file' wait_until dropped
check '  the log file has its owner and mode' [ "$(stat -c %U:%G:%a /var/log/pve-firewall.log)" = root:adm:640 ]

watch_rules
before=$(pid)
check 'a reload keeps the process' eval 'systemctl reload pve-firewall && wait_until is_current && [ $(pid) = $before ]'
other_process() { [ "$(pid)" != 0 ] && [ "$(pid)" != "$before" ]; }
check 'a restart runs another process' eval 'systemctl restart pve-firewall && other_process && wait_until is_current'
check '  the rules were never missing' rules_were_never_missing
watch_rules
before=$(pid)
systemctl kill --kill-whom=main --signal=KILL pve-firewall.service
check 'a killed daemon is started again' wait_until eval 'other_process && is_current'
check '  the rules were never missing' rules_were_never_missing

stream
select_nftables
check 'the nftables daemon takes over' wait_until eval 'tables && ! chains'
before=$(nft_pid)
check '  a reload keeps the process' eval 'systemctl reload proxmox-firewall && sleep 1 && tables && [ $(nft_pid) = $before ]'
check '  its status is that of a running firewall' eval '/usr/libexec/proxmox/proxmox-firewall status | grep "^Status: enabled/running"'
check '  bridges pass no packets to iptables' wait_until grep -qx 0 /proc/sys/net/bridge/bridge-nf-call-iptables
check '  a restart runs another process' eval 'systemctl restart proxmox-firewall && tables && [ $(nft_pid) != $before ]'
before=$(nft_pid)
systemctl kill --kill-whom=main --signal=KILL proxmox-firewall.service
check '  a killed daemon is started again' wait_until eval '[ $(nft_pid) != 0 ] && [ $(nft_pid) != $before ] && tables'
select_iptables
check 'the iptables daemon takes over again' wait_until eval 'chains && ! tables'
check '  no packet passed during the change' eval 'end_of_stream && [ "$(cat /test/got)" = 0 ]'
wait_until is_current

check 'stopping removes every rule' eval 'systemctl stop pve-firewall && no_rules'
# time limits that are short enough for a test
mkdir -p /run/systemd/system/pve-firewall.service.d
printf '[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n' >/run/systemd/system/pve-firewall.service.d/short-limits.conf
systemctl daemon-reload
check 'starting adds them again' eval 'systemctl start pve-firewall && rule'
sleep 5
watch_rules
before=$(pid)
check 'a daemon that answers the watchdog is not restarted' [ "$(systemctl show --property NRestarts --value pve-firewall.service)" = 0 ]
kill -STOP "$before"
check 'a daemon that hangs is restarted' wait_until eval 'other_process && is_current'
check '  the watchdog killed it' eval 'journalctl -u pve-firewall -q --since "$since" | grep "Watchdog timeout"'
check '  the rules were never missing' rules_were_never_missing
rm -r /run/systemd/system/pve-firewall.service.d
systemctl daemon-reload

for unit in pve-firewall proxmox-firewall pvefw-logger; do
    systemd-analyze security --no-pager "$unit.service" | tail -n 1 | sed 's/^/     /'
done
exposure() { systemd-analyze security --no-pager --threshold="$2" "$1"; }
check 'the daemon is sandboxed' exposure pve-firewall.service 34
check 'the nftables daemon is sandboxed' exposure proxmox-firewall.service 32
check 'the logger is sandboxed' exposure pvefw-logger.service 14
capabilities() { sed -n "s,^CapBnd:\t,,p" "/proc/$(systemctl show --property MainPID --value "$1")/status"; }
# CAP_DAC_READ_SEARCH, NET_ADMIN, NET_RAW, SYS_MODULE; for the logger only NET_ADMIN
check '  each daemon has only the capabilities that it needs' eval '[ "$(capabilities pve-firewall.service) $(capabilities pvefw-logger.service)" = "0000000000013004 0000000000001000" ] &&
    [ $(capabilities proxmox-firewall.service) = 0000000000013004 ]'
true

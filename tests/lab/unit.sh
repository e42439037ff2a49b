#!/usr/bin/env bash
# Tests the daemon under its systemd unit, on a lab machine with systemd: unit.sh DIRECTORY
#
# DIRECTORY has the programs. When the daemon starts, rules of the official program exist in the legacy variants of all tools,
# ebtables included.
set -euo pipefail
source tests/lab/unit_checks.sh
install_node "$1" tests/conformance/cases/defaults-vm-ct/pve
rules=tests/conformance/takeover/defaults-vm-ct
ipset restore <$rules/ipset_create
for family in 4 6; do
    iptables=$([[ $family == 4 ]] && echo iptables || echo ip6tables)
    "$iptables-legacy-restore" -n <"$rules/ip$family"
    "$iptables-legacy-restore" -n <"$rules/ip${family}raw"
done
ebtables-legacy-restore <$rules/ebtables
rm -rf /var/lib/ebtables
mac() { ebtables-legacy -L tap100i0-OUT | grep -o 'bc:24:.*' | head -n 1; }
before=$(mac)
systemctl start pve-firewall

read_status() { status=$(pve-firewall status --verbose); }
wait_for 'the status' read_status
echo "$status"
grep -q 'Tools: *iptables legacy, ip6tables legacy, ebtables legacy' <<<"$status" || fail 'the daemon selected other variants of the tools'
[[ $(mac) == "$before" ]] || fail "the MAC filter has changed: $before, $(mac)"
# the guest gets another MAC address
sed -i "s/BC:24:11:[0-9A-F:]*/BC:24:11:00:00:77/" /etc/pve/nodes/n1/qemu-server/100.conf
new_mac() { mac | grep -q '0:0:77'; }
wait_for 'the new MAC address in the rules' new_mac
[[ $(stat -c %a /var/lib/ebtables/lock) == 600 ]] || fail 'the lock of ebtables-legacy does not exist or has another mode'
if ebtables-nft-save | grep -q PVEFW; then fail 'the nft variant has rules'; fi
process=$(systemctl show -p MainPID --value pve-firewall)
for operation in restart try-restart; do
    systemctl "$operation" pve-firewall
    [[ $(systemctl show -p MainPID --value pve-firewall) != "$process" ]] || fail "$operation: the process is the same"
    process=$(systemctl show -p MainPID --value pve-firewall)
done
if journalctl --no-pager -u pve-firewall -t pve-firewall | grep 'clear PVE'; then fail 'a restart removed the rules'; fi
iptables-legacy-save | grep -q PVEFW || fail 'there are no rules after a restart'
systemctl stop pve-firewall
if { ebtables-legacy -L && iptables-legacy-save && ip6tables-legacy-save && ebtables-nft-save; } | grep -e PVEFW -e tap100; then
    fail 'rules remain after the stop'
fi
if journalctl --no-pager -u pve-firewall -p warning | grep -v '^--' | grep -e ebtables -e kept; then fail 'the daemon logged warnings'; fi
echo 'the unit works'

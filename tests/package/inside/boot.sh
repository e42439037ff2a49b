#!/bin/bash
# Stage 3, after a boot: the order of the units. A stand-in for the cluster file system starts slowly; one for the start of guests
# checks whether the rules are live.
set -uo pipefail
. /test/inside/checks.sh

title 'After a boot'
holds 'the daemon runs' active pve-firewall.service
holds 'rules are in step' until_it in_step
holds 'they were there before the guests' grep -q -- '-A PVEFW-INPUT -j PVEFW-HOST-IN' /test/at-guests
began() { systemctl show --property ExecMainStartTimestampMonotonic --value "$1"; }
holds 'the daemon waited for the cluster file system' \
    [ "$(began pve-firewall.service)" -gt "$(systemctl show --property ActiveEnterTimestampMonotonic --value pve-cluster.service)" ]
holds 'the logger was there before the daemon' [ "$(began pvefw-logger.service)" -lt "$(began pve-firewall.service)" ]

title 'Removal'
holds 'removal' apt remove pve-firewall-rs
holds '  rules are gone' no_rules
holds 'installation after a removal without purge' install /test/package.deb
holds '  the daemon runs' active pve-firewall.service
holds '  and that of nftables' active proxmox-firewall.service
holds '  rules are in step' until_it in_step
holds 'removal' apt remove pve-firewall-rs
holds 'purge' apt purge pve-firewall-rs
left() { find /etc /usr /var/lib/pve-firewall /var/log /var/cache \( -name '*pve-firewall*' -o -name '*proxmox-firewall*' -o -name '*pvefw*' -o -name 'firewall-rs' \) -print 2>/dev/null; }
holds '  nothing is left' eval '! left | grep .'
holds '  no diversion is left' no_diversion

#!/bin/bash
# Stage 3, after a boot: the order of the units. A stub of the cluster file system starts slowly. A stub of the unit
# that starts guests records the live rules.
set -uo pipefail
. /test/inside/checks.sh

title 'After a boot'
check 'the daemon runs' active pve-firewall.service
check 'the live rules are current' wait_until is_current
check 'they were live before the guests started' grep -q -- '-A PVEFW-INPUT -j PVEFW-HOST-IN' /test/at-guests
began() { systemctl show --property ExecMainStartTimestampMonotonic --value "$1"; }
check 'the daemon waited for the cluster file system' \
    [ "$(began pve-firewall.service)" -gt "$(systemctl show --property ActiveEnterTimestampMonotonic --value pve-cluster.service)" ]
check 'the logger started before the daemon' [ "$(began pvefw-logger.service)" -lt "$(began pve-firewall.service)" ]

title 'Removal'
check 'removal' apt remove pve-firewall-rs
check '  the rules are removed' no_rules
check 'installation after a removal without purge' install /test/package.deb
check '  the daemon runs' active pve-firewall.service
check '  the nftables daemon runs' active proxmox-firewall.service
check '  the live rules are current' wait_until is_current
check 'removal' apt remove pve-firewall-rs
check 'purge' apt purge pve-firewall-rs
left() { find /etc /usr /var/lib/pve-firewall /var/log /var/cache \( -name '*pve-firewall*' -o -name '*proxmox-firewall*' -o -name '*pvefw*' -o -name 'firewall-rs' \) -print 2>/dev/null; }
check '  nothing is left' eval '! left | grep .'
check '  no diversion is left' no_diversion

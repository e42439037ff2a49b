#!/bin/bash
# Runs the stages of each of the two boots inside the temporary Debian system. Then the machine is turned off.
. /test/inside/checks.sh
if [ ! -e /test/booted ]; then
    for kind in iptables ip6tables; do
        update-alternatives --set "$kind" "/usr/sbin/$kind-legacy" >/dev/null # as the official package does
    done
    # after a failed stage, the next one cannot run
    if /test/inside/beside.sh && /test/inside/alone.sh; then
        systemctl enable --quiet pve-cluster.service pve-guests.service
        touch /test/booted
    else
        echo 'a stage ended early'
    fi
else
    /test/inside/boot.sh
    [ -e /test/failed ] || printf '\nall is well\n'
fi
systemctl poweroff --no-block

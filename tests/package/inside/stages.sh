#!/bin/bash
# Runs the stages of each of the two boots inside the temporary Debian system. Then the machine is turned off.
. /test/inside/checks.sh
if [ ! -e /test/booted ]; then
    for kind in iptables ip6tables; do
        update-alternatives --set "$kind" "/usr/sbin/$kind-legacy" >/dev/null # as the official package does
    done
    # after a failed stage, the next one cannot run
    if /test/inside/with_official.sh && /test/inside/without_official.sh; then
        systemctl enable --quiet pve-cluster.service pve-guests.service
        touch /test/booted
    else
        echo 'a stage failed to run to its end'
    fi
else
    /test/inside/boot.sh
    [ -e /test/failed ] || printf '\nall checks passed\n'
fi
systemctl poweroff --no-block

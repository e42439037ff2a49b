# Functions for the tests of the systemd units on a lab machine; to be sourced. `units` has the units whose log a failure prints.
# shellcheck shell=bash
units=(pve-firewall)

fail() {
    journalctl --no-pager "${units[@]/#/--unit=}" >&2
    echo "ERROR: $*" >&2
    exit 1
}

# wait_for WHAT COMMAND...: repeats the command until it succeeds, 40 s at most. A file that has just been written is not accepted
# at once, and the machine is emulated
wait_for() {
    local what=$1 end=$((SECONDS + 40))
    shift
    until "$@"; do
        ((SECONDS < end)) || fail "waited in vain for $what"
        sleep 0.2
    done
}

# install_node PROGRAMS TREE: installs the programs and units, and the configuration of the node n1 with the files of TREE
install_node() {
    hostname n1
    install -t /usr/sbin "$1/pve-firewall" "$1/pvefw-logger"
    install -Dt /usr/libexec/proxmox "$1/proxmox-firewall"
    install -m 644 -t /etc/systemd/system ./*.service
    rm -rf /etc/pve
    mkdir -p /etc/pve
    cp -r "$2/." /etc/pve/
    systemctl daemon-reload
}

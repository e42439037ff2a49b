# Functions that create Debian systems for tests; to be sourced.

# install_missing TOOL=PACKAGE...: installs the packages of the tools that are missing
install_missing() {
    local missing=() tool install
    install=$(dirname "${BASH_SOURCE[0]}")/../scripts/install-packages
    for tool in "$@"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${tool%%=*}" >/dev/null || missing+=("${tool#*=}")
    done
    ((${#missing[@]})) || return 0
    # packages installed from the backports may conflict with those of the release
    "$install" --no-install-recommends "${missing[@]}" >&2 ||
        "$install" --no-install-recommends --target-release="$(. /etc/os-release && echo "$VERSION_CODENAME")-backports" \
            "${missing[@]}" >&2
}

# make_debian SUITE ROOT PACKAGES [SCRIPT]: creates a minimal Debian with the packages. SCRIPT runs in a shell inside after their
# installation; the backports are among its package sources. The mirror is that of this machine.
make_debian() {
    local suite=$1 root=$2 packages=$3 script=${4:-true} mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null |
        head -n 1)
    mirror=${mirror:-http://deb.debian.org/debian}
    inside="set -e; export DEBIAN_FRONTEND=noninteractive; apt-get install -y -qq $packages >/dev/null; $script" \
        unshare --mount mmdebstrap --quiet --mode=root --variant=minbase \
        --aptopt='APT::Install-Recommends "false"' --aptopt='APT::Sandbox::User "root"' \
        --customize-hook='chroot "$1" sh -c "$inside"' \
        "$suite" "$root" "deb $mirror $suite main" "deb $mirror $suite-backports main" >&2
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
}

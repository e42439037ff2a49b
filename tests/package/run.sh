#!/usr/bin/env bash
# Tests the package in a temporary Debian system, booted with its own systemd: run.sh PACKAGE.deb SUITE
#
# SUITE is the release: bookworm or trixie. Needs root, mmdebstrap and systemd-nspawn. The Debian system is created once, under
# /var/cache/pve-firewall-rs. It runs on this machine's kernel.
set -euo pipefail
package=$(realpath "$1")
suite=$2
cd "$(dirname "$0")"
source ../debian.sh
version=$(dpkg-deb -f "$package" Version)
# it takes about a minute and a half on an idle machine
limit=600

if [ "$(id -u)" != 0 ]; then
    echo "ERROR: this boots a Debian system in a container: run it as root" >&2
    exit 1
fi

# A Debian system with the packages that these tests need; it is created again when the list changes
packages="systemd systemd-sysv dbus logrotate $(dpkg-deb -f "$package" Depends | sed 's/([^)]*)//g; s/,/ /g')"
base=/var/cache/pve-firewall-rs/$suite-$(sha1sum <<<"$packages" | cut -c 1-8)
if [ ! -e "$base/complete" ]; then
    rm -rf "$base"
    mkdir -p "$base"
    make_debian "$suite" "$base/root" "$packages" 2>"$base/log" || { tail "$base/log" >&2; exit 1; }
    touch "$base/complete"
fi

root=$(mktemp -d /var/tmp/pvefw-package-XXXXXX)
trap 'rm -rf "$root"' EXIT
cp -a "$base/root/." "$root"
mkdir "$root/test"
cp -r inside "$root/test/"

# A stub of the official package in several versions, one of a package that depends on it, and a later version of this package
build() { dpkg-deb --root-owner-group -Zgzip --build "$1" "$2" >/dev/null; }
cp -r official "$root/test/official"
cp -r ../conformance/takeover/defaults-vm-ct "$root/test/official/usr/share/pve-firewall-rules"
gzip -9n "$root"/test/official/usr/share/man/man8/*
chmod 755 "$root"/test/official/DEBIAN/p* "$root"/test/official/usr/sbin/*
before=@VERSION@
for number in 6.0.4 6.0.5 6.0.6; do
    find "$root/test/official" -type f ! -name '*.gz' -exec sed -i "s/$before/$number/g" {} +
    before=$number
    build "$root/test/official" "$root/test/official-$number.deb"
done
chmod 755 official-nftables/DEBIAN/p* official-nftables/usr/libexec/proxmox/proxmox-firewall
build official-nftables "$root/test/official-nftables.deb"
mkdir -p "$root/test/needs/DEBIAN"
printf '%s\n' 'Package: pve-manager' 'Version: 9' 'Architecture: all' 'Maintainer: nobody <nobody@localhost>' \
    'Depends: pve-firewall (>= 6)' 'Description: stub of a package that uses PVE::Firewall' >"$root/test/needs/DEBIAN/control"
build "$root/test/needs" "$root/test/pve-manager.deb"
cp "$package" "$root/test/package.deb"
dpkg-deb -R "$package" "$root/test/later"
sed -i "s/^Version: .*/Version: $version+later/" "$root/test/later/DEBIAN/control"
build "$root/test/later" "$root/test/package-later.deb"
rm -r "$root/test/later" "$root/test/official" "$root/test/needs"

# The configuration from which the stub's rules were generated
echo n1 >"$root/etc/hostname"
mkdir -p "$root/etc/pve"
cp -r ../conformance/cases/defaults-vm-ct/pve/. "$root/etc/pve"
cp units/* "$root/etc/systemd/system/"
systemctl --root "$root" enable package-test.service 2>/dev/null

boot() {
    timeout --kill-after=10 "$limit" systemd-nspawn --quiet --directory "$root" --register=no --keep-unit --private-network \
        --capability=all --boot >>"$root/test/console" 2>&1 </dev/null || true
}
boot
if [ -e "$root/test/booted" ]; then boot; fi
cat "$root/test/output" 2>/dev/null || tail -n 40 "$root/test/console"
grep -qx 'all checks passed' "$root/test/output" || { echo "ERROR: the package failed a check: see above" >&2; exit 1; }

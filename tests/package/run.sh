#!/usr/bin/env bash
# The package in a throw-away Debian, booted with its own systemd: run.sh PACKAGE.deb
#
# Needs root, debootstrap and systemd-nspawn. The Debian is made once, under /var/cache/pve-firewall-rs.
set -euo pipefail
package=$(realpath "$1")
cd "$(dirname "$0")"
suite=bookworm
base=/var/cache/pve-firewall-rs/$suite
version=$(dpkg-deb -f "$package" Version)
limit=170

if [ "$(id -u)" != 0 ]; then
    echo "ERROR: a root for Debian is made and booted: run this as root" >&2
    exit 1
fi
command -v debootstrap >/dev/null && command -v systemd-nspawn >/dev/null ||
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap systemd-container; }

if [ ! -e "$base/complete" ]; then
    rm -rf "$base"
    mkdir -p "$base"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,logrotate,cron,"$(
        dpkg-deb -f "$package" Depends | sed 's/([^)]*)//g; s/ //g')" "$suite" "$base/root" >"$base/log"
    touch "$base/complete"
fi

root=$(mktemp -d /var/tmp/pvefw-package-XXXXXX)
trap 'rm -rf "$root"' EXIT
cp -a "$base/root/." "$root"

# A stand-in for the official package in two versions, and this package in a later one
mkdir -p "$root/test/bin"
build() { dpkg-deb --root-owner-group -Zgzip --build "$1" "$2" >/dev/null; }
for number in 6.0.4 6.0.5; do
    cp -a official "$root/test/official"
    find "$root/test/official" -type f -exec sed -i "s/@VERSION@/$number/g" {} +
    chmod 755 "$root"/test/official/DEBIAN/p* "$root"/test/official/usr/sbin/*
    build "$root/test/official" "$root/test/official-$number.deb"
    rm -r "$root/test/official"
done
cp "$package" "$root/test/package.deb"
dpkg-deb -R "$package" "$root/test/later"
sed -i "s/^Version: .*/Version: $version+later/" "$root/test/later/DEBIAN/control"
build "$root/test/later" "$root/test/package-later.deb"
rm -r "$root/test/later"

# The configuration of a small node
echo n1 >"$root/etc/hostname"
mkdir -p "$root/etc/pve"
cp -a pve/. "$root/etc/pve"
cp inside.sh "$root/test/"
cat >"$root/etc/systemd/system/package-test.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /test/inside.sh
ExecStopPost=/bin/systemctl poweroff --force --force
StandardOutput=file:/test/output
StandardError=inherit
[Install]
WantedBy=multi-user.target
UNIT
systemctl --root "$root" enable package-test.service 2>/dev/null

timeout --kill-after=10 "$limit" systemd-nspawn --quiet --directory "$root" --register=no --keep-unit --private-network \
    --capability=all --boot >"$root/test/console" 2>&1 || true
cat "$root/test/output" 2>/dev/null || { tail -n 40 "$root/test/console"; }
grep -qx 'all is well' "$root/test/output" || { echo "ERROR: the package is not as it should be: see above" >&2; exit 1; }

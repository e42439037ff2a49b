#!/usr/bin/env bash
# Creates the boot image of the lab's machines: image.sh SUITE DIRECTORY
#
# DIRECTORY gets vmlinuz, initramfs and root.img: the kernel of the Debian release SUITE, and its root file system with the tools
# that the tests use. Needs root and the network. Does nothing if DIRECTORY already has them for the same packages.
set -euo pipefail
suite=$1 directory=$2
cd "$(dirname "$0")"
source ../debian.sh

# packages of the firewall, of its tests, and for booting with and without systemd
packages=(iptables nftables ipset ebtables conntrack iproute2 kmod procps netbase mount util-linux python3
    vsftpd curl faketime systemd-sysv dbus logrotate)
# kernel modules for the root file system; those that are built in are ignored
boot_modules=(virtio_pci virtio_blk virtio_console 9pnet_virtio 9p ext4 overlay)
# parts of the kernel package that no test needs
surplus=(sound drivers/{gpu,media,infiniband,iio,staging,isdn,scsi,usb,hwmon,input})

wanted=$(sha1sum <<<"${packages[*]}" <(cat image.sh init) | sha1sum | cut -c 1-12)
mkdir -p "$directory"
exec 9>"$directory/lock"
flock 9
[[ $(cat "$directory/complete" 2>/dev/null) != "$wanted" ]] || exit 0
echo "making the image of $suite" >&2
install_missing mmdebstrap=mmdebstrap busybox=busybox-static mkfs.ext4=e2fsprogs cpio=cpio xz=xz-utils depmod=kmod
work=$(mktemp -d "$directory/work.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

# runs in the new root: an IPS, which Debian 12 has among its backports, and the kernel, which is unpacked only, since installing
# it would make an initramfs that nobody needs
inside="install='apt-get install -y -qq suricata' backports='-t $suite-backports'"'
    $install >/dev/null 2>&1 || $install $backports >/dev/null
    package=$(apt-cache depends linux-image-amd64 | sed -n "s/^ *Depends: \(linux-image-[0-9].*\)/\1/p")
    mkdir /kernel && cd /kernel && apt-get download -qq "$package" && dpkg-deb -x ./*.deb . && rm ./*.deb'
make_debian "$suite" "$root" "${packages[*]}" "$inside"

release=$(basename "$root"/kernel/boot/vmlinuz-*) && release=${release#vmlinuz-}
mv "$root/kernel/boot/vmlinuz-$release" "$work/vmlinuz"
modules=$root/usr/lib/modules
mkdir -p "$modules"
mv "$root"/kernel/{usr/,}"lib/modules/$release" "$modules/" 2>/dev/null || [[ -d $modules/$release ]]
rm -rf "$root/kernel" "${surplus[@]/#/$modules/$release/kernel/}"
# unpacking modules takes long on an emulated machine
find "$modules" -name '*.ko.xz' -print0 | xargs -0r -P "$(nproc)" -n 64 xz -d
depmod -b "$root" "$release"

# the first process, and a shell to run it
stage=$work/stage
mkdir -p "$stage"/{bin,modules,dev,proc,sys,new,low,high}
cp "$(command -v busybox)" "$stage/bin/"
ln -s busybox "$stage/bin/sh"
install -m 755 init "$stage/init"
for module in "${boot_modules[@]}"; do
    modprobe -d "$root" -S "$release" --show-depends "$module" 2>/dev/null || true
done | sed -n 's/^insmod *\([^ ]*\).*/\1/p' | awk '!seen[$0]++ { print }' >"$work/needed"
while read -r module; do
    cp "$module" "$stage/modules/"
    basename "$module" >>"$stage/modules/order"
done <"$work/needed"
(cd "$stage" && find . | cpio --quiet -o -H newc) | gzip -1 >"$work/initramfs"

echo lab >"$root/etc/hostname"
printf '127.0.0.1 localhost lab\n::1 localhost\n' >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
size=$(($(du -sm "$root" | cut -f 1) * 5 / 4 + 64))M
mkfs.ext4 -q -O ^has_journal -m 0 -E root_owner=0:0 -d "$root" "$work/root.img" "$size" >/dev/null
# a machine that runs keeps the old files
mv "$work"/{root.img,vmlinuz,initramfs} "$directory/"
echo "$wanted" >"$directory/complete"

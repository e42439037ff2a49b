#!/usr/bin/env bash
# Runs a command as root under the stock kernel of a Debian release, emulated by QEMU without KVM:
#
#   boot.sh [--limit SECONDS] [--systemd] [--share DIRECTORY]... SUITE COMMAND [ARGUMENT...]
#
# SUITE is bookworm (kernel 6.1) or trixie (6.12). The command starts in the current directory, which is mounted in the machine at
# the same path, like each DIRECTORY; files that the command writes exist only in the machine's memory. The output is printed
# immediately. The exit status is that of the command, 124 if the machine was killed at the limit (default: 15 minutes), or 125
# if it did not boot. The machine has no network. With --systemd its first process is systemd. The first run for a suite creates
# the image under $LAB_CACHE (/var/cache/pve-firewall-rs/lab), which needs network access.
set -euo pipefail
limit=900 systemd='' shares=("$PWD")
while [[ ${1:-} == --* ]]; do
    case $1 in
        --limit) limit=$2 && shift ;;
        --share) shares+=("$(realpath -s "$2")") && shift ;;
        --systemd) systemd=1 ;;
        *) echo "ERROR: unknown option '$1'" >&2 && exit 125 ;;
    esac
    shift
done
(($# >= 2)) || { sed -n '2,/^set/s/^# \?//p' "$0" >&2 && exit 125; }
suite=$1 && shift
# memory in MiB; written files are in it as well
memory=3072
# without AVX, which the C library would use and QEMU emulates slowly
cpu=qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt
here=$(realpath "$(dirname "$0")")
image=${LAB_CACHE:-/var/cache/pve-firewall-rs/lab}/$suite
"$here/image.sh" "$suite" "$image" || exit 125
source "$here/../debian.sh"
install_missing qemu-system-x86_64=qemu-system-x86 || exit 125

machine=$(mktemp -d "${TMPDIR:-/tmp}/lab.XXXXXX")
trap 'rm -rf "$machine"' EXIT
cp "$here/machine" "$machine/"
[[ -z $systemd ]] || : >"$machine/systemd"
{ printf 'cd %q && exec' "$PWD" && printf ' %q' "$@" && echo; } >"$machine/command"
directory() { echo "local,path=${2//,/,,},mount_tag=$1,security_model=none,multidevs=remap${3:-}"; }
devices=(-virtfs "$(directory lab "$machine")")
for number in "${!shares[@]}"; do
    devices+=(-virtfs "$(directory "share$number" "${shares[number]}" ,readonly=on)")
    printf 'share %s %q\n' "$number" "${shares[number]}"
done >"$machine/shares"
# QEMU stops printing output when its standard input ends: a FIFO without a writer keeps it open
mkfifo "$machine/stdin"
exec <>"$machine/stdin"

status=0
timeout --foreground --kill-after=5 "$limit" qemu-system-x86_64 \
    -accel tcg,thread=multi,tb-size=512 -cpu "$cpu" -smp 2 -m "$memory" -machine q35,graphics=off \
    -nodefaults -no-user-config -display none -no-reboot -nic none -kernel "$image/vmlinuz" -initrd "$image/initramfs" \
    -append 'console=ttyS0 quiet panic=-1 mitigations=off nokaslr nowatchdog rcupdate.rcu_cpu_stall_suppress=1 tsc=reliable audit=0' \
    -drive "file=$image/root.img,format=raw,if=virtio,readonly=on,file.locking=off" -serial "file:$machine/console" \
    -chardev stdio,id=output,signal=on -device virtio-serial -device virtserialport,chardev=output,name=output \
    "${devices[@]}" || status=$?
if [[ -s $machine/status ]]; then
    status=$(cat "$machine/status")
elif ((status == 124 || status == 137)); then
    echo "ERROR: the machine was killed after $limit s" >&2
    status=124
else
    tail -n 100 "$machine/console" >&2
    status=125
fi
if grep -sE 'BUG|Oops|Call Trace|WARNING:' "$machine/dmesg" >&2; then echo 'ERROR: the kernel log has errors' >&2; fi
exit "$status"

#!/usr/bin/env bash
# Runs the tests that depend on the kernel in the lab: run.sh [--long|--halves] [SUITE|here]...
#
# Each SUITE is a Debian release, by default bookworm and trixie, one after the other; `here` is this machine without emulation.
# With --halves each release runs every second test of the groups that take most of the time (`halved` in tests.sh): the first
# release one half, the second one the other half. The next commit exchanges the halves.
# LAB_GROUPS in the environment runs only some of the groups of tests.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
lab=tests/lab long=()
# ends a machine that hangs; long enough for the slowest group on two busy cores
limit=2400
half=''
case ${1:-} in
    --long) long=(--long) limit=28800 && shift ;;
    --halves) half=$(($(git rev-list --count HEAD 2>/dev/null || echo 0) % 2)) && shift ;;
esac
(($#)) || set -- bookworm trixie

# an emulated machine spends most of its time in these programs; with optimisation they take a tenth of the time
export CARGO_PROFILE_DEV_OPT_LEVEL=1
directory=${CARGO_TARGET_DIR:-target}
mkdir -p "$directory"
directory=$(realpath "$directory") programs=$directory/lab
cargo test --no-run --locked --test kernel --test faults --test resources --test nftables 2>&1 | tee "$programs.log" |
    sed -n 's|.*Executable tests/\([a-z]*\)/main.rs (\(.*\))|\1=\2|p' >"$programs"
[[ $(wc -l <"$programs") == 4 ]] || { cat "$programs.log" >&2 && exit 1; }
read -ra groups <<<"${LAB_GROUPS:-}"

failed=() emulated=()
# on_machine NAME OPTION... SUITE COMMAND...: runs a command on a machine of the lab; its output is kept as well
on_machine() {
    local name=$1 began=$SECONDS status=0
    shift
    "$lab/boot.sh" --share "$directory" "$@" |& tee "$programs-$name.log" || status=1
    echo "##### $name took $((SECONDS - began)) s"
    return $status
}
for suite in "$@"; do
    echo "##### $suite"
    if [[ $suite == here ]]; then
        "$lab/tests.sh" "${long[@]}" "$programs" "${groups[@]}" || failed+=("$suite")
    else
        options=("${long[@]}")
        if [[ $half ]]; then options=(--half "$half") half=$((1 - half)); fi
        on_machine "$suite" --limit "$limit" "$suite" "$lab/tests.sh" "${options[@]}" "$programs" "${groups[@]}" || failed+=("$suite")
        ((${#groups[@]})) || emulated+=("$suite")
    fi
done

# the tests of the units; the machines run at the same time, because these tests mostly wait
declare -A machines=()
for suite in "${emulated[@]}"; do
    on_machine "units-$suite" --limit 900 --systemd "$suite" "$lab/units.sh" "$directory/debug" &
    machines[units-$suite]=$!
done
for name in "${!machines[@]}"; do
    wait "${machines[$name]}" || failed+=("$name")
done
((${#failed[@]})) || exit 0
for name in "${failed[@]}"; do
    echo "ERROR: failed: $name"
    grep -hs '^ERROR' "$programs-$name.log" || true
done >&2
exit 1

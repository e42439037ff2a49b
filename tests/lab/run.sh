#!/usr/bin/env bash
# Runs the tests that depend on the kernel in the lab: run.sh [--long] [SUITE|here]...
#
# Each SUITE is a Debian release, by default bookworm and trixie, one after the other; `here` is this machine without emulation.
# LAB_GROUPS in the environment runs only some of the groups of tests.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
lab=tests/lab long=()
# ends a machine that hangs; long enough for the slowest group on two busy cores
limit=1800
if [[ ${1:-} == --long ]]; then long=(--long) limit=28800 && shift; fi
(($#)) || set -- bookworm trixie

# an emulated machine spends most of its time in these programs; with optimisation they take a tenth of the time
export CARGO_PROFILE_DEV_OPT_LEVEL=1
folder=${CARGO_TARGET_DIR:-target}
mkdir -p "$folder"
folder=$(realpath "$folder") programs=$folder/lab
cargo test --no-run --locked --test kernel --test faults --test resources --test nftables 2>&1 | tee "$programs.log" |
    sed -n 's|.*Executable tests/\([a-z]*\)/main.rs (\(.*\))|\1=\2|p' >"$programs"
[[ $(wc -l <"$programs") == 4 ]] || { cat "$programs.log" >&2 && exit 1; }
read -ra groups <<<"${LAB_GROUPS:-}"

failed=()
for suite in "$@"; do
    began=$SECONDS
    echo "##### $suite"
    if [[ $suite == here ]]; then
        "$lab/tests.sh" "${long[@]}" "$programs" "${groups[@]}" || failed+=("$suite")
    else
        "$lab/boot.sh" --limit "$limit" --share "$folder" "$suite" "$lab/tests.sh" "${long[@]}" "$programs" "${groups[@]}" ||
            failed+=("$suite")
        # the tests of the units; one machine for both, because it boots for half a minute
        ((${#groups[@]})) ||
            "$lab/boot.sh" --limit 600 --share "$folder" --systemd "$suite" "$lab/units.sh" "$folder/debug" ||
            failed+=("$suite: units")
    fi
    echo "##### $suite took $((SECONDS - began)) s"
done
((${#failed[@]} == 0)) || { printf 'ERROR: tests failed on %s\n' "${failed[@]}" >&2; exit 1; }

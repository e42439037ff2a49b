#!/usr/bin/env bash
# Runs the tests that depend on the kernel and its tools, on this machine's kernel:
#
#   tests.sh [--long] [--half 0|1] PROGRAMS [GROUP...]
#
# With --half only every second test of the groups in `halved` is run: 1 begins with the first test, 0 with the second.
# PROGRAMS is a file with the paths of the test programs, as run.sh writes it; a GROUP is the first word of a line of `groups` below.
# Needs root, the tools of `make deps test-deps`, and the kernel modules in `modules`.
set -euo pipefail
long='' half=''
if [[ $1 == --long ]]; then long=1 && shift; fi
if [[ $1 == --half ]]; then half=$2 && shift 2; fi
source "$1" && shift

# limits of the program itself
skipped=''
[[ $long ]] || skipped='--skip rules::a_hundred_thousand_rules --skip rules::nftables_tables_of_other_programs_that_are_too_large'
# the group, the program, and prefixes of test names to run or to skip: tests that do not use the kernel are skipped, because
# their result is the same under each kernel and they take minutes on an emulated machine
groups=(
    'trees kernel compiled_trees::'
    'kernel kernel apply:: evidence:: diff:: health:: hostile:: --skip scenarios::'
    "scenarios kernel scenarios:: logging:: $skipped"
    'differential kernel differential::'
    'faults faults'
    'logger kernel logger_kernel::'
    'daemon kernel boot:: cli:: daemon:: interruptions:: processes:: reader:: --skip prestarted_restore::'
    'nftables nftables --skip backends:: --skip packets:: --skip incremental::'
    'cycles resources cycles::'
)
# with --half: these take most of the time. `faults` does too, but its test harness accepts only one name with --exact
halved=(scenarios daemon nftables)
modules=(ip_tables iptable_filter iptable_raw ip6table_filter ip6table_raw ebtable_filter nf_tables nf_conntrack_bridge
    nft_reject_bridge nft_meta_bridge ip_set br_netfilter nfnetlink_log nf_conntrack fuse)
# an emulated machine runs fewer rounds of each test
if [[ $long ]]; then
    groups+=('scale kernel scale:: prestarted_restore::')
    export PVEFW_LONG_TESTS=1 DIFFERENTIAL=60,80
else
    export PVEFW_SHORT_TESTS=1 DIFFERENTIAL=6,60 PVEFW_CYCLES=20
fi

for name; do
    printf '%s\n' "${groups[@]}" | grep -q "^$name " || { echo "ERROR: there is no group '$name'" >&2; exit 1; }
done
for module in "${modules[@]}"; do
    modprobe -q "$module" || { echo "ERROR: this kernel has no module '$module'" >&2; exit 1; }
done
uname -sr
for tool in 'iptables-legacy --version' 'iptables-nft --version' 'ipset --version' 'ebtables-legacy --version' \
    'conntrack --version' 'nft --version'; do
    $tool 2>&1 | head -n 1
done

# run PROGRAM ARGUMENT...: runs tests in parallel, more than there are processors, because most tests wait. On an emulated machine
# a test may exceed its time limits when others run at the same time: those that fail are run once more, one at a time.
output=$(mktemp)
trap 'rm -f "$output"' EXIT
run() {
    local program=$1 name again=()
    shift
    # not a pipe: a remaining process of a failed test would keep it open
    "$program" --test-threads="$((2 * $(nproc)))" "$@" &> >(tee "$output") && return
    sleep 1
    mapfile -t again < <(sed -n 's/^test \(.*[^ ]\) *\.\.\. FAILED$/\1/p' "$output")
    ((${#again[@]})) || return 1
    for name in "${again[@]}"; do
        echo "=== once more: $name"
        "$program" --test-threads=1 --exact "$name" || { echo "ERROR: the test $name failed twice" && return 1; }
    done
}

failed=()
for group in "${groups[@]}"; do
    read -r name program tests <<<"$group"
    if (($#)) && [[ " $* " != *" $name "* ]]; then continue; fi
    began=$SECONDS
    echo "=== $name"
    if [[ $half && " ${halved[*]} " == *" $name "* ]]; then
        # shellcheck disable=SC2086
        tests="--exact $("${!program}" --list $tests | sed -n 's/: test$//p' | awk -v half="$half" 'NR % 2 == half' | xargs)"
    fi
    # shellcheck disable=SC2086 # one word is one name
    run "${!program}" $tests || failed+=("$name")
    echo "=== $name took $((SECONDS - began)) s"
done
((${#failed[@]} == 0)) || { echo "ERROR: failed: ${failed[*]}" >&2; exit 1; }

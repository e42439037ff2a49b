//! Every run of every tool in an update fails in every way: no refused packet passes, the other parts are updated, an
//! incomplete update is reported, and the next update completes it.
use crate::host::{Host, VARIANTS, ebtables};
use crate::packets::Stream;
use crate::rulesets::add_guest;
use crate::stream::{assert_stream_was_refused, origin, target};
use crate::tool_wrappers::{read_note, replace_tool, restore_tool};
use pve_firewall::iptables::apply::{Outcome, Variant};
use pve_firewall::iptables::plan::{Plan, PlannedAction, TablePlan};
use pve_firewall::iptables::ruleset::{Family, Ruleset};
use std::collections::BTreeMap;
use std::time::Duration;

pub fn tests() -> Vec<(&'static str, fn())> {
    vec![("a_failure_of_any_tool_run_affects_only_its_part", a_failure_of_any_tool_run_affects_only_its_part)]
}

/// Scripts that replace a run of the tool; `$real` is the tool.
pub const FAULTS: [(&str, &str); 9] = [
    ("it fails", "echo 'out of order' >&2; exit 1"),
    ("its output is empty", "$real \"$@\" >/dev/null"),
    ("it is killed", "kill -9 $$"),
    ("its output ends in the middle", "$real \"$@\" | head -n 7"),
    ("a kernel module is missing", "echo 'modprobe: FATAL: Module ip_tables not found' >&2; exit 3"),
    ("its output ends in the middle of a line", "$real \"$@\" | head -c 400"),
    ("it cannot be executed", "exit 126"),
    ("it hangs", "sleep 1000"),
    ("it does nothing and exits with 0", "cat >/dev/null"),
];

/// The time limit of tools: long enough for a busy machine, and short enough for a hanging tool.
pub const LIMIT: Duration = Duration::from_secs(5);

/// A run of a tool in an update: the nth with these arguments.
struct Run {
    tool: String,
    args: String,
    number: usize,
}

fn tools(variant: Variant) -> Vec<String> {
    let mut tools: Vec<String> = match ebtables(variant) {
        Variant::Legacy => vec!["ebtables-legacy".into()],
        Variant::Nft => ["ebtables-nft-save", "ebtables-nft-restore"].map(Into::into).into(),
    };
    tools.push("ipset".into());
    for tool in ["iptables", "ip6tables"] {
        tools.extend(["save", "restore"].map(|end| format!("{tool}-{variant}-{end}")));
    }
    tools
}

/// A change in every part: an entry moves from a set to a rule, one guest is removed and another added.
fn change() -> (Ruleset, Ruleset) {
    let (mut old, mut new) = (origin(0), target(0));
    add_guest(&mut old, 101);
    add_guest(&mut new, 102);
    (old, new)
}

/// All runs of a new process in its first update.
fn runs(mut host: Host, variant: Variant, new: &Ruleset) -> (Host, Vec<Run>) {
    for tool in tools(variant) {
        replace_tool(&mut host, &tool, &format!("echo \"{tool} $*\" >>$dir/runs; exec $real \"$@\""));
    }
    host = host.restarted();
    assert_eq!(host.update(new).errors, []);
    tools(variant).iter().for_each(|tool| restore_tool(&host, tool));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in read_note(&host, "runs").lines() {
        *counts.entry(line.to_string()).or_default() += 1;
    }
    let run = |line: &str, number| {
        let (tool, args) = line.split_once(' ').unwrap();
        Run { tool: tool.into(), args: args.into(), number }
    };
    let runs = counts.iter().flat_map(|(line, count)| (1..=*count).map(move |number| run(line, number)));
    (host, runs.collect())
}

/// Checks that the parts that do not use a tool are updated.
fn others_are_updated(host: &Host, run: &Run, what: &str) {
    let parts = [
        ("iptables-", host.saved("iptables", "-t filter"), ":tap102i0-IN "),
        ("ip6tables-", host.saved("ip6tables", "-t filter"), ":tap102i0-IN "),
        ("ebtables-", host.saved_bridge(), ":tap102i0-OUT "),
    ];
    for (of, live, chain) in parts.into_iter().filter(|(of, ..)| !run.tool.starts_with(of)) {
        assert!(live.contains(chain), "{what}: {of}\n{live}");
    }
}

/// Checks that an incomplete update is reported, except for differences without effect: an unused set, or a duplicate jump
/// from a built-in chain.
fn assert_reported(host: &mut Host, outcome: &Outcome, new: &Ruleset, what: &str) {
    let plan = Plan::new(new, &host.live());
    let tables = Family::ALL.into_iter().flat_map(|family| [&plan.filter[family], &plan.raw[family]]);
    let changes = [PlannedAction::Create, PlannedAction::Update, PlannedAction::Delete];
    let is_done = |table: &TablePlan| {
        table.missing_hooks.is_empty() && changes.iter().all(|one| table.with(*one).next().is_none())
    };
    let done = tables.chain([&plan.bridge]).all(is_done)
        && changes[..2].iter().all(|action| plan.sets.with(*action).next().is_none());
    assert!(!outcome.errors.is_empty() || done, "{what}: not reported: {plan:?}");
}

/// With `PVEFW_LONG_TESTS` each failure at each run in both variants; otherwise each run fails in one way, in turn. With
/// `PVEFW_SHORT_TESTS` each failure occurs at one run.
fn a_failure_of_any_tool_run_affects_only_its_part() {
    let [all, few] = ["PVEFW_LONG_TESTS", "PVEFW_SHORT_TESTS"].map(|name| std::env::var_os(name).is_some());
    let (old, new) = change();
    let (mut cases, mut reported) = (0, 0);
    for (first, variant) in VARIANTS.into_iter().enumerate() {
        let mut host = Host::new("everywhere", variant);
        let stream = Stream::start(&host.netns);
        host.update_and_check(&old);
        let before = stream.final_count();
        let (mut host, runs) = runs(host, variant, &new);
        let step = if few { (runs.len() / FAULTS.len()).max(1) } else { 1 };
        for (at, run) in runs.iter().step_by(step).enumerate() {
            for (number, (fault, script)) in FAULTS.iter().enumerate() {
                // for each run, the variants fail in different ways
                if !all && number != (2 * at + first) % FAULTS.len() {
                    continue;
                }
                cases += 1;
                let what = format!("{} {} (run {}): {fault}", run.tool, run.args, run.number);
                host.update_and_check(&old);
                let counter = format!("$dir/case-{cases}");
                let script = format!(
                    "if [ \"$*\" = '{}' ]; then echo >>{counter}; if [ $(grep -c '' {counter}) = {} ]; then {script}; exit $?; fi; fi\n\
                     exec $real \"$@\"",
                    run.args, run.number
                );
                replace_tool(&mut host, &run.tool, &script);
                host = host.restarted();
                host.firewall.set_time_limit(LIMIT);
                let outcome = host.update(&new);
                assert!(
                    read_note(&host, &format!("case-{cases}")).lines().count() >= run.number,
                    "{what}: the run was reached"
                );
                reported += usize::from(!outcome.errors.is_empty());
                others_are_updated(&host, run, &what);
                assert_reported(&mut host, &outcome, &new, &what);
                restore_tool(&host, &run.tool);
                // the next cycle of the same process
                assert_eq!(host.update(&new).errors, [], "{what}: next update");
                let plan = Plan::new(&new, &host.live());
                assert!(plan.is_empty(), "{what}: next update: {plan:?}");
                assert_eq!(stream.final_count(), before, "{what}: packets passed");
            }
        }
        assert_stream_was_refused(host, &stream, before, "a tool that fails");
    }
    println!("{cases} cases, {reported} with a reported error");
    assert!(2 * reported > cases, "{reported} of {cases} cases are errors");
}

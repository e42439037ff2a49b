//! A stream of packets that the old and the new configuration refuse: none passes at any time during an update, however long its
//! steps take and at whichever step it ends.
use crate::host::{Host, VARIANTS};
use crate::killed::run_child;
use crate::packets::{PEER, Stream};
use crate::rounds::rounds;
use crate::rulesets::{addresses, chain, in_set, put, rule, set, tcp};
use crate::tool_wrappers::{read_note, replace_tool, restore_tool};
use crate::tools::restore;
use pve_firewall::iptables::apply::Variant;
use pve_firewall::iptables::ruleset::*;
use std::sync::Arc;

pub fn tests() -> Vec<(&'static str, fn())> {
    vec![
        ("no_packet_passes_between_the_steps_of_an_update", no_packet_passes_between_the_steps_of_an_update),
        ("no_packet_passes_if_a_table_reads_as_empty", no_packet_passes_if_a_table_reads_as_empty),
        ("no_packet_passes_if_an_update_fails_at_any_step", no_packet_passes_if_an_update_fails_at_any_step),
        ("no_packet_passes_if_an_update_is_killed_at_any_step", no_packet_passes_if_an_update_is_killed_at_any_step),
        (
            "a_set_is_kept_when_the_rule_that_replaces_it_is_refused",
            a_set_is_kept_when_the_rule_that_replaces_it_is_refused,
        ),
        ("rules_of_a_set_that_cannot_be_created_are_kept", rules_of_a_set_that_cannot_be_created_are_kept),
        (
            "a_set_is_kept_while_the_rules_of_its_family_cannot_be_read",
            a_set_is_kept_while_the_rules_of_its_family_cannot_be_read,
        ),
    ]
}

/// Sets and rules that refuse the stream.
struct Closed {
    /// The sets whose members PVEFW-INPUT drops, each with whether it contains the peer.
    sets: &'static [(&'static str, bool)],
    /// The chain with a rule that drops the peer's address.
    rule: Option<&'static str>,
}

const fn closed(sets: &'static [(&'static str, bool)], rule: Option<&'static str>) -> Closed {
    Closed { sets, rule }
}

/// The sets and rules that refuse the stream before and after an update.
const MOVES: [(&str, Closed, Closed); 8] = [
    ("from a set to a rule", closed(&[("a", true)], None), closed(&[("a", false)], Some("PVEFW-INPUT"))),
    (
        "from a set to a rule of another chain",
        closed(&[("a", true)], None),
        closed(&[("a", false)], Some("PVEFW-HOST-IN")),
    ),
    ("from a rule to a set", closed(&[("a", false)], Some("PVEFW-HOST-IN")), closed(&[("a", true)], None)),
    ("from a set to another", closed(&[("b", true), ("a", false)], None), closed(&[("b", false), ("a", true)], None)),
    ("the other way round", closed(&[("b", false), ("a", true)], None), closed(&[("b", true), ("a", false)], None)),
    ("from a set to a rule", closed(&[("a", true)], None), closed(&[], Some("PVEFW-INPUT"))),
    ("from a rule to a new set", closed(&[], Some("PVEFW-HOST-IN")), closed(&[("a", true)], None)),
    ("from a set to a new one", closed(&[("a", true)], None), closed(&[("a", false), ("b", true)], None)),
];

impl Closed {
    fn ruleset(&self) -> Ruleset {
        let mut ruleset = crate::rulesets::node(&[100]);
        let name = |name: &str| format!("PVEFW-0-{name}-v4");
        let peer = Spelled::new(&PEER.to_string(), vec![format!("{PEER}/32").parse().unwrap()]).unwrap();
        let dropping = || rule(vec![Match::Address(Side::Source, peer.clone().into())], Target::Drop, 3);
        let mut input: Vec<Rule> = Vec::new();
        for (stem, holds) in self.sets {
            input.push(rule(in_set(&name(stem)), Target::Drop, 4));
            let mut made = Set::new(Family::V4, 2, Origin::Generated("test".into()));
            made.add("192.0.2.0/24".parse().unwrap(), false);
            if *holds {
                made.add(format!("{PEER}/32").parse().unwrap(), false);
            }
            ruleset.sets.insert(set(&name(stem)), Arc::new(made));
        }
        let mut host = vec![rule(tcp(8006), Target::Return, 2)];
        match self.rule {
            Some("PVEFW-INPUT") => input.push(dropping()),
            Some(_) => host.push(dropping()),
            None => {}
        }
        input.push(rule(vec![], Target::Jump(chain("PVEFW-HOST-IN")), 5));
        put(&mut ruleset.filter.v4, "PVEFW-HOST-IN", host);
        put(&mut ruleset.filter.v4, "PVEFW-INPUT", input);
        ruleset
    }
}

/// The ruleset before a move.
pub fn origin(number: usize) -> Ruleset {
    MOVES[number].1.ruleset()
}

/// The ruleset after a move.
pub fn target(number: usize) -> Ruleset {
    MOVES[number].2.ruleset()
}

fn tools(variant: Variant) -> [String; 2] {
    [restore("iptables", variant), "ipset".into()]
}

/// A host that refuses the stream with the ruleset before a move.
fn refusing(number: usize, variant: Variant) -> (Host, Stream, u64) {
    let mut host = Host::new("stream", variant);
    let stream = Stream::start(&host.netns);
    host.update_and_check(&MOVES[number].1.ruleset());
    let before = stream.final_count();
    (host, stream, before)
}

/// Checks that the stream was refused until now, and passes when the rules are removed.
pub fn assert_stream_was_refused(mut host: Host, stream: &Stream, before: u64, what: &str) {
    let passed = stream.final_count() - before;
    assert_eq!(passed, 0, "{what}: packets passed");
    assert_eq!(host.remove().errors, []);
    stream.wait_for_packet();
}

/// Adds delays before and after every tool and every line of a script for sets, so that packets arrive in between.
fn delay_tools(host: &mut Host, variant: Variant) {
    let [tables, sets] = tools(variant);
    replace_tool(host, &tables, "sleep 0.03; $real \"$@\"; status=$?; sleep 0.03; exit $status");
    let lines = "[ \"$1\" = restore ] || exec $real \"$@\"
        while read -r line; do echo \"$line\" | $real restore || exit 1; sleep 0.01; done";
    replace_tool(host, &sets, lines);
}

fn no_packet_passes_between_the_steps_of_an_update() {
    let of_move = |number| VARIANTS.map(|variant| (number, variant));
    for (number, variant) in rounds((0..MOVES.len()).flat_map(of_move)) {
        let (what, _, new) = &MOVES[number];
        let (mut host, stream, before) = refusing(number, variant);
        delay_tools(&mut host, variant);
        host.update_and_check(&new.ruleset());
        assert!(!host.netns.exec("ipset list -n").contains("_next"), "{what}");
        assert_stream_was_refused(host, &stream, before, what);
    }
}

/// A save prints nothing and exits with 0, as for an empty table: the live rules are then unknown.
fn no_packet_passes_if_a_table_reads_as_empty() {
    for (number, (what, ..)) in rounds(MOVES.iter().enumerate()) {
        let variant = VARIANTS[number % 2];
        let (mut host, stream, before) = refusing(number, variant);
        delay_tools(&mut host, variant);
        let save = format!("iptables-{variant}-save");
        replace_tool(&mut host, &save, "exit 0");
        let mut host = host.restarted();
        let mut wanted = target(number);
        // a set that is no longer used still exists, and changes
        for (name, _) in origin(number).sets {
            wanted.sets.entry(name).or_insert_with(|| addresses(3));
        }
        let _ = host.update(&wanted);
        restore_tool(&host, &save);
        complete_update(host, variant, number, &stream, before, &format!("{what}, nothing is read"));
    }
}

/// Replaces every run that changes something after the first `steps` with `fault`.
fn fail_after(host: &mut Host, variant: Variant, steps: usize, fault: &str) {
    let count = format!("echo >>$dir/steps; [ $(grep -c '' $dir/steps) -le {steps} ] || {{ {fault}; exit 1; }}");
    let [tables, sets] = tools(variant);
    replace_tool(host, &tables, &format!("{count}; exec $real \"$@\""));
    replace_tool(host, &sets, &format!("if [ \"$1\" = restore ]; then {count}; fi; exec $real \"$@\""));
}

fn complete_update(host: Host, variant: Variant, number: usize, stream: &Stream, before: u64, what: &str) {
    tools(variant).iter().for_each(|tool| restore_tool(&host, tool));
    let mut restarted = host.restarted();
    restarted.update_and_check(&target(number));
    let sets = restarted.netns.exec("ipset list -n");
    assert!(!sets.contains("_next") && !sets.contains("_swap"), "{what}: {sets}");
    assert_stream_was_refused(restarted, stream, before, what);
}

/// The moves that are tested at every step: with `PVEFW_LONG_TESTS` all, with `PVEFW_SHORT_TESTS` the first of these.
fn tested_moves(some: [usize; 2]) -> impl Iterator<Item = (usize, &'static str)> {
    let all = std::env::var_os("PVEFW_LONG_TESTS").is_some();
    let some: Vec<usize> = rounds(some).collect();
    let chosen = move |number: &usize| all || some.contains(number);
    (0..MOVES.len()).filter(chosen).map(|number| (number, MOVES[number].0))
}

fn no_packet_passes_if_an_update_fails_at_any_step() {
    for (number, what) in tested_moves([0, 3]) {
        let variant = VARIANTS[number % 2];
        for steps in 0.. {
            let (mut host, stream, before) = refusing(number, variant);
            fail_after(&mut host, variant, steps, ":");
            let failed = !host.update(&target(number)).errors.is_empty();
            // a second update that fails in the same way
            let _ = host.update(&target(number));
            complete_update(host, variant, number, &stream, before, &format!("{what}, failing after {steps} steps"));
            if !failed {
                assert!(steps > 1, "{what}: some step failed");
                break;
            }
        }
    }
}

fn no_packet_passes_if_an_update_is_killed_at_any_step() {
    for (number, what) in tested_moves([2, 4]) {
        let variant = VARIANTS[(number + 1) % 2];
        for steps in 0.. {
            let (mut host, stream, before) = refusing(number, variant);
            fail_after(&mut host, variant, steps, "kill -9 $PPID");
            let killed = !run_child(&host, variant, Some(number)).success();
            assert_eq!(killed, read_note(&host, "steps").lines().count() > steps, "{what}, {steps}");
            complete_update(host, variant, number, &stream, before, &format!("{what}, killed after {steps} steps"));
            if !killed {
                assert!(steps > 1, "{what}: it was killed at some step");
                break;
            }
        }
    }
}

/// The rule's chain keeps its live rules, which use the set: the set keeps its entry until the rule is accepted.
fn a_set_is_kept_when_the_rule_that_replaces_it_is_refused() {
    for variant in VARIANTS {
        let (mut host, stream, before) = refusing(0, variant);
        let tool = restore("iptables", variant);
        crate::tool_wrappers::refuse(&mut host, &tool, &format!("-s {PEER} -j DROP"));
        // if the refused rule is known from an earlier update, the result must be the same
        for _ in 0..3 {
            let outcome = host.update(&target(0));
            let text = outcome.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(text.contains("the chain keeps its live rules until this is fixed"), "{text}");
            assert!(host.netns.exec("ipset save").contains(&format!("add PVEFW-0-a-v4 {PEER}")));
        }
        restore_tool(&host, &tool);
        let mut restarted = host.restarted();
        restarted.update_and_check(&target(0));
        assert!(!restarted.netns.exec("ipset save").contains(&format!("add PVEFW-0-a-v4 {PEER}")));
        assert_stream_was_refused(restarted, &stream, before, "a refused rule");
    }
}

fn rules_of_a_set_that_cannot_be_created_are_kept() {
    for variant in VARIANTS {
        let (mut host, stream, before) = refusing(2, variant);
        // the rule is in the chain that uses the set
        host.update_and_check(&closed(&[("a", false)], Some("PVEFW-INPUT")).ruleset());
        let corrupt = "sed 's:^\\(add PVEFW-0-a-v4[^ ]*\\) 10.77.*:\\1 bogus:'";
        replace_tool(
            &mut host,
            "ipset",
            &format!("[ \"$1\" = restore ] || exec $real \"$@\"; {corrupt} | $real \"$@\""),
        );
        for _ in 0..2 {
            let outcome = host.update(&target(2));
            let text = outcome.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(text.contains("set 'PVEFW-0-a-v4_next'"), "{text}");
        }
        restore_tool(&host, "ipset");
        host.update_and_check(&target(2));
        assert_stream_was_refused(host, &stream, before, "a set that cannot be made");
    }
}

fn a_set_is_kept_while_the_rules_of_its_family_cannot_be_read() {
    let (mut host, stream, before) = refusing(0, Variant::Legacy);
    replace_tool(&mut host, "iptables-legacy-save", "exit 1");
    let outcome = host.update(&target(0));
    assert!(!outcome.errors.is_empty());
    assert!(host.netns.exec("ipset save").contains(&format!("add PVEFW-0-a-v4 {PEER}")));
    restore_tool(&host, "iptables-legacy-save");
    host.update_and_check(&target(0));
    assert_stream_was_refused(host, &stream, before, "rules that cannot be read");
}

//! The nftables backend: `nft` fails in every way, the process is killed, rules are refused, and other programs change the
//! tables. No refused packet passes, and the next update completes or restores everything.
use crate::every_run::{FAULTS, LIMIT};
use crate::host::Host;
use crate::killed::{run_child, run_child_without};
use crate::netns::Netns;
use crate::packets::{PEER, Stream};
use crate::rounds::rounds;
use crate::tool_wrappers::{read_note, replace_tool, restore_tool};
use crate::wait::wait_for;
use crate::{nft_trees, trees};
use pve_firewall::model::Origin;
use pve_firewall::nftables::apply::{Firewall, Outcome};
use pve_firewall::nftables::live;
use pve_firewall::nftables::names::{Name, TableName};
use pve_firewall::nftables::ruleset::{Action, Chain, Match, Rule, Ruleset, Side};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub fn tests() -> Vec<(&'static str, fn())> {
    vec![
        ("no_packet_passes_if_nft_fails_in_any_way", no_packet_passes_if_nft_fails_in_any_way),
        (
            "no_packet_passes_while_rules_and_sets_change_together",
            no_packet_passes_while_rules_and_sets_change_together,
        ),
        ("no_packet_passes_if_an_update_with_nft_is_killed", no_packet_passes_if_an_update_with_nft_is_killed),
        ("without_nft_the_tables_stay", without_nft_the_tables_stay),
        ("a_hanging_nft_is_killed", a_hanging_nft_is_killed),
        ("many_rules_that_nft_refuses_are_found_in_few_runs", many_rules_that_nft_refuses_are_found_in_few_runs),
        ("tables_that_other_programs_change_are_restored", tables_that_other_programs_change_are_restored),
        ("tables_that_change_during_an_update_are_restored", tables_that_change_during_an_update_are_restored),
    ]
}

/// The name of this backend for a process that is to be killed.
pub const BACKEND: &str = "nftables";

type NftHost = Host<Firewall, ()>;

/// The part of cluster.fw that refuses the stream; everything else is accepted.
const REFUSING_PARTS: [&str; 6] = [
    "[IPSET some]\nNETS,PEER\n[RULES]\nIN DROP -source +some\n",
    "[IPSET some]\nNETS\n[RULES]\nIN DROP -source +some\nIN DROP -source PEER\n",
    "[RULES]\nGROUP closed\n[group closed]\nIN DROP -source PEER\n",
    "[IPSET more]\nNETS,PEER\n[RULES]\nIN DROP -source +more -log info\n",
    "[IPSET blacklist]\nPEER\nNETS\n",
    "[RULES]\nIN ACCEPT -p tcp -dport 22\nIN REJECT -p udp\n",
];

/// More entries than are compiled to one rule each, so that they become a set.
const ENTRIES: u8 = 20;

/// A configuration that refuses the stream. After the last part, numbers continue with the first.
fn closed(part: usize) -> Arc<Ruleset> {
    Arc::new(nft_trees::for_this_kernel(compiled(part)))
}

fn compiled(part: usize) -> Ruleset {
    let entries: Vec<String> = (1..=ENTRIES).map(|at| format!("192.0.{}.0/24", 2 * at)).collect();
    let text = REFUSING_PARTS[part % REFUSING_PARTS.len()].replace("PEER", &PEER.to_string());
    let text = text.replace("NETS", &entries.join("\n")).replace(',', "\n");
    let tree = trees::vm_tree(&format!("policy_in: ACCEPT\n{text}"), "");
    nft_trees::rules(&tree, &nft_trees::facts())
}

/// Updates the live tables of the namespace in which this process was started.
pub fn child(part: usize) {
    let mut wanted = compiled(part);
    let live = live::read().unwrap().tables;
    wanted.tables.retain(|name, _| live.contains_key(name));
    Firewall::default().update(&Arc::new(wanted)).errors.iter().for_each(|fault| println!("{fault}"));
}

impl NftHost {
    fn nft(name: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        Host { guards: Vec::new(), netns: Netns::new(name), root, firewall: Firewall::default(), variant: () }
    }

    /// Another process on the same node.
    fn next_process(self) -> Self {
        Host { firewall: Firewall::default(), ..self }
    }

    fn set_rules(&mut self, wanted: &Arc<Ruleset>) -> Outcome {
        self.netns.run(|| self.firewall.update(wanted))
    }

    fn is_live(&mut self, wanted: &Arc<Ruleset>) -> bool {
        self.netns.run(|| self.firewall.plan(wanted)).unwrap().is_empty()
    }

    /// Updates, and checks that a second update, of this process or another one, has nothing to do.
    #[track_caller]
    fn assert_completes(&mut self, wanted: &Arc<Ruleset>, what: &str) {
        assert_eq!(self.set_rules(wanted).errors, [""; 0], "{what}");
        assert_eq!(self.set_rules(wanted), Outcome::default(), "{what}");
        assert!(self.netns.run(|| Firewall::default().plan(wanted)).unwrap().is_empty(), "{what}");
    }

    fn listed(&self) -> String {
        self.netns.exec("nft -s list ruleset")
    }
}

/// A node that refuses the stream with the rules of a part.
fn refusing(name: &str, part: usize) -> (NftHost, Stream, u64) {
    let mut host = NftHost::nft(name);
    let stream = Stream::start(&host.netns);
    host.assert_completes(&closed(part), "the first update");
    let text = host.listed();
    assert!(text.contains(&PEER.to_string()) || text.contains("meta l4proto 17"), "{text}");
    let before = stream.final_count();
    (host, stream, before)
}

/// nf_tables makes the chains of a transaction effective one after the other: a packet may be evaluated by the old rules of one and
/// the new rules of another.
const BETWEEN_CHAINS: u64 = 1;

/// Checks that no packet has passed since `before`, which is set to the current number.
fn assert_none_passed(stream: &Stream, before: &mut u64, what: &str) {
    let now = stream.final_count();
    assert!(now - *before <= BETWEEN_CHAINS, "{what}: {} packets passed", now - *before);
    *before = now;
}

/// Checks that the stream was refused until now, and passes when the tables are removed.
fn assert_stream_was_refused(mut host: NftHost, stream: &Stream, mut before: u64, what: &str) {
    assert_none_passed(stream, &mut before, what);
    let Host { netns, firewall, .. } = &mut host;
    assert_eq!(netns.run(|| firewall.remove()).errors, [""; 0], "{what}");
    stream.wait_for_packet();
}

/// In addition to the failures of every tool: a nonzero exit status after a successful transaction.
const LATE_FAULTS: [(&str, &str); 2] = [
    ("it is killed after the transaction", "$real \"$@\"; kill -9 $$"),
    ("it fails after the transaction", "$real \"$@\"; exit 1"),
];

fn no_packet_passes_if_nft_fails_in_any_way() {
    let (mut host, stream, mut before) = refusing("nftfail", 0);
    let mut reported = 0;
    let cases = FAULTS.into_iter().chain(LATE_FAULTS).flat_map(|fault| [true, false].map(|once| (fault, once)));
    let cases: Vec<_> = rounds(cases.zip(1..)).collect();
    for (((fault, script), once), part) in &cases {
        let what = format!("{fault}, {}", if *once { "once" } else { "each time" });
        host.assert_completes(&closed(part - 1), &what);
        let counter = format!("$dir/case-{part}");
        let count =
            format!("echo >>{counter}; if [ $(grep -c '' {counter}) = 1 ] || ! {once}; then {script}; exit $?; fi");
        replace_tool(&mut host, "nft", &format!("{count}; exec $real \"$@\""));
        host = host.next_process();
        host.firewall.set_time_limit(LIMIT);
        let outcome = host.set_rules(&closed(*part));
        assert!(!read_note(&host, &format!("case-{part}")).is_empty(), "{what}: nft was run");
        assert!(!outcome.errors.is_empty() || host.is_live(&closed(*part)), "{what}: not reported");
        reported += usize::from(!outcome.errors.is_empty());
        restore_tool(&host, "nft");
        // the next cycle of the same process
        host.assert_completes(&closed(*part), &what);
        assert_none_passed(&stream, &mut before, &what);
    }
    println!("{} cases, {reported} of them reported", cases.len());
    assert!(2 * reported > cases.len(), "{reported} of {}", cases.len());
    assert_stream_was_refused(host, &stream, before, "nft that fails");
}

fn no_packet_passes_while_rules_and_sets_change_together() {
    let (mut host, stream, mut before) = refusing("nftmoves", 0);
    // packets arrive before and after each transaction
    replace_tool(&mut host, "nft", "sleep 0.03; $real \"$@\"; status=$?; sleep 0.03; exit $status");
    for part in 1..=REFUSING_PARTS.len() {
        let outcome = host.set_rules(&closed(part));
        assert_eq!(outcome, Outcome { changed: true, errors: Vec::new() }, "{part}");
        assert_none_passed(&stream, &mut before, &format!("part {part}"));
        // from one part to another, and back
        for to in [part - 1, part] {
            host.assert_completes(&closed(to), "the previous part and back");
        }
    }
    assert_stream_was_refused(host, &stream, before, "changes");
}

/// Either the process and nft are killed, or only the process, and nft ends later.
fn no_packet_passes_if_an_update_with_nft_is_killed() {
    let kills = [
        "kill -9 $PPID; exit 1",
        "$real \"$@\"; kill -9 $PPID",
        "kill -9 $PPID; sleep 0.2; $real \"$@\"; echo >>$dir/late",
    ];
    for (kill, part) in rounds(kills.into_iter().flat_map(|kill| (0..3).map(move |part| (kill, part)))) {
        let (mut host, stream, before) = refusing("nftkill", part);
        replace_tool(&mut host, "nft", kill);
        assert!(!run_child(&host, BACKEND, Some(part + 1)).success(), "it was killed");
        let over = || !kill.ends_with("late") || !read_note(&host, "late").is_empty();
        wait_for("the end of nft, which outlives its caller", || over().then_some(()));
        restore_tool(&host, "nft");
        let mut host = host.next_process();
        host.assert_completes(&closed(part + 1), kill);
        assert_stream_was_refused(host, &stream, before, kill);
    }
}

fn without_nft_the_tables_stay() {
    let (host, stream, before) = refusing("nftgone", 0);
    let listed = host.listed();
    let errors = run_child_without(&host, BACKEND, Some(1), &["nft".into()]);
    let expected = "the tables were not changed: 'nft' is not installed; install the Debian package that has it";
    assert_eq!(errors.trim(), expected);
    assert_eq!(host.listed(), listed);
    let mut host = host.next_process();
    host.assert_completes(&closed(1), "nft is installed again");
    assert_stream_was_refused(host, &stream, before, "no nft");
}

fn a_hanging_nft_is_killed() {
    let (mut host, stream, before) = refusing("nfthang", 0);
    host.firewall.set_time_limit(Duration::from_secs(2));
    replace_tool(&mut host, "nft", "echo $$ >>$dir/pids; sleep 1000 & echo $! >>$dir/pids; wait");
    let began = Instant::now();
    let outcome = host.set_rules(&closed(1));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let expected = "the tables were not changed: 'nft' did not end within 2 s and was killed; check whether another program \
                    blocks it";
    assert_eq!(outcome, Outcome { changed: false, errors: vec![expected.into()] });
    for pid in read_note(&host, "pids").split_whitespace() {
        let running = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        assert!(!running, "process {pid} was left running");
    }
    restore_tool(&host, "nft");
    host.firewall.set_time_limit(Duration::from_secs(60));
    host.assert_completes(&closed(1), "nft works again");
    assert_stream_was_refused(host, &stream, before, "nft that hangs");
}

/// A ruleset in which the kernel refuses rules of many chains: they use a set that does not exist.
fn with_refused_rules(count: u16) -> Arc<Ruleset> {
    let mut wanted = Ruleset::clone(&closed(0));
    let table = wanted.tables.get_mut(&TableName::Host).unwrap();
    let absent = Name::new("absent").unwrap();
    for at in 0..count {
        let origin = Origin::Line("/etc/pve/firewall/cluster.fw".into(), 1000 + u32::from(at));
        let rule =
            |matches: Vec<Match>| Rule { matches: matches.into(), action: Action::Accept, origin: origin.clone() };
        let refused = Match::PortIn { protocol: 6, side: Side::Source, set: absent.clone() };
        let rules = vec![rule(Vec::new()), rule(vec![refused]), rule(Vec::new())];
        table.chains.insert(Name::new(&format!("group-g{at}-in")).unwrap(), Arc::new(Chain::new(None, rules)));
    }
    Arc::new(wanted)
}

fn many_rules_that_nft_refuses_are_found_in_few_runs() {
    let (mut host, stream, before) = refusing("nftmany", 0);
    let runs = |host: &NftHost| read_note(host, "runs").lines().count();
    replace_tool(&mut host, "nft", "echo >>$dir/runs; exec $real \"$@\"");
    let wanted = with_refused_rules(40);
    let outcome = host.set_rules(&wanted);
    assert!(outcome.changed && outcome.errors.len() == 40, "{:#?}", outcome.errors);
    for (at, error) in (1000..).zip(&outcome.errors) {
        assert!(error.contains(".fw:1") && error.ends_with("; left out"), "{at}: {error}");
    }
    println!("{} runs", runs(&host));
    assert!(runs(&host) < 200, "{} runs", runs(&host));
    // the other rules are live
    let chain = host.netns.exec("nft list chain inet proxmox-firewall group-g39-in");
    assert_eq!(chain.matches("accept").count(), 2, "{chain}");
    // a persisting error is reported again, without further runs
    let known = runs(&host);
    assert_eq!(host.set_rules(&wanted), Outcome { changed: false, errors: outcome.errors });
    assert_eq!(runs(&host), known);
    restore_tool(&host, "nft");
    host.assert_completes(&closed(1), "without refused rules");
    assert_stream_was_refused(host, &stream, before, "refused rules");
}

/// A table of another program.
const FOREIGN_RULES: &str = "table inet theirs { set s { type ipv4_addr; }; chain input { type filter hook input priority -5; \
    ip saddr @s drop; }; }";

/// Changes by other programs, as commands for nft.
const FOREIGN_CHANGES: [&str; 9] = [
    "flush ruleset",
    "delete table inet proxmox-firewall",
    "flush table inet proxmox-firewall",
    "flush chain inet proxmox-firewall input",
    "flush chain inet proxmox-firewall cluster-in",
    "insert rule inet proxmox-firewall input accept",
    "rename chain inet proxmox-firewall host-in host-out-of-the-way",
    "flush set inet proxmox-firewall v4-dc/some",
    "add table inet proxmox-firewall { flags dormant; }",
];

fn sorted(listed: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = listed.lines().collect();
    lines.sort_unstable();
    lines
}

/// After a change by another program, the stream passes only until the next update.
fn tables_that_other_programs_change_are_restored() {
    let (mut host, stream, _) = refusing("nftothers", 0);
    let wanted = closed(0);
    host.assert_completes(&wanted, "the same rules");
    let own = host.listed();
    for change in FOREIGN_CHANGES {
        host.netns.exec(&format!("nft '{FOREIGN_RULES}'; nft '{change}'"));
        let foreign = host.netns.exec("nft list table inet theirs 2>/dev/null || true");
        let outcome = host.set_rules(&wanted);
        assert_eq!(outcome, Outcome { changed: true, errors: Vec::new() }, "{change}");
        assert!(!host.firewall.undone().is_empty(), "{change}: it is not logged");
        let mut before = stream.final_count();
        assert_eq!(host.netns.exec("nft list table inet theirs 2>/dev/null || true"), foreign, "{change}");
        host.netns.exec("nft delete table inet theirs 2>/dev/null || true");
        // a chain that is created again is listed last
        assert_eq!(sorted(&host.listed()), sorted(&own), "{change}");
        host.assert_completes(&wanted, change);
        assert_none_passed(&stream, &mut before, change);
    }
}

/// Another program changes the tables between the read and the transaction, or between the transaction and its verification.
fn tables_that_change_during_an_update_are_restored() {
    let orders = ["{}; $real \"$@\"", "$real \"$@\"; status=$?; {}; exit $status"];
    for (number, change) in rounds(FOREIGN_CHANGES.into_iter().enumerate()) {
        for order in orders {
            let (mut host, stream, _) = refusing("nftraced", 0);
            let once = "if mkdir $dir/once 2>/dev/null; then $real '{}'; fi".replace("{}", change);
            replace_tool(&mut host, "nft", &order.replace("{}", &once));
            let wanted = closed(1 + number % 3);
            let what = format!("{change}, {order}");
            // no rule is considered refused
            assert_eq!(host.set_rules(&wanted).errors, [""; 0], "{what}");
            assert!(host.is_live(&wanted), "{what}");
            let before = stream.final_count();
            assert_eq!(host.set_rules(&wanted), Outcome::default(), "{what}");
            restore_tool(&host, "nft");
            assert_stream_was_refused(host, &stream, before, &what);
        }
    }
}

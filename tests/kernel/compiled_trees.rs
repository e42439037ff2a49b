//! Compiled configuration trees: the recorded cases, a generated node, and the takeover from the official daemon.
use crate::host::{Host, VARIANTS, set_counters, shell};
use crate::trees::{facts, from_directory};
use crate::wait::OutputInTime;
use pve_firewall::iptables::apply::{Outcome, Variant};
use pve_firewall::iptables::compile::{Compiled, compile};
use pve_firewall::iptables::plan::{Plan, PlannedAction, TablePlan};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn conformance(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(path)
}

fn compiled(root: &Path) -> Compiled {
    compile(&from_directory(root), &facts())
}

/// The configuration of a node with guests; removed on drop.
fn generated(guests: &str, seed: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/gen.py");
    let status = Command::new("python3").arg(script).args([guests, seed]).arg(dir.path()).output_in_time().status;
    assert!(status.success());
    dir
}

/// Replaces text in a file; the text must be present.
fn edit(root: &Path, file: &str, from: &str, to: &str) {
    let path = root.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file}: {from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn names(plan: &TablePlan, action: PlannedAction) -> Vec<&str> {
    plan.with(action).map(|name| name.as_str()).collect()
}

fn apply_every_case(variant: Variant) {
    let mut cases: Vec<_> = fs::read_dir(conformance("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 52);
    let mut host = Host::new("cases", variant);
    let empty = host.kernel_state();
    // one after the other, so that each is also a change from another configuration
    for case in &cases {
        host.update_and_check(&compiled(&case.join("pve")).ruleset);
    }
    assert_eq!(host.remove().errors, []);
    assert_eq!(host.kernel_state(), empty);
}

#[test]
fn every_recorded_case_is_applied_completely_with_legacy() {
    apply_every_case(Variant::Legacy);
}

#[test]
fn every_recorded_case_is_applied_completely_with_nft() {
    apply_every_case(Variant::Nft);
}

#[test]
fn a_node_with_fifty_guests_is_updated_chain_by_chain() {
    for variant in VARIANTS {
        let dir = generated("50", "1");
        let mut host = Host::new("gen", variant);
        let empty = host.kernel_state();
        let first = compiled(dir.path());
        host.update_and_check(&first.ruleset);
        let before = set_counters(&host, "iptables");

        let guest = first
            .ruleset
            .filter
            .v4
            .keys()
            .find_map(|name| name.as_str().strip_prefix("tap")?.strip_suffix("i0-IN"))
            .unwrap();
        let file = format!("firewall/{guest}.fw");
        edit(dir.path(), &file, "[RULES]\n", "[RULES]\nIN ACCEPT -p tcp -dport 4444 -source 192.0.2.7 # new\n");
        let second = compiled(dir.path()).ruleset;
        let chain = format!("tap{guest}i0-IN");
        let live = host.live();
        let plan = Plan::new(&second, &live);
        let changed: Vec<_> = names(&plan.filter.v4, PlannedAction::Update);
        assert!(
            changed.contains(&chain.as_str()) && changed.iter().all(|name| name.starts_with(&format!("tap{guest}i"))),
            "{changed:?}"
        );
        assert!(plan.filter.v6.is_empty() && plan.raw.v4.is_empty() && plan.bridge.is_empty() && plan.sets.is_empty());
        let changed: Vec<String> = changed.into_iter().map(Into::into).collect();
        host.update_and_check(&second);
        for (name, rules) in host.counters("iptables") {
            assert!(changed.contains(&name) || rules == before[&name], "{variant}: {name} keeps its counters");
        }

        // a guest is disabled, and enabled again
        let live_with_guest = host.kernel_state();
        edit(dir.path(), &file, "enable: 1", "enable: 0");
        host.update_and_check(&compiled(dir.path()).ruleset);
        assert!(!host.saved("iptables", "-t filter").contains(&format!(":{chain}")));
        edit(dir.path(), &file, "enable: 0", "enable: 1");
        host.update_and_check(&compiled(dir.path()).ruleset);
        let sorted = |mut all: std::collections::BTreeMap<String, Vec<String>>| {
            all.values_mut().for_each(|lines| lines.sort());
            all
        };
        assert_eq!(sorted(host.kernel_state()), sorted(live_with_guest));
        assert_eq!(host.remove().errors, []);
        assert_eq!(host.kernel_state(), empty);
    }
}

/// The differences from the official rules: 1 (corosync ports), 2, 3 and 29 (the standard chains), 4 (log prefixes in IPv6, in
/// groups, and on a guest's second device), 33 (IP filters).
struct Takeover {
    case: &'static str,
    /// The chains that differ in IPv4, in addition to the two standard ones.
    v4: &'static [&'static str],
    /// The chains that differ in IPv6, in addition to the two standard ones.
    v6: &'static [&'static str],
    /// The ebtables chains that differ.
    bridge: &'static [&'static str],
    sets: &'static [&'static str],
}

const TAKEOVER: [Takeover; 5] = [
    Takeover { case: "corosync-knet", v4: &["PVEFW-HOST-IN", "PVEFW-HOST-OUT"], v6: &[], bridge: &[], sets: &[] },
    Takeover { case: "defaults-vm-ct", v4: &[], v6: &[], bridge: &[], sets: &[] },
    Takeover {
        case: "groups",
        v4: &["GROUP-webserver-IN", "GROUP-webserver-OUT"],
        v6: &["GROUP-webserver-IN", "GROUP-webserver-OUT"],
        bridge: &[],
        sets: &[],
    },
    Takeover {
        case: "ipfilter-sets",
        v4: &[],
        v6: &[],
        bridge: &["tap100i0-OUT-ARP", "veth200i0-OUT-ARP"],
        sets: &["PVEFW-100-ipfilter-net0-v6", "PVEFW-200-ipfilter-net0-v6"],
    },
    Takeover {
        case: "log-user-rules",
        v4: &["tap100i1-OUT"],
        v6: &["PVEFW-HOST-IN", "PVEFW-HOST-OUT", "tap100i0-OUT", "tap100i1-OUT"],
        bridge: &[],
        sets: &[],
    },
];

#[test]
fn rules_of_the_official_daemon_are_taken_over() {
    for variant in VARIANTS {
        for Takeover { case, v4, v6, bridge, sets } in TAKEOVER {
            let mut host = Host::new("takeover", variant);
            let dir = conformance(&format!("takeover/{case}"));
            let dir = dir.display();
            host.netns.exec(&shell(
                variant,
                &format!(
                    "ipset restore <{dir}/ipset_create
                IPT-restore -n <{dir}/ip4; IPT-restore -n <{dir}/ip4raw
                SIX-restore -n <{dir}/ip6; SIX-restore -n <{dir}/ip6raw
                EBT-restore <{dir}/ebtables"
                ),
            ));
            let wanted = compiled(&conformance(&format!("cases/{case}/pve"))).ruleset;
            let plan = Plan::new(&wanted, &host.live());
            let updated = |table: &TablePlan| -> BTreeSet<String> {
                names(table, PlannedAction::Update).into_iter().map(str::to_string).collect()
            };
            let standard = ["PVEFW-Drop", "PVEFW-Reject"];
            let both = |own: &[&str]| own.iter().chain(&standard).map(ToString::to_string).collect();
            assert_eq!(updated(&plan.filter.v4), both(v4), "{case}");
            assert_eq!(updated(&plan.filter.v6), both(v6), "{case}");
            assert_eq!(updated(&plan.bridge), bridge.iter().map(ToString::to_string).collect(), "{case}");
            let changed = plan.sets.sets.iter().filter(|(_, planned)| planned.action != PlannedAction::Exists);
            assert_eq!(changed.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), sets, "{case}");
            assert!(plan.sets.stale.is_empty(), "{case}");
            for table in [&plan.filter.v4, &plan.filter.v6, &plan.raw.v4, &plan.raw.v6, &plan.bridge] {
                assert!(table.missing_hooks.is_empty() && table.surplus_hooks.is_empty());
                let others = table.chains.values().filter(|planned| planned.action != PlannedAction::Update);
                assert!(
                    others.into_iter().all(|planned| planned.action == PlannedAction::Exists),
                    "{case}: {table:#?}"
                );
            }
            host.update_and_check(&wanted);
            assert_eq!(host.remove(), Outcome { changed: true, errors: vec![] });
        }
    }
}

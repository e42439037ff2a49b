//! Plans and scripts, applied to a simulated kernel with the restrictions of the real one.
use crate::arbitrary;
use crate::rulesets;
use proptest::prelude::*;
use pve_firewall::iptables::plan::*;
use pve_firewall::iptables::ruleset::{Family, Ruleset};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One table: rules by chain, without `-A CHAIN`.
#[derive(Clone, Default)]
struct FakeTable(BTreeMap<String, Vec<String>>);

impl FakeTable {
    fn new(built_in: &[&str]) -> Self {
        FakeTable(built_in.iter().map(|name| ((*name).to_string(), vec![])).collect())
    }

    fn used(&self, chain: &str) -> bool {
        self.0.values().flatten().any(|rule| rule.split(' ').any(|word| word == chain))
    }

    /// Executes a script line by line, as strictly as the kernel.
    fn restore(&mut self, script: &str) {
        for line in script.lines() {
            let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (name, rule) = rest.split_once(' ').unwrap_or((rest, ""));
            match command {
                "-A" => self.0.get_mut(name).unwrap_or_else(|| panic!("{line}: no chain")).push(rule.into()),
                "-I" => self.0.get_mut(name).unwrap_or_else(|| panic!("{line}: no chain")).insert(0, rule.into()),
                "-D" => {
                    let rules = self.0.get_mut(name).unwrap();
                    let at = rules.iter().position(|one| one == rule).unwrap_or_else(|| panic!("{line}: no rule"));
                    rules.remove(at);
                }
                "-F" => self.0.get_mut(name).unwrap_or_else(|| panic!("{line}: no chain")).clear(),
                "-X" => {
                    assert!(!self.used(name), "{line}: in use");
                    assert_eq!(self.0.remove(name).as_deref(), Some(&[][..]), "{line}: not empty");
                }
                "COMMIT" => {}
                _ if command.starts_with('*') => {}
                _ => {
                    let chain = command.strip_prefix(':').unwrap_or_else(|| panic!("{line}"));
                    assert!(self.0.insert(chain.into(), vec![]).is_none(), "{line}: exists already");
                }
            }
        }
    }

    fn save(&self, table: &str) -> String {
        let chains: String = self.0.keys().map(|name| format!(":{name} - [0:0]\n")).collect();
        let rules = self.0.iter().flat_map(|(name, rules)| rules.iter().map(move |rule| format!("-A {name} {rule}\n")));
        format!("*{table}\n{chains}{}COMMIT\n", rules.collect::<String>())
    }
}

/// The sets' lines by name.
#[derive(Clone, Default)]
struct FakeSets(BTreeMap<String, Vec<String>>);

impl FakeSets {
    fn restore(&mut self, script: &str) {
        for line in script.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let name = words[1].to_string();
            match words[0] {
                "create" => {
                    assert!(self.0.insert(name, vec![words[2..].join(" ")]).is_none(), "{line}: exists already")
                }
                "add" => self.0.get_mut(&name).unwrap().push(words[2..].join(" ")),
                "flush" => self.0.get_mut(&name).unwrap().truncate(1),
                "destroy" => assert!(self.0.remove(&name).is_some(), "{line}: does not exist"),
                "swap" => {
                    let [a, b] = [&name, words[2]].map(|name| self.0.remove(name).unwrap());
                    self.0.insert(name, b);
                    self.0.insert(words[2].into(), a);
                }
                _ => panic!("{line}"),
            }
        }
    }

    fn save(&self) -> String {
        let mut text = String::new();
        for (name, lines) in &self.0 {
            text += &format!("create {name} {} initval 0x1234abcd\n", lines[0]);
            lines[1..].iter().rev().for_each(|line| text += &format!("add {name} {line}\n"));
        }
        text
    }
}

#[derive(Clone)]
struct FakeKernel {
    tables: BTreeMap<(TableName, Family), FakeTable>,
    bridge: FakeTable,
    sets: FakeSets,
}

impl FakeKernel {
    fn new() -> Self {
        let all = Family::ALL.into_iter().flat_map(|family| TableName::ALL.map(|table| (table, family)));
        FakeKernel {
            tables: all
                .map(|(table, family)| {
                    (
                        (table, family),
                        FakeTable::new(&hooks_of(table).iter().map(|hook| hook.chain).collect::<Vec<_>>()),
                    )
                })
                .collect(),
            bridge: FakeTable::new(&["INPUT", "FORWARD", "OUTPUT"]),
            sets: FakeSets::default(),
        }
    }

    fn live(&self) -> Live {
        let mut live = Live::empty();
        for ((table, family), fake) in &self.tables {
            let read = read_table(&fake.save(table.as_str()), *table).map_err(|error| error.to_string().into());
            match table {
                TableName::Filter => live.filter[*family] = read.map(Arc::new),
                TableName::Raw => live.raw[*family] = read.map(Arc::new),
            }
        }
        live.bridge = Ok(read_bridge(&self.bridge.save("filter"), BridgeFormat::Save).into());
        live.sets = Ok(read_sets(&self.sets.save()).into());
        live
    }

    fn apply(&mut self, wanted: &Ruleset) {
        let live = self.live();
        let plan = Plan::new(wanted, &live);
        self.sets.restore(&sets_script(&plan.sets, wanted, |_| false).text);
        for ((table, family), fake) in &mut self.tables {
            let plan = plan.table(*table, *family);
            if !plan.is_empty() {
                fake.restore(&table_script(plan, wanted.table(*table, *family), *table).text);
            }
        }
        self.sets.restore(&removed_sets_script(&plan.sets, |_| false).text);
        let style = live.bridge.as_ref().unwrap().style;
        self.bridge.restore(&bridge_script(&plan.bridge, &wanted.bridge, style).text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_applied_ruleset_needs_no_change(rulesets in proptest::collection::vec(arbitrary::ruleset(), 1..4)) {
        let mut kernel = FakeKernel::new();
        for wanted in &rulesets {
            kernel.apply(wanted);
            let plan = Plan::new(wanted, &kernel.live());
            prop_assert!(plan.is_empty(), "{plan:#?}");
            prop_assert!(listing(wanted, Some(&kernel.live()), true).to_string().ends_with("\nno changes\n"));
        }
        kernel.apply(&Ruleset::default());
        prop_assert_eq!(kernel.live().errors(), vec![]);
        for part in [Part::Table(TableName::Filter, Family::V4), Part::Table(TableName::Raw, Family::V6), Part::Bridge, Part::Sets] {
            prop_assert!(!kernel.live().has_own(part));
        }
    }

    #[test]
    fn each_rule_line_of_a_script_belongs_to_a_chain(wanted in arbitrary::ruleset()) {
        let live = Live::empty();
        let plan = Plan::new(&wanted, &live);
        let script = table_script(&plan.filter.v4, &wanted.filter.v4, TableName::Filter);
        for (at, line) in script.text.lines().enumerate() {
            if let Some((name, index)) = script.owner(at + 1) {
                let chain = &wanted.filter.v4[name];
                let expected = chain.rules().get(index).map(|rule| rule.line(name));
                prop_assert!(expected.is_none_or(|expected| expected == line));
                prop_assert_eq!(index == chain.rules().len(), line.contains("PVESIG:"));
            } else {
                prop_assert!(!line.starts_with("-A PVEFW") && !line.starts_with("-A tap"), "{}", line);
            }
        }
    }
}

#[test]
fn the_listing_has_six_blocks() {
    let mut kernel = FakeKernel::new();
    kernel.apply(&rulesets::node(&[100]));
    kernel.bridge.0.insert("mine".into(), vec![]);
    kernel
        .tables
        .get_mut(&(TableName::Filter, Family::V4))
        .unwrap()
        .0
        .insert("PVEFW-old".into(), vec!["-j DROP".into()]);
    let mut wanted = rulesets::node(&[]);
    rulesets::put(&mut wanted.filter.v4, "PVEFW-reject", vec![]);
    let text = listing(&wanted, Some(&kernel.live()), true).to_string();
    let heads: Vec<&str> = text.lines().filter(|line| line.ends_with("cmdlist:")).collect();
    assert_eq!(
        heads,
        [
            "ipset cmdlist:",
            "iptables cmdlist:",
            "ip6tables cmdlist:",
            "ebtables cmdlist:",
            "iptables table raw cmdlist:",
            "ip6tables table raw cmdlist:"
        ]
    );
    let blocks: Vec<Vec<&str>> = text.split("\n\n").map(|block| block.lines().collect()).collect();
    assert_eq!(blocks.len(), 6);
    assert!(blocks[0][1].starts_with("delete PVEFW-100-friends-v4 ("), "{text}");
    let actions = |block: &[&str]| -> Vec<String> {
        let chains = block[1..].iter().filter(|line| !line.starts_with('\t'));
        chains.map(|line| line.rsplit_once(" (").map_or(*line, |(action, _)| action).to_string()).collect()
    };
    assert_eq!(
        actions(&blocks[1]),
        [
            "exists PVEFW-FORWARD",
            "update PVEFW-FWBR-IN",
            "update PVEFW-FWBR-OUT",
            "exists PVEFW-INPUT",
            "exists PVEFW-OUTPUT",
            "create PVEFW-reject",
            "delete PVEFW-old",
            "delete tap100i0-IN",
            "delete tap100i0-OUT",
        ]
    );
    assert!(blocks[1].contains(&"delete PVEFW-old (unknown)"));
    assert!(blocks[1].contains(&"\t-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP"));
    let bridge = ["exists PVEFW-FORWARD", "update PVEFW-FWBR-OUT"];
    let bridge_live = ["ignore FORWARD", "ignore INPUT", "ignore OUTPUT", "ignore mine", "delete tap100i0-OUT"];
    assert_eq!(actions(&blocks[3]), [&bridge[..], &bridge_live[..]].concat());
    assert!(text.ends_with("\ndetected changes\n"));
    let offline = listing(&wanted, None, false).to_string();
    assert!(!offline.contains("exists ") && !offline.contains("ignore "));
    assert!(offline.ends_with("\ndetected changes\nfirewall disabled\n"));
    assert!(listing(&Ruleset::default(), None, false).to_string().ends_with("\nno changes\nfirewall disabled\n"));
}

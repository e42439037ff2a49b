//! A node for tests: a network namespace, a directory for state files, and a firewall.
#![allow(dead_code, reason = "each test program uses a part")]
use crate::netns::Netns;
use crate::wait::OutputInTime;
use pve_firewall::iptables::apply::{Firewall, Outcome, Variant, VariantChoice};
use pve_firewall::iptables::plan::{Live, Plan};
use pve_firewall::iptables::ruleset::Ruleset;
use pve_firewall::system::root_directory::Root;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

pub const VARIANTS: [Variant; 2] = [Variant::Legacy, Variant::Nft];

/// The variant of ebtables that is used with a variant of iptables: the same, unless the kernel has no legacy ebtables.
pub fn ebtables(variant: Variant) -> Variant {
    static LEGACY: OnceLock<bool> = OnceLock::new();
    let works = || Command::new("/usr/sbin/ebtables-legacy").arg("-L").output_in_time().status.success();
    if variant == Variant::Legacy && *LEGACY.get_or_init(works) { Variant::Legacy } else { Variant::Nft }
}

/// A shell script with the names of a variant's programs in place of `IPT` (iptables), `SIX` (ip6tables) and `EBT` (ebtables),
/// which wait for the xtables lock, because other tests take it as well.
pub fn shell(variant: Variant, script: &str) -> String {
    let mut script = script.to_string();
    for (short, tool) in [("IPT", "iptables"), ("SIX", "ip6tables")] {
        let tool = format!("{tool}-{variant}");
        script = script.replace(&format!("{short}-save"), &format!("{tool}-save"));
        script = script.replace(&format!("{short}-restore"), &format!("{tool}-restore -w 60"));
        script = script.replace(short, &format!("{tool} -w 60"));
    }
    script.replace("EBT", &format!("ebtables-{}", ebtables(variant)))
}

/// A node with a backend; by default the iptables backend with a variant.
pub struct Host<F = Firewall, V = Variant> {
    /// Resources to drop before the namespace.
    pub guards: Vec<Box<dyn std::any::Any + Send>>,
    pub netns: Netns,
    pub root: tempfile::TempDir,
    pub firewall: F,
    pub variant: V,
}

impl Host {
    pub fn new(name: &str, variant: Variant) -> Self {
        let root = tempfile::tempdir().unwrap();
        let firewall = Firewall::new(&Root::new(Some(root.path().into())), VariantChoice::Only(variant));
        Host { guards: Vec::new(), netns: Netns::new(name), root, firewall, variant }
    }

    /// Another process on the same node.
    pub fn restarted(self) -> Self {
        let root = Root::new(Some(self.root.path().into()));
        Host { firewall: Firewall::new(&root, VariantChoice::Only(self.variant)), ..self }
    }

    pub fn update(&mut self, wanted: &Ruleset) -> Outcome {
        self.netns.run(|| self.firewall.update(wanted))
    }

    /// Updates and checks that a second update has nothing to do.
    #[track_caller]
    pub fn update_and_check(&mut self, wanted: &Ruleset) {
        let outcome = self.update(wanted);
        assert_eq!(outcome.errors, []);
        let live = self.live();
        assert!(Plan::new(wanted, &live).is_empty(), "{:#?}", Plan::new(wanted, &live));
        assert_eq!(self.update(wanted), Outcome::default(), "a second update has nothing to do");
    }

    pub fn live(&mut self) -> Live {
        self.netns.run(|| self.firewall.live())
    }

    pub fn remove(&mut self) -> Outcome {
        self.netns.run(|| self.firewall.remove())
    }

    /// The output of a save tool of this host's variant.
    pub fn saved(&self, tool: &str, args: &str) -> String {
        self.netns.exec(&format!("{tool}-{}-save {args}", self.variant))
    }

    /// The chains and rules of ebtables, as `ebtables-nft-save` prints them.
    pub fn saved_bridge(&self) -> String {
        saved_bridge(&self.netns, self.variant)
    }

    /// All rules and sets in the kernel, without dates, counters and random numbers, by the command that lists them.
    pub fn kernel_state(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        for tool in ["iptables", "ip6tables"] {
            for table in ["filter", "raw", "nat"] {
                all.insert(format!("{tool} {table}"), lines(&self.saved(tool, &format!("-t {table}"))));
            }
        }
        all.insert("ebtables".into(), lines(&self.saved_bridge()));
        all.insert("ipset".into(), lines(&self.netns.exec("ipset save | sed 's/ initval .*//' | sort")));
        all
    }

    /// The rules of the table `filter` with their counters, by chain.
    pub fn counters(&self, tool: &str) -> BTreeMap<String, Vec<String>> {
        let mut chains: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in self.saved(tool, "-c -t filter").lines().filter(|line| line.starts_with('[')) {
            let chain = line.split(' ').nth(2).unwrap();
            chains.entry(chain.into()).or_default().push(line.into());
        }
        chains
    }
}

/// Sets different packet and byte counters for each rule of the table `filter` and returns them: replacing a rule resets
/// them.
pub fn set_counters(host: &Host, tool: &str) -> BTreeMap<String, Vec<String>> {
    let mut number = 0;
    let mut numbered = String::new();
    for line in host.saved(tool, "-c -t filter").lines() {
        numbered += &match line.split_once("] ").filter(|(counter, _)| counter.starts_with('[')) {
            Some((_, rule)) => {
                number += 1;
                format!("[{number}:{number}] {rule}\n")
            }
            None => format!("{line}\n"),
        };
    }
    let file = host.root.path().join("numbered");
    std::fs::write(&file, numbered).unwrap();
    host.netns.exec(&format!("{tool}-{}-restore -w 60 -c <{}", host.variant, file.display()));
    host.counters(tool)
}

/// The chains and rules of ebtables for a variant of iptables, as `ebtables-nft-save` prints them.
pub fn saved_bridge(netns: &Netns, variant: Variant) -> String {
    match ebtables(variant) {
        Variant::Nft => netns.exec("ebtables-nft-save"),
        Variant::Legacy => to_save_format(&netns.exec("ebtables-legacy -L")),
    }
}

/// The output of `ebtables-legacy -L` in the format of a save tool.
fn to_save_format(listed: &str) -> String {
    let (mut saved, mut chain) = (String::from("*filter\n"), "");
    for line in listed.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with("Bridge table")) {
        saved += &match line.strip_prefix("Bridge chain: ").map(|head| head.split(", ").collect::<Vec<_>>()) {
            Some(head) => {
                chain = head[0];
                format!(":{chain} {}\n", head[2].trim_start_matches("policy: "))
            }
            None => format!("-A {chain} {line}\n"),
        };
    }
    saved
}

/// The lines of a table without unchanged built-in chains.
fn lines(text: &str) -> Vec<String> {
    let counters = |line: &str| line.split(" [").next().unwrap().to_string();
    let bare = |line: &str| line.starts_with('#') || line == "COMMIT" || line.starts_with('*');
    let built_in =
        |line: &str| line.starts_with(':') && line.ends_with(" ACCEPT") && !line.contains(char::is_lowercase);
    text.lines().filter(|line| !bare(line)).map(counters).filter(|line| !built_in(line)).collect()
}

//! A node for tests: a network namespace, a folder for state files, and a firewall that works there.
use crate::netns::Netns;
use pve_firewall::apply::{Firewall, Outcome, Variant, VariantChoice};
use pve_firewall::plan::{Live, Plan};
use pve_firewall::ruleset::Ruleset;
use pve_firewall::system::root::Root;
use std::collections::BTreeMap;

pub const VARIANTS: [Variant; 2] = [Variant::Legacy, Variant::Nft];

pub struct Host {
    pub netns: Netns,
    pub root: tempfile::TempDir,
    pub firewall: Firewall,
    variant: Variant,
}

impl Host {
    pub fn new(name: &str, variant: Variant) -> Self {
        let root = tempfile::tempdir().unwrap();
        let firewall = Firewall::new(&Root::new(Some(root.path().into())), VariantChoice::Only(variant));
        Host { netns: Netns::new(name), root, firewall, variant }
    }

    pub fn update(&mut self, wanted: &Ruleset) -> Outcome {
        self.netns.run(|| self.firewall.update(wanted))
    }

    /// Updates, which must succeed and leave nothing to do.
    #[track_caller]
    pub fn settle(&mut self, wanted: &Ruleset) {
        let outcome = self.update(wanted);
        assert_eq!(outcome.faults, []);
        let live = self.live();
        assert!(Plan::new(wanted, &live).is_empty(), "{:#?}", Plan::new(wanted, &live));
        assert_eq!(self.update(wanted), Outcome::default(), "a second update finds nothing to do");
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

    /// Everything in the kernel, without dates, counters and random numbers, by the command that told it.
    pub fn everything(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        for tool in ["iptables", "ip6tables"] {
            for table in ["filter", "raw", "nat"] {
                all.insert(format!("{tool} {table}"), lines(&self.saved(tool, &format!("-t {table}"))));
            }
        }
        all.insert("ebtables".into(), lines(&self.netns.exec("ebtables-nft-save")));
        all.insert("ipset".into(), lines(&self.netns.exec("ipset save | sed 's/ initval .*//' | sort")));
        all
    }

    /// The packet counters of each rule of a chain, and whether each is still there after `change`.
    pub fn counters(&self, tool: &str) -> BTreeMap<String, Vec<String>> {
        let mut chains: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in self.saved(tool, "-c -t filter").lines().filter(|line| line.starts_with('[')) {
            let chain = line.split(' ').nth(2).unwrap();
            chains.entry(chain.into()).or_default().push(line.into());
        }
        chains
    }
}

fn lines(text: &str) -> Vec<String> {
    let counters = |line: &str| line.split(" [").next().unwrap().to_string();
    text.lines().filter(|line| !line.starts_with('#')).map(counters).collect()
}

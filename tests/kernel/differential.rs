//! Random configurations and packets: the simulator and the kernel give the same verdict for each.
//!
//! `DIFFERENTIAL=CONFIGURATIONS,PACKETS` sets the number of configurations and of packets for each, `DIFFERENTIAL_SEED` the
//! first seed. A failure prints the seed of its configuration; with that seed and `DIFFERENTIAL=1,…` it can be repeated.
//! Needs root, netfilter, and the tools of `make deps`.
mod fate;

use crate::random::{config, packets, shown};
use crate::testbed::Bed;
use crate::testbed::wire::Wire;
use crate::trees;
use fastrand::Rng;
use pve_firewall::iptables::apply::{Firewall, VariantChoice};
use pve_firewall::iptables::compile::{Compiled, compile};
use pve_firewall::system::root::Root;
use std::collections::BTreeMap;

/// Default number of configurations, and of packets for each.
const SHORT: (u64, usize) = (80, 80);
const SEED: u64 = 20_240_425;

#[test]
fn simulator_and_kernel_agree() {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("'{text}' is no number"));
    let (configurations, packets) = match std::env::var("DIFFERENTIAL") {
        Ok(text) => {
            let (configurations, packets) = text.split_once(',').expect("DIFFERENTIAL=CONFIGURATIONS,PACKETS");
            (number(configurations), number(packets) as usize)
        }
        Err(_) => SHORT,
    };
    let seed = std::env::var("DIFFERENTIAL_SEED").map_or(SEED, |text| number(&text));
    let mut judge = Judge::new();
    for seed in seed..seed + configurations {
        judge.configuration(seed, packets);
    }
    println!("seed {seed}, {configurations} configurations: {}", judge.tally());
    judge.tally.each_is_there();
}

/// The number of packets by verdict.
#[derive(Default)]
struct Tally(BTreeMap<String, usize>);

impl Tally {
    /// Checks that each verdict occurred; otherwise it has not been compared.
    fn each_is_there(&self) {
        for verdict in ["ACCEPT", "DROP", "REJECT"] {
            assert!(self.0.contains_key(verdict), "no packet had the verdict {verdict}");
        }
    }
}

struct Judge {
    bed: Bed,
    wire: Wire,
    firewall: Firewall,
    _root: tempfile::TempDir,
    tally: Tally,
}

impl Judge {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let firewall = Firewall::new(&Root::new(Some(root.path().into())), VariantChoice::Auto);
        let bed = Bed::new("pvd");
        let wire = Wire::new(&bed);
        Judge { bed, wire, firewall, _root: root, tally: Tally::default() }
    }

    fn tally(&self) -> String {
        let all: usize = self.tally.0.values().sum();
        format!("{all} packets, {:?}", self.tally.0)
    }

    fn configuration(&mut self, seed: u64, packets: usize) {
        let mut rng = Rng::with_seed(seed);
        let files = config::config(&mut rng);
        let compiled = compiled(&files);
        let outcome = self.bed.node.run(|| self.firewall.update(&compiled.ruleset));
        assert_eq!(outcome.errors, [], "seed {seed}\n{}", shown(&files));
        let probes = packets::probes(&mut rng, packets);
        self.forget_connections();
        let fates = self.wire.ask_many(&probes);
        for (probe, fate) in probes.iter().zip(fates) {
            let answer = fate::ask(&compiled.ruleset, probe);
            let agrees = |fate| fate::agrees(&compiled.ruleset, probe, &answer, fate);
            *self.tally.0.entry(answer.verdict.to_string()).or_default() += 1;
            // a packet may have arrived late in its batch: send it again alone
            if !agrees(fate) {
                self.forget_connections();
                let fate = self.wire.ask(probe);
                assert!(
                    agrees(fate),
                    "seed {seed}\n{}\n{probe}\nsimulator: {}\nkernel: {fate}\n{}\nreports: {:#?}",
                    shown(&files),
                    answer.verdict,
                    matched(&answer),
                    compiled.reports
                );
            }
        }
    }

    fn forget_connections(&self) {
        self.bed.node.exec("conntrack -F 2>/dev/null");
    }
}

fn compiled(files: &BTreeMap<String, String>) -> Compiled {
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    compile(&trees::tree(&files), &trees::facts())
}

/// The rules that matched in the simulator, in order.
fn matched(answer: &pve_firewall::iptables::simulate::Answer<'_>) -> String {
    let steps = answer.hops.iter().flat_map(|hop| &hop.walks).flat_map(|walk| &walk.steps);
    steps.filter(|step| step.matched).map(|step| step.line() + "\n").collect()
}

//! Random configurations and packets: the simulator and the kernel give the same verdict for each.
//!
//! `DIFFERENTIAL=CONFIGURATIONS,PACKETS` sets the number of configurations and of packets for each, `DIFFERENTIAL_SEED` the
//! first seed. A failure prints the seed of its configuration; with that seed and `DIFFERENTIAL=1,…` it can be repeated.
//! Needs root, netfilter, and the tools of `make deps`.
mod simulated;

use crate::random::{VerdictCounts, config, format_files, packets, seeds_and_packets};
use crate::testbed::TestBed;
use crate::testbed::wire::Wire;
use crate::trees;
use fastrand::Rng;
use pve_firewall::iptables::apply::{Firewall, VariantChoice};
use pve_firewall::iptables::compile::{Compiled, compile};
use pve_firewall::system::root_directory::Root;
use std::collections::BTreeMap;

/// Default number of configurations, and of packets for each.
const DEFAULT_EXTENT: (u64, usize) = (80, 80);
const SEED: u64 = 20_240_425;

#[test]
fn simulator_and_kernel_agree() {
    let (seeds, packets) = seeds_and_packets(DEFAULT_EXTENT, SEED);
    let mut comparison = Comparison::new();
    for seed in seeds.clone() {
        comparison.compare(seed, packets);
    }
    println!("seeds {seeds:?}: {}", comparison.verdicts);
    comparison.verdicts.assert_all_verdicts_occurred();
}

struct Comparison {
    testbed: TestBed,
    wire: Wire,
    firewall: Firewall,
    _root: tempfile::TempDir,
    verdicts: VerdictCounts,
}

impl Comparison {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let firewall = Firewall::new(&Root::new(Some(root.path().into())), VariantChoice::Auto);
        let testbed = TestBed::new("pvd");
        let wire = Wire::new(&testbed);
        Comparison { testbed, wire, firewall, _root: root, verdicts: VerdictCounts::default() }
    }

    fn compare(&mut self, seed: u64, packets: usize) {
        let mut rng = Rng::with_seed(seed);
        let files = config::config(&mut rng);
        let compiled = compiled(&files);
        let outcome = self.testbed.node.run(|| self.firewall.update(&compiled.ruleset));
        assert_eq!(outcome.errors, [], "seed {seed}\n{}", format_files(&files));
        let probes = packets::probes(&mut rng, packets);
        self.flush_connections();
        let results = self.wire.send_probes(&probes);
        for (probe, result) in probes.iter().zip(results) {
            let answer = simulated::simulate_probe(&compiled.ruleset, probe);
            let agrees = |result| simulated::is_expected_result(&compiled.ruleset, probe, &answer, result);
            self.verdicts.count(&answer.verdict.to_string());
            // a packet may have arrived late in its batch: send it again separately
            if !agrees(result) {
                self.flush_connections();
                let result = self.wire.send_probe(probe);
                assert!(
                    agrees(result),
                    "seed {seed}\n{}\n{probe}\nsimulator: {}\nkernel: {result}\n{}\nreports: {:#?}",
                    format_files(&files),
                    answer.verdict,
                    matched(&answer),
                    compiled.reports
                );
            }
        }
    }

    fn flush_connections(&self) {
        self.testbed.node.exec("conntrack -F 2>/dev/null");
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

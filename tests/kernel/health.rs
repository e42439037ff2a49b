//! A node on which nothing is wrong has no findings: with the rules of every recorded tree, by the real tools. Needs root.
use crate::netns::Netns;
use crate::trees::{facts, from_folder};
use pve_firewall::backend::{Backend, VariantChoice};
use pve_firewall::daemon::health::Health;
use pve_firewall::health::Enforcer;
use pve_firewall::iptables::apply::Variant;
use pve_firewall::model::BackendKind;
use pve_firewall::system::root::Root;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn check(variant: Variant) {
    let (netns, dir) = (Netns::new("pvefw-well"), tempfile::tempdir().unwrap());
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let mut cases: Vec<_> = fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    netns.run(|| {
        let root = Root::new(Some(dir.path().into()));
        let mut backend = Backend::new(BackendKind::Iptables, &root, VariantChoice::Only(variant), 2);
        let mut health = Health::new(Duration::from_secs(300));
        let mut enabled = 0;
        for (now, case) in (1..).zip(&cases) {
            let compiled = backend.compile(&from_folder(&case.join("pve")), facts());
            if !compiled.enabled {
                continue;
            }
            enabled += 1;
            assert_eq!(backend.maintain(&compiled).errors, [""; 0], "{}", case.display());
            health.examine(&mut backend, &compiled, Enforcer::Iptables, now);
            // the machine of the test has no IPS
            let of_ips =
                |text: &String| case.ends_with("ips") && text.starts_with("ips is 1, but no program reads queue");
            let (queues, found): (Vec<String>, Vec<String>) = health.texts().partition(of_ips);
            assert_eq!(found, [""; 0], "{}", case.display());
            assert_eq!(queues.is_empty(), !case.ends_with("ips"), "{}", case.display());
        }
        assert!(enabled > 40, "{enabled}");
    });
}

#[test]
fn a_well_node_has_no_findings_with_legacy() {
    check(Variant::Legacy);
}

#[test]
fn a_well_node_has_no_findings_with_nft() {
    check(Variant::Nft);
}

//! A healthy node has no findings, with the rules of every recorded tree and the real tools. Needs root.
use crate::netns::Netns;
use crate::nft_trees::{self, has_bridge_conntrack};
use crate::trees::{facts, from_directory};
use pve_firewall::backend::{Backend, VariantChoice};
use pve_firewall::daemon::health::Health;
use pve_firewall::health::Enforcer;
use pve_firewall::iptables::apply::Variant;
use pve_firewall::model::BackendKind;
use pve_firewall::system::root_directory::Root;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directories of all recorded configurations, in order.
fn recorded() -> Vec<PathBuf> {
    let directories = |of: PathBuf| fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path());
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let cases = directories(cases).map(|case| case.join("pve"));
    let mut all: Vec<_> = cases.chain(directories(nft_trees::directory().join("trees"))).collect();
    all.sort();
    all
}

/// Makes the rules of each recorded configuration live. `expected` returns how the expected findings begin, for a directory and
/// whether guests have rules.
fn check(kind: BackendKind, variant: VariantChoice, expected: impl Fn(&Path, bool) -> Vec<&'static str> + Sync) {
    let (netns, dir) = (Netns::new("pvefw-well"), tempfile::tempdir().unwrap());
    let enforcer = match kind {
        BackendKind::Iptables => Enforcer::Iptables,
        BackendKind::Nftables => Enforcer::NftablesHere,
    };
    netns.run(|| {
        let root = Root::new(Some(dir.path().into()));
        let mut backend = Backend::new(kind, &root, variant, 2);
        let mut health = Health::new(Duration::from_secs(300));
        let mut enabled = 0;
        for (now, directory) in (1..).zip(recorded()) {
            let compiled = backend.compile(&from_directory(&directory), facts());
            if !compiled.enabled {
                continue;
            }
            enabled += 1;
            let (errors, shown) = (backend.maintain(&compiled).errors, directory.display());
            let expected = expected(&directory, compiled.filtered.devices > 0);
            let untracked = kind == BackendKind::Nftables && !has_bridge_conntrack();
            assert!(errors.is_empty() || untracked, "{shown}: {errors:#?}");
            health.examine(&mut backend, &compiled, enforcer, now);
            let found: Vec<String> = health.texts().collect();
            let expects = |text: &String| expected.iter().any(|begins| text.starts_with(begins));
            let is_found = |begins: &&str| found.iter().any(|text| text.starts_with(*begins));
            assert!(found.iter().all(expects) && expected.iter().all(is_found), "{shown}: {found:#?}");
        }
        assert!(enabled > 55, "{enabled}");
    });
}

/// The machine has no IPS, so a guest with `ips: 1` is reported.
fn without_ips(directory: &Path, _: bool) -> Vec<&'static str> {
    Vec::from_iter(directory.ends_with("ips/pve").then_some("ips is 1, but no program reads queue"))
}

#[test]
fn a_healthy_node_has_no_findings_with_legacy() {
    check(BackendKind::Iptables, VariantChoice::Only(Variant::Legacy), without_ips);
}

#[test]
fn a_healthy_node_has_no_findings_with_nft() {
    check(BackendKind::Iptables, VariantChoice::Only(Variant::Nft), without_ips);
}

/// There is a finding if there are guests and the kernel does not track connections in bridges.
#[test]
fn a_healthy_node_has_no_findings_with_nftables() {
    let untracked =
        |guests: bool| (guests && !has_bridge_conntrack()).then_some("connections of guests are not tracked");
    check(BackendKind::Nftables, VariantChoice::Auto, |directory, guests| {
        without_ips(directory, guests).into_iter().chain(untracked(guests)).collect()
    });
}

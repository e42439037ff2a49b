//! Large nodes. Needs root.
use crate::host::{Host, VARIANTS};
use crate::trees::{self, facts};
use pve_firewall::inputs::{File, Tree};
use pve_firewall::iptables::apply::Variant;
use pve_firewall::iptables::compile::{Compiled, compile};
use pve_firewall::iptables::ruleset::Family;
use std::fmt::Write;
use std::time::Instant;

const CLUSTER: &str = "[OPTIONS]\nenable: 1\n[group web]\nIN ACCEPT -p tcp -dport 80,443\n";

fn put(tree: &mut Tree, path: String, text: String) {
    tree.files.insert(path.into(), File::Content(text.into_bytes().into()));
}

/// A node with a given number of VMs with one device each.
fn node(guests: u32) -> Tree {
    let mut tree = Tree { root: "/etc/pve".into(), ..Tree::default() };
    let ids: Vec<String> =
        (0..guests).map(|at| format!(r#""{}":{{"node":"n1","type":"qemu","version":1}}"#, 100 + at)).collect();
    put(&mut tree, ".vmlist".into(), format!(r#"{{"version":1,"ids":{{{}}}}}"#, ids.join(",")));
    put(&mut tree, "firewall/cluster.fw".into(), CLUSTER.into());
    for at in 0..guests {
        let (vmid, high, low) = (100 + at, at / 256, at % 256);
        let rules = format!(
            "[OPTIONS]\nenable: 1\n[IPSET own]\n10.9.{high}.{low}\n[RULES]\nGROUP web\nIN SSH(ACCEPT) -source +own\n"
        );
        put(&mut tree, format!("firewall/{vmid}.fw"), rules);
        let conf = format!("net0: virtio=02:00:00:00:{high:02X}:{low:02X},bridge=vmbr0,firewall=1\n");
        put(&mut tree, format!("nodes/n1/qemu-server/{vmid}.conf"), conf);
    }
    tree
}

fn compile_without_reports(tree: &Tree) -> Compiled {
    let compiled = compile(tree, &facts());
    assert_eq!(compiled.reports, []);
    compiled
}

/// `PVEFW_LONG_TESTS` adds the nft variant, which needs minutes for it.
#[test]
fn a_node_with_2000_guests_needs_no_second_update() {
    let compiled = compile_without_reports(&node(2000));
    assert_eq!(compiled.filtered.devices, 2000);
    let count = if std::env::var_os("PVEFW_LONG_TESTS").is_some() { 2 } else { 1 };
    for variant in &VARIANTS[..count] {
        let mut host = Host::new("guests", *variant);
        let mut timed = || {
            let began = Instant::now();
            assert_eq!(host.update(&compiled.ruleset).errors, []);
            began.elapsed().as_secs_f64()
        };
        println!("{variant}: made live in {:.1} s, found to be so in {:.1} s", timed(), timed());
        host.update_and_check(&compiled.ruleset);
        assert_eq!(host.saved("iptables", "-t filter").matches("\n:tap").count(), 4000);
        assert_eq!(host.remove().errors, []);
    }
}

#[test]
fn a_set_of_65536_entries_and_a_guest_of_10000_rules_need_no_second_update() {
    let mut tree = node(1);
    let mut cluster = CLUSTER.to_string() + "[IPSET large]\n";
    for at in 0..65_536 {
        writeln!(cluster, "10.{}.{}.1", at / 256, at % 256).unwrap();
    }
    // at most 1 MiB, the limit of the cluster file system
    assert!(cluster.len() < 1 << 20);
    put(&mut tree, "firewall/cluster.fw".into(), cluster);
    let mut guest = "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP -source +dc/large\n".to_string();
    for at in 0..10_000 {
        writeln!(guest, "IN ACCEPT -p tcp -dport {} -source 10.{}.{}.0/24", 1 + at, at / 256, at % 256).unwrap();
    }
    put(&mut tree, "firewall/100.fw".into(), guest);
    let compiled = compile_without_reports(&tree);
    for variant in VARIANTS {
        let mut host = Host::new("large", variant);
        host.update_and_check(&compiled.ruleset);
        assert_eq!(host.netns.exec("ipset save PVEFW-0-large-v4 | grep -c ^add").trim(), "65536");
        assert!(host.saved("iptables", "-t filter").matches("\n-A tap100i0-IN ").count() > 10_000);
        assert_eq!(host.remove().errors, []);
    }
}

/// Two set names with equal hashes: the first set is created; the other is dropped with a report, together with the rules
/// that use it.
#[test]
fn of_two_sets_with_the_same_name_in_the_kernel_one_is_created() {
    // FNV-1a of `0-NAME-v4`, of which 31 bits are used; found by a search
    let names = colliding();
    let mut tree = node(1);
    let cluster = format!(
        "{CLUSTER}[IPSET {}]\n192.0.2.1\n[IPSET {}]\n192.0.2.2\n[RULES]\nIN ACCEPT -source +{0} -p tcp -dport 1\n\
         IN ACCEPT -source +{1} -p tcp -dport 2\nIN ACCEPT -p tcp -dport 3\n",
        names[0], names[1]
    );
    put(&mut tree, "firewall/cluster.fw".into(), cluster);
    let compiled = compile(&tree, &facts());
    assert_eq!(compiled.reports.len(), 1, "{:?}", compiled.reports);
    assert!(compiled.reports[0].to_string().contains("belongs to another set already"), "{}", compiled.reports[0]);
    let rules = trees::chain(&compiled, Family::V4, "PVEFW-HOST-IN");
    let has = |port: &str| rules.iter().any(|rule| rule.contains(&format!("--dport {port} ")));
    assert_eq!([has("1"), has("2"), has("3")].iter().filter(|has| **has).count(), 2, "{rules:#?}");
    assert!(has("3"));
    Host::new("collide", Variant::Legacy).update_and_check(&compiled.ruleset);
}

/// Two set names whose IPv4 sets have the same name in the kernel.
fn colliding() -> [String; 2] {
    let hash = |text: &str| {
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
            & 0x7fff_ffff
    };
    let mut seen = std::collections::HashMap::new();
    for at in 0.. {
        let name = format!("a-rather-long-name-{at}");
        if let Some(other) = seen.insert(hash(&format!("0-{name}-v4")), name.clone()) {
            return [other, name];
        }
    }
    unreachable!("2^31 hashes")
}

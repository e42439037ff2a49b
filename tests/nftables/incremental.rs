//! The incremental compiler, compared with a new one.
use crate::{nft_trees, trees};
use pve_firewall::config::ConfigCache;
use pve_firewall::inputs::{Facts, File, Tree};
use pve_firewall::nftables::compile::Compiler;
use pve_firewall::nftables::names::TableName;
use pve_firewall::nftables::ruleset::{Chain, Ruleset};
use std::sync::Arc;

struct IncrementalCompiler {
    cache: ConfigCache,
    compiler: Compiler,
    facts: Facts,
}

impl IncrementalCompiler {
    fn compile(&mut self, tree: &Tree) -> Arc<Ruleset> {
        let configuration = self.cache.read(tree, &self.facts);
        let ruleset = self.compiler.compile(&configuration, &self.facts);
        assert_eq!(*ruleset, nft_trees::rules(tree, &self.facts), "the same as without a cache");
        ruleset
    }
}

fn chain(ruleset: &Ruleset, name: &str) -> Arc<Chain> {
    ruleset.tables[&TableName::Guests].chains[name].clone()
}

#[test]
fn a_guest_is_compiled_again_only_if_its_files_or_shared_inputs_have_changed() {
    let mut incremental =
        IncrementalCompiler { cache: ConfigCache::default(), compiler: Compiler::new(2), facts: nft_trees::facts() };
    let put = |tree: &mut Tree, path: &str, text: &str| {
        tree.files.insert(path.into(), File::Content(text.as_bytes().into()));
    };
    let mut tree =
        trees::vm_tree("[IPSET web]\n10.0.0.1\n[GROUP gg]\nIN ACCEPT\n", "[RULES]\nGROUP gg\nIN DROP -source +web");
    put(&mut tree, "firewall/101.fw", "[OPTIONS]\nenable: 1\n");
    put(&mut tree, "nodes/n1/qemu-server/101.conf", "net0: virtio=BC:24:11:00:0A:02,bridge=vmbr0,firewall=1\n");
    let first = incremental.compile(&tree);
    assert!(Arc::ptr_eq(&first, &incremental.compile(&tree)), "nothing has changed");
    let own = chain(&first, "guest-100-in");

    put(&mut tree, "firewall/101.fw", "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT\n");
    let next = incremental.compile(&tree);
    assert!(Arc::ptr_eq(&chain(&next, "guest-100-in"), &own), "another guest's file");
    assert!(!Arc::ptr_eq(&chain(&next, "guest-101-in"), &chain(&first, "guest-101-in")));

    let cluster = |entries: &str| format!("[OPTIONS]\nenable: 1\n[IPSET web]\n{entries}\n[GROUP gg]\nIN ACCEPT\n");
    put(&mut tree, "firewall/cluster.fw", &cluster("10.0.0.2"));
    assert!(Arc::ptr_eq(&chain(&incremental.compile(&tree), "guest-100-in"), &own), "other addresses in a set");
    put(&mut tree, "firewall/cluster.fw", &cluster("10.0.0.2\nfd00::1"));
    assert!(!Arc::ptr_eq(&chain(&incremental.compile(&tree), "guest-100-in"), &own), "the set has another family");

    tree.files.insert("firewall/100.fw".into(), File::Unreadable("test".into()));
    let unreadable = incremental.compile(&tree);
    assert!(unreadable.kept.contains(&100), "the guest keeps its live rules");
    put(&mut tree, "firewall/cluster.fw", "[OPTIONS]\nenable: 0\n");
    assert_eq!(*incremental.compile(&tree), Ruleset::default());
}

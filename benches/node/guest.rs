//! The guest that gets an additional rule.
use crate::bench_node::BenchNode;
use pve_firewall::inputs::{File, Tree};
use pve_firewall::iptables::compile::compile;
use pve_firewall::pmxcfs::{ReadError, Reader};
use std::fs;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A guest for which an additional IPv4 rule changes only the IPv4 table.
pub struct Guest<'a> {
    bench_node: &'a BenchNode,
    /// Its file below the configuration directory.
    pub file: String,
}

impl<'a> Guest<'a> {
    pub fn find(bench_node: &'a BenchNode) -> Self {
        let (tree, facts) = bench_node.inputs();
        let before = compile(&tree, &facts).ruleset;
        let changes_one_table = |guest: &Guest<'_>| {
            let mut tree = tree.clone();
            tree.files.insert(guest.file.as_str().into(), File::Content(guest.with_rule(0).into_bytes().into()));
            let after = compile(&tree, &facts).ruleset;
            let others_as_before = after.filter.v6 == before.filter.v6 && after.raw == before.raw;
            after.filter.v4 != before.filter.v4 && others_as_before && after.sets == before.sets
        };
        let mut guests =
            (100..100 + bench_node.guests).map(|vmid| Guest { bench_node, file: format!("firewall/{vmid}.fw") });
        guests.find(changes_one_table).expect("a guest with rules")
    }

    /// The file's text with one more rule; a guest's file from `gen.py` ends with its rules.
    pub fn with_rule(&self, number: u16) -> String {
        let text = fs::read_to_string(self.bench_node.node.config().join(&self.file)).expect("the guest's file");
        format!("{text}IN ACCEPT -source 192.0.2.1 -p tcp -dport {}\n", 1 + number)
    }

    /// Replaces the file by one with one more rule, as PVE does on this node, and returns the time before the write.
    pub fn add_rule(&self, number: u16) -> Instant {
        let text = self.with_rule(number);
        let began = Instant::now();
        self.bench_node.node.write(&self.file, &text);
        began
    }
}

/// A read of [`Reader`]: of everything, or of the written files.
pub type Read = fn(&mut Reader) -> Result<(), ReadError>;

/// Reads the configuration until the tree has changed, and returns the start of the last read: earlier reads do not accept a
/// newly written file.
pub fn read_until_changed(reader: &mut Reader, tree: &mut Arc<Tree>, read: Read) -> Instant {
    loop {
        let began = Instant::now();
        read(reader).expect("a healthy configuration");
        let now = reader.tree();
        if now != *tree {
            *tree = now;
            return began;
        }
        sleep(Duration::from_millis(10));
    }
}

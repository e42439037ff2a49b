//! Cost of the firewall compared with the tools alone on the same live state: `make bench`.
//!
//! Arguments select measurements (`cargo bench --bench node -- idle change`), `PVEFW_SIZES=10,100` sets the numbers of
//! guests, `PVEFW_VARIANT=nft` measures iptables-nft. `docs/performance.md` describes the method.
#![allow(clippy::disallowed_methods, reason = "a bench does I/O")]
#[path = "node/bench_node.rs"]
mod bench_node;
#[path = "node/change.rs"]
mod change;
#[path = "node/connections.rs"]
mod connections;
#[path = "node/entries.rs"]
mod entries;
#[path = "node/first.rs"]
mod first;
#[path = "../tests/support/fuse.rs"]
mod fuse;
#[path = "../tests/support/generated.rs"]
mod generated;
#[path = "node/guest.rs"]
mod guest;
#[path = "node/idle.rs"]
mod idle;
#[path = "node/machine.rs"]
mod machine;
#[path = "node/memory.rs"]
mod memory;
#[path = "../tests/support/netns.rs"]
mod netns;
#[path = "node/nftables/mod.rs"]
mod nftables;
#[path = "../tests/support/node.rs"]
mod node;
#[path = "node/process.rs"]
mod process;
#[path = "node/read.rs"]
mod read;
#[path = "node/sandbox.rs"]
mod sandbox;
#[path = "node/table.rs"]
mod table;
#[path = "node/tools.rs"]
mod tools;
#[path = "node/tracked.rs"]
mod tracked;
#[path = "../tests/support/trees.rs"]
mod trees;
#[path = "../tests/support/wait.rs"]
mod wait;

use bench_node::BenchNode;
use std::process::ExitCode;
use std::time::Instant;
use table::{Measurement, Table};

/// The measured numbers of guests.
const SIZES: [usize; 4] = [10, 100, 500, 1000];

fn main() -> ExitCode {
    if let Some(code) = sandbox::run() {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| Measurement::named(word).is_some()).collect();
    let asked = |measurement: Measurement| {
        words.is_empty() || words.iter().any(|word| Measurement::named(word) == Some(measurement))
    };
    let sizes = std::env::var("PVEFW_SIZES").map_or(SIZES.to_vec(), |sizes| {
        sizes.split(',').map(|size| size.parse().expect("PVEFW_SIZES=N,N,...")).collect()
    });
    let began = Instant::now();
    println!("{}\n", machine::line());
    let mut table = Table::new(sizes.iter().map(|size| format!("{size} guests")).collect());
    if Measurement::ALL.into_iter().any(|one| one != Measurement::Nftables && asked(one)) {
        measure_iptables(&sizes, asked, &mut table);
    }
    if asked(Measurement::Nftables) {
        nftables::measure(&sizes, &mut table);
    }
    println!("{table}");
    println!("{}; measured in {} s", machine::load(), began.elapsed().as_secs());
    ExitCode::SUCCESS
}

fn measure_iptables(sizes: &[usize], asked: impl Fn(Measurement) -> bool, table: &mut Table) {
    let mut nodes: Vec<BenchNode> = sizes.iter().map(|guests| BenchNode::new(*guests)).collect();
    if asked(Measurement::First) {
        first::measure(&nodes, table);
    }
    if asked(Measurement::Idle) {
        idle::on_cluster_file_system(&mut nodes, table);
    }
    nodes.iter_mut().for_each(|bench_node| bench_node.start(&[]));
    let idle = asked(Measurement::Idle).then(|| idle::plain(&nodes));
    if asked(Measurement::Change) {
        change::with_daemon(&nodes, table);
    }
    if asked(Measurement::Memory) {
        memory::measure(&nodes, table);
    }
    if let Some(plain) = idle {
        idle::with_full_reading(plain, &mut nodes, "on a plain directory", None, table);
    }
    nodes.iter_mut().for_each(BenchNode::stop);
    if asked(Measurement::Change) {
        change::on_cluster_file_system(&mut nodes, table);
        change::without_daemon(&nodes, table);
    }
    if asked(Measurement::Read) {
        read::measure(&nodes, table);
    }
    if asked(Measurement::Connections) {
        connections::measure(&mut nodes, table);
    }
}

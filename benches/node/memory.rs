//! The memory of the daemon and of its reading process.
use crate::bench_node::BenchNode;
use crate::process::{children, memory, name};
use crate::table::{Measurement, Table};

pub fn measure(nodes: &[BenchNode], table: &mut Table) {
    table.heading(
        Measurement::Memory,
        "Memory, MB",
        "a peak under 48 with 1,000 guests, under 8 with 10 guests when idle",
    );
    let row = |name: &'static str, of: fn(&BenchNode) -> Vec<i32>| {
        nodes.iter().map(move |bench_node| of(bench_node).into_iter().map(|pid| memory(pid, name)).sum::<f64>())
    };
    let figures = |values: Vec<f64>| values.into_iter().map(|value| format!("{value:.1}"));
    table.row("the daemon's peak", figures(row("VmHWM:", |bench_node| vec![bench_node.daemon()]).collect()));
    table.row("the daemon idle", figures(row("VmRSS:", |bench_node| vec![bench_node.daemon()]).collect()));
    table.row("the reading process's peak", figures(row("VmHWM:", reading).collect()));
}

/// The daemon's reading process, without tools that it may be running.
fn reading(bench_node: &BenchNode) -> Vec<i32> {
    children(bench_node.daemon()).into_iter().filter(|pid| name(*pid) == "pve-firewall-reader").collect()
}

//! Memory, descriptors and processes do not grow over many cycles. Needs root.
use crate::host::Host;
use crate::trees::facts;
use pve_firewall::iptables::apply::{Outcome, Variant};
use pve_firewall::iptables::compile::compile;
use pve_firewall::pmxcfs::{Reader, ReaderConfig};
use std::fs;

/// The open descriptors of this process, its memory in KiB, and its children.
fn resources() -> (usize, u64, usize) {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory = memory.split_whitespace().next().unwrap().parse().unwrap();
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let children = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    (descriptors, memory, children.map(|list| list.split_whitespace().count()).sum())
}

/// Reads, compiles and applies repeatedly, with a change in every third cycle. `PVEFW_CYCLES=N` sets the number of cycles.
#[test]
fn memory_descriptors_and_processes_do_not_grow_over_many_cycles() {
    let _exclusive = crate::measure();
    let cycles: u32 = std::env::var("PVEFW_CYCLES").map_or(120, |count| count.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(".vmlist", r#"{"version":1,"ids":{"100":{"node":"n1","type":"qemu","version":1}}}"#);
    write("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n");
    write("nodes/n1/qemu-server/100.conf", "net0: virtio=02:00:00:00:00:01,bridge=vmbr0,firewall=1\n");
    let mut host = Host::new("cycles", Variant::Legacy);
    let program = env!("CARGO_BIN_EXE_pve-firewall").into();
    let mut reader = Reader::new(program, dir.path().to_path_buf(), "n1".into(), ReaderConfig::COMMAND, None);
    reader.settle().unwrap();
    let mut before = None;
    for cycle in 0..cycles {
        if cycle % 3 == 0 {
            write(
                "firewall/100.fw",
                &format!(
                    "[OPTIONS]\nenable: 1\n[IPSET own]\n10.0.0.{}\n[RULES]\nIN DROP -source +own -p tcp -dport {}\nNONSENSE\n",
                    cycle % 200,
                    1 + cycle % 1000
                ),
            );
            reader.settle().unwrap();
        } else {
            reader.read().unwrap();
        }
        let compiled = compile(&reader.tree(), &facts());
        let outcome = host.update(&compiled.ruleset);
        assert_eq!(outcome, Outcome { changed: cycle % 3 == 0, errors: vec![] }, "cycle {cycle}");
        if cycle == cycles / 4 {
            before = Some(resources());
        }
    }
    let (before, after) = (before.unwrap(), resources());
    println!(
        "{cycles} cycles: descriptors {} -> {}, KiB {} -> {}, children {} -> {}",
        before.0, after.0, before.1, after.1, before.2, after.2
    );
    assert_eq!((before.0, before.2), (after.0, after.2), "descriptors and children");
    assert!(after.1 < before.1 + 2048, "memory: {} KiB, then {} KiB", before.1, after.1);
}

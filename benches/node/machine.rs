//! A description of the machine.
use crate::tools;
use std::fs;
use std::process::Command;

pub fn line() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let versions = [
        tools::name("iptables", ""),
        tools::name("ip6tables", ""),
        tools::name("ebtables", ""),
        "ipset".into(),
        "nft".into(),
    ];
    let versions = versions.map(|tool| version(&tool));
    format!("{model}, {cores} cores, Linux {}; {}; {}", kernel.trim(), versions.join(", "), load())
}

/// The load average.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load average {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn version(tool: &str) -> String {
    let output = Command::new(tool).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    text.lines().next().unwrap_or_default().split(", ").next().unwrap_or_default().to_string()
}

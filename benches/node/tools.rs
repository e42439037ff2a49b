//! The tools alone, as run by hand.
use crate::bench_node::VARIANT;
use crate::netns::Netns;
use crate::process;
use std::fs::File;
use std::ops::Add;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The cost of a run.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

/// The tool of the measured variant: `iptables` becomes `iptables-legacy`, measured by `-save` or `-restore`.
pub fn name(tool: &str, action: &str) -> String {
    // the firewall falls back to this variant on a kernel without legacy ebtables
    let variant = if tool == "ebtables" && !has_legacy_ebtables() { "nft" } else { &VARIANT };
    format!("{tool}-{variant}{action}")
}

fn has_legacy_ebtables() -> bool {
    let listed = Command::new("ebtables-legacy").args(["-t", "filter", "-L"]).output();
    listed.is_ok_and(|output| output.status.success())
}

/// Runs a command in a namespace with a file as its input, and discards its output.
pub fn run(netns: &Netns, program: &str, args: &[&str], input: Option<&Path>) -> Cost {
    let stdin = input.map_or(Stdio::null(), |file| File::open(file).expect("a script").into());
    netns.run(|| {
        let before = process::own_children();
        let began = Instant::now();
        let status = Command::new(program).args(args).stdin(stdin).stdout(Stdio::null()).status();
        let cost = Cost { wall: began.elapsed(), cpu: Duration::ZERO };
        assert!(status.is_ok_and(|status| status.success()), "{program} {args:?}");
        Cost { cpu: process::own_children() - before, ..cost }
    })
}

/// Runs a save tool.
pub fn save(netns: &Netns, tool: &str, args: &[&str]) -> Cost {
    match tool {
        "ipset" => run(netns, "ipset", &["save"], None),
        _ => run(netns, &name(tool, "-save"), args, None),
    }
}

/// Runs the four save tools.
pub fn four_saves(netns: &Netns) -> Cost {
    let saves = ["iptables", "ip6tables", "ebtables", "ipset"].map(|tool| save(netns, tool, &[]));
    saves.into_iter().fold(Cost::default(), Add::add)
}

/// Restores a script that the firewall has kept.
pub fn restore(netns: &Netns, tool: &str, script: &Path) -> Cost {
    match tool {
        "ipset" => run(netns, "ipset", &["restore"], Some(script)),
        "ebtables" => run(netns, &name(tool, "-restore"), &["--noflush"], Some(script)),
        _ => run(netns, &name(tool, "-restore"), &["-n"], Some(script)),
    }
}

//! The node of the test bed with the daemon of this backend.
use crate::testbed::probe::{self, Probe, ProbeResult};
use crate::testbed::wire::Wire;
use crate::testbed::{self, DEVICES, Endpoint, NODE, TestBed};
use crate::wait::{OutputInTime, WaitInTime, wait_for_ok};
use crate::{nft_trees, trees};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pve_firewall::model::{CtState, Family};
use pve_firewall::nftables::apply::Firewall;
use pve_firewall::nftables::names::TableName;
use pve_firewall::nftables::ruleset::Ruleset;
use pve_firewall::nftables::simulate::{Verdict, simulate};
use pve_firewall::simulate::{Layer, Packet, Sent};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxmox-firewall");

pub const CLUSTER: &str = "firewall/cluster.fw";
pub const HOST: &str = "nodes/n1/host.fw";
pub const GUEST100: &str = "firewall/100.fw";
pub const GUEST101: &str = "firewall/101.fw";
pub const GUEST200: &str = "firewall/200.fw";
/// An enabled firewall with default options.
pub const ON: &str = "[OPTIONS]\nenable: 1\n";

/// How packets are evaluated.
enum Enforced {
    /// By the kernel, with the rules of the daemon.
    ByDaemon(Child),
    /// By the kernel, with only the node's table: the kernel does not support the guests' table, and no guest is filtered.
    ForTheNode(Box<Firewall>),
    /// By the simulator, because the kernel does not support the guests' table.
    Simulated,
}

/// The node with its configuration.
pub struct Scenario {
    pub testbed: TestBed,
    wire: Wire,
    enforced: Enforced,
    root: TempDir,
    files: BTreeMap<String, String>,
}

/// An intended difference from iptables: the number in `docs/nftables.md`, and the result of a packet that has another result with
/// iptables.
type Difference = (u64, fn(&Scenario, &Probe, ProbeResult) -> Option<ProbeResult>);

pub const DIFFERENCES: [Difference; 4] = [
    // REJECT of a packet to a guest drops it
    (33, |_, probe, result| {
        let to_filtered = matches!(probe.to, Endpoint::Guest(index) if DEVICES[index].firewalled);
        (to_filtered && matches!(result, ProbeResult::Rejected(_))).then_some(ProbeResult::Dropped)
    }),
    // ICMP errors are accepted before connection tracking
    (32, |_, probe, result| {
        let Packet { icmp, state, layer, .. } = &probe.packet;
        let error = matches!((layer, icmp), (Layer::Ip(Family::V4), Some((3 | 4 | 11, _))));
        (error && *state == Some(CtState::Invalid) && result == ProbeResult::Dropped).then_some(ProbeResult::Arrived)
    }),
    // `ebtables: 0` does not switch the ARP filters off
    (40, |scenario, probe, result| {
        let off = scenario.files[CLUSTER].contains("\nebtables: 0\n") && probe.packet.layer == Layer::Arp;
        (off && result == ProbeResult::Arrived).then_some(ProbeResult::Dropped)
    }),
    // a bridge has no routes, so it does not know the broadcast addresses of networks
    (12, |scenario, probe, result| {
        let broadcast = probe.packet.source == "10.0.0.255".parse().ok() && matches!(probe.to, Endpoint::Guest(_));
        (broadcast && result == ProbeResult::Dropped && !scenario.files.contains_key(HOST))
            .then_some(ProbeResult::Arrived)
    }),
];

impl Scenario {
    /// Starts the daemon with an enabled firewall and these files, and waits until their rules are live.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["run", "run/lock", "dev"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let testbed = TestBed::without_firewall_bridges("nfs");
        let wire = Wire::new(&testbed);
        let mut scenario = Scenario { testbed, wire, enforced: Enforced::Simulated, root, files: BTreeMap::new() };
        scenario.write(".members", r#"{"nodename":"n1","nodelist":{"n1":{"ip":"10.0.0.1"}}}"#);
        scenario.write(HOST, "");
        scenario.files.remove(HOST);
        for (path, text) in testbed::confs() {
            scenario.write(&path, &text);
        }
        scenario.write(CLUSTER, ON);
        files.iter().for_each(|(path, text)| scenario.write(path, text));
        scenario.enforced = if nft_trees::supports_guest_rules(&scenario.testbed.node) {
            let mut command = scenario.testbed.node.command(PROGRAM);
            command.args(["start", "--debug", "--node", NODE, "--root"]).arg(scenario.root.path());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Enforced::ByDaemon(command.spawn().unwrap())
        } else if scenario.rules().tables[&TableName::Guests].maps.values().all(|map| map.elements.is_empty()) {
            Enforced::ForTheNode(Box::default())
        } else {
            Enforced::Simulated
        };
        scenario.wait_until_live();
        scenario
    }

    /// Replaces a configuration file as PVE does. host.fw selects this backend.
    fn write(&mut self, path: &str, text: &str) {
        let selected = match text.contains("[OPTIONS]\n") {
            true => text.replacen("[OPTIONS]\n", "[OPTIONS]\nnftables: 1\n", 1),
            false => format!("[OPTIONS]\nnftables: 1\n{text}"),
        };
        let text = if path == HOST { selected.as_str() } else { text };
        let file = self.root.path().join("etc/pve").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let fresh = file.with_extension("tmp");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, file).unwrap();
        self.files.insert(path.to_string(), text.to_string());
    }

    /// Changes files, and waits until their rules are live.
    pub fn change(&mut self, files: &[(&str, &str)]) {
        files.iter().for_each(|(path, text)| self.write(path, text));
        self.wait_until_live();
    }

    /// Waits until the rules are live.
    fn wait_until_live(&mut self) {
        let mut rules = self.rules();
        match &mut self.enforced {
            Enforced::ByDaemon(_) => wait_for_ok("the configuration to be live", || {
                let mut command = self.testbed.node.command(PROGRAM);
                command.args(["status", "--node", NODE, "--root"]).arg(self.root.path());
                let status = String::from_utf8(command.output_in_time().stdout).unwrap();
                // warnings are ignored
                if status.lines().next() == Some("Status: enabled/running") { Ok(()) } else { Err(status) }
            }),
            Enforced::ForTheNode(firewall) => {
                rules.tables.remove(&TableName::Guests);
                let outcome = self.testbed.node.run(|| firewall.update(&Arc::new(rules)));
                assert_eq!(outcome.errors, [""; 0]);
            }
            Enforced::Simulated => {}
        }
    }

    fn rules(&self) -> Ruleset {
        let files: Vec<_> = self.files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let mut facts = nft_trees::facts();
        facts.resolved.insert(NODE.to_string(), vec!["10.0.0.1".parse().unwrap()]);
        nft_trees::rules(&trees::tree(&files), &facts)
    }

    fn results(&mut self, probes: &[Probe]) -> Vec<ProbeResult> {
        if !matches!(self.enforced, Enforced::Simulated) {
            return self.wire.send_probes(probes);
        }
        let (rules, broadcasts) = (self.rules(), testbed::broadcasts());
        let decide = |probe: &Probe| {
            let (from, to) = (probe.from.end(), probe.to.end());
            match simulate(&rules, &Sent { packet: &probe.packet, from, to, broadcasts: &broadcasts }).verdict {
                Verdict::Accept => ProbeResult::Arrived,
                Verdict::Drop => ProbeResult::Dropped,
                Verdict::Reject(with) => ProbeResult::Rejected(crate::differential::iptables_reject(with)),
            }
        };
        probes.iter().map(decide).collect()
    }

    fn wanted(&self, probe: &Probe, result: ProbeResult) -> ProbeResult {
        DIFFERENCES.iter().find_map(|(_, becomes)| becomes(self, probe, result)).unwrap_or(result)
    }

    /// Sends packets of different connections and checks the result of each.
    #[track_caller]
    pub fn check(&mut self, cases: &[(Probe, ProbeResult)]) {
        self.testbed.node.exec("conntrack -F 2>/dev/null");
        let wanted = cases.iter().map(|(probe, result)| (probe.clone(), self.wanted(probe, *result)));
        probe::check(&wanted.collect::<Vec<_>>(), |probes| self.results(probes));
    }

    /// Checks the same result for all packets.
    #[track_caller]
    pub fn check_all(&mut self, result: ProbeResult, probes: impl IntoIterator<Item = Probe>) {
        let cases: Vec<_> = probes.into_iter().map(|probe| (probe, result)).collect();
        self.check(&cases);
    }

    /// Sends one packet after all earlier ones.
    #[track_caller]
    pub fn check_next(&mut self, probe: Probe, result: ProbeResult) {
        assert!(!matches!(self.enforced, Enforced::Simulated), "the simulator knows no connections");
        let seen = self.wire.send_probe(&probe);
        assert_eq!(seen, result, "{probe}");
    }

    /// Sends packets, and returns how many arrive.
    pub fn count_arrivals(&mut self, probes: &[Probe]) -> usize {
        self.results(probes).into_iter().filter(|result| *result == ProbeResult::Arrived).count()
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        if let Enforced::ByDaemon(daemon) = &mut self.enforced {
            // it may already have ended
            let _ = kill(Pid::from_raw(i32::try_from(daemon.id()).expect("a process number")), Signal::SIGTERM);
            daemon.wait_in_time();
        }
    }
}

//! From configuration and node facts to rules: the only room that sees both worlds.

mod bridge;
mod builder;
mod entry;
mod guest;
mod host;
mod matches;
mod raw;
mod sets;
mod standard;
mod user;
mod world;

use crate::config::{HostOptions, Report, Verdict};
use crate::inputs::{Facts, Tree};
use crate::ruleset::{Family, Ruleset, Table};
use builder::Builder;
use sets::Sets;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use world::{Body, World};

/// What a configuration tree means for this node.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// Whether the cluster option `enable` is on now. If not, the ruleset is empty.
    pub enabled: bool,
    /// When it goes off by itself (`enable: TIME`), in seconds since 1970.
    pub expires: Option<u64>,
    /// Whether host.fw asks for the nftables backend (`nftables: 1`).
    pub nftables: bool,
    /// The rules.
    pub ruleset: Ruleset,
    /// The faults of all files, in the order of files and lines.
    pub reports: Vec<Report>,
    /// Kernel settings that go with the rules.
    pub settings: Settings,
    /// The node's network as far as the firewall cares.
    pub localnet: Localnet,
    /// Guests and devices that have rules.
    pub handled: Handled,
}

/// Kernel settings of host.fw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `net.nf_conntrack_max`, a multiple of 8192.
    pub conntrack_max: u64,
    /// `net.netfilter.nf_conntrack_tcp_timeout_established`, in seconds.
    pub tcp_timeout_established: u64,
    /// `net.netfilter.nf_conntrack_tcp_timeout_syn_recv`, in seconds.
    pub tcp_timeout_syn_recv: u64,
    /// Whether the log daemon writes connections.
    pub log_conntrack: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            conntrack_max: 262_144,
            tcp_timeout_established: 432_000,
            tcp_timeout_syn_recv: 60,
            log_conntrack: false,
        }
    }
}

/// The node's own network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Localnet {
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub address: Option<IpAddr>,
    /// The network of the routing table that the address is in.
    pub detected: Option<String>,
    /// The network in use, as it is written.
    pub used: String,
    /// Whether an alias `local_network` in cluster.fw names it.
    pub user_defined: bool,
    /// With a corosync.conf: every other node's addresses.
    pub corosync: Option<Vec<CorosyncPeer>>,
}

/// An address of another node that corosync talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorosyncPeer {
    /// The other node.
    pub node: String,
    /// Its address.
    pub address: IpAddr,
    /// The link's number.
    pub link: u32,
}

/// How much of the node's guests is firewalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// Guests with at least one device that has rules.
    pub guests: usize,
    /// Devices that have rules.
    pub devices: usize,
}

/// Compiles a configuration tree for a node. The same inputs give the same result, byte for byte.
#[must_use]
pub fn compile(tree: &Tree, facts: &Facts) -> Compiled {
    let mut reports = Vec::new();
    let world = World::read(tree, facts, &mut reports);
    let enabled = is_enabled(world.cluster.options.enable, facts.now);
    let mut compiled = Compiled {
        enabled,
        expires: expiry(world.cluster.options.enable).filter(|_| enabled),
        nftables: world.host.options.nftables,
        settings: settings(&world.host.options),
        localnet: world.localnet.clone(),
        ..Compiled::default()
    };
    if enabled {
        compiled.ruleset = ruleset(&world, facts, &mut reports);
        compiled.handled = handled(&world);
    }
    // in the order of files and lines
    reports.sort();
    reports.dedup();
    compiled.reports = reports;
    compiled
}

fn ruleset(world: &World, facts: &Facts, reports: &mut Vec<Report>) -> Ruleset {
    let sets = Sets::of(world, reports);
    let mut ruleset = Ruleset { bridge: bridge::chains(world), ..Ruleset::default() };
    for family in Family::ALL {
        let compiler = FamilyCompiler {
            world,
            sets: &sets,
            altnames: &facts.altnames,
            family,
            filter: Table::new(),
            raw: Table::new(),
            groups_in_use: BTreeSet::new(),
        };
        let (filter, raw) = compiler.run();
        ruleset.filter[family] = filter;
        ruleset.raw[family] = raw;
    }
    ruleset.sets = sets.live;
    for unit in &world.units {
        if let Body::Kept(devices) = &unit.body {
            ruleset.kept.extend(devices.iter().flat_map(bridge::kept_chains));
        }
    }
    ruleset
}

/// The host names that compiling needs the addresses of ([`Facts::resolved`]): those in corosync.conf, and the node's own where
/// no file tells it.
#[must_use]
pub fn names_to_resolve(tree: &Tree, node: &str) -> Vec<String> {
    world::names_to_resolve(tree, node)
}

/// How long after its time an `enable: TIME` still holds, in seconds.
const GRACE: u64 = 60;

/// 0 is off, 1 is on, and a larger number is on until a minute after that time.
fn is_enabled(enable: u64, now: u64) -> bool {
    enable != 0 && expiry(enable).is_none_or(|expiry| now < expiry)
}

/// The first second in which an `enable: TIME` no longer holds.
fn expiry(enable: u64) -> Option<u64> {
    (enable > 1).then(|| enable.saturating_add(GRACE).saturating_add(1))
}

fn settings(host: &HostOptions) -> Settings {
    let default = Settings::default();
    let or = |value: u64, default| if value == 0 { default } else { value };
    Settings {
        conntrack_max: host.nf_conntrack_max.max(default.conntrack_max).next_multiple_of(8192),
        tcp_timeout_established: or(host.nf_conntrack_tcp_timeout_established, default.tcp_timeout_established),
        tcp_timeout_syn_recv: or(host.nf_conntrack_tcp_timeout_syn_recv, default.tcp_timeout_syn_recv),
        log_conntrack: host.log_nf_conntrack,
    }
}

fn handled(world: &World) -> Handled {
    let devices = world.units.iter().map(|unit| unit.handled().count()).filter(|count| *count > 0);
    devices.fold(Handled::default(), |sum, count| Handled { guests: sum.guests + 1, devices: sum.devices + count })
}

/// What a log line says of a user's rule.
fn message(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "ACCEPT: ",
        Verdict::Drop => "DROP: ",
        Verdict::Reject => "REJECT: ",
    }
}

/// What a log line says of a policy.
fn policy_message(policy: Verdict) -> &'static str {
    match policy {
        Verdict::Accept => "policy ACCEPT: ",
        Verdict::Drop => "policy DROP: ",
        Verdict::Reject => "policy REJECT: ",
    }
}

/// The tables of one family in the making.
struct FamilyCompiler<'a> {
    world: &'a World,
    sets: &'a Sets,
    altnames: &'a BTreeMap<String, String>,
    family: Family,
    filter: Table,
    raw: Table,
    groups_in_use: BTreeSet<String>,
}

impl<'a> FamilyCompiler<'a> {
    fn chain(&self, name: &str) -> Builder<'a> {
        Builder::new(name, &self.world.cluster.options.log_ratelimit)
    }

    fn run(mut self) -> (Table, Table) {
        self.standard();
        self.entries();
        self.host();
        self.guests();
        self.groups();
        self.raw();
        (self.filter, self.raw)
    }
}

//! From configuration and node facts to rules: the only room that sees both worlds.

mod builder;
mod dispatch;
mod ebtables;
mod guest;
mod guest_ruleset;
mod host;
mod incremental;
mod matches;
mod node_chains;
mod raw;
mod rules;
mod sets;
mod shared_config;
mod standard;

use crate::model::{Family, LogRatelimit, Report, Scope, SetRef, Verdict};
pub use incremental::Compiler;

use crate::inputs::{Facts, Tree};
use crate::iptables::ruleset::{ChainName, Ruleset, SetName};
use crate::node::Localnet;
use crate::settings::Settings;
use builder::{Builder, Chains, Workshop};
use sets::SetNames;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a configuration tree means for this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Whether the cluster option `enable` is on now. If not, the ruleset is empty.
    pub enabled: bool,
    /// When it goes off by itself (`enable: TIME`), in seconds since 1970.
    pub expires: Option<u64>,
    /// Whether host.fw asks for the nftables backend (`nftables: 1`).
    pub nftables: bool,
    /// The rules. Shared with the compiler: those of an unchanged configuration are the very same.
    pub ruleset: Arc<Ruleset>,
    /// The faults of all files, in the order of files and lines.
    pub reports: Vec<Report>,
    /// Kernel settings that go with the rules.
    pub settings: Settings,
    /// The node's network as far as the firewall cares.
    pub localnet: Localnet,
    /// Guests and devices that have rules.
    pub handled: Handled,
}

/// How much of the node and its guests is firewalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// Guests with at least one device that has rules.
    pub guests: usize,
    /// Devices that have rules.
    pub devices: usize,
    /// Whether the node itself has rules.
    pub host: bool,
}

/// Compiles a configuration tree for a node. The same inputs give the same result, byte for byte.
#[must_use]
pub fn compile(tree: &Tree, facts: &Facts) -> Compiled {
    Compiler::default().compile(tree, facts)
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

/// Chains of one table and family in the making.
struct FamilyCompiler<'a> {
    family: Family,
    ratelimit: &'a LogRatelimit,
    cluster_sets: &'a SetNames,
    guest_sets: &'a SetNames,
    workshop: Workshop,
    groups_in_use: BTreeSet<String>,
}

impl<'a> FamilyCompiler<'a> {
    fn new(family: Family, ratelimit: &'a LogRatelimit, cluster_sets: &'a SetNames, guest_sets: &'a SetNames) -> Self {
        let (workshop, groups_in_use) = Default::default();
        FamilyCompiler { family, ratelimit, cluster_sets, guest_sets, workshop, groups_in_use }
    }

    fn chain(&mut self, name: impl Into<ChainName>) -> Builder<'a> {
        Builder::new(name.into(), self.ratelimit, &mut self.workshop)
    }

    /// The chains that were made.
    fn chains(self) -> Chains {
        self.workshop.chains
    }

    /// The name of a set in the kernel; `None` if the set is lost.
    fn set_name(&self, reference: &SetRef) -> Option<SetName> {
        let names = match reference.scope {
            Scope::Cluster => self.cluster_sets,
            Scope::Guest => self.guest_sets,
        };
        names.get(&reference.name, self.family).cloned()
    }
}

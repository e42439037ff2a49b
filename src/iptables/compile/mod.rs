//! Compiles the configuration and facts about the node to rules.

mod cached_guests;
mod cached_node_chains;
mod chain_builder;
mod common_matches;
mod device_tree;
mod ebtables;
mod entry_chains;
mod failsafe_ports;
mod guest;
mod guest_ruleset;
mod host;
mod incremental;
mod raw;
mod rules;
mod sets;
mod shared_config;
mod standard;
pub(crate) mod strict_layer2;

use crate::model::{Family, Filtered, Report, SetRef, SetScope};
pub use incremental::Compiler;

use crate::inputs::{Facts, Tree};
use crate::iptables::ruleset::{ChainName, Ruleset, SetName};
use crate::node::Localnet;
use crate::settings::Settings;
use chain_builder::{Builder, ChainBuffers, FinishedChains, Logging};
use sets::SetNames;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The result of compiling a configuration tree for this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Whether the cluster option `enable` is currently on. If not, the ruleset is empty.
    pub enabled: bool,
    /// When the firewall is disabled automatically (`enable: TIME`), in seconds since 1970.
    pub expires: Option<u64>,
    /// Whether host.fw selects the nftables backend (`nftables: 1`).
    pub nftables: bool,
    /// The rules. Shared with the compiler: an unchanged configuration gives the same value.
    pub ruleset: Arc<Ruleset>,
    /// The reports about all files, in the order of files and lines.
    pub reports: Vec<Report>,
    /// The kernel settings of the configuration.
    pub settings: Settings,
    /// The node's network.
    pub localnet: Localnet,
    /// Guests and devices with rules.
    pub filtered: Filtered,
}

/// Compiles a configuration tree for a node. The same inputs give the same result, byte for byte.
#[must_use]
pub fn compile(tree: &Tree, facts: &Facts) -> Compiled {
    Compiler::default().compile(tree, facts)
}

/// Compiles the chains of one table and family.
struct FamilyCompiler<'a> {
    family: Family,
    logging: &'a Logging,
    cluster_sets: &'a SetNames,
    guest_sets: &'a SetNames,
    buffers: ChainBuffers,
    groups_in_use: BTreeSet<String>,
}

impl<'a> FamilyCompiler<'a> {
    fn new(family: Family, logging: &'a Logging, cluster_sets: &'a SetNames, guest_sets: &'a SetNames) -> Self {
        let (buffers, groups_in_use) = Default::default();
        FamilyCompiler { family, logging, cluster_sets, guest_sets, buffers, groups_in_use }
    }

    fn chain(&mut self, name: impl Into<ChainName>) -> Builder<'a> {
        Builder::new(name.into(), self.logging, &mut self.buffers)
    }

    /// The finished chains.
    fn chains(self) -> FinishedChains {
        self.buffers.chains
    }

    /// The name of a set in the kernel; `None` if the set was dropped.
    fn set_name(&self, reference: &SetRef) -> Option<SetName> {
        let names = match reference.scope {
            SetScope::Cluster => self.cluster_sets,
            SetScope::Guest => self.guest_sets,
            SetScope::Sdn => return self.cluster_sets.get(&sets::of_sdn_named(&reference.name), self.family).cloned(),
        };
        names.get(&reference.name, self.family).cloned()
    }
}

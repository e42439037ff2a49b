//! The parts of both tables that do not come from the files of guests; they are built again if what they depend on changes.
use super::cached_guests::GuestTables;
use super::{Node, Shared, TablePart, Uses, forward, group_chains, host, maps, raw, sets, standard};
use crate::config::HostOptions;
use crate::nftables::names::TableName;
use crate::nftables::ruleset::{Ruleset, Table};

/// The parts of both tables that do not come from the files of guests.
pub struct NodeTables {
    /// What the rules of guests use.
    used: Uses,
    /// The host's table, if the firewall of the node is enabled.
    host: Option<Table>,
    /// The guests' table without the guests.
    guests: Table,
}

impl NodeTables {
    /// Builds them, or reuses the previous ones, which were built from the same node.
    pub fn reuse_or_build(old: Option<Self>, node: &Node<'_>, shared: &Shared, used: Uses) -> Self {
        old.filter(|old| old.used == used).unwrap_or_else(|| NodeTables::make(node, shared, used))
    }

    fn make(node: &Node<'_>, shared: &Shared, used: Uses) -> Self {
        // exhaustive: a new option must be used for the chains below or in the settings, or ignored explicitly
        #[rustfmt::skip]
        let HostOptions {
            enable, nosmurfs: _, tcpflags: _, ndp: _, nf_conntrack_allow_invalid: _, protection_synflood: _,
            protection_synflood_rate: _, protection_synflood_burst: _, nf_conntrack_tcp_timeout_syn_recv: _,
            nf_conntrack_helpers: _, log_level_in: _, log_level_out: _, log_level_forward: _, tcp_flags_log_level: _,
            smurf_log_level: _, lines: _,
            // kernel settings, and the backend
            nf_conntrack_max: _, nf_conntrack_tcp_timeout_established: _, log_nf_conntrack: _, nftables: _,
        } = &node.host.options;
        let host = enable.then(|| host_table(node, shared));
        NodeTables { host, guests: guests_table(node, shared, &used), used }
    }

    /// The ruleset of the node and its guests.
    pub fn with_guests(&self, guests: &GuestTables) -> Ruleset {
        let host = self.host.iter().map(|table| (TableName::Host, table.clone()));
        let guests = guests.added_to(&self.guests);
        Ruleset { tables: host.chain([(TableName::Guests, guests)]).collect(), ..Ruleset::default() }
    }
}

fn host_table(node: &Node<'_>, shared: &Shared) -> Table {
    let mut part = standard::host(node, shared);
    part.join(&host::make(node, shared));
    part.join(&forward::routed(node, shared));
    part.join(&forward::vnets(node, shared, TableName::Host));
    let mut table = Table::default();
    raw::of_host(node, &mut table);
    maps::of_host(node, &mut table);
    finish(node, shared, TableName::Host, part, &mut table);
    table
}

fn guests_table(node: &Node<'_>, shared: &Shared, used: &Uses) -> Table {
    let mut part = standard::guests(node, shared);
    part.join(&forward::vnets(node, shared, TableName::Guests));
    part.uses.join(used);
    let mut table = Table::default();
    raw::of_guests(node, &mut table);
    maps::of_guests(node, &mut table);
    finish(node, shared, TableName::Guests, part, &mut table);
    table
}

/// Adds a part to a table, with what it uses: groups, lists, and sets of the cluster and of SDN.
fn finish(node: &Node<'_>, shared: &Shared, name: TableName, mut part: TablePart, table: &mut Table) {
    let groups = group_chains::make(node, shared, name, &part.uses.groups);
    part.join(&groups);
    let TablePart { chains, sets, uses } = part;
    table.chains.extend(chains);
    table.sets.extend(sets.into_iter().chain(uses.lists));
    table.sets.extend(uses.shared_sets.iter().flat_map(|set| sets::shared(node, set)));
}

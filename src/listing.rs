//! Chains and sets with their lines, as commands print them for either backend.
use crate::model::Origin;
use serde::Serialize;
use std::fmt::{self, Display};

/// The action for a chain or set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedAction {
    /// It is not live.
    Create,
    /// It is live with the wanted signature.
    Exists,
    /// It is live with another signature, or none.
    Update,
    /// It is live and no longer wanted.
    Delete,
    /// It is live and is not changed.
    Ignore,
}

impl Display for PlannedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PlannedAction::Create => "create",
            PlannedAction::Exists => "exists",
            PlannedAction::Update => "update",
            PlannedAction::Delete => "delete",
            PlannedAction::Ignore => "ignore",
        })
    }
}

/// Wanted rules compared with live rules. `Display` prints the format that other programs parse: the blocks, then whether
/// anything differs.
#[derive(Debug)]
pub struct Listing {
    /// The parts, in the order of the output.
    pub blocks: Vec<Block>,
    /// Whether there are changes.
    pub changes: bool,
    /// Whether the firewall is enabled.
    pub enabled: bool,
}

/// A part: the sets, a table, or the chains of ebtables.
#[derive(Debug)]
pub struct Block {
    /// Its title.
    pub title: String,
    /// The wanted items by name, then those that are only live by name.
    pub entries: Vec<Entry>,
}

/// A chain or set.
#[derive(Debug)]
pub struct Entry {
    /// The action of an update.
    pub action: PlannedAction,
    /// Its name.
    pub name: String,
    /// The signature, or `unknown`.
    pub signature: String,
    /// Its lines with their origins; empty for deleted and ignored items.
    pub lines: Vec<(String, Origin)>,
}

impl Listing {
    /// The last lines: whether anything differs, and whether the firewall is disabled.
    #[must_use]
    pub fn summary(&self) -> String {
        let changes = if self.changes { "detected changes\n" } else { "no changes\n" };
        format!("{changes}{}", if self.enabled { "" } else { "firewall disabled\n" })
    }
}

impl Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, block) in self.blocks.iter().enumerate() {
            writeln!(f, "{}{}", if at > 0 { "\n" } else { "" }, block.title)?;
            for Entry { action, name, signature, lines } in &block.entries {
                writeln!(f, "{action} {name} ({signature})")?;
                lines.iter().try_for_each(|(line, _)| writeln!(f, "\t{line}"))?;
            }
        }
        f.write_str(&self.summary())
    }
}

/// The chains and sets that an update would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Those that would be created, changed or deleted.
    pub changes: Vec<Change>,
    /// A message for each rule that the kernel would refuse.
    pub refused: Vec<String>,
}

/// A chain or set that would be created, changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its part, such as `ip4 filter`, or `ipset`.
    pub part: String,
    /// Whether it is a set of addresses or ports, or else a chain.
    pub is_set: bool,
    /// What would happen to it.
    pub action: PlannedAction,
    /// Its name.
    pub name: String,
    /// Its live lines.
    pub old: Vec<String>,
    /// Its wanted lines, with their origins as far as they are known.
    pub new: Vec<(String, Option<Origin>)>,
}

/// The chains and rules of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableCount {
    /// Its chains.
    pub chains: usize,
    /// The rules in them.
    pub rules: usize,
}

/// The chains, rules and sets of iptables for one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FamilyCount {
    /// The table `filter`.
    pub filter: TableCount,
    /// The table `raw`.
    pub raw: TableCount,
    /// The IP sets.
    pub sets: usize,
}

/// The chains, rules and sets of a table of nftables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NftCount {
    /// Its chains.
    pub chains: usize,
    /// The rules in them.
    pub rules: usize,
    /// Its sets and maps.
    pub sets: usize,
}

/// The numbers of chains, rules and sets of a ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Count {
    /// With iptables.
    Iptables {
        /// IPv4.
        ipv4: FamilyCount,
        /// IPv6.
        ipv6: FamilyCount,
        /// The chains of ebtables.
        ebtables: TableCount,
    },
    /// With nftables.
    Nftables {
        /// The table `inet proxmox-firewall`.
        #[serde(rename = "inet")]
        host: NftCount,
        /// The table `bridge proxmox-firewall-guests`.
        #[serde(rename = "bridge")]
        guests: NftCount,
    },
}

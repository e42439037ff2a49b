//! The interface of the nftables backend for `crate::backend`: its compiler, and its `Firewall`.
use super::apply::{Firewall, Lines, Outcome};
use super::compile::{self, Compiler};
use super::live;
use super::names::{Name, TableName, cluster_chain, guest_chain};
use super::plan::{ChainChange, LiveCache, SetChange, TablePlan, diff, script};
use super::ruleset::{Match, Rule, Ruleset, Table};
use crate::config::{ConfigCache, Configuration, GuestFiles};
use crate::health::{EncapsulatedFrame, Evidence, NftChain, Scope};
use crate::inputs::{Facts, File, Tree};
use crate::listing::{Change, Count, Difference, NftCount, PlannedAction};
use crate::model::guest::GuestDevice;
use crate::model::{Direction, Encapsulation, Family, Origin, Verdict};
use crate::paths::CLUSTER;
use crate::system::netfilter::{BaseChain, LegacyChain, legacy_chains};
use anyhow::Result;
use std::sync::Arc;
use std::time::Instant;

/// The nftables backend of one process. Use one for the lifetime of the process: it caches compiled rules, the live state, and
/// the rules that the kernel refused.
pub struct Nftables {
    cache: ConfigCache,
    compiler: Compiler,
    firewall: Firewall,
}

impl Nftables {
    /// A backend that compiles with up to `threads` threads. Does not run nft.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Nftables { cache: ConfigCache::new(threads), compiler: Compiler::new(threads), firewall: Firewall::default() }
    }

    /// Compiles a configuration. Guests with an unreadable file keep their live rules, which are not read for this.
    pub fn compile(&mut self, tree: &Tree, facts: &Facts) -> (Arc<Configuration>, Arc<Ruleset>) {
        let configuration = self.cache.read(tree, facts);
        let ruleset = self.compiler.compile(&configuration, facts);
        (configuration, ruleset)
    }

    /// Applies a ruleset; cheap if nothing has changed since the last call.
    pub fn maintain(&mut self, ruleset: &Arc<Ruleset>) -> Outcome {
        self.firewall.update(ruleset)
    }

    /// The changes by other programs that [`Nftables::maintain`] has undone since the last call.
    pub fn undone(&mut self) -> Vec<String> {
        self.firewall.undone()
    }

    /// Records the scripts of transactions from now on.
    pub fn record_scripts(&mut self) {
        self.firewall.record_scripts();
    }

    /// The recorded scripts of the transactions since the last call.
    pub fn scripts(&mut self) -> Vec<String> {
        self.firewall.scripts()
    }

    /// When [`Nftables::maintain`] has to be called again even if nothing changes.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.firewall.due()
    }

    /// The parts of the node that the configuration filters.
    #[must_use]
    pub fn scope(configuration: &Configuration, host: bool) -> Scope {
        let devices = configuration.guests.iter().flat_map(|guest| match &guest.files {
            GuestFiles::Read { firewall, devices } if firewall.options.enable => {
                devices.iter().filter_map(|device| GuestDevice::parse(device.name.as_str())).collect()
            }
            GuestFiles::Read { .. } => Vec::new(),
            GuestFiles::Unreadable { live } => {
                live.iter().filter_map(|name| GuestDevice::parse(name.as_str())).collect()
            }
        });
        Scope { host, devices: devices.collect(), ..Scope::default() }
    }

    /// Whether the rules accept a frame whose IP packet they cannot match, because the policy accepts it and the configuration
    /// does not forbid it. Rules can match a packet in a frame with one VLAN tag.
    #[must_use]
    pub fn allows_bypass(configuration: &Configuration, ruleset: &Ruleset, frame: EncapsulatedFrame) -> bool {
        let EncapsulatedFrame { device, direction, encapsulation } = frame;
        let Some((firewall, own)) = configuration.device(device) else { return false };
        let policy = match direction {
            Direction::In => firewall.options.policy_in,
            _ => firewall.options.policy_out,
        };
        let chains = ruleset.tables.get(&TableName::Guests).map(|table| &table.chains);
        let chain = chains.and_then(|chains| chains.get(&guest_chain(device.vmid, direction)));
        let by_type = |rule: &Rule| rule.matches.iter().any(|one| matches!(one, Match::FrameType { .. }));
        let strict = chain.is_some_and(|chain| chain.rules().iter().any(by_type));
        let mut refused = compile::refused(&firewall.options, own, &configuration.databases);
        encapsulation != Encapsulation::Vlan
            && policy == Verdict::Accept
            && !strict
            && refused.any(|one| one == encapsulation)
    }

    /// The base chains of other programs in nftables, and the parts of our rules that do not work.
    #[must_use]
    pub fn evidence(&self, chains: &[BaseChain]) -> Evidence {
        let filters = chains.iter().filter(|chain| chain.kind == "filter");
        let shown = |BaseChain {
                         family: _,
                         table: (family, table),
                         name,
                         kind: _,
                         hook: _,
                         drops,
                         unconditional_drop,
                     }: &BaseChain| {
            NftChain {
                table: format!("{family} {table}"),
                legacy: None,
                chain: name.clone(),
                forwards: false,
                drops: *drops,
                bridged: *family == "bridge",
                unconditional_drop: *unconditional_drop,
            }
        };
        let untracked = self.firewall.refuses_conntrack_in_bridges();
        // no findings about state that cannot be read
        let legacy = legacy_chains().unwrap_or_default().into_iter().map(of_legacy_tools);
        Evidence { chains: filters.map(shown).chain(legacy).collect(), untracked, ..Evidence::default() }
    }

    /// Deletes both tables.
    pub fn remove(&mut self) -> Outcome {
        self.firewall.remove()
    }

    /// Whether an update would change anything.
    ///
    /// # Errors
    /// When the kernel cannot be queried.
    pub fn differs(&mut self, wanted: &Ruleset) -> Result<bool> {
        Ok(!self.firewall.plan(wanted)?.is_empty())
    }

    /// The changes of an update; with the lines as listed by nft, if `lines`.
    ///
    /// # Errors
    /// When the kernel cannot be queried, or no network namespace can be created to load the wanted rules.
    pub fn difference(&mut self, wanted: &Arc<Ruleset>, lines: bool) -> Result<Difference> {
        let plan = self.firewall.plan(wanted)?;
        if plan.is_empty() {
            return Ok(Difference::default());
        }
        let old = if lines { self.firewall.dump() } else { Default::default() };
        let (new, outcome) = if lines { self.firewall.dump_of(wanted)? } else { Default::default() };
        let mut difference = Difference { changes: Vec::new(), refused: outcome.errors };
        let nothing = Lines::new();
        for (name, changes) in &plan.tables {
            let side = |texts: &'_ std::collections::BTreeMap<TableName, Lines>| texts.get(name).cloned();
            let (old, new) = (side(&old).unwrap_or_default(), side(&new).unwrap_or_default());
            let new = if changes.wanted { &new } else { &nothing };
            let table = wanted.tables.get(name);
            collect(&name.to_string(), changes, table, (&old, new), &mut difference.changes);
        }
        Ok(difference)
    }
}

fn of_legacy_tools(LegacyChain { family, table, name, drops, unconditional_drop }: LegacyChain) -> NftChain {
    let tool = match family {
        Family::V4 => "iptables-legacy",
        Family::V6 => "ip6tables-legacy",
    };
    NftChain {
        table: format!("{tool} {table}"),
        legacy: Some(tool),
        chain: name.to_string(),
        forwards: false,
        drops,
        bridged: false,
        unconditional_drop,
    }
}

/// The script for the chains that every configuration has, without user rules.
#[must_use]
pub fn skeleton() -> String {
    let content = "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n";
    let files = [(CLUSTER.into(), File::Content(content.as_bytes().into()))];
    let tree = Tree { root: String::new(), files: files.into() };
    let facts = Facts::default();
    let configuration = ConfigCache::new(1).read(&tree, &facts);
    let ruleset = Compiler::new(1).compile(&configuration, &facts);
    script(&diff(&ruleset, &LiveCache::default(), &|_, _| None), &ruleset).text
}

/// Whether the live tables enforce a configuration, whichever program created them: there are chains with rules for incoming
/// packets of the node and of each of its guests.
///
/// # Errors
/// When the kernel cannot be queried.
pub fn enforces(configuration: &Configuration) -> Result<bool> {
    let live = live::read()?;
    let has_rules = |table, chain: &Name| {
        let table: Option<&live::LiveTable> = live.tables.get(&table);
        table.and_then(|table| table.chains.get(chain.as_str())).is_some_and(|chain| !chain.rules.is_empty())
    };
    let host = !configuration.host.options.enable || has_rules(TableName::Host, &cluster_chain(Direction::In));
    let guests = configuration.guests.iter().filter(|guest| {
        matches!(&guest.files, GuestFiles::Read { firewall, devices } if firewall.options.enable && !devices.is_empty())
    });
    let mut guests = guests.map(|guest| guest_chain(guest.listed.vmid, Direction::In));
    Ok(live.tables.contains_key(&TableName::Guests) && host && guests.all(|chain| has_rules(TableName::Guests, &chain)))
}

fn collect(
    part: &str,
    changes: &TablePlan,
    table: Option<&Table>,
    (old, new): (&Lines, &Lines),
    into: &mut Vec<Change>,
) {
    let change = |name: &str, is_set: bool, action: PlannedAction, origins: Vec<Origin>| {
        let lines = new.get(name).cloned().unwrap_or_default();
        // the first line of a base chain is its hook; if a rule was refused, lines and origins do not correspond
        let hook = lines.len().checked_sub(origins.len()).filter(|hook| *hook <= 1 && !is_set);
        let origin = |at: usize| origins.get(at.checked_sub(hook?)?).cloned();
        let new = lines.into_iter().enumerate().map(|(at, line)| (line, origin(at))).collect();
        let old = old.get(name).cloned().unwrap_or_default();
        Change { part: part.to_string(), is_set, action, name: name.to_string(), old, new }
    };
    if !changes.wanted {
        into.extend(old.keys().map(|name| change(name, name.contains('/'), PlannedAction::Delete, Vec::new())));
        return;
    }
    for (name, what) in &changes.sets {
        let action = match what {
            SetChange::Create => PlannedAction::Create,
            SetChange::Refill | SetChange::Recreate => PlannedAction::Update,
            SetChange::Delete => PlannedAction::Delete,
        };
        into.push(change(name, true, action, Vec::new()));
    }
    let maps = changes.elements.keys().filter(|name| !changes.sets.contains_key(*name));
    into.extend(maps.map(|name| change(name, true, PlannedAction::Update, Vec::new())));
    for (name, what) in &changes.chains {
        let action = match what {
            ChainChange::Create => PlannedAction::Create,
            ChainChange::Rewrite | ChainChange::Edit(_) => PlannedAction::Update,
            ChainChange::Delete => PlannedAction::Delete,
        };
        let chain = table.and_then(|table| table.chains.get(name.as_str()));
        let origins = chain.map(|chain| chain.rules().iter().map(|rule| rule.origin.clone()).collect());
        into.push(change(name, false, action, origins.unwrap_or_default()));
    }
}

/// The numbers of chains, rules and sets of a ruleset.
#[must_use]
pub fn count(ruleset: &Ruleset) -> Count {
    let of = |name| {
        let Some(Table { chains, sets, maps, dynamic_sets, helpers: _ }) = ruleset.tables.get(&name) else {
            return NftCount::default();
        };
        NftCount {
            chains: chains.len(),
            rules: chains.values().map(|chain| chain.rules().len()).sum(),
            sets: sets.len() + maps.len() + dynamic_sets.len(),
        }
    };
    Count::Nftables { host: of(TableName::Host), guests: of(TableName::Guests) }
}

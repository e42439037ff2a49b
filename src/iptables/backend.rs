//! The interface of the iptables backend for `crate::backend`: its compiler, and its `Firewall`.
use super::apply::{Dump, Firewall, Lines, Outcome, VariantChoice, family_name};
use super::compile::strict_layer2::Encapsulations;
use super::compile::{Compiled, Compiler};
use super::names;
use super::plan::{Live, Part, Plan, Planned, PlannedAction, TableName, listing};
use super::ruleset::{Chain, Ruleset, Table};
use crate::config::{ConfigCache, Configuration};
use crate::health::{EncapsulatedFrame, Evidence, ForeignTable, NftChain, Scope, TableKind};
use crate::inputs::{Facts, File, Tree};
use crate::listing::{Change, Count, Difference, FamilyCount, Listing, TableCount};
use crate::model::guest::parse_vmid;
use crate::model::{Direction, Family, Origin};
use crate::parallel;
use crate::paths::TreeFile;
use crate::system::netfilter::{self, BaseChain, has_chain, legacy_tables};
use crate::system::root_directory::Root;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The iptables backend of one process. Use one for the lifetime of the process: it caches compiled rules, the variants of the
/// tools in use, the live state, and the rules that the kernel refused.
pub struct Iptables {
    cache: ConfigCache,
    compiler: Compiler,
    firewall: Firewall,
    threads: usize,
    offline: bool,
}

/// The table with our rules that filter packets.
const FILTER: &str = "filter";
/// The number of entries of a legacy table without rules: the policies of three chains, and the end entry.
const EMPTY_LEGACY_TABLE: u32 = 4;

impl Iptables {
    /// A backend with state files under `root`, which compiles with up to `threads` threads. Does not run tools.
    #[must_use]
    pub fn new(root: &Root, variant: VariantChoice, threads: usize) -> Self {
        Iptables {
            cache: ConfigCache::new(threads),
            compiler: Compiler::new(threads),
            firewall: Firewall::new(root, variant),
            threads,
            offline: false,
        }
    }

    /// Stops querying the kernel: all rules count as missing.
    pub fn set_offline(&mut self) {
        self.offline = true;
    }

    /// Sets the maximum time between two full readings of the live rules, by default five minutes.
    pub fn set_full_reading(&mut self, interval: Duration) {
        self.firewall.set_full_reading(interval);
    }

    /// Compiles a configuration. The kernel is queried only if a guest has an unreadable file: its devices keep their live
    /// rules.
    pub fn compile(&mut self, tree: &Tree, mut facts: Facts) -> (Arc<Configuration>, Compiled) {
        facts.live_devices = live_devices(tree, || self.live());
        let Iptables { cache, compiler, firewall, threads, offline } = self;
        // an idle cycle starts no thread
        if let Some(configuration) = cache.current(tree, &facts) {
            let compiled = compiler.compile_configuration(&configuration, &facts);
            return (configuration, compiled);
        }
        let compile = || {
            let configuration = cache.read_changed(tree, &facts);
            let compiled = compiler.compile_configuration(&configuration, &facts);
            (configuration, compiled)
        };
        let prefetch_summaries = || {
            if !*offline {
                firewall.prefetch_summaries();
            }
        };
        parallel::both(*threads, prefetch_summaries, compile).1
    }

    /// Whether rules of ours may be live in both families, according to the kernel without running a tool: there is a legacy table
    /// `filter` with any rules, or our entry chain in nftables.
    #[must_use]
    pub fn may_be_live() -> bool {
        Family::ALL.into_iter().all(|family| {
            let v6 = family == Family::V6;
            let exists = || legacy_tables(v6).iter().any(|table| table == FILTER);
            let rules = || netfilter::iptables(FILTER, v6).ok().as_ref().and_then(netfilter::rules);
            let legacy = exists() && rules().is_none_or(|count| count > EMPTY_LEGACY_TABLE);
            legacy || has_chain(family.nft(), FILTER, &names::INPUT.to_string()).unwrap_or(true)
        })
    }

    /// Whether the rules of both families are live.
    pub fn is_live(&mut self) -> bool {
        let live = self.live();
        Family::ALL.iter().all(|family| live.has_own(Part::Table(TableName::Filter, *family)))
    }

    /// Applies the compiled rules; cheap if nothing has changed since the last call.
    pub fn maintain(&mut self, ruleset: &Arc<Ruleset>) -> Outcome {
        let mut outcome = self.firewall.maintain(ruleset);
        outcome.errors.extend(self.firewall.unsaved_scripts());
        outcome
    }

    /// Starts the tools that an update of large tables would run, before the rules are compiled.
    pub fn start_early(&mut self) {
        // a tool that reads a table does not let other programs run on its processor, if the kernel is not preemptible
        self.firewall.start_early(self.threads.saturating_sub(1));
    }

    /// Ends the tools of [`Iptables::start_early`] that have waited for this time.
    pub fn end_early(&self, after: Duration) {
        self.firewall.end_early(after);
    }

    /// The changes by other programs that [`Iptables::maintain`] has undone since the last call.
    pub fn undone(&mut self) -> Vec<String> {
        self.firewall.undone()
    }

    /// When [`Iptables::maintain`] has to read the next part of a full reading; `None` while an update is needed.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.firewall.due()
    }

    /// The parts of the node that the configuration filters.
    #[must_use]
    pub fn scope(ruleset: &Ruleset, host: bool) -> Scope {
        let chains = ruleset.filter.v4.keys().filter(|chain| chain.as_str().ends_with(names::IN));
        let devices = chains.filter_map(|chain| names::device_of(chain.as_str())).collect();
        Scope { host, devices, ..Scope::default() }
    }

    /// Whether the rules accept a frame whose IP packet bypasses iptables, although the configuration does not allow it, as it
    /// does for a trunk.
    #[must_use]
    pub fn allows_bypass(configuration: &Configuration, ruleset: &Ruleset, frame: EncapsulatedFrame) -> bool {
        let EncapsulatedFrame { device, direction, encapsulation } = frame;
        let Some((firewall, device)) = configuration.device(device) else { return false };
        // with layer2_protocols, frames from guests with other protocols are dropped
        let protocols = (direction == Direction::Out).then(|| names::device_protocols(&device.name));
        let mut chains = [names::device_in(&device.name)].into_iter().chain(protocols);
        let filters = chains.any(|chain| ruleset.bridge.contains_key(&chain));
        let encapsulations = Encapsulations::of(&configuration.databases);
        let mut refused = encapsulations.refused(Some((&firewall.options, device)));
        !filters && refused.any(|(one, _)| one == encapsulation)
    }

    /// The tables with rules of other programs, and the parts of our rules that do not work, according to the last read of the
    /// live state. `chains` are the base chains of nftables.
    pub fn evidence(&mut self, chains: &[BaseChain]) -> Evidence {
        let in_nft =
            |family: Family| chains.iter().any(|chain| chain.table.0 == family.nft() && chain.table.1 == "nat");
        let nat = self.firewall.nat_tables(in_nft);
        let live = self.firewall.last_read();
        let mut tables: Vec<ForeignTable> = Vec::new();
        let mut add = |name: String, kind, rules| tables.push(ForeignTable { name, kind, rules });
        for family in Family::ALL {
            for (table, kind) in
                [(TableName::Filter, TableKind::Filter(family)), (TableName::Raw, TableKind::Raw(family))]
            {
                // a part that cannot be read is reported as an error of the update
                if let Ok(read) = live.table(table, family) {
                    add(Part::Table(table, family).to_string(), kind, Ok(Arc::new(read.others.clone())));
                }
            }
        }
        if let Ok(bridge) = &live.bridge {
            add("ebtables filter".into(), TableKind::Bridge, Ok(Arc::new(bridge.table.others.clone())));
        }
        for (tool, family, rules) in nat {
            add(format!("{tool} nat"), TableKind::Nat(family), rules);
        }
        let variants = self.firewall.variants();
        let managed = |chain: &BaseChain| {
            // the only tool for legacy frames in nftables
            let bridge = chain.table.0 == "bridge";
            bridge || Family::ALL.into_iter().any(|one| chain.table.0 == one.nft() && variants.uses_nftables(one))
        };
        let of_tools = |chain: &BaseChain| matches!(chain.table.1.as_str(), "filter" | "raw") && managed(chain);
        let chains = chains.iter().filter(|chain| chain.kind == "filter" && !of_tools(chain));
        Evidence {
            tables,
            without_physdev: self.firewall.without_physdev(),
            leftover_tools: variants.unused_with_rules(),
            chains: chains.map(nft_chain).collect(),
            ..Evidence::default()
        }
    }

    /// Removes all rules, chains and sets of ours.
    pub fn remove(&mut self) -> Outcome {
        self.firewall.remove()
    }

    /// The parts of the live rules that cannot be read, with the reason.
    pub fn unreadable(&mut self) -> Vec<String> {
        self.live().errors().iter().map(|(part, why)| format!("{part}: {why}")).collect()
    }

    /// Whether an update would change anything.
    pub fn differs(&mut self, wanted: &Ruleset) -> bool {
        !Plan::new(wanted, &self.live()).is_empty()
    }

    /// The rules, each chain and set with the action of an update.
    pub fn listing(&mut self, wanted: &Ruleset, enabled: bool) -> Listing {
        let live = self.live();
        listing(wanted, Some(&live), enabled)
    }

    /// The changes of an update; with the lines as printed by the tools, if `lines`.
    ///
    /// # Errors
    /// When the tools cannot be run in a network namespace of their own.
    pub fn difference(&mut self, wanted: &Ruleset, lines: bool) -> Result<Difference> {
        let plan = Plan::new(wanted, &self.live());
        if plan.is_empty() {
            return Ok(Difference::default());
        }
        let old = if lines { self.firewall.dump() } else { Dump::default() };
        let (new, outcome) = if lines { self.firewall.dump_of(wanted)? } else { Default::default() };
        let refused = outcome.errors.iter().map(ToString::to_string).collect();
        let mut difference = Difference { changes: Vec::new(), refused };
        for family in Family::ALL {
            for table in TableName::ALL {
                let part = format!("{} {}", family_name(family), table.as_str());
                let key = (family_name(family), table.as_str());
                let rules = wanted.table(table, family);
                let origins = |name: &str| rules.get(name).map(|chain| origins(chain)).unwrap_or_default();
                let sides = Sides { old: old.tables.get(&key), new: new.tables.get(&key) };
                sides.collect(&part, &plan.table(table, family).chains, origins, &mut difference.changes);
            }
        }
        let bridge = |name: &str| -> Vec<&Origin> {
            let chain = wanted.bridge.get(name).into_iter();
            chain.flat_map(|chain| chain.rules().iter().map(|rule| &rule.origin)).collect()
        };
        let sides = Sides::of(&old, &new, |dump| &dump.bridge);
        sides.collect("ebtables", &plan.bridge.chains, bridge, &mut difference.changes);
        let set = |name: &str| -> Vec<&Origin> {
            let lines = new.sets.get(name).map_or(0, Vec::len);
            wanted.sets.get(name).map(|set| vec![&set.origin; lines]).unwrap_or_default()
        };
        Sides::of(&old, &new, |dump| &dump.sets).collect(SETS, &plan.sets.sets, set, &mut difference.changes);
        Ok(difference)
    }

    /// The variants of the tools.
    #[must_use]
    pub fn tools(&self) -> String {
        self.firewall.variants().to_string()
    }

    fn live(&mut self) -> Live {
        if self.offline { Live::empty() } else { self.firewall.live() }
    }
}

/// The part of the sets.
const SETS: &str = "ipset";

/// The numbers of chains, rules and sets of a ruleset.
#[must_use]
pub fn count(ruleset: &Ruleset) -> Count {
    let table = |table: &Table| TableCount {
        chains: table.len(),
        rules: table.values().map(|chain| chain.rules().len()).sum(),
    };
    let family = |family| FamilyCount {
        filter: table(&ruleset.filter[family]),
        raw: table(&ruleset.raw[family]),
        sets: ruleset.sets.values().filter(|set| set.family == family).count(),
    };
    Count::Iptables {
        ipv4: family(Family::V4),
        ipv6: family(Family::V6),
        ebtables: TableCount {
            chains: ruleset.bridge.len(),
            rules: ruleset.bridge.values().map(|chain| chain.rules().len()).sum(),
        },
    }
}

/// The live and the wanted lines of a part.
struct Sides<'a> {
    old: Option<&'a Lines>,
    new: Option<&'a Lines>,
}

impl<'a> Sides<'a> {
    fn of(old: &'a Dump, new: &'a Dump, pick: impl Fn(&'a Dump) -> &'a Lines) -> Self {
        Sides { old: Some(pick(old)), new: Some(pick(new)) }
    }

    fn collect<'b, N: Ord + Display>(
        &self,
        part: &str,
        planned: &BTreeMap<N, Planned>,
        origins: impl Fn(&str) -> Vec<&'b Origin>,
        changes: &mut Vec<Change>,
    ) {
        let changed = planned.iter().filter(|(_, planned)| {
            matches!(planned.action, PlannedAction::Create | PlannedAction::Update | PlannedAction::Delete)
        });
        for (name, planned) in changed {
            let name = name.to_string();
            let lines = |side: Option<&Lines>| side.and_then(|side| side.get(&name)).cloned().unwrap_or_default();
            let (old, new) = (lines(self.old), lines(self.new));
            let origins = origins(&name);
            // if a rule was refused, lines and origins do not correspond
            let known = origins.len() == new.len();
            let origin = |at: usize| origins.get(at).filter(|_| known).map(|origin| (*origin).clone());
            let new = new.into_iter().enumerate().map(|(at, line)| (line, origin(at))).collect();
            let (part, is_set) = (part.to_string(), part == SETS);
            changes.push(Change { part, is_set, action: planned.action, name, old, new });
        }
    }
}

/// The origin of each line of a chain: the tools print a rule for each pair of addresses in its lists.
fn origins(chain: &Chain) -> Vec<&Origin> {
    chain.rules().iter().flat_map(|rule| vec![&rule.origin; rule.expanded()]).collect()
}

fn nft_chain(chain: &BaseChain) -> NftChain {
    const FORWARD: u32 = 2;
    let (family, table) = &chain.table;
    NftChain {
        table: format!("{family} {table}"),
        legacy: None,
        chain: chain.name.clone(),
        forwards: chain.hook == FORWARD,
        drops: chain.drops,
        bridged: *family == "bridge",
        unconditional_drop: chain.unconditional_drop,
    }
}

/// The devices with live rules of the guests that have an unreadable file. The kernel is queried only if there are such guests.
fn live_devices(tree: &Tree, live: impl FnOnce() -> Live) -> Vec<String> {
    let unreadable = tree.files.iter().filter(|(_, file)| matches!(file, File::Unreadable(_)));
    let guests: BTreeSet<u32> = unreadable.filter_map(|(path, _)| guest_of(path)).collect();
    if guests.is_empty() {
        return Vec::new();
    }
    let live = live();
    let tables = Family::ALL.into_iter().filter_map(|family| live.filter[family].as_ref().ok());
    let devices = tables.flat_map(|table| table.chains.keys()).filter_map(|chain| names::device_of(chain.as_str()));
    let kept: BTreeSet<String> =
        devices.filter(|device| guests.contains(&device.vmid)).map(|device| device.to_string()).collect();
    kept.into_iter().collect()
}

/// The guest that a file belongs to, by its VMID.
fn guest_of(path: &str) -> Option<u32> {
    match TreeFile::parse(path)? {
        TreeFile::Guest(id) | TreeFile::GuestConfig { id, .. } => parse_vmid(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_of_a_file_is_parsed() {
        assert_eq!(guest_of("firewall/100.fw"), Some(100));
        assert_eq!(guest_of("nodes/n1/lxc/7.conf"), Some(7));
        assert_eq!(guest_of("firewall/cluster.fw"), None);
        assert_eq!(guest_of("nodes/n1/host.fw"), None);
        assert_eq!(guest_of(".vmlist"), None);
    }
}

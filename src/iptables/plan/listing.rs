//! The listing of the `compile` command.
use super::diff::{Action, Plan, Planned, bridge_style};
use super::live::{Live, TableName};
use crate::iptables::ruleset::Ruleset;
use crate::model::{Family, Origin};
use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// Wanted rules compared with live rules. `Display` prints the format that other programs parse: six blocks, then whether
/// anything differs.
#[derive(Debug)]
pub struct Listing<'a> {
    /// The parts, in the order of the output.
    pub blocks: Vec<Block<'a>>,
    /// Whether there are changes.
    pub changes: bool,
    /// Whether the firewall is enabled.
    pub enabled: bool,
}

/// A part: the sets, a table, or the chains of ebtables.
#[derive(Debug)]
pub struct Block<'a> {
    /// Its title.
    pub title: String,
    /// The wanted items by name, then those that are only live by name.
    pub entries: Vec<Entry<'a>>,
}

/// A chain or set.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The action of an update.
    pub action: Action,
    /// Its name.
    pub name: String,
    /// The signature, or `unknown`.
    pub signature: String,
    /// Its lines with their origins; empty for deleted and ignored items.
    pub lines: Vec<(String, &'a Origin)>,
}

impl<'a> Listing<'a> {
    /// Without `live` rules, everything is to be created. The block of a part that could not be read is empty: the caller
    /// reports [`Live::faults`].
    #[must_use]
    pub fn new(wanted: &'a Ruleset, live: Option<&Live>, enabled: bool) -> Self {
        let nothing = Live::empty();
        let live = live.unwrap_or(&nothing);
        let plan = Plan::new(wanted, live);
        let tables = |title: &str, table| {
            Family::ALL.map(|family| {
                let tool = if family == Family::V4 { "iptables" } else { "ip6tables" };
                let (chains, wanted) = (&plan.table(table, family).chains, wanted.table(table, family));
                Block::new(format!("{tool} {title}"), chains, wanted, [], |name, chain| {
                    chain.lines(name).zip(chain.rules().iter().map(|rule| &rule.origin)).collect()
                })
            })
        };
        let [ip4, ip6] = tables("cmdlist:", TableName::Filter);
        let [raw4, raw6] = tables("table raw cmdlist:", TableName::Raw);
        let stale = plan.sets.stale.iter().map(|name| Entry::only_live(Action::Delete, name, None::<&str>));
        let sets = Block::new("ipset cmdlist:".into(), &plan.sets.sets, &wanted.sets, stale, |name, set| {
            set.lines(name).map(|line| (line, &set.origin)).collect()
        });
        let style = bridge_style(live);
        let others = live.bridge.iter().flat_map(|bridge| &bridge.others);
        let others = others.map(|(name, signature)| Entry::only_live(Action::Ignore, name, Some(signature)));
        let chains = &plan.bridge.chains;
        let bridge = Block::new("ebtables cmdlist:".into(), chains, &wanted.bridge, others, |name, chain| {
            chain.lines(name, style).zip(chain.rules().iter().map(|rule| &rule.origin)).collect()
        });
        Listing { blocks: vec![sets, ip4, ip6, bridge, raw4, raw6], changes: !plan.is_empty(), enabled }
    }

    /// The last lines: whether anything differs, and whether the firewall is disabled.
    #[must_use]
    pub fn summary(&self) -> String {
        let changes = if self.changes { "detected changes\n" } else { "no changes\n" };
        format!("{changes}{}", if self.enabled { "" } else { "firewall disabled\n" })
    }
}

impl<'a> Block<'a> {
    fn new<N: Ord + Display, W>(
        title: String,
        planned: &BTreeMap<N, Planned>,
        wanted: &'a BTreeMap<N, W>,
        others: impl IntoIterator<Item = Entry<'a>>,
        lines: impl Fn(&'a N, &'a W) -> Vec<(String, &'a Origin)>,
    ) -> Self {
        let mut entries = Vec::new();
        let mut live_only: BTreeMap<String, Entry<'a>> =
            others.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        for (name, planned) in planned {
            let entry = Entry::only_live(planned.action, name, planned.signature);
            match wanted.get_key_value(name) {
                Some((name, one)) if planned.action != Action::Ignore => {
                    entries.push(Entry { lines: lines(name, one), ..entry });
                }
                _ => drop(live_only.insert(entry.name.clone(), entry)),
            }
        }
        entries.extend(live_only.into_values());
        Block { title, entries }
    }
}

impl Entry<'_> {
    fn only_live(action: Action, name: &(impl Display + ?Sized), signature: Option<impl Display>) -> Self {
        let signature = signature.map_or_else(|| "unknown".into(), |signature| signature.to_string());
        Entry { action, name: name.to_string(), signature, lines: Vec::new() }
    }
}

impl Display for Listing<'_> {
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

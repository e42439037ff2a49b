//! The listing of the `compile` command.
use super::diff::{Plan, Planned, bridge_style};
use super::live::Live;
use crate::iptables::ruleset::{Ruleset, TableName};
use crate::listing::{Block, Entry, Listing, PlannedAction};
use crate::model::{Family, Origin};
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::fmt::Display;

/// Without `live` rules, all chains and sets are listed as to be created. The block of a part that could not be read is empty:
/// the caller reports [`Live::errors`].
#[must_use]
pub fn listing(wanted: &Ruleset, live: Option<&Live>, enabled: bool) -> Listing {
    let nothing = Live::empty();
    let live = live.unwrap_or(&nothing);
    let plan = Plan::new(wanted, live);
    let tables = |title: &str, table| {
        Family::ALL.map(|family| {
            let tool = if family == Family::V4 { "iptables" } else { "ip6tables" };
            let (chains, wanted) = (&plan.table(table, family).chains, wanted.table(table, family));
            block(format!("{tool} {title}"), chains, wanted, [], |name, chain| {
                chain.lines(name).zip(chain.rules().iter().map(|rule| rule.origin.clone())).collect()
            })
        })
    };
    let [ip4, ip6] = tables("cmdlist:", TableName::Filter);
    let [raw4, raw6] = tables("table raw cmdlist:", TableName::Raw);
    let stale = plan.sets.stale.iter().map(|name| only_live(PlannedAction::Delete, name, None::<&str>));
    let sets = block("ipset cmdlist:".into(), &plan.sets.sets, &wanted.sets, stale, |name, set| {
        set.lines(name).map(|line| (line, set.origin.clone())).collect()
    });
    let style = bridge_style(live);
    let others = live.bridge.iter().flat_map(|bridge| &bridge.others);
    let others = others.map(|(name, signature)| only_live(PlannedAction::Ignore, name, Some(signature)));
    let chains = &plan.bridge.chains;
    let bridge = block("ebtables cmdlist:".into(), chains, &wanted.bridge, others, |name, chain| {
        chain.lines(name, style).zip(chain.rules().iter().map(|rule| rule.origin.clone())).collect()
    });
    Listing { blocks: vec![sets, ip4, ip6, bridge, raw4, raw6], changes: !plan.is_empty(), enabled }
}
fn block<'a, N: Ord + Display, W>(
    title: String,
    planned: &BTreeMap<N, Planned>,
    wanted: &'a OrdMap<N, W>,
    others: impl IntoIterator<Item = Entry>,
    lines: impl Fn(&'a N, &'a W) -> Vec<(String, Origin)>,
) -> Block {
    let mut entries = Vec::new();
    let mut live_only: BTreeMap<String, Entry> = others.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
    for (name, planned) in planned {
        let entry = only_live(planned.action, name, planned.signature);
        match wanted.get_key_value(name) {
            Some((name, one)) if planned.action != PlannedAction::Ignore => {
                entries.push(Entry { lines: lines(name, one), ..entry });
            }
            _ => drop(live_only.insert(entry.name.clone(), entry)),
        }
    }
    entries.extend(live_only.into_values());
    Block { title, entries }
}

fn only_live(action: PlannedAction, name: &(impl Display + ?Sized), signature: Option<impl Display>) -> Entry {
    let signature = signature.map_or_else(|| "unknown".into(), |signature| signature.to_string());
    Entry { action, name: name.to_string(), signature, lines: Vec::new() }
}

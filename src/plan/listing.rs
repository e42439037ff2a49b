//! The listing of the `compile` command.
use super::compare::{Plan, Planned, bridge_style};
use super::live::{Live, TableName};
use crate::ruleset::{Family, Ruleset, Signature};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// What is wanted against what is live, in the form that other programs read: six blocks, then whether anything differs.
///
/// `live` is `None` where the kernel is not looked at, and everything is to be created. The block of a part that could not
/// be read is empty: a caller reports [`Live::faults`].
#[must_use]
pub fn listing(wanted: &Ruleset, live: Option<&Live>, enabled: bool) -> String {
    let nothing = Live::empty();
    let live = live.unwrap_or(&nothing);
    let plan = Plan::new(wanted, live);
    let tables = |title: &str, table| {
        Family::ALL.map(|family| {
            let chains = &plan.table(table, family).chains;
            let wanted = wanted.table(table, family);
            let tool = if family == Family::V4 { "iptables" } else { "ip6tables" };
            block(&format!("{tool} {title}"), chains, wanted, |name| wanted[name].lines(name), std::iter::empty())
        })
    };
    let [ip4, ip6] = tables("cmdlist:", TableName::Filter);
    let [raw4, raw6] = tables("table raw cmdlist:", TableName::Raw);
    let stale = plan.sets.stale.iter().map(|name| (name.to_string(), format!("delete {name} (unknown)")));
    let sets = block("ipset cmdlist:", &plan.sets.sets, &wanted.sets, |name| wanted.sets[name].lines(name), stale);
    let style = bridge_style(live);
    let ignored = |(name, signature): (&String, &Signature)| (name.clone(), format!("ignore {name} ({signature})"));
    let others = live.bridge.iter().flat_map(|bridge| bridge.others.iter().map(ignored));
    let bridge = block(
        "ebtables cmdlist:",
        &plan.bridge.chains,
        &wanted.bridge,
        |name| wanted.bridge[name].lines(name, style),
        others,
    );
    let mut text = [sets, ip4, ip6, bridge, raw4, raw6].join("\n");
    text.push_str(if plan.is_empty() { "no changes\n" } else { "detected changes\n" });
    if !enabled {
        text.push_str("firewall disabled\n");
    }
    text
}

/// First what is wanted, by name, each with its lines; then what is only live, by name.
fn block<'a, N: Ord + Display + 'a, W, I: Iterator<Item = String>>(
    title: &str,
    planned: &'a BTreeMap<N, Planned>,
    wanted: &BTreeMap<N, W>,
    lines: impl Fn(&'a N) -> I,
    others: impl Iterator<Item = (String, String)>,
) -> String {
    let mut text = format!("{title}\n");
    let mut put = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").unwrap_or(()); // a String takes everything
    let mut live_only: BTreeMap<String, String> = others.collect();
    for (name, planned) in planned {
        let signature = planned.signature.map_or_else(|| "unknown".into(), |signature| signature.to_string());
        let head = format!("{} {name} ({signature})", planned.action);
        if wanted.contains_key(name) && planned.action != super::Action::Ignore {
            put(format_args!("{head}"));
            lines(name).for_each(|line| put(format_args!("\t{line}")));
        } else {
            live_only.insert(name.to_string(), head);
        }
    }
    live_only.values().for_each(|head| put(format_args!("{head}")));
    text
}

//! Rules as printed by the tools, to show differences. Updates compare signatures instead.
use super::tool_names::Tool;
use super::{Firewall, Outcome, Tools};
use crate::iptables::names::{is_own_bridge_chain, is_own_chain};
use crate::iptables::plan::{TableName, is_own_line};
use crate::iptables::ruleset::Ruleset;
use crate::model::Family;
use crate::system::namespace;
use crate::system::tools;
use anyhow::Result;
use std::collections::BTreeMap;

/// Lines by chain or set name.
pub type Lines = BTreeMap<String, Vec<String>>;

/// The output of the tools, without counters and signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The chains of each table and family.
    pub tables: BTreeMap<(&'static str, &'static str), Lines>,
    /// The chains of ebtables.
    pub bridge: Lines,
    /// The sets; their lines are sorted.
    pub sets: Lines,
}

/// The displayed name of a family.
#[must_use]
pub fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip4",
        Family::V6 => "ip6",
    }
}

/// The live rules. A part that cannot be read has no lines.
pub(super) fn live(tools: &mut Tools) -> Dump {
    tools.variants.choose(tools.limit);
    let mut dump = Dump::default();
    for family in Family::ALL {
        for table in TableName::ALL {
            let args = ["-t", table.as_str()];
            let saved = saved(tools, Tool::Iptables(family), &args, |line| is_rule_of(line, is_own_chain));
            dump.tables.insert((family_name(family), table.as_str()), chains(&saved));
        }
    }
    let bridge = saved(tools, Tool::Ebtables, &[], |line| is_rule_of(line, is_own_bridge_chain));
    dump.bridge = chains(&bridge);
    dump.sets = sets(&tools::kept_lines("ipset", &["save"], tools.limit, is_own_line).unwrap_or_default());
    dump
}

/// The output of the tools for a ruleset, which is loaded in an empty network namespace. Also returns the outcome, with
/// the rules that the tools refuse.
///
/// # Errors
/// When the namespace cannot be created.
pub(super) fn loaded(tools: &Tools, wanted: &Ruleset) -> Result<(Dump, Outcome)> {
    let variants = tools.variants.for_another_namespace();
    let apart = Tools { saves_scripts: false, ..Tools::new(&tools.root, tools.limit, variants) };
    let mut apart = Firewall::with(apart);
    namespace::in_new_namespace(move || {
        let outcome = apart.update(wanted);
        (apart.dump(), outcome)
    })
}

/// The lines of a save tool that are kept; none if it fails.
fn saved(tools: &Tools, tool: Tool, args: &[&str], keep: impl Fn(&str) -> bool) -> String {
    let commands = tools.variants.commands(tool).ok();
    let saved = commands.and_then(|commands| tools::kept_lines(&commands.save, args, tools.limit, keep).ok());
    saved.unwrap_or_default()
}

/// Whether a line of a save tool is a rule of a chain of ours.
fn is_rule_of(line: &str, is_own: fn(&str) -> bool) -> bool {
    line.strip_prefix("-A ").and_then(|rest| rest.split(' ').next()).is_some_and(is_own)
}

/// The rules of `*-save`, by chain.
fn chains(saved: &str) -> Lines {
    let mut chains = Lines::new();
    for line in saved.lines().filter(|line| !line.contains("PVESIG:")) {
        if let Some((chain, _)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
            chains.entry(chain.to_string()).or_default().push(line.to_string());
        }
    }
    chains
}

/// The lines of `ipset save`, by set.
fn sets(saved: &str) -> Lines {
    let mut sets = Lines::new();
    for line in saved.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let Some(name) = words.get(1) else { continue };
        let random = words.iter().position(|word| *word == "initval");
        let kept = words.iter().enumerate().filter(|(at, _)| random.is_none_or(|from| *at != from && *at != from + 1));
        let line = kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ");
        sets.entry((*name).to_string()).or_default().push(line);
    }
    sets.values_mut().for_each(|lines| lines.sort());
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_grouped_by_chain_and_set() {
        let saved =
            "*filter\n:X - [0:0]\n-A X -j DROP\n-A X -m comment --comment \"PVESIG:abc\"\n-A Y -j ACCEPT\nCOMMIT\n";
        assert_eq!(chains(saved)["X"], ["-A X -j DROP"]);
        assert_eq!(chains(saved).len(), 2);
        let saved = "create S hash:net family inet bucketsize 12 initval 0x12345678\nadd S 10.0.0.2\nadd S 10.0.0.1\n";
        assert_eq!(
            sets(saved)["S"],
            ["add S 10.0.0.1", "add S 10.0.0.2", "create S hash:net family inet bucketsize 12"]
        );
    }
}

//! Rules as printed by the tools, to show differences. Updates compare signatures instead.
use super::commands::Tool;
use super::{Firewall, Outcome, Toolbox};
use crate::iptables::plan::TableName;
use crate::iptables::ruleset::Ruleset;
use crate::model::Family;
use crate::system::{namespace, tools};
use anyhow::Result;
use std::collections::BTreeMap;

/// Lines by chain or set name.
pub type Lines = BTreeMap<String, Vec<String>>;

/// The output of the tools, without counters and signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
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

impl Firewall {
    /// The live rules. A part that cannot be read has no lines.
    pub fn texts(&mut self) -> Texts {
        self.tools.variants.choose(self.tools.limit);
        let mut texts = Texts::default();
        for family in Family::ALL {
            for table in TableName::ALL {
                let saved = self.saved(Tool::Iptables(family), &["-t", table.as_str()]);
                texts.tables.insert((family_name(family), table.as_str()), chains(&saved));
            }
        }
        texts.bridge = chains(&self.saved(Tool::Ebtables, &[]));
        texts.sets = sets(&tools::run("ipset", &["save"], "", self.tools.limit).unwrap_or_default());
        texts
    }

    /// The output of the tools for a ruleset, which is loaded in an empty network namespace. Also returns the outcome, with
    /// the rules that the tools refuse.
    ///
    /// # Errors
    /// When the namespace cannot be created.
    pub fn texts_of(&self, wanted: &Ruleset) -> Result<(Texts, Outcome)> {
        let tools = Toolbox {
            root: self.tools.root.clone(),
            limit: self.tools.limit,
            variants: self.tools.variants.for_another_namespace(),
            keeps_scripts: false,
            lost_scripts: std::sync::Mutex::default(),
        };
        let mut apart = Firewall::with(tools);
        namespace::in_new_namespace(move || {
            let outcome = apart.update(wanted);
            (apart.texts(), outcome)
        })
    }

    fn saved(&self, tool: Tool, args: &[&str]) -> String {
        let commands = self.tools.variants.commands(tool).ok();
        commands.and_then(|commands| tools::run(&commands.save, args, "", self.tools.limit).ok()).unwrap_or_default()
    }
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

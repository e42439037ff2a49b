//! The tables as listed by nft, to show differences. Updates compare signatures and digests instead.
use super::{Firewall, Outcome};
use crate::nftables::names::TableName;
use crate::nftables::ruleset::Ruleset;
use crate::system::{namespace, tools};
use anyhow::Result;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lines by the name of their chain, set or map.
pub type Lines = BTreeMap<String, Vec<String>>;

impl Firewall {
    /// The live tables. One that cannot be read, or does not exist, has no lines.
    #[must_use]
    pub fn dump(&self) -> BTreeMap<TableName, Lines> {
        let list = |table: TableName| {
            let args = ["-s", "list", "table", table.family(), table.as_str()];
            tools::run("nft", &args, "", self.limit).unwrap_or_default()
        };
        TableName::ALL.into_iter().map(|table| (table, lines(&list(table)))).collect()
    }

    /// The lines for a ruleset, which is loaded in an empty network namespace. Also returns the outcome, with the rules that
    /// the kernel refuses.
    ///
    /// # Errors
    /// When the namespace cannot be created.
    pub fn dump_of(&self, wanted: &Arc<Ruleset>) -> Result<(BTreeMap<TableName, Lines>, Outcome)> {
        let mut apart = Firewall { limit: self.limit, ..Firewall::default() };
        namespace::in_new_namespace(move || {
            let outcome = apart.update(wanted);
            (apart.dump(), outcome)
        })
    }
}

/// The lines of a listed table, without the signatures of chains.
fn lines(listed: &str) -> Lines {
    let mut lines = Lines::new();
    let mut current: Option<&mut Vec<String>> = None;
    for line in listed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (line.strip_prefix('\t'), words.as_slice()) {
            (Some(rest), [_, name, "{"] | [_, _, name, "{"]) if !rest.starts_with('\t') => {
                current = Some(lines.entry((*name).to_string()).or_default());
            }
            (Some("}"), _) => current = None,
            (Some(rest), _) => {
                if let Some(current) = &mut current {
                    current.push(without_comment(rest.trim()).to_string());
                }
            }
            (None, _) => {}
        }
    }
    lines
}

/// A rule without its comment, which contains the line of the configuration and the signature of the chain.
fn without_comment(line: &str) -> &str {
    line.split_once(" comment \"").map_or(line, |(rule, _)| rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_grouped_by_chain_and_set() {
        let listed = "table inet proxmox-firewall {\n\tset v4-dc/a {\n\t\ttype ipv4_addr\n\t\telements = { 10.0.0.1,\n\t\t\t     10.0.0.2 }\n\t}\n\n\
                      \tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tdrop comment \"x.fw:3\"\n\t}\n}\n";
        let lines = lines(listed);
        assert_eq!(lines["v4-dc/a"], ["type ipv4_addr", "elements = { 10.0.0.1,", "10.0.0.2 }"]);
        assert_eq!(lines["input"], ["type filter hook input priority filter; policy accept;", "drop"]);
        assert_eq!(lines.len(), 2);
    }
}

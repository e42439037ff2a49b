//! The format of iptables-save(8).
use super::super::live::{HookJump, LiveTable, hooks_of};
use super::{Unreadable, collect_references, split_name};
use crate::health::{Foreign, ForeignRule};
use crate::iptables::names::is_own_chain;
use crate::iptables::ruleset::{ChainName, Signature, TableName};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Parses one table in the output of `iptables-save` or `ip6tables-save`, in either variant.
///
/// No output is an empty table: the nft variant prints nothing for a table that has never been used.
///
/// # Errors
/// When the table has no `COMMIT`, because the output is truncated.
pub fn read_table(text: &str, table: TableName) -> Result<LiveTable, Unreadable> {
    let mut parser = TableParser::new(table);
    text.lines().for_each(|line| parser.line(line));
    parser.end()
}

/// Parses the same line by line, because the text of a large table takes megabytes.
pub struct TableParser {
    table: TableName,
    begun: bool,
    inside: bool,
    live: LiveTable,
}

impl TableParser {
    /// Nothing is parsed yet.
    #[must_use]
    pub fn new(table: TableName) -> Self {
        TableParser { table, begun: false, inside: false, live: LiveTable::default() }
    }

    /// Parses one line, without its end.
    pub fn line(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix('*') {
            self.inside = name.trim_end() == self.table.as_str();
            self.begun |= self.inside;
        } else if !self.inside {
        } else if let Some(chain) = line.strip_prefix(':') {
            let (name, rest) = split_name(chain);
            let own = ChainName::new(name).filter(|name| is_own_chain(name.as_str()));
            self.live.chains.extend(own.map(|name| (name, Default::default())));
            note_chain(&mut self.live.others, name, rest);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            add_rule(&mut self.live, rule, self.table);
        } else if line.trim_end() == "COMMIT" {
            self.inside = false;
        }
    }

    /// Whether the table was in the lines.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// What was parsed.
    ///
    /// # Errors
    /// As for [`read_table`].
    pub fn end(self) -> Result<LiveTable, Unreadable> {
        if self.inside { Err(Unreadable(self.table.as_str().into())) } else { Ok(self.live) }
    }
}

fn add_rule(live: &mut LiveTable, line: &str, table: TableName) {
    let (chain, rule) = split_name(line);
    if let Some(chain) = live.chains.get_mut(chain) {
        chain.signature = signature(rule); // only the signature in the last rule is valid
        chain.rules += 1;
        chain.body = sum(chain.body, rule);
        collect_references(rule, is_own_chain, &mut chain.refers);
    } else if let Some(hook) = hook_of(hooks_of(table), chain, rule) {
        *live.hooks.entry(hook).or_default() += 1;
        if !hook.first {
            live.others.hook(chain);
        }
    } else {
        collect_references(rule, is_own_chain, &mut live.foreign);
        let zone = |rule: &ForeignRule| rule.target == "CT" && rule.value("--zone").is_some();
        live.others.rule(chain, rule, is_own_chain, zone);
    }
}

/// Notes a built-in chain, which has a policy.
fn note_chain(others: &mut Foreign, name: &str, rest: &str) {
    let policy = split_name(rest).0;
    if policy != "-" {
        others.built_in(name, policy);
    }
}

/// Parses the table `nat` in the output of `iptables-save` or `ip6tables-save`. No output is an empty table.
///
/// # Errors
/// When the table has no `COMMIT`: the output is truncated, or another program uses the table in a way that the tool does not
/// show.
pub fn read_nat(text: &str) -> Result<Foreign, Unreadable> {
    let (mut nat, mut inside) = (Foreign::default(), false);
    for line in text.lines() {
        if line.contains("is incompatible") {
            return Err(Unreadable("nat".into()));
        } else if line.starts_with('*') {
            inside = line.trim_end() == "*nat";
        } else if !inside {
        } else if let Some(chain) = line.strip_prefix(':') {
            let (name, rest) = split_name(chain);
            note_chain(&mut nat, name, rest);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, rule) = split_name(rule);
            nat.rule(chain, rule, |_| false, |_| false);
        } else if line.trim_end() == "COMMIT" {
            inside = false;
        }
    }
    if inside { Err(Unreadable("nat".into())) } else { Ok(nat) }
}

/// Adds a rule to the hash.
fn sum(before: u64, rule: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (before, rule).hash(&mut hasher);
    hasher.finish()
}

fn signature(rule: &str) -> Option<Signature> {
    let text = rule.strip_prefix("-m comment --comment \"PVESIG:")?.strip_suffix('"')?;
    Signature::parse(text)
}

/// The built-in chain, if this rule is its jump to our entry chain.
pub(super) fn hook_of(hooks: &[HookJump], chain: &str, rule: &str) -> Option<HookJump> {
    let to = rule.trim_end().strip_prefix("-j ")?;
    hooks.iter().find(|hook| hook.chain == chain && hook.to == *to).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAVED: &str = r#"# Generated by iptables-save v1.8.9 on Mon Nov 23 12:26:49 2026
*nat
:PVEFW-nat - [0:0]
-A PVEFW-nat -j ACCEPT
COMMIT
*filter
:INPUT ACCEPT [12:3456]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:PVEFW-INPUT - [0:0]
:PVEFW-Drop - [0:0]
:tap100i0-IN - [0:0]
:tap100i0-OUT - [0:0]
:f2b-sshd - [0:0]
-A INPUT -s 1.2.3.4/32 -j PVEFW-Drop
-A INPUT -j PVEFW-INPUT
-A INPUT -j PVEFW-INPUT
-A OUTPUT -p tcp -j PVEFW-OUTPUT
-A PVEFW-INPUT -m comment --comment "PVESIG:2jmj7l5rSw0yVb/vlWAYkK/YBwk"
-A tap100i0-IN -m set --match-set PVEFW-100-x-v4 src -j GROUP-web-IN
-A tap100i0-IN -m comment --comment "PVESIG:2jmj7l5rSw0yVb/vlWAYkK/YBwk"
-A tap100i0-IN -j ACCEPT
-A tap100i0-OUT -m comment --comment "PVESIG:no"
-A f2b-sshd -j RETURN
COMMIT
# Completed on Mon Nov 23 12:26:49 2026
"#;

    #[test]
    fn a_table_is_read() {
        let live = read_table(SAVED, TableName::Filter).unwrap();
        let chains: Vec<_> =
            live.chains.iter().map(|(name, c)| (name.as_str(), c.signature.is_some(), c.rules)).collect();
        assert_eq!(
            chains,
            [
                ("PVEFW-Drop", false, 0),
                ("PVEFW-INPUT", true, 1),
                ("tap100i0-IN", false, 3), // another program appended a rule after the signature
                ("tap100i0-OUT", false, 1),
            ]
        );
        assert_eq!(live.hooks.iter().collect::<Vec<_>>(), [(&hooks_of(TableName::Filter)[2], &2)]);
        assert!(live.foreign.chains.contains("PVEFW-Drop") && live.foreign.chains.contains("PVEFW-OUTPUT"));
        let refers = &live.chains["tap100i0-IN"].refers;
        assert!(refers.chains.contains("GROUP-web-IN") && refers.sets.contains("PVEFW-100-x-v4"));
        assert!(read_table(SAVED, TableName::Raw).unwrap().is_bare());
    }

    #[test]
    fn truncated_output_is_an_error() {
        let cut = &SAVED[..SAVED.find("-A tap100i0-OUT").unwrap()];
        assert_eq!(read_table(cut, TableName::Filter), Err(Unreadable("filter".into())));
        assert!(read_table("", TableName::Filter).unwrap().is_bare());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let text = String::from_utf8_lossy(&bytes);
            let _ = read_table(&text, TableName::Filter);
            let _ = read_table(&format!("*filter\n{text}\nCOMMIT\n"), TableName::Filter);
        }

        #[test]
        fn any_lines_are_read(lines in proptest::collection::vec("(:|-A |\\*)?(INPUT|PVEFW-[a-z]?|filter)( |-j|-g|\"|\\\\|PVE){0,8}", 0..20)) {
            let _ = read_table(&format!("*filter\n{}\nCOMMIT\n", lines.join("\n")), TableName::Filter);
        }
    }
}

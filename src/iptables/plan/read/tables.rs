//! The format of iptables-save(8).
use super::super::live::{HookJump, LiveChain, LiveTable, hooks_of};
use super::{Unreadable, collect_references, split_name};
use crate::health::{ForeignRules, option_value};
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

/// Parses a table line by line, because the text of a large table takes megabytes.
pub struct TableParser {
    table: TableName,
    begun: bool,
    inside: bool,
    live: LiveTable,
    /// The chain of the last rule, which is not in `live` meanwhile: most rules follow one of the same chain.
    current: Option<(ChainName, LiveChain)>,
}

impl TableParser {
    /// A parser without input so far.
    #[must_use]
    pub fn new(table: TableName) -> Self {
        TableParser { table, begun: false, inside: false, live: LiveTable::default(), current: None }
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
            record_chain(&mut self.live.others, name, rest);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            self.rule(rule);
        } else if line.trim_end() == "COMMIT" {
            self.inside = false;
        }
    }

    /// Parses a rule: the name of its chain, and its text.
    fn rule(&mut self, line: &str) {
        let (name, rule) = split_name(line);
        if self.current.as_ref().is_none_or(|(current, _)| current.as_str() != name) {
            self.put_back();
            self.current = self.live.chains.remove_entry(name);
        }
        match &mut self.current {
            Some((_, chain)) => {
                chain.signature = signature(rule); // only the signature in the last rule is valid
                chain.rules += 1;
                chain.body = sum(chain.body, rule);
                collect_references(rule, is_own_chain, &mut chain.references);
            }
            None => foreign_rule(&mut self.live, name, rule, self.table),
        }
    }

    fn put_back(&mut self) {
        self.live.chains.extend(self.current.take());
    }

    /// Whether the table was in the lines.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The parsed table.
    ///
    /// # Errors
    /// As for [`read_table`].
    pub fn end(mut self) -> Result<LiveTable, Unreadable> {
        self.put_back();
        if self.inside { Err(Unreadable(self.table.as_str().into())) } else { Ok(self.live) }
    }
}

/// Adds a rule of a chain that is not ours.
fn foreign_rule(live: &mut LiveTable, chain: &str, rule: &str, table: TableName) {
    if let Some(hook) = hook_of(hooks_of(table), chain, rule) {
        *live.hooks.entry(hook).or_default() += 1;
        if !hook.first {
            live.others.hook(chain);
        }
    } else {
        collect_references(rule, is_own_chain, &mut live.foreign);
        let zone = |target: &str, rule: &str| target == "CT" && option_value(rule, "--zone").is_some();
        live.others.rule(chain, rule, is_own_chain, zone);
    }
}

/// Records a built-in chain, which has a policy.
pub(super) fn record_chain(others: &mut ForeignRules, name: &str, rest: &str) {
    let policy = split_name(rest).0;
    if policy != "-" {
        others.built_in(name, policy);
    }
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
    fn rules_of_a_chain_need_not_be_consecutive() {
        let table = |rules: &[&str]| {
            let text = format!("*filter\n:tap1i0-IN - [0:0]\n:tap1i0-OUT - [0:0]\n{}\nCOMMIT\n", rules.join("\n"));
            read_table(&text, TableName::Filter).unwrap()
        };
        let [first, second] = ["-A tap1i0-IN -j PVEFW-Drop", "-A tap1i0-IN -j ACCEPT"];
        let [other, foreign] = ["-A tap1i0-OUT -j RETURN", "-A INPUT -j tap1i0-IN"];
        let live = table(&[first, other, second, foreign]);
        assert_eq!(live, table(&[first, second, other, foreign]));
        assert_eq!(live, table(&[other, first, foreign, second]));
        assert_eq!(live.chains.values().map(|chain| chain.rules).collect::<Vec<_>>(), [2, 1]);
    }

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
        let references = &live.chains["tap100i0-IN"].references;
        assert!(references.chains.contains("GROUP-web-IN") && references.sets.contains("PVEFW-100-x-v4"));
        assert!(read_table(SAVED, TableName::Raw).unwrap().has_no_own());
    }

    #[test]
    fn truncated_output_is_an_error() {
        let cut = &SAVED[..SAVED.find("-A tap100i0-OUT").unwrap()];
        assert_eq!(read_table(cut, TableName::Filter), Err(Unreadable("filter".into())));
        assert!(read_table("", TableName::Filter).unwrap().has_no_own());
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

//! The table `nat` in the format of iptables-save(8): it has no rules of ours.
use super::tables::record_chain;
use super::{Unreadable, split_name};
use crate::health::ForeignRules;

/// Parses the table `nat` in the output of `iptables-save` or `ip6tables-save`. No output is an empty table.
///
/// # Errors
/// As for [`NatParser::end`].
pub fn read_nat(text: &str) -> Result<ForeignRules, Unreadable> {
    let mut parser = NatParser::default();
    text.lines().for_each(|line| parser.line(line));
    parser.end()
}

/// Parses the table line by line.
#[derive(Default)]
pub struct NatParser {
    inside: bool,
    incompatible: bool,
    nat: ForeignRules,
}

impl NatParser {
    /// Parses one line, without its end.
    pub fn line(&mut self, line: &str) {
        if line.contains("is incompatible") {
            self.incompatible = true;
        } else if line.starts_with('*') {
            self.inside = line.trim_end() == "*nat";
        } else if !self.inside {
        } else if let Some(chain) = line.strip_prefix(':') {
            let (name, rest) = split_name(chain);
            record_chain(&mut self.nat, name, rest);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, rule) = split_name(rule);
            self.nat.rule(chain, rule, |_| false, |_, _| false);
        } else if line.trim_end() == "COMMIT" {
            self.inside = false;
        }
    }

    /// The parsed table.
    ///
    /// # Errors
    /// When the table has no `COMMIT`: the output is truncated, or another program uses the table in a way that the tool does
    /// not show.
    pub fn end(self) -> Result<ForeignRules, Unreadable> {
        if self.inside || self.incompatible { Err(Unreadable("nat".into())) } else { Ok(self.nat) }
    }
}

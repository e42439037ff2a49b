//! Parsers for the output of the tools. They keep no lines, so that tables of any size can be read, ignore unknown text, and only
//! fail on truncated output.

mod bridge;
mod nat;
mod sets;
mod tables;

pub use bridge::{BridgeFormat, BridgeParser, read_bridge};
pub use nat::{NatParser, read_nat};
pub use sets::{is_own_line, read_sets, sets_in_use};
pub use tables::{TableParser, read_table};

use super::live::References;
use crate::health::unquoted;
use crate::iptables::names::is_own_set;
use crate::iptables::ruleset::{ChainName, SetName};

/// The output of a tool is truncated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its output ends in the middle of table '{0}'")]
pub struct Unreadable(pub String);

/// Adds the references of a rule to `into`: targets of `-j` and `-g` for which `is_own` is true, and sets of `--match-set`.
fn collect_references(rule: &str, is_own: fn(&str) -> bool, into: &mut References) {
    let mut words = unquoted(rule);
    while let Some(word) = words.next() {
        match word {
            "-j" | "-g" => {
                let name = words.next().filter(|name| is_own(name));
                into.chains.extend(name.filter(|name| !into.chains.contains(*name)).and_then(ChainName::new));
            }
            "--match-set" => {
                let name = words.next().filter(|name| is_own_set(name));
                into.sets.extend(name.filter(|name| !into.sets.contains(*name)).and_then(SetName::new));
            }
            _ => {}
        }
    }
}

/// `(CHAIN, rest)` of the text after `-A `.
fn split_name(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables::names::is_own_chain;

    #[test]
    fn set_references_are_found_outside_quotes() {
        let mut references = References::default();
        for rule in [
            r#"-m set --match-set PVEFW-0-a-v4 src -m comment --comment "x \" -j PVEFW-no -g" -j PVEFW-yes"#,
            "-g GROUP-web-IN",
            "-j ACCEPT",
            "-m set ! --match-set other src -j",
        ] {
            collect_references(rule, is_own_chain, &mut references);
        }
        assert_eq!(references.chains.iter().map(ChainName::as_str).collect::<Vec<_>>(), ["GROUP-web-IN", "PVEFW-yes"]);
        assert_eq!(references.sets.iter().map(SetName::as_str).collect::<Vec<_>>(), ["PVEFW-0-a-v4"]);
    }
}

//! The policies and unconditional verdicts of the built-in chains of legacy iptables and ip6tables tables, from the entries of
//! the tables.
use super::base_chains::legacy_tables;
use super::xtables::{TableInfo, entries, iptables};
use crate::model::Family;
use anyhow::{Context, Result};

/// The chains of the hooks, in the order of their numbers (`NF_INET_…`).
const CHAINS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
/// The table for address translation, which does not filter packets.
const NAT: &str = "nat";
/// The length of `struct xt_entry_target` in bytes; the verdict of a standard target follows.
const TARGET: usize = 32;
/// The offset and the length of a target's name in it.
const TARGET_NAME: (usize, usize) = (2, 29);
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;

/// A built-in chain of a legacy table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyChain {
    /// The family of its packets.
    pub family: Family,
    /// Its table, such as `filter`.
    pub table: String,
    /// Its name, such as `FORWARD`.
    pub name: &'static str,
    /// Whether its policy is DROP.
    pub drops: bool,
    /// Whether the first rule without matches drops packets (`false`: accepts them); `None` if there is no such rule.
    pub unconditional_drop: Option<bool>,
}

/// Offsets in `struct ipt_entry` or `ip6t_entry`, in bytes.
struct Layout {
    /// Of the matches on addresses, protocol and interfaces, which are zero in a rule without them.
    matches: usize,
    /// The offset of `target_offset`, which `next_offset` follows.
    target: usize,
    /// The length of the structure; the other matches follow it.
    length: usize,
}

const V4: Layout = Layout { matches: 84, target: 88, length: 112 };
const V6: Layout = Layout { matches: 136, target: 140, length: 168 };

/// The built-in chains of all legacy tables that filter, in the calling thread's network namespace.
///
/// # Errors
/// When a table cannot be read: the process lacks `CAP_NET_ADMIN`, or the table changes all the time.
pub fn legacy_chains() -> Result<Vec<LegacyChain>> {
    let mut chains = Vec::new();
    for family in Family::ALL {
        let v6 = family == Family::V6;
        for table in legacy_tables(v6).into_iter().filter(|table| table != NAT) {
            let info = TableInfo::of(&iptables(&table, v6)?).context("the summary of a table is too short")?;
            let entries = entries(&table, v6, &info)?;
            chains.extend(built_in(&info, &entries, family).map(|(name, drops, unconditional_drop)| LegacyChain {
                family,
                table: table.clone(),
                name,
                drops,
                unconditional_drop,
            }));
        }
    }
    Ok(chains)
}

/// Each built-in chain with whether its policy is DROP, and with the verdict of its first rule without matches.
fn built_in(
    info: &TableInfo,
    entries: &[u8],
    family: Family,
) -> impl Iterator<Item = (&'static str, bool, Option<bool>)> {
    let layout = if family == Family::V4 { V4 } else { V6 };
    let hooks = CHAINS.into_iter().enumerate().filter(|(hook, _)| info.valid_hooks & (1 << hook) != 0);
    hooks.filter_map(move |(hook, name)| {
        let (first, policy) = (info.hook_entry[hook], info.underflow[hook]);
        let drops = layout.verdict_on_all(entries.get(policy..)?)?;
        Some((name, drops, layout.unconditional_verdict(entries.get(first..policy)?)))
    })
}

impl Layout {
    /// The verdict of the first entry without matches that decides.
    fn unconditional_verdict(&self, mut entries: &[u8]) -> Option<bool> {
        while !entries.is_empty() {
            let verdict = self.verdict_on_all(entries);
            if verdict.is_some() {
                return verdict;
            }
            let next = self.offset(entries, self.target + 2).filter(|next| *next > 0)?;
            entries = entries.get(next..)?;
        }
        None
    }

    /// Whether an entry without matches drops packets (`false`: accepts them); `None` if it has matches, or no verdict.
    fn verdict_on_all(&self, entry: &[u8]) -> Option<bool> {
        let target = self.offset(entry, self.target)?;
        if target != self.length || entry.get(..self.matches)?.iter().any(|byte| *byte != 0) {
            return None;
        }
        let target = entry.get(target..)?;
        let name = target.get(TARGET_NAME.0..TARGET_NAME.0 + TARGET_NAME.1)?;
        let name = name.split(|byte| *byte == 0).next()?;
        match name {
            b"REJECT" => Some(true),
            // the standard target; -1 - verdict, or the offset of a chain
            b"" => match -1 - i32::from_ne_bytes(*target.get(TARGET..)?.first_chunk()?) {
                NF_DROP => Some(true),
                NF_ACCEPT => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    fn offset(&self, entry: &[u8], at: usize) -> Option<usize> {
        entry.get(at..)?.first_chunk().map(|bytes| usize::from(u16::from_ne_bytes(*bytes)))
    }
}

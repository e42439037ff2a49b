//! The variants of the tools that are not in use. Our rules in such a variant would stay active, so each is read once, and
//! again while it cannot be read or when the kernel reports a change.
use super::outcome::UpdateError;
use super::read::{self, Fresh};
use super::tool_names::{Commands, Tool, Variant};
use crate::iptables::plan::{Part, TableName};
use crate::iptables::ruleset::Family;
use crate::system::netfilter::{self, Summary};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether a variant of a tool contains our rules.
#[derive(Clone, Debug)]
pub(super) enum VariantState {
    /// Chains of ours.
    Ours,
    /// No rules of ours.
    NoneOfOurs,
    /// The kernel has no such tables, with the tool's error.
    Absent(Arc<str>),
    /// It cannot be read although the kernel has such tables, with the tool's error.
    Unread(Arc<str>),
}

/// The last read of a variant of a tool.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub tool: Tool,
    pub commands: Commands,
    pub state: VariantState,
    /// The summaries, taken before it was read.
    evidence: BTreeMap<Part, Summary>,
    at: Instant,
}

impl Read {
    /// Also returns the content, if it can be read.
    pub fn new(tool: Tool, commands: Commands, limit: Duration) -> (Self, Option<Fresh>) {
        let at = Instant::now();
        let evidence = summaries(tool, commands.variant).unwrap_or_default();
        let content = read::content(tool, &commands, limit);
        let state = match &content {
            Ok(content) if content.has_ours() => VariantState::Ours,
            Ok(_) => VariantState::NoneOfOurs,
            // running the tool has loaded the modules, if possible
            Err(reason) => match summaries(tool, commands.variant) {
                Ok(found) if found.is_empty() => VariantState::Absent(reason.clone()),
                _ => VariantState::Unread(reason.clone()),
            },
        };
        let fresh = content.ok().map(|content| Fresh { content, evidence: evidence.clone() });
        (Read { tool, commands, state, evidence, at }, fresh)
    }

    /// The result without running the tool, if the kernel reports that this variant has no tables.
    pub fn of_none(tool: Tool, commands: Commands) -> Result<Self, Commands> {
        let at = Instant::now();
        match (summaries(tool, commands.variant), has_tables(tool, commands.variant)) {
            (Ok(evidence), Ok(false)) => Ok(Read { tool, commands, state: VariantState::NoneOfOurs, evidence, at }),
            _ => Err(commands),
        }
    }

    /// Reads it again, unless it was read after `begun`, or successfully read within `interval`, or is unchanged.
    pub fn refresh(&mut self, begun: Instant, interval: Duration, limit: Duration) {
        let due = match self.state {
            VariantState::Unread(_) => self.at < begun,
            _ => {
                self.is_due(interval)
                    && summaries(self.tool, self.commands.variant).ok().as_ref() != Some(&self.evidence)
            }
        };
        if due {
            *self = Read::new(self.tool, self.commands.clone(), limit).0;
        } else if self.is_due(interval) {
            self.at = Instant::now();
        }
    }

    /// Whether the tool can be used.
    pub fn works(&self) -> bool {
        matches!(self.state, VariantState::Ours | VariantState::NoneOfOurs)
    }

    fn is_due(&self, interval: Duration) -> bool {
        self.at.elapsed() >= interval
    }

    /// The error while it cannot be read.
    pub fn error(&self) -> Option<UpdateError> {
        let VariantState::Unread(reason) = &self.state else { return None };
        let part = match self.tool {
            Tool::Iptables(family) => Part::Table(TableName::Filter, family),
            Tool::Ebtables => Part::Bridge,
        };
        let variant = self.commands.variant;
        Some(UpdateError::new(
            part,
            format_args!("the {variant} variant, which is not in use, may contain rules of this firewall: {reason}"),
        ))
    }
}

/// The summaries of the tables of a variant by part; none if the kernel has no such table.
///
/// # Errors
/// When the kernel cannot be queried.
fn summaries(tool: Tool, variant: Variant) -> anyhow::Result<BTreeMap<Part, Summary>> {
    let asked = parts(tool).into_iter().map(|part| (part, read::summary(part, variant)));
    let there = asked.filter(|(_, summary)| !summary.as_ref().is_err_and(netfilter::is_absent));
    there.map(|(part, summary)| Ok((part, summary?))).collect()
}

fn parts(tool: Tool) -> Vec<Part> {
    match tool {
        Tool::Iptables(family) => TableName::ALL.map(|table| Part::Table(table, family)).into(),
        Tool::Ebtables => vec![Part::Bridge],
    }
}

/// Whether nftables, or the legacy tables of iptables, have a table in which rules of ours could be. Those of ebtables are not
/// listed by the kernel.
///
/// # Errors
/// When the kernel does not list them.
fn has_tables(tool: Tool, variant: Variant) -> anyhow::Result<bool> {
    match (variant, tool) {
        (Variant::Legacy, Tool::Ebtables) => Ok(true),
        (Variant::Legacy, Tool::Iptables(family)) => {
            let tables = netfilter::legacy_tables(family == Family::V6);
            Ok(TableName::ALL.iter().any(|name| tables.iter().any(|table| table == name.as_str())))
        }
        (Variant::Nft, Tool::Ebtables) => netfilter::has_table("bridge", "filter"),
        (Variant::Nft, Tool::Iptables(family)) => {
            let there = TableName::ALL.map(|name| netfilter::has_table(family.nft(), name.as_str()));
            there.into_iter().try_fold(false, |any, there| Ok(any | there?))
        }
    }
}

/// Whether the kernel reports that it has no table of a variant.
pub(super) fn is_absent(tool: Tool, variant: Variant) -> bool {
    summaries(tool, variant).is_ok_and(|found| found.is_empty())
}

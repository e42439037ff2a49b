//! The variants of the tools that are not in use. Our rules in such a variant would stay active, so each is read once, and
//! again while it cannot be read or when the kernel reports a change.
use super::commands::{Commands, Tool, Variant};
use super::outcome::UpdateError;
use super::read;
use crate::iptables::plan::{Part, TableName};
use crate::iptables::ruleset::Family;
use crate::system::netfilter::{self, Summary};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The content of a variant of a tool.
#[derive(Clone, Debug)]
pub(super) enum Holds {
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
    pub holds: Holds,
    /// The summaries, taken before it was read.
    evidence: Vec<Summary>,
    at: Instant,
}

impl Read {
    pub fn new(tool: Tool, commands: Commands, limit: Duration) -> Self {
        let at = Instant::now();
        let before = evidence(tool, commands.variant);
        let holds = match read::holds_ours(tool, &commands, limit) {
            Ok(true) => Holds::Ours,
            Ok(false) => Holds::NoneOfOurs,
            // running the tool has loaded the modules, if possible
            Err(reason) => match evidence(tool, commands.variant) {
                Ok(found) if found.is_empty() => Holds::Absent(reason),
                _ => Holds::Unread(reason),
            },
        };
        Read { tool, commands, holds, evidence: before.unwrap_or_default(), at }
    }

    /// Reads it again, unless it was read after `begun`, or successfully read within `interval`, or is unchanged.
    pub fn refresh(&mut self, begun: Instant, interval: Duration, limit: Duration) {
        let due = match self.holds {
            Holds::Unread(_) => self.at < begun,
            _ => {
                self.is_due(interval) && evidence(self.tool, self.commands.variant).ok() != Some(self.evidence.clone())
            }
        };
        if due {
            *self = Read::new(self.tool, self.commands.clone(), limit);
        } else if self.is_due(interval) {
            self.at = Instant::now();
        }
    }

    fn is_due(&self, interval: Duration) -> bool {
        self.at.elapsed() >= interval
    }

    /// The message for the user while it cannot be read.
    pub fn error(&self) -> Option<UpdateError> {
        let Holds::Unread(reason) = &self.holds else { return None };
        let part = match self.tool {
            Tool::Iptables(family) => Part::Table(TableName::Filter, family),
            Tool::Ebtables => Part::Bridge,
        };
        let variant = self.commands.variant;
        Some(UpdateError::new(
            part,
            format_args!("the {variant} variant, which is not in use, may hold rules of this firewall: {reason}"),
        ))
    }
}

/// The summaries of the tables of a variant; none if the kernel has no such table.
///
/// # Errors
/// When the kernel cannot be queried.
fn evidence(tool: Tool, variant: Variant) -> anyhow::Result<Vec<Summary>> {
    let summaries = match (variant, tool) {
        (Variant::Nft, _) => vec![netfilter::nftables()],
        (Variant::Legacy, Tool::Ebtables) => vec![netfilter::ebtables("filter")],
        (Variant::Legacy, Tool::Iptables(family)) => {
            TableName::ALL.map(|table| netfilter::iptables(table.as_str(), family == Family::V6)).into()
        }
    };
    let there = summaries.into_iter().filter(|summary| !summary.as_ref().is_err_and(netfilter::is_absent));
    there.collect()
}

/// Whether the kernel certainly has no table of a variant.
pub(super) fn is_absent(tool: Tool, variant: Variant) -> bool {
    evidence(tool, variant).is_ok_and(|found| found.is_empty())
}

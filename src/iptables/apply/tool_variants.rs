//! Selects the variant of iptables, ip6tables and ebtables, and tracks the unused ones.
use super::outcome::UpdateError;
use super::read::Fresh;
use super::tool_names::{Commands, Tool, Variant};
use super::variant_state::{Read, VariantState};
use crate::model::Family;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::thread::scope;
use std::time::{Duration, Instant};

/// Which variant to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VariantChoice {
    /// For each tool the variant with our live chains, otherwise the first that works, legacy before nft.
    #[default]
    Auto,
    /// This variant for all tools; ebtables falls back to the other if the kernel does not support it.
    Only(Variant),
}

impl FromStr for VariantChoice {
    type Err = String;

    /// Parses `auto`, `legacy` or `nft`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(VariantChoice::Auto),
            "legacy" => Ok(VariantChoice::Only(Variant::Legacy)),
            "nft" => Ok(VariantChoice::Only(Variant::Nft)),
            _ => Err(format!("'{text}' is not auto, legacy or nft")),
        }
    }
}

/// A variant that was just read, with its rules if they are known.
type VariantRead = (Read, Option<Fresh>);

/// The installed variants of a tool, legacy first; the preferred one is read first.
fn candidates(tool: Tool, choice: VariantChoice, limit: Duration) -> Vec<VariantRead> {
    let order = match choice {
        VariantChoice::Only(Variant::Nft) => [Variant::Nft, Variant::Legacy],
        VariantChoice::Only(Variant::Legacy) | VariantChoice::Auto => [Variant::Legacy, Variant::Nft],
    };
    let installed = order.into_iter().filter_map(|variant| Commands::find(tool, variant, limit));
    let mut read: Vec<VariantRead> = Vec::new();
    for commands in installed {
        let works = read.iter().any(|(read, _)| read.works());
        // a second variant is not needed if the first one works, but must not contain rules of ours
        let empty = if works { Read::of_none(tool, commands) } else { Err(commands) };
        read.push(empty.map_or_else(|commands| Read::new(tool, commands, limit), |empty| (empty, None)));
    }
    read.sort_by_key(|(read, _)| read.commands.variant == Variant::Nft);
    read
}

/// The variants in use: shown as `iptables legacy, ip6tables legacy, ebtables nft`.
#[derive(Clone, Debug)]
pub struct Variants {
    choice: VariantChoice,
    used: [Option<Result<Commands, Arc<str>>>; 3],
    /// The installed variants that are not in use.
    others: Vec<Read>,
}

impl Variants {
    pub(super) fn new(choice: VariantChoice) -> Self {
        Variants { choice, used: [const { None }; 3], others: Vec::new() }
    }

    /// The same for another network namespace, where the unused variants are empty.
    pub(super) fn for_another_namespace(&self) -> Self {
        Variants { choice: self.choice, used: self.used.clone(), others: Vec::new() }
    }

    /// The programs in use for a tool, or the error.
    pub(super) fn commands(&self, tool: Tool) -> Result<&Commands, Arc<str>> {
        match &self.used[tool.index()] {
            Some(Ok(commands)) => Ok(commands),
            Some(Err(error)) => Err(error.clone()),
            None => Err("not selected yet".into()),
        }
    }

    /// Whether ebtables can run in parallel with iptables: if both use nftables, their transactions conflict.
    pub(super) fn ebtables_is_independent(&self) -> bool {
        let nft = |tool| self.commands(tool).is_ok_and(|commands| commands.variant == Variant::Nft);
        !nft(Tool::Ebtables) || !Family::ALL.into_iter().any(|family| nft(Tool::Iptables(family)))
    }

    /// Selects a variant for each tool without one; returns the rules of the selected variants.
    pub(super) fn choose(&mut self, limit: Duration) -> Vec<Fresh> {
        let choice = self.choice;
        let missing = |tool: &Tool| !matches!(self.used[tool.index()], Some(Ok(_)));
        let missing: Vec<Tool> = Tool::ALL.into_iter().filter(missing).collect();
        let found: Vec<(Tool, Vec<VariantRead>)> = scope(|threads| {
            let tried = missing.into_iter().map(|tool| (tool, threads.spawn(move || candidates(tool, choice, limit))));
            // start all before waiting for the first
            let tried: Vec<_> = tried.collect();
            tried.into_iter().map(|(tool, thread)| (tool, thread.join().unwrap_or_default())).collect()
        });
        let mut read = Vec::new();
        for (tool, candidates) in found {
            self.others.retain(|other| other.tool != tool);
            let (mut candidates, mut contents): (Vec<Read>, Vec<Option<Fresh>>) = candidates.into_iter().unzip();
            let chosen = self.choose_among(&candidates, tool).map(|at| {
                read.extend(contents.remove(at));
                candidates.remove(at).commands
            });
            self.used[tool.index()] = Some(chosen);
            self.others.extend(candidates);
        }
        read
    }

    /// The index of the variant to use.
    fn choose_among(&self, candidates: &[Read], tool: Tool) -> Result<usize, Arc<str>> {
        let name = tool.name();
        let error = candidates.iter().rev().find_map(|read| match &read.state {
            VariantState::Absent(reason) | VariantState::Unread(reason) => Some(reason.clone()),
            VariantState::Ours | VariantState::NoneOfOurs => None,
        });
        let error = error.unwrap_or_else(|| format!("no variant of '{name}' is installed; install its package").into());
        let preferred = candidates.iter().position(|read| match self.choice {
            VariantChoice::Auto => matches!(read.state, VariantState::Ours),
            VariantChoice::Only(variant) => read.works() && read.commands.variant == variant,
        });
        match (preferred, self.choice, tool) {
            (Some(at), ..) => Ok(at),
            (None, VariantChoice::Only(variant), Tool::Iptables(_)) => {
                Err(format!("the {variant} variant of '{name}' does not work here: {error}").into())
            }
            (None, ..) => candidates.iter().position(Read::works).ok_or(error),
        }
    }

    /// Reads the unused variants again, if that is due: see [`Read::refresh`].
    pub(super) fn refresh_others(&mut self, begun: Instant, interval: Duration, limit: Duration) {
        self.others.iter_mut().for_each(|other| other.refresh(begun, interval, limit));
    }

    /// Unused variants that contain chains of ours.
    pub(super) fn unused_with_own_chains(&self) -> Vec<(Tool, Commands)> {
        let unused_with_own_chains = self.others.iter().filter(|other| matches!(other.state, VariantState::Ours));
        unused_with_own_chains.map(|other| (other.tool, other.commands.clone())).collect()
    }

    /// The programs of all installed variants of a tool.
    pub(super) fn installed(&self, tool: Tool) -> impl Iterator<Item = &Commands> {
        let others = self.others.iter().filter(move |other| other.tool == tool).map(|other| &other.commands);
        self.used[tool.index()].iter().flatten().chain(others)
    }

    /// Whether a tool uses nftables.
    #[must_use]
    pub fn uses_nftables(&self, family: Family) -> bool {
        self.commands(Tool::Iptables(family)).is_ok_and(|commands| commands.variant == Variant::Nft)
    }

    /// The programs of unused variants that contain chains of ours.
    #[must_use]
    pub fn unused_with_rules(&self) -> Vec<String> {
        self.unused_with_own_chains().into_iter().map(|(_, commands)| commands.single).collect()
    }

    /// All installed variants that are not in use.
    pub(super) fn unused(&self) -> Vec<(Tool, Commands)> {
        self.others.iter().map(|other| (other.tool, other.commands.clone())).collect()
    }

    /// The errors of unused variants of tools that have a variant in use; for other tools, selecting a variant reports the error.
    pub(super) fn errors(&self) -> impl Iterator<Item = UpdateError> {
        self.others.iter().filter(|other| self.commands(other.tool).is_ok()).filter_map(Read::error)
    }

    /// Records that an unused variant no longer contains rules of ours.
    pub(super) fn cleared(&mut self, tool: Tool, variant: Variant) {
        for other in &mut self.others {
            if other.tool == tool && other.commands.variant == variant {
                other.state = VariantState::NoneOfOurs;
            }
        }
    }
}

impl fmt::Display for Variants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, tool) in Tool::ALL.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            match self.commands(tool) {
                Ok(commands) => write!(f, "{comma}{} {}", tool.name(), commands.variant)?,
                Err(_) => write!(f, "{comma}{} none", tool.name())?,
            }
        }
        Ok(())
    }
}

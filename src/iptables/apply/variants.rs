//! Which of the two implementations of iptables, ip6tables and ebtables is in use.
use super::read;
use crate::iptables::plan::BridgeFormat;
use crate::model::Family;
use crate::system::tools;
use std::any::Any;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::thread::scope;
use std::time::Duration;

/// An implementation of the iptables and ebtables tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Over the kernel's xtables: `iptables-legacy`.
    Legacy,
    /// Over the kernel's nftables: `iptables-nft`.
    Nft,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Variant::Legacy => "legacy",
            Variant::Nft => "nft",
        })
    }
}

/// Which variant to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VariantChoice {
    /// For each tool the one in which our chains are live, else the first that works, legacy before nft.
    #[default]
    Auto,
    /// This one for all tools that have it; ebtables falls back to the other where the kernel lacks it.
    Only(Variant),
}

impl FromStr for VariantChoice {
    type Err = String;

    /// Reads `auto`, `legacy` or `nft`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(VariantChoice::Auto),
            "legacy" => Ok(VariantChoice::Only(Variant::Legacy)),
            "nft" => Ok(VariantChoice::Only(Variant::Nft)),
            _ => Err(format!("'{text}' is none of auto, legacy, nft")),
        }
    }
}

/// A tool that comes in variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Iptables(Family),
    Ebtables,
}

impl Tool {
    const ALL: [Tool; 3] = [Tool::Iptables(Family::V4), Tool::Iptables(Family::V6), Tool::Ebtables];

    fn name(self) -> &'static str {
        match self {
            Tool::Iptables(Family::V4) => "iptables",
            Tool::Iptables(Family::V6) => "ip6tables",
            Tool::Ebtables => "ebtables",
        }
    }

    fn index(self) -> usize {
        match self {
            Tool::Iptables(Family::V4) => 0,
            Tool::Iptables(Family::V6) => 1,
            Tool::Ebtables => 2,
        }
    }
}

/// The programs of one variant of a tool, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commands {
    pub variant: Variant,
    pub single: String,
    pub save: String,
    pub restore: String,
}

impl Commands {
    /// The programs of a variant as Debian names them, or the plain names where these are that variant.
    fn find(tool: Tool, variant: Variant, limit: Duration) -> Option<Self> {
        let named = |stem: String| Commands {
            variant,
            save: format!("{stem}-save"),
            restore: format!("{stem}-restore"),
            single: stem,
        };
        let own = named(format!("{}-{variant}", tool.name()));
        if tools::find(&own.single).is_some() || tools::find(&own.save).is_some() {
            return Some(own);
        }
        let plain = named(tool.name().into());
        let version = tools::run(&plain.single, &["--version"], "", limit).ok()?;
        let is = if version.contains("nf_tables") { Variant::Nft } else { Variant::Legacy };
        (is == variant).then_some(plain)
    }

    /// How this variant of ebtables shows its table.
    pub fn bridge_format(&self) -> BridgeFormat {
        match self.variant {
            Variant::Legacy => BridgeFormat::List,
            Variant::Nft => BridgeFormat::Save,
        }
    }
}

/// What there is of a tool.
struct Candidates {
    /// The variants that work, and whether chains of ours are live in them; legacy first.
    working: Vec<(Commands, bool)>,
    /// Why others do not.
    error: Arc<str>,
}

impl Candidates {
    fn find(tool: Tool, limit: Duration) -> Self {
        let mut working = Vec::new();
        let mut error: Arc<str> = format!("no variant of '{}' is installed; install its package", tool.name()).into();
        for variant in [Variant::Legacy, Variant::Nft] {
            let Some(commands) = Commands::find(tool, variant, limit) else { continue };
            match read::holds_ours(tool, &commands, limit) {
                Ok(ours) => working.push((commands, ours)),
                Err(reason) => error = reason,
            }
        }
        Candidates { working, error }
    }

    fn defect(_: Box<dyn Any + Send>) -> Self {
        Candidates { working: Vec::new(), error: "looking for it ended in a defect of this program".into() }
    }
}

/// The variants in use: shown as `iptables legacy, ip6tables legacy, ebtables nft`.
#[derive(Clone, Debug)]
pub struct Variants {
    choice: VariantChoice,
    used: [Option<Result<Commands, Arc<str>>>; 3],
    /// Those in which our chains were live as well when the choice was made.
    stray: Vec<(Tool, Commands)>,
    limit: Duration,
}

impl Variants {
    pub(super) fn new(choice: VariantChoice) -> Self {
        Variants { choice, used: [const { None }; 3], stray: Vec::new(), limit: Duration::ZERO }
    }

    /// The programs in use for a tool, or why there are none.
    pub(super) fn commands(&self, tool: Tool) -> Result<&Commands, Arc<str>> {
        match &self.used[tool.index()] {
            Some(Ok(commands)) => Ok(commands),
            Some(Err(error)) => Err(error.clone()),
            None => Err("not looked for yet".into()),
        }
    }

    /// Whether ebtables does not work on what iptables does, so that both can run at once. Two transactions of nftables
    /// disturb each other.
    pub(super) fn ebtables_is_apart(&self) -> bool {
        let nft = |tool| self.commands(tool).is_ok_and(|commands| commands.variant == Variant::Nft);
        !nft(Tool::Ebtables) || !Family::ALL.into_iter().any(|family| nft(Tool::Iptables(family)))
    }

    /// Chooses for each tool that has no variant yet.
    pub(super) fn choose(&mut self, limit: Duration) {
        self.limit = limit;
        let missing = |tool: &Tool| !matches!(self.used[tool.index()], Some(Ok(_)));
        let missing: Vec<Tool> = Tool::ALL.into_iter().filter(missing).collect();
        let found: Vec<(Tool, Candidates)> = scope(|threads| {
            let tried = missing.into_iter().map(|tool| (tool, threads.spawn(move || Candidates::find(tool, limit))));
            // all are started before the first is waited for
            let tried: Vec<_> = tried.collect();
            tried.into_iter().map(|(tool, thread)| (tool, thread.join().unwrap_or_else(Candidates::defect))).collect()
        });
        for (tool, candidates) in found {
            self.used[tool.index()] = Some(self.choose_among(candidates, tool));
        }
    }

    fn choose_among(&mut self, candidates: Candidates, tool: Tool) -> Result<Commands, Arc<str>> {
        let Candidates { mut working, error } = candidates;
        let asked = |commands: &Commands| self.choice == VariantChoice::Only(commands.variant);
        let at = match self.choice {
            VariantChoice::Auto => working.iter().position(|(_, ours)| *ours),
            VariantChoice::Only(_) => working.iter().position(|(commands, _)| asked(commands)),
        };
        let at = match (at, self.choice, tool) {
            (Some(at), _, _) => at,
            (None, VariantChoice::Only(variant), Tool::Iptables(_)) => {
                return Err(format!("the {variant} variant of '{}' does not work here: {error}", tool.name()).into());
            }
            (None, _, _) if working.is_empty() => return Err(error),
            (None, _, _) => 0,
        };
        let (chosen, _) = working.swap_remove(at);
        self.stray.retain(|(stray, _)| *stray != tool);
        self.stray.extend(working.into_iter().filter(|(_, ours)| *ours).map(|(commands, _)| (tool, commands)));
        Ok(chosen)
    }

    /// Variants that are not in use, but held chains of ours when the choice was made.
    pub(super) fn stray(&self) -> Vec<(Tool, Commands)> {
        self.stray.clone()
    }

    /// All installed variants that are not in use.
    pub(super) fn unused(&self) -> Vec<(Tool, Commands)> {
        let mut unused = Vec::new();
        for tool in Tool::ALL {
            let used = self.commands(tool).ok().map(|commands| commands.variant);
            for variant in [Variant::Legacy, Variant::Nft].into_iter().filter(|variant| used != Some(*variant)) {
                unused.extend(Commands::find(tool, variant, self.limit).map(|commands| (tool, commands)));
            }
        }
        unused
    }

    /// Notes that nothing of ours is left in the other variant of a tool.
    pub(super) fn forget(&mut self, tool: Tool) {
        self.stray.retain(|(stray, _)| *stray != tool);
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

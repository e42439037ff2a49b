//! The programs of iptables, ip6tables and ebtables, in their two variants.
use crate::iptables::plan::BridgeFormat;
use crate::model::Family;
use crate::system::tools;
use std::fmt;
use std::time::Duration;

/// The arguments of the restore tools of iptables: wait for the lock, and change only the chains of the script.
pub(super) const RESTORE_ARGS: [&str; 3] = ["-w", "10", "-n"];

/// An implementation of the iptables and ebtables tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Uses the kernel's xtables: `iptables-legacy`.
    Legacy,
    /// Uses the kernel's nftables: `iptables-nft`.
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

/// A tool with two variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    Iptables(Family),
    Ebtables,
}

impl Tool {
    pub const ALL: [Tool; 3] = [Tool::Iptables(Family::V4), Tool::Iptables(Family::V6), Tool::Ebtables];

    pub fn name(self) -> &'static str {
        match self {
            Tool::Iptables(Family::V4) => "iptables",
            Tool::Iptables(Family::V6) => "ip6tables",
            Tool::Ebtables => "ebtables",
        }
    }

    pub fn index(self) -> usize {
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
    /// The programs of a variant with Debian's names, or the plain names if these are that variant.
    pub fn find(tool: Tool, variant: Variant, limit: Duration) -> Option<Self> {
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

    /// The output format of this variant of ebtables.
    pub fn bridge_format(&self) -> BridgeFormat {
        match self.variant {
            Variant::Legacy => BridgeFormat::List,
            Variant::Nft => BridgeFormat::Save,
        }
    }
}

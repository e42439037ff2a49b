//! Plans updates: the output of the `*-save` tools is parsed to [`Live`], compared with a
//! [`Ruleset`](crate::iptables::ruleset::Ruleset) to get a [`Plan`], and rendered as [`Script`]s for the restore tools.
//!
//! Chains and sets are compared by signature. Live rules are not parsed, except for the chains and sets that they refer to.

pub(crate) mod coupled_sets;
mod diff;
mod listing;
mod live;
mod read;
mod script;

pub use crate::listing::PlannedAction;
pub use diff::{Plan, Planned, SetPlan, TablePlan};
pub use listing::listing;
pub use live::{HookJump, Live, LiveBridge, LiveChain, LiveSets, LiveTable, Part, Readable, References, hooks_of};
pub use read::{
    BridgeFormat, BridgeParser, NatParser, TableParser, Unreadable, is_own_line, read_bridge, read_nat, read_sets,
    read_table, sets_in_use,
};
pub use script::{Script, bridge_script, removed_sets_script, sets_script, table_script};

pub use crate::iptables::ruleset::TableName;

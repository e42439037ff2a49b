//! Our live chains and sets in the kernel.
use crate::health::ForeignRules;
use crate::iptables::names::{self, FixedChain};
use crate::iptables::ruleset::{ChainName, MacStyle, SetName, Signature, TableName};
use crate::model::{Family, PerFamily};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A jump from a built-in chain to a chain of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HookJump {
    /// The built-in chain.
    pub chain: &'static str,
    /// The chain of ours.
    pub to: FixedChain,
    /// Whether it is inserted before all rules of the built-in chain, or else appended.
    pub first: bool,
}

/// The jumps from built-in chains of a table to our entry chains.
#[must_use]
pub fn hooks_of(table: TableName) -> &'static [HookJump] {
    match table {
        TableName::Filter => &[
            HookJump { chain: "INPUT", to: names::FAILSAFE, first: true },
            HookJump { chain: "OUTPUT", to: names::FAILSAFE, first: true },
            HookJump { chain: "INPUT", to: names::INPUT, first: false },
            HookJump { chain: "OUTPUT", to: names::OUTPUT, first: false },
            HookJump { chain: "FORWARD", to: names::FORWARD, first: false },
        ],
        TableName::Raw => &[HookJump { chain: "PREROUTING", to: names::PREROUTING, first: false }],
    }
}

/// The built-in chain of ebtables that jumps to `PVEFW-FORWARD`.
pub(super) const BRIDGE_HOOKS: &[HookJump] = &[HookJump { chain: "FORWARD", to: names::FORWARD, first: false }];

/// A part of the live state that is read and written separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// An iptables or ip6tables table.
    Table(TableName, Family),
    /// The table `filter` of ebtables.
    Bridge,
    /// The IP sets.
    Sets,
}

impl Part {
    /// All parts.
    pub const ALL: [Part; 6] = [
        Part::Table(TableName::Filter, Family::V4),
        Part::Table(TableName::Raw, Family::V4),
        Part::Table(TableName::Filter, Family::V6),
        Part::Table(TableName::Raw, Family::V6),
        Part::Bridge,
        Part::Sets,
    ];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Table(table, Family::V4) => write!(f, "iptables {}", table.as_str()),
            Part::Table(table, Family::V6) => write!(f, "ip6tables {}", table.as_str()),
            Part::Bridge => f.write_str("ebtables"),
            Part::Sets => f.write_str("ipset"),
        }
    }
}

/// A part that was read, or the error.
pub type Readable<T> = Result<T, Arc<str>>;

/// The live state of all parts; each part was read separately, or failed. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The table `filter`.
    pub filter: PerFamily<Readable<Arc<LiveTable>>>,
    /// The table `raw`.
    pub raw: PerFamily<Readable<Arc<LiveTable>>>,
    /// The ebtables chains.
    pub bridge: Readable<Arc<LiveBridge>>,
    /// The IP sets.
    pub sets: Readable<Arc<LiveSets>>,
}

/// Our chains of one table, and the jumps to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveTable {
    /// Our chains.
    pub chains: BTreeMap<ChainName, LiveChain>,
    /// The number of jumps from each built-in chain to our entry chain; chains without one are absent.
    pub hooks: BTreeMap<HookJump, usize>,
    /// Our chains and sets referenced by rules of other programs, except jumps from built-in chains.
    pub foreign: References,
    /// The rules of other programs.
    pub others: ForeignRules,
}

/// A chain of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveChain {
    /// Its signature, if it has one.
    pub signature: Option<Signature>,
    /// The number of its rules, including the signature.
    pub rules: usize,
    /// A hash of the rules as the tool prints them, comparable within this process.
    pub body: u64,
    /// The chains and sets that its rules refer to.
    pub references: References,
}

/// Our chains and sets that rules refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// The chains that they jump to.
    pub chains: BTreeSet<ChainName>,
    /// The sets that they match against.
    pub sets: BTreeSet<SetName>,
}

/// The table `filter` of ebtables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveBridge {
    /// Our chains, with signatures computed from the lines that the tool prints.
    pub table: LiveTable,
    /// The chains of other programs, including built-in chains, with the signatures of their lines.
    pub others: BTreeMap<String, Signature>,
    /// The format of MAC addresses in this variant.
    pub style: MacStyle,
}

/// Our IP sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSets {
    /// The sets with the signatures of their lines.
    pub sets: BTreeMap<SetName, Signature>,
    /// The family of each set of the type `hash:net`; `None` for other types.
    pub kinds: BTreeMap<SetName, Option<Family>>,
    /// Sets named `…_swap`, left by an interrupted update.
    pub stale: BTreeSet<SetName>,
}

impl Live {
    /// A kernel without rules and sets of ours.
    #[must_use]
    pub fn empty() -> Self {
        let tables = || PerFamily { v4: Ok(Arc::default()), v6: Ok(Arc::default()) };
        Live {
            filter: tables(),
            raw: tables(),
            bridge: Ok(LiveBridge::empty(MacStyle::Short).into()),
            sets: Ok(Arc::default()),
        }
    }

    /// An iptables table.
    pub fn table(&self, table: TableName, family: Family) -> &Readable<Arc<LiveTable>> {
        match table {
            TableName::Filter => &self.filter[family],
            TableName::Raw => &self.raw[family],
        }
    }

    /// An iptables table, mutable.
    pub fn table_mut(&mut self, table: TableName, family: Family) -> &mut Readable<Arc<LiveTable>> {
        match table {
            TableName::Filter => &mut self.filter[family],
            TableName::Raw => &mut self.raw[family],
        }
    }

    /// The parts that could not be read, with the errors.
    #[must_use]
    pub fn errors(&self) -> Vec<(Part, Arc<str>)> {
        let mut errors = Vec::new();
        let mut add = |part, error: Option<&Arc<str>>| errors.extend(error.map(|text| (part, text.clone())));
        for family in Family::ALL {
            for table in TableName::ALL {
                add(Part::Table(table, family), self.table(table, family).as_ref().err());
            }
        }
        add(Part::Bridge, self.bridge.as_ref().err());
        add(Part::Sets, self.sets.as_ref().err());
        errors
    }

    /// Whether a part has chains or sets of ours.
    #[must_use]
    pub fn has_own(&self, part: Part) -> bool {
        match part {
            Part::Table(table, family) => self.table(table, family).as_ref().is_ok_and(|table| !table.has_no_own()),
            Part::Bridge => self.bridge.as_ref().is_ok_and(|bridge| !bridge.table.has_no_own()),
            Part::Sets => self.sets.as_ref().is_ok_and(|sets| !sets.sets.is_empty() || !sets.stale.is_empty()),
        }
    }

    /// Whether a chain of ours uses a set.
    #[must_use]
    pub fn uses_set(&self, set: &SetName) -> bool {
        let tables = Family::ALL.into_iter().filter_map(|family| self.filter[family].as_ref().ok());
        tables.flat_map(|table| table.chains.values()).any(|chain| chain.references.sets.contains(set))
    }
}

impl LiveTable {
    /// Whether no part has chains or sets of ours.
    #[must_use]
    pub fn has_no_own(&self) -> bool {
        self.chains.is_empty() && self.hooks.is_empty()
    }
}

impl LiveBridge {
    /// A table without chains, of a variant with this format of MAC addresses.
    #[must_use]
    pub fn empty(style: MacStyle) -> Self {
        LiveBridge { table: LiveTable::default(), others: BTreeMap::new(), style }
    }
}

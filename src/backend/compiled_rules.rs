//! The compiled rules of a backend: counts, verdicts and traces.
use crate::iptables::simulate as iptables;
use crate::listing::Count;
use crate::model::BackendKind;
use crate::nftables::simulate as nftables;
use crate::simulate::{Decided, IsAffectedBetween, Sent, Trace};
use std::sync::Arc;

/// The rules of a backend. Shared with its compiler: an unchanged configuration gives the same value.
#[derive(Clone, Debug)]
pub enum Rules {
    /// For iptables, ip6tables, ipset and ebtables.
    Iptables(Arc<crate::iptables::ruleset::Ruleset>),
    /// For nftables.
    Nftables(Arc<crate::nftables::ruleset::Ruleset>),
}

impl Rules {
    /// The empty ruleset of a backend.
    #[must_use]
    pub fn empty(kind: BackendKind) -> Self {
        match kind {
            BackendKind::Iptables => Rules::Iptables(Arc::default()),
            BackendKind::Nftables => Rules::Nftables(Arc::default()),
        }
    }

    /// Whether both are the same object in memory.
    #[must_use]
    pub fn is_same(&self, other: &Rules) -> bool {
        match (self, other) {
            (Rules::Iptables(one), Rules::Iptables(other)) => Arc::ptr_eq(one, other) || one == other,
            (Rules::Nftables(one), Rules::Nftables(other)) => Arc::ptr_eq(one, other) || one == other,
            _ => false,
        }
    }

    /// The numbers of chains, rules and sets.
    #[must_use]
    pub fn count(&self) -> Count {
        match self {
            Rules::Iptables(ruleset) => crate::iptables::backend::count(ruleset),
            Rules::Nftables(ruleset) => crate::nftables::backend::count(ruleset),
        }
    }

    /// Returns a test whether a packet between two endpoints can get another verdict from the rules `after`; `None` if no
    /// packet can. If that is not certain, the test returns true.
    #[must_use]
    pub fn change_to<'a>(&'a self, after: &'a Rules) -> Option<Box<IsAffectedBetween<'a>>> {
        match (self, after) {
            (Rules::Iptables(before), Rules::Iptables(after)) => {
                let changed = Arc::new(iptables::ChangedRules::new(before, after));
                (!changed.is_empty())
                    .then_some(Box::new(move |from, to, layer| changed.affected_between(from, to, layer)))
            }
            (Rules::Nftables(before), Rules::Nftables(after)) => {
                let changed = Arc::new(nftables::ChangedRules::new(before, after));
                (!changed.is_empty())
                    .then_some(Box::new(move |from, to, layer| changed.affected_between(from, to, layer)))
            }
            _ => Some(Box::new(|_, _, _| Some(Box::new(|_| true)))),
        }
    }

    /// The verdict on a packet.
    #[must_use]
    pub fn decide(&self, sent: &Sent<'_>) -> Decided {
        match self {
            Rules::Iptables(ruleset) => iptables::decide(ruleset, sent),
            Rules::Nftables(ruleset) => nftables::decide(ruleset, sent),
        }
    }

    /// The evaluated rules for a packet.
    #[must_use]
    pub fn trace(&self, sent: &Sent<'_>) -> Trace {
        match self {
            Rules::Iptables(ruleset) => iptables::trace(ruleset, sent),
            Rules::Nftables(ruleset) => nftables::trace(ruleset, sent),
        }
    }
}

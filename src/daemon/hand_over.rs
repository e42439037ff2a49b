//! The hand-over between the two backends: each daemon removes its rules only when the other's are live, so that the node
//! always has rules.
use super::mode::Mode;
use crate::backend::{Backend, Compiled};
use crate::model::BackendKind;
use crate::paths::NFTABLES_DISABLED;
use crate::system::root_directory::Root;
use std::time::{Duration, Instant};

/// How long a daemon waits for the other one to do its part of a hand-over: longer than a cycle of that one. After it,
/// proxmox-firewall obeys the flag file although no rules of iptables are live, and rules of both that are live are reported.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// What a daemon does with its rules during a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// The compiled rules are applied, or kept up to date.
    Enforce,
    /// The same, until the rules of the other backend are live.
    EnforceUntilOther,
    /// The rules are removed.
    Remove,
}

/// The rules of the other backend while this daemon enforces the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherRules {
    /// None are live.
    Removed,
    /// They are live, until the other daemon removes them.
    Withdrawing,
    /// They are live, and the other daemon should have removed them.
    Remaining,
}

/// The state of a hand-over.
#[derive(Debug, Default)]
pub struct HandOver {
    /// Whether this daemon has withdrawn its rules. It does not create them again when the tables of the other one disappear: a
    /// user who stops that daemon wants its rules to be removed, and a killed daemon does not remove them.
    withdrawn: bool,
    /// Since when the flag file exists though no rules of iptables are live.
    forced: Option<Instant>,
    /// Since when the rules of the other backend are live, though this daemon enforces the configuration.
    both_since: Option<Instant>,
}

impl HandOver {
    /// What to do in this mode.
    pub fn enforcement(&mut self, mode: Mode, backend: &mut Backend, compiled: &Compiled, root: &Root) -> Enforcement {
        self.withdrawn &= mode == Mode::Other;
        match (mode, backend.kind()) {
            (Mode::Off, _) => Enforcement::Remove,
            (Mode::On, BackendKind::Nftables) if self.is_forced_off(backend, root) => Enforcement::Remove,
            (Mode::On, _) => Enforcement::Enforce,
            (Mode::Other, _) if self.withdrawn => Enforcement::Remove,
            // a node that never selected nftables needs no hand-over
            (Mode::Other, BackendKind::Nftables) if !backend.is_live() => Enforcement::Remove,
            (Mode::Other, _) if !backend.other_enforces(compiled, root) => Enforcement::EnforceUntilOther,
            (Mode::Other, _) => {
                self.withdrawn = true;
                Enforcement::Remove
            }
        }
    }

    /// The rules of the other backend after an update.
    pub fn other_rules(&mut self, enforcement: Enforcement, backend: &Backend, root: &Root) -> OtherRules {
        if enforcement != Enforcement::Enforce || !backend.other_is_live(root) {
            self.both_since = None;
            return OtherRules::Removed;
        }
        let since = *self.both_since.get_or_insert_with(Instant::now);
        if since.elapsed() < TIME_LIMIT { OtherRules::Withdrawing } else { OtherRules::Remaining }
    }

    /// Whether the flag file disables the nftables backend. While rules of iptables are live, it is about to be removed.
    fn is_forced_off(&mut self, backend: &mut Backend, root: &Root) -> bool {
        if !root.path(NFTABLES_DISABLED).exists() || backend.other_is_live(root) {
            self.forced = None;
            return false;
        }
        let since = *self.forced.get_or_insert_with(Instant::now);
        !backend.is_live() || since.elapsed() >= TIME_LIMIT
    }
}

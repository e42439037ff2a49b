//! Applies the compiled configuration: the rules, the flag file that disables the nftables backend, and the kernel settings.
use super::Setup;
use super::hand_over::{Enforcement, HandOver, OtherRules};
use super::instance::was_killed;
use super::mode::Mode;
use super::problems::{Problem, Problems, Topic};
use super::system_log::SystemLog;
use crate::backend::{Backend, Compiled, Outcome};
use crate::health::Enforcer;
use crate::model::BackendKind;
use crate::settings::{Applied, Enforced, Settings};
use crate::system::process::processors;
use crate::system::root_directory::Root;
use crate::system::syslog::Severity;
use std::time::Duration;

/// The delay of the retry after a first failure; later retries are made in regular cycles.
pub const RETRY: Duration = Duration::from_secs(2);
/// The interval for checking whether the other daemon has taken over.
const HAND_OVER_INTERVAL: Duration = Duration::from_millis(300);

/// The result of an update.
#[derive(Debug)]
pub struct Update {
    /// Whether there was no error.
    pub complete: bool,
    /// Whether anything in the kernel was changed.
    pub changed: bool,
    /// When the next update is due, if earlier than the next regular cycle.
    pub next: Option<Duration>,
}

/// The rules of this daemon in the kernel.
pub struct LiveRules {
    kind: BackendKind,
    root: Root,
    /// The backend, which compiles and applies.
    pub backend: Backend,
    hand_over: HandOver,
    /// Whose rules are in force since the last update.
    pub enforcer: Enforcer,
    /// Whether the last update applied rules; `false` if it removed them.
    pub enforces: bool,
    /// The rules of the other backend since the last update.
    other_rules: OtherRules,
    /// The kernel settings that were applied last.
    settings: Option<(Settings, Enforced)>,
}

impl LiveRules {
    /// Nothing has been read or applied yet.
    pub fn new(setup: &Setup, log: &SystemLog) -> Self {
        let mut backend = Backend::new(setup.kind, &setup.root, setup.variant, processors());
        backend.set_full_reading(setup.full_reading);
        if log.logs(Severity::Debug) {
            backend.record_scripts();
        }
        LiveRules {
            kind: setup.kind,
            root: setup.root.clone(),
            backend,
            hand_over: HandOver::default(),
            enforcer: Enforcer::Nobody,
            enforces: false,
            other_rules: OtherRules::Removed,
            settings: None,
        }
    }

    /// Whether bridges have to pass their packets to the rules.
    pub fn needs_bridge_filtering(&self) -> bool {
        let iptables = self.kind == BackendKind::Iptables;
        iptables && self.settings.is_some_and(|(_, enforced)| enforced == Enforced::WithIptables)
    }

    /// What happens in a hand-over in which the other daemon has to remove its rules.
    pub fn hand_over(&self) -> Option<String> {
        let other = self.kind.other().program();
        let rules = match self.kind {
            BackendKind::Iptables => "tables",
            BackendKind::Nftables => "chains",
        };
        (self.other_rules == OtherRules::Withdrawing)
            .then(|| format!("the {rules} of {other} are also in force until it removes them"))
    }

    /// Whose rules are in force.
    fn enforcer_of(&self, enforcement: Enforcement, mode: Mode) -> Enforcer {
        let both = self.other_rules == OtherRules::Remaining;
        match (self.kind, enforcement, mode) {
            (BackendKind::Iptables, Enforcement::Enforce, _) if both => Enforcer::IptablesAndTables,
            (BackendKind::Iptables, Enforcement::Enforce, _) => Enforcer::Iptables,
            (BackendKind::Iptables, Enforcement::EnforceUntilOther, _) => Enforcer::IptablesInstead,
            (BackendKind::Iptables, Enforcement::Remove, Mode::Other) => {
                match was_killed(&self.root, BackendKind::Nftables) {
                    true => Enforcer::NftablesAlone,
                    false => Enforcer::Nftables,
                }
            }
            (BackendKind::Nftables, Enforcement::Enforce, _) if both => Enforcer::NftablesAndChains,
            (BackendKind::Nftables, Enforcement::Enforce, _) => Enforcer::NftablesHere,
            (BackendKind::Nftables, Enforcement::EnforceUntilOther, _) => Enforcer::NftablesInstead,
            // the other daemon reports findings about its own rules
            _ => Enforcer::Nobody,
        }
    }

    /// Applies the compiled rules, or removes them.
    pub fn update(&mut self, compiled: &Compiled, mode: Mode, problems: &mut Problems, log: &SystemLog) -> Update {
        let mut errors: Vec<Problem> = Vec::new();
        // only pve-firewall writes the flag file
        let sets_flag = self.kind == BackendKind::Iptables;
        if sets_flag && mode != Mode::On {
            errors.extend(self.set_flag(mode));
        }
        let enforcement = self.hand_over.enforcement(mode, &mut self.backend, compiled, &self.root);
        let waiting = self.waiting(enforcement);
        let mut next = waiting.is_some().then_some(HAND_OVER_INTERVAL);
        problems.set(Topic::HandOver, waiting.into_iter().collect(), log);
        self.enforces = enforcement != Enforcement::Remove;
        let outcome = match enforcement {
            Enforcement::Enforce | Enforcement::EnforceUntilOther => self.backend.maintain(compiled),
            Enforcement::Remove => self.clear(log),
        };
        for script in self.backend.scripts() {
            log.write(Severity::Debug, &format!("a transaction of {} lines", script.lines().count()));
            log.write_lines(Severity::Trace, &script);
        }
        for text in self.backend.undone() {
            let text = format!("another program has changed our rules, which are restored: {text}");
            log.write(Severity::Warning, &text);
        }
        // the flag file makes the other backend remove its tables
        let is_missing = sets_flag && mode == Mode::On && !mode.has_flag(&self.root);
        if is_missing && (!self.backend.other_is_live(&self.root) || self.backend.is_live()) {
            errors.extend(self.set_flag(mode));
        }
        errors.extend(outcome.errors.iter().map(Problem::failure));
        self.other_rules = self.hand_over.other_rules(enforcement, &self.backend, &self.root);
        self.enforcer = self.enforcer_of(enforcement, mode);
        let enforced = self.enforced(enforcement, mode);
        if self.other_rules == OtherRules::Withdrawing || enforcement == Enforcement::Enforce && enforced.is_none() {
            next = Some(RETRY);
        }
        self.update_settings(compiled.settings, enforced, problems, log);
        if !errors.is_empty() && problems.is_clear(Topic::Kernel) {
            next = Some(next.map_or(RETRY, |next| next.min(RETRY)));
        }
        problems.set(Topic::Kernel, errors, log);
        Update { complete: outcome.errors.is_empty(), changed: outcome.changed, next }
    }

    /// The message while the rules are kept until those of the other backend are live.
    fn waiting(&self, enforcement: Enforcement) -> Option<Problem> {
        let what = match self.kind {
            BackendKind::Iptables => "its tables are",
            BackendKind::Nftables => "its chains are",
        };
        (enforcement == Enforcement::EnforceUntilOther).then(|| {
            let text = format!("the rules are kept until {what} live: waiting for {}", self.kind.other().program());
            Problem { text, warning: true }
        })
    }

    /// Which rules the kernel settings are for; `None` if the other backend applies its own settings.
    fn enforced(&self, enforcement: Enforcement, mode: Mode) -> Option<Enforced> {
        match (self.kind, enforcement, mode) {
            (BackendKind::Iptables, Enforcement::Enforce | Enforcement::EnforceUntilOther, _) => {
                Some(Enforced::WithIptables)
            }
            // bridges pass packets to iptables as long as it has rules
            (BackendKind::Nftables, Enforcement::Enforce, _) if self.other_rules != OtherRules::Removed => None,
            (BackendKind::Nftables, Enforcement::Enforce, _) => Some(Enforced::WithNftables),
            (_, Enforcement::Remove, Mode::Off) => Some(Enforced::Not),
            _ => None,
        }
    }

    /// Applies the kernel settings, unless the other backend applies its own.
    fn update_settings(
        &mut self,
        settings: Settings,
        enforced: Option<Enforced>,
        problems: &mut Problems,
        log: &SystemLog,
    ) {
        let errors = enforced.map(|enforced| self.apply_settings(settings, enforced, log));
        if errors.is_none() {
            self.settings = None;
        }
        let errors = errors.into_iter().flatten().map(|text| Problem { text, warning: true }).collect();
        problems.set(Topic::Settings, errors, log);
    }

    /// Applies the kernel settings again. The next update reports errors.
    pub fn restore_settings(&mut self, log: &SystemLog) {
        if let Some((settings, enforced)) = self.settings {
            self.apply_settings(settings, enforced, log);
        }
    }

    /// Applies the kernel settings; returns the errors. Changes by other programs since the last call are logged.
    fn apply_settings(&mut self, settings: Settings, enforced: Enforced, log: &SystemLog) -> Vec<String> {
        let Applied { changed, errors } = settings.apply(&self.root, enforced);
        if self.settings.replace((settings, enforced)) == Some((settings, enforced)) {
            for text in changed {
                log.write(Severity::Warning, &format!("another program has changed a kernel setting: {text}"));
            }
        }
        errors
    }

    fn set_flag(&self, mode: Mode) -> Option<Problem> {
        mode.set_flag(&self.root).err().map(|error| Problem::failure(format!("{error:#}")))
    }

    fn clear(&mut self, log: &SystemLog) -> Outcome {
        let outcome = self.backend.remove();
        if outcome.changed {
            log.write(Severity::Info, "clear PVE-generated firewall rules");
        }
        outcome
    }
}

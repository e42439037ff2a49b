//! The updater: a loop that reads, compiles, compares and applies.
use super::Setup;
use super::control::{Order, Orders};
use super::cut::Cutter;
use super::hand_over::{Action, HandOver};
use super::health::Health;
use super::last_good::LastGood;
use super::mode::Mode;
use super::problems::{Journal, Log, Message, Topic};
use super::schedule::{Schedule, Why};
use super::status::Status;
use super::trials::Trials;
use crate::backend::{Backend, Compiled, Outcome, Rules};
use crate::config::{InForce, in_force};
use crate::health::Enforcer;
use crate::inputs::Tree;
use crate::model::{BackendKind, Report};
use crate::paths::{CLUSTER_DATABASE, UPDATE_LOCK};
use crate::pmxcfs::facts::FactsSource;
use crate::pmxcfs::{Problem, Reader, ReaderConfig, this_program};
use crate::settings::{Applied, Enforced, Settings};
use crate::system::lock::FileLock;
use crate::system::process::processors;
use crate::system::syslog::Severity;
use crate::system::worker::Stuck;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long to wait for the lock.
const LOCKING: Duration = Duration::from_secs(10);
/// An update that takes longer is logged.
const SLOW: Duration = Duration::from_secs(5);
/// The delay of the retry after a first failure; later retries are made in regular cycles.
const RETRY: Duration = Duration::from_secs(2);

/// How often a daemon looks whether the other one has taken over.
const HANDING_OVER: Duration = Duration::from_millis(300);

/// How the updater ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The rules were removed, as far as possible.
    Removed,
    /// The rules stay in place.
    Left,
}

/// The state of the updater's thread.
pub struct Updater {
    setup: Setup,
    orders: Arc<Orders>,
    log: Log,
    reader: Reader,
    facts: FactsSource,
    backend: Backend,
    journal: Journal,
    schedule: Schedule,
    status: Status,
    /// The tree of the last update.
    tree: Option<Arc<Tree>>,
    /// The same with the files in force: those with an `enable` that can be read. Of an earlier daemon, before the first update.
    in_force: Option<Arc<Tree>>,
    /// Whether that was read by this process, not loaded from the last good configuration.
    read: bool,
    last_good: LastGood,
    trials: Trials,
    cutter: Cutter,
    hand_over: HandOver,
    health: Health,
    /// Whose rules are live since the last update.
    enforcer: Enforcer,
    /// The kernel settings that were applied last.
    settings: Option<(Settings, Enforced)>,
}

impl Updater {
    /// An updater with empty caches. `inherited`: workers from before this process re-executed itself.
    pub fn new(setup: Setup, orders: Arc<Orders>, log: Log, inherited: Vec<Stuck>) -> Self {
        let waker = Some(orders.waker().clone());
        let program = this_program().to_path_buf();
        let config = ReaderConfig { full_reading: setup.full_reading, ..ReaderConfig::DAEMON };
        let reader = Reader::new(program, setup.config.clone(), setup.node.clone(), config, waker);
        let mut backend = Backend::new(setup.kind, &setup.root, setup.variant, processors());
        backend.set_full_reading(setup.full_reading);
        Updater {
            reader: reader.inheriting(inherited).following(setup.root.path(CLUSTER_DATABASE)),
            backend,
            schedule: Schedule::new(),
            facts: FactsSource::new(setup.root.clone(), setup.node.clone()).with_options(setup.options.clone()),
            journal: Journal::default(),
            status: Status {
                pid: std::process::id(),
                started: nanoseconds(),
                options: setup.options.clone(),
                ..Status::default()
            },
            tree: None,
            in_force: None,
            read: false,
            last_good: LastGood::new(&setup.root, &setup.node),
            trials: Trials::new(&setup.root),
            cutter: Cutter::new(setup.cut_connections),
            hand_over: HandOver::default(),
            health: Health::new(setup.full_reading),
            enforcer: Enforcer::Nobody,
            settings: None,
            setup,
            orders,
            log,
        }
    }

    /// Runs until there is an order to end.
    pub fn run(mut self) -> Ended {
        let guard = EndGuard(self.orders.clone());
        let mut why = Why::Cycle;
        self.guarded(Updater::recover);
        loop {
            match self.orders.current() {
                Order::Work => {}
                Order::Leave => return Ended::Left,
                Order::Stop => {
                    self.guarded(Updater::remove);
                    drop(guard);
                    return Ended::Removed;
                }
            }
            self.guarded(|updater| updater.cycle(why));
            let iptables = self.setup.kind == BackendKind::Iptables;
            let filters = iptables && self.settings.is_some_and(|(_, enforced)| enforced == Enforced::WithIptables);
            let bridge_filtering = filters.then_some(self.health.bridge_filtering());
            let full = self.backend.due();
            why = self.schedule.wait(self.orders.waker(), &mut self.reader, &self.trials, full, bridge_filtering);
        }
    }

    /// Runs a step; a panic is reported and does not end the daemon.
    fn guarded(&mut self, action: impl FnOnce(&mut Self)) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| action(self))) {
            let message = Message::failure(format_args!("internal error: {}", panic_text(&*panic)));
            self.journal.set(Topic::Update, vec![message], &self.log);
            self.schedule.passed(Duration::ZERO, true);
        }
    }

    /// Reads the tree, and updates if an update is due or the tree has changed.
    fn cycle(&mut self, why: Why) {
        if let (Why::BridgeFiltering, Some((settings, enforced))) = (why, self.settings) {
            // an error is reported by the next cycle
            self.apply_settings(settings, enforced);
            return;
        }
        let read = match self.read {
            // at the start, wait until the tree is completely read
            false => self.reader.settle().map(drop),
            true if why == Why::Cycle => self.reader.pass(),
            true => self.reader.look(),
        };
        self.schedule.passed(self.reader.took(), why == Why::Cycle);
        let healthy = match read {
            Ok(()) => Vec::new(),
            Err(Problem::Interrupted) => return,
            Err(Problem::Ill(reason)) => {
                if self.journal.is_clear(Topic::Tree) {
                    self.schedule.hurry(RETRY);
                }
                vec![Message::failure(reason)]
            }
        };
        let stale = self.reader.reports();
        let (ill, tree) = (!healthy.is_empty(), self.reader.tree());
        self.journal.set(Topic::Tree, healthy.into_iter().chain(stale.iter().map(Message::from)).collect(), &self.log);
        self.set_log_problem();
        // with an unhealthy tree the last good one is still applied, because other programs may have changed the rules
        let tree = if ill { self.tree.clone() } else { Some(tree) };
        self.read |= !ill;
        match tree {
            Some(tree) if why != Why::Look || self.tree.as_ref() != Some(&tree) => self.update(tree, ill),
            _ => {}
        }
        // the next cycle reports errors of a part that was only read
        if why != Why::ReadOn || self.status.findings != self.health.standing() {
            self.tell();
        }
        self.orders.tell_updated();
    }

    /// Reports once why writes of other nodes are not seen at once.
    fn set_log_problem(&mut self) {
        let text = self.reader.log_problem().map(|reason| {
            format!("writes of other nodes are looked for twice a second, and cost more processor time: {reason}")
        });
        let message = text.map(|text| Message { text, warning: true });
        self.journal.set(Topic::ClusterLog, message.into_iter().collect(), &self.log);
    }

    /// After a boot, applies the last good configuration at once, before `/etc/pve` is mounted.
    fn recover(&mut self) {
        if !self.setup.keep_last_good {
            let removed = self.last_good.remove().err();
            return self.tell_state(removed);
        }
        if self.orders.current() != Order::Work {
            return;
        }
        let tree = match self.last_good.load() {
            Ok(tree) => tree,
            Err(error) => {
                let path = self.last_good.path().display();
                let text = format!("the last good configuration in {path} is ignored: {error:#}");
                return self.log.write(Severity::Warning, &text);
            }
        };
        self.in_force.clone_from(&tree);
        let is_live = self.backend.is_live();
        if let Some(tree) = tree.filter(|_| !is_live) {
            let config = self.setup.config.display();
            let text = format!("the last good configuration is in force until {config} is read");
            self.log.write(Severity::Info, &text);
            self.reader.remember(&tree);
            self.update(tree, true);
        }
    }

    fn tell_state(&mut self, trouble: Option<anyhow::Error>) {
        let trouble = trouble.map(|error| Message::failure(format_args!("the last good configuration: {error:#}")));
        self.journal.set(Topic::State, trouble.into_iter().collect(), &self.log);
    }

    fn update(&mut self, tree: Arc<Tree>, ill: bool) {
        let began = Instant::now();
        let Some(lock) = self.lock() else { return self.schedule.hurry(RETRY) };
        let InForce { tree: known, mut reports, unknown } = in_force(&tree, self.in_force.as_deref());
        let on_trial = self.trials.enforced(&known, !ill, &self.log);
        self.journal.set(Topic::Trial, self.trials.problems(), &self.log);
        let trial = in_force(&on_trial, Some(&known));
        let enforced = trial.tree;
        reports.extend(trial.reports);
        let compiled = self.compile(&enforced, &reports);
        // with nothing to go by, what is live stays
        let certain = !(unknown && self.backend.is_live());
        let mode = Mode::of(self.setup.kind, &compiled, &self.setup.root);
        if let Some(expires) = compiled.expires {
            self.schedule.hurry(Duration::from_secs(expires.saturating_sub(seconds())));
        }
        // "disabled" needs a healthy tree
        let applies = certain && (mode == Mode::On || !ill);
        let complete = applies && self.apply(&compiled, mode);
        drop(lock);
        if applies {
            let rules = if mode == Mode::On { compiled.rules.clone() } else { Rules::none(self.setup.kind) };
            self.cutter.rules_are_live(&rules, complete, &enforced, &self.setup.node, &self.log);
        }
        if certain {
            self.examine(&compiled);
        }
        if !ill && certain && self.setup.keep_last_good {
            let trouble = self.last_good.keep(&known).err();
            self.tell_state(trouble);
        }
        self.in_force = Some(known).filter(|_| certain);
        self.tree = Some(tree);
        let took = began.elapsed();
        let (guests, devices, time) = (compiled.handled.guests, compiled.handled.devices, took.as_millis());
        self.log.write(Severity::Debug, &format!("update: {mode:?}, {guests} guests, {devices} devices, {time} ms"));
        if took > SLOW {
            self.log.write(Severity::Warning, &format!("update took {:.1} s", took.as_secs_f64()));
        }
        self.status.updated = seconds();
        self.status.duration = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    }

    /// Compiles a tree; `others` are errors of files that are not in force.
    fn compile(&mut self, tree: &Tree, others: &[Report]) -> Compiled {
        let compiled = self.backend.compile(tree, self.facts.collect(tree));
        let reports = others.iter().chain(&compiled.reports).map(Message::from).collect();
        self.journal.set(Topic::Configuration, reports, &self.log);
        compiled
    }

    /// Makes the compiled rules live, or removes them; whether all of that was done.
    fn apply(&mut self, compiled: &Compiled, mode: Mode) -> bool {
        let mut faults: Vec<Message> = Vec::new();
        let root = self.setup.root.clone();
        if mode != Mode::On {
            faults.extend(self.set_flag(mode));
        }
        let action = self.hand_over.action(mode, &mut self.backend, compiled, &root);
        self.tell_hand_over(action);
        self.enforcer = match (self.setup.kind, action, mode) {
            (BackendKind::Iptables, Action::Enforce, _) => Enforcer::Iptables,
            (BackendKind::Iptables, Action::EnforceUntilOther, _) => Enforcer::IptablesInstead,
            (BackendKind::Iptables, Action::Remove, Mode::Other) => Enforcer::Nftables,
            // of the nftables backend, the other daemon judges
            _ => Enforcer::Nobody,
        };
        let outcome = match action {
            Action::Enforce | Action::EnforceUntilOther => self.backend.maintain(compiled),
            Action::Remove => self.clear(),
        };
        for text in self.backend.undone() {
            self.log.write(
                Severity::Warning,
                &format!("another program has changed our rules, which are restored: {text}"),
            );
        }
        // the flag file makes the other backend remove its tables
        if mode == Mode::On && (!self.backend.other_is_live(&root) || self.backend.is_live()) {
            faults.extend(self.set_flag(mode));
        }
        faults.extend(outcome.errors.iter().map(Message::failure));
        let failed = self.enforced(action, mode).map(|enforced| self.apply_settings(compiled.settings, enforced));
        if failed.is_none() {
            self.settings = None;
        }
        let failed = failed.into_iter().flatten().map(|text| Message { text, warning: true }).collect();
        self.journal.set(Topic::Settings, failed, &self.log);
        if !faults.is_empty() && self.journal.is_clear(Topic::Kernel) {
            self.schedule.hurry(RETRY);
        }
        if outcome.changed {
            self.status.changed = Some(seconds());
        }
        self.journal.set(Topic::Kernel, faults, &self.log);
        outcome.errors.is_empty()
    }

    /// What the kernel settings are for; `None` if they are those of the other backend.
    fn enforced(&mut self, action: Action, mode: Mode) -> Option<Enforced> {
        match (self.setup.kind, action, mode) {
            (BackendKind::Iptables, Action::Enforce | Action::EnforceUntilOther, _) => Some(Enforced::WithIptables),
            // bridges pass packets to the rules of iptables as long as there are any
            (BackendKind::Nftables, Action::Enforce, _) if self.backend.other_is_live(&self.setup.root) => {
                self.schedule.hurry(RETRY);
                None
            }
            (BackendKind::Nftables, Action::Enforce, _) => Some(Enforced::WithNftables),
            (_, Action::Remove, Mode::Off) => Some(Enforced::Not),
            _ => None,
        }
    }

    /// The flag file is that of pve-firewall.
    fn set_flag(&self, mode: Mode) -> Option<Message> {
        match self.setup.kind {
            BackendKind::Iptables => {
                mode.set_flag(&self.setup.root).err().map(|error| Message::failure(format!("{error:#}")))
            }
            BackendKind::Nftables => None,
        }
    }

    fn tell_hand_over(&mut self, action: Action) {
        let (other, what) = match self.setup.kind {
            BackendKind::Iptables => (BackendKind::Nftables, "its tables are"),
            BackendKind::Nftables => (BackendKind::Iptables, "its chains are"),
        };
        let waiting = (action == Action::EnforceUntilOther).then(|| {
            self.schedule.hurry(HANDING_OVER);
            let text = format!("the rules stay until {what} live: waiting for {}", other.program());
            Message { text, warning: true }
        });
        self.journal.set(Topic::HandOver, waiting.into_iter().collect(), &self.log);
    }

    /// Applies the kernel settings; returns the errors. What another program has changed since the last time is logged.
    fn apply_settings(&mut self, settings: Settings, enforced: Enforced) -> Vec<String> {
        let Applied { changed, errors } = settings.apply(&self.setup.root, enforced);
        if self.settings.replace((settings, enforced)) == Some((settings, enforced)) {
            for text in changed {
                self.log.write(Severity::Warning, &format!("another program has changed a kernel setting: {text}"));
            }
        }
        errors
    }

    /// Looks whether the rules are effective.
    fn examine(&mut self, compiled: &Compiled) {
        self.health.examine(&mut self.backend, compiled, self.enforcer, seconds());
        let messages = self.health.texts().map(|text| Message { text, warning: true }).collect();
        self.journal.set(Topic::Health, messages, &self.log);
    }

    fn clear(&mut self) -> Outcome {
        let outcome = self.backend.remove();
        if outcome.changed {
            self.log.write(Severity::Info, "clear PVE-generated firewall rules");
        }
        outcome
    }

    /// Removes the rules when the daemon ends.
    fn remove(&mut self) {
        // after the timeout, remove the rules without the lock: the firewall was ordered to stop
        let deadline = Instant::now() + LOCKING;
        let lock = self.try_lock(|| Instant::now() < deadline);
        self.log.write(Severity::Info, "clear PVE-generated firewall rules");
        let outcome = self.backend.remove();
        drop(lock);
        self.journal.set(Topic::Kernel, outcome.errors.iter().map(Message::failure).collect(), &self.log);
    }

    /// Takes the lock; `None` if there is an order to end, or another process holds the lock.
    fn lock(&mut self) -> Option<Option<FileLock>> {
        let deadline = Instant::now() + LOCKING;
        let orders = self.orders.clone();
        let (lock, trouble) = match self.try_lock(|| Instant::now() < deadline && orders.current() == Order::Work) {
            Ok(None) if orders.current() != Order::Work => return None,
            Ok(None) => {
                let path = self.lock_path();
                let path = path.display();
                let text = format!("another process holds the lock {path} since 10 s; find it with 'fuser {path}'");
                (None, Some(Message::failure(text)))
            }
            Ok(Some(lock)) => (Some(Some(lock)), None),
            // update even if the lock file cannot be opened
            Err(error) => (Some(None), Some(Message::failure(format_args!("continuing without a lock: {error:#}")))),
        };
        self.journal.set(Topic::Update, trouble.into_iter().collect(), &self.log);
        lock
    }

    fn try_lock(&self, waiting: impl Fn() -> bool) -> anyhow::Result<Option<FileLock>> {
        let path = self.lock_path();
        loop {
            match FileLock::try_acquire(&path) {
                Ok(None) if waiting() => sleep(Duration::from_millis(50)),
                result => return result,
            }
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.setup.root.path(UPDATE_LOCK)
    }

    /// Writes the status file.
    fn tell(&mut self) {
        self.status.trial = self.trials.status();
        self.status.findings = self.health.standing();
        self.status.faults = self.journal.texts().map(str::to_string).collect();
        // only `status --verbose` needs it
        let _ = self.status.write(&self.setup.root, self.setup.kind);
    }
}

/// Records the end of the updater, also after a panic.
struct EndGuard(Arc<Orders>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.tell_ended();
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

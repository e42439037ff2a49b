//! The updater: a loop that reads, compiles, compares and applies.
use super::Setup;
use super::cut_connections::ConnectionCutter;
use super::health::Health;
use super::last_good::LastGood;
use super::live_rules::{LiveRules, RETRY, Update};
use super::mode::Mode;
use super::problems::{Problem, Problems, Topic};
use super::schedule::{Schedule, WakeReason};
use super::status::Status;
use super::system_log::SystemLog;
use super::systemd_status::Summary;
use super::trials::Trials;
use super::update_lock::UpdateLock;
use super::updater_orders::{Order, Orders};
use crate::backend::{Compiled, Rules};
use crate::config::{InForce, in_force};
use crate::facts::FactsSource;
use crate::inputs::Tree;
use crate::model::Report;
use crate::paths::CLUSTER_DATABASE;
use crate::pmxcfs::{ReadError, Reader, ReaderConfig, this_program};
use crate::system::lock::FileLock;
use crate::system::syslog::Severity;
use crate::system::systemd;
use crate::system::worker_process::Stuck;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An update that takes longer is logged.
const SLOW_UPDATE: Duration = Duration::from_secs(5);

/// Tools that were started early are kept for the next read if that confirms a change within this time.
const CONFIRMED_SOON: Duration = Duration::from_millis(60);
/// The maximum time for which they are kept, because other programs wait for them.
const EARLY: Duration = Duration::from_millis(150);

/// How the updater ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The rules were removed, as far as possible.
    Removed,
    /// The rules stay in place.
    Left,
}

/// The state of the updater's thread.
pub struct Updater {
    setup: Setup,
    orders: Arc<Orders>,
    log: SystemLog,
    reader: Reader,
    facts: FactsSource,
    rules: LiveRules,
    lock: UpdateLock,
    problems: Problems,
    schedule: Schedule,
    status: Status,
    /// The tree of the last update.
    tree: Option<Arc<Tree>>,
    /// That tree with the files in force (see [`in_force`]); before the first update, that of the previous daemon.
    in_force: Option<Arc<Tree>>,
    /// Whether this process has read that tree, instead of loading the last good configuration.
    read: bool,
    last_good: LastGood,
    trials: Trials,
    cutter: ConnectionCutter,
    health: Health,
    /// What the last update has applied.
    summary: Option<Summary>,
    /// The line that the service manager shows.
    shown: String,
}

impl Updater {
    /// An updater with empty caches. `inherited`: workers from before this process re-executed itself.
    pub fn new(setup: Setup, orders: Arc<Orders>, log: SystemLog, inherited: Vec<Stuck>) -> Self {
        let waker = Some(orders.waker().clone());
        let program = this_program().to_path_buf();
        let config = ReaderConfig { full_reading: setup.full_reading, ..ReaderConfig::DAEMON };
        let reader = Reader::new(program, setup.config.clone(), setup.node.clone(), config, waker);
        Updater {
            reader: reader.inheriting(inherited).following(setup.root.path(CLUSTER_DATABASE)),
            rules: LiveRules::new(&setup, &log),
            lock: UpdateLock::new(&setup.root),
            schedule: Schedule::new(),
            facts: FactsSource::new(setup.root.clone(), setup.node.clone()).with_options(setup.options.clone()),
            problems: Problems::default(),
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
            cutter: ConnectionCutter::new(setup.cut_connections),
            health: Health::new(setup.full_reading),
            summary: None,
            shown: String::new(),
            setup,
            orders,
            log,
        }
    }

    /// Runs until there is an order to end.
    pub fn run(mut self) -> Exit {
        let guard = EndGuard(self.orders.clone());
        let mut why = WakeReason::Cycle;
        self.guarded(Updater::recover);
        loop {
            match self.orders.current() {
                Order::Work => {}
                Order::Leave => return Exit::Left,
                Order::Stop => {
                    self.guarded(Updater::remove);
                    drop(guard);
                    return Exit::Removed;
                }
            }
            self.guarded(|updater| updater.cycle(why));
            let is_pending = self.reader.due().is_some_and(|due| due <= CONFIRMED_SOON);
            self.rules.backend.end_early(if is_pending { EARLY } else { Duration::ZERO });
            let bridge_filtering = self.rules.needs_bridge_filtering().then_some(self.health.bridge_filtering());
            let full = self.rules.backend.due();
            why = self.schedule.wait(self.orders.waker(), &mut self.reader, &self.trials, full, bridge_filtering);
        }
    }

    /// Runs a step; a panic is reported and does not end the daemon.
    fn guarded(&mut self, action: impl FnOnce(&mut Self)) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| action(self))) {
            let message = Problem::failure(format_args!("internal error: {}", panic_text(&*panic)));
            self.problems.set(Topic::Update, vec![message], &self.log);
            self.schedule.record_read(Duration::ZERO, true);
        }
    }

    /// Reads the tree, and updates if an update is due or the tree has changed.
    fn cycle(&mut self, why: WakeReason) {
        if why == WakeReason::BridgeFiltering {
            return self.rules.restore_settings(&self.log);
        }
        if why == WakeReason::Changes && self.rules.enforces {
            self.rules.backend.start_early();
        }
        let read = match self.read {
            // at the start, wait until the tree is completely read
            false => self.reader.settle().map(drop),
            true if why == WakeReason::Cycle => self.reader.read(),
            true => self.reader.read_changes(),
        };
        let took = self.reader.took();
        self.log.write(Severity::Trace, &format!("cycle: {why:?}, the files were read in {} ms", took.as_millis()));
        self.schedule.record_read(took, why == WakeReason::Cycle);
        let problems = match read {
            Ok(()) => Vec::new(),
            Err(ReadError::Interrupted) => return,
            Err(ReadError::Unhealthy(reason)) => {
                if self.problems.is_clear(Topic::Tree) {
                    self.schedule.schedule_within(RETRY);
                }
                vec![Problem::failure(reason)]
            }
        };
        let stale = self.reader.reports();
        let (unhealthy, tree) = (!problems.is_empty(), self.reader.tree());
        self.problems.set(
            Topic::Tree,
            problems.into_iter().chain(stale.iter().map(Problem::from)).collect(),
            &self.log,
        );
        self.set_log_problem();
        // with an unhealthy tree the last good one is still applied, because other programs may have changed the rules
        let tree = if unhealthy { self.tree.clone() } else { Some(tree) };
        self.read |= !unhealthy;
        match tree {
            Some(tree) if why != WakeReason::Changes || self.tree.as_ref() != Some(&tree) => {
                self.update(tree, unhealthy)
            }
            _ => {}
        }
        // the next cycle reports read errors
        if why != WakeReason::ContinueReading || self.status.findings != self.health.active() {
            self.write_status();
        }
        self.orders.set_updated();
    }

    /// Reports once why writes by other nodes are not detected at once.
    fn set_log_problem(&mut self) {
        let text = self.reader.log_problem().map(|reason| {
            format!("writes by other nodes are polled for twice a second, which takes more CPU time: {reason}")
        });
        let message = text.map(|text| Problem { text, warning: true });
        self.problems.set(Topic::ClusterLog, message.into_iter().collect(), &self.log);
    }

    /// After a boot, applies the last good configuration at once, before `/etc/pve` is mounted.
    fn recover(&mut self) {
        if !self.setup.keep_last_good {
            let removed = self.last_good.remove().err();
            return self.report_state(removed);
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
        let is_live = self.rules.backend.is_live();
        if let Some(tree) = tree.filter(|_| !is_live) {
            let config = self.setup.config.display();
            let text = format!("the last good configuration is in force until {config} is read");
            self.log.write(Severity::Info, &text);
            self.reader.restore(&tree);
            self.update(tree, true);
        }
    }

    fn report_state(&mut self, error: Option<anyhow::Error>) {
        let problem = error.map(|error| Problem::failure(format_args!("the last good configuration: {error:#}")));
        self.problems.set(Topic::State, problem.into_iter().collect(), &self.log);
    }

    fn update(&mut self, tree: Arc<Tree>, unhealthy: bool) {
        let began = Instant::now();
        let Some(lock) = self.take_lock() else { return self.schedule.schedule_within(RETRY) };
        let InForce { tree: known, mut reports, unknown } = in_force(&tree, self.in_force.as_deref());
        let on_trial = self.trials.enforced(&known, !unhealthy, &self.log);
        self.problems.set(Topic::Trial, self.trials.problems(), &self.log);
        let trial = in_force(&on_trial, Some(&known));
        let enforced = trial.tree;
        reports.extend(trial.reports);
        let compiled = self.compile(&enforced, &reports);
        // without any valid version the live rules stay
        let certain = !(unknown && self.rules.backend.is_live());
        let mode = Mode::of(self.setup.kind, &compiled, &self.setup.root);
        if let Some(expires) = compiled.expires {
            self.schedule.schedule_within(Duration::from_secs(expires.saturating_sub(seconds())));
        }
        // "disabled" needs a healthy tree
        let applies = certain && (mode == Mode::On || !unhealthy);
        let complete = applies && self.apply(&compiled, mode);
        drop(lock);
        if applies {
            let rules = if self.rules.enforces { compiled.rules.clone() } else { Rules::empty(self.setup.kind) };
            self.cutter.rules_are_live(&rules, complete, &enforced, &self.setup.node, &self.log);
        }
        if certain {
            self.examine(&compiled);
        }
        if applies {
            self.summary = Some(Summary::of(mode, self.rules.enforces, compiled.filtered));
        }
        if !unhealthy && certain && self.setup.keep_last_good {
            let error = self.last_good.store(&known).err();
            self.report_state(error);
        }
        self.in_force = Some(known).filter(|_| certain);
        self.tree = Some(tree);
        let took = began.elapsed();
        let (guests, devices, time) = (compiled.filtered.guests, compiled.filtered.devices, took.as_millis());
        self.log.write(Severity::Debug, &format!("update: {mode:?}, {guests} guests, {devices} devices, {time} ms"));
        if took > SLOW_UPDATE {
            self.log.write(Severity::Warning, &format!("update took {:.1} s", took.as_secs_f64()));
        }
        self.status.updated = seconds();
        self.status.duration = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    }

    /// Compiles a tree; `others` are errors of files that are not in force.
    fn compile(&mut self, tree: &Tree, others: &[Report]) -> Compiled {
        let compiled = self.rules.backend.compile(tree, self.facts.collect(tree));
        let reports = others.iter().chain(&compiled.reports).map(Problem::from).collect();
        self.problems.set(Topic::Configuration, reports, &self.log);
        compiled
    }

    /// Applies the compiled rules, or removes them. Returns whether this was completed.
    fn apply(&mut self, compiled: &Compiled, mode: Mode) -> bool {
        let Update { complete, changed, next } = self.rules.update(compiled, mode, &mut self.problems, &self.log);
        if let Some(next) = next {
            self.schedule.schedule_within(next);
        }
        if changed {
            self.status.changed = Some(seconds());
        }
        complete
    }

    /// Checks whether the rules are effective.
    fn examine(&mut self, compiled: &Compiled) {
        self.health.examine(&mut self.rules.backend, compiled, self.rules.enforcer, seconds());
        let messages = self.health.texts().map(|text| Problem { text, warning: true }).collect();
        self.problems.set(Topic::Health, messages, &self.log);
    }

    /// Removes the rules when the daemon ends.
    fn remove(&mut self) {
        // after the timeout, remove the rules without the lock, because the firewall has to stop
        let lock = self.lock.take(|| true);
        self.log.write(Severity::Info, "clear PVE-generated firewall rules");
        let outcome = self.rules.backend.remove();
        drop(lock);
        self.problems.set(Topic::Kernel, outcome.errors.iter().map(Problem::failure).collect(), &self.log);
    }

    /// Takes the lock; `None` if there is an order to end, or another process holds the lock.
    fn take_lock(&mut self) -> Option<Option<FileLock>> {
        let works = || self.orders.current() == Order::Work;
        let (lock, problem) = match self.lock.take(works) {
            Ok(None) if !works() => return None,
            Ok(None) => (None, Some(Problem::failure(self.lock.held()))),
            Ok(Some(lock)) => (Some(Some(lock)), None),
            // update even if the lock file cannot be opened
            Err(error) => (Some(None), Some(Problem::failure(format_args!("continuing without a lock: {error:#}")))),
        };
        self.problems.set(Topic::Update, problem.into_iter().collect(), &self.log);
        lock
    }

    /// Writes the status file.
    fn write_status(&mut self) {
        self.status.trial = self.trials.status();
        self.status.findings = self.health.active();
        self.status.hand_over = self.rules.hand_over();
        self.status.errors = self.problems.texts().map(str::to_string).collect();
        // only `status --verbose` needs it
        let _ = self.status.write(&self.setup.root, self.setup.kind);
        self.show_summary();
    }

    /// Shows the state in `systemctl status`, and logs it when it has changed.
    fn show_summary(&mut self) {
        let Some(summary) = self.summary else { return };
        let Status { hand_over, errors, findings, .. } = &self.status;
        let text = summary.text(self.setup.kind, hand_over.as_deref(), errors.len(), findings.len());
        if text != self.shown {
            systemd::status(&text);
            self.log.write(Severity::Info, &text);
            self.shown = text;
        }
    }
}

/// Records that the updater has ended, also after a panic.
struct EndGuard(Arc<Orders>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.set_ended();
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

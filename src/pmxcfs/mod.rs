//! Reads the configuration tree from the cluster file system, with a timeout, and accepts changes only when they are stable.
//!
//! `scan` reads the tree once, in a worker process (`worker`) that also watches for writes (`tree_watch`) and sends only changes
//! (`snapshot`); `stable_tree` decides which changes to accept, `stable_file` those of one file; [`Reader`] uses both.
#![allow(clippy::disallowed_methods, reason = "I/O is done in this module")]

mod read_file;
mod reader_timeouts;
mod scan;
mod snapshot;
mod stable_file;
pub(crate) mod stable_tree;
mod tree_listing;
mod tree_watch;
mod wal;
mod wal_watch;
pub(crate) mod worker;

pub use reader_timeouts::ReaderConfig;

use crate::inputs::{File, Tree};
use crate::model::Report;
use crate::system::waker::Waker;
use crate::system::worker_process::{Reply, Stuck, Worker};
use snapshot::{LogState, Scan};
use stable_tree::StableTree;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use worker::WorkerMessage;

/// The hidden command that runs a worker.
pub const WORKER_COMMAND: &str = "read-tree";
/// Minimum number of reads by [`Reader::settle`], after which everything that does not change is accepted.
const MIN_READS: u32 = 3;

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The waker was signalled.
    #[error("interrupted")]
    Interrupted,
    /// The tree is unhealthy, with the reason.
    #[error("{0}")]
    Unhealthy(String),
}

/// Reads the configuration tree of one node repeatedly.
#[derive(Debug)]
pub struct Reader {
    program: PathBuf,
    config: PathBuf,
    node: String,
    timing: ReaderConfig,
    waker: Option<Arc<Waker>>,
    /// The directory of the write-ahead log of pmxcfs, if it is watched.
    log: Option<PathBuf>,
    /// Why the log did not show a change; it is then no longer used.
    log_failed: Option<String>,
    stable: StableTree,
    worker: Option<Worker>,
    stuck: Vec<Stuck>,
    /// The last read.
    scan: Scan,
    /// The accepted tree.
    tree: Option<Arc<Tree>>,
    /// When all content was last read.
    read_all: Option<Instant>,
    /// Whether the worker reported a write while another answer was awaited.
    notified: bool,
    took: Duration,
    start: Instant,
}

impl Reader {
    /// A reader of `config`; `program` is this program, which is started as the worker. The waker interrupts reads.
    #[must_use]
    pub fn new(
        program: PathBuf,
        config: PathBuf,
        node: String,
        timing: ReaderConfig,
        waker: Option<Arc<Waker>>,
    ) -> Self {
        Reader {
            program,
            config,
            node,
            timing,
            waker,
            log: None,
            log_failed: None,
            stable: StableTree::new(timing.debounce),
            worker: None,
            stuck: Vec::new(),
            scan: Scan::default(),
            tree: None,
            read_all: None,
            notified: false,
            took: Duration::ZERO,
            start: Instant::now(),
        }
    }

    /// Also waits for stuck workers that were started before this process re-executed itself.
    #[must_use]
    pub fn inheriting(mut self, stuck: Vec<Stuck>) -> Self {
        self.stuck.extend(stuck);
        self
    }

    /// Also watches the write-ahead log of pmxcfs in this directory, which shows writes by other nodes.
    #[must_use]
    pub fn following(mut self, directory: PathBuf) -> Self {
        self.log = Some(directory);
        self
    }

    /// Starts with a tree that an earlier reader accepted: its content is used until reads return other content.
    pub fn restore(&mut self, tree: &Tree) {
        self.tree = None;
        self.stable.restore(tree);
    }

    /// Reads the tree once.
    ///
    /// # Errors
    /// When the tree is unhealthy; the accepted tree is kept.
    pub fn read(&mut self) -> Result<(), ReadError> {
        let began = Instant::now();
        let all = self.read_all.is_none_or(|then| then.elapsed() >= self.timing.full_reading);
        self.read_with(match (self.timing.watch, all) {
            (false, _) => worker::READ,
            (true, false) => worker::READ_AND_WATCH,
            (true, true) => worker::READ_ALL_AND_WATCH,
        })?;
        if all {
            self.read_all = Some(began);
        }
        Ok(())
    }

    /// Reads only files whose `stat` has changed, for a read between cycles.
    ///
    /// # Errors
    /// As for [`Reader::read`].
    pub fn read_changes(&mut self) -> Result<(), ReadError> {
        self.read_with(worker::READ_CHANGES_AND_WATCH)
    }

    fn read_with(&mut self, request: u8) -> Result<(), ReadError> {
        let began = Instant::now();
        let answer = self.request(request);
        self.took = began.elapsed();
        let delta = match answer? {
            WorkerMessage::ScanDelta(delta) => delta,
            other => {
                return Err(ReadError::Unhealthy(format!("the reading process sent an unexpected answer: {other:?}")));
            }
        };
        if self.tree.is_some() && self.stable.is_settled() && delta.is_empty(&self.scan) {
            return Ok(());
        }
        self.tree = None;
        let followed = self.scan.place.log == LogState::Followed;
        self.scan.apply(delta);
        if let LogState::Failed(reason) = &self.scan.place.log
            && followed
            && self.scan.place.unhealthy.is_none()
        {
            self.log_failed = Some(reason.clone());
        }
        self.stable.process(&self.scan, self.start.elapsed()).map_err(ReadError::Unhealthy)?;
        let tree = self.tree();
        for path in tree_listing::fixed(&self.node) {
            if let Some(File::Unreadable(reason)) = tree.files.get(path.as_str()) {
                return Err(ReadError::Unhealthy(format!("cannot read {}/{path}: {reason}", tree.root)));
            }
        }
        self.tree = Some(tree);
        Ok(())
    }

    /// Reads until all changes are accepted, at most for [`ReaderConfig::settle`].
    ///
    /// # Errors
    /// When the tree is still unhealthy after the timeout.
    pub fn settle(&mut self) -> Result<Arc<Tree>, ReadError> {
        let deadline = Instant::now() + self.timing.settle;
        let mut reads = 0;
        loop {
            let passed = self.read();
            reads += 1;
            let done = match &passed {
                Ok(()) => self.settled(),
                Err(problem) => *problem == ReadError::Interrupted || self.settled(),
            };
            // on a busy machine the first read may take the whole timeout and accept no file that was just written
            if done || (reads >= MIN_READS && Instant::now() >= deadline) {
                return passed.map(|()| self.tree());
            }
            sleep(self.due().unwrap_or_default().max(self.timing.pause));
        }
    }

    /// Whether the `stat` of a file has changed since the last read. `false` if that is unknown, because regular reads follow
    /// anyway.
    pub fn changed(&mut self) -> bool {
        match self.request(worker::STAT) {
            Ok(WorkerMessage::Fingerprint(fingerprint)) => self.scan.place.fingerprint != fingerprint,
            _ => false,
        }
    }

    /// Whether every change since the last read is reported by events, so that no `stat` is needed.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        let followed = self.scan.place.log == LogState::Followed && self.log_problem().is_none();
        self.worker.is_some() && (self.scan.place.watched || followed) && self.scan.place.unhealthy.is_none()
    }

    /// Why the log of pmxcfs does not show writes by other nodes, so that `stat` is used instead.
    #[must_use]
    pub fn log_problem(&self) -> Option<&str> {
        match &self.scan.place.log {
            LogState::Failed(reason) => Some(reason),
            _ => self.log_failed.as_deref(),
        }
    }

    /// Whether all changes in the last read were accepted.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.stable.due().is_none()
    }

    /// The duration of the last read.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The time until another read can accept a pending change.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.stable.due().map(|due| due.saturating_sub(self.start.elapsed()))
    }

    /// The accepted tree; the same value as long as nothing changes.
    #[must_use]
    pub fn tree(&self) -> Arc<Tree> {
        let root = self.config.to_string_lossy();
        let tree = || self.stable.tree(root.trim_end_matches('/')).into();
        self.tree.clone().unwrap_or_else(tree)
    }

    /// A report for each unreadable file whose last good content is used.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let name = |path: &str| self.config.join(path).to_string_lossy().into_owned().into();
        let report = |(path, why)| {
            Report::file(&name(path), format_args!("cannot be read, its last good content is used: {why}"))
        };
        self.stable.stale().map(report).collect()
    }

    /// Becomes readable when something may have been written; see [`Reader::written`].
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.worker.as_ref().map(Worker::descriptor)
    }

    /// Whether the worker has reported a write since the last call.
    pub fn written(&mut self) -> bool {
        match self.worker.as_mut().map(|worker| worker.receive(Instant::now(), None)) {
            Some(Reply::Message(_)) => self.notified = true,
            Some(Reply::Closed) => self.kill_worker(),
            Some(Reply::TimedOut | Reply::Interrupted) | None => {}
        }
        std::mem::take(&mut self.notified)
    }

    fn request(&mut self, request: u8) -> Result<WorkerMessage, ReadError> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.start_worker()?,
        };
        let deadline = Instant::now() + self.timing.limit;
        worker.send(request);
        let problem = loop {
            match worker.receive(deadline, self.waker.as_deref()) {
                Reply::Message(message) => match postcard::from_bytes(&message) {
                    Ok(WorkerMessage::Written) => self.notified = true,
                    Ok(answer) => {
                        self.worker = Some(worker);
                        return Ok(answer);
                    }
                    Err(error) => {
                        break ReadError::Unhealthy(format!(
                            "the answer of the reading process cannot be decoded: {error}"
                        ));
                    }
                },
                Reply::TimedOut => break ReadError::Unhealthy(self.timeout_message()),
                Reply::Interrupted => break ReadError::Interrupted,
                Reply::Closed => break ReadError::Unhealthy("the reading process has ended".into()),
            }
        };
        self.worker = Some(worker);
        self.kill_worker();
        Err(problem)
    }

    /// Starts a worker unless a stuck one exists: there is at most one at a time.
    fn start_worker(&mut self) -> Result<Worker, ReadError> {
        self.stuck.retain(|stuck| !stuck.has_ended());
        if !self.stuck.is_empty() {
            return Err(ReadError::Unhealthy(self.timeout_message()));
        }
        // a new worker reports changes relative to an empty scan
        self.scan = Scan::default();
        let mut args = vec![OsStr::new(WORKER_COMMAND), self.config.as_os_str(), OsStr::new(&self.node)];
        args.extend(self.log.as_ref().filter(|_| self.log_failed.is_none()).map(|log| log.as_os_str()));
        Worker::start(&self.program, "pve-firewall-reader", &args)
            .map_err(|error| ReadError::Unhealthy(format!("{error:#}")))
    }

    fn kill_worker(&mut self) {
        self.stuck.extend(self.worker.take().and_then(Worker::kill));
    }

    /// The message does not contain the duration, so that it is reported only once.
    fn timeout_message(&self) -> String {
        format!(
            "reading {} hangs; is pmxcfs stopped or the cluster not responding? See 'systemctl status pve-cluster'",
            self.config.display()
        )
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.kill_worker();
    }
}

/// The path of this program for starting workers, also valid after the file on disk has been replaced.
#[must_use]
pub fn this_program() -> &'static Path {
    Path::new("/proc/self/exe")
}

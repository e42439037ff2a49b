//! Reading the configuration tree as the cluster file system demands: with a time limit, and believing nothing at once.
//!
//! `scan` makes one pass, in a worker process (`worker`) that also watches for writes (`watch`) and tells what is new
//! (`sights`); `memory` decides what to believe of a series of passes; [`Reader`] drives both. `facts` and `resolver` collect what the node itself tells.
#![allow(clippy::disallowed_methods, reason = "this is the shell: I/O lives here")]

pub mod facts;
mod listing;
mod read_file;
mod resolver;
mod scan;
mod snapshot;
pub mod stable_tree;
mod watch;
pub mod worker;

use crate::inputs::{File, Tree};
use crate::model::Report;
use crate::system::waker::Waker;
use crate::system::worker::{Reply, Stuck, Worker};
use snapshot::Scan;
use stable_tree::{Debounce, Memory};
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use worker::Message;

/// The hidden command that makes a process a worker.
pub const WORKER_COMMAND: &str = "read-tree";
/// How patient a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderConfig {
    /// How long passes have to agree.
    pub debounce: Debounce,
    /// How long a pass may take.
    pub limit: Duration,
    /// The shortest time between two passes.
    pub pause: Duration,
    /// How long [`Reader::settle`] tries.
    pub settle: Duration,
    /// Whether to watch for local writes.
    pub watch: bool,
    /// How often all content is read anew, even where `stat` says that nothing has changed.
    pub full_reading: Duration,
}

impl ReaderConfig {
    /// Of the daemon: a change is believed within a second, and nothing is lost to a file that is being written.
    pub const DAEMON: ReaderConfig = ReaderConfig {
        debounce: Debounce {
            content: Duration::from_millis(300),
            closed: Duration::from_millis(50),
            absence: Duration::from_secs(1),
            appearance: Duration::from_secs(3),
        },
        limit: Duration::from_secs(10),
        pause: Duration::from_millis(200),
        settle: Duration::from_secs(5),
        watch: true,
        full_reading: Duration::from_secs(300),
    };

    /// Of a command that looks once: right when it is called right after a write.
    pub const COMMAND: ReaderConfig = ReaderConfig {
        debounce: Debounce {
            content: Duration::from_millis(50),
            closed: Duration::from_millis(10),
            absence: Duration::from_millis(100),
            appearance: Duration::ZERO,
        },
        limit: Duration::from_secs(5),
        pause: Duration::from_millis(10),
        settle: Duration::from_secs(2),
        watch: false,
        full_reading: Duration::ZERO,
    };
}

/// Why there is nothing to go by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The waker was rung.
    #[error("interrupted")]
    Interrupted,
    /// The tree is in no state to be believed: why.
    #[error("{0}")]
    Ill(String),
}

/// Reads the configuration tree of one node, again and again.
#[derive(Debug)]
pub struct Reader {
    program: PathBuf,
    config: PathBuf,
    node: String,
    timing: ReaderConfig,
    waker: Option<Arc<Waker>>,
    memory: Memory,
    worker: Option<Worker>,
    stuck: Vec<Stuck>,
    /// The last pass.
    scan: Scan,
    /// What is believed after it, if it was healthy.
    tree: Option<Arc<Tree>>,
    /// When all content was last read anew.
    read_all: Option<Instant>,
    /// Whether the worker told of a write while it was asked something else.
    told: bool,
    took: Duration,
    start: Instant,
}

impl Reader {
    /// A reader of `config`; `program` is this very program, which is started as the worker. The waker interrupts.
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
            memory: Memory::new(timing.debounce),
            worker: None,
            stuck: Vec::new(),
            scan: Scan::default(),
            tree: None,
            read_all: None,
            told: false,
            took: Duration::ZERO,
            start: Instant::now(),
        }
    }

    /// Also waits for workers that an earlier life of this process left behind.
    #[must_use]
    pub fn inheriting(mut self, stuck: Vec<Stuck>) -> Self {
        self.stuck.extend(stuck);
        self
    }

    /// Takes in a tree that an earlier reader believed in: what it holds serves until passes show something else.
    pub fn remember(&mut self, tree: &Tree) {
        self.tree = None;
        self.memory.remember(tree);
    }

    /// Makes one pass.
    ///
    /// # Errors
    /// When the tree cannot be believed; what is known of it stays.
    pub fn pass(&mut self) -> Result<(), Problem> {
        let began = Instant::now();
        let all = self.read_all.is_none_or(|then| then.elapsed() >= self.timing.full_reading);
        self.pass_by(match (self.timing.watch, all) {
            (false, _) => worker::READ,
            (true, false) => worker::READ_AND_WATCH,
            (true, true) => worker::READ_ALL_AND_WATCH,
        })?;
        if all {
            self.read_all = Some(began);
        }
        Ok(())
    }

    /// Makes a pass between others, in which only what `stat` shows as changed is read anew.
    ///
    /// # Errors
    /// As for [`Reader::pass`].
    pub fn look(&mut self) -> Result<(), Problem> {
        self.pass_by(worker::LOOK_AND_WATCH)
    }

    fn pass_by(&mut self, request: u8) -> Result<(), Problem> {
        let began = Instant::now();
        let answer = self.ask(request);
        self.took = began.elapsed();
        let news = match answer? {
            Message::News(news) => news,
            other => return Err(Problem::Ill(format!("the reading process gave a wrong answer: {other:?}"))),
        };
        if self.tree.is_some() && self.memory.is_settled() && news.are_none(&self.scan) {
            return Ok(());
        }
        self.tree = None;
        self.scan.take_in(news);
        self.memory.learn(&self.scan, self.start.elapsed()).map_err(Problem::Ill)?;
        let tree = self.tree();
        for path in listing::fixed(&self.node) {
            if let Some(File::Unreadable(reason)) = tree.files.get(path.as_str()) {
                return Err(Problem::Ill(format!("cannot read {}/{path}: {reason}", tree.root)));
            }
        }
        self.tree = Some(tree);
        Ok(())
    }

    /// Makes passes until nothing is left open, or for [`ReaderConfig::settle`] at most.
    ///
    /// # Errors
    /// When the tree cannot be believed for so long.
    pub fn settle(&mut self) -> Result<Arc<Tree>, Problem> {
        let deadline = Instant::now() + self.timing.settle;
        loop {
            let passed = self.pass();
            let done = match &passed {
                Ok(()) => self.settled(),
                Err(problem) => *problem == Problem::Interrupted || self.settled(),
            };
            if done || Instant::now() >= deadline {
                return passed.map(|()| self.tree());
            }
            sleep(self.due().unwrap_or_default().max(self.timing.pause));
        }
    }

    /// Whether a file has changed since the last pass, as far as `stat` shows. `false` in doubt: passes are made anyway.
    pub fn changed(&mut self) -> bool {
        match self.ask(worker::STAT) {
            Ok(Message::Fingerprint(fingerprint)) => self.scan.place.fingerprint != fingerprint,
            _ => false,
        }
    }

    /// Whether each change since the last pass is told, so that `stat` would show nothing more.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.worker.is_some() && self.scan.place.watched && self.scan.place.ill.is_none()
    }

    /// Whether the last pass left nothing open.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.memory.due().is_none()
    }

    /// How long the last pass took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// How long until another pass can settle something that the last one left open.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.memory.due().map(|due| due.saturating_sub(self.start.elapsed()))
    }

    /// The tree as it is believed to be. The same value is given as long as nothing changes.
    #[must_use]
    pub fn tree(&self) -> Arc<Tree> {
        let root = self.config.to_string_lossy();
        let tree = || self.memory.tree(root.trim_end_matches('/')).into();
        self.tree.clone().unwrap_or_else(tree)
    }

    /// A report for each file that cannot be read now and whose last good content serves.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let name = |path: &str| self.config.join(path).to_string_lossy().into_owned().into();
        let report = |(path, why)| {
            Report::file(&name(path), format_args!("cannot be read, its last good content stays in force: {why}"))
        };
        self.memory.stale().map(report).collect()
    }

    /// Becomes readable when something was written; [`Reader::written`] tells then.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.worker.as_ref().map(Worker::descriptor)
    }

    /// Whether the worker has told of a write since this was last asked.
    pub fn written(&mut self) -> bool {
        match self.worker.as_mut().map(|worker| worker.receive(Instant::now(), None)) {
            Some(Reply::Message(_)) => self.told = true,
            Some(Reply::Closed) => self.give_up(),
            Some(Reply::TimedOut | Reply::Interrupted) | None => {}
        }
        std::mem::take(&mut self.told)
    }

    fn ask(&mut self, request: u8) -> Result<Message, Problem> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.start_worker()?,
        };
        let deadline = Instant::now() + self.timing.limit;
        worker.send(request);
        let problem = loop {
            match worker.receive(deadline, self.waker.as_deref()) {
                Reply::Message(message) => match postcard::from_bytes(&message) {
                    Ok(Message::Written) => self.told = true,
                    Ok(answer) => {
                        self.worker = Some(worker);
                        return Ok(answer);
                    }
                    Err(error) => break Problem::Ill(format!("the reading process is not understood: {error}")),
                },
                Reply::TimedOut => break Problem::Ill(self.hanging()),
                Reply::Interrupted => break Problem::Interrupted,
                Reply::Closed => break Problem::Ill("the reading process has ended".into()),
            }
        };
        self.worker = Some(worker);
        self.give_up();
        Err(problem)
    }

    /// At most one worker at a time, one that hangs included.
    fn start_worker(&mut self) -> Result<Worker, Problem> {
        self.stuck.retain(|stuck| !stuck.has_ended());
        if !self.stuck.is_empty() {
            return Err(Problem::Ill(self.hanging()));
        }
        // its news are of what it has told before: nothing
        self.scan = Scan::default();
        let args = [OsStr::new(WORKER_COMMAND), self.config.as_os_str(), OsStr::new(&self.node)];
        Worker::start(&self.program, "pve-firewall-reader", &args).map_err(|error| Problem::Ill(format!("{error:#}")))
    }

    fn give_up(&mut self) {
        self.stuck.extend(self.worker.take().and_then(Worker::kill));
    }

    /// The same text however long it lasts, so that it is reported once.
    fn hanging(&self) -> String {
        format!(
            "reading {} hangs; is pmxcfs stopped or its cluster without an answer? See 'systemctl status pve-cluster'",
            self.config.display()
        )
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// The path of this very program, for starting workers: right also after the file on disk was replaced.
#[must_use]
pub fn this_program() -> &'static Path {
    Path::new("/proc/self/exe")
}

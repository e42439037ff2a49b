//! One file of the tree: which of its changes are accepted, and when.
use super::snapshot::{FileResult, FileState, Writing};
use crate::inputs::{Content, File};
use crate::node::{check_vmlist, lists_all};
use crate::paths::TreeFile;
use std::time::Duration;

/// How long reads have to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debounce {
    /// For content that was modified recently.
    pub content: Duration,
    /// For content whose writer, a process of this node, has just closed the file or renamed it to this name.
    pub closed: Duration,
    /// For content that another node has written in one step, as the log of pmxcfs shows some milliseconds later.
    pub logged: Duration,
    /// For content whose writer, a process of this node, has not closed the file.
    pub open: Duration,
    /// For a file that is empty or absent.
    pub absence: Duration,
    /// How long after a FUSE tree was mounted no file counts as absent: pmxcfs starts with missing files.
    pub appearance: Duration,
}

/// A time on a monotonic clock.
pub type MonotonicTime = Duration;

/// The accepted state of a file, and its state in later reads.
#[derive(Debug, Default)]
pub(super) struct StableFile {
    /// The accepted content; empty for an empty or absent file. `None` if nothing has been accepted.
    pub good: Option<Content>,
    /// Pending content.
    pub pending: Option<PendingContent>,
    /// Why the last read failed.
    pub failed: Option<String>,
    /// When a read last returned other content than the previous read.
    changed: Option<MonotonicTime>,
}

/// Content that is not accepted yet.
#[derive(Debug)]
pub(super) struct PendingContent {
    content: Content,
    since: MonotonicTime,
    /// When it is accepted if unchanged.
    pub due: MonotonicTime,
    /// Whether it was probably written as a whole.
    in_one_step: bool,
}

impl StableFile {
    /// A file with this accepted content, which has not been read yet.
    pub fn accepted(good: Option<Content>) -> Self {
        StableFile { good, ..StableFile::default() }
    }

    /// Processes the result of a read. Before the time `complete` the file does not count as absent.
    pub fn process(
        &mut self,
        path: &str,
        state: &FileState,
        now: MonotonicTime,
        debounce: &Debounce,
        complete: MonotonicTime,
    ) {
        let content = match &state.result {
            FileResult::Failed(reason) => {
                self.failed = Some(reason.clone());
                self.pending = None;
                return;
            }
            FileResult::Absent => Content::default(),
            FileResult::Content(content) => content.clone(),
        };
        self.failed = None;
        if self.good.as_ref() == Some(&content) {
            // it was written and has its previous content again: more writes may follow
            self.changed = self.pending.take().map_or(self.changed, |_| Some(now));
            return;
        }
        let (content, since, in_one_step) = match self.pending.take() {
            Some(pending) if pending.content == content => (pending.content, pending.since, pending.in_one_step),
            pending => {
                let in_one_step = pending.is_none() && self.is_whole(&content, now, debounce);
                self.changed = Some(now);
                (content, now, in_one_step)
            }
        };
        let agreed = match (state.writing, content.is_empty()) {
            (Writing::Open, _) => since + debounce.open,
            (_, true) => complete.max(since + debounce.absence),
            (Writing::Unmodified | Writing::Renamed, _) => now,
            _ if self.is_harmless(path, &content) => now,
            (Writing::Closed, _) => since + debounce.closed,
            (Writing::Logged, _) if in_one_step => since + debounce.logged,
            (Writing::Logged | Writing::Unknown, _) => since + debounce.content,
        };
        match now >= agreed {
            true => self.good = Some(content),
            false => self.pending = Some(PendingContent { content, since, due: agreed, in_one_step }),
        }
    }

    /// Whether content that is the first change for a while is probably complete: a program that writes a file in place
    /// truncates it first.
    fn is_whole(&self, content: &Content, now: MonotonicTime, debounce: &Debounce) -> bool {
        let before = self.good.as_ref().map_or(0, |good| good.len());
        let no_recent_change = self.changed.is_none_or(|changed| now >= changed + debounce.absence);
        no_recent_change && content.len() >= before && content.ends_with(b"\n")
    }

    /// Whether content can be accepted at once without allowing more packets, even if it is incomplete: a `.vmlist` in which no
    /// guest is missing, and the first configuration of a guest.
    fn is_harmless(&self, path: &str, content: &Content) -> bool {
        match (&self.good, TreeFile::parse(path)) {
            (Some(good), Some(TreeFile::VmList)) => {
                !good.is_empty() && check_vmlist(content).is_ok() && lists_all(content, good)
            }
            (Some(good), Some(TreeFile::GuestConfig { .. })) => good.is_empty(),
            _ => false,
        }
    }

    /// Whether it is accepted as absent, and was absent in all later reads.
    pub fn is_absent(&self) -> bool {
        self.pending.is_none() && self.failed.is_none() && self.good.as_ref().is_some_and(|good| good.is_empty())
    }

    /// The accepted file; `None` if it is absent or empty.
    pub fn file(&self) -> Option<File> {
        match (&self.good, &self.failed) {
            (Some(good), _) if good.is_empty() => None,
            (Some(good), _) => Some(File::Content(good.clone())),
            (None, Some(reason)) => Some(File::Unreadable(reason.as_str().into())),
            (None, None) => Some(File::Unreadable("it is being written, or does not exist yet".into())),
        }
    }
}

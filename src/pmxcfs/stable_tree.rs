//! Decides which changes of the tree to accept: a file counts as changed, empty or absent only when reads some time apart
//! agree; until then its last good content is used.
use super::snapshot::{FileResult, FileState, Scan};
use super::stable_file::{Debounce, MonotonicTime, StableFile};
use crate::inputs::{Content, File, Tree};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The accepted state of a tree.
#[derive(Debug)]
pub struct StableTree {
    debounce: Debounce,
    files: BTreeMap<Arc<str>, StableFile>,
    place: Option<FileSystem>,
    /// Whether a read was accepted at a time when files could count as absent.
    established: bool,
}

/// The file system of the last healthy tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileSystem {
    fuse: bool,
    device: u64,
    since: MonotonicTime,
}

impl StableTree {
    /// An empty state.
    #[must_use]
    pub fn new(debounce: Debounce) -> Self {
        StableTree { debounce, files: BTreeMap::new(), place: None, established: false }
    }

    /// Starts with a tree that was accepted earlier: its content is used until reads return other content.
    pub fn restore(&mut self, tree: &Tree) {
        for (path, file) in &tree.files {
            if let File::Content(content) = file {
                self.files.entry(path.clone()).or_default().good = Some(content.clone());
            }
        }
    }

    /// Processes a read.
    ///
    /// # Errors
    /// When the tree is unhealthy, with the reason. The read is then discarded.
    pub fn process(&mut self, scan: &Scan, now: MonotonicTime) -> Result<(), String> {
        if let Some(reason) = &scan.place.unhealthy {
            self.reset_pending();
            return Err(reason.clone());
        }
        let place = match self.place {
            Some(place) if place.device == scan.place.device => place,
            Some(FileSystem { fuse: true, .. }) if !scan.place.fuse => {
                self.reset_pending();
                return Err("the cluster file system is not mounted; is pve-cluster running?".into());
            }
            _ => FileSystem { fuse: scan.place.fuse, device: scan.place.device, since: now },
        };
        self.place = Some(place);
        let complete = if place.fuse { place.since + self.debounce.appearance } else { MonotonicTime::ZERO };
        let files = &scan.files;
        let absent = FileState::without_content(FileResult::Absent);
        for (path, known) in &mut self.files {
            let state = files.get(path).unwrap_or(&absent);
            known.process(path, state, now, &self.debounce, complete);
        }
        // files missing in earlier reads of an established tree were absent
        let before = self.established.then(Content::default);
        let new = files.iter().filter(|(path, _)| !self.files.contains_key(*path));
        let new = new.map(|(path, state)| {
            let mut known = StableFile::accepted(before.clone());
            known.process(path, state, now, &self.debounce, complete);
            (path.clone(), known)
        });
        let mut new: BTreeMap<Arc<str>, StableFile> = new.collect();
        self.files.append(&mut new);
        self.files.retain(|path, known| files.contains_key(path) || !known.is_absent());
        self.established = now >= complete;
        Ok(())
    }

    /// Restarts the timers after an interruption, because the tree may be another one.
    fn reset_pending(&mut self) {
        if let Some(place) = &mut self.place {
            // no device has this number, so the next healthy read counts as a new mount
            place.device = u64::MAX;
        }
        for known in self.files.values_mut() {
            known.pending = None;
        }
    }

    /// When the next read can accept pending content.
    #[must_use]
    pub fn due(&self) -> Option<MonotonicTime> {
        self.files.values().filter_map(|known| known.pending.as_ref()).map(|pending| pending.due).min()
    }

    /// Whether another equal read would change nothing.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.established && self.due().is_none()
    }

    /// The accepted tree.
    #[must_use]
    pub fn tree(&self, root: &str) -> Tree {
        let files = self.files.iter().filter_map(|(path, known)| Some((path.clone(), known.file()?))).collect();
        Tree { root: root.to_string(), files }
    }

    /// The files that could not be read and whose last good content is used, each with the reason.
    pub fn stale(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(_, known)| known.good.is_some())
            .filter_map(|(path, known)| Some((&**path, known.failed.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{self, Writing};
    use super::*;
    use crate::paths::VMLIST;
    use std::time::Duration;

    const DEBOUNCE: Debounce = Debounce {
        content: Duration::from_millis(400),
        closed: Duration::from_millis(50),
        logged: Duration::from_millis(20),
        open: Duration::from_secs(30),
        absence: Duration::from_secs(1),
        appearance: Duration::from_secs(3),
    };

    /// A healthy read; each file is `(path, content)`, a path with a leading `-` for an absent file.
    fn scan(fuse: bool, files: &[(&str, FileResult)]) -> Scan {
        let state = |result: &FileResult| FileState::without_content(result.clone());
        let files = files.iter().map(|(path, result)| (Arc::from(*path), state(result))).collect();
        Scan { place: snapshot::TreeState { fuse, device: 7, ..Default::default() }, files }
    }

    fn content(text: &str) -> FileResult {
        FileResult::Content(text.as_bytes().into())
    }

    fn at(milliseconds: u64) -> MonotonicTime {
        Duration::from_millis(milliseconds)
    }

    fn file(stable: &StableTree, path: &str) -> Option<String> {
        stable.tree("/x").files.get(path).map(|file| match file {
            File::Content(content) => String::from_utf8_lossy(content).into_owned(),
            File::Unreadable(_) => "unreadable".into(),
        })
    }

    /// A state that has accepted `a = "old"` one second ago.
    fn established() -> StableTree {
        let mut stable = StableTree::new(DEBOUNCE);
        for moment in [0, 1000] {
            stable.process(&scan(false, &[("a", content("old"))]), at(moment)).unwrap();
        }
        assert!(stable.due().is_none());
        stable
    }

    #[test]
    fn content_is_accepted_when_reads_agree_long_enough() {
        let mut stable = established();
        // partly written, then complete
        for (moment, pending, accepted) in
            [(2000, "ne", "old"), (2300, "new", "old"), (2600, "new", "old"), (2700, "new", "new")]
        {
            stable.process(&scan(false, &[("a", content(pending))]), at(moment)).unwrap();
            assert_eq!(file(&stable, "a").unwrap(), accepted, "at {moment}");
        }
        assert!(stable.due().is_none());
    }

    #[test]
    fn an_unmodified_file_is_accepted_at_once() {
        let mut stable = StableTree::new(DEBOUNCE);
        let mut pass = scan(false, &[("a", content("x"))]);
        pass.files.get_mut("a").unwrap().writing = Writing::Unmodified;
        stable.process(&pass, at(0)).unwrap();
        assert_eq!(file(&stable, "a").unwrap(), "x");
    }

    #[test]
    fn a_closed_file_is_accepted_early() {
        let mut stable = established();
        let pass = |text: &str, writing| {
            let mut pass = scan(false, &[("a", content(text))]);
            pass.files.get_mut("a").unwrap().writing = writing;
            pass
        };
        for (moment, pending, writing, accepted) in [
            (2000, "ne", Writing::Closed, "old"),
            // written again, and closed again
            (2040, "new", Writing::Unknown, "old"),
            (2080, "new", Writing::Unknown, "old"),
            (2120, "new", Writing::Closed, "new"),
        ] {
            stable.process(&pass(pending, writing), at(moment)).unwrap();
            assert_eq!(file(&stable, "a").unwrap(), accepted, "at {moment}");
        }
    }

    #[test]
    fn a_file_that_a_process_has_open_is_accepted_when_it_is_closed_or_after_30_seconds() {
        for last in ["new", ""] {
            let mut stable = established();
            let pass = |text: &str, writing| {
                let mut pass = scan(false, &[("a", content(text))]);
                pass.files.get_mut("a").unwrap().writing = writing;
                pass
            };
            for (moment, pending, accepted) in [(2000, "", "old"), (3500, last, "old"), (31_900, last, "old")] {
                stable.process(&pass(pending, Writing::Open), at(moment)).unwrap();
                assert_eq!(file(&stable, "a").unwrap(), accepted, "at {moment}");
            }
            let mut closed = stable;
            closed.process(&pass("newer", Writing::Closed), at(32_000)).unwrap();
            closed.process(&pass("newer", Writing::Closed), at(32_050)).unwrap();
            assert_eq!(file(&closed, "a").unwrap(), "newer");
            let mut stable = established();
            stable.process(&pass(last, Writing::Open), at(3500)).unwrap();
            stable.process(&pass(last, Writing::Open), at(33_500)).unwrap();
            assert_eq!(file(&stable, "a").unwrap_or_default(), last);
        }
    }

    #[test]
    fn content_written_by_another_node_in_one_step_is_accepted_soon_and_parts_are_not() {
        let logged = |text: &str, writing| {
            let mut pass = scan(true, &[("a", content(text))]);
            pass.files.get_mut("a").unwrap().writing = writing;
            pass
        };
        let fresh = || {
            let mut stable = StableTree::new(DEBOUNCE);
            for moment in [0, 5000] {
                stable.process(&logged("old\nold\n", Writing::Unknown), at(moment)).unwrap();
            }
            stable
        };
        let mut stable = fresh();
        stable.process(&logged("new\n", Writing::Renamed), at(9000)).unwrap();
        assert_eq!(file(&stable, "a").unwrap(), "new\n", "complete, as it was renamed");
        for (first, second) in [("new\nnew\n", true), ("new\n", false), ("new\nnew\nne", false)] {
            let mut stable = fresh();
            stable.process(&logged(first, Writing::Logged), at(9000)).unwrap();
            stable.process(&logged(first, Writing::Logged), at(9020)).unwrap();
            assert_eq!(file(&stable, "a").unwrap() == first, second, "{first}");
        }
        // parts 0.2 s apart
        let mut stable = fresh();
        let whole = "new\n".repeat(9);
        for piece in 1..=9 {
            let piece_at = 9000 + 200 * piece;
            for moment in [piece_at, piece_at + 60, piece_at + 190] {
                stable
                    .process(&logged(&whole[..4 * usize::try_from(piece).unwrap()], Writing::Logged), at(moment))
                    .unwrap();
                assert_eq!(file(&stable, "a").unwrap(), "old\nold\n", "piece {piece}");
            }
        }
        stable.process(&logged(&whole, Writing::Logged), at(11_200)).unwrap();
        assert_eq!(file(&stable, "a").unwrap(), whole);
    }

    #[test]
    fn an_arriving_guest_is_accepted_at_once_and_a_leaving_one_is_not() {
        const CONF: &str = "nodes/n1/qemu-server/101.conf";
        let list = |guests: &[(u32, &str)]| {
            let of = |(id, node): &(u32, &str)| format!(r#""{id}":{{"node":"{node}","type":"qemu"}}"#);
            format!(r#"{{"version":1,"ids":{{{}}}}}"#, guests.iter().map(of).collect::<Vec<_>>().join(","))
        };
        let before = list(&[(100, "n1"), (101, "n2")]);
        let mut stable = StableTree::new(DEBOUNCE);
        for moment in [0, 5000] {
            stable.process(&scan(true, &[(VMLIST, content(&before))]), at(moment)).unwrap();
        }
        let after = list(&[(100, "n1"), (101, "n1")]);
        stable.process(&scan(true, &[(VMLIST, content(&after)), (CONF, content("net0: x"))]), at(6000)).unwrap();
        assert_eq!(file(&stable, VMLIST).unwrap(), after);
        assert_eq!(file(&stable, CONF).unwrap(), "net0: x");
        let gone = list(&[(101, "n1")]);
        for (moment, accepted) in [(7000, &after), (7300, &after), (7400, &gone)] {
            stable.process(&scan(true, &[(VMLIST, content(&gone)), (CONF, content("net0: x"))]), at(moment)).unwrap();
            assert_eq!(file(&stable, VMLIST).as_ref(), Some(accepted), "at {moment}");
        }
    }

    #[test]
    fn an_empty_or_absent_file_counts_as_such_after_a_second() {
        for gone in [FileResult::Absent, content("")] {
            let mut stable = established();
            for (moment, accepted) in [(2000, Some("old")), (2900, Some("old")), (3000, None)] {
                stable.process(&scan(false, &[("a", gone.clone())]), at(moment)).unwrap();
                assert_eq!(file(&stable, "a").as_deref(), accepted, "at {moment}");
            }
            // a file missing in a read is absent
            let mut stable = established();
            stable.process(&scan(false, &[]), at(2000)).unwrap();
            stable.process(&scan(false, &[("a", content("old"))]), at(2900)).unwrap();
            stable.process(&scan(false, &[]), at(3100)).unwrap();
            assert_eq!(file(&stable, "a").unwrap(), "old", "two absences that are not consecutive");
        }
    }

    #[test]
    fn a_new_file_is_absent_until_it_is_accepted() {
        let mut stable = established();
        let pass = || scan(false, &[("a", content("old")), ("b", content("new"))]);
        stable.process(&pass(), at(2000)).unwrap();
        assert_eq!(file(&stable, "b"), None);
        assert!(stable.due().is_some());
        stable.process(&pass(), at(2400)).unwrap();
        assert_eq!(file(&stable, "b").unwrap(), "new");
    }

    #[test]
    fn an_unreadable_file_keeps_its_last_good_content_and_is_reported() {
        let mut stable = established();
        stable.process(&scan(false, &[("a", FileResult::Failed("EIO".into()))]), at(2000)).unwrap();
        assert_eq!(file(&stable, "a").unwrap(), "old");
        assert_eq!(stable.stale().collect::<Vec<_>>(), [("a", "EIO")]);
        let mut stable = StableTree::new(DEBOUNCE);
        stable.process(&scan(false, &[("a", FileResult::Failed("EIO".into()))]), at(0)).unwrap();
        assert_eq!(file(&stable, "a").unwrap(), "unreadable");
    }

    #[test]
    fn the_last_tree_is_used_until_a_new_tree_is_complete() {
        let mut stable = StableTree::new(DEBOUNCE);
        stable.restore(&established().tree("/x"));
        assert_eq!(file(&stable, "a").unwrap(), "old");
        // a newly mounted tree
        for (moment, accepted) in [(0, Some("old")), (2900, Some("old")), (3000, None)] {
            stable.process(&scan(true, &[("b", content("x"))]), at(moment)).unwrap();
            assert_eq!(file(&stable, "a").as_deref(), accepted, "at {moment}");
        }
    }

    #[test]
    fn an_unhealthy_read_is_discarded_and_resets_the_timers() {
        let mut stable = established();
        stable.process(&scan(false, &[]), at(2000)).unwrap();
        let mut unhealthy = scan(false, &[]);
        unhealthy.place.unhealthy = Some("empty".into());
        assert_eq!(stable.process(&unhealthy, at(2500)), Err("empty".into()));
        stable.process(&scan(false, &[]), at(3100)).unwrap();
        assert_eq!(file(&stable, "a").unwrap(), "old");
    }

    #[test]
    fn no_file_is_absent_in_a_newly_mounted_fuse_tree() {
        let mut stable = StableTree::new(DEBOUNCE);
        let pass = || scan(true, &[("a", content("x")), ("b", FileResult::Absent)]);
        for moment in [0, 1000, 2900] {
            stable.process(&pass(), at(moment)).unwrap();
            assert_eq!(file(&stable, "b").unwrap(), "unreadable", "at {moment}");
        }
        stable.process(&pass(), at(3000)).unwrap();
        assert_eq!(file(&stable, "b"), None);
        assert!(stable.due().is_none());
        // a plain directory is not the file system that was mounted before
        let mut elsewhere = scan(false, &[]);
        elsewhere.place.device = 8;
        assert!(stable.process(&elsewhere, at(4000)).is_err());
        assert_eq!(file(&stable, "a").unwrap(), "x");
        assert!(stable.process(&elsewhere, at(9000)).is_err());
    }
}

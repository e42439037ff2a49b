//! The directory of the current trial, `/run/pve-firewall/trial/`.
//!
//! It contains the candidates, numbered, and `trial.json`, which is written last and removed first: a trial exists if that file
//! exists. Files left by a killed process are ignored. The directory itself is kept, so that the daemon can watch it.
//! `ended.json` records how the last trial ended: when one daemon ends a trial, the daemon of the other backend reads it.
use super::model::{Candidate, Clock, Confirmation, Digest, Trial, TrialEnd};
use crate::model::BackendKind;
use crate::system::lock::FileLock;
use crate::system::root_directory::Root;
use crate::system::{clock, files};
use anyhow::{Context, Result, ensure};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

const FORMAT: u32 = 1;
const MANIFEST: &str = "trial.json";
const MARK: &str = "confirmed";
const LOCK: &str = "lock";
const ENDED: &str = "ended.json";
/// The maximum size of a file in bytes, larger than any configuration file that is read.
const MAX_SIZE: u64 = 64 << 20;

/// The content of `trial.json`.
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// The kernel's boot id.
    boot: String,
    /// Nanoseconds on the boot clock.
    began: u64,
    /// Nanoseconds on the boot clock.
    deadline: u64,
    backends: Vec<BackendKind>,
    files: Vec<StoredCandidate>,
}

/// The content of `ended.json`.
#[derive(Serialize, Deserialize)]
struct Ended {
    /// The start of the trial in nanoseconds on the boot clock; it identifies the trial.
    began: u64,
    end: TrialEnd,
}

/// A candidate; its content is in the file with its number.
#[derive(Serialize, Deserialize)]
struct StoredCandidate {
    path: String,
    replaces: Digest,
    holds: Digest,
}

/// The storage of the trial.
#[derive(Clone, Debug)]
pub struct TrialStore {
    directory: PathBuf,
}

impl TrialStore {
    /// The store of a node with this root directory.
    #[must_use]
    pub fn new(root: &Root) -> Self {
        TrialStore { directory: root.path(crate::paths::TRIAL) }
    }

    /// The current time.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn clock() -> Result<Clock> {
        Ok(Clock { boot: clock::boot_id()?, now: clock::since_boot()? })
    }

    /// Prevents other processes from starting, confirming and reverting a trial.
    ///
    /// # Errors
    /// When another process holds the lock until the timeout, or the lock file cannot be opened.
    pub fn lock(&self, timeout: Duration) -> Result<FileLock> {
        self.make_directory()?;
        FileLock::acquire(&self.directory.join(LOCK), timeout)
    }

    fn is_locked(&self) -> bool {
        // if the lock cannot be tested, it is assumed to be free
        let lock = self.directory.join(LOCK);
        lock.exists() && matches!(FileLock::try_acquire(&lock), Ok(None))
    }

    /// The stored trial, if any.
    ///
    /// # Errors
    /// When it is not owned by root, or incomplete.
    pub fn load(&self) -> Result<Option<Trial>> {
        let Some(text) = files::read_root_owned(&self.manifest(), MAX_SIZE)? else { return Ok(None) };
        let Manifest { format, boot, began, deadline, backends, files } =
            serde_json::from_slice(&text).context("trial.json is invalid")?;
        ensure!(format == FORMAT, "trial.json has another format");
        let candidate = |(number, listed): (usize, StoredCandidate)| {
            let StoredCandidate { path, replaces, holds } = listed;
            let content = files::read_root_owned(&self.candidate(number), MAX_SIZE)?.unwrap_or_default();
            ensure!(Digest::of(&content) == holds, "the stored content of {path} has the wrong checksum");
            Ok(Candidate { path, replaces, content: content.into() })
        };
        let files = files.into_iter().enumerate().map(candidate).collect::<Result<_>>()?;
        Ok(Some(Trial { boot, began, deadline, backends, files }))
    }

    /// Stores a trial. The caller must hold the lock, and there must be no trial.
    ///
    /// # Errors
    /// When it cannot be written; nothing is stored then.
    pub fn begin(&self, trial: &Trial) -> Result<()> {
        self.clear().context("the files of an earlier trial cannot be removed")?;
        let written = self.write(trial);
        if written.is_err() {
            // free the space on a full file system
            let _ = self.clear();
        }
        written
    }

    fn write(&self, trial: &Trial) -> Result<()> {
        self.make_directory()?;
        let Trial { boot, began, deadline, backends, files } = trial;
        let mut listed = Vec::new();
        for (number, Candidate { path, replaces, content }) in files.iter().enumerate() {
            files::replace(&self.candidate(number), content, 0o600)?;
            listed.push(StoredCandidate { path: path.clone(), replaces: replaces.clone(), holds: Digest::of(content) });
        }
        let manifest = Manifest {
            format: FORMAT,
            boot: boot.clone(),
            began: *began,
            deadline: *deadline,
            backends: backends.clone(),
            files: listed,
        };
        let text = serde_json::to_vec_pretty(&manifest).context("cannot encode the trial")?;
        files::replace(&self.manifest(), &text, 0o600)
    }

    /// Marks the trial as confirmed: its files are written, and the deadline no longer applies.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn mark_confirmed(&self) -> Result<()> {
        files::replace(&self.mark(), b"", 0o600)
    }

    /// The state of the confirmation.
    #[must_use]
    pub fn confirmation(&self) -> Confirmation {
        if self.mark().exists() {
            Confirmation::Done
        } else if self.is_locked() {
            Confirmation::InProgress
        } else {
            Confirmation::None
        }
    }

    /// Records how a trial ended, unless that is recorded.
    pub fn record(&self, trial: &Trial, end: &TrialEnd) {
        if self.ended(trial).is_none() {
            let ended = Ended { began: trial.began, end: end.clone() };
            // on a full file system, how it ended is derived from the files of the configuration
            let _ = serde_json::to_vec(&ended).map(|text| files::replace(&self.record_file(), &text, 0o600));
        }
    }

    /// How a trial ended, if it was the last one.
    #[must_use]
    pub fn ended(&self, trial: &Trial) -> Option<TrialEnd> {
        let text = files::read_root_owned(&self.record_file(), MAX_SIZE).ok()??;
        let Ended { began, end } = serde_json::from_slice(&text).ok()?;
        (began == trial.began).then_some(end)
    }

    /// Removes a trial that has ended, unless another process is starting, confirming or reverting one; returns whether it was
    /// removed.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn remove(&self, trial: &Trial) -> Result<bool> {
        if !self.manifest().exists() {
            return Ok(true);
        }
        // a full file system has no room for a new lock file
        let Some(_lock) = FileLock::try_acquire(&self.directory.join(LOCK)).map_or(Some(None), |lock| lock.map(Some))
        else {
            return Ok(false);
        };
        // another one may have started meanwhile
        if self.load().ok().flatten().is_none_or(|stored| stored.began == trial.began) {
            self.clear()?;
        }
        Ok(true)
    }

    /// Removes the trial, if there is one, in any state.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn clear(&self) -> Result<()> {
        files::remove(&self.manifest())?;
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.with_context(|| format!("cannot read {}", self.directory.display()))?,
        };
        for entry in entries.flatten().filter(|entry| entry.file_name() != LOCK && entry.file_name() != ENDED) {
            files::remove(&entry.path())?;
        }
        Ok(())
    }

    /// A descriptor that is readable when a trial may have started or ended.
    ///
    /// # Errors
    /// When the directory cannot be created, or the kernel has no inotify instance left.
    pub fn watch(&self) -> Result<Watch> {
        self.make_directory()?;
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(&self.directory, flags)?;
        Ok(Watch(inotify))
    }

    fn make_directory(&self) -> Result<()> {
        let make = fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.directory);
        make.with_context(|| format!("cannot create {}", self.directory.display()))?;
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&self.directory, private)
            .with_context(|| format!("cannot close {}", self.directory.display()))
    }

    fn manifest(&self) -> PathBuf {
        self.directory.join(MANIFEST)
    }

    fn record_file(&self) -> PathBuf {
        self.directory.join(ENDED)
    }

    fn mark(&self) -> PathBuf {
        self.directory.join(MARK)
    }

    fn candidate(&self, number: usize) -> PathBuf {
        self.directory.join(number.to_string())
    }
}

/// Reports when a trial may have begun or ended.
#[derive(Debug)]
pub struct Watch(Inotify);

impl Watch {
    /// Whether there was an event since the last call; never blocks.
    #[must_use]
    pub fn has_event(&self) -> bool {
        let of_trial = |name: &OsString| name == MANIFEST || name == MARK;
        let mut found = false;
        while let Ok(events) = self.0.read_events() {
            // an event without a name is for the directory, or an overflow
            found |= events.iter().any(|event| event.name.as_ref().is_none_or(of_trial));
        }
        found
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{TrialEnd, TrialState};
    use super::*;
    use crate::inputs::Tree;
    use std::os::unix::fs::MetadataExt;

    fn trial(content: &str) -> Trial {
        let clock = TrialStore::clock().unwrap();
        let candidate = |path: &str, content: &str| Candidate {
            path: path.into(),
            replaces: Digest::of(b""),
            content: content.as_bytes().into(),
        };
        let files = vec![candidate("firewall/cluster.fw", content), candidate("firewall/100.fw", "")];
        let deadline = clock.now + 60_000_000_000;
        Trial { boot: clock.boot, began: clock.now, deadline, backends: BackendKind::ALL.to_vec(), files }
    }

    fn store() -> (tempfile::TempDir, TrialStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = TrialStore::new(&Root::new(Some(dir.path().into())));
        (dir, store)
    }

    #[test]
    fn a_trial_is_stored_until_it_is_cleared() {
        let (_dir, store) = store();
        assert_eq!(store.load().unwrap(), None);
        let trial = trial(
            "[OPTIONS]
enable: 1
",
        );
        store.begin(&trial).unwrap();
        assert_eq!(store.load().unwrap(), Some(trial.clone()));
        assert_eq!(fs::metadata(&store.directory).unwrap().mode() & 0o777, 0o700);
        assert_eq!(
            trial.state(&Tree::default(), &TrialStore::clock().unwrap(), || Confirmation::None),
            TrialState::Runs
        );
        store.mark_confirmed().unwrap();
        assert_eq!(store.confirmation(), Confirmation::Done);
        store.clear().unwrap();
        assert_eq!((store.load().unwrap(), store.confirmation()), (None, Confirmation::None));
        store.clear().unwrap();
    }

    #[test]
    fn a_partially_written_trial_is_ignored() {
        let (_dir, store) = store();
        store.begin(&trial("one")).unwrap();
        // as after a kill before the manifest was written, and in the middle of a clearing
        fs::remove_file(store.manifest()).unwrap();
        assert_eq!(store.load().unwrap(), None);
        let second = trial("two");
        store.begin(&second).unwrap();
        assert_eq!(store.load().unwrap(), Some(second));
    }

    #[test]
    fn an_incomplete_or_foreign_trial_is_refused() {
        let (_dir, store) = store();
        store.begin(&trial("one")).unwrap();
        fs::write(store.candidate(0), "other").unwrap();
        assert!(store.load().unwrap_err().to_string().contains("firewall/cluster.fw"));
        fs::remove_file(store.candidate(0)).unwrap();
        store.load().unwrap_err();
        fs::write(store.manifest(), "{").unwrap();
        store.load().unwrap_err();
        store.begin(&trial("one")).unwrap();
        fs::set_permissions(store.manifest(), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(store.load().unwrap_err().to_string().contains("users other than root"));
    }

    #[test]
    fn the_watch_reports_trials_only() {
        let (_dir, store) = store();
        let watch = store.watch().unwrap();
        assert!(!watch.has_event());
        let lock = store.lock(Duration::ZERO).unwrap();
        assert_eq!((store.confirmation(), watch.has_event()), (Confirmation::InProgress, false));
        drop(lock);
        assert_eq!(store.confirmation(), Confirmation::None);
        store.begin(&trial("one")).unwrap();
        assert!(watch.has_event() && !watch.has_event());
        store.mark_confirmed().unwrap();
        assert!(watch.has_event());
        store.clear().unwrap();
        assert!(watch.has_event() && !watch.has_event());
    }

    #[test]
    fn the_first_recorded_end_of_a_trial_counts() {
        for end in [TrialEnd::Confirmed, TrialEnd::Changed("firewall/100.fw".into())] {
            let (_dir, store) = store();
            let (first, second) = (trial("one"), trial("two"));
            store.begin(&first).unwrap();
            store.record(&first, &end);
            store.record(&first, &TrialEnd::Reverted);
            assert!(store.remove(&first).unwrap());
            assert_eq!((store.load().unwrap(), store.ended(&first)), (None, Some(end)));
            store.begin(&second).unwrap();
            assert_eq!(store.ended(&second), None);
            // a late end of the first one does not end the second one
            assert!(store.remove(&first).unwrap());
            assert_eq!(store.load().unwrap(), Some(second.clone()));
            // nor while a command holds the lock
            let lock = store.lock(Duration::ZERO).unwrap();
            assert!(!store.remove(&second).unwrap());
            drop(lock);
            assert!(store.remove(&second).unwrap());
            assert_eq!(store.load().unwrap(), None);
        }
    }
}

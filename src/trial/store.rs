//! The folder of the trial under way, `/run/pve-firewall/trial/`.
//!
//! It holds the candidates under their numbers, and `trial.json`, which is written last and removed first: a trial is there
//! if that file is. A process that is killed in between leaves files that mean nothing. The folder itself stays, so that the
//! daemon can watch it.
use super::model::{Candidate, Clock, Confirmation, Digest, Trial};
use crate::system::lock::FileLock;
use crate::system::root::Root;
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
/// No configuration file that the reader takes is larger, in bytes.
const LARGEST: u64 = 64 << 20;

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
    files: Vec<Listed>,
}

/// A candidate; its content is in the file of its number.
#[derive(Serialize, Deserialize)]
struct Listed {
    path: String,
    replaces: Digest,
    holds: Digest,
}

/// Where the trial is kept.
#[derive(Clone, Debug)]
pub struct TrialStore {
    folder: PathBuf,
}

impl TrialStore {
    /// The store of a node with this root of paths.
    #[must_use]
    pub fn new(root: &Root) -> Self {
        TrialStore { folder: root.path(crate::paths::TRIAL) }
    }

    /// This moment.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn clock() -> Result<Clock> {
        Ok(Clock { boot: clock::boot_id()?, now: clock::since_boot()? })
    }

    /// Keeps others from beginning, confirming and taking back a trial.
    ///
    /// # Errors
    /// When another process does so all the time, or the lock file cannot be opened.
    pub fn lock(&self, patience: Duration) -> Result<FileLock> {
        self.make_folder()?;
        FileLock::acquire(&self.folder.join(LOCK), patience)
    }

    fn is_locked(&self) -> bool {
        // what cannot be asked is not known to be locked
        let lock = self.folder.join(LOCK);
        lock.exists() && matches!(FileLock::try_acquire(&lock), Ok(None))
    }

    /// The trial that is kept; `None` if there is none.
    ///
    /// # Errors
    /// When it is not certainly root's own, or not whole.
    pub fn load(&self) -> Result<Option<Trial>> {
        let Some(text) = files::read_root_owned(&self.manifest(), LARGEST)? else { return Ok(None) };
        let Manifest { format, boot, began, deadline, files } =
            serde_json::from_slice(&text).context("trial.json is not understood")?;
        ensure!(format == FORMAT, "trial.json is of another format");
        let candidate = |(number, listed): (usize, Listed)| {
            let Listed { path, replaces, holds } = listed;
            let content = files::read_root_owned(&self.candidate(number), LARGEST)?.unwrap_or_default();
            ensure!(Digest::of(&content) == holds, "the content of {path} is not the one that was handed over");
            Ok(Candidate { path, replaces, content: content.into() })
        };
        let files = files.into_iter().enumerate().map(candidate).collect::<Result<_>>()?;
        Ok(Some(Trial { boot, began, deadline, files }))
    }

    /// Keeps a trial; to be called with the lock, and where there is none.
    ///
    /// # Errors
    /// When it cannot be written; then there is none.
    pub fn begin(&self, trial: &Trial) -> Result<()> {
        self.clear().context("what an earlier trial left cannot be removed")?;
        let written = self.write(trial);
        if written.is_err() {
            // a full file system has room again for others
            let _ = self.clear();
        }
        written
    }

    fn write(&self, trial: &Trial) -> Result<()> {
        self.make_folder()?;
        let Trial { boot, began, deadline, files } = trial;
        let mut listed = Vec::new();
        for (number, Candidate { path, replaces, content }) in files.iter().enumerate() {
            files::replace(&self.candidate(number), content, 0o600)?;
            listed.push(Listed { path: path.clone(), replaces: replaces.clone(), holds: Digest::of(content) });
        }
        let manifest =
            Manifest { format: FORMAT, boot: boot.clone(), began: *began, deadline: *deadline, files: listed };
        let text = serde_json::to_vec_pretty(&manifest).context("cannot encode the trial")?;
        files::replace(&self.manifest(), &text, 0o600)
    }

    /// Marks the trial as confirmed: its files are in their places, and the deadline counts no more.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn mark_confirmed(&self) -> Result<()> {
        files::replace(&self.mark(), b"", 0o600)
    }

    /// How far a confirmation is.
    #[must_use]
    pub fn confirmation(&self) -> Confirmation {
        if self.mark().exists() {
            Confirmation::Done
        } else if self.is_locked() {
            Confirmation::UnderWay
        } else {
            Confirmation::None
        }
    }

    /// Ends the trial, if there is one.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn clear(&self) -> Result<()> {
        files::remove(&self.manifest())?;
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.with_context(|| format!("cannot read {}", self.folder.display()))?,
        };
        for entry in entries.flatten().filter(|entry| entry.file_name() != LOCK) {
            files::remove(&entry.path())?;
        }
        Ok(())
    }

    /// A descriptor that is readable when a trial may have begun or ended.
    ///
    /// # Errors
    /// When the folder cannot be made, or the kernel has no more descriptors of the kind.
    pub fn watch(&self) -> Result<Watch> {
        self.make_folder()?;
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(&self.folder, flags)?;
        Ok(Watch(inotify))
    }

    fn make_folder(&self) -> Result<()> {
        let make = fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.folder);
        make.with_context(|| format!("cannot make {}", self.folder.display()))?;
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&self.folder, private).with_context(|| format!("cannot close {}", self.folder.display()))
    }

    fn manifest(&self) -> PathBuf {
        self.folder.join(MANIFEST)
    }

    fn mark(&self) -> PathBuf {
        self.folder.join(MARK)
    }

    fn candidate(&self, number: usize) -> PathBuf {
        self.folder.join(number.to_string())
    }
}

/// Says when a trial may have begun or ended.
#[derive(Debug)]
pub struct Watch(Inotify);

impl Watch {
    /// Whether something has happened since the last call; never waits.
    #[must_use]
    pub fn moved(&self) -> bool {
        let of_trial = |name: &OsString| name == MANIFEST || name == MARK;
        let mut moved = false;
        while let Ok(events) = self.0.read_events() {
            // an event without a name is about the folder, or tells of others that were dropped
            moved |= events.iter().any(|event| event.name.as_ref().is_none_or(of_trial));
        }
        moved
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{End, Standing};
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
        Trial { boot: clock.boot, began: clock.now, deadline: clock.now + 60_000_000_000, files }
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
        assert_eq!(fs::metadata(&store.folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(
            trial.standing(&Tree::default(), &TrialStore::clock().unwrap(), || Confirmation::None),
            Standing::Runs
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
        assert!(!watch.moved());
        let lock = store.lock(Duration::ZERO).unwrap();
        assert_eq!((store.confirmation(), watch.moved()), (Confirmation::UnderWay, false));
        drop(lock);
        assert_eq!(store.confirmation(), Confirmation::None);
        store.begin(&trial("one")).unwrap();
        assert!(watch.moved() && !watch.moved());
        store.mark_confirmed().unwrap();
        assert!(watch.moved());
        store.clear().unwrap();
        assert!(watch.moved() && !watch.moved());
    }

    #[test]
    fn the_end_of_a_trial_is_stored_and_loaded() {
        for end in [End::Confirmed, End::Changed("firewall/100.fw".into())] {
            let text = serde_json::to_string(&end).unwrap();
            assert_eq!(serde_json::from_str::<End>(&text).unwrap(), end);
        }
    }
}

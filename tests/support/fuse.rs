//! A small FUSE file system in place of pmxcfs that fails on demand. Needs root and `/dev/fuse`.
#![allow(dead_code, reason = "each test program uses a part")]
use crate::wait::until;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, Request,
};
use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// The files and the injected failures.
#[derive(Default)]
pub struct State {
    /// The files by their path below the root.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files that fail on read.
    pub broken: BTreeSet<String>,
    /// Files that fail on open.
    pub forbidden: BTreeSet<String>,
    /// How many lookups of a file fail with ENOENT before one succeeds, as during renames.
    pub misses: u32,
    missed: BTreeMap<String, u32>,
    /// Whether all requests hang.
    hanging: bool,
    numbers: BTreeMap<String, INodeNo>,
    paths: Vec<String>,
}

impl State {
    fn number(&mut self, path: &str) -> INodeNo {
        if let Some(known) = self.numbers.get(path) {
            return *known;
        }
        self.paths.push(path.to_string());
        let number = INodeNo(self.paths.len() as u64);
        self.numbers.insert(path.to_string(), number);
        number
    }

    fn path(&self, number: INodeNo) -> String {
        self.paths[usize::try_from(number.0 - 1).unwrap()].clone()
    }

    fn is_folder(&self, path: &str) -> bool {
        let below = format!("{path}/");
        path.is_empty() || self.files.range(below.clone()..).next().is_some_and(|(file, _)| file.starts_with(&below))
    }

    fn attributes(&mut self, path: &str) -> Option<FileAttr> {
        let kind = match self.is_folder(path) {
            true => FileType::Directory,
            false => FileType::RegularFile,
        };
        let size = match kind {
            FileType::Directory => 0,
            _ => self.files.get(path)?.len() as u64,
        };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Some(FileAttr {
            ino: self.number(path),
            size,
            blocks: 1,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// Whether this lookup has to fail.
    fn misses(&mut self, path: &str) -> bool {
        let missed = self.missed.entry(path.to_string()).or_default();
        *missed = (*missed + 1) % (self.misses + 1);
        *missed != 0
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<(Mutex<State>, Condvar)>);

impl Shared {
    /// Waits while requests hang, then returns the state.
    fn answering(&self) -> MutexGuard<'_, State> {
        let (state, released) = &*self.0;
        released.wait_while(state.lock().unwrap(), |state| state.hanging).unwrap()
    }
}

fn child(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") }
}

impl Filesystem for Shared {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.answering();
        let path = child(&state.path(parent), name.to_str().unwrap());
        if state.files.contains_key(&path) && state.misses(&path) {
            return reply.error(Errno::ENOENT);
        }
        match state.attributes(&path) {
            Some(attributes) => reply.entry(&Duration::ZERO, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let mut state = self.answering();
        let path = state.path(number);
        match state.attributes(&path) {
            Some(attributes) => reply.attr(&Duration::ZERO, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let state = self.answering();
        match state.forbidden.contains(&state.path(number)) {
            true => reply.error(Errno::EACCES),
            false => reply.opened(FileHandle(0), FopenFlags::empty()),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.answering();
        let path = state.path(number);
        match state.files.get(&path) {
            Some(_) if state.broken.contains(&path) => reply.error(Errno::EIO),
            Some(content) => {
                let from = content.len().min(usize::try_from(offset).unwrap());
                let to = content.len().min(from + usize::try_from(size).unwrap());
                reply.data(&content[from..to]);
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut state = self.answering();
        let folder = state.path(number);
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let rests = state.files.keys().filter_map(|file| file.strip_prefix(&prefix));
        let names: BTreeSet<String> = rests.map(|rest| rest.split('/').next().unwrap().to_string()).collect();
        for (index, name) in names.iter().enumerate().skip(usize::try_from(offset).unwrap()) {
            let path = child(&folder, name);
            let kind = if state.is_folder(&path) { FileType::Directory } else { FileType::RegularFile };
            if reply.add(state.number(&path), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

/// A mounted file system; unmounted when dropped.
pub struct Fuse {
    shared: Shared,
    session: Option<BackgroundSession>,
    mounted_at: PathBuf,
    /// Writing to it aborts the connection. Opened at mount time, because its path can belong to another mount later.
    abort: File,
}

impl Fuse {
    /// Mounts a file system with these files.
    pub fn mount(at: &Path, files: &[(&str, &str)]) -> Self {
        let shared = Shared::default();
        {
            let mut state = shared.answering();
            assert_eq!(state.number(""), INodeNo::ROOT);
            state.files = files.iter().map(|(path, text)| ((*path).to_string(), text.as_bytes().to_vec())).collect();
        }
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("pmxcfs-test".into())];
        // uses mount(2): needs root and /dev/fuse
        let session = fuser::spawn_mount(shared.clone(), at, &config).expect("mounting (needs root and /dev/fuse)");
        let abort = open_abort(std::fs::metadata(at).unwrap().dev());
        Fuse { shared, session: Some(session), mounted_at: at.to_path_buf(), abort }
    }

    /// Changes files or injected failures.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.0.0.lock().unwrap());
    }

    /// Makes all requests hang, or resumes them.
    pub fn hang(&self, hanging: bool) {
        self.change(|state| state.hanging = hanging);
        self.shared.0.1.notify_all();
    }

    /// Aborts the connection, as if its process were killed: it stays mounted, and every access fails.
    pub fn kill(&self) {
        (&self.abort).write_all(b"1").expect("aborting the connection");
    }

    /// Unmounts it with umount(2), which fails if a file is open.
    pub fn unmount(mut self) {
        umount(&self.mounted_at).expect("unmounting");
        self.kill();
        let session = self.session.take().unwrap();
        until("the end of the FUSE session", || session.guard.is_finished().then_some(()));
        session.join().expect("ending the session");
    }
}

/// Opens the file that aborts the connection of this device.
fn open_abort(device: u64) -> File {
    let control = Path::new("/sys/fs/fuse/connections");
    if std::fs::read_dir(control).unwrap().next().is_none() {
        mount(Some("fusectl"), control, Some("fusectl"), MsFlags::empty(), None::<&str>).expect("mounting fusectl");
    }
    File::options().write(true).open(control.join(format!("{device}/abort"))).expect("the connection's abort file")
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.hang(false);
        if let Some(session) = self.session.take() {
            // what another mount namespace has of it fails from now on, instead of waiting for answers
            let _ = (&self.abort).write_all(b"1");
            let _ = umount2(&self.mounted_at, MntFlags::MNT_DETACH);
            drop(session);
        }
    }
}

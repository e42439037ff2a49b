//! A small FUSE file system in place of pmxcfs, with its faults on demand. Needs root and `/dev/fuse`.
//!
//! As pmxcfs: the kernel keeps attributes and names for a second, and reads of an open file go past its cache; files have
//! the time of their writer's clock in whole seconds, as mtime and as ctime; those whose names begin with a dot have none.
//! What another node writes raises no event. With a log, each change is written to it first.
#![allow(dead_code, clippy::disallowed_methods, reason = "each test program uses a part; tests do I/O")]
#[path = "cluster_log.rs"]
mod cluster_log;

use crate::wait::until;
use cluster_log::ClusterLog;
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
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
    /// When files were modified, by the clock of their writer, in seconds since 1970.
    times: BTreeMap<String, u64>,
    /// Where changes are logged.
    log: Option<ClusterLog>,
    /// How many requests were answered.
    pub requests: u64,
    /// How often each file was opened.
    pub opened: BTreeMap<String, u64>,
}

/// How long the kernel keeps attributes and names.
const KEPT: Duration = Duration::from_secs(1);
/// The time of files that are there from the beginning, in seconds since 1970.
const BEGINNING: u64 = 1_700_000_000;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

impl State {
    /// Writes a file in place, as a process of another node does in one call. Its clock goes right.
    pub fn put(&mut self, path: &str, content: &str) {
        self.put_at(path, content, now());
    }

    /// The same with a clock that shows this time.
    pub fn put_at(&mut self, path: &str, content: &str, time: u64) {
        self.log(|log| log.written(path));
        self.files.insert(path.to_string(), content.as_bytes().to_vec());
        self.times.insert(path.to_string(), time);
    }

    /// Replaces a file as PVE's programs on another node do: a new file is renamed to its name.
    pub fn replace(&mut self, path: &str, content: &str) {
        let new = format!("{path}.tmp.4711");
        self.log(|log| log.written(&new));
        self.log(|log| log.written(&new));
        self.log(|log| log.renamed(&new, path));
        self.files.insert(path.to_string(), content.as_bytes().to_vec());
        self.times.insert(path.to_string(), now());
    }

    /// Moves a guest's file from a node to another, and changes the list of guests, as a migration does.
    pub fn migrate(&mut self, from: &str, to: &str, vmlist: &str) {
        self.log(|log| log.renamed(from, to));
        let content = self.files.remove(from).expect("the guest's file");
        self.files.insert(to.to_string(), content);
        self.files.insert(".vmlist".to_string(), vmlist.as_bytes().to_vec());
    }

    /// Removes a file, as another node does.
    pub fn remove(&mut self, path: &str) {
        self.log(|log| log.removed(path));
        self.files.remove(path);
    }

    fn log(&mut self, change: impl FnOnce(&mut ClusterLog)) {
        if let Some(log) = &mut self.log {
            change(log);
        }
    }

    /// From now on nothing is written to the log.
    pub fn silence(&mut self) {
        self.log = None;
    }

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
        let made_up = path.starts_with('.');
        let time = if made_up { 0 } else { self.times.get(path).copied().unwrap_or(BEGINNING) };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
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
        let mut state = released.wait_while(state.lock().unwrap(), |state| state.hanging).unwrap();
        state.requests += 1;
        state
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
            Some(attributes) => reply.entry(&KEPT, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let mut state = self.answering();
        let path = state.path(number);
        match state.attributes(&path) {
            Some(attributes) => reply.attr(&KEPT, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut state = self.answering();
        let path = state.path(number);
        *state.opened.entry(path.clone()).or_default() += 1;
        match state.forbidden.contains(&path) {
            true => reply.error(Errno::EACCES),
            false => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
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

    /// Truncates; other changes of attributes are granted and forgotten, but for the time.
    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.answering();
        let path = state.path(number);
        state.log(|log| log.written(&path));
        if let (Some(size), Some(content)) = (size, state.files.get_mut(&path)) {
            content.resize(usize::try_from(size).unwrap(), 0);
            state.times.insert(path.clone(), now());
        }
        if let Some(TimeOrNow::SpecificTime(time)) = modified {
            state.times.insert(path.clone(), time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        }
        match state.attributes(&path) {
            Some(attributes) => reply.attr(&KEPT, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut state = self.answering();
        let path = child(&state.path(parent), name.to_str().unwrap());
        state.put(&path, "");
        let attributes = state.attributes(&path).unwrap();
        reply.created(&KEPT, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.answering();
        let path = state.path(number);
        state.log(|log| log.written(&path));
        let content = state.files.entry(path.clone()).or_default();
        let from = usize::try_from(offset).unwrap();
        content.resize(content.len().max(from + data.len()), 0);
        content[from..from + data.len()].copy_from_slice(data);
        state.times.insert(path, now());
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.answering();
        let from = child(&state.path(parent), name.to_str().unwrap());
        let to = child(&state.path(new_parent), new_name.to_str().unwrap());
        let Some(content) = state.files.remove(&from) else { return reply.error(Errno::ENOENT) };
        state.log(|log| log.renamed(&from, &to));
        state.files.insert(to.clone(), content);
        if let Some(time) = state.times.remove(&from) {
            state.times.insert(to.clone(), time);
        }
        let number = state.number(&from);
        state.numbers.remove(&from);
        state.paths[usize::try_from(number.0 - 1).unwrap()].clone_from(&to);
        state.numbers.insert(to, number);
        reply.ok();
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.answering();
        let path = child(&state.path(parent), name.to_str().unwrap());
        state.remove(&path);
        reply.ok();
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
    /// The threads that answer its requests.
    threads: BTreeSet<OsString>,
}

impl Fuse {
    /// Mounts one that holds these files, and leaves no log.
    pub fn mount(at: &Path, files: &[(&str, &str)]) -> Self {
        Self::mount_with(at, files, None)
    }

    /// Mounts one that holds these files, with its log in a folder.
    pub fn mount_logged(at: &Path, files: &[(&str, &str)], log: &Path) -> Self {
        Self::mount_with(at, files, Some(ClusterLog::new(log)))
    }

    fn mount_with(at: &Path, files: &[(&str, &str)], log: Option<ClusterLog>) -> Self {
        let shared = Shared::default();
        {
            let mut state = shared.answering();
            assert_eq!(state.number(""), INodeNo::ROOT);
            state.files = files.iter().map(|(path, text)| ((*path).to_string(), text.as_bytes().to_vec())).collect();
            state.log = log;
        }
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("pmxcfs-test".into())];
        let before = threads();
        // the way of mount(2): needs root and /dev/fuse
        let session = fuser::spawn_mount(shared.clone(), at, &config).expect("mounting (needs root and /dev/fuse)");
        let threads = &threads() - &before;
        let abort = open_abort(std::fs::metadata(at).unwrap().dev());
        Fuse { shared, session: Some(session), mounted_at: at.to_path_buf(), abort, threads }
    }

    /// The processor time of its threads so far.
    pub fn cpu(&self) -> Duration {
        let nanoseconds = |thread: &OsString| {
            let stat = std::fs::read_to_string(Path::new("/proc/self/task").join(thread).join("schedstat"));
            stat.unwrap().split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        Duration::from_nanos(self.threads.iter().map(nanoseconds).sum())
    }

    /// How many requests it has answered.
    pub fn requests(&self) -> u64 {
        self.shared.0.0.lock().unwrap().requests
    }

    /// How often a file was opened.
    pub fn opened(&self, path: &str) -> u64 {
        self.shared.0.0.lock().unwrap().opened.get(path).copied().unwrap_or_default()
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

/// The threads of this process.
fn threads() -> BTreeSet<OsString> {
    std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|entry| entry.file_name()).collect()
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

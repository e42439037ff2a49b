//! A small FUSE file system that replaces pmxcfs, with injected failures. Needs root and `/dev/fuse`.
//!
//! As with pmxcfs, the kernel caches attributes and names for a second, but no content. The mtime and ctime of a file are whole
//! seconds of its writer's clock; files whose names begin with a dot have neither. Writes of other nodes cause no inotify
//! events. If there is a log, each change is written to it first.
#![allow(dead_code, clippy::disallowed_methods, reason = "each test program uses a part; tests do I/O")]
#[path = "fuse_files.rs"]
mod files;

pub use files::State;

use crate::wait::wait_for;
use files::{CACHE_TIME, ClusterLog, now};
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

#[derive(Clone, Default)]
struct SharedState(Arc<(Mutex<State>, Condvar)>);

impl SharedState {
    /// Waits until requests do not hang, then returns the state.
    fn lock_when_answering(&self) -> MutexGuard<'_, State> {
        let (state, released) = &*self.0;
        let mut state = released.wait_while(state.lock().unwrap(), |state| state.hanging).unwrap();
        state.requests += 1;
        state
    }
}

fn child(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_string() } else { format!("{directory}/{name}") }
}

impl Filesystem for SharedState {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.lock_when_answering();
        let path = child(&state.path(parent), name.to_str().unwrap());
        if state.files.contains_key(&path) && state.fails_lookup(&path) {
            return reply.error(Errno::ENOENT);
        }
        match state.attributes(&path) {
            Some(attributes) => reply.entry(&CACHE_TIME, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let mut state = self.lock_when_answering();
        let path = state.path(number);
        match state.attributes(&path) {
            Some(attributes) => reply.attr(&CACHE_TIME, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut state = self.lock_when_answering();
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
        let state = self.lock_when_answering();
        let path = state.path(number);
        match state.files.get(&path) {
            Some(_) if state.unreadable.contains(&path) => reply.error(Errno::EIO),
            Some(content) => {
                let from = content.len().min(usize::try_from(offset).unwrap());
                let to = content.len().min(from + usize::try_from(size).unwrap());
                reply.data(&content[from..to]);
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Truncates and sets the time; other changes of attributes succeed without effect.
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
        let mut state = self.lock_when_answering();
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
            Some(attributes) => reply.attr(&CACHE_TIME, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut state = self.lock_when_answering();
        let path = child(&state.path(parent), name.to_str().unwrap());
        state.put(&path, "");
        let attributes = state.attributes(&path).unwrap();
        reply.created(&CACHE_TIME, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
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
        let mut state = self.lock_when_answering();
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
        let mut state = self.lock_when_answering();
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
        let mut state = self.lock_when_answering();
        let path = child(&state.path(parent), name.to_str().unwrap());
        state.remove(&path);
        reply.ok();
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut state = self.lock_when_answering();
        let directory = state.path(number);
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let rests = state.files.keys().filter_map(|file| file.strip_prefix(&prefix));
        let names: BTreeSet<String> = rests.map(|rest| rest.split('/').next().unwrap().to_string()).collect();
        for (index, name) in names.iter().enumerate().skip(usize::try_from(offset).unwrap()) {
            let path = child(&directory, name);
            let kind = if state.is_directory(&path) { FileType::Directory } else { FileType::RegularFile };
            if reply.add(state.number(&path), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

/// A mounted file system; unmounted when dropped.
pub struct Fuse {
    shared: SharedState,
    session: Option<BackgroundSession>,
    mounted_at: PathBuf,
    /// Writing to it aborts the connection. Opened at mount time, because its path can belong to another mount later.
    abort: File,
    /// The threads that answer its requests.
    threads: BTreeSet<OsString>,
}

impl Fuse {
    /// Mounts one with these files and without a log.
    pub fn mount(at: &Path, files: &[(&str, &str)]) -> Self {
        Self::mount_with(at, files, None)
    }

    /// Mounts one with these files, and its log in a directory.
    pub fn mount_logged(at: &Path, files: &[(&str, &str)], log: &Path) -> Self {
        Self::mount_with(at, files, Some(ClusterLog::new(log)))
    }

    fn mount_with(at: &Path, files: &[(&str, &str)], log: Option<ClusterLog>) -> Self {
        let shared = SharedState::default();
        {
            let mut state = shared.lock_when_answering();
            assert_eq!(state.number(""), INodeNo::ROOT);
            state.files = files.iter().map(|(path, text)| ((*path).to_string(), text.as_bytes().to_vec())).collect();
            state.log = log;
        }
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("pmxcfs-test".into())];
        let before = threads();
        // mount(2) instead of fusermount: needs root and /dev/fuse
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
        wait_for("the end of the FUSE session", || session.guard.is_finished().then_some(()));
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
            // accesses to copies of the mount in other namespaces fail from now on, instead of waiting for a reply
            let _ = (&self.abort).write_all(b"1");
            let _ = umount2(&self.mounted_at, MntFlags::MNT_DETACH);
            drop(session);
        }
    }
}

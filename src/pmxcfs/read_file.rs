//! Reads one file.
use super::snapshot::{FileResult, FileState, TreeState, Writing};
use super::tree_listing::EntryKind;
use crate::inputs::Content;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::path::Arg;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The maximum size of a file in pmxcfs, and of a file that is read, in bytes.
const MAX_SIZE: u64 = 1 << 20;
/// The size of the read buffer in bytes: most files need a single read(2).
const BUFFER: usize = 8 << 10;
/// A file that has not changed for this long is not being written. Times on pmxcfs have a resolution of one second: two
/// writes within a second may show the same `stat`.
const UNMODIFIED_FOR: Duration = Duration::from_secs(3);

/// The relevant fields of stat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stat {
    device: u64,
    inode: u64,
    mode: u32,
    size: u64,
    /// Modification time, in seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// Change time, in seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl From<Metadata> for Stat {
    fn from(meta: Metadata) -> Self {
        Stat {
            device: meta.dev(),
            inode: meta.ino(),
            mode: meta.mode(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Stat {
    /// The `stat` of the file with this path.
    pub fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(Stat::from)
    }

    /// Whether the file has not been modified recently.
    pub fn is_unmodified(&self) -> bool {
        is_past(self.changed)
    }

    /// Only regular files are opened: opening a device can have side effects, and a pipe can block.
    fn require_file(&self) -> io::Result<()> {
        let is_file = self.mode & libc::S_IFMT == libc::S_IFREG;
        if is_file { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
    }
}

/// Whether a time is long enough ago. False for a time in the future.
fn is_past((seconds, nanoseconds): (i64, i64)) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else { return true };
    let time = UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
    let age = time.and_then(|time| SystemTime::now().duration_since(time).ok());
    age.is_some_and(|age| age >= UNMODIFIED_FOR)
}

/// The result of the last read of a file.
#[derive(Clone, Debug)]
pub(super) struct KnownFile {
    /// Its `stat` at that time.
    stat: Stat,
    content: Content,
    /// Since when reads have returned the same, on a monotonic clock.
    since: Instant,
    /// Whether it had not been modified recently, so that an equal `stat` means equal content.
    stat_is_reliable: bool,
}

impl KnownFile {
    /// Whether an equal `stat` means equal content.
    pub fn stat_is_reliable(&self) -> bool {
        self.stat_is_reliable
    }

    /// Whether it has changed recently, so that it is read again in any case.
    pub fn is_fresh(&self) -> bool {
        self.since.elapsed() < UNMODIFIED_FOR
    }

    /// Its `stat` when it was read.
    pub fn stat(&self) -> Stat {
        self.stat
    }
}

/// When the last read of a file is used instead of reading it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// Never: its content is read.
    Never,
    /// If its `stat` is the same.
    SameStat,
    /// If its `stat` is the same, queried from the file system: the kernel caches the `stat` of FUSE files for a second.
    SameFreshStat,
}

/// The result of reading a file.
pub(super) struct ReadResult {
    /// Its `stat`, or the errno.
    pub stat: Result<Stat, Option<i32>>,
    /// `None` on ENOENT.
    pub state: Option<FileState>,
    /// The data for the next read.
    pub known: Option<KnownFile>,
}

/// Reads a file, unless it was unmodified for some time at the last read (`known`) and its `stat` is the same. `entry` is its
/// kind in the listing of its directory.
pub(super) fn read_file(
    path: &Path,
    place: &TreeState,
    entry: EntryKind,
    known: Option<&KnownFile>,
    reuse: Reuse,
) -> ReadResult {
    let same = |known: &&KnownFile| match reuse {
        Reuse::Never => false,
        Reuse::SameStat => Stat::of(path).is_ok_and(|now| now == known.stat),
        Reuse::SameFreshStat => fresh(path).is_ok_and(|now| now == known.stat),
    };
    if let Some(known) = known.filter(|known| known.stat_is_reliable).filter(same) {
        let writing = if place.watched { Writing::Unmodified } else { Writing::Unknown };
        let state = FileState { result: FileResult::Content(known.content.clone()), writing };
        return ReadResult { stat: Ok(known.stat), state: Some(state), known: Some(known.clone()) };
    }
    // a file that is listed as a regular file is opened at once; if that fails, the second attempt determines the reason
    if place.watched
        && entry == EntryKind::File
        && let Ok((content, stat)) = open(path).and_then(|file| read(file, place))
    {
        return ReadResult::of_content(Ok(stat), content, stat, place, known);
    }
    let (stat, file) = if place.watched { stat_and_open(path) } else { resolve_once_and_open(path) };
    match file.and_then(|file| read(file, place)) {
        Ok((content, after)) => {
            // the first `stat` comes from the file system, the second may be one second old
            let after = stat.ok().filter(|_| !place.watched).unwrap_or(after);
            ReadResult::of_content(stat, content, after, place, known)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => ReadResult { stat, state: None, known: None },
        Err(error) => {
            let state = FileState::without_content(FileResult::Failed(error.to_string()));
            ReadResult { stat, state: Some(state), known: None }
        }
    }
}

impl ReadResult {
    /// `now` is the `stat` of the content.
    fn of_content(
        stat: Result<Stat, Option<i32>>,
        content: Content,
        now: Stat,
        place: &TreeState,
        known: Option<&KnownFile>,
    ) -> Self {
        let complete = now.size == content.len() as u64;
        let same = known.filter(|known| known.stat == now && known.content == content);
        let since = same.map_or_else(Instant::now, |known| known.since);
        let (writing, stat_is_reliable) = if place.watched {
            let stat_is_reliable =
                complete && is_past(now.modified) && now.is_unmodified() && now.device == place.device;
            (if complete && is_past(now.modified) { Writing::Unmodified } else { Writing::Unknown }, stat_is_reliable)
        } else {
            // its times come from another node's clock
            (Writing::Unknown, complete && same.is_some() && since.elapsed() >= UNMODIFIED_FOR)
        };
        let state = FileState { result: FileResult::Content(content.clone()), writing };
        ReadResult { stat, state: Some(state), known: Some(KnownFile { stat: now, content, since, stat_is_reliable }) }
    }
}

type Opened = (Result<Stat, Option<i32>>, io::Result<File>);

fn stat_and_open(path: &Path) -> Opened {
    let stat = Stat::of(path);
    let shown = stat.as_ref().map(|stat| *stat).map_err(io::Error::raw_os_error);
    (shown, stat.and_then(|stat| stat.require_file()).and_then(|()| open(path)))
}

/// Looks up the name only once, because each lookup may fail while the file is replaced by a rename. Queries the file system
/// for `stat`: otherwise the kernel would truncate a file that has grown to the cached size.
fn resolve_once_and_open(path: &Path) -> Opened {
    let handle = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    let handle = handle.and_then(|handle| Ok((statx(&handle, c"", AtFlags::EMPTY_PATH)?, handle)));
    let stat = handle.as_ref().map(|(stat, _)| *stat).map_err(io::Error::raw_os_error);
    let file = handle.and_then(|(stat, handle)| {
        stat.require_file()?;
        open(format!("/proc/self/fd/{}", handle.as_raw_fd()).as_ref())
    });
    (stat, file)
}

/// The `stat` from the file system, not from the kernel's cache.
fn fresh(path: &Path) -> io::Result<Stat> {
    statx(CWD, path, AtFlags::empty())
}

fn statx(at: impl AsFd, path: impl Arg, flags: AtFlags) -> io::Result<Stat> {
    let stat = rustix::fs::statx(at, path, flags | AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS)?;
    let time = |time: rustix::fs::StatxTimestamp| (time.tv_sec, i64::from(time.tv_nsec));
    Ok(Stat {
        device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        mode: stat.stx_mode.into(),
        size: stat.stx_size,
        modified: time(stat.stx_mtime),
        changed: time(stat.stx_ctime),
    })
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// The content of a file, and its `stat` after reading.
fn read(mut file: File, place: &TreeState) -> io::Result<(Content, Stat)> {
    let mut buffer = [0; BUFFER];
    let count = file.read(&mut buffer)?;
    // a local file system returns all available bytes
    let content: Content = if place.watched && count < BUFFER {
        buffer[..count].into()
    } else {
        let mut content = buffer[..count].to_vec();
        (&mut file).take(MAX_SIZE + 1).read_to_end(&mut content)?;
        content.into()
    };
    let stat = Stat::from(file.metadata()?);
    stat.require_file()?;
    if content.len() as u64 > MAX_SIZE {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok((content, stat))
}

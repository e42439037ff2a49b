//! Reads one file.
use super::listing::EntryKind;
use super::snapshot::{FileState, Seen, TreeState, Writing};
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
const LARGEST: u64 = 1 << 20;
/// The size of the read buffer in bytes: most files need a single read(2).
const BUFFER: usize = 8 << 10;
/// A file that has not changed for this long is not being written. Times on pmxcfs have a resolution of one second: two
/// writes within a second may show the same `stat`.
const AT_REST: Duration = Duration::from_secs(3);

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

    /// Whether the file has not changed for a while.
    pub fn is_at_rest(&self) -> bool {
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
    age.is_some_and(|age| age >= AT_REST)
}

/// The result of the last read of a file.
#[derive(Clone, Debug)]
pub(super) struct KnownFile {
    /// Its `stat` then.
    stat: Stat,
    content: Content,
    /// Since when reads have found the same, on a monotonic clock.
    since: Instant,
    /// Whether it was at rest, so that the same `stat` means the same content.
    rests: bool,
}

impl KnownFile {
    /// Whether the same `stat` means the same content.
    pub fn rests(&self) -> bool {
        self.rests
    }

    /// Whether it has just changed, so that it is read again in any case.
    pub fn is_fresh(&self) -> bool {
        self.since.elapsed() < AT_REST
    }

    /// Its `stat` when it was read.
    pub fn stat(&self) -> Stat {
        self.stat
    }
}

/// When the last read of a file is used instead of reading it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Never: its content is read.
    Nothing,
    /// If its `stat` is the same.
    Stat,
    /// If its `stat` is the same, queried from the file system: the kernel caches the `stat` of FUSE files for a second.
    FreshStat,
}

/// The result of reading a file.
pub(super) struct ReadResult {
    /// Its `stat`, or the errno.
    pub stat: Result<Stat, Option<i32>>,
    /// `None` on ENOENT.
    pub state: Option<FileState>,
    /// What is kept for the next read.
    pub known: Option<KnownFile>,
}

/// Reads a file, unless it was at rest at the last read (`known`) and its `stat` is the same. `entry` is its kind in the
/// listing of its directory.
pub(super) fn read_file(
    path: &Path,
    place: &TreeState,
    entry: EntryKind,
    known: Option<&KnownFile>,
    trust: Trust,
) -> ReadResult {
    let same = |known: &&KnownFile| match trust {
        Trust::Nothing => false,
        Trust::Stat => Stat::of(path).is_ok_and(|now| now == known.stat),
        Trust::FreshStat => fresh(path).is_ok_and(|now| now == known.stat),
    };
    if let Some(known) = known.filter(|known| known.rests).filter(same) {
        let writing = if place.watched { Writing::AtRest } else { Writing::Perhaps };
        let state = FileState { seen: Seen::Content(known.content.clone()), writing };
        return ReadResult { stat: Ok(known.stat), state: Some(state), known: Some(known.clone()) };
    }
    // a file that is listed as a regular one is opened at once: if that fails, another attempt finds the reason
    if place.watched
        && entry == EntryKind::File
        && let Ok((content, stat)) = open(path).and_then(|file| read(file, place))
    {
        return ReadResult::of_content(Ok(stat), content, stat, place, known);
    }
    let (stat, file) = if place.watched { look_and_open(path) } else { hold_and_open(path) };
    match file.and_then(|file| read(file, place)) {
        Ok((content, after)) => {
            // the former comes from the file system, the latter may be one second old
            let after = stat.ok().filter(|_| !place.watched).unwrap_or(after);
            ReadResult::of_content(stat, content, after, place, known)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => ReadResult { stat, state: None, known: None },
        Err(error) => {
            let state = FileState::without_content(Seen::Failed(error.to_string()));
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
        let (writing, rests) = if place.watched {
            let rests = complete && is_past(now.modified) && now.is_at_rest() && now.device == place.device;
            (if complete && is_past(now.modified) { Writing::AtRest } else { Writing::Perhaps }, rests)
        } else {
            // its times come from another node's clock
            (Writing::Perhaps, complete && same.is_some() && since.elapsed() >= AT_REST)
        };
        let state = FileState { seen: Seen::Content(content.clone()), writing };
        ReadResult { stat, state: Some(state), known: Some(KnownFile { stat: now, content, since, rests }) }
    }
}

type Opened = (Result<Stat, Option<i32>>, io::Result<File>);

fn look_and_open(path: &Path) -> Opened {
    let stat = Stat::of(path);
    let shown = stat.as_ref().map(|stat| *stat).map_err(io::Error::raw_os_error);
    (shown, stat.and_then(|stat| stat.require_file()).and_then(|()| open(path)))
}

/// Looks the name up only once, because each lookup may fail while the file is replaced by a rename. Then the file system is
/// queried for `stat`: otherwise the kernel would truncate a file that has grown to its size of one second ago.
fn hold_and_open(path: &Path) -> Opened {
    let held = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    let held = held.and_then(|held| Ok((statx(&held, c"", AtFlags::EMPTY_PATH)?, held)));
    let stat = held.as_ref().map(|(stat, _)| *stat).map_err(io::Error::raw_os_error);
    let file = held.and_then(|(stat, held)| {
        stat.require_file()?;
        open(format!("/proc/self/fd/{}", held.as_raw_fd()).as_ref())
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
        (&mut file).take(LARGEST + 1).read_to_end(&mut content)?;
        content.into()
    };
    let stat = Stat::from(file.metadata()?);
    stat.require_file()?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok((content, stat))
}

//! One look at one file.
use super::sights::{Place, Seen, Sight, Writing};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The largest file that pmxcfs holds, and that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// A file not modified for this long is not being written. pmxcfs has whole seconds, and may show them a second late.
const AT_REST: Duration = Duration::from_secs(3);

/// What stat(2) tells of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stat {
    device: u64,
    inode: u64,
    mode: u32,
    size: u64,
    /// In seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// The same of the last change of any of these.
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
    /// Of the file with this path.
    pub fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(Stat::from)
    }

    /// Whether nothing of the file has changed for a while.
    pub fn is_at_rest(&self) -> bool {
        is_past(self.changed)
    }

    /// Only regular files are opened: opening a device may do something, and a pipe may block.
    fn require_file(&self) -> io::Result<()> {
        let is_file = self.mode & libc::S_IFMT == libc::S_IFREG;
        if is_file { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
    }
}

/// Whether a time is long enough ago. One in the future is not.
fn is_past((seconds, nanoseconds): (i64, i64)) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else { return true };
    let time = UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
    let age = time.and_then(|time| SystemTime::now().duration_since(time).ok());
    age.is_some_and(|age| age >= AT_REST)
}

/// What a look at a file showed.
pub(super) struct Look {
    /// What `stat` told, or the number of its error.
    pub stat: Result<Stat, Option<i32>>,
    /// `None` on ENOENT.
    pub sight: Option<Sight>,
    /// What is to be remembered of a file at rest.
    pub resting: Option<(Stat, Arc<[u8]>)>,
}

/// Reads a file, unless it was at rest when it became `known` and shows the same `stat`.
pub(super) fn look(path: &Path, place: &Place, known: Option<&(Stat, Arc<[u8]>)>) -> Look {
    let stat = Stat::of(path);
    let told = stat.as_ref().map(|stat| *stat).map_err(io::Error::raw_os_error);
    let seen = |sight| Look { stat: told, sight, resting: None };
    if let (Ok(stat), Some((known, content))) = (&stat, known)
        && stat == known
    {
        return seen(Some(Sight { seen: Seen::Content(content.clone()), writing: Writing::AtRest }));
    }
    let file = if place.watched { stat.and_then(|stat| open(path, stat)) } else { hold_and_open(path) };
    match file.and_then(|(file, stat)| read(file, &stat, place.watched)) {
        Ok((content, stat, writing)) => {
            let rests = writing == Writing::AtRest && stat.is_at_rest();
            let resting = (rests && stat.device == place.device).then(|| (stat, content.clone()));
            let sight = Sight { seen: Seen::Content(content), writing };
            Look { resting, ..seen(Some(sight)) }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => seen(None),
        Err(error) => seen(Some(Sight::without_content(Seen::Failed(error.to_string())))),
    }
}

fn open(path: &Path, stat: Stat) -> io::Result<(File, Stat)> {
    stat.require_file()?;
    Ok((open_to_read(path)?, stat))
}

/// Looks its name up only once, as each look-up may fail while it is renamed over.
fn hold_and_open(path: &Path) -> io::Result<(File, Stat)> {
    let held = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    let stat = Stat::from(held.metadata()?);
    stat.require_file()?;
    Ok((open_to_read(format!("/proc/self/fd/{}", held.as_raw_fd()).as_ref())?, stat))
}

fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

fn read(mut file: File, expected: &Stat, local: bool) -> io::Result<(Arc<[u8]>, Stat, Writing)> {
    // with room to spare the end of the file shows at once: a local file system gives all that there is
    let mut content = vec![0; usize::try_from(expected.size.min(LARGEST)).unwrap_or(0) + 64];
    let count = file.read(&mut content)?;
    let all = local && count < content.len();
    content.truncate(count);
    if !all {
        (&mut file).take(LARGEST + 1).read_to_end(&mut content)?;
    }
    let stat = Stat::from(file.metadata()?);
    stat.require_file()?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    let complete = stat.size == content.len() as u64;
    let writing = if complete && is_past(stat.modified) { Writing::AtRest } else { Writing::Perhaps };
    Ok((content.into(), stat, writing))
}

//! Reads one file.
use super::listing::Entry;
use super::snapshot::{Place, Seen, Sight, Writing};
use crate::inputs::Content;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The maximum size of a file in pmxcfs, and of a file that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// The size of the read buffer in bytes: most files need a single read(2).
const ROOM: usize = 8 << 10;
/// A file not modified for this long is not being written. pmxcfs has whole seconds, and may report them one second late.
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

/// A file that had not been modified for a while when it was read.
#[derive(Clone, Debug)]
pub(super) struct Resting {
    /// Its content then.
    pub stat: Stat,
    content: Content,
}

/// The result of reading a file.
pub(super) struct Look {
    /// The `stat`, or its error number.
    pub stat: Result<Stat, Option<i32>>,
    /// `None` on ENOENT.
    pub sight: Option<Sight>,
    /// The cache entry of an unmodified file.
    pub resting: Option<Resting>,
}

/// Reads a file, unless it is `known` and its `stat` is unchanged. `entry` is its kind in the directory listing.
pub(super) fn look(path: &Path, place: &Place, entry: Entry, known: Option<&Resting>) -> Look {
    if let Some(known) = known.filter(|known| Stat::of(path).is_ok_and(|now| now == known.stat)) {
        let sight = Sight { seen: Seen::Content(known.content.clone()), writing: Writing::AtRest };
        return Look { stat: Ok(known.stat), sight: Some(sight), resting: Some(known.clone()) };
    }
    // a file listed as regular is opened without stat(2); if that fails, the stat gives the reason
    if place.watched
        && entry == Entry::File
        && let Ok((sight, stat)) = open(path).and_then(|file| read(file, place))
    {
        return Look::of_content(Ok(stat), sight, stat, place);
    }
    let (stat, file) = if place.watched { look_and_open(path) } else { hold_and_open(path) };
    match file.and_then(|file| read(file, place)) {
        Ok((sight, now)) => Look::of_content(stat, sight, now, place),
        Err(error) if error.kind() == ErrorKind::NotFound => Look { stat, sight: None, resting: None },
        Err(error) => {
            let sight = Sight::without_content(Seen::Failed(error.to_string()));
            Look { stat, sight: Some(sight), resting: None }
        }
    }
}

impl Look {
    /// `stat` is from before the file was read, and `now` from after it.
    fn of_content(stat: Result<Stat, Option<i32>>, sight: Sight, now: Stat, place: &Place) -> Self {
        let rests = sight.writing == Writing::AtRest && now.is_at_rest() && now.device == place.device;
        let resting = match &sight.seen {
            Seen::Content(content) if rests => Some(Resting { stat: now, content: content.clone() }),
            _ => None,
        };
        Look { stat, sight: Some(sight), resting }
    }
}

type Opened = (Result<Stat, Option<i32>>, io::Result<File>);

fn look_and_open(path: &Path) -> Opened {
    let stat = Stat::of(path);
    let told = stat.as_ref().map(|stat| *stat).map_err(io::Error::raw_os_error);
    (told, stat.and_then(|stat| stat.require_file()).and_then(|()| open(path)))
}

/// Looks up the name only once, because each lookup can fail during a rename.
fn hold_and_open(path: &Path) -> Opened {
    let held = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    let held = held.and_then(|held| Ok((Stat::from(held.metadata()?), held)));
    let stat = held.as_ref().map(|(stat, _)| *stat).map_err(io::Error::raw_os_error);
    let file = held.and_then(|(stat, held)| {
        stat.require_file()?;
        open(format!("/proc/self/fd/{}", held.as_raw_fd()).as_ref())
    });
    (stat, file)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// The content of a file, and its `stat` afterwards.
fn read(mut file: File, place: &Place) -> io::Result<(Sight, Stat)> {
    let mut room = [0; ROOM];
    let count = file.read(&mut room)?;
    // a local file system returns all available bytes
    let content: Content = if place.watched && count < ROOM {
        room[..count].into()
    } else {
        let mut content = room[..count].to_vec();
        (&mut file).take(LARGEST + 1).read_to_end(&mut content)?;
        content.into()
    };
    let stat = Stat::from(file.metadata()?);
    stat.require_file()?;
    let length = content.len() as u64;
    if length > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    let writing = if stat.size == length && is_past(stat.modified) { Writing::AtRest } else { Writing::Perhaps };
    Ok((Sight { seen: Seen::Content(content), writing }, stat))
}

//! One look at one file.
use super::listing::Entry;
use super::snapshot::{Place, Seen, Sight, Writing};
use crate::inputs::Content;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The largest file that pmxcfs holds, and that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// Most files have less, in bytes: it takes one call to read them.
const ROOM: usize = 8 << 10;
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

/// A file that was at rest when it was read.
#[derive(Clone, Debug)]
pub(super) struct Resting {
    /// What it showed then.
    pub stat: Stat,
    content: Content,
}

/// What a look at a file showed.
pub(super) struct Look {
    /// What `stat` told, or the number of its error.
    pub stat: Result<Stat, Option<i32>>,
    /// `None` on ENOENT.
    pub sight: Option<Sight>,
    /// What is to be remembered of a file at rest.
    pub resting: Option<Resting>,
}

/// Reads a file, unless it was at rest when it became `known` and shows the same `stat`. `entry` is what its folder lists.
pub(super) fn look(path: &Path, place: &Place, entry: Entry, known: Option<&Resting>) -> Look {
    if let Some(known) = known.filter(|known| Stat::of(path).is_ok_and(|now| now == known.stat)) {
        let sight = Sight { seen: Seen::Content(known.content.clone()), writing: Writing::AtRest };
        return Look { stat: Ok(known.stat), sight: Some(sight), resting: Some(known.clone()) };
    }
    // a file that is listed as a regular one is opened at once: if that fails, another look tells why
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
    /// `stat` is of before the file was read, and `now` of after it.
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

/// Looks its name up only once, as each look-up may fail while it is renamed over.
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

/// What is in a file, and its `stat` afterwards.
fn read(mut file: File, place: &Place) -> io::Result<(Sight, Stat)> {
    let mut room = [0; ROOM];
    let count = file.read(&mut room)?;
    // a local file system gives all that there is
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

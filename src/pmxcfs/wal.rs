//! Reads from SQLite's write-ahead log which files of pmxcfs's database were written.
//!
//! The format of the log and of its pages is SQLite's own (<https://www.sqlite.org/fileformat2.html>). pmxcfs keeps one row
//! for each file: `inode INTEGER PRIMARY KEY, parent, version, writer, mtime, type, name, data`. Each change of the tree is
//! a transaction that sets the version of the changed row to the next number. Anything unexpected is reported as
//! [`WalChange::Unknown`].
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The two magic numbers of a log, without their last bit, which is the byte order of checksums.
const MAGIC: u32 = 0x377f_0682;
/// The first byte of a page that holds rows.
const TABLE_LEAF: u8 = 0x0d;
/// Maximum number of bytes that are read from a log at once.
const MAX_SIZE: u64 = 8 << 20;
/// Maximum number of inodes whose names are cached.
const INODES: usize = 4096;
/// The inode of the tree's root.
const ROOT_INODE: i64 = 0;

/// The changes that the log shows since it was last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalChange {
    /// Only these files were written: each name with the kind of its last write.
    Named(BTreeMap<String, Write>),
    /// Something changed, and the log does not show what.
    Unknown,
}

/// How a file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// In place: more may follow.
    InPlace,
    /// Another file was renamed to this name: it is complete.
    Renamed,
}

/// The reading position in a log.
#[derive(Debug, Default)]
pub struct Wal {
    /// Changes when the log begins again at its start.
    salts: [u8; 8],
    /// Where the last read began and ended. Its data may have been written only in part, and is read again.
    began: u64,
    ended: u64,
    /// The highest versions found by the second last and the last read.
    settled_version: i64,
    version: i64,
    /// The cached names by inode.
    names: BTreeMap<i64, String>,
}

/// A row of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TreeRow {
    inode: i64,
    version: i64,
    name: String,
}

impl Wal {
    /// Reads the writes to the log since the last call. The first call only finds the end of the log, and names no files.
    /// `is_relevant` is true for the names of relevant files.
    pub fn read(&mut self, path: &Path, is_relevant: &impl Fn(&str) -> bool) -> WalChange {
        let before = (self.salts, self.ended);
        let Ok((rows, complete)) = self.read_new(path) else { return WalChange::Unknown };
        // the written data is not a complete transaction
        let complete = complete && before != (self.salts, self.ended);
        let change = self.change(rows, is_relevant);
        if complete {
            return change;
        }
        self.settled_version = self.version;
        WalChange::Unknown
    }

    /// The rows of new pages, and whether these include all that were written.
    fn read_new(&mut self, path: &Path) -> io::Result<(Vec<TreeRow>, bool)> {
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        let (magic, page_size) = (number(&header[..4]), number(&header[8..12]) as usize);
        if magic & !1 != MAGIC || !(512..=65536).contains(&page_size) {
            return Err(io::Error::other("it is not a write-ahead log"));
        }
        let continued = header[16..24] == self.salts;
        if !continued {
            self.salts.copy_from_slice(&header[16..24]);
            (self.began, self.ended) = (HEADER as u64, HEADER as u64);
            // the log was restarted; a gap in the versions shows whether rows were missed
            self.settled_version = self.version;
        }
        let mut bytes = Vec::new();
        read_from(&file, self.began, &mut bytes)?;
        let frames = bytes.chunks_exact(FRAME_HEADER + page_size).take_while(|frame| frame[8..16] == self.salts);
        let (mut rows, mut end, mut understood) = (Vec::new(), self.began, true);
        for frame in frames {
            end += frame.len() as u64;
            let first_page = number(&frame[..4]) == 1;
            understood &= page_rows(&frame[FRAME_HEADER..], first_page, &mut rows).is_some();
        }
        (self.began, self.ended) = (self.ended.min(end), end);
        let whole = (bytes.len() as u64) < MAX_SIZE;
        let follows = continued || self.version > 0;
        Ok((rows, follows && whole && understood))
    }

    fn change(&mut self, mut rows: Vec<TreeRow>, is_relevant: &impl Fn(&str) -> bool) -> WalChange {
        rows.retain(|row| row.version > self.settled_version);
        rows.sort_by_key(|row| row.version);
        rows.dedup();
        let newest = rows.last().map_or(self.version, |row| row.version);
        let versions: BTreeSet<i64> =
            rows.iter().filter(|row| row.inode != ROOT_INODE).map(|row| row.version).collect();
        // a version without a row belongs to a removed row
        let first = if self.settled_version == 0 { newest } else { self.settled_version + 1 };
        let expected = newest.saturating_sub(first).saturating_add(1);
        let complete = i64::try_from(versions.range(first..=newest.max(first)).count()) == Ok(expected.max(0));
        let mut named = BTreeMap::new();
        let mut known = true;
        for row in rows.into_iter().filter(|row| row.inode != ROOT_INODE) {
            let before = self.names.get(&row.inode);
            // a file that was renamed from an unknown name can be any file
            known &= before.is_some() || row.version == row.inode || is_relevant(&row.name);
            let renamed = before.is_some_and(|name| *name != row.name);
            if let Some(name) = before.filter(|_| renamed) {
                named.insert(name.clone(), Write::InPlace);
            }
            named.insert(row.name.clone(), if renamed { Write::Renamed } else { Write::InPlace });
            self.names.insert(row.inode, row.name);
        }
        while self.names.len() > INODES {
            self.names.pop_first();
        }
        (self.settled_version, self.version) = (self.version, newest.max(self.version));
        if complete && known { WalChange::Named(named) } else { WalChange::Unknown }
    }
}

/// A number of four bytes, big-endian.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn read_from(file: &File, mut at: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut part = vec![0; 64 << 10];
    while (bytes.len() as u64) < MAX_SIZE {
        let count = file.read_at(&mut part, at)?;
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&part[..count]);
        at += count as u64;
    }
    Ok(())
}

/// Appends the rows of a page; `None` if it contains rows that cannot be decoded.
fn page_rows(page: &[u8], first_page: bool, rows: &mut Vec<TreeRow>) -> Option<()> {
    // the first page begins with the header of the database
    let header = page.get(if first_page { 100 } else { 0 }..)?;
    if first_page || header[0] != TABLE_LEAF {
        return Some(());
    }
    let count = usize::from(u16::from_be_bytes([header[3], header[4]]));
    for pointer in header.get(8..8 + 2 * count)?.chunks_exact(2) {
        rows.push(row(page.get(usize::from(u16::from_be_bytes([pointer[0], pointer[1]]))..)?)?);
    }
    Some(())
}

/// The row in a cell of a page.
fn row(mut cell: &[u8]) -> Option<TreeRow> {
    varint(&mut cell)?;
    let inode = varint(&mut cell)?;
    let payload = cell;
    let mut header = cell;
    let header_length = usize::try_from(varint(&mut header)?).ok()?;
    let mut columns = payload.get(payload.len() - header.len()..header_length)?;
    let mut values = payload.get(header_length..)?;
    let mut version = None;
    // inode, parent, version, writer, mtime, type; the inode is the key of the row and not stored in the record
    for column in 0..6 {
        let kind = varint(&mut columns)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 => 8,
            _ => return None,
        };
        let (value, rest) = values.split_at_checked(length)?;
        values = rest;
        if column == 2 {
            version = Some(match kind {
                0 => return None,
                8 | 9 => kind - 8,
                _ => value.iter().fold(0, |number, byte| number << 8 | i64::from(*byte)),
            });
        }
    }
    let kind = varint(&mut columns)?;
    let is_text = kind >= 13 && kind % 2 == 1;
    let length = usize::try_from((kind - 13) / 2).ok().filter(|_| is_text)?;
    let name = std::str::from_utf8(values.get(..length)?).ok()?.to_string();
    Some(TreeRow { inode, version: version?, name })
}

/// Consumes a number of variable length: seven bits in each byte, the highest first, at most nine bytes.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0;
    for at in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if at == 8 {
            return Some(number << 8 | i64::from(*byte));
        }
        number = number << 7 | i64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests run SQLite")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{BufRead, BufReader, Write as _};
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

    /// A database as pmxcfs keeps it, in a process that runs the statements it is given.
    struct Database {
        child: Child,
        input: ChildStdin,
        output: BufReader<ChildStdout>,
    }

    const SCRIPT: &str = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("CREATE TABLE tree (inode INTEGER PRIMARY KEY NOT NULL, parent INTEGER NOT NULL, version INTEGER NOT NULL, writer INTEGER NOT NULL, mtime INTEGER NOT NULL, type INTEGER NOT NULL, name TEXT NOT NULL, data BLOB)")
print("ready", flush=True)
for line in sys.stdin:
    db.executescript("BEGIN; " + line + "; COMMIT;")
    print("done", flush=True)
"#;

    impl Database {
        fn new(path: &Path) -> Self {
            let mut child = Command::new("python3")
                .args(["-c", SCRIPT])
                .arg(path)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("python3 with its module sqlite3");
            let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
            let mut database = Database { child, input, output };
            database.wait();
            database
        }

        fn wait(&mut self) {
            assert!(self.output.read_line(&mut String::new()).unwrap() > 0, "SQLite has ended");
        }

        fn run(&mut self, statements: &str) {
            writeln!(self.input, "{statements}").unwrap();
            self.wait();
        }

        /// A transaction as pmxcfs makes it: a row of a file, and the version of the tree.
        fn put(&mut self, inode: i64, version: i64, name: &str, length: usize) {
            self.run(&format!(
                "INSERT OR REPLACE INTO tree VALUES ({inode}, 0, {version}, 1, 1700000000, 8, '{name}', zeroblob({length}));
                INSERT OR REPLACE INTO tree VALUES (0, 0, {version}, 1, 1700000000, 4, '__version__', NULL)"
            ).replace('\n', " "));
        }
    }

    impl Drop for Database {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn is_relevant(name: &str) -> bool {
        name.ends_with(".fw")
    }

    fn named(names: &[(&str, Write)]) -> WalChange {
        WalChange::Named(names.iter().map(|(name, write)| ((*name).to_string(), *write)).collect())
    }

    #[test]
    fn a_log_of_sqlite_names_the_files_that_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let (path, log) = (dir.path().join("config.db"), dir.path().join("config.db-wal"));
        let mut database = Database::new(&path);
        for inode in 1..50 {
            database.put(inode, inode, &format!("{}.fw", 100 + inode), 700);
        }
        let mut wal = Wal::default();
        assert_eq!(wal.read(&log, &is_relevant), WalChange::Unknown, "nothing is known of the time before");
        assert_eq!(
            wal.read(&log, &is_relevant),
            WalChange::Unknown,
            "it was written to, and there is no new transaction"
        );
        // in place, small and with pages of its own
        for (version, length) in [(50, 20), (51, 9000)] {
            database.put(7, version, "107.fw", length);
            assert_eq!(wal.read(&log, &is_relevant), named(&[("107.fw", Write::InPlace)]));
        }
        // as PVE's programs write: a new file that is renamed to the old name
        database.put(52, 52, "108.fw.tmp.77", 0);
        database.put(52, 53, "108.fw.tmp.77", 300);
        database.run("DELETE FROM tree WHERE inode = 8");
        database.put(52, 54, "108.fw", 300);
        let renamed = [("108.fw", Write::Renamed), ("108.fw.tmp.77", Write::InPlace)];
        let mut result = BTreeMap::new();
        if let WalChange::Named(files) = wal.read(&log, &is_relevant) {
            result.extend(files);
        }
        assert_eq!(
            WalChange::Named(result.into_iter().filter(|(name, _)| name.starts_with("108")).collect()),
            named(&renamed)
        );
        // removed: only the tree's version shows it
        database.run("DELETE FROM tree WHERE inode = 9; UPDATE tree SET version = 55 WHERE inode = 0");
        database.put(10, 56, "110.fw", 10);
        assert_eq!(wal.read(&log, &is_relevant), WalChange::Unknown);
        // a file is renamed, and its old name is unknown
        let mut fresh = Wal::default();
        fresh.read(&log, &is_relevant);
        fresh.names.clear();
        database.put(30, 57, "110.fw.bak", 10);
        assert_eq!(fresh.read(&log, &is_relevant), WalChange::Unknown);
        wal.read(&log, &is_relevant);
        // the log begins again at its start
        database.run("SELECT 1; COMMIT; PRAGMA wal_checkpoint(RESTART); BEGIN");
        database.put(12, 58, "112.fw", 10);
        assert_eq!(wal.read(&log, &is_relevant), named(&[("112.fw", Write::InPlace)]));
        database.put(12, 59, "112.fw", 11);
        let WalChange::Named(files) = wal.read(&log, &is_relevant) else { panic!("it goes on") };
        assert_eq!(files.get("112.fw"), Some(&Write::InPlace));
        // and again, where a removal was not read before
        database.run("DELETE FROM tree WHERE inode = 13; UPDATE tree SET version = 60 WHERE inode = 0");
        database.run("SELECT 1; COMMIT; PRAGMA wal_checkpoint(RESTART); BEGIN");
        database.put(12, 61, "112.fw", 12);
        assert_eq!(wal.read(&log, &is_relevant), WalChange::Unknown);
    }

    #[test]
    fn invalid_logs_are_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("config.db-wal");
        let mut wal = Wal::default();
        assert_eq!(wal.read(&log, &is_relevant), WalChange::Unknown);
        for content in [vec![], vec![0; 31], vec![0xff; 5000]] {
            std::fs::write(&log, content).unwrap();
            assert_eq!(wal.read(&log, &is_relevant), WalChange::Unknown);
        }
        std::fs::remove_file(&log).unwrap();
        std::fs::create_dir(&log).unwrap();
        assert_eq!(wal.read(&log, &is_relevant), WalChange::Unknown);
    }

    proptest! {
        #[test]
        fn any_page_is_read_without_panic(mut page in proptest::collection::vec(any::<u8>(), 100..600)) {
            page[0] = TABLE_LEAF;
            page_rows(&page, false, &mut Vec::new());
            page[3] = 0;
            page[4] %= 4;
            page_rows(&page, false, &mut Vec::new());
            varint(&mut &page[..]);
        }
    }
}

//! The write-ahead log of pmxcfs's database, in SQLite's format: a transaction for each change of a file.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

const PAGE: usize = 4096;
const SALTS: [u8; 8] = *b"pmxcfs-t";
/// The types of rows.
const DIRECTORY: i64 = 4;
const REGULAR: i64 = 8;

/// The log of a cluster.
pub struct ClusterLog {
    file: File,
    /// The inode of each file, by its path.
    inodes: BTreeMap<String, i64>,
    version: i64,
}

impl ClusterLog {
    /// Creates the directory and an empty log in it.
    pub fn new(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let mut file = File::create(directory.join("config.db-wal")).unwrap();
        let numbers: [u32; 4] = [0x377f_0682, 3_007_000, PAGE as u32, 0];
        let header: Vec<u8> =
            numbers.iter().flat_map(|number| number.to_be_bytes()).chain(SALTS).chain([0; 8]).collect();
        file.write_all(&header).unwrap();
        ClusterLog { file, inodes: BTreeMap::new(), version: 1000 }
    }

    /// Logs that a file was created or written in place.
    pub fn written(&mut self, path: &str) {
        self.version += 1;
        let inode = *self.inodes.entry(path.to_string()).or_insert(self.version);
        self.append(inode, path);
    }

    /// Logs that a file replaced another.
    pub fn renamed(&mut self, from: &str, to: &str) {
        self.version += 1;
        let inode = self.inodes.remove(from).unwrap_or(1);
        self.inodes.insert(to.to_string(), inode);
        self.append(inode, to);
    }

    /// Logs that a file was removed: its row is deleted, so only the version of the tree shows it.
    pub fn removed(&mut self, path: &str) {
        self.version += 1;
        self.inodes.remove(path);
        self.append_rows(&[row(0, self.version, DIRECTORY, "__version__")]);
    }

    fn append(&mut self, inode: i64, path: &str) {
        let name = path.rsplit('/').next().unwrap();
        let rows = [row(0, self.version, DIRECTORY, "__version__"), row(inode, self.version, REGULAR, name)];
        self.append_rows(&rows);
    }

    fn append_rows(&mut self, rows: &[Vec<u8>]) {
        let mut page = vec![0; PAGE];
        page[0] = 0x0d;
        page[3..5].copy_from_slice(&u16::try_from(rows.len()).unwrap().to_be_bytes());
        let mut end = PAGE;
        for (number, row) in rows.iter().enumerate() {
            end -= row.len();
            page[end..end + row.len()].copy_from_slice(row);
            page[8 + 2 * number..10 + 2 * number].copy_from_slice(&u16::try_from(end).unwrap().to_be_bytes());
        }
        let header = [2u32.to_be_bytes(), 2u32.to_be_bytes()].concat();
        self.file.write_all(&[&header, &SALTS[..], &[0; 8], &page].concat()).unwrap();
    }
}

fn row(inode: i64, version: i64, kind: i64, name: &str) -> Vec<u8> {
    let numbers = [0, version, 1, 1_700_000_000, kind];
    // the inode is the row's key; the others are numbers of eight bytes, and the data is empty
    let mut header = [vec![0, 0], vec![6; numbers.len()]].concat();
    header.extend(varint(13 + 2 * name.len() as u64));
    header.push(12);
    header[0] = u8::try_from(header.len()).unwrap();
    let values: Vec<u8> = numbers.iter().flat_map(|number: &i64| number.to_be_bytes()).chain(name.bytes()).collect();
    let payload = [header, values].concat();
    [varint(payload.len() as u64), varint(inode.cast_unsigned()), payload].concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = vec![(number & 0x7f) as u8];
    while number > 0x7f {
        number >>= 7;
        bytes.insert(0, (number & 0x7f) as u8 | 0x80);
    }
    bytes
}

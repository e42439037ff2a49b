//! A wall clock that a test moves, by libfaketime.
use crate::node::Node;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The clock of the commands that [`FakeClock::apply_to`] was called for.
pub struct FakeClock {
    preload: PathBuf,
    /// The file that libfaketime reads.
    file: PathBuf,
}

impl FakeClock {
    /// A clock with the real time, whose file is one of the node.
    pub fn new(node: &Node) -> Self {
        let directories = fs::read_dir("/usr/lib").unwrap().flatten();
        let mut preload = directories.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1"));
        let preload = preload.find(|path| path.exists()).expect("libfaketime; run make test-deps");
        let clock = FakeClock { preload, file: node.path("clock") };
        clock.set("+0");
        clock
    }

    /// Sets the offset from the real time, such as `+400d`.
    pub fn set(&self, offset: &str) {
        let new = self.file.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    /// Lets a command and its children see this clock. The other clocks continue, and modification times are not changed.
    pub fn apply_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.preload).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    }
}

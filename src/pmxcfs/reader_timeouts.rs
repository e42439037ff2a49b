//! The times of a reader, for the daemon and for commands.
use super::stable_file::Debounce;
use std::time::Duration;

/// The configuration of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderConfig {
    /// How long reads have to agree.
    pub debounce: Debounce,
    /// The timeout of a read.
    pub limit: Duration,
    /// The minimum time between two reads.
    pub pause: Duration,
    /// The timeout of [`Reader::settle`](super::Reader::settle).
    pub settle: Duration,
    /// Whether to watch for local writes.
    pub watch: bool,
    /// The interval of reading all content, even if `stat` shows no change.
    pub full_reading: Duration,
}

impl ReaderConfig {
    /// For the daemon: changes are accepted within a second, and partially written files are not used.
    pub const DAEMON: ReaderConfig = ReaderConfig {
        debounce: Debounce {
            content: Duration::from_millis(300),
            closed: Duration::from_millis(50),
            logged: Duration::from_millis(20),
            open: Duration::from_secs(30),
            absence: Duration::from_secs(1),
            appearance: Duration::from_secs(3),
        },
        limit: Duration::from_secs(10),
        pause: Duration::from_millis(200),
        settle: Duration::from_secs(5),
        watch: true,
        full_reading: Duration::from_secs(300),
    };

    /// For a command that reads once, correct also right after a write.
    pub const COMMAND: ReaderConfig = ReaderConfig {
        debounce: Debounce {
            content: Duration::from_millis(50),
            closed: Duration::from_millis(10),
            logged: Duration::from_millis(10),
            open: Duration::from_millis(50),
            absence: Duration::from_millis(100),
            appearance: Duration::ZERO,
        },
        limit: Duration::from_secs(5),
        pause: Duration::from_millis(10),
        settle: Duration::from_secs(2),
        watch: false,
        full_reading: Duration::ZERO,
    };
}

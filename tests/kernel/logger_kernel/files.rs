//! The log file: rotated, truncated, and on a full disk.
use crate::flood::{self, Sender};
use crate::logger::{Logger, packet_lines, skipped, wait_for};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

const PACKETS: usize = 60_000;

fn whole_lines(text: &str) -> bool {
    text.is_empty() || text.ends_with('\n')
}

#[test]
fn rotation_during_a_flood_puts_every_line_in_exactly_one_file() {
    let netns = flood::namespace("log-rotate");
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&netns, root.path(), &[]);
    let log = logger.log();
    let mut rotated: Vec<PathBuf> = Vec::new();
    netns.run(|| {
        let sender = Sender::new(46);
        for round in 0..6 {
            sender.send_burst(PACKETS / 6);
            let old = log.with_extension(round.to_string());
            fs::rename(&log, &old).unwrap();
            logger.signal(Signal::SIGHUP);
            rotated.push(old);
            wait_for("the new file", || log.exists().then_some(()));
        }
    });
    let last = logger.stop();
    let mut texts: Vec<String> = rotated.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    texts.push(last);
    assert!(texts.iter().all(|text| whole_lines(text)));
    let (lines, skipped_entries) =
        texts.iter().fold((0, 0), |sum, text| (sum.0 + packet_lines(text), sum.1 + skipped(text)));
    assert_eq!((lines, skipped_entries), (PACKETS, 0));
}

#[test]
fn copytruncate_leaves_no_hole_and_logging_continues() {
    let netns = flood::namespace("log-truncate");
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&netns, root.path(), &[]);
    netns.run(|| Sender::new(46).send_burst(100));
    wait_for("the lines in the log", || (packet_lines(&logger.text()) == 100).then_some(()));
    let file = fs::OpenOptions::new().write(true).open(logger.log()).unwrap();
    file.set_len(0).unwrap();
    netns.run(|| Sender::new(46).send_burst(50));
    wait_for("the lines in the new log", || (packet_lines(&logger.text()) == 50).then_some(()));
    let text = logger.stop();
    assert!(text.starts_with("100 6 tap100i0-IN "), "{}", &text[..100]);
}

/// A small file system; unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, bytes: usize) -> Self {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={bytes}");
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("mounting a tmpfs");
        SmallDisk(at.to_path_buf())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_is_reported_once_and_logging_resumes_when_there_is_space() {
    let netns = flood::namespace("log-full");
    let root = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&root.path().join("var/log"), 1024 << 10);
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![0; 1008 << 10]).unwrap();
    fs::create_dir_all(root.path().join("dev")).unwrap();
    let syslog = UnixDatagram::bind(root.path().join("dev/log")).unwrap();
    syslog.set_nonblocking(true).unwrap();
    let logger = Logger::start(&netns, root.path(), &[]);
    let mut messages: Vec<String> = Vec::new();
    let mut receive = || {
        let mut buffer = [0; 4096];
        let length = syslog.recv(&mut buffer).ok()?;
        messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        messages.last().cloned()
    };
    // about 80 lines fit, so the write most likely stops in the middle of one
    netns.run(|| Sender::new(46).send_burst(1000));
    wait_for("the report of the failure", || receive().filter(|message| message.contains("cannot write to ")));
    netns.run(|| Sender::new(46).send_burst(200));
    let full = logger.text();
    let written = packet_lines(&full);
    assert!((1..300).contains(&written), "{written}");
    fs::remove_file(&ballast).unwrap();
    // without a further packet: the report itself detects the free space
    let line = logger.line_with(" skipped ");
    assert!(line.starts_with("0 3 - ") && line.ends_with(" log entries (queue full)"), "{line}");
    netns.run(|| Sender::new(46).send_burst(1));
    let text = wait_for("the last packet", || {
        let text = logger.text();
        (packet_lines(&text) + skipped(&text) == 1201).then_some(text)
    });
    assert!(whole_lines(&text));
    for line in text.lines() {
        let own = line.starts_with("0 ");
        assert!(own || (line.starts_with("100 6 ") && line.ends_with(" LEN=26")), "a partial line: {line}");
    }
    logger.stop();
    while receive().is_some() {}
    let count = |part: &str| messages.iter().filter(|message| message.contains(part)).count();
    assert_eq!(count("cannot write to "), 1, "{messages:#?}");
    assert!(messages.iter().any(|message| message.ends_with(" log entries (queue full)")), "{messages:#?}");
    assert_eq!(count("starting pvefw logger"), 1);
    assert_eq!(count("stopping pvefw logger"), 1);
    assert!(messages.iter().all(|message| message.contains("pvefw-logger[")), "{messages:#?}");
}

//! Writes while the tree is read: when they are detected, and when they are accepted.
use super::{FILES, GUEST, READING, accepted_content, config_directory, initialized_reader, wait_for_content, write};
use crate::fuse::Fuse;
use crate::wait::wait_for;
use pve_firewall::pmxcfs::{Reader, ReaderConfig};
use std::fs;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

#[test]
fn a_file_is_used_when_it_is_completely_written() {
    let dir = config_directory();
    let mut reader = initialized_reader(dir.path());
    let text = format!("{GUEST}IN DROP\nOUT ACCEPT\n");
    // by a writer that keeps the file open and pauses
    let mut file = fs::File::create(dir.path().join("firewall/100.fw")).unwrap();
    for piece in text.as_bytes().chunks(16) {
        file.write_all(piece).unwrap();
        for _ in 0..2 {
            reader.read().unwrap();
            assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
            sleep(READING.debounce.closed);
        }
    }
    drop(file);
    wait_for_content(&mut reader, "firewall/100.fw", Some(GUEST), Some(&text));
    assert!(reader.settled());
    // by a writer that opens the file for each part
    let longer = format!("{text}IN ACCEPT -p udp\n");
    for end in 0..longer.len() {
        write(dir.path(), "firewall/100.fw", &longer[..end]);
        if end % 8 == 0 {
            reader.read().unwrap();
            assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(&*text));
        }
    }
    write(dir.path(), "firewall/100.fw", &longer);
    let took = wait_for_content(&mut reader, "firewall/100.fw", Some(&text), Some(&longer));
    assert!(took >= READING.debounce.closed, "{took:?}");
}

/// Writes by other nodes cause no inotify event.
#[test]
fn a_file_written_by_another_node_is_used_when_two_reads_agree() {
    let dir = config_directory();
    let config = ReaderConfig { watch: false, ..READING };
    let program = env!("CARGO_BIN_EXE_pve-firewall").into();
    let mut reader = Reader::new(program, dir.path().into(), "n1".into(), config, None);
    reader.settle().unwrap();
    assert!(!reader.is_watched());
    let text = format!("{GUEST}IN DROP\n");
    write(dir.path(), "firewall/100.fw", &text);
    let took = wait_for_content(&mut reader, "firewall/100.fw", Some(GUEST), Some(&text));
    assert!(took >= READING.debounce.content, "{took:?}");
}

/// A file's time may jump, as after a clock change on this node or on the writing node.
#[test]
fn arbitrary_modification_times_are_handled() {
    let dir = config_directory();
    let mut reader = initialized_reader(dir.path());
    let path = dir.path().join("firewall/100.fw");
    let mut before = GUEST.to_string();
    for years in [-60i64, 60, -1, 1] {
        let text = format!("{GUEST}# {years}\n");
        write(dir.path(), "firewall/100.fw", &text);
        let by = Duration::from_secs(years.unsigned_abs() * 365 * 86_400);
        let now = std::time::SystemTime::now();
        let time = if years < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        fs::File::options().write(true).open(&path).unwrap().set_modified(time.unwrap()).unwrap();
        let took = wait_for_content(&mut reader, "firewall/100.fw", Some(&before), Some(&text));
        assert!(years < 0 || took >= READING.debounce.closed, "{years}: {took:?}");
        before = text;
    }
}

#[test]
fn a_local_write_is_reported_at_once_and_a_remote_write_changes_stat() {
    let dir = config_directory();
    let mut reader = initialized_reader(dir.path());
    assert!(!reader.written());
    assert!(!reader.changed());
    write(dir.path(), "firewall/100.fw.tmp", "[RULES]\n");
    fs::rename(dir.path().join("firewall/100.fw.tmp"), dir.path().join("firewall/100.fw")).unwrap();
    wait_for("the report of the write", || reader.written().then_some(()));
    assert!(reader.changed());
    wait_for_content(&mut reader, "firewall/100.fw", Some(GUEST), Some("[RULES]\n"));
    assert!(!reader.changed());
}

/// With inotify, an unmodified file is not read again unless its `stat` has changed.
#[test]
fn an_unmodified_file_is_read_again_when_its_stat_changes() {
    let dir = config_directory();
    let path = dir.path().join("firewall/100.fw");
    sleep(Duration::from_secs(4));
    let mut reader = initialized_reader(dir.path());
    assert!(reader.is_watched());
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let text = GUEST.replace("ACCEPT", "REJECT");
    write(dir.path(), "firewall/100.fw", &text);
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    wait_for_content(&mut reader, "firewall/100.fw", Some(GUEST), Some(&text));
}

/// Between full readings, only files are read that `stat` shows as changed, or that changed just before.
#[test]
fn a_partial_read_covers_changed_files_and_a_full_read_everything() {
    let dir = tempfile::tempdir().unwrap();
    let fuse = Fuse::mount(dir.path(), &FILES);
    let mut reader = initialized_reader(dir.path());
    let put = |text: &str| fuse.change(|state| state.put_at("firewall/100.fw", text, 1_700_000_001));
    let read_until = |reader: &mut Reader, text: &str| {
        wait_for("the content in a partial read", || {
            reader.read_changes().unwrap();
            (accepted_content(reader, "firewall/100.fw").as_deref() == Some(text)).then_some(())
        });
    };
    let longer = format!("{GUEST}IN DROP\n");
    put(&longer);
    read_until(&mut reader, &longer);
    // of the same size and the same time, in the second of the write before
    let again = longer.replace("DROP", "DRIP");
    put(&again);
    read_until(&mut reader, &again);
    // the same, after some time without writes
    sleep(Duration::from_secs(4));
    reader.read().unwrap();
    let hidden = longer.replace("DROP", "ECHO");
    put(&hidden);
    for _ in 0..3 {
        reader.read_changes().unwrap();
        assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(&*again));
    }
    wait_for_content(&mut reader, "firewall/100.fw", Some(&again), Some(&hidden));
    drop(reader);
    fuse.unmount();
}

#[test]
fn a_command_right_after_a_write_uses_the_new_content() {
    let dir = config_directory();
    let program = || env!("CARGO_BIN_EXE_pve-firewall").into();
    for count in 0..10 {
        let text = format!("{GUEST}IN ACCEPT -p tcp -dport {count}\n");
        write(dir.path(), "firewall/100.fw", &text);
        let mut reader = Reader::new(program(), dir.path().into(), "n1".into(), ReaderConfig::COMMAND, None);
        reader.settle().unwrap();
        assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(&text[..]));
    }
    fs::remove_file(dir.path().join("firewall/100.fw")).unwrap();
    let mut reader = Reader::new(program(), dir.path().into(), "n1".into(), ReaderConfig::COMMAND, None);
    reader.settle().unwrap();
    assert_eq!(accepted_content(&reader, "firewall/100.fw"), None);
}

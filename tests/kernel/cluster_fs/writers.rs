//! Files that are written in pieces, with another clock or with wrong content: no rule is dropped because of them.
use super::{CLUSTER, Cluster, initial_files, refusing, texts, vmlist};
use crate::wait::OutputInTime;
use std::fs;
use std::io::Write;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A process of this node that writes slowly: a partly written file is never used.
#[test]
fn a_slow_writer_of_this_node_removes_no_rules() {
    let files = initial_files();
    let cluster = Cluster::start("pvefw-slow", &texts(&files));
    let before = cluster.stream.final_count();
    let path = cluster.node.config().join(CLUSTER);
    for (port, chunk) in [(2, 24), (3, 60)] {
        // truncated first, for longer than it takes to accept an empty file
        let mut file = fs::File::create(&path).unwrap();
        sleep(Duration::from_millis(1400));
        for piece in refusing(port).as_bytes().chunks(chunk) {
            file.write_all(piece).unwrap();
            sleep(Duration::from_millis(400));
        }
        assert!(cluster.node.rules().contains(&format!("--dport {} -j DROP", port - 1)));
        drop(file);
        cluster.wait_for_rule(port);
    }
    assert_eq!(cluster.stream.final_count(), before, "refused packets passed");
    cluster.stop();
}

/// A process of another node whose clock is wrong, by seconds or years, and that writes in pieces.
#[test]
fn a_writer_with_another_clock_removes_no_rules() {
    let files = initial_files();
    let cluster = Cluster::start("pvefw-clocks", &texts(&files));
    let before = cluster.stream.final_count();
    for (port, offset) in [(2, -10), (3, 10), (4, -86_400 * 400)] {
        let text = refusing(port);
        let pieces: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        for end in [0].into_iter().chain(pieces) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            cluster.fuse.change(|state| state.put_at(CLUSTER, &text[..end], now.saturating_add_signed(offset)));
            sleep(Duration::from_millis(200));
        }
        cluster.wait_for_rule(port);
        sleep(Duration::from_millis(1500));
    }
    assert_eq!(cluster.stream.final_count(), before, "refused packets passed");
    cluster.stop();
}

/// `cp -p` onto a file of equal size and time: only an event reports it.
#[test]
fn a_copy_with_equal_size_and_time_is_detected() {
    let files = initial_files();
    let cluster = Cluster::start("pvefw-copy", &texts(&files));
    let before = cluster.stream.final_count();
    // until the file counts as at rest
    sleep(Duration::from_secs(15));
    let path = cluster.node.config().join(CLUSTER);
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    for port in 2..4 {
        let source = cluster.node.path("source");
        fs::write(&source, refusing(port)).unwrap();
        fs::File::options().write(true).open(&source).unwrap().set_modified(time).unwrap();
        let copied = Command::new("cp").arg("-p").arg(&source).arg(&path).output_in_time();
        assert!(copied.status.success());
        let began = Instant::now();
        cluster.wait_for_rule(port);
        assert!(began.elapsed() < Duration::from_secs(60));
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), time);
        sleep(Duration::from_secs(5));
    }
    assert_eq!(cluster.stream.final_count(), before, "refused packets passed");
    cluster.stop();
}

/// A list of guests that is truncated or has invalid entries: no guest's rules are removed because of it.
#[test]
fn an_invalid_list_of_guests_removes_no_rules() {
    let mut files = initial_files();
    files.push(("firewall/100.fw", "[OPTIONS]\nenable: 1\n".into()));
    let cluster = Cluster::start("pvefw-list", &texts(&files));
    let whole = vmlist(&[(100, "n1"), (102, "n2")]);
    let lists = [
        whole[..whole.len() - 3].to_string(),
        "[]".into(),
        r#"{"version":1,"ids":[]}"#.into(),
        r#"{"version":2,"ids":{"100":7}}"#.into(),
        r#"{"version":2,"ids":{"100":{"node":1,"type":2}}}"#.into(),
        r#"{"version":2,"ids":{"100":{"node":"n1","type":"jail"}}}"#.into(),
        r#"{"version":2,"ids":{"100":{"node":"n1","type":"qemu"},"100":{"node":"n2","type":"qemu"}}}"#.into(),
    ];
    for (number, list) in lists.iter().enumerate() {
        cluster.put(".vmlist", list);
        let port = u16::try_from(number).unwrap() + 10;
        cluster.node.wait_for_log(if number < 3 { ".vmlist " } else { ".vmlist: guest '100' is" });
        if number >= 3 {
            cluster.put(CLUSTER, &refusing(port));
            cluster.wait_for_rule(port);
        }
        assert!(cluster.node.rules().contains("tap100i0-IN"), "{list}: {:#?}", cluster.node.log());
    }
    cluster.stop();
}

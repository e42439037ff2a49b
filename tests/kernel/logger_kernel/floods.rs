//! More packets than the logger can process.
use crate::flood::{self, Sender};
use crate::logger::{Logger, packet_lines, skipped, wait_for, wait_for_ok};
use crate::netns::Netns;
use crate::rounds::rounds;
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

/// Bytes of a packet including headers.
const SMALL: usize = 46;
const LARGE: usize = 1400;

fn send_burst(netns: &Netns, length: usize, packets: usize) {
    netns.run(|| Sender::new(length).send_burst(packets));
}

/// Waits until all of these packets are written or reported as skipped.
fn wait_for_packets(logger: &Logger, packets: usize) -> String {
    wait_for(&format!("{packets} packets"), || {
        let text = logger.text();
        (packet_lines(&text) + skipped(&text) >= packets).then_some(text)
    })
}

/// Waits until the logger is idle.
fn wait_until_idle(logger: &Logger) -> (String, String) {
    let mut last = (sleeps(logger), processor_time(logger));
    wait_for("the logger to be idle", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = (sleeps(logger), processor_time(logger));
        (std::mem::replace(&mut last, now.clone()) == now).then_some(now)
    })
}

/// Voluntary context switches of the process.
fn sleeps(logger: &Logger) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", logger.pid())).unwrap();
    status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_string()
}

fn processor_time(logger: &Logger) -> String {
    fs::read_to_string(format!("/proc/{}/schedstat", logger.pid())).unwrap().split(' ').next().unwrap().to_string()
}

#[test]
fn bursts_of_small_packets_are_logged_without_drops() {
    let netns = flood::namespace("log-bursts");
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&netns, root.path(), &[]);
    for round in 1..=10 {
        send_burst(&netns, SMALL, 2000);
        let text = wait_for_packets(&logger, round * 2000);
        assert_eq!((packet_lines(&text), skipped(&text)), (round * 2000, 0));
    }
    assert_eq!(packet_lines(&logger.stop()), 20_000);
}

#[test]
fn an_overflow_is_counted_exactly_and_logging_continues() {
    // the queue holds about 430,000 small or 43,000 large packets
    for (length, packets) in rounds([(LARGE, 100_000), (SMALL, 450_000)]) {
        let netns = flood::namespace("log-overflow");
        let root = tempfile::tempdir().unwrap();
        let logger = Logger::start(&netns, root.path(), &[]);
        // a stopped logger: the kernel's queue overflows
        logger.signal(Signal::SIGSTOP);
        send_burst(&netns, length, packets);
        logger.signal(Signal::SIGCONT);
        // once the queue has been read, the sequence number of the next packet shows the drops
        wait_for("the lines of queued packets", || (packet_lines(&logger.text()) > 10_000).then_some(()));
        let mut extra = 0;
        let text = wait_for_ok("the number of skipped entries", || {
            send_burst(&netns, SMALL, 1);
            extra += 1;
            let text = logger.text();
            if skipped(&text) > 0 { Ok(text) } else { Err(format!("{} lines", packet_lines(&text))) }
        });
        assert!(text.contains("\n0 3 - "), "an error's level");
        let text = wait_for_packets(&logger, packets + extra);
        assert_eq!(packet_lines(&text) + skipped(&text), packets + extra);
        // after that, it neither spins nor drops a packet
        wait_until_idle(&logger);
        send_burst(&netns, length, 100);
        let text = wait_for_packets(&logger, packets + extra + 100);
        assert_eq!(packet_lines(&text) + skipped(&text), packets + extra + 100);
        let text = logger.stop();
        assert_eq!(packet_lines(&text) + skipped(&text), packets + extra + 100);
    }
}

#[test]
fn an_idle_logger_sleeps() {
    let netns = flood::namespace("log-idle");
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&netns, root.path(), &["--conntrack"]);
    send_burst(&netns, SMALL, 10);
    wait_for_packets(&logger, 10);
    let before = wait_until_idle(&logger);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((sleeps(&logger), processor_time(&logger)), before);
}

#[test]
fn packets_batched_in_the_kernel_are_written_at_the_end() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let netns = flood::namespace("log-batched");
        let root = tempfile::tempdir().unwrap();
        let mut logger = Logger::start(&netns, root.path(), &[]);
        send_burst(&netns, SMALL, 3);
        // at once, before the kernel has flushed the batch
        logger.signal(signal);
        assert!(logger.wait_for_exit().success());
        let text = logger.text();
        assert_eq!(packet_lines(&text), 3);
        let own: Vec<&str> = text.lines().filter(|line| line.starts_with("0 5 - ")).collect();
        assert!(own[0].ends_with(" starting pvefw logger"), "{text}");
        assert!(own[1].ends_with(" received terminate request (signal)"), "{text}");
        assert!(text.ends_with(" stopping pvefw logger\n"), "{text}");
    }
}

#[test]
fn sigterm_during_a_flood_drops_no_earlier_packet() {
    let netns = flood::namespace("log-term");
    let root = tempfile::tempdir().unwrap();
    let mut logger = Logger::start(&netns, root.path(), &[]);
    let (before, after) = netns.run(|| {
        let sender = Sender::new(SMALL);
        sender.send_burst(50_000);
        logger.signal(Signal::SIGTERM);
        sender.send_burst(50_000);
        (50_000, 100_000)
    });
    assert!(logger.wait_for_exit().success());
    let text = logger.text();
    assert!((before..=after).contains(&(packet_lines(&text) + skipped(&text))), "{}", packet_lines(&text));
    assert!(text.ends_with(" stopping pvefw logger\n"));
}

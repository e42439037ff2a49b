//! Traces of nftables: the lines of each step of a packet.
use super::packets::{bridged, send, without_variable_fields};
use crate::flood::{self, Sender};
use crate::logger::{Logger, packet_lines, skipped, wait_for};
use crate::netns::Netns;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;

/// The lines of the trace whose packet has this destination port, without variable fields and with `ID` for its id.
fn steps(logger: &Logger, port: u16, last: &str) -> Vec<String> {
    let first = logger.line_with(&format!(" DPT={port} "));
    let id = first.split_once(" trace id ").unwrap().1.split(' ').next().unwrap().to_string();
    wait_for(&format!("the step '{last}' of trace {id}"), || {
        let text = logger.text();
        let lines = text.lines().filter(|line| line.contains(&format!(" trace id {id} ")));
        let lines: Vec<String> = lines.map(|line| without_variable_fields(line).replace(&id, "ID")).collect();
        lines.last().is_some_and(|line| line.contains(last)).then_some(lines)
    })
}

#[test]
fn each_step_of_a_traced_packet_of_the_host_is_logged() {
    let netns = Netns::new("log-trace");
    netns.exec(
        "ip address add fd99::1/64 dev lo nodad
         nft -f - <<'END'
         table inet t {
             chain c {
                 meta mark set 7 return
             }
             chain out {
                 type filter hook output priority 0; policy accept;
                 udp dport 53 meta nftrace set 1
                 jump c
             }
         }
END",
    );
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&netns, root.path(), &[]);
    let v4 = "SRC=127.0.0.1 DST=127.0.0.1 LEN=33 TOS=0x00 PREC=0x00 TTL=64 DF";
    let v6 = "SRC=fd99::1 DST=fd99::1 LEN=13 TC=0 HOPLIMIT=64";
    // the handle of a rule depends on the kernel
    let handle = regex::Regex::new(r"rule \d+").unwrap();
    for (port, from, to, packet) in
        [(4000, "127.0.0.1:4000", "127.0.0.1:53", v4), (4001, "[fd99::1]:4001", "[fd99::1]:53", v6)]
    {
        send(&netns, from, to, b"hello");
        let first = logger.line_with(&format!(" SPT={port} "));
        let id = first.split_once(" trace id ").unwrap().1.split(' ').next().unwrap();
        logger.line_with(&format!(" trace id {id} inet t policy accept"));
        let text = logger.text();
        let lines =
            text.lines().filter(|line| line.contains(id)).map(|line| without_variable_fields(line).replace(id, "ID"));
        // Linux 6.1 does not name the rule of the verdict return
        let lines = lines.map(|line| line.replace(" t verdict return", " t rule 0 verdict return"));
        let lines: Vec<String> = lines.map(|line| handle.replace(&line, "rule N").into_owned()).collect();
        assert_eq!(
            lines,
            [
                format!(
                    "0 7 out DATE trace id ID inet t rule N verdict continue: OUT=lo {packet} PROTO=UDP SPT={port} DPT=53 LEN=13"
                ),
                "0 7 out DATE trace id ID inet t rule N verdict jump c".to_string(),
                "0 7 c DATE trace id ID inet t rule N verdict return: mark=7".to_string(),
                "0 7 out DATE trace id ID inet t verdict continue: mark=7".to_string(),
                "0 7 out DATE trace id ID inet t policy accept: mark=7".to_string(),
            ]
        );
    }
    assert!(!logger.stop().contains("INVALID="));
}

#[test]
fn steps_of_a_guests_packet_have_its_vmid() {
    let network = bridged();
    network.host.exec(
        "nft -f - <<'END'
         table bridge tracebridge {
             chain prerouting {
                 type filter hook prerouting priority -350; policy accept;
                 ip protocol udp meta nftrace set 1
             }
             chain postrouting {
                 type filter hook postrouting priority -350; policy drop;
             }
         }
END",
    );
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&network.host, root.path(), &[]);
    send(&network.guest, "10.99.0.1:4000", "10.99.0.2:53", b"hello");
    let lines = steps(&logger, 53, "policy drop");
    let packet = "MAC=02:00:00:00:00:02:02:00:00:00:00:01:08:00 SRC=10.99.0.1 DST=10.99.0.2 LEN=33 TOS=0x00 PREC=0x00 TTL=64 \
                  DF PROTO=UDP SPT=4000 DPT=53 LEN=13";
    let first = "100 7 prerouting DATE trace id ID bridge tracebridge rule ";
    assert!(lines[0].starts_with(first), "{lines:#?}");
    assert!(lines[0].ends_with(&format!(" verdict continue: IN=tap100i0 {packet}")), "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with("100 7 ")), "{lines:#?}");
    let policies: Vec<&String> = lines.iter().filter(|line| line.contains(" policy ")).collect();
    assert_eq!(policies[0], "100 7 prerouting DATE trace id ID bridge tracebridge policy accept");
    assert!(policies[1].starts_with("100 7 postrouting DATE trace id ID bridge tracebridge policy drop"), "{lines:#?}");
}

/// The number of lines of steps, and of steps that were reported as skipped.
fn trace_steps(text: &str) -> (usize, usize) {
    let lines = text.lines().filter(|line| line.contains(" trace id ")).count();
    let reports = text.lines().filter_map(|line| line.split_once(" skipped ")?.1.split_once(" trace steps"));
    (lines, reports.map(|(number, _)| number.parse::<usize>().unwrap()).sum())
}

#[test]
fn a_flood_of_traces_is_limited_and_counted_and_drops_no_logged_packet() {
    const PACKETS: usize = 10_000;
    let netns = flood::namespace("log-trace-flood");
    netns.exec(
        "nft -f - <<'END'
         table inet t {
             chain out {
                 type filter hook output priority 10; policy accept;
                 udp dport 9 meta nftrace set 1
             }
         }
END",
    );
    let logged = |packets: usize, stopped: bool| {
        let root = tempfile::tempdir().unwrap();
        let logger = Logger::start(&netns, root.path(), &[]);
        // a stopped logger: the queue of the kernel overflows
        if stopped {
            logger.signal(Signal::SIGSTOP);
        }
        netns.run(|| Sender::new(46).send_burst(packets));
        if stopped {
            logger.signal(Signal::SIGCONT);
        }
        let text = logger.stop();
        assert_eq!((packet_lines(&text), skipped(&text)), (packets, 0));
        text
    };
    // iptables has chains in nftables, or not
    let (steps, 0) = trace_steps(&logged(10, false)) else { panic!("steps of ten packets were skipped") };
    assert!(steps >= 20 && steps.is_multiple_of(10), "{steps}");
    for stopped in [false, true] {
        let text = logged(PACKETS, stopped);
        let (lines, skipped) = trace_steps(&text);
        assert_eq!(lines + skipped, PACKETS / 10 * steps, "stopped: {stopped}");
        let mut seconds = BTreeMap::<&str, u32>::new();
        for line in text.lines().filter(|line| line.contains(" trace id ")) {
            *seconds.entry(line.split(' ').nth(3).unwrap()).or_default() += 1;
        }
        // the seconds of the limit begin with a step, those of the log with the clock
        assert!(seconds.values().all(|lines| *lines <= 2000), "{seconds:?}");
    }
}

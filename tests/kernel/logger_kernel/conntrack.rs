//! Connections: the lines match those of conntrack(8) running in parallel.
use crate::frames;
use crate::logger::{Logger, skipped, wait_for, wait_for_ok};
use crate::netns::Netns;
use crate::wait::WaitInTime;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};
use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Stdio};

/// A namespace in which every connection is tracked.
fn tracked(name: &str, accounting: bool) -> Netns {
    let netns = Netns::new(name);
    let value = u8::from(accounting);
    netns.exec(&format!(
        "echo {value} > /proc/sys/net/netfilter/nf_conntrack_acct
         echo {value} > /proc/sys/net/netfilter/nf_conntrack_timestamp
         iptables -w -A OUTPUT -m conntrack --ctstate NEW -j ACCEPT
         ip6tables -w -A OUTPUT -m conntrack --ctstate NEW -j ACCEPT"
    ));
    netns
}

/// `conntrack -E`, with its output in a file; killed when dropped.
struct Reference(Child);

impl Reference {
    fn start(netns: &Netns, output: &std::path::Path) -> Self {
        let file = fs::File::create(output).unwrap();
        let mut command = netns.command("stdbuf");
        command.args(["-oL", "conntrack", "-E", "-e", "NEW,DESTROY", "-o", "extended,ktimestamp", "-b", "8388608"]);
        Reference(command.stdout(file).stderr(Stdio::null()).spawn().expect("conntrack"))
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.0.kill();
        self.0.wait_in_time();
    }
}

fn conntrack_lines(text: &str) -> BTreeSet<String> {
    // only conntrack(8) prints the program that deleted the connection
    let strip = |line: &str| line.split(" [USERSPACE]").next().unwrap_or_default().trim_end().to_string();
    text.lines().filter(|line| line.starts_with("    [NEW]") || line.starts_with("[DESTROY]")).map(strip).collect()
}

/// Sends an IPv4 packet to this host; the kernel sets the header checksum.
fn send_ipv4(protocol: u8, rest: &[u8]) {
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    packet.extend(rest);
    let fd = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).unwrap();
    let address = SockaddrIn::new(127, 0, 0, 1, 0);
    sendto(fd.as_raw_fd(), &packet, &address, MsgFlags::empty()).unwrap();
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum: u32 = bytes.chunks(2).map(|nodes| u32::from(nodes[0]) << 8 | u32::from(*nodes.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}

fn with_checksum(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    let sum = checksum(&bytes);
    bytes[at..at + 2].copy_from_slice(&sum);
    bytes
}

/// One connection of each kind.
fn connect(netns: &Netns) {
    netns.run(|| {
        for listener in [TcpListener::bind("127.0.0.1:8080"), TcpListener::bind("[::1]:8080")] {
            let listener = listener.unwrap();
            drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            drop(listener.accept().unwrap());
        }
        // the port is closed: refused, and reset for TCP
        assert!(TcpStream::connect("127.0.0.1:81").is_err());
        for (from, to) in [("127.0.0.1:4001", "127.0.0.1:4001"), ("[::1]:4002", "[::1]:4003")] {
            UdpSocket::bind(from).unwrap().send_to(b"hello", to).unwrap();
        }
        let echo = with_checksum(vec![8, 0, 0, 0, 3, 9, 0, 1], 2);
        let sctp = [&[3, 0xe8, 7, 0xd0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20][..], &[1; 16]].concat();
        let key = [0x20, 1, 0x88, 0x0b, 0, 4, 0x12, 0x34, 0, 0, 0, 0];
        for (protocol, rest) in [(1, &echo[..]), (132, &sctp), (47, &[0, 0, 8, 0, 0, 0]), (47, &key), (253, b"hello")] {
            send_ipv4(protocol, rest);
        }
        frames::send("lo", &icmpv6_echo());
    });
}

fn icmpv6_echo() -> Vec<u8> {
    let mut addresses = vec![0; 32];
    (addresses[15], addresses[31]) = (1, 1);
    let echo = [128, 0, 0, 0, 3, 9, 0, 1];
    let pseudo = [&addresses[..], &[0, 0, 0, 8, 0, 0, 0, 58], &echo].concat();
    let sum = checksum(&pseudo);
    let mut frame = vec![0; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 64]);
    frame.extend(&addresses);
    frame.extend([128, 0, sum[0], sum[1], 3, 9, 0, 1]);
    frame
}

#[test]
fn lines_match_the_output_of_conntrack() {
    for accounting in [false, true] {
        let netns = tracked("log-conntrack", accounting);
        // frames from outside are tracked at the input
        netns.exec(
            "iptables -w -A INPUT -m conntrack --ctstate NEW -j ACCEPT
             ip6tables -w -A INPUT -m conntrack --ctstate NEW -j ACCEPT
             iptables -w -t mangle -A OUTPUT -p udp -j CONNMARK --set-mark 7
             for hook in OUTPUT PREROUTING; do
                 iptables -w -t raw -A $hook -p udp --dport 4001 -j CT --zone-orig 5
                 iptables -w -t raw -A $hook -p icmp -j CT --zone 6
             done",
        );
        let root = tempfile::tempdir().unwrap();
        let output = root.path().join("conntrack.txt");
        let reference = Reference::start(&netns, &output);
        let logger = Logger::start(&netns, root.path(), &["--conntrack"]);
        // it is ready when it prints events
        wait_for("conntrack", || {
            netns.run(|| UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"", "127.0.0.1:9").unwrap());
            fs::read_to_string(&output).unwrap().contains("[NEW]").then_some(())
        });
        connect(&netns);
        // for a duration greater than zero
        std::thread::sleep(std::time::Duration::from_millis(1100));
        netns.exec("conntrack -D");
        let seen = |text: &str| {
            let lines = conntrack_lines(text);
            let of =
                |part: &str| lines.iter().filter(|line| line.starts_with("[DESTROY]") && line.contains(part)).count();
            ["tcp ", "udp ", "icmp ", "icmpv6 ", "sctp ", "gre ", "unknown "].iter().all(|name| of(name) > 0)
        };
        wait_for("the end of all connections", || {
            (seen(&fs::read_to_string(&output).unwrap()) && seen(&logger.text())).then_some(())
        });
        // events before the start of conntrack(8) are only in our log
        let early = |line: &str| line.contains(" dport=9 ") && line.starts_with("    [NEW]");
        let expected = wait_for_ok("the same lines of both", || {
            let expected = conntrack_lines(&fs::read_to_string(&output).unwrap());
            let ours = conntrack_lines(&logger.text());
            let different: Vec<_> = expected.symmetric_difference(&ours).filter(|line| !early(line)).collect();
            if different.is_empty() { Ok(expected) } else { Err(format!("{different:#?}")) }
        });
        drop(reference);
        assert_eq!(expected.iter().any(|line| line.contains(" packets=")), accounting);
        assert_eq!(expected.iter().any(|line| line.contains(" [stop=")), accounting);
        for part in [" mark=7", " zone-orig=5 ", " zone=6"] {
            assert!(expected.iter().any(|line| line.contains(part)), "{part}");
        }
    }
}

#[test]
fn log_nf_conntrack_is_read_at_the_start_and_at_sighup() {
    let netns = tracked("log-switch", false);
    let root = tempfile::tempdir().unwrap();
    let switch = root.path().join("var/lib/pve-firewall/log_nf_conntrack");
    fs::create_dir_all(switch.parent().unwrap()).unwrap();
    let send = |port: u16| {
        netns.run(|| UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"", ("127.0.0.1", port)).unwrap());
    };
    fs::write(&switch, "1").unwrap();
    let logger = Logger::start(&netns, root.path(), &[]);
    send(1001);
    logger.line_with(" dport=1001 ");
    for (content, port, logged) in [("0\n", 1002, false), ("1\n", 1003, true)] {
        fs::write(&switch, content).unwrap();
        // the reload is complete when the log exists again
        fs::rename(logger.log(), logger.log().with_extension("1")).unwrap();
        logger.signal(Signal::SIGHUP);
        wait_for("the reload", || logger.log().exists().then_some(()));
        // the switch is read right after that: a second signal makes sure
        logger.signal(Signal::SIGHUP);
        wait_for("the second reload", || is_sleeping(&logger).then_some(()));
        send(port);
        if logged {
            logger.line_with(&format!(" dport={port} "));
        }
    }
    assert!(!logger.stop().contains(" dport=1002 "));
}

/// Whether the process is sleeping.
fn is_sleeping(logger: &Logger) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", logger.pid())).unwrap();
    let pending = fs::read_to_string(format!("/proc/{}/status", logger.pid())).unwrap();
    stat.contains(") S ") && pending.lines().any(|line| line == "ShdPnd:\t0000000000000000")
}

#[test]
fn dropped_events_are_counted() {
    const EVENTS: u16 = 40_000;
    let netns = tracked("log-events", false);
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&netns, root.path(), &["--conntrack"]);
    logger.signal(Signal::SIGSTOP);
    netns.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:65000").unwrap();
        for port in 1..=EVENTS {
            // what is dropped while the queue is read counts as well
            if port == EVENTS / 2 {
                logger.signal(Signal::SIGCONT);
            }
            // an ICMP error of the previous packet
            let _ = socket.send_to(b"", ("127.0.0.1", port));
        }
    });
    let new =
        |text: &str| text.lines().filter(|line| line.starts_with("    [NEW]") && line.contains("sport=65000")).count();
    let text = wait_for_ok("all events", || {
        let text = logger.text();
        let (new, skipped) = (new(&text), skipped(&text));
        if new + skipped >= usize::from(EVENTS) { Ok(text) } else { Err(format!("{new} lines, {skipped} skipped")) }
    });
    assert!(skipped(&text) > 0, "the queue held {EVENTS} events");
    assert_eq!(new(&text) + skipped(&text), usize::from(EVENTS));
}

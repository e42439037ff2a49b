//! The daemon on a file system like pmxcfs, while packets arrive that the old and the new configuration refuse: none
//! passes. Needs root and `/dev/fuse`.
mod writers;

use crate::fuse::Fuse;
use crate::netns::Netns;
use crate::node::{Node, wait_for};
use crate::packets::{PEER, Stream};
use crate::wait::{JoinInTime, WaitInTime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// Where pmxcfs has its database.
const DATABASE: &str = "var/lib/pve-cluster";
const CLUSTER: &str = "firewall/cluster.fw";
/// The daemon's message when it does not detect writes of other nodes at once.
const FALLBACK: &str = "writes by other nodes are polled for twice a second";

/// Accepts everything except one port and the packets of [`Stream`], which the last rule refuses.
fn refusing(port: u16) -> String {
    format!(
        "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\n[RULES]\n# a line that makes it longer\nIN DROP -p tcp -dport {port}\n\
        IN DROP -p udp -dport 7777 -source {PEER}\n"
    )
}

fn vmlist(guests: &[(u32, &str)]) -> String {
    let guest = |(vmid, node): &(u32, &str)| format!(r#""{vmid}":{{"node":"{node}","type":"qemu","version":1}}"#);
    let guests: Vec<_> = guests.iter().map(guest).collect();
    format!(r#"{{"version":1,"ids":{{{}}}}}"#, guests.join(","))
}

fn conf(vmid: u32) -> String {
    format!("net0: virtio=02:00:00:00:00:{:02},bridge=vmbr0,firewall=1\n", vmid % 100)
}

/// A node on the test's file system, with its log, and a daemon.
struct Cluster {
    // the daemon ends before its file system does
    node: Node,
    fuse: Fuse,
    daemon: Child,
    /// Packets to the node.
    stream: Stream,
}

impl Cluster {
    fn start(name: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with(name, files, |_| {})
    }

    /// Runs a closure on the directory of the log before the daemon starts.
    fn start_with(name: &str, files: &[(&str, &str)], prepare: impl FnOnce(&Node)) -> Self {
        let node = Node::without_files(name);
        let fuse = Fuse::mount_logged(&node.config(), files, &node.path(DATABASE));
        prepare(&node);
        let stream = Stream::start(&node.netns);
        let daemon = node.start();
        Cluster { node, fuse, daemon, stream }
    }

    fn put(&self, path: &str, content: &str) {
        self.fuse.change(|state| state.put(path, content));
    }

    fn wait_for_rule(&self, port: u16) {
        self.node.wait_for_rule(&format!("--dport {port} -j DROP"));
    }

    fn stop(mut self) {
        kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(self.daemon.wait_in_time().success());
        assert_eq!(self.node.own_rules(), "");
        self.fuse.unmount();
    }
}

fn initial_files() -> Vec<(&'static str, String)> {
    vec![
        (".vmlist", vmlist(&[(100, "n1")])),
        (".members", r#"{"nodename":"n1","version":4}"#.into()),
        (CLUSTER, refusing(1)),
        ("nodes/n1/qemu-server/100.conf", conf(100)),
    ]
}

fn texts<'a>(files: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    files.iter().map(|(path, text)| (*path, text.as_str())).collect()
}

/// The tree of a node that was just installed, and of one whose last guest was deleted.
#[test]
fn a_node_without_guests_has_a_firewall() {
    const EMPTY: &str = "{\n\"version\": 1\n}\n";
    let files = [(".vmlist", EMPTY), (".members", r#"{"nodename":"n1","version":0}"#), (".version", "{}")];
    let cluster = Cluster::start("pvefw-young", &files);
    assert_eq!(cluster.node.run_ok(&["status"]), "Status: disabled/running\n");
    cluster.put(CLUSTER, &refusing(1));
    cluster.wait_for_rule(1);
    let before = cluster.stream.final_count();
    cluster.put("nodes/n1/qemu-server/100.conf", &conf(100));
    cluster.put(".vmlist", &vmlist(&[(100, "n1")]));
    cluster.put("firewall/100.fw", "[OPTIONS]\nenable: 1\n");
    cluster.node.wait_for_rule("tap100i0-IN");
    cluster.fuse.change(|state| {
        state.remove("nodes/n1/qemu-server/100.conf");
        state.remove("firewall/100.fw");
        state.put(".vmlist", EMPTY);
    });
    wait_for("the removal of the guest's rules", || (!cluster.node.rules().contains("tap100i0-IN")).then_some(()));
    cluster.put(CLUSTER, &refusing(2));
    cluster.wait_for_rule(2);
    assert_eq!(cluster.stream.final_count(), before, "refused packets passed");
    // the machine's own settings are not this namespace's to change
    let errors = cluster.node.log().into_iter().filter(|line| line.contains("error") && !line.contains("cannot set"));
    assert_eq!(errors.collect::<Vec<_>>(), [""; 0]);
    cluster.stop();
}

/// A guest's network as Proxmox VE creates it: a separate bridge between the external network and its device.
struct Guest {
    _outside: Netns,
    _inside: Netns,
    received: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
}

impl Guest {
    /// A migration begins: the device of guest 101 appears, and packets come for it.
    fn attach(host: &Netns) -> Self {
        let (outside, inside) = (Netns::new("outside"), Netns::new("inside"));
        host.exec(&format!(
            "ip link add fwbr101i0 type bridge; ip link set fwbr101i0 up
            ip link add fwln101i0 type veth peer name o0 netns {}; ip link set fwln101i0 master fwbr101i0 up
            ip link add tap101i0 type veth peer name g0 netns {}; ip link set tap101i0 master fwbr101i0 up",
            outside.name(),
            inside.name()
        ));
        outside.exec("ip addr add 10.78.0.1/24 dev o0; ip link set o0 up");
        inside.exec("ip addr add 10.78.0.2/24 dev g0; ip link set g0 up");
        let socket = inside.run(|| UdpSocket::bind("10.78.0.2:7777").unwrap());
        let sender = outside.run(|| UdpSocket::bind("10.78.0.1:0").unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (received, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (received.clone(), done.clone());
        spawn(move || {
            while !end.load(Ordering::SeqCst) {
                count.fetch_add(u64::from(socket.recv(&mut [0; 64]).is_ok()), Ordering::SeqCst);
            }
        });
        let end = done.clone();
        spawn(move || {
            while !end.load(Ordering::SeqCst) {
                let _ = sender.send_to(b"x", "10.78.0.2:7777");
                sleep(Duration::from_millis(1));
            }
        });
        Guest { _outside: outside, _inside: inside, received, done }
    }

    fn final_count(&self) -> u64 {
        loop {
            let before = self.received.load(Ordering::SeqCst);
            sleep(Duration::from_millis(60));
            if self.received.load(Ordering::SeqCst) == before {
                return before;
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_guest_that_arrives_is_firewalled_from_when_its_device_appears() {
    let (here, away) = ("nodes/n1/qemu-server/101.conf", "nodes/n2/qemu-server/101.conf");
    let mut files = initial_files();
    files[0].1 = vmlist(&[(100, "n1"), (101, "n2")]);
    files.push((away, conf(101)));
    files.push(("firewall/101.fw", "[OPTIONS]\nenable: 1\n".into()));
    let cluster = Cluster::start("pvefw-migrate", &texts(&files));
    let rules = "tap101i0-IN";
    assert!(!cluster.node.rules().contains(rules));
    let guest = Guest::attach(&cluster.node.netns);
    cluster.node.wait_for_rule(rules);
    let before = guest.final_count();
    // a second later its file moves; the size and time of .vmlist do not change
    sleep(Duration::from_secs(1));
    cluster.fuse.change(|state| state.migrate(away, here, &vmlist(&[(100, "n1"), (101, "n1")])));
    sleep(Duration::from_secs(3));
    assert!(cluster.node.rules().contains(rules));
    // and back again: its rules stay as long as its device does
    cluster.fuse.change(|state| state.migrate(here, away, &vmlist(&[(100, "n1"), (101, "n2")])));
    sleep(Duration::from_secs(3));
    assert!(cluster.node.rules().contains(rules));
    assert_eq!(guest.final_count(), before, "refused packets passed");
    cluster.node.netns.exec("ip link del tap101i0");
    wait_for("the removal of its rules", || (!cluster.node.rules().contains(rules)).then_some(()));
    drop(guest);
    // without a device, its configuration file decides
    cluster.fuse.change(|state| state.migrate(away, here, &vmlist(&[(100, "n1"), (101, "n1")])));
    cluster.node.wait_for_rule(rules);
    assert_eq!(cluster.node.logged(FALLBACK), 0, "{:#?}", cluster.node.log());
    cluster.stop();
}

#[test]
fn an_idle_node_reads_little_and_detects_writes_of_other_nodes() {
    let files = initial_files();
    let cluster = Cluster::start("pvefw-idle", &texts(&files));
    cluster.put(CLUSTER, &refusing(2));
    cluster.wait_for_rule(2);
    let before = cluster.stream.final_count();
    // until everything is read again after the start
    sleep(Duration::from_secs(15));
    let requests = cluster.fuse.requests();
    sleep(Duration::from_secs(12));
    let idle = cluster.fuse.requests() - requests;
    // two cycles at most: lists, and some requests for each of five files
    assert!(idle < 200, "{idle} requests in 12 s");
    for port in 3..6 {
        match port % 2 {
            0 => cluster.put(CLUSTER, &refusing(port)),
            _ => cluster.fuse.change(|state| state.replace(CLUSTER, &refusing(port))),
        }
        let began = Instant::now();
        cluster.wait_for_rule(port);
        println!("live after {:?}", began.elapsed());
        sleep(Duration::from_millis(1500));
    }
    assert_eq!(cluster.stream.final_count(), before, "refused packets passed");
    assert_eq!(cluster.node.logged(FALLBACK), 0, "{:#?}", cluster.node.log());
    // a log that does not show a change is no longer used, and this is reported once
    sleep(Duration::from_secs(3));
    cluster.fuse.change(|state| state.stop_logging());
    cluster.put(CLUSTER, &refusing(7));
    cluster.wait_for_rule(7);
    cluster.node.wait_for_log(FALLBACK);
    for port in 8..10 {
        cluster.put(CLUSTER, &refusing(port));
        cluster.wait_for_rule(port);
    }
    assert_eq!(cluster.node.logged(FALLBACK), 1, "{:#?}", cluster.node.log());
    assert_eq!(cluster.stream.final_count(), before, "refused packets passed");
    cluster.stop();
}

/// A change of a node.
type Change = fn(&Node);

/// Changes of the log's directory, and whether each is reported.
const UNUSABLE_LOGS: [(&str, Change, bool); 4] = [
    ("missing", move_log, true),
    (
        "a file",
        |node| {
            move_log(node);
            fs::write(node.path(DATABASE), "").unwrap();
        },
        true,
    ),
    (
        "a link to nothing",
        |node| {
            move_log(node);
            symlink("nowhere", node.path(DATABASE)).unwrap();
        },
        true,
    ),
    (
        "a link",
        |node| {
            move_log(node);
            symlink(node.path("away"), node.path(DATABASE)).unwrap();
        },
        false,
    ),
];

fn move_log(node: &Node) {
    fs::rename(node.path(DATABASE), node.path("away")).unwrap();
}

/// The log's directory is not usable: changes are found nevertheless, and it is reported once.
#[test]
fn a_log_that_cannot_be_followed_is_reported_once() {
    let files = initial_files();
    for (what, change, reported) in UNUSABLE_LOGS {
        let cluster = Cluster::start_with("pvefw-log", &texts(&files), change);
        let before = cluster.stream.final_count();
        for port in 2..4 {
            cluster.put(CLUSTER, &refusing(port));
            cluster.wait_for_rule(port);
        }
        assert_eq!(cluster.node.logged(FALLBACK), usize::from(reported), "{what}: {:#?}", cluster.node.log());
        assert_eq!(cluster.stream.final_count(), before, "{what}: refused packets passed");
        cluster.stop();
    }
}

#[test]
fn constant_writes_to_the_log_by_another_program_cause_few_reads() {
    let files = initial_files();
    let cluster = Cluster::start("pvefw-noise", &texts(&files));
    let (log, other) = (cluster.node.path(DATABASE).join("config.db-wal"), cluster.node.path(DATABASE).join("other"));
    let done = Arc::new(AtomicBool::new(false));
    let end = done.clone();
    let writer = spawn(move || {
        let mut files = [log, other].map(|path| fs::File::options().append(true).create(true).open(path).unwrap());
        while !end.load(Ordering::SeqCst) {
            files.iter_mut().for_each(|file| file.write_all(b"x").unwrap());
            sleep(Duration::from_micros(200));
        }
    });
    sleep(Duration::from_secs(2));
    // each look reads the list of guests
    let before = cluster.fuse.opened(".vmlist");
    sleep(Duration::from_secs(5));
    let reads = cluster.fuse.opened(".vmlist") - before;
    // one in 200 ms, and a cycle
    assert!(reads <= 27, "{reads} reads in 5 s");
    for port in 2..4 {
        cluster.put(CLUSTER, &refusing(port));
        cluster.wait_for_rule(port);
    }
    done.store(true, Ordering::SeqCst);
    writer.join_in_time();
    cluster.stop();
}

//! The cost of a packet with different numbers of firewalled devices: `make bench-traffic`.
//!
//! `PVEFW_DEVICES=10,1000` sets the numbers of devices, `PVEFW_VARIANTS=legacy` the variants of iptables, and `PVEFW_PACKETS=6000`
//! the packets of a run.
//! `docs/performance.md` describes the method.
#![allow(clippy::disallowed_methods, reason = "a bench does I/O")]
#[path = "../tests/support/netns.rs"]
mod netns;
#[path = "node/sandbox.rs"]
mod sandbox;
#[path = "../tests/support/testbed/mod.rs"]
mod testbed;
#[path = "../tests/support/trees.rs"]
mod trees;
#[path = "../tests/support/wait.rs"]
mod wait;

use etherparse::PacketBuilder;
use nix::time::{ClockId, clock_gettime};
use pve_firewall::backend::Backend;
use pve_firewall::inputs::Tree;
use pve_firewall::iptables::apply::VariantChoice;
use pve_firewall::model::BackendKind;
use pve_firewall::system::root_directory::Root;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};
use testbed::{CT200, DEVICES, Endpoint, TestBed, VM100};

/// The number of packets of a run, each of a new connection or all of the same one; `PVEFW_PACKETS` sets it, for emulated machines.
static PACKETS: LazyLock<u16> =
    LazyLock::new(|| std::env::var("PVEFW_PACKETS").map_or(60_000, |count| count.parse().expect("PVEFW_PACKETS=N")));
const RUNS: usize = 5;
/// An unused address behind the measured guest: packets to it are dropped there without a reply.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 222);
const HEADINGS: [&str; 6] = [
    "new connection, µs",
    "new connections a second",
    "established, µs",
    "established a second",
    "SYN, µs",
    "other guest, µs",
];

fn main() -> ExitCode {
    if let Some(code) = sandbox::run() {
        return code;
    }
    let words = |name: &str, default: &str| -> Vec<String> {
        let text = std::env::var(name).unwrap_or_else(|_| default.into());
        text.split(',').map(str::to_string).collect()
    };
    let counts: Vec<usize> = words("PVEFW_DEVICES", "10,100,1000,4000")
        .iter()
        .map(|count| count.parse().expect("PVEFW_DEVICES=N,N,..."))
        .collect();
    println!("| rules | devices | {} |", HEADINGS.map(|heading| format!("{heading} | ratio")).join(" | "));
    println!("| --- | ---: |{}", " ---: |".repeat(2 * HEADINGS.len()));
    for rules in words("PVEFW_VARIANTS", "legacy,nft,nftables") {
        let mut first = None;
        for count in &counts {
            let figures = match measure(*count, &rules) {
                Ok(figures) => figures,
                Err(reason) => {
                    eprintln!("{rules}: {reason}");
                    break;
                }
            };
            let first = *first.get_or_insert(figures);
            let cells = figures.iter().zip(first).map(|(figure, first)| {
                let digits = if *figure < 1000.0 { 2 } else { 0 };
                format!("{figure:.digits$} | {:.2}", figure / first)
            });
            println!("| {rules} | {count} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
    ExitCode::SUCCESS
}

/// The medians for the columns of [`HEADINGS`].
///
/// # Errors
/// If the kernel does not support these rules.
fn measure(devices: usize, rules: &str) -> Result<[f64; HEADINGS.len()], String> {
    let testbed = TestBed::new("pvt");
    let mac = testbed::text(CT200.mac());
    testbed.outside.exec(&format!(
        "ip addr add {}/24 dev eth0; ip neigh replace {ADDRESS} lladdr {mac} dev eth0 nud permanent",
        Endpoint::Outside.addresses()[0]
    ));
    for guest in [CT200, VM100] {
        testbed.netns(guest).exec(&format!("ip addr add {}/24 dev eth0", guest.addresses()[0]));
    }
    let root = tempfile::tempdir().expect("a directory");
    load(&testbed, &Root::new(Some(root.path().into())), devices, rules)?;
    let mut runs: Vec<[f64; HEADINGS.len()]> = Vec::new();
    // an additional run first, to warm up
    for _ in 0..=RUNS {
        runs.push(run(&testbed));
    }
    let median = |at: usize| {
        let mut figures: Vec<f64> = runs[1..].iter().map(|run| run[at]).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    Ok(std::array::from_fn(median))
}

/// Makes the rules for this number of devices live. `rules` is a variant of iptables, or `nftables` for that backend.
fn load(testbed: &TestBed, root: &Root, devices: usize, rules: &str) -> Result<(), String> {
    let (kind, variant) = match rules {
        "nftables" => (BackendKind::Nftables, VariantChoice::Auto),
        variant => (BackendKind::Iptables, variant.parse()?),
    };
    testbed.node.run(|| {
        let mut backend = Backend::new(kind, root, variant, 2);
        let compiled = backend.compile(&configuration(devices), trees::facts());
        let outcome = backend.maintain(&compiled);
        outcome.errors.into_iter().next().map_or(Ok(()), Err)
    })
}

fn run(testbed: &TestBed) -> [f64; HEADINGS.len()] {
    let forget = || testbed.node.exec("conntrack -F 2>/dev/null");
    forget();
    let established = established(testbed);
    forget();
    let socket = testbed.outside.run(|| UdpSocket::bind("0.0.0.0:4000")).expect("a socket");
    let new = send(|number| {
        socket.send_to(b"x", SocketAddr::new(ADDRESS.into(), number)).expect("sending");
    });
    let tracked: usize = testbed.node.exec("conntrack -C").trim().parse().expect("the number of connections");
    assert!(tracked * 10 >= usize::from(*PACKETS) * 9, "{tracked} connections: packets were lost");
    forget();
    let (syn, other) = flood(testbed);
    [new.0, new.1, established.0, established.1, syn.0, other]
}

/// Packets of a connection with a reply from the guest.
fn established(testbed: &TestBed) -> (f64, f64) {
    let guest = SocketAddr::new(CT200.addresses()[0], 9);
    let server = testbed.netns(CT200).run(|| UdpSocket::bind(guest)).expect("a socket in the guest");
    let socket = testbed.outside.run(|| UdpSocket::bind("0.0.0.0:4000")).expect("a socket");
    socket.send_to(b"x", guest).expect("sending");
    let (_, client) = server.recv_from(&mut [0; 8]).expect("a packet in the guest");
    server.send_to(b"x", client).expect("answering");
    socket.recv_from(&mut [0; 8]).expect("the answer");
    send(|_| {
        socket.send_to(b"x", guest).expect("sending");
    })
}

/// A flood of SYN packets to the measured guest while another guest answers requests: the cost of a SYN packet, and the time
/// of a request and its reply, in microseconds.
fn flood(testbed: &TestBed) -> ((f64, f64), f64) {
    let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)));
    let raw = testbed.outside.run(raw).expect("a raw socket");
    let address = SocketAddr::new(VM100.addresses()[0], 9);
    let server = testbed.netns(VM100).run(|| UdpSocket::bind(address)).expect("a socket in the other guest");
    let client = testbed.outside.run(|| UdpSocket::bind("0.0.0.0:4001")).expect("a socket");
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
    }
    let IpAddr::V4(source) = Endpoint::Outside.addresses()[0] else { panic!("an IPv4 address") };
    let over = AtomicBool::new(false);
    scope(|threads| {
        threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Ok((_, from)) = server.recv_from(&mut [0; 8]) {
                    server.send_to(b"x", from).expect("answering");
                }
            }
        });
        let flooding = threads.spawn(|| {
            let costs = send(|number| {
                let mut packet = Vec::new();
                let builder = PacketBuilder::ipv4(source.octets(), ADDRESS.octets(), 64).tcp(number, 80, 1, 1024).syn();
                builder.write(&mut packet, &[]).expect("a packet");
                raw.send_to(&packet, &SocketAddr::new(ADDRESS.into(), 0).into()).expect("sending");
            });
            over.store(true, Ordering::Relaxed);
            costs
        });
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let began = Instant::now();
            client.send_to(b"x", address).expect("sending");
            match client.recv_from(&mut [0; 8]) {
                Ok(_) => times.push(began.elapsed().as_secs_f64() * 1e6),
                Err(error) => assert!(over.load(Ordering::Relaxed), "no answer of the other guest: {error}"),
            }
        }
        times.sort_by(f64::total_cmp);
        (flooding.join().expect("the flood"), times[times.len() / 2])
    })
}

/// Sends packets; returns the processor time of each in microseconds, and their number per second. The packets pass the bridges
/// and rules in the sender's thread.
fn send(mut packet: impl FnMut(u16)) -> (f64, f64) {
    let used = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock"));
    let (began, clock) = (used(), Instant::now());
    (1..=*PACKETS).for_each(&mut packet);
    let packets = f64::from(*PACKETS);
    ((used() - began).as_secs_f64() * 1e6 / packets, packets / clock.elapsed().as_secs_f64())
}

/// The guests of the test bed and others, with this total number of firewalled devices. The measured device is the last.
fn configuration(devices: usize) -> Tree {
    let own = DEVICES.iter().filter(|device| device.firewalled).count();
    let mut files = vec![("firewall/cluster.fw".to_string(), "[OPTIONS]\nenable: 1\n".to_string())];
    let rules = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p udp\nIN ACCEPT -p tcp -dport 80\n";
    for (vmid, directory) in [(100, "qemu-server"), (101, "qemu-server"), (200, "lxc")] {
        let conf = DEVICES.iter().filter(|device| device.vmid == vmid).map(testbed::Device::conf).collect();
        files.push((format!("nodes/n1/{directory}/{vmid}.conf"), conf));
        files.push((format!("firewall/{vmid}.fw"), rules.to_string()));
    }
    for vmid in (102..).filter(|vmid| *vmid != 200).take(devices.saturating_sub(own)) {
        let conf = "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\n";
        files.push((format!("nodes/n1/qemu-server/{vmid}.conf"), conf.to_string()));
        files.push((format!("firewall/{vmid}.fw"), rules.to_string()));
    }
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    trees::tree(&files)
}

//! What a packet costs at different numbers of firewalled devices: `make bench-traffic`.
//!
//! `PVEFW_DEVICES=10,1000` sets the numbers of devices, `PVEFW_VARIANTS=legacy` the variants of iptables.
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

use nix::time::{ClockId, clock_gettime};
use pve_firewall::iptables::apply::{Firewall, VariantChoice};
use pve_firewall::iptables::compile::{Compiled, compile};
use pve_firewall::system::root::Root;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;
use testbed::{Bed, CT200, DEVICES, Place};

/// Packets of a run: each begins a connection, or belongs to the same one.
const PACKETS: u16 = 60_000;
const RUNS: usize = 5;
/// An address behind the measured guest that nobody has: what arrives is dropped there without a reply.
const ADDRESS: &str = "10.0.0.222";

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
    println!("| variant | devices | new connection, µs | ratio | established, µs | ratio |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for variant in words("PVEFW_VARIANTS", "legacy,nft") {
        let mut first = None;
        for count in &counts {
            let (new, established) = measure(*count, &variant);
            let (new_first, established_first) = *first.get_or_insert((new, established));
            let (new_ratio, established_ratio) = (new / new_first, established / established_first);
            println!("| {variant} | {count} | {new:.2} | {new_ratio:.2} | {established:.2} | {established_ratio:.2} |");
        }
    }
    ExitCode::SUCCESS
}

/// The processor time of a packet that begins a connection and of one of an established connection, in microseconds:
/// medians.
fn measure(devices: usize, variant: &str) -> (f64, f64) {
    let bed = Bed::new("pvt");
    let mac = testbed::text(CT200.mac());
    bed.outside.exec(&format!(
        "ip addr add {}/24 dev eth0; ip neigh replace {ADDRESS} lladdr {mac} dev eth0 nud permanent",
        Place::Outside.addresses()[0]
    ));
    bed.netns(CT200).exec(&format!("ip addr add {}/24 dev eth0", CT200.addresses()[0]));
    let root = tempfile::tempdir().expect("a directory");
    let choice: VariantChoice = variant.parse().expect("a variant");
    let mut firewall = Firewall::new(&Root::new(Some(root.path().into())), choice);
    firewall.set_time_limit(Duration::from_secs(1200));
    let compiled = configuration(devices);
    let outcome = bed.node.run(|| firewall.update(&compiled.ruleset));
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    let mut runs: Vec<(f64, f64)> = Vec::new();
    // one run more, to warm up
    for _ in 0..=RUNS {
        bed.node.exec("conntrack -F 2>/dev/null");
        let established = established(&bed);
        bed.node.exec("conntrack -F 2>/dev/null");
        let socket = bed.outside.run(|| UdpSocket::bind("0.0.0.0:4000")).expect("a socket");
        runs.push((send(&socket, |number| SocketAddr::new(ADDRESS.parse().expect("an address"), number)), established));
        let tracked: usize = bed.node.exec("conntrack -C").trim().parse().expect("the number of connections");
        assert!(tracked * 10 >= usize::from(PACKETS) * 9, "{tracked} connections: packets were lost");
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (new, established) = runs[1..].iter().copied().unzip();
    (median(new), median(established))
}

/// The time of a packet of a connection that the guest has answered.
fn established(bed: &Bed) -> f64 {
    let guest = SocketAddr::new(CT200.addresses()[0], 9);
    let server = bed.netns(CT200).run(|| UdpSocket::bind(guest)).expect("a socket in the guest");
    let socket = bed.outside.run(|| UdpSocket::bind("0.0.0.0:4000")).expect("a socket");
    socket.send_to(b"x", guest).expect("sending");
    let (_, client) = server.recv_from(&mut [0; 8]).expect("a packet in the guest");
    server.send_to(b"x", client).expect("answering");
    socket.recv_from(&mut [0; 8]).expect("the answer");
    send(&socket, |_| guest)
}

/// Sends packets, and returns the processor time of each: the sender's thread takes them through the bridges and rules to
/// the guest.
fn send(socket: &UdpSocket, to: impl Fn(u16) -> SocketAddr) -> f64 {
    let used = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock"));
    let began = used();
    for number in 1..=PACKETS {
        socket.send_to(b"x", to(number)).expect("sending");
    }
    (used() - began).as_secs_f64() * 1e6 / f64::from(PACKETS)
}

/// The guests of the test bed and others, with so many firewalled devices together. The measured one is the last in order.
fn configuration(devices: usize) -> Compiled {
    let own = DEVICES.iter().filter(|device| device.firewalled).count();
    let mut files = vec![("firewall/cluster.fw".to_string(), "[OPTIONS]\nenable: 1\n".to_string())];
    let rules = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p udp\n";
    for (vmid, folder) in [(100, "qemu-server"), (101, "qemu-server"), (200, "lxc")] {
        let conf = DEVICES.iter().filter(|device| device.vmid == vmid).map(testbed::Device::conf).collect();
        files.push((format!("nodes/n1/{folder}/{vmid}.conf"), conf));
        files.push((format!("firewall/{vmid}.fw"), rules.to_string()));
    }
    for vmid in (102..).filter(|vmid| *vmid != 200).take(devices.saturating_sub(own)) {
        let conf = "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\n";
        files.push((format!("nodes/n1/qemu-server/{vmid}.conf"), conf.to_string()));
        files.push((format!("firewall/{vmid}.fw"), rules.to_string()));
    }
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    compile(&trees::tree(&files), &trees::facts())
}

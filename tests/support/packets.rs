//! A stream of packets to a network namespace.
#![allow(dead_code, reason = "each test program uses a part")]
use crate::netns::Netns;
use crate::wait::{JoinInTime, wait_for};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The address of the host.
pub const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address of the sender.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PORT: u16 = 7777;

/// Packets from another namespace to a socket on the host, about one per millisecond.
pub struct Stream {
    received: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _peer: Netns,
}

impl Stream {
    pub fn start(netns: &Netns) -> Self {
        let peer = Netns::new("stream");
        let name = peer.name();
        netns.exec(&format!(
            "ip link add s0 type veth peer name s1 netns {name}; ip addr add {HOST_ADDRESS}/24 dev s0; ip link set s0 up"
        ));
        peer.exec(&format!("ip addr add {PEER}/24 dev s1; ip link set s1 up"));
        let socket = netns.run(|| UdpSocket::bind((HOST_ADDRESS, PORT)).unwrap());
        let sender = peer.run(|| UdpSocket::bind((PEER, PORT)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (received, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (received.clone(), done.clone());
        let receiver = std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                count.fetch_add(u64::from(socket.recv(&mut [0; 64]).is_ok()), Ordering::SeqCst);
            }
        });
        let end = done.clone();
        let sender = std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                let _ = sender.send_to(b"x", (HOST_ADDRESS, PORT)); // fails when an ICMP error has arrived
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let stream = Stream { received, done, threads: vec![receiver, sender], _peer: peer };
        stream.wait_for_packet();
        stream
    }

    pub fn count(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    pub fn wait_for_packet(&self) {
        let before = self.count();
        wait_for("a packet that is accepted", || (self.count() > before).then_some(()));
    }

    /// The number of accepted packets, after those accepted earlier have been counted.
    pub fn final_count(&self) -> u64 {
        wait_for("a time without accepted packets", || {
            let before = self.count();
            std::thread::sleep(Duration::from_millis(60));
            (self.count() == before).then_some(before)
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(JoinInTime::join_in_time);
    }
}

//! Floods of small packets in a network namespace with a rule that logs each.
#![allow(dead_code, reason = "each program uses a part")]
use crate::netns::Netns;
use crate::wait::wait_for_ok;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Packets per system call.
const BATCH: usize = 64;
/// Bytes of the headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// A namespace with a loopback interface, and a rule that logs each packet with the prefix of a policy.
///
/// The rule is evaluated during the send: when the sender has returned, all packets are logged.
pub fn namespace(name: &str) -> Netns {
    let netns = Netns::new(name);
    netns.exec(
        "ip address add 10.99.0.1/24 dev lo
         iptables -w -t raw -A PREROUTING -i lo -p udp -j DROP
         iptables -w -A OUTPUT -p udp -j NFLOG --nflog-prefix ':100:6:tap100i0-IN: policy DROP: '",
    );
    netns
}

/// A sender of UDP packets; create and use it inside the namespace.
pub struct Sender {
    socket: UdpSocket,
    data: Vec<u8>,
}

impl Sender {
    /// Packets of `length` bytes including headers.
    pub fn new(length: usize) -> Self {
        // a process that another test is starting may have inherited the socket of the previous sender
        let socket = wait_for_ok("the sender's port", || UdpSocket::bind("10.99.0.1:40000"));
        socket.connect("10.99.0.1:9").expect("the sender's destination");
        Sender { socket, data: vec![b'z'; length - HEADERS] }
    }

    /// Sends this many packets as fast as it can.
    pub fn send_burst(&self, packets: usize) {
        let slices = [IoSlice::new(&self.data)];
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut sent = 0;
        while sent < packets {
            let batch = vec![slices; BATCH.min(packets - sent)];
            let control: [ControlMessage<'_>; 0] = [];
            let addresses = vec![None; batch.len()];
            let fd = self.socket.as_raw_fd();
            sent += sendmmsg(fd, &mut headers, &batch, &addresses, control, MsgFlags::empty())
                .expect("sending packets")
                .count();
        }
    }

    /// Sends `rate` packets per second for `duration`; returns their number.
    pub fn send_at_rate(&self, rate: usize, duration: Duration) -> usize {
        let start = Instant::now();
        let total = rate * usize::try_from(duration.as_millis()).expect("a short time") / 1000;
        let mut sent = 0;
        while sent < total {
            let due = (start.elapsed().as_secs_f64() * rate as f64) as usize;
            if due > sent {
                let packets = due.min(total) - sent;
                self.send_burst(packets);
                sent += packets;
            } else {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        sent
    }
}

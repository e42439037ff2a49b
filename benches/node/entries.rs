//! Detects a rule in the kernel without running a tool, which would be too slow.
#![allow(unsafe_code, reason = "getsockopt(2) of iptables")]
use crate::netns::Netns;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// `IPT_SO_GET_INFO` of `linux/netfilter_ipv4/ip_tables.h`.
const GET_INFO: libc::c_int = 64;
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// `struct ipt_getinfo`.
#[repr(C)]
struct Info {
    name: [u8; 32],
    valid_hooks: u32,
    hook_entry: [u32; 5],
    underflow: [u32; 5],
    num_entries: u32,
    size: u32,
}

/// Polls the IPv4 table `filter` of a namespace.
pub struct Entries(OwnedFd);

impl Entries {
    pub fn new(netns: &Netns) -> Self {
        // SAFETY: socket(2) takes integers and returns a new descriptor or -1
        let socket = netns.run(|| unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW) });
        assert!(socket >= 0, "a raw socket: {}", std::io::Error::last_os_error());
        // SAFETY: the descriptor was just opened and has no other owner
        Entries(unsafe { OwnedFd::from_raw_fd(socket) })
    }

    /// The number of entries in the table.
    pub fn count(&self) -> u32 {
        // SAFETY: zero is valid for every field
        let mut info: Info = unsafe { zeroed() };
        info.name[..6].copy_from_slice(b"filter");
        let mut length = size_of::<Info>() as libc::socklen_t;
        let (fd, at) = (self.0.as_raw_fd(), (&raw mut info).cast());
        // SAFETY: `at` is valid for writing `length` bytes
        let result = unsafe { libc::getsockopt(fd, libc::IPPROTO_IP, GET_INFO, at, &raw mut length) };
        assert_eq!(result, 0, "the table's summary: {}", std::io::Error::last_os_error());
        info.num_entries
    }

    /// Waits until the number changes, and returns that time.
    pub fn wait_for_change(&self, from: u32) -> Instant {
        let deadline = Instant::now() + WAIT_LIMIT;
        while self.count() == from {
            assert!(Instant::now() < deadline, "timed out waiting for the rule");
            sleep(Duration::from_millis(1));
        }
        Instant::now()
    }
}

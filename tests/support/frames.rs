//! Sending raw frames on an interface.
#![allow(unsafe_code, reason = "packet(7) has no safe interface in nix")]
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::AsRawFd;

/// Sends a frame including its link header on an interface in the calling thread's namespace.
pub fn send(interface: &str, frame: &[u8]) {
    let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).expect("a packet socket");
    // SAFETY: a zeroed address is valid
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = i32::try_from(if_nametoindex(interface).expect("the interface")).expect("an index");
    // SAFETY: both pointers are valid for the given lengths
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
}

/// The Ethernet header: destination, source, protocol.
pub fn ethernet(protocol: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(protocol.to_be_bytes());
    frame
}

//! Connection tracking events.
use super::{Received, Socket};
use anyhow::Result;
use nix::sys::socket::SockProtocol;
use std::os::fd::{AsFd, BorrowedFd};

/// Bits of `NFNLGRP_CONNTRACK_NEW` (1) and `NFNLGRP_CONNTRACK_DESTROY` (3).
const GROUPS: u32 = 1 << 0 | 1 << 2;
const RECEIVE_BUFFER: usize = 8 << 20;
/// Bytes of the receive buffer: the kernel sends each event in its own datagram, smaller than a page.
const DATAGRAM: usize = 16 << 10;

/// A socket that receives events of created and deleted connections.
#[derive(Debug)]
pub struct ConntrackEvents {
    socket: Socket,
    buffer: Box<[u8]>,
    drops: u32,
}

impl ConntrackEvents {
    /// Subscribes to the events.
    ///
    /// # Errors
    /// When the kernel refuses (no `CAP_NET_ADMIN`, or no connection tracking).
    pub fn subscribe() -> Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkNetFilter, GROUPS, RECEIVE_BUFFER)?;
        Ok(ConntrackEvents { socket, buffer: vec![0; DATAGRAM].into_boxed_slice(), drops: 0 })
    }

    /// Receives the next datagram of events; never blocks.
    ///
    /// # Errors
    /// When reading from the socket fails. An overflow is not an error.
    pub fn receive(&mut self) -> Result<Received<'_>> {
        self.socket.receive(&mut self.buffer)
    }

    /// Events that the kernel dropped since the last call because the socket's buffer was full.
    ///
    /// # Errors
    /// When the kernel does not report it.
    pub fn take_drops(&mut self) -> Result<u32> {
        let drops = self.socket.drops()?;
        Ok(drops.wrapping_sub(std::mem::replace(&mut self.drops, drops)))
    }

    /// Unsubscribes; events already queued can still be received.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn leave(&self) -> Result<()> {
        self.socket.leave()
    }
}

impl AsFd for ConntrackEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

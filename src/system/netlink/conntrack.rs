//! The events of connection tracking.
use super::{Received, Socket};
use anyhow::Result;
use nix::sys::socket::SockProtocol;
use std::os::fd::{AsFd, BorrowedFd};

/// Bits of `NFNLGRP_CONNTRACK_NEW` (1) and `NFNLGRP_CONNTRACK_DESTROY` (3).
const GROUPS: u32 = 1 << 0 | 1 << 2;
const RECEIVE_BUFFER: usize = 8 << 20;
/// The kernel sends each event by itself, in less than a page.
const DATAGRAM: usize = 16 << 10;

/// A socket that hears of new and forgotten connections.
#[derive(Debug)]
pub struct ConntrackEvents {
    socket: Socket,
    buffer: Box<[u8]>,
    drops: u32,
}

impl ConntrackEvents {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the kernel refuses (no `CAP_NET_ADMIN`, or no connection tracking).
    pub fn subscribe() -> Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkNetFilter, GROUPS, RECEIVE_BUFFER)?;
        Ok(ConntrackEvents { socket, buffer: vec![0; DATAGRAM].into_boxed_slice(), drops: 0 })
    }

    /// The next datagram of events; never waits.
    ///
    /// # Errors
    /// When the socket is broken. An overflow is no error.
    pub fn receive(&mut self) -> Result<Received<'_>> {
        self.socket.receive(&mut self.buffer)
    }

    /// Events that the kernel dropped since the last call because the socket's buffer was full.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn take_drops(&mut self) -> Result<u32> {
        let drops = self.socket.drops()?;
        Ok(drops.wrapping_sub(std::mem::replace(&mut self.drops, drops)))
    }

    /// Hears nothing new; what was heard stays to be received.
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

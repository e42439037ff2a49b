//! Events that netfilter sends to every subscriber (`linux/netfilter/nfnetlink.h`): connections, and traces of nftables.
use super::{Received, Socket};
use anyhow::Result;
use nix::sys::socket::SockProtocol;
use std::os::fd::{AsFd, BorrowedFd};

/// Bits of `NFNLGRP_CONNTRACK_NEW` (1) and `NFNLGRP_CONNTRACK_DESTROY` (3).
const CONNTRACK: u32 = 1 << 0 | 1 << 2;
/// Bit of `NFNLGRP_NFTRACE` (9).
const NFTRACE: u32 = 1 << 8;
/// The socket's receive buffer, in bytes (the kernel doubles it).
const CONNTRACK_BUFFER: usize = 8 << 20;
/// Room for about a thousand steps of traces: more are not written in a second.
const NFTRACE_BUFFER: usize = 1 << 20;
/// Bytes of the receive buffer: the kernel sends each event in its own datagram, smaller than a page.
const DATAGRAM: usize = 16 << 10;

/// A socket that receives events of one kind.
#[derive(Debug)]
pub struct NetfilterEvents {
    socket: Socket,
    buffer: Box<[u8]>,
    drops: u32,
}

impl NetfilterEvents {
    /// Subscribes to events of created and deleted connections.
    ///
    /// # Errors
    /// When the kernel refuses (no `CAP_NET_ADMIN`, or no connection tracking).
    pub fn of_connections() -> Result<Self> {
        Self::subscribe(CONNTRACK, CONNTRACK_BUFFER)
    }

    /// Subscribes to the steps of packets that a rule of nftables traces (`meta nftrace set 1`).
    ///
    /// # Errors
    /// When the kernel refuses (no `CAP_NET_ADMIN`).
    pub fn of_traces() -> Result<Self> {
        Self::subscribe(NFTRACE, NFTRACE_BUFFER)
    }

    fn subscribe(groups: u32, receive_buffer: usize) -> Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkNetFilter, groups, receive_buffer)?;
        Ok(NetfilterEvents { socket, buffer: vec![0; DATAGRAM].into_boxed_slice(), drops: 0 })
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

impl AsFd for NetfilterEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

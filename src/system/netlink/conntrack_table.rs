//! The connection tracking table: lists all connections, and deletes single ones.
use super::{ANSWER_BUFFER, DATAGRAM, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Socket};
use crate::nflog::conntrack::Connection;
use crate::nflog::netlink::{Message, NETFILTER_HEADER, Request};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use std::collections::HashSet;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`
const GET: u16 = 0x0101;

/// The connection tracking table of this network namespace.
#[derive(Debug)]
pub struct ConntrackTable {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl ConntrackTable {
    /// Opens a socket to it.
    ///
    /// # Errors
    /// When the kernel does not support such sockets.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkNetFilter, 0, ANSWER_BUFFER)?;
        Ok(ConntrackTable { socket, buffer: vec![0; DATAGRAM], sequence: 0 })
    }

    /// All connections of both families, in no particular order. Those that start or end during the call may be missing.
    ///
    /// # Errors
    /// When the kernel does not answer or refuses (no `CAP_NET_ADMIN`, or no connection tracking).
    pub fn list(&mut self) -> Result<Vec<Connection>> {
        // the family 0 in the header selects all families
        self.sequence = self.sequence.wrapping_add(1);
        let request = Request::new(GET, NLM_F_REQUEST | NLM_F_DUMP, self.sequence, &[0; NETFILTER_HEADER]);
        let (mut connections, mut seen) = (Vec::new(), HashSet::new());
        let take = |message: Message<'_>| {
            let connection = Connection::decode(&message);
            // an entry that moves in the kernel's table during the dump can be listed twice
            connections.extend(connection.filter(|one| one.id.is_none_or(|id| seen.insert(id))));
        };
        self.socket
            .query(self.sequence, request, &mut self.buffer, take)
            .context("cannot list the tracked connections")?;
        Ok(connections)
    }

    /// Deletes a connection, so that its next packet starts a new one. Returns false if it did not exist any more.
    ///
    /// # Errors
    /// When the kernel does not answer or refuses.
    pub fn delete(&mut self, connection: &Connection) -> Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = connection.deletion(NLM_F_REQUEST | NLM_F_ACK, self.sequence);
        match self.socket.query(self.sequence, request, &mut self.buffer, |_| {}) {
            Ok(_) => Ok(true),
            Err(error) if error.downcast_ref() == Some(&Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.context("cannot delete a tracked connection")),
        }
    }
}

//! The packets of an NFLOG group (`linux/netfilter/nfnetlink_log.h`).
use super::{NLM_F_ACK, NLM_F_REQUEST, Received, Socket, acknowledgement};
use crate::nflog::netlink::Request;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG`
const CONFIG: u16 = 0x0401;
const CMD: u16 = 1;
const MODE: u16 = 2;
const NLBUFSIZ: u16 = 3;
const TIMEOUT: u16 = 4;
const QTHRESH: u16 = 5;
const FLAGS: u16 = 6;

const CMD_BIND: u8 = 1;
const CMD_UNBIND: u8 = 2;
const COPY_PACKET: u8 = 2;
/// `NFULNL_CFG_F_SEQ`: numbers the packets, so that dropped ones are counted.
const SEQUENCE: u16 = 1;

/// Bytes copied of each packet: enough for the headers, with little payload.
const COPY_RANGE: u32 = 2048;
/// Bytes of a batch in the kernel. With its metadata it fits in 32 KiB, the largest allocation that the kernel does not
/// consider costly.
const BATCH_BYTES: u32 = 32_000;
/// Maximum number of packets in a batch; batches of large packets are limited by `BATCH_BYTES`.
const BATCH_PACKETS: u32 = 256;
/// How long the kernel waits for more packets of a batch, in hundredths of a second.
const BATCH_WAIT: u32 = 5;
/// The socket's receive buffer, in bytes (the kernel doubles it): over one second at 200,000 packets a second.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Size of the largest datagram on this socket, in bytes.
const DATAGRAM: usize = 128 << 10;

/// An NFLOG group that this process receives.
#[derive(Debug)]
pub struct Nflog {
    socket: Socket,
    group: u16,
    sequence: u32,
    buffer: Box<[u8]>,
    /// Datagrams received between the request and its answer.
    queued: VecDeque<Vec<u8>>,
}

impl Nflog {
    /// Binds to a group; only one process can be bound to it.
    ///
    /// # Errors
    /// When another process is bound to the group, or the kernel refuses (no `CAP_NET_ADMIN`).
    pub fn bind(group: u16) -> Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkNetFilter, 0, RECEIVE_BUFFER)?;
        let buffer = vec![0; DATAGRAM].into_boxed_slice();
        let mut nflog = Nflog { socket, group, sequence: 0, buffer, queued: VecDeque::new() };
        let mut mode = COPY_RANGE.to_be_bytes().to_vec();
        mode.extend([COPY_PACKET, 0]);
        let request = nflog
            .request(NLM_F_ACK)
            .with(CMD, &[CMD_BIND])
            .with(MODE, &mode)
            .with(NLBUFSIZ, &BATCH_BYTES.to_be_bytes())
            .with(TIMEOUT, &BATCH_WAIT.to_be_bytes())
            .with(QTHRESH, &BATCH_PACKETS.to_be_bytes())
            .with(FLAGS, &SEQUENCE.to_be_bytes());
        match nflog.query(request)? {
            // another process is bound to the group; without CAP_NET_ADMIN opening the socket has already failed
            Err(Errno::EPERM | Errno::EBUSY) => bail!("another process receives NFLOG group {group}: stop it first"),
            other => other.with_context(|| format!("cannot receive NFLOG group {group}"))?,
        }
        Ok(nflog)
    }

    /// Receives the next datagram of log messages; never blocks.
    ///
    /// # Errors
    /// When reading from the socket fails. An overflow is not an error.
    pub fn receive(&mut self) -> Result<Received<'_>> {
        if let Some(datagram) = self.queued.pop_front() {
            let length = datagram.len().min(self.buffer.len());
            self.buffer[..length].copy_from_slice(&datagram[..length]);
            return Ok(Received::Datagram(&self.buffer[..length]));
        }
        self.socket.receive(&mut self.buffer)
    }

    /// Unbinds from the group. The kernel flushes its batch; queued packets can still be received.
    ///
    /// # Errors
    /// When the request cannot be sent.
    pub fn unbind(&mut self) -> Result<()> {
        let request = self.request(0).with(CMD, &[CMD_UNBIND]);
        self.socket.send(&request.bytes())
    }

    fn request(&mut self, flags: u16) -> Request {
        self.sequence += 1;
        let [high, low] = self.group.to_be_bytes();
        // struct nfgenmsg: family, version 0, and the group as resource id
        Request::new(CONFIG, NLM_F_REQUEST | flags, self.sequence, &[0, 0, high, low])
    }

    fn query(&mut self, request: Request) -> Result<Result<(), Errno>> {
        self.socket.send(&request.bytes())?;
        loop {
            match self.socket.receive(&mut self.buffer)? {
                Received::Datagram(datagram) => match acknowledgement(datagram, self.sequence) {
                    Some(result) => return Ok(result),
                    None => self.queued.push_back(datagram.to_vec()),
                },
                Received::Overflow => bail!("the socket of NFLOG group {} overflowed while binding", self.group),
                Received::Nothing => self.socket.wait()?,
            }
        }
    }
}

impl AsFd for Nflog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

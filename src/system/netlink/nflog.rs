//! The packets of an NFLOG group (`linux/netfilter/nfnetlink_log.h`).
use super::{NLM_F_ACK, NLM_F_REQUEST, Received, Socket, verdict};
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
/// `NFULNL_CFG_F_SEQ`: packets are numbered, so that each lost one is counted.
const SEQUENCE: u16 = 1;

/// Bytes of each packet that are copied: all headers of any sane packet, and no more of its data than must be.
const COPY_RANGE: u32 = 2048;
/// Bytes of a batch in the kernel. With its bookkeeping it just fits 32 KiB, the largest piece of memory that the
/// kernel hands out readily.
const BATCH_BYTES: u32 = 32_000;
/// Packets in a batch; full ones are bounded by their bytes.
const BATCH_PACKETS: u32 = 256;
/// How long a batch may wait for more packets, in hundredths of a second: a lone packet is seen soon.
const BATCH_WAIT: u32 = 5;
/// The queue between the kernel and us, in bytes (the kernel doubles it): over a second of 200,000 packets.
const RECEIVE_BUFFER: usize = 32 << 20;
/// Bytes that hold every datagram of this socket.
const DATAGRAM: usize = 128 << 10;

/// A group of which this process gets the packets.
#[derive(Debug)]
pub struct Nflog {
    socket: Socket,
    group: u16,
    sequence: u32,
    buffer: Box<[u8]>,
    /// Packets that came between our request and its answer.
    early: VecDeque<Vec<u8>>,
}

impl Nflog {
    /// Takes a group; a group has one taker.
    ///
    /// # Errors
    /// When another process has the group, or the kernel refuses (no `CAP_NET_ADMIN`).
    pub fn bind(group: u16) -> Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkNetFilter, 0, RECEIVE_BUFFER)?;
        let buffer = vec![0; DATAGRAM].into_boxed_slice();
        let mut nflog = Nflog { socket, group, sequence: 0, buffer, early: VecDeque::new() };
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
        match nflog.ask(request)? {
            // the answer for a group that has a taker; who lacks the right does not get this far
            Err(Errno::EPERM | Errno::EBUSY) => bail!("another process receives NFLOG group {group}: stop it first"),
            other => other.with_context(|| format!("cannot receive NFLOG group {group}"))?,
        }
        Ok(nflog)
    }

    /// The next datagram of log messages; never waits.
    ///
    /// # Errors
    /// When the socket is broken. An overflow is no error.
    pub fn receive(&mut self) -> Result<Received<'_>> {
        if let Some(datagram) = self.early.pop_front() {
            let length = datagram.len().min(self.buffer.len());
            self.buffer[..length].copy_from_slice(&datagram[..length]);
            return Ok(Received::Datagram(&self.buffer[..length]));
        }
        self.socket.receive(&mut self.buffer)
    }

    /// Gives the group up. The kernel hands out what it had batched, which stays to be received.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn unbind(&mut self) -> Result<()> {
        let request = self.request(0).with(CMD, &[CMD_UNBIND]);
        self.socket.send(&request.bytes())
    }

    fn request(&mut self, flags: u16) -> Request {
        self.sequence += 1;
        let [high, low] = self.group.to_be_bytes();
        // struct nfgenmsg: family, version 0, and the group as resource
        Request::new(CONFIG, NLM_F_REQUEST | flags, self.sequence, &[0, 0, high, low])
    }

    fn ask(&mut self, request: Request) -> Result<Result<(), Errno>> {
        self.socket.send(&request.bytes())?;
        loop {
            match self.socket.receive(&mut self.buffer)? {
                Received::Datagram(datagram) => match verdict(datagram, self.sequence) {
                    Some(verdict) => return Ok(verdict),
                    None => self.early.push_back(datagram.to_vec()),
                },
                Received::Overflow => bail!("the packets of NFLOG group {} came too fast to begin", self.group),
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

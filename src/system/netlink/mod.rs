//! Netlink sockets (netlink(7)) for nfnetlink_log, connection tracking, nftables and rtnetlink.
mod addresses;
mod bridge_ports;
mod conntrack_table;
mod link_names;
mod neighbours;
mod netfilter_events;
mod nflog;

pub use addresses::interface_addresses;
pub use bridge_ports::BridgePorts;
pub use conntrack_table::ConntrackTable;
pub use link_names::{Altnames, LinkNames};
pub use neighbours::neighbours;
pub use netfilter_events::NetfilterEvents;
pub use nflog::Nflog;

use crate::nflog::netlink::{Attribute, HEADER, Message, NETFILTER_HEADER, Request, messages};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const NLM_F_REQUEST: u16 = 0x01;
/// Requests an acknowledgement.
pub const NLM_F_ACK: u16 = 0x04;
/// Lists all objects.
pub const NLM_F_DUMP: u16 = 0x300;
/// The listed objects changed during the dump.
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The largest datagram of a dump, in bytes.
const DATAGRAM: usize = 64 << 10;
/// Receive buffer for answers, in bytes: more than the kernel queues for one request.
const ANSWER_BUFFER: usize = 256 << 10;
/// Attempts to get an answer that was not interrupted by a change.
const ATTEMPTS: u32 = 3;
/// How long to wait for an answer, in milliseconds; the kernel normally answers at once.
const TIMEOUT_MS: u16 = 5000;

/// The result of reading from a socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A datagram from the kernel with one or more messages.
    Datagram(&'a [u8]),
    /// The kernel dropped messages because the socket's buffer was full (`ENOBUFS`); reading can continue.
    Overflow,
    /// The queue is empty.
    Nothing,
}

/// A non-blocking socket that accepts messages from the kernel only.
#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    port: u32,
}

impl Socket {
    /// Opens a socket in these multicast groups (a bit mask), with a receive buffer of this many bytes.
    fn open(protocol: SockProtocol, groups: u32, receive_buffer: usize) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd =
            socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).context("cannot open a netlink socket")?;
        setsockopt(&fd, sockopt::RcvBufForce, &receive_buffer).context("cannot set the buffer of a netlink socket")?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups)).context("cannot bind a netlink socket")?;
        let port = getsockname::<NetlinkAddr>(fd.as_raw_fd()).context("cannot read a netlink address")?.pid();
        Ok(Socket { fd, port })
    }

    /// Leaves all multicast groups; queued messages can still be read.
    fn leave(&self) -> Result<()> {
        bind(self.fd.as_raw_fd(), &NetlinkAddr::new(self.port, 0)).context("cannot leave a netlink group")
    }

    fn send(&self, request: &[u8]) -> Result<()> {
        sendto(self.fd.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::empty())
            .context("cannot send to the kernel")?;
        Ok(())
    }

    fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<Received<'a>> {
        loop {
            match recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), buffer) {
                Ok((length, Some(sender))) if sender.pid() == 0 => return Ok(Received::Datagram(&buffer[..length])),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => return Ok(Received::Overflow),
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                Err(errno) => return Err(errno).context("cannot read from the kernel"),
            }
        }
    }

    /// Waits until the socket is readable.
    fn wait(&self) -> Result<()> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(TIMEOUT_MS)) {
            Ok(0) => bail!("the kernel does not answer on netlink"),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).context("cannot wait for the kernel"),
        }
    }

    /// Sends a request and passes each message (of the reply and of the multicast groups) to `take` until the reply is
    /// complete. False if a change interrupted the answer, so that it may be incomplete.
    fn query(
        &self,
        sequence: u32,
        request: Request,
        buffer: &mut [u8],
        mut take: impl FnMut(Message<'_>),
    ) -> Result<bool> {
        self.query_while(sequence, request, buffer, |message| {
            take(message);
            true
        })
    }

    /// Like [`Socket::query`], until `take` returns that no more messages are needed; further messages then remain in the
    /// socket.
    fn query_while(
        &self,
        sequence: u32,
        request: Request,
        buffer: &mut [u8],
        mut take: impl FnMut(Message<'_>) -> bool,
    ) -> Result<bool> {
        self.send(&request.bytes())?;
        let mut whole = true;
        loop {
            let datagram = match self.receive(buffer)? {
                Received::Datagram(datagram) => datagram,
                Received::Overflow => {
                    whole = false;
                    continue;
                }
                Received::Nothing => {
                    self.wait()?;
                    continue;
                }
            };
            for message in messages(datagram) {
                let answer = message.sequence == sequence;
                whole &= !answer || message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE if answer => return Ok(whole),
                    NLMSG_ERROR if answer => {
                        let code = error_number(&message).context("the kernel sent a truncated message")?;
                        return if code == 0 { Ok(whole) } else { Err(Errno::from_raw(-code).into()) };
                    }
                    _ if !take(message) => return Ok(whole),
                    _ => {}
                }
            }
        }
    }

    /// Messages that the kernel dropped because this socket's buffer was full, since it was opened; wraps around.
    #[allow(unsafe_code, reason = "getsockopt(SO_MEMINFO)")]
    fn drops(&self) -> Result<u32> {
        const COUNTERS: usize = libc::SK_MEMINFO_DROPS as usize + 1;
        let mut counters = [0_u32; COUNTERS];
        let mut length = libc::socklen_t::try_from(size_of_val(&counters))?;
        // SAFETY: the pointer is valid for writing `length` bytes, and any bytes are valid integers
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                counters.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        Errno::result(result).context("cannot read the counters of a netlink socket")?;
        Ok(counters[COUNTERS - 1])
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel's acknowledgement of the request with this sequence number, if the datagram contains it.
fn acknowledgement(datagram: &[u8], sequence: u32) -> Option<Result<(), Errno>> {
    let answer = messages(datagram).find(|message| message.kind == NLMSG_ERROR && message.sequence == sequence)?;
    error_number(&answer).map(|code| if code == 0 { Ok(()) } else { Err(Errno::from_raw(-code)) })
}

/// The number in a message of type `NLMSG_ERROR`: 0, or a negative errno.
fn error_number(message: &Message<'_>) -> Option<i32> {
    message.bytes.get(HEADER..)?.first_chunk().map(|code| i32::from_ne_bytes(*code))
}

/// Sends a request to a netfilter subsystem: this address family (`NFPROTO_…`), type, flags (`NLM_F_…`) and attributes. `take`
/// receives the attributes of each message of the answer, until it returns that it needs no more.
///
/// # Errors
/// When the kernel does not answer or refuses, or every answer was interrupted by a change.
pub fn query_netfilter<T: Default>(
    family: u8,
    kind: u16,
    flags: u16,
    attributes: &[Attribute<'_>],
    take: impl FnMut(&mut T, &[u8]) -> bool,
) -> Result<T> {
    NetfilterRequests::open()?.query(family, kind, flags, attributes, &mut vec![0; DATAGRAM], take)
}

/// A socket for requests to netfilter.
#[derive(Debug)]
pub struct NetfilterRequests {
    socket: Socket,
    sequence: u32,
}

impl NetfilterRequests {
    /// Opens the socket, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkNetFilter, 0, ANSWER_BUFFER)?;
        Ok(NetfilterRequests { socket, sequence: 0 })
    }

    /// As [`query_netfilter`]; `buffer` has room for each datagram of the answer. After an error, or if `take` needed no
    /// more, the socket is of no use.
    ///
    /// # Errors
    /// As for [`query_netfilter`].
    pub fn query<T: Default>(
        &mut self,
        family: u8,
        kind: u16,
        flags: u16,
        attributes: &[Attribute<'_>],
        buffer: &mut [u8],
        mut take: impl FnMut(&mut T, &[u8]) -> bool,
    ) -> Result<T> {
        let mut header = [0; NETFILTER_HEADER];
        header[0] = family;
        for _ in 0..ATTEMPTS {
            self.sequence = self.sequence.wrapping_add(1);
            let request = Request::new(kind, NLM_F_REQUEST | flags, self.sequence, &header);
            let request = attributes.iter().fold(request, |request, (kind, content)| request.with(*kind, content));
            let mut answer = T::default();
            let mut enough = false;
            let whole = self.socket.query_while(self.sequence, request, buffer, |message| {
                enough = !take(&mut answer, message.body().get(NETFILTER_HEADER..).unwrap_or_default());
                !enough
            })?;
            // a second request would have to wait for the end of the first one
            if whole || enough {
                return Ok(answer);
            }
        }
        bail!("netfilter's state changes too fast to be read")
    }
}

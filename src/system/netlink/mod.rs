//! Netlink sockets (netlink(7)): what nfnetlink_log, connection tracking and rtnetlink send.
mod conntrack;
mod links;
mod nflog;

pub use conntrack::ConntrackEvents;
pub use links::{LinkNames, altnames};
pub use nflog::Nflog;

use crate::nflog::netlink::{HEADER, messages};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLMSG_ERROR: u16 = 2;
/// The kernel answers at once; a longer silence is a fault.
const PATIENCE_MS: u16 = 5000;

/// What a read from a socket gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A datagram of the kernel: one message or more.
    Datagram(&'a [u8]),
    /// The kernel had to drop messages because the socket's buffer was full (`ENOBUFS`); reading goes on.
    Overflow,
    /// There is nothing to read now.
    Nothing,
}

/// A socket that never blocks and hears nobody but the kernel.
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

    /// Leaves all multicast groups; what was received stays readable.
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

    /// Waits until there is something to read.
    fn wait(&self) -> Result<()> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(PATIENCE_MS)) {
            Ok(0) => bail!("the kernel does not answer on netlink"),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).context("cannot wait for the kernel"),
        }
    }

    /// Messages that the kernel dropped because this socket's buffer was full, since it was opened; wraps around.
    #[allow(unsafe_code, reason = "getsockopt(SO_MEMINFO)")]
    fn drops(&self) -> Result<u32> {
        const COUNTERS: usize = libc::SK_MEMINFO_DROPS as usize + 1;
        let mut counters = [0_u32; COUNTERS];
        let mut length = libc::socklen_t::try_from(size_of_val(&counters))?;
        // SAFETY: the pointer leads to `length` writable bytes, and any bytes are valid numbers
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

/// The kernel's verdict on the request with this number, if the datagram holds it.
fn verdict(datagram: &[u8], sequence: u32) -> Option<Result<(), Errno>> {
    let answer = messages(datagram).find(|message| message.kind == NLMSG_ERROR && message.sequence == sequence)?;
    let code = answer.bytes.get(HEADER..)?.first_chunk().map(|code| i32::from_ne_bytes(*code))?;
    Some(if code == 0 { Ok(()) } else { Err(Errno::from_raw(-code)) })
}

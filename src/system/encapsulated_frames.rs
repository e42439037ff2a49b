//! Receives frames whose IP packets bypass iptables, from all interfaces of this node.
//!
//! This uses a packet socket with a filter in the kernel (classic BPF): a plain frame is discarded there after some
//! instructions and does not wake this process.
#![allow(unsafe_code, reason = "packet(7) has no safe interface in nix")]
use crate::model::Encapsulation;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, recvfrom, socket};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Maximum number of frames that are read at once.
const MAX_COUNT: usize = 256;
/// Maximum number of interfaces whose frames the filter ignores: the kernel allows 4096 instructions.
const MAX_IGNORED: usize = 1000;
/// The socket's receive buffer, in bytes. When it is full, the kernel drops frames without copying them.
const RECEIVE_BUFFER: libc::c_int = 64 << 10;

/// A socket that receives these frames.
#[derive(Debug)]
pub struct Frames {
    socket: OwnedFd,
    /// The indexes of interfaces whose frames are not relevant.
    others: BTreeSet<u32>,
    /// The received kinds of frames by interface, as [`key`]s.
    reported: BTreeSet<u32>,
}

impl Frames {
    /// Opens the socket and starts receiving.
    ///
    /// # Errors
    /// When the kernel refuses (no `CAP_NET_RAW`).
    pub fn open() -> io::Result<Self> {
        // with protocol 0 nothing is received before the filter is attached
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let frames = Frames {
            socket: socket(AddressFamily::Packet, SockType::Datagram, flags, None)?,
            others: BTreeSet::new(),
            reported: BTreeSet::new(),
        };
        frames.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER)?;
        // ignore outgoing frames: this node has received them before, or generated them
        frames.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
        frames.attach()?;
        frames.bind()?;
        Ok(frames)
    }

    /// The kinds of frames received since the last call, by interface; if there are many, only some. `matters` is true for the
    /// relevant interfaces. Frames of other interfaces, and further frames of the returned kinds, are not received until
    /// [`Frames::resume`].
    ///
    /// # Errors
    /// When the kernel refuses another filter.
    pub fn take(&mut self, matters: impl Fn(&str) -> bool) -> io::Result<BTreeSet<(String, Encapsulation)>> {
        let mut found = BTreeSet::new();
        let mut buffer = [0; 8];
        let before = self.others.len() + self.reported.len();
        for _ in 0..MAX_COUNT {
            let Ok((length, from)) = recvfrom::<nix::sys::socket::LinkAddr>(self.socket.as_raw_fd(), &mut buffer)
            else {
                break;
            };
            let Some(encapsulation) = encapsulation(length) else { continue };
            let Some(index) = from.and_then(|from| u32::try_from(from.ifindex()).ok()) else { continue };
            // the interface has been removed
            let Some(name) = if_indextoname(index).ok().and_then(|name| name.into_string().ok()) else { continue };
            if matters(&name) {
                found.insert((name, encapsulation));
                self.reported.insert(key(index, encapsulation));
            } else {
                self.others.insert(index);
            }
        }
        if self.others.len() + self.reported.len() > before {
            self.attach()?;
        }
        Ok(found)
    }

    /// Starts receiving all frames again.
    ///
    /// # Errors
    /// When the kernel refuses another filter.
    pub fn resume(&mut self) -> io::Result<()> {
        // drop removed interfaces
        if self.others.len() > MAX_IGNORED / 2 {
            self.others.clear();
        }
        if std::mem::take(&mut self.reported).is_empty() { Ok(()) } else { self.attach() }
    }

    fn bind(&self) -> io::Result<()> {
        // SAFETY: a zeroed address is valid
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: the pointer is valid for the length
        let bound = unsafe {
            libc::bind(self.socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as libc::socklen_t)
        };
        if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn attach(&self) -> io::Result<()> {
        let mut program = filter(&self.others, &self.reported);
        let length = u16::try_from(program.len()).expect("at most 4096 instructions");
        let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: the pointer is valid for the length; a filter is copied
        let set = unsafe {
            libc::setsockopt(self.socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
        };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// The filter. It returns the number of bytes to keep of a frame, which encodes the encapsulation ([`number`]), and 0 for
/// irrelevant frames: all frames of the interfaces in `others`, and the kinds of frames in `reported`.
fn filter(others: &BTreeSet<u32>, reported: &BTreeSet<u32>) -> Vec<libc::sock_filter> {
    let mut tagged = vec![load(PROTOCOL)];
    tagged.extend(one_of(&[0x0800, 0x86dd, 0x8100, 0x88a8, 0x8864]));
    tagged.extend([load(TAG_TYPE), test(0x88a8, 3, 0)]);
    tagged.extend(found(Encapsulation::Vlan));
    tagged.extend(found(Encapsulation::ServiceVlan));
    let mut untagged = vec![load(PROTOCOL), test(0x8864, 0, 3)];
    untagged.extend(found(Encapsulation::Pppoe));
    // ETH_P_802_2: LLC; SNAP with the organisation code 0 contains an ethertype (RFC 1042)
    untagged.extend(one_of(&[0x0004]));
    untagged.push(load(0));
    untagged.extend(one_of(&[0xaaaa_0300]));
    untagged.push(step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 6));
    untagged.extend(one_of(&[0x0800, 0x86dd]));
    untagged.extend(found(Encapsulation::Llc));
    let past = u8::try_from(tagged.len()).expect("some instructions");
    let mut program = vec![load(TAGGED), test(0, past, 0)];
    program.extend(tagged.into_iter().chain(untagged));
    let end = program.len();
    for (at, step) in program.iter_mut().enumerate().filter(|(_, step)| step.k == TO_THE_END) {
        step.k = u32::try_from(end - at - 1).expect("some instructions");
    }
    let ignore = |value: &u32| [test(*value, 0, 1), step(libc::BPF_RET | libc::BPF_K, 0)];
    program.push(load(INTERFACE));
    program.extend(others.iter().take(MAX_IGNORED / 2).flat_map(ignore));
    program.extend([
        step(libc::BPF_ALU | libc::BPF_LSH | libc::BPF_K, ENCAPSULATION_BITS),
        step(libc::BPF_LDX | libc::BPF_MEM, 0),
        step(libc::BPF_ALU | libc::BPF_OR | libc::BPF_X, 0),
    ]);
    program.extend(reported.iter().take(MAX_IGNORED / 2).flat_map(ignore));
    program.extend([step(libc::BPF_LD | libc::BPF_MEM, 0), step(libc::BPF_RET | libc::BPF_A, 0)]);
    program
}

// data about the frame (SKF_AD_OFF in linux/filter.h)
const PROTOCOL: u32 = 0xffff_f000;
const INTERFACE: u32 = PROTOCOL + 8;
const TAGGED: u32 = PROTOCOL + 48;
const TAG_TYPE: u32 = PROTOCOL + 60;
/// Number of bits of a [`key`] that contain the encapsulation.
const ENCAPSULATION_BITS: u32 = 3;

/// The key for an encapsulation received on an interface.
fn key(index: u32, encapsulation: Encapsulation) -> u32 {
    index << ENCAPSULATION_BITS | number(encapsulation)
}

/// The number of an encapsulation, counted from 1: the filter keeps that many bytes of such a frame.
fn number(encapsulation: Encapsulation) -> u32 {
    let at = Encapsulation::ALL.iter().position(|one| *one == encapsulation).expect("ALL has all of them");
    u32::try_from(at + 1).expect("there are few")
}

/// The encapsulation of a frame of which this many bytes were kept.
fn encapsulation(length: usize) -> Option<Encapsulation> {
    Encapsulation::ALL.get(length.checked_sub(1)?).copied()
}

/// The distance of a jump to the end, until it is known.
const TO_THE_END: u32 = u32::MAX;

fn step(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn load(at: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at)
}

/// Skips `equal` instructions if the value equals `k`, otherwise `other` instructions.
fn test(k: u32, equal: u8, other: u8) -> libc::sock_filter {
    libc::sock_filter { jt: equal, jf: other, ..step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k) }
}

/// Ignores the frame unless the value is one of these.
fn one_of(values: &[u32]) -> Vec<libc::sock_filter> {
    let left = (1..=values.len()).rev().filter_map(|left| u8::try_from(left).ok());
    let tests = values.iter().zip(left).map(|(value, left)| test(*value, left, 0));
    tests.chain([step(libc::BPF_RET | libc::BPF_K, 0)]).collect()
}

/// Records the encapsulation of the frame, and skips all other tests.
fn found(encapsulation: Encapsulation) -> [libc::sock_filter; 3] {
    let jump = step(libc::BPF_JMP | libc::BPF_JA, TO_THE_END);
    [step(libc::BPF_LD | libc::BPF_IMM, number(encapsulation)), step(libc::BPF_ST, 0), jump]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encapsulations_have_numbers_that_fit_a_key() {
        for one in Encapsulation::ALL {
            assert!(number(one) < 1 << ENCAPSULATION_BITS);
            assert_eq!(encapsulation(number(one) as usize), Some(one));
        }
        assert_eq!((encapsulation(0), encapsulation(8)), (None, None));
    }
}

//! Names of network interfaces, updated from rtnetlink events, and their alternative names.
use super::{DATAGRAM, NLM_F_DUMP, NLM_F_REQUEST, Received, Socket};
use crate::nflog::netlink::{Message, Request, messages};
use crate::nflog::rtnetlink::link::{LinkEvent, link_altnames, link_event};
use anyhow::{Context, Result, bail};
use nix::sys::socket::SockProtocol;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};

pub(super) const RTMGRP_LINK: u32 = 1;
const RTM_GETLINK: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
pub(super) const RECEIVE_BUFFER: usize = 2 << 20;
/// Attempts to get a dump that was not interrupted by a change.
pub(super) const DUMPS: usize = 3;
/// Number of removed interfaces whose names are kept for packets that are still queued.
const KEPT_REMOVED: usize = 256;

/// The name of every interface in this network namespace by its index.
#[derive(Debug)]
pub struct LinkNames {
    socket: Socket,
    names: HashMap<u32, String>,
    removed: VecDeque<u32>,
    buffer: Box<[u8]>,
    sequence: u32,
}

impl LinkNames {
    /// Subscribes to link events and lists the existing interfaces.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn open() -> Result<Self> {
        let mut links = LinkNames {
            socket: Socket::open(SockProtocol::NetlinkRoute, RTMGRP_LINK, RECEIVE_BUFFER)?,
            names: HashMap::new(),
            removed: VecDeque::new(),
            buffer: vec![0; DATAGRAM].into_boxed_slice(),
            sequence: 0,
        };
        links.reload()?;
        Ok(links)
    }

    /// The name of an interface. For an unknown index, queued events are processed first: the interface may be newer
    /// than the last [`update`](Self::update).
    pub fn name(&mut self, index: u32) -> Option<&str> {
        if !self.names.contains_key(&index) {
            // the next update reports a broken socket
            let _ = self.update();
        }
        self.names.get(&index).map(String::as_str)
    }

    /// Processes the queued events; never blocks. After an overflow it lists all interfaces again.
    ///
    /// Returns whether there were any.
    ///
    /// # Errors
    /// When reading from the socket fails.
    pub fn update(&mut self) -> Result<bool> {
        let mut any = false;
        loop {
            let received = self.socket.receive(&mut self.buffer)?;
            any |= received != Received::Nothing;
            match received {
                Received::Datagram(datagram) => {
                    for event in messages(datagram).filter_map(link_event) {
                        apply(event, &mut self.names, &mut self.removed);
                    }
                }
                Received::Overflow => self.reload()?,
                Received::Nothing => return Ok(any),
            }
        }
    }

    /// The names of all interfaces that exist.
    pub fn present(&self) -> impl Iterator<Item = &str> {
        let removed: HashSet<&u32> = self.removed.iter().collect();
        self.names.iter().filter(move |(index, _)| !removed.contains(index)).map(|(_, name)| name.as_str())
    }

    /// Lists all interfaces. If they keep changing, the last dump is used and the events correct it.
    fn reload(&mut self) -> Result<()> {
        for _ in 0..DUMPS {
            if self.dump()? {
                break;
            }
        }
        Ok(())
    }

    /// Lists all interfaces; false if a change interrupted the dump, so that it may be incomplete.
    fn dump(&mut self) -> Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let LinkNames { socket, names, removed, buffer, sequence } = self;
        names.clear();
        removed.clear();
        dump(socket, *sequence, buffer, |message| {
            if let Some(event) = link_event(message) {
                apply(event, names, removed);
            }
        })
    }
}

/// `RTM_GETLINK` for all interfaces: passes each received message, including events, to `take`. False if the dump may be
/// incomplete.
pub(super) fn dump(socket: &Socket, sequence: u32, buffer: &mut [u8], take: impl FnMut(Message<'_>)) -> Result<bool> {
    // an empty struct ifinfomsg selects all interfaces
    let request = Request::new(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, sequence, &[0; 16])
        .with(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    socket.query(sequence, request, buffer, take).context("the kernel does not list the network interfaces")
}

/// The alternative names of all interfaces (`ip link property add … altname`). They are listed again only after a link
/// event, because a node may have thousands of interfaces.
#[derive(Debug)]
pub struct Altnames {
    socket: Socket,
    /// The interface name of each alternative name.
    names: BTreeMap<String, String>,
    /// Whether a link event has arrived since the names were listed.
    stale: bool,
    sequence: u32,
}

impl Altnames {
    /// Subscribes to link events.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkRoute, RTMGRP_LINK, RECEIVE_BUFFER)?;
        Ok(Altnames { socket, names: BTreeMap::new(), stale: true, sequence: 0 })
    }

    /// All alternative names, each with its interface name.
    ///
    /// # Errors
    /// When the kernel does not answer, or the interfaces change all the time.
    pub fn current(&mut self) -> Result<&BTreeMap<String, String>> {
        let mut buffer = vec![0; DATAGRAM];
        while self.socket.receive(&mut buffer)? != Received::Nothing {
            self.stale = true;
        }
        for _ in 0..DUMPS {
            if !self.stale {
                return Ok(&self.names);
            }
            self.list(&mut buffer)?;
        }
        bail!("the network interfaces change too fast to be listed")
    }

    fn list(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let Altnames { socket, names, sequence, .. } = self;
        let mut changed = false;
        names.clear();
        let whole = dump(socket, *sequence, buffer, |message| {
            changed |= message.sequence != *sequence;
            let (name, others) = link_altnames(message).unwrap_or_default();
            names.extend(others.into_iter().map(|other| (other, name.clone())));
        })?;
        self.stale = changed || !whole;
        Ok(())
    }
}

impl AsFd for LinkNames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn apply(event: LinkEvent, names: &mut HashMap<u32, String>, removed: &mut VecDeque<u32>) {
    match event {
        LinkEvent::Named(index, name) => {
            removed.retain(|known| *known != index);
            names.insert(index, name);
        }
        LinkEvent::Removed(index) => {
            removed.retain(|known| *known != index);
            removed.push_back(index);
            while removed.len() > KEPT_REMOVED {
                removed.pop_front().map(|oldest| names.remove(&oldest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_removed_interfaces_are_kept_up_to_a_limit() {
        let (mut names, mut removed) = (HashMap::new(), VecDeque::new());
        for index in 1..=1000 {
            apply(LinkEvent::Named(index, format!("tap{index}i0")), &mut names, &mut removed);
            apply(LinkEvent::Removed(index), &mut names, &mut removed);
        }
        assert_eq!(names.len(), KEPT_REMOVED);
        assert_eq!(names[&1000], "tap1000i0");
        apply(LinkEvent::Named(1000, "again".to_string()), &mut names, &mut removed);
        for index in 1001..=2000 {
            apply(LinkEvent::Removed(index), &mut names, &mut removed);
        }
        assert_eq!(names.get(&1000).map(String::as_str), Some("again"), "the name of a reused index is kept");
    }

    #[test]
    fn altnames_are_listed() {
        // the list depends on the machine; the daemon's tests add an altname to an interface
        let mut altnames = Altnames::open().unwrap();
        let first = altnames.current().unwrap().clone();
        assert_eq!(altnames.current().unwrap(), &first);
    }
}

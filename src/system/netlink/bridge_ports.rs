//! The ports of bridges.
use super::link_names::{DUMPS, RECEIVE_BUFFER, RTMGRP_LINK, dump};
use super::{DATAGRAM, Received, Socket};
use crate::nflog::rtnetlink::link::link_master;
use anyhow::{Result, bail};
use nix::sys::socket::SockProtocol;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The interfaces of this network namespace, each with the name of the bridge, or other interface, that it is a port of.
/// They are listed again only after a link event.
#[derive(Debug)]
pub struct BridgePorts {
    socket: Socket,
    ports: Arc<BTreeMap<String, Option<String>>>,
    /// Whether a link event has arrived since they were listed.
    stale: bool,
    sequence: u32,
}

impl BridgePorts {
    /// Subscribes to link events.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(SockProtocol::NetlinkRoute, RTMGRP_LINK, RECEIVE_BUFFER)?;
        Ok(BridgePorts { socket, ports: Arc::default(), stale: true, sequence: 0 })
    }

    /// All interfaces.
    ///
    /// # Errors
    /// When the kernel does not answer, or the interfaces change all the time.
    pub fn current(&mut self) -> Result<Arc<BTreeMap<String, Option<String>>>> {
        let mut buffer = [0; 1 << 13];
        // events can be longer than the buffer, but their remainder is not needed
        while self.socket.receive(&mut buffer)? != Received::Nothing {
            self.stale = true;
        }
        if !self.stale {
            return Ok(self.ports.clone());
        }
        let mut buffer = vec![0; DATAGRAM];
        for _ in 0..DUMPS {
            if !self.stale {
                return Ok(self.ports.clone());
            }
            self.list(&mut buffer)?;
        }
        bail!("the network interfaces change too fast to be listed")
    }

    fn list(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let (mut links, mut changed) = (Vec::new(), false);
        let whole = dump(&self.socket, sequence, buffer, |message| {
            changed |= message.sequence != sequence;
            links.extend(link_master(message));
        })?;
        self.stale = changed || !whole;
        let names: BTreeMap<u32, &str> = links.iter().map(|(index, name, _)| (*index, name.as_str())).collect();
        let port = |(_, name, master): &(u32, String, Option<u32>)| {
            let master = master.as_ref().and_then(|master| names.get(master));
            (name.clone(), master.map(ToString::to_string))
        };
        self.ports = Arc::new(links.iter().map(port).collect());
        Ok(())
    }
}

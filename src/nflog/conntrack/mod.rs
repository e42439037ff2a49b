//! Connection tracking entries (`linux/netfilter/nfnetlink_conntrack.h`), and their events in the format of
//! conntrack(8).
mod connection;
mod format;

pub use connection::{Connection, Detail, DirectionZones, Tuple};

use super::netlink::{Message, NETFILTER_HEADER, attributes, be16, be32, be64, until_zero};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW` and `…_DELETE`.
const NEW: u16 = 0x0100;
const DELETE: u16 = 0x0102;
/// `NLM_F_CREATE | NLM_F_EXCL`: a message without them reports an update of a known connection.
const CREATED: u16 = 0x600;

/// The change of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionChange {
    /// The kernel created an entry for it.
    New,
    /// The kernel deleted its entry.
    Destroy,
}

/// An event with the attributes that the kernel sent.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    change: ConnectionChange,
    entry: ConntrackEntry<'a>,
}

/// A tracked connection with the attributes that the kernel sent.
#[derive(Clone, Copy, Debug, Default)]
struct ConntrackEntry<'a> {
    /// `AF_INET` or `AF_INET6`.
    family: u8,
    original: TupleCounters<'a>,
    reply: TupleCounters<'a>,
    status: Option<u32>,
    /// Seconds.
    timeout: Option<u32>,
    state: Option<ProtocolState>,
    mark: Option<u32>,
    usage: Option<u32>,
    /// The kernel's id of the entry.
    id: Option<u32>,
    zone: Option<u16>,
    /// The attributes of the master connection's tuple (`CTA_TUPLE_MASTER`).
    master: &'a [u8],
    security_context: &'a [u8],
    helper: &'a [u8],
    /// Nanoseconds since the epoch.
    start: Option<u64>,
    /// Nanoseconds since the epoch.
    stop: Option<u64>,
}

/// Addresses, protocol and counters of one direction (original or reply).
#[derive(Clone, Copy, Debug, Default)]
struct TupleCounters<'a> {
    source: &'a [u8],
    destination: &'a [u8],
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    icmp_type: u8,
    icmp_code: u8,
    icmp_id: u16,
    zone: Option<u16>,
    packets: Option<u64>,
    bytes: Option<u64>,
}

/// The protocol's connection state, by the kernel's number.
#[derive(Clone, Copy, Debug)]
enum ProtocolState {
    Tcp(u8),
    Dccp(u8),
    Sctp(u8),
}

impl<'a> Event<'a> {
    /// Decodes a message; `None` unless it reports a created or deleted connection.
    #[must_use]
    pub fn decode(message: &Message<'a>) -> Option<Self> {
        let change = match message.kind {
            NEW if message.flags & CREATED == CREATED => ConnectionChange::New,
            DELETE => ConnectionChange::Destroy,
            _ => return None,
        };
        Some(Event { change, entry: ConntrackEntry::decode(message.body())? })
    }
}

impl<'a> ConntrackEntry<'a> {
    /// Decodes a message without its netlink header; `None` if it is truncated.
    fn decode(body: &'a [u8]) -> Option<Self> {
        let (header, rest) = body.split_first_chunk::<NETFILTER_HEADER>()?;
        let mut entry = ConntrackEntry { family: header[0], ..ConntrackEntry::default() };
        for (kind, content) in attributes(rest) {
            entry.take(kind, content);
        }
        Some(entry)
    }

    /// `CTA_…`
    fn take(&mut self, kind: u16, content: &'a [u8]) {
        match kind {
            1 => self.original.take_tuple(content),
            2 => self.reply.take_tuple(content),
            3 => self.status = be32(content),
            4 => self.state = state(content),
            5 => self.helper = nested(content, 1).map_or(&[], until_zero),
            7 => self.timeout = be32(content),
            8 => self.mark = be32(content),
            9 => self.original.take_counters(content),
            10 => self.reply.take_counters(content),
            11 => self.usage = be32(content),
            12 => self.id = be32(content),
            14 => self.master = content,
            18 => self.zone = be16(content),
            19 => self.security_context = nested(content, 1).map_or(&[], until_zero),
            20 => {
                self.start = nested(content, 1).and_then(be64);
                self.stop = nested(content, 2).and_then(be64);
            }
            _ => {}
        }
    }
}

impl<'a> TupleCounters<'a> {
    /// `CTA_TUPLE_…`
    fn take_tuple(&mut self, content: &'a [u8]) {
        for (kind, content) in attributes(content) {
            match kind {
                1 => self.take_addresses(content),
                2 => self.take_protocol(content),
                3 => self.zone = be16(content),
                _ => {}
            }
        }
    }

    /// `CTA_IP_…`
    fn take_addresses(&mut self, content: &'a [u8]) {
        for (kind, content) in attributes(content) {
            match kind {
                1 | 3 => self.source = content,
                2 | 4 => self.destination = content,
                _ => {}
            }
        }
    }

    /// `CTA_PROTO_…`
    fn take_protocol(&mut self, content: &[u8]) {
        for (kind, content) in attributes(content) {
            let byte = content.first().copied().unwrap_or(0);
            let number = be16(content).unwrap_or(0);
            match kind {
                1 => self.protocol = byte,
                2 => self.source_port = number,
                3 => self.destination_port = number,
                4 | 7 => self.icmp_id = number,
                5 | 8 => self.icmp_type = byte,
                6 | 9 => self.icmp_code = byte,
                _ => {}
            }
        }
    }

    /// `CTA_COUNTERS_…`
    fn take_counters(&mut self, content: &[u8]) {
        self.packets = nested(content, 1).and_then(be64);
        self.bytes = nested(content, 2).and_then(be64);
    }
}

/// `CTA_PROTOINFO_…`: the state is the first attribute of each.
fn state(content: &[u8]) -> Option<ProtocolState> {
    let (kind, content) = attributes(content).next()?;
    let number = nested(content, 1)?.first().copied()?;
    match kind {
        1 => Some(ProtocolState::Tcp(number)),
        2 => Some(ProtocolState::Dccp(number)),
        3 => Some(ProtocolState::Sctp(number)),
        _ => None,
    }
}

fn nested(content: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(content).find(|(kind, _)| *kind == wanted).map(|(_, content)| content)
}

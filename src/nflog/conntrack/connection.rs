//! A tracked connection: its identity, and the fields needed by the simulator.
use super::super::netlink::{Message, NESTED, NETFILTER_HEADER, Request, attribute};
use super::{ConntrackEntry, NEW, ProtocolState, TupleCounters};
use std::fmt;
use std::net::IpAddr;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`
const DELETE: u16 = 0x0102;
/// `AF_INET` and `AF_INET6`
const INET: u8 = 2;
const INET6: u8 = 10;
/// `IPS_…` bits of the status.
const SEEN_REPLY: u32 = 1 << 1;

/// Source and destination of the packets of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub dest: IpAddr,
    /// The IP protocol, by number.
    pub protocol: u8,
    /// Ports or other protocol fields.
    pub detail: Detail,
}

/// The protocol fields by which connection tracking identifies a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detail {
    /// The ports of TCP, UDP, DCCP, SCTP and UDP-Lite.
    Ports {
        /// The source port.
        source: u16,
        /// The destination port.
        dest: u16,
    },
    /// GRE keys.
    Keys {
        /// The source key.
        source: u16,
        /// The destination key.
        dest: u16,
    },
    /// An ICMP or ICMPv6 message.
    Icmp {
        /// The message's type.
        kind: u8,
        /// Its code.
        code: u8,
        /// The identifier of an echo.
        id: u16,
    },
    /// None of the fields above.
    None,
}

/// The conntrack zones that apply to one direction only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectionZones {
    /// The zone of the original direction.
    pub original: Option<u16>,
    /// The zone of the reply direction.
    pub reply: Option<u16>,
}

/// A tracked connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The original direction, before address translation.
    pub original: Tuple,
    /// The reply direction, before address translation.
    pub reply: Tuple,
    /// The master connection (for FTP data, its control connection), if any.
    pub master: Option<Tuple>,
    /// The zone of both directions; 0 by default.
    pub zone: u16,
    /// The zones of single directions.
    pub direction_zones: DirectionZones,
    /// The kernel's id of the entry, unique at any time.
    pub id: Option<u32>,
    /// Whether a reply has been seen.
    pub answered: bool,
    /// Whether it is closed and kept only for late packets: TCP in TIME_WAIT or CLOSE, SCTP and DCCP closed.
    pub closed: bool,
}

impl Connection {
    /// An open connection with replies, in zone 0, without an id.
    #[must_use]
    pub fn between(original: Tuple, reply: Tuple) -> Self {
        Connection {
            original,
            reply,
            master: None,
            zone: 0,
            direction_zones: DirectionZones::default(),
            id: None,
            answered: true,
            closed: false,
        }
    }

    /// Decodes a message of a dump; `None` for any other message, or without addresses.
    #[must_use]
    pub fn decode(message: &Message<'_>) -> Option<Self> {
        let entry = ConntrackEntry::decode(message.body()).filter(|_| message.kind == NEW)?;
        let mut master = TupleCounters::default();
        master.take_tuple(entry.master);
        let closed =
            matches!(entry.state, Some(ProtocolState::Tcp(7 | 8) | ProtocolState::Sctp(1) | ProtocolState::Dccp(7)));
        Some(Connection {
            original: entry.original.tuple()?,
            reply: entry.reply.tuple()?,
            master: master.tuple(),
            zone: entry.zone.unwrap_or(0),
            direction_zones: DirectionZones { original: entry.original.zone, reply: entry.reply.zone },
            id: entry.id,
            answered: entry.status.is_some_and(|status| status & SEEN_REPLY != 0),
            closed,
        })
    }

    /// The request to delete only this connection; `flags` are `NLM_F_…`.
    #[must_use]
    pub fn deletion(&self, flags: u16, sequence: u32) -> Request {
        // without a tuple the kernel would delete all connections, so it is always included
        let header = self.original.netfilter_header();
        let tuple = self.original.attributes(self.direction_zones.original);
        let mut request = Request::new(DELETE, flags, sequence, &header).with(NESTED | 1, &tuple);
        if self.zone != 0 {
            request = request.with(18, &self.zone.to_be_bytes());
        }
        match self.id {
            Some(id) => request.with(12, &id.to_be_bytes()),
            None => request,
        }
    }
}

impl Tuple {
    /// `struct nfgenmsg` for the family of the addresses.
    #[must_use]
    pub fn netfilter_header(&self) -> [u8; NETFILTER_HEADER] {
        [if self.source.is_ipv4() { INET } else { INET6 }, 0, 0, 0]
    }

    /// The attributes of `CTA_TUPLE_ORIG` and `CTA_TUPLE_REPLY`.
    #[must_use]
    pub fn attributes(&self, zone: Option<u16>) -> Vec<u8> {
        let pair =
            |kinds: [u16; 2], source: &[u8], dest: &[u8]| [attribute(kinds[0], source), attribute(kinds[1], dest)];
        let addresses = match (self.source, self.dest) {
            (IpAddr::V4(source), IpAddr::V4(dest)) => pair([1, 2], &source.octets(), &dest.octets()),
            (source, dest) => pair([3, 4], &v6(source), &v6(dest)),
        };
        let mut protocol = attribute(1, &[self.protocol]);
        match self.detail {
            Detail::Ports { source, dest } | Detail::Keys { source, dest } => {
                protocol.extend(pair([2, 3], &source.to_be_bytes(), &dest.to_be_bytes()).concat());
            }
            Detail::Icmp { kind, code, id } => {
                let [first, second, third] = if self.protocol == 1 { [4, 5, 6] } else { [7, 8, 9] };
                protocol.extend(attribute(first, &id.to_be_bytes()));
                protocol.extend(attribute(second, &[kind]));
                protocol.extend(attribute(third, &[code]));
            }
            Detail::None => {}
        }
        let mut bytes = attribute(NESTED | 1, &addresses.concat());
        bytes.extend(attribute(NESTED | 2, &protocol));
        bytes.extend(zone.map(|zone| attribute(3, &zone.to_be_bytes())).unwrap_or_default());
        bytes
    }
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

impl TupleCounters<'_> {
    fn tuple(&self) -> Option<Tuple> {
        let TupleCounters { source, destination, protocol, source_port, destination_port, .. } = *self;
        let TupleCounters { icmp_type, icmp_code, icmp_id, .. } = *self;
        let detail = match protocol {
            6 | 17 | 33 | 132 | 136 => Detail::Ports { source: source_port, dest: destination_port },
            47 => Detail::Keys { source: source_port, dest: destination_port },
            1 | 58 => Detail::Icmp { kind: icmp_type, code: icmp_code, id: icmp_id },
            _ => Detail::None,
        };
        Some(Tuple { source: address(source)?, dest: address(destination)?, protocol, detail })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || bytes.try_into().ok().map(|octets: [u8; 4]| octets.into());
    let v6 = || bytes.try_into().ok().map(|octets: [u8; 16]| octets.into());
    v4().or_else(v6)
}

impl fmt::Display for Tuple {
    /// In the form `tcp 192.0.2.7:40000 -> 10.0.0.1:22`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.protocol {
            1 => "icmp",
            6 => "tcp",
            17 => "udp",
            33 => "dccp",
            47 => "gre",
            58 => "icmpv6",
            132 => "sctp",
            136 => "udplite",
            other => return write!(f, "protocol {other} {} -> {}", self.source, self.dest),
        };
        let end = |address: IpAddr, port: u16| std::net::SocketAddr::new(address, port);
        match self.detail {
            Detail::Ports { source, dest } => {
                write!(f, "{name} {} -> {}", end(self.source, source), end(self.dest, dest))
            }
            Detail::Icmp { kind, code, .. } => {
                write!(f, "{name} type {kind}/{code} {} -> {}", self.source, self.dest)
            }
            Detail::Keys { .. } | Detail::None => write!(f, "{name} {} -> {}", self.source, self.dest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::netlink::messages;
    use super::*;
    use proptest::prelude::*;

    fn tuple(source: &str, dest: &str, protocol: u8, detail: Detail) -> Tuple {
        Tuple { source: source.parse().unwrap(), dest: dest.parse().unwrap(), protocol, detail }
    }

    fn connections() -> Vec<Connection> {
        let ports = Detail::Ports { source: 40_000, dest: 22 };
        let echo = |kind| Detail::Icmp { kind, code: 0, id: 77 };
        let tuples = [
            tuple("192.0.2.7", "10.0.0.1", 6, ports),
            tuple("fd00::7", "fd00::1", 17, ports),
            tuple("192.0.2.7", "10.0.0.1", 132, ports),
            tuple("192.0.2.7", "10.0.0.1", 1, echo(8)),
            tuple("fd00::7", "fd00::1", 58, echo(128)),
            tuple("192.0.2.7", "10.0.0.1", 47, Detail::Keys { source: 1, dest: 2 }),
            tuple("192.0.2.7", "10.0.0.1", 89, Detail::None),
        ];
        let zones = [(0, None), (1, None), (0, Some(7))];
        let all =
            tuples.into_iter().flat_map(|original| zones.map(|(zone, of_original)| (original, zone, of_original)));
        all.map(|(original, zone, of_original)| Connection {
            original,
            reply: Tuple { source: original.dest, dest: original.source, ..original },
            master: None,
            zone,
            direction_zones: DirectionZones { original: of_original, reply: None },
            id: Some(0x1234_5678),
            answered: true,
            closed: false,
        })
        .collect()
    }

    /// A message of a dump.
    fn listed(connection: &Connection, status: u32, tcp_state: Option<u8>, master: Option<Tuple>) -> Vec<u8> {
        let original = connection.original.attributes(connection.direction_zones.original);
        let mut request = Request::new(NEW, 2, 1, &connection.original.netfilter_header())
            .with(NESTED | 1, &original)
            .with(NESTED | 2, &connection.reply.attributes(None))
            .with(3, &status.to_be_bytes())
            .with(12, &connection.id.unwrap().to_be_bytes());
        if connection.zone != 0 {
            request = request.with(18, &connection.zone.to_be_bytes());
        }
        if let Some(state) = tcp_state {
            request = request.with(NESTED | 4, &attribute(NESTED | 1, &attribute(1, &[state])));
        }
        if let Some(master) = master {
            request = request.with(NESTED | 14, &master.attributes(None));
        }
        request.bytes()
    }

    fn decoded(bytes: &[u8]) -> Option<Connection> {
        messages(bytes).next().and_then(|message| Connection::decode(&message))
    }

    #[test]
    fn every_protocol_family_and_zone_is_read() {
        for connection in connections() {
            assert_eq!(decoded(&listed(&connection, SEEN_REPLY, None, None)), Some(connection));
        }
    }

    #[test]
    fn states_and_masters_are_read() {
        let connection = connections()[0];
        for (state, closed) in [(1, false), (3, false), (5, false), (7, true), (8, true)] {
            let read = decoded(&listed(&connection, 0, Some(state), None)).unwrap();
            assert_eq!((read.closed, read.answered), (closed, false), "{state}");
        }
        let master = tuple("192.0.2.7", "10.0.0.1", 6, Detail::Ports { source: 39_999, dest: 21 });
        assert_eq!(decoded(&listed(&connection, 0, None, Some(master))).unwrap().master, Some(master));
    }

    #[test]
    fn a_deletion_request_identifies_one_connection() {
        for connection in connections() {
            let bytes = connection.deletion(5, 9).bytes();
            let message = messages(&bytes).next().unwrap();
            assert_eq!((message.kind, message.flags, message.sequence), (DELETE, 5, 9));
            let entry = ConntrackEntry::decode(message.body()).unwrap();
            assert_eq!(entry.original.tuple(), Some(connection.original));
            assert_eq!((entry.zone.unwrap_or(0), entry.id), (connection.zone, connection.id));
            assert_eq!(entry.original.zone, connection.direction_zones.original);
        }
    }

    #[test]
    fn tuples_have_a_readable_form() {
        let shown: Vec<String> = connections().iter().step_by(3).map(|one| one.original.to_string()).collect();
        assert_eq!(
            shown,
            [
                "tcp 192.0.2.7:40000 -> 10.0.0.1:22",
                "udp [fd00::7]:40000 -> [fd00::1]:22",
                "sctp 192.0.2.7:40000 -> 10.0.0.1:22",
                "icmp type 8/0 192.0.2.7 -> 10.0.0.1",
                "icmpv6 type 128/0 fd00::7 -> fd00::1",
                "gre 192.0.2.7 -> 10.0.0.1",
                "protocol 89 192.0.2.7 -> 10.0.0.1",
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let message = Message { kind: NEW, flags: 0, sequence: 0, bytes: &bytes };
            let _ = Connection::decode(&message);
        }
    }
}

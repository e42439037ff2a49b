//! The steps of a traced packet through the rules of nftables (`linux/netfilter/nf_tables.h`).
mod guests;
mod headers;
mod verdict;

pub(super) use guests::TraceGuests;

use super::log_fields::Fields;
use super::message::LoggedPacket;
use super::netlink::{HEADER, Message, NETFILTER_HEADER, attributes, be16, be32, be64, until_zero};
use super::packet::NetworkProtocol;
use super::text::word;
use headers::JoinedHeaders;
use verdict::Verdict;

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE`
const TRACE: u16 = 0x0a11;
/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK`: devices with an Ethernet header.
const ETHERNET_DEVICES: [u16; 2] = [1, 772];

/// `NFTA_TRACE_…`
mod attribute {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const RULE_HANDLE: u16 = 3;
    pub const TYPE: u16 = 4;
    pub const VERDICT: u16 = 5;
    pub const ID: u16 = 6;
    pub const LINK_HEADER: u16 = 7;
    pub const NETWORK_HEADER: u16 = 8;
    pub const TRANSPORT_HEADER: u16 = 9;
    pub const INPUT: u16 = 10;
    pub const INPUT_TYPE: u16 = 11;
    pub const OUTPUT: u16 = 12;
    pub const OUTPUT_TYPE: u16 = 13;
    pub const MARK: u16 = 14;
    pub const PROTOCOL_FAMILY: u16 = 15;
    pub const POLICY: u16 = 16;
}

/// `NFT_TRACETYPE_…`: what decided in a step.
mod kind {
    pub const POLICY: u32 = 1;
    pub const RETURN: u32 = 2;
    pub const RULE: u32 = 3;
}

/// One step of a traced packet, with the attributes that the kernel sent. Only the first step in a base chain has the headers of
/// the packet and its devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceStep<'a> {
    /// The table's family, `NFPROTO_…`.
    family: u8,
    table: &'a [u8],
    chain: &'a [u8],
    rule: Option<u64>,
    /// `NFT_TRACETYPE_…`
    kind: u32,
    verdict: Option<Verdict<'a>>,
    policy: Option<Verdict<'a>>,
    /// The same for each step of a packet, as long as its flow and its input device stay the same.
    id: u32,
    link_header: &'a [u8],
    network_header: Option<&'a [u8]>,
    transport_header: Option<&'a [u8]>,
    /// Index of the input device, 0 without one. In a bridge this is the port.
    input: u32,
    output: u32,
    /// `ARPHRD_…` of the input device, or of the output device of a packet without one.
    device_type: Option<u16>,
    mark: u32,
    /// The packet's family, `NFPROTO_…`: IPv4 or IPv6 in a table `inet`.
    packet_family: u8,
}

impl<'a> TraceStep<'a> {
    /// Decodes a message; `None` if it has another type. Attributes that are unknown or have a wrong size are ignored.
    #[must_use]
    pub fn decode(message: &Message<'a>) -> Option<Self> {
        if message.kind != TRACE {
            return None;
        }
        let family = message.bytes.get(HEADER).copied().unwrap_or(0);
        let mut step = TraceStep { family, packet_family: family, ..Self::default() };
        for (kind, content) in attributes(message.body().get(NETFILTER_HEADER..).unwrap_or_default()) {
            step.take(kind, content);
        }
        Some(step)
    }

    fn take(&mut self, kind: u16, content: &'a [u8]) {
        let number = || be32(content).unwrap_or(0);
        match kind {
            attribute::TABLE => self.table = until_zero(content),
            attribute::CHAIN => self.chain = until_zero(content),
            attribute::RULE_HANDLE => self.rule = be64(content),
            attribute::TYPE => self.kind = number(),
            attribute::VERDICT => self.verdict = Verdict::decode(content),
            attribute::ID => self.id = number(),
            attribute::LINK_HEADER => self.link_header = content,
            attribute::NETWORK_HEADER => self.network_header = Some(content),
            attribute::TRANSPORT_HEADER => self.transport_header = Some(content),
            attribute::INPUT => self.input = number(),
            attribute::OUTPUT => self.output = number(),
            attribute::INPUT_TYPE => self.device_type = be16(content),
            attribute::OUTPUT_TYPE => self.device_type = self.device_type.or_else(|| be16(content)),
            attribute::MARK => self.mark = number(),
            attribute::PROTOCOL_FAMILY => {
                self.packet_family = u8::try_from(number()).unwrap_or(self.packet_family);
            }
            attribute::POLICY => self.policy = be32(content).map(Verdict::from_code),
            _ => {}
        }
    }

    /// The id of the packet.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Indexes of the devices: first the output device, whose guest is the destination.
    pub(super) fn devices(&self) -> impl Iterator<Item = u32> {
        [self.output, self.input].into_iter().filter(|index| *index != 0)
    }

    /// The chain, as one word.
    pub(super) fn chain(&self) -> std::borrow::Cow<'a, str> {
        word(self.chain)
    }

    /// Appends what was decided: `trace id 1af437ad inet filter rule 7 verdict accept`.
    pub(super) fn push(&self, fields: &mut Fields<'_>) {
        fields.put("trace id ", format_args!("{:08x}", self.id));
        match family_name(self.family) {
            Some(name) => fields.word(name),
            None => fields.number("family ", self.family),
        }
        fields.word(&word(self.table));
        match (self.kind, self.rule) {
            (kind::RULE, Some(handle)) => fields.number("rule ", handle),
            // nft prints only the policy, and only the verdict at the end of a chain
            (kind::RULE | kind::POLICY | kind::RETURN, _) => {}
            (other, _) => fields.number("type ", other),
        }
        if let Some(verdict) = &self.verdict {
            verdict.push("verdict ", fields);
        }
        if let Some(policy) = &self.policy {
            policy.push("policy ", fields);
        }
    }

    /// Passes the beginning of the packet to `push`, and whether it may have more bytes. A step without headers has no payload.
    pub(super) fn with_packet(&self, push: impl FnOnce(&LoggedPacket<'_>, bool)) {
        let mut packet = LoggedPacket {
            family: self.packet_family,
            protocol: self.ethertype(),
            mark: self.mark,
            input: self.input,
            output: self.output,
            link_header: self.link_header,
            ..LoggedPacket::default()
        };
        let Some(network) = self.network_header else { return push(&packet, true) };
        let protocol = NetworkProtocol::of(&packet);
        let JoinedHeaders { bytes, cut } = JoinedHeaders::new(protocol, network, self.transport_header);
        packet.payload = &bytes;
        push(&packet, cut);
    }

    /// The EtherType in the Ethernet header, to which the kernel may have added a VLAN tag; 0 if there is none.
    fn ethertype(&self) -> u16 {
        const PLAIN: usize = 14;
        const TAGGED: usize = 18;
        let is_ethernet = self.device_type.is_some_and(|device| ETHERNET_DEVICES.contains(&device));
        match self.link_header.len() {
            PLAIN | TAGGED if is_ethernet => self.link_header.last_chunk().map_or(0, |end| u16::from_be_bytes(*end)),
            _ => 0,
        }
    }
}

/// The name of a family in nft(8).
fn family_name(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => return None,
    })
}

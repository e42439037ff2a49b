//! A logged packet as nfnetlink_log sends it (`linux/netfilter/nfnetlink_log.h`).
use super::netlink::{HEADER, NETFILTER_HEADER, attributes, be16, be32, until_zero};

/// Seconds since the epoch at the end of the year 9999, the last that a date with a four-digit year can show.
const LAST_SECOND: i64 = 253_402_300_799;

/// `NFULA_…`: the attributes of a logged packet.
mod attribute {
    pub const PACKET_HEADER: u16 = 1;
    pub const MARK: u16 = 2;
    pub const TIMESTAMP: u16 = 3;
    pub const INPUT: u16 = 4;
    pub const OUTPUT: u16 = 5;
    pub const PHYSICAL_INPUT: u16 = 6;
    pub const PHYSICAL_OUTPUT: u16 = 7;
    pub const PAYLOAD: u16 = 9;
    pub const PREFIX: u16 = 10;
    pub const SEQUENCE: u16 = 12;
    pub const LINK_HEADER: u16 = 16;
}

/// `NF_ARP_OUT` and `NF_NETDEV_EGRESS`.
const OUTGOING: u8 = 1;
const NFPROTO_ARP: u8 = 3;
const NFPROTO_NETDEV: u8 = 5;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// The attributes of a log message that appear in a line. An attribute that the message lacks is zero or empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoggedPacket<'a> {
    /// The rule's family, `NFPROTO_…`.
    pub family: u8,
    /// The frame's protocol (`ETH_P_…`).
    pub protocol: u16,
    /// The hook number in its family.
    pub hook: u8,
    /// The packet mark.
    pub mark: u32,
    /// When the packet arrived, in seconds since the epoch.
    pub timestamp: Option<i64>,
    /// Index of the input interface.
    pub input: u32,
    /// Index of the output interface.
    pub output: u32,
    /// Index of the input bridge port.
    pub physical_input: u32,
    /// Index of the output bridge port.
    pub physical_output: u32,
    /// The link-layer header.
    pub link_header: &'a [u8],
    /// The packet from its network header, truncated to the bytes that the kernel copied.
    pub payload: &'a [u8],
    /// The rule's log prefix, without the terminating zero.
    pub prefix: &'a [u8],
    /// Sequence number of the packets logged to this group (`NFULNL_CFG_F_SEQ`): a gap means dropped messages.
    pub sequence: Option<u32>,
}

impl<'a> LoggedPacket<'a> {
    /// Decodes a netlink message including its header. Attributes that are unknown or have a wrong size are ignored.
    #[must_use]
    pub fn decode(message: &'a [u8]) -> Self {
        let mut packet = LoggedPacket { family: message.get(HEADER).copied().unwrap_or(0), ..Self::default() };
        let rest = message.get(HEADER + NETFILTER_HEADER..).unwrap_or_default();
        for (kind, content) in attributes(rest) {
            packet.take(kind, content);
        }
        packet.split_frame();
        packet
    }

    /// On output, the payload of the ARP and netdev families begins with the link header, and the message has no
    /// attribute for that. An Ethernet header is recognised by its EtherType, which the message repeats.
    fn split_frame(&mut self) {
        if !matches!((self.family, self.hook), (NFPROTO_ARP | NFPROTO_NETDEV, OUTGOING)) {
            return;
        }
        match self.payload.split_at_checked(ETHERNET) {
            Some((header, payload)) if header[12..] == self.protocol.to_be_bytes() => {
                (self.link_header, self.payload) = (header, payload);
            }
            _ => {}
        }
    }

    fn take(&mut self, kind: u16, content: &'a [u8]) {
        let number = || be32(content).unwrap_or(0);
        match kind {
            attribute::PACKET_HEADER => {
                self.protocol = content.get(..2).and_then(be16).unwrap_or(0);
                self.hook = content.get(2).copied().unwrap_or(0);
            }
            attribute::MARK => self.mark = number(),
            attribute::TIMESTAMP => self.timestamp = seconds(content),
            attribute::INPUT => self.input = number(),
            attribute::OUTPUT => self.output = number(),
            attribute::PHYSICAL_INPUT => self.physical_input = number(),
            attribute::PHYSICAL_OUTPUT => self.physical_output = number(),
            attribute::PAYLOAD => self.payload = content,
            attribute::PREFIX => self.prefix = until_zero(content),
            attribute::SEQUENCE => self.sequence = be32(content),
            attribute::LINK_HEADER => self.link_header = content,
            _ => {}
        }
    }
}

/// The seconds of a `struct nfulnl_msg_packet_timestamp`; `None` outside the years 1970 to 9999.
fn seconds(content: &[u8]) -> Option<i64> {
    let seconds = content.first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes))?;
    (1..=LAST_SECOND).contains(&seconds).then_some(seconds)
}

//! A logged packet as nfnetlink_log sends it (`linux/netfilter/nfnetlink_log.h`).
use super::netlink::{HEADER, NETFILTER_HEADER, attributes, be16, be32, until_zero};

/// Seconds since the epoch at the end of the year 9999: no clock says more, and a date has four digits for the year.
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

/// The parts of a log message that a line is made of. What the message does not say is zero or empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoggedPacket<'a> {
    /// `NFPROTO_…`: where the rule stood.
    pub family: u8,
    /// The frame's protocol (`ETH_P_…`).
    pub protocol: u16,
    /// The hook's number in its family.
    pub hook: u8,
    /// The packet's mark.
    pub mark: u32,
    /// When the packet arrived, in seconds since the epoch.
    pub timestamp: Option<i64>,
    /// Index of the interface it came in by.
    pub input: u32,
    /// Index of the interface it goes out by.
    pub output: u32,
    /// Index of the bridge port it came in by.
    pub physical_input: u32,
    /// Index of the bridge port it goes out by.
    pub physical_output: u32,
    /// The link layer's header.
    pub link_header: &'a [u8],
    /// The packet, from its network header on, as far as the kernel copied it.
    pub payload: &'a [u8],
    /// The rule's prefix, without the terminating zero.
    pub prefix: &'a [u8],
    /// Counts the packets that the kernel logged to this group (`NFULNL_CFG_F_SEQ`): a gap is a loss.
    pub sequence: Option<u32>,
}

impl<'a> LoggedPacket<'a> {
    /// Reads a netlink message, its header included. Attributes that are unknown or of a wrong size are left out.
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

    /// On their way out, the ARP and netdev families see a frame with its link header still in front, and the kernel
    /// does not say so. An Ethernet header is known by its last field, which the message repeats.
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

/// The seconds of a `struct nfulnl_msg_packet_timestamp`; `None` for a time that no calendar holds.
fn seconds(content: &[u8]) -> Option<i64> {
    let seconds = content.first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes))?;
    (1..=LAST_SECOND).contains(&seconds).then_some(seconds)
}

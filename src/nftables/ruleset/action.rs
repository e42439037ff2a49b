//! The statements of nft(8) that rules end with; `text` renders them.
use super::set::MapKey;
use crate::model::{Family, Rate};
use crate::nftables::names::Name;
use ecow::EcoString;

/// The reply to a rejected packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A TCP RST.
    TcpReset,
    /// ICMP or ICMPv6 destination unreachable: port.
    PortUnreachable(Family),
    /// ICMP destination unreachable: host administratively prohibited; ICMPv6: administratively prohibited.
    Prohibited(Family),
}

/// A rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Packets per unit of time.
    pub rate: Rate,
    /// Packets before the rate applies.
    pub burst: u32,
}

/// The log prefix of a rule: `:VMID:LOGID:CHAIN: MESSAGE`. nft accepts 127 characters, and pvefw-logger 28 for the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPrefix {
    /// The VMID, or 0.
    pub vmid: u32,
    /// The log level, 0 (emergency) to 7 (debug).
    pub level: u8,
    /// The chain of the rule.
    pub chain: Name,
    /// The verdict, such as `DROP: ` or `policy REJECT: `.
    pub message: &'static str,
}

/// The target of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Accepts the packet in this base chain.
    Accept,
    /// Drops the packet.
    Drop,
    /// Returns to the calling chain.
    Return,
    /// Jumps to a chain.
    Jump(Name),
    /// `goto`: evaluates a chain without returning.
    Goto(Name),
    /// Rejects the packet with a reply.
    Reject(Rejection),
    /// Logs the packet to NFLOG group 0, with a rate limit if any.
    Log(Box<(LogPrefix, Option<Limit>)>),
    /// Sets the mark of the connection.
    CtMark(u32),
    /// Assigns the helper of this object to the connection.
    CtHelper(Name),
    /// Passes the packet to a program that reads one of these queues, from first to last; without such a program it is
    /// accepted.
    Queue(u16, u16),
    /// Drops the packet if its source exceeds the limit: `update @set { ip saddr limit rate over … } drop`. IPv6 sources are
    /// counted by /64.
    DropAbove {
        /// The family of the source.
        family: Family,
        /// The dynamic set with the sources.
        set: Name,
        /// Packets per second, and the burst in packets.
        limit: (u32, u32),
    },
    /// Looks the verdict up in a map: `iifname vmap @vm-map-out`.
    VerdictMap(MapKey, Name),
}

impl Action {
    /// The target chain of a jump or goto.
    #[must_use]
    pub fn target(&self) -> Option<&Name> {
        match self {
            Action::Jump(chain) | Action::Goto(chain) => Some(chain),
            _ => None,
        }
    }

    /// Whether the kernel keeps state for the rule, such as that of a limit, which is reset when the rule is replaced.
    #[must_use]
    pub fn has_state(&self) -> bool {
        matches!(self, Action::Log(log) if log.1.is_some())
    }
}

/// Whether the text can be used in a quoted comment.
#[must_use]
pub(super) fn is_comment(text: &EcoString) -> bool {
    text.len() <= 80 && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

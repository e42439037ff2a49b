//! Actions: what happens to a packet that a rule matches.
use super::set::MapKey;
use crate::model::{Family, Rate};
use crate::nftables::names::Name;
use ecow::EcoString;

/// How a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A TCP RST.
    TcpReset,
    /// ICMP or ICMPv6 destination unreachable: port.
    PortUnreachable(Family),
    /// ICMP destination unreachable: host administratively prohibited; ICMPv6: administratively prohibited.
    Prohibited(Family),
}

/// How often something may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Packets in a unit of time.
    pub rate: Rate,
    /// Packets before the rate applies.
    pub burst: u32,
}

/// What a log rule tells the log daemon: `:VMID:LOGID:CHAIN: MESSAGE`. nft takes 127 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPrefix {
    /// The VMID, or 0.
    pub vmid: u32,
    /// The log level, 0 (emergency) to 7 (debug).
    pub level: u8,
    /// The chain that logs, as the log names it.
    pub chain: Name,
    /// What happens to the packet, as `DROP: ` or `policy REJECT: `.
    pub message: &'static str,
}

/// The target of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It leaves the base chain.
    Accept,
    /// It is dropped.
    Drop,
    /// It goes back to the chain that jumped here.
    Return,
    /// It goes on in a chain, and comes back.
    Jump(Name),
    /// It goes on in a chain for good.
    Goto(Name),
    /// It is refused with an answer.
    Reject(Rejection),
    /// It is logged to NFLOG group 0, not more often than the limit says.
    Log(Box<(LogPrefix, Option<Limit>)>),
    /// Its connection gets this mark.
    CtMark(u32),
    /// Its connection gets the helper of this object.
    CtHelper(Name),
    /// A program decides that listens at one of these queues; without one it is accepted.
    Queue(u16, u16),
    /// It is dropped if its source has sent more than the limit: `update @set { ip saddr limit rate over … } drop`.
    /// Sources of IPv6 are counted by /64.
    DropAbove {
        /// The family of the source.
        family: Family,
        /// The dynamic set that holds the sources.
        set: Name,
        /// Packets a second, and the burst.
        limit: (u32, u32),
    },
    /// A map says what happens: `iifname vmap @vm-map-out`.
    VerdictMap(MapKey, Name),
}

impl Action {
    /// The chain that the packet goes on in.
    #[must_use]
    pub fn target(&self) -> Option<&Name> {
        match self {
            Action::Jump(chain) | Action::Goto(chain) => Some(chain),
            _ => None,
        }
    }

    /// Whether the kernel keeps something for the rule that a replaced rule would begin again with.
    #[must_use]
    pub fn has_state(&self) -> bool {
        matches!(self, Action::Log(log) if log.1.is_some())
    }
}

/// The words of a comment, without what would end its quotes.
#[must_use]
pub(super) fn is_comment(text: &EcoString) -> bool {
    text.len() <= 80 && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

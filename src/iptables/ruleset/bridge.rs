//! Rules of ebtables(8) chains.
use super::names::ChainName;
use super::write_helpers::{put, string};
use crate::model::{Interface, MacAddr, Origin, Token};
use ipnet::Ipv4Net;
use std::fmt::{self, Write};

/// The format of MAC addresses in a variant of `ebtables-save`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacStyle {
    /// Without leading zeros: the legacy tool.
    Short,
    /// Two digits for each octet: the nft variant.
    Padded,
}

/// One match of an ebtables rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BridgeMatch {
    /// `-p`, with a name from `/etc/ethertypes`, or a code without a name.
    Protocol(Token),
    /// `-i`
    InInterface(Interface),
    /// `-o`
    OutInterface(Interface),
    /// `-s ! MAC`: the frame has another source address.
    NotFrom(MacAddr),
    /// `--arp-ip-src`
    ArpSource(Ipv4Net),
}

/// The target of an ebtables rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BridgeTarget {
    /// Accepts the frame.
    Accept,
    /// Drops the frame.
    Drop,
    /// Returns to the calling chain.
    Return,
    /// Jumps to a chain.
    Jump(ChainName),
}

/// A rule of an ebtables chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeRule {
    /// The matches, in the order of the text.
    pub matches: Box<[BridgeMatch]>,
    /// The target.
    pub target: BridgeTarget,
    /// The origin of the rule.
    pub origin: Origin,
}

impl BridgeRule {
    /// The rule as a line of `ebtables-save`, in the format of a variant.
    #[must_use]
    pub fn line(&self, chain: &ChainName, style: MacStyle) -> String {
        string(|out| self.put(chain, style, out))
    }

    /// Writes that line, without its end.
    pub(super) fn put(&self, chain: &ChainName, style: MacStyle, out: &mut impl Write) -> fmt::Result {
        put(out, &["-A ", chain.as_str()])?;
        self.matches.iter().try_for_each(|one| one.put(style, out))?;
        put(out, &[" -j ", self.target.text()])
    }
}

impl BridgeMatch {
    fn put(&self, style: MacStyle, out: &mut impl Write) -> fmt::Result {
        match self {
            BridgeMatch::Protocol(name) => put(out, &[" -p ", name.as_str()]),
            BridgeMatch::InInterface(interface) => put(out, &[" -i ", interface.as_str()]),
            BridgeMatch::OutInterface(interface) => put(out, &[" -o ", interface.as_str()]),
            BridgeMatch::NotFrom(MacAddr([a, b, c, d, e, f])) => match style {
                MacStyle::Short => write!(out, " -s ! {a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}"),
                MacStyle::Padded => write!(out, " -s ! {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
            },
            BridgeMatch::ArpSource(net) if net.prefix_len() == 32 => write!(out, " --arp-ip-src {}", net.addr()),
            BridgeMatch::ArpSource(net) => write!(out, " --arp-ip-src {}", net.trunc()),
        }
    }
}

impl BridgeTarget {
    fn text(&self) -> &str {
        match self {
            BridgeTarget::Accept => "ACCEPT",
            BridgeTarget::Drop => "DROP",
            BridgeTarget::Return => "RETURN",
            BridgeTarget::Jump(chain) => chain.as_str(),
        }
    }
}

impl fmt::Display for BridgeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_printed_as_by_each_variant() {
        let mac: MacAddr = "BC:24:01:00:0f:30".parse().unwrap();
        let rule = BridgeRule {
            matches: [BridgeMatch::NotFrom(mac)].into(),
            target: BridgeTarget::Drop,
            origin: Origin::Generated("test".into()),
        };
        let chain = ChainName::new("tap100i0-OUT").unwrap();
        assert_eq!(rule.line(&chain, MacStyle::Short), "-A tap100i0-OUT -s ! bc:24:1:0:f:30 -j DROP");
        assert_eq!(rule.line(&chain, MacStyle::Padded), "-A tap100i0-OUT -s ! bc:24:01:00:0f:30 -j DROP");
    }
}

//! The matches of iptables(8) and iptables-extensions(8) that rules use.
use super::names::SetName;
use super::target::put_rate;
use super::write_helpers::{masked, put, show};
use crate::model::{CtState, Family, IcmpType, Interface, LogRate, MacAddr, Spelled, TcpFlags};
use ipnet::IpNet;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

/// Source or destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

impl Side {
    /// `src` or `dst`.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Side::Source => "src",
            Side::Destination => "dst",
        }
    }

    /// `s` or `d`.
    fn letter(self) -> &'static str {
        match self {
            Side::Source => "s",
            Side::Destination => "d",
        }
    }
}

/// A type of address in the routing table (`-m addrtype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrType {
    /// A broadcast address of a local network.
    Broadcast,
    /// A multicast address.
    Multicast,
    /// An anycast address.
    Anycast,
    /// An address of the node itself.
    Local,
}

/// The input or output port of a bridged packet (`-m physdev --physdev-is-bridged`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Physdev {
    /// `--physdev-is-bridged --physdev-in DEV`
    In(Interface),
    /// `--physdev-is-bridged --physdev-out DEV`
    Out(Interface),
    /// `--physdev-out DEV --physdev-is-bridged`: like [`Physdev::Out`], in the order used by IPS rules.
    OutFirst(Interface),
    /// `--physdev-in DEV`: whether the packet is bridged or not.
    Any(Interface),
}

/// One match of a rule. All matches of a rule must be true; they are written in this order.
///
/// Large values, and values shared by rules, are stored by reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// `-i`
    InInterface(Interface),
    /// `-o`
    OutInterface(Interface),
    /// `-s` or `-d` with one address or network, or a list of them.
    Address(Side, Arc<Spelled<Vec<IpNet>>>),
    /// `-m iprange --src-range` or `--dst-range`, both ends included.
    Range(Side, Arc<Spelled<(IpAddr, IpAddr)>>),
    /// `-m set [!] --match-set NAME src|dst`
    Set {
        /// The set.
        name: SetName,
        /// The address that is matched against the set.
        side: Side,
        /// Whether the address must *not* be in the set.
        negated: bool,
    },
    /// `-p`, by the number in `/etc/protocols`.
    Protocol(Spelled<u8>),
    /// `-m NAME`: loads the match of a protocol.
    Module(&'static str),
    /// `--icmp-type` in IPv4, `--icmpv6-type` in IPv6.
    Icmp(Family, Spelled<IcmpType>),
    /// `--sport` or `--dport` with one port or range, both ends included.
    Port(Side, Spelled<(u16, u16)>),
    /// `--match multiport --sports` or `--dports` with at most 15 ports, a range counting as two.
    Multiport(Side, Arc<Spelled<Vec<(u16, u16)>>>),
    /// `-m addrtype --src-type` or `--dst-type`
    AddrType(Side, AddrType),
    /// `-m conntrack --ctstate`: any of these.
    Conntrack(&'static [CtState]),
    /// `-m physdev`
    Physdev(Physdev),
    /// `-m mac ! --mac-source`: the frame has another source address.
    NotFromMac(Spelled<MacAddr>),
    /// `-m mark --mark VALUE/MASK`
    Mark {
        /// The bits under the mask.
        value: u32,
        /// The bits that are compared.
        mask: u32,
    },
    /// `[!] --tcp-flags MASK SET`
    TcpFlags {
        /// Whether the match is inverted.
        negated: bool,
        /// The flags that are compared.
        mask: TcpFlags,
        /// The flags that must be set.
        set: TcpFlags,
    },
    /// `-m limit --limit RATE [--limit-burst N]`
    Limit(Arc<LogRate>),
    /// `-m hashlimit`: above a rate for each source network.
    HashLimit(Box<HashLimit>),
}

/// A limit for each source network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashLimit {
    /// Packets per second.
    pub above: u64,
    /// The burst of a source, in packets.
    pub burst: u64,
    /// The prefix length of a source network.
    pub source_mask: u8,
    /// When the entry of an idle source expires, in milliseconds.
    pub expire: u64,
}

/// Writes names separated by commas.
fn list<'a>(out: &mut impl Write, names: impl Iterator<Item = &'a str>) -> fmt::Result {
    for (at, name) in names.enumerate() {
        put(out, &[if at > 0 { "," } else { "" }, name])?;
    }
    Ok(())
}

impl AddrType {
    fn name(self) -> &'static str {
        match self {
            AddrType::Broadcast => "BROADCAST",
            AddrType::Multicast => "MULTICAST",
            AddrType::Anycast => "ANYCAST",
            AddrType::Local => "LOCAL",
        }
    }
}

impl Physdev {
    fn put(&self, out: &mut impl Write) -> fmt::Result {
        match self {
            Physdev::In(device) => put(out, &[" -m physdev --physdev-is-bridged --physdev-in ", device.as_str()]),
            Physdev::Out(device) => put(out, &[" -m physdev --physdev-is-bridged --physdev-out ", device.as_str()]),
            Physdev::Any(device) => put(out, &[" -m physdev --physdev-in ", device.as_str()]),
            Physdev::OutFirst(device) => {
                put(out, &[" -m physdev --physdev-out ", device.as_str(), " --physdev-is-bridged"])
            }
        }
    }
}

impl Match {
    /// Writes it in iptables syntax, after a blank.
    pub(super) fn put(&self, out: &mut impl Write) -> fmt::Result {
        let not = |negated: bool| if negated { "! " } else { "" };
        match self {
            Match::InInterface(interface) => put(out, &[" -i ", interface.as_str()]),
            Match::OutInterface(interface) => put(out, &[" -o ", interface.as_str()]),
            Match::Address(side, addresses) => put(out, &[" -", side.letter(), " ", addresses.text()]),
            Match::Range(side, range) => put(out, &[" -m iprange --", side.short(), "-range ", range.text()]),
            Match::Set { name, side, negated } => {
                put(out, &[" -m set ", not(*negated), "--match-set ", name.as_str(), " ", side.short()])
            }
            Match::Protocol(protocol) => put(out, &[" -p ", protocol.text()]),
            Match::Module(name) => put(out, &[" -m ", name]),
            Match::Icmp(Family::V4, kind) => put(out, &[" --icmp-type ", kind.text()]),
            Match::Icmp(Family::V6, kind) => put(out, &[" --icmpv6-type ", kind.text()]),
            Match::Port(side, ports) => put(out, &[" --", side.letter(), "port ", ports.text()]),
            Match::Multiport(side, ports) => {
                put(out, &[" --match multiport --", side.letter(), "ports ", ports.text()])
            }
            Match::AddrType(side, kind) => put(out, &[" -m addrtype --", side.short(), "-type ", kind.name()]),
            Match::Conntrack(states) => {
                out.write_str(" -m conntrack --ctstate ")?;
                list(out, states.iter().map(|state| state.name()))
            }
            Match::Physdev(physdev) => physdev.put(out),
            Match::NotFromMac(mac) => put(out, &[" -m mac ! --mac-source ", mac.text()]),
            Match::Mark { value, mask } => {
                out.write_str(" -m mark --mark ")?;
                masked(out, *value, *mask)
            }
            Match::TcpFlags { negated, mask, set } => write!(out, " {}--tcp-flags {mask} {set}", not(*negated)),
            Match::Limit(rate) => {
                out.write_str(" -m limit")?;
                put_rate(rate, out)
            }
            Match::HashLimit(limit) => limit.put(out),
        }
    }
}

impl HashLimit {
    fn put(&self, out: &mut impl Write) -> fmt::Result {
        let HashLimit { above, burst, source_mask, expire } = self;
        write!(
            out,
            " -m hashlimit --hashlimit-above {above}/sec --hashlimit-burst {burst} --hashlimit-mode srcip \
             --hashlimit-name syn --hashlimit-htable-size 2097152 --hashlimit-srcmask {source_mask} \
             --hashlimit-htable-expire {expire}"
        )
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, |out| self.put(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_written_in_iptables_syntax() {
        let set = SetName::new("PVEFW-0-x-v4").unwrap();
        let syn = TcpFlags::FIN.and(TcpFlags::SYN).and(TcpFlags::RST).and(TcpFlags::ACK);
        let cases = [
            (Match::Set { name: set, side: Side::Source, negated: true }, "-m set ! --match-set PVEFW-0-x-v4 src"),
            (Match::Mark { value: 0, mask: 0x8000_0000 }, "-m mark --mark 0x00000000/0x80000000"),
            (Match::TcpFlags { negated: true, mask: syn, set: TcpFlags::SYN }, "! --tcp-flags FIN,SYN,RST,ACK SYN"),
            (Match::TcpFlags { negated: false, mask: syn, set: TcpFlags::NONE }, "--tcp-flags FIN,SYN,RST,ACK NONE"),
            (Match::Conntrack(&[CtState::Related, CtState::Established]), "-m conntrack --ctstate RELATED,ESTABLISHED"),
            (
                Match::Multiport(
                    Side::Destination,
                    Arc::new(Spelled::new("80,http", vec![(80, 80), (80, 80)]).unwrap()),
                ),
                "--match multiport --dports 80,http",
            ),
        ];
        for (one, text) in cases {
            assert_eq!(one.to_string(), text);
        }
    }
}

//! The targets of iptables(8) and iptables-extensions(8) that rules use.
use super::names::ChainName;
use super::write_helpers::{masked, number, put, show};
use crate::model::{LogRate, Queue};
use std::fmt::{self, Write};

/// The reply to a rejected packet (`-j REJECT --reject-with`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectWith {
    /// A TCP RST.
    TcpReset,
    /// ICMP destination unreachable: port.
    IcmpPortUnreachable,
    /// ICMP destination unreachable: host.
    IcmpHostUnreachable,
    /// ICMP destination unreachable: host administratively prohibited.
    IcmpHostProhibited,
    /// ICMPv6 destination unreachable: port.
    Icmp6PortUnreachable,
    /// ICMPv6 destination unreachable: administratively prohibited.
    Icmp6AdmProhibited,
}

/// The log prefix of an NFLOG rule: `:VMID:LOGID:CHAIN: MESSAGE`.
///
/// At most 58 characters with a VMID of nine digits; iptables accepts 63.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPrefix {
    /// The guest's VMID, or 0 for the host, groups and the cluster.
    pub vmid: u32,
    /// The log level, 0 (emergency) to 7 (debug).
    pub level: u8,
    /// The chain of the rule.
    pub chain: ChainName,
    /// The verdict, such as `DROP: ` or `policy REJECT: `.
    pub message: &'static str,
}

/// The target of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Accepts the packet.
    Accept,
    /// Drops the packet.
    Drop,
    /// Returns to the calling chain.
    Return,
    /// `-j CHAIN`: jumps to a chain.
    Jump(ChainName),
    /// `-g CHAIN`: evaluates a chain without returning.
    Goto(ChainName),
    /// Rejects the packet with a reply.
    Reject(RejectWith),
    /// `-j MARK --set-mark VALUE/MASK`
    SetMark {
        /// The bits under the mask.
        value: u32,
        /// The bits that are set or cleared.
        mask: u32,
    },
    /// `-j CONNMARK --set-mark`
    SetConnmark(u32),
    /// `-j NFLOG --nflog-prefix`
    Nflog(Box<LogPrefix>),
    /// `-j NFQUEUE … --queue-bypass`: passes the packet to a program; without one it is accepted.
    Nfqueue(Queue),
    /// `-j CT --helper NAME`: assigns a conntrack helper.
    CtHelper(&'static str),
}

impl fmt::Display for RejectWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RejectWith::TcpReset => "tcp-reset",
            RejectWith::IcmpPortUnreachable => "icmp-port-unreachable",
            RejectWith::IcmpHostUnreachable => "icmp-host-unreachable",
            RejectWith::IcmpHostProhibited => "icmp-host-prohibited",
            RejectWith::Icmp6PortUnreachable => "icmp6-port-unreachable",
            RejectWith::Icmp6AdmProhibited => "icmp6-adm-prohibited",
        })
    }
}

/// Writes the options of `-m limit`.
pub(super) fn put_rate(LogRate { rate, burst }: &LogRate, out: &mut impl Write) -> fmt::Result {
    put(out, &[" --limit ", rate.text()])?;
    let Some(burst) = burst else { return Ok(()) };
    out.write_str(" --limit-burst ")?;
    number(out, *burst)
}

impl LogPrefix {
    fn put(&self, out: &mut impl Write) -> fmt::Result {
        out.write_str(":")?;
        number(out, self.vmid)?;
        out.write_str(":")?;
        number(out, self.level.into())?;
        put(out, &[":", self.chain.as_str(), ": ", self.message])
    }
}

impl Target {
    /// Writes it in iptables syntax, after a blank.
    pub(super) fn put(&self, out: &mut impl Write) -> fmt::Result {
        match self {
            Target::Accept => out.write_str(" -j ACCEPT"),
            Target::Drop => out.write_str(" -j DROP"),
            Target::Return => out.write_str(" -j RETURN"),
            Target::Jump(chain) => put(out, &[" -j ", chain.as_str()]),
            Target::Goto(chain) => put(out, &[" -g ", chain.as_str()]),
            Target::Reject(with) => write!(out, " -j REJECT --reject-with {with}"),
            Target::SetMark { value, mask } => {
                out.write_str(" -j MARK --set-mark ")?;
                masked(out, *value, *mask)
            }
            Target::SetConnmark(mark) => {
                out.write_str(" -j CONNMARK --set-mark ")?;
                number(out, *mark)
            }
            Target::Nflog(prefix) => {
                out.write_str(" -j NFLOG --nflog-prefix \"")?;
                prefix.put(out)?;
                out.write_str("\"")
            }
            Target::Nfqueue(Queue::Default) => out.write_str(" -j NFQUEUE --queue-bypass"),
            Target::Nfqueue(Queue::Number(number)) => {
                write!(out, " -j NFQUEUE --queue-num {number} --queue-bypass")
            }
            Target::Nfqueue(Queue::Balance(first, last)) => {
                write!(out, " -j NFQUEUE --queue-balance {first}:{last} --queue-bypass")
            }
            Target::CtHelper(name) => put(out, &[" -j CT --helper ", name]),
        }
    }
}

macro_rules! display {
    ($($kind:ident)*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                show(f, |out| self.put(out))
            }
        }
    )*};
}

display!(LogPrefix Target);

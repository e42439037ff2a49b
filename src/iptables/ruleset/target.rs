//! The targets of iptables(8) and iptables-extensions(8) that rules use.
use super::names::ChainName;
use super::text::{masked, number, put, show};
use crate::model::{LogRate, Queue};
use std::fmt::{self, Write};

/// The answer to a rejected packet (`-j REJECT --reject-with`).
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

/// What an NFLOG rule tells the log daemon: `:VMID:LOGID:CHAIN: MESSAGE`.
///
/// At most 58 characters with a VMID of nine digits, of 63 that iptables takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPrefix {
    /// The guest, or 0 for the host, groups and the cluster.
    pub vmid: u32,
    /// The log level, 0 (emergency) to 7 (debug).
    pub level: u8,
    /// The chain that logs.
    pub chain: ChainName,
    /// What the rule does to the packet, as `DROP: ` or `policy REJECT: `.
    pub message: &'static str,
}

/// What happens to a packet that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Lets it through.
    Accept,
    /// Loses it.
    Drop,
    /// Goes back to the chain that jumped here.
    Return,
    /// `-j CHAIN`: goes on in a chain and comes back.
    Jump(ChainName),
    /// `-g CHAIN`: goes on in a chain for good.
    Goto(ChainName),
    /// Refuses it with an answer.
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
    /// `-j NFQUEUE … --queue-bypass`: to a program that decides; through where none listens.
    Nfqueue(Queue),
    /// `-j CT --helper NAME`: gives the connection a helper.
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
    /// Writes it as iptables takes it, after a blank.
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

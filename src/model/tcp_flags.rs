//! Flags of TCP.
use std::fmt;

/// A set of TCP flags, the bits of the header's thirteenth byte (RFC 9293).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// The lowest bit first.
    const NAMES: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    /// FIN
    pub const FIN: TcpFlags = TcpFlags(1);
    /// SYN
    pub const SYN: TcpFlags = TcpFlags(2);
    /// RST
    pub const RST: TcpFlags = TcpFlags(4);
    /// PSH
    pub const PSH: TcpFlags = TcpFlags(8);
    /// ACK
    pub const ACK: TcpFlags = TcpFlags(16);
    /// URG
    pub const URG: TcpFlags = TcpFlags(32);
    /// No flag.
    pub const NONE: TcpFlags = TcpFlags(0);

    /// These flags combined with others.
    #[must_use]
    pub const fn and(self, other: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 | other.0)
    }
}

impl fmt::Display for TcpFlags {
    /// As iptables(8) and conntrack(8) write them: `SYN,ACK`, or `NONE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == TcpFlags::NONE {
            return f.write_str("NONE");
        }
        let names = (0..6).filter(|bit| self.0 & (1 << bit) != 0).map(|bit| Self::NAMES[bit]);
        for (at, name) in names.enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

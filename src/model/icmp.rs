//! ICMP messages.

/// ICMP messages by type and code (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpType {
    /// The type; `None` is any message (`any` of iptables, IPv4 only).
    pub kind: Option<u8>,
    /// The code; `None` is any code.
    pub code: Option<u8>,
}

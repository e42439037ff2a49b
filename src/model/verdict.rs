//! Verdicts on packets.
use std::fmt;

/// A verdict on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Accept the packet.
    Accept,
    /// Drop the packet.
    Drop,
    /// Reject the packet with a reply.
    Reject,
}

impl Verdict {
    /// The log message for a user's rule.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Verdict::Accept => "ACCEPT: ",
            Verdict::Drop => "DROP: ",
            Verdict::Reject => "REJECT: ",
        }
    }

    /// The log message for a policy.
    #[must_use]
    pub fn policy_message(self) -> &'static str {
        match self {
            Verdict::Accept => "policy ACCEPT: ",
            Verdict::Drop => "policy DROP: ",
            Verdict::Reject => "policy REJECT: ",
        }
    }
}

impl fmt::Display for Verdict {
    /// `ACCEPT`, `DROP` or `REJECT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "ACCEPT",
            Verdict::Drop => "DROP",
            Verdict::Reject => "REJECT",
        })
    }
}

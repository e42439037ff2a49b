//! The names of chains that every node has.
use crate::iptables::ruleset::ChainName;
use std::fmt;

/// A chain with the same name on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FixedChain(pub(super) &'static str);

/// The entry chain of INPUT.
pub const INPUT: FixedChain = FixedChain("PVEFW-INPUT");
/// The entry chain of OUTPUT.
pub const OUTPUT: FixedChain = FixedChain("PVEFW-OUTPUT");
/// The entry chain of FORWARD, in iptables and ebtables.
pub const FORWARD: FixedChain = FixedChain("PVEFW-FORWARD");
/// The entry chain of PREROUTING in the table `raw`.
pub const PREROUTING: FixedChain = FixedChain("PVEFW-PREROUTING");
/// Ports of the node that are open regardless of the configuration; INPUT and OUTPUT jump to it.
pub const FAILSAFE: FixedChain = FixedChain("PVEFW-FAILSAFE");
/// Incoming packets of the node.
pub const HOST_IN: FixedChain = FixedChain("PVEFW-HOST-IN");
/// Outgoing packets of the node.
pub const HOST_OUT: FixedChain = FixedChain("PVEFW-HOST-OUT");
/// The jumps to the chains of devices, for packets to guests.
pub const FWBR_IN: FixedChain = FixedChain("PVEFW-FWBR-IN");
/// The jumps to the chains of devices, for packets from guests.
pub const FWBR_OUT: FixedChain = FixedChain("PVEFW-FWBR-OUT");
/// Established connections of devices with IPS.
pub const IPS: FixedChain = FixedChain("PVEFW-IPS");
/// The standard chain of policy DROP.
pub const DROP: FixedChain = FixedChain("PVEFW-Drop");
/// The standard chain of policy REJECT.
pub const REJECT_POLICY: FixedChain = FixedChain("PVEFW-Reject");
/// Rejects packets.
pub const REJECT: FixedChain = FixedChain("PVEFW-reject");
/// Drops broadcast and multicast packets.
pub const DROP_BROADCAST: FixedChain = FixedChain("PVEFW-DropBroadcast");
/// Matches invalid TCP flags.
pub const TCPFLAGS: FixedChain = FixedChain("PVEFW-tcpflags");
/// Logs and drops packets with invalid TCP flags.
pub const LOGFLAGS: FixedChain = FixedChain("PVEFW-logflags");
/// Matches packets from broadcast addresses.
pub const SMURFS: FixedChain = FixedChain("PVEFW-smurfs");
/// Logs and drops packets from broadcast addresses.
pub const SMURFLOG: FixedChain = FixedChain("PVEFW-smurflog");
/// Logs and drops packets above the limit of the SYN flood protection, in the table `raw`.
pub const SYNFLOOD: FixedChain = FixedChain("PVEFW-synflood");
/// Marks a packet as accepted.
pub const SET_ACCEPT_MARK: FixedChain = FixedChain("PVEFW-SET-ACCEPT-MARK");
/// Logs and drops packets from the set `blacklist`.
pub const BLACKLIST: FixedChain = FixedChain("PVEFW-blacklist");
/// The chain for testing rules. A later update recognises and removes it by name.
pub const TRIAL: FixedChain = FixedChain("PVEFW-TRY");
/// The jump target of tested rules.
pub const TRIAL_TARGET: FixedChain = FixedChain("PVEFW-TRY-TO");

impl fmt::Display for FixedChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl From<FixedChain> for ChainName {
    fn from(FixedChain(name): FixedChain) -> Self {
        super::chain(&[name])
    }
}

impl PartialEq<str> for FixedChain {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<FixedChain> for ChainName {
    fn eq(&self, other: &FixedChain) -> bool {
        self.as_str() == other.0
    }
}

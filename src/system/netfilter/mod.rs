//! Summaries of netfilter's state that are cheap to query and differ after most changes:
//!
//! - a legacy table: its size, its number of rules and the offsets of its built-in chains (`IPT_SO_GET_INFO`);
//! - nftables: the generation, a number that every transaction increments (`NFT_MSG_GETGEN`);
//! - IP sets: their headers, with type, hash key, capacity, size and number of entries (`IPSET_CMD_LIST`).
mod base_chains;
mod legacy_builtin_chains;
mod nat_rules;
mod nftables;
mod queues;
mod sets;
mod unconditional_rule;
mod xtables;

pub use self::base_chains::{BaseChain, Listed, base_chains, has_chain, has_more_rules, has_table, legacy_tables};
pub use self::nftables::{NftGeneration, NftObjects, nft_generation, nft_list, nftables};
pub use legacy_builtin_chains::{LegacyChain, legacy_chains};
pub use nat_rules::{NatRule, nat_rules};
pub use queues::read_queues;
pub use sets::sets;
pub use unconditional_rule::unconditional_verdict;
pub use xtables::{ebtables, iptables, rules};

/// A summary. If two differ, the state has changed; if they are equal, it probably has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary(Box<[u8]>);

/// Whether an error of querying a summary means that the module or the table does not exist in the kernel.
#[must_use]
pub fn is_absent(error: &anyhow::Error) -> bool {
    use nix::errno::Errno::{EAFNOSUPPORT, EINVAL, ENOENT, ENOPROTOOPT, EOPNOTSUPP, EPROTONOSUPPORT};
    // nfnetlink answers EINVAL for a subsystem that is not loaded
    let absent = [EAFNOSUPPORT, EINVAL, ENOENT, ENOPROTOOPT, EOPNOTSUPP, EPROTONOSUPPORT];
    error.downcast_ref().is_some_and(|errno| absent.contains(errno))
}

//! The queues of NFQUEUE that programs read.
use std::collections::BTreeSet;
use std::fs;

/// The queues of the calling thread's network namespace that a program reads; none if the kernel has no queues.
#[must_use]
pub fn read_queues() -> BTreeSet<u16> {
    let text = fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").unwrap_or_default();
    // a line for each: the number, the netlink port of its reader, counters
    text.lines().filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok()).collect()
}

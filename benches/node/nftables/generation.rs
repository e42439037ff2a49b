//! Detects a transaction in the kernel without running a tool, which would be too slow.
use crate::netns::Netns;
use pve_firewall::system::netfilter::nft_generation;
use std::thread::sleep;
use std::time::{Duration, Instant};

const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// The generation of nftables in a namespace.
pub fn current(netns: &Netns) -> u32 {
    netns.run(|| nft_generation().expect("the generation"))
}

/// Waits until the generation changes, and returns that time.
pub fn wait_for_change(netns: &Netns, from: u32) -> Instant {
    netns.run(|| {
        let deadline = Instant::now() + WAIT_LIMIT;
        while nft_generation().expect("the generation") == from {
            assert!(Instant::now() < deadline, "timed out waiting for the rule");
            sleep(Duration::from_millis(1));
        }
        Instant::now()
    })
}

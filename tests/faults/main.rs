//! Tools that fail, hang or refuse: scripts first in PATH inject the failures of a test in its namespace.
//!
//! Needs root, netfilter, and the tools of `make deps`.
#![allow(clippy::disallowed_methods, reason = "tests do I/O")]
mod every_run;
#[path = "../support/host.rs"]
mod host;
mod killed;
#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/nft_trees.rs"]
mod nft_trees;
mod nftables;
mod others;
#[path = "../support/packets.rs"]
mod packets;
mod refused;
#[path = "../support/rounds.rs"]
mod rounds;
#[path = "../support/rulesets.rs"]
mod rulesets;
mod stream;
mod tool_wrappers;
mod tools;
#[path = "../support/trees.rs"]
mod trees;
mod variants;
#[path = "../support/wait.rs"]
mod wait;

use libtest_mimic::{Arguments, Trial};

fn main() {
    if killed::is_child() {
        return killed::child();
    }
    let directory = tool_wrappers::install();
    let tests = [
        tools::tests(),
        killed::tests(),
        refused::tests(),
        variants::tests(),
        stream::tests(),
        others::tests(),
        every_run::tests(),
        nftables::tests(),
    ]
    .concat();
    let trials = tests.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.collect());
    drop(directory);
    conclusion.exit();
}

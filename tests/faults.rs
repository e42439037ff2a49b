//! Tools that fail, hang or refuse: stand-ins first in PATH do what a test asks of them in its namespace.
//!
//! Needs root, netfilter, and the tools of `make deps`.
#![allow(clippy::disallowed_methods, reason = "tests do I/O")]
#[path = "faults/everywhere.rs"]
mod everywhere;
#[path = "kernel/host.rs"]
mod host;
#[path = "faults/killed.rs"]
mod killed;
#[path = "support/netns.rs"]
mod netns;
#[path = "faults/others.rs"]
mod others;
#[path = "support/packets.rs"]
mod packets;
#[path = "faults/refused.rs"]
mod refused;
#[path = "support/rulesets.rs"]
mod rulesets;
#[path = "faults/standins.rs"]
mod standins;
#[path = "faults/stream.rs"]
mod stream;
#[path = "faults/tools.rs"]
mod tools;
#[path = "faults/variants.rs"]
mod variants;
#[path = "support/wait.rs"]
mod wait;

use libtest_mimic::{Arguments, Trial};

fn main() {
    if killed::is_child() {
        return killed::child();
    }
    let folder = standins::install();
    let tests = [
        tools::tests(),
        killed::tests(),
        refused::tests(),
        variants::tests(),
        stream::tests(),
        others::tests(),
        everywhere::tests(),
    ]
    .concat();
    let trials = tests.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.collect());
    drop(folder);
    conclusion.exit();
}

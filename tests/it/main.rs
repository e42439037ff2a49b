//! Tests that need neither root nor netfilter.
#![allow(clippy::disallowed_methods, reason = "tests read files and run programs")]
#[path = "../support/arbitrary.rs"]
mod arbitrary;
#[path = "../support/hostile_trees.rs"]
mod hostile_trees;
#[path = "../support/nflog.rs"]
mod nflog;
#[path = "../support/rulesets.rs"]
mod rulesets;
#[path = "../support/trees.rs"]
mod trees;
#[path = "../support/wait.rs"]
mod wait;

mod architecture;
mod check;
mod completion;
mod dependency_cycles;
mod divergences;
mod documents;
mod impl_blocks;
mod incremental;
mod interfaces;
mod lint;
mod localnet;
mod logger_cases;
mod logger_properties;
mod logger_traces;
mod manual;
mod no_effect;
mod plan;
mod properties;
mod readme;
mod regressions;
mod sdn;
mod simulate;
mod suggestions;
mod terminal;
mod user_configurations;
mod waits;
mod web_interface;

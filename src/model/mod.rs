//! The vocabulary of configuration and rules. Imports nothing of the crate.

pub mod guest;

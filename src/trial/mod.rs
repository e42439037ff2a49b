//! A configuration on trial: files that are enforced in place of those of the tree until somebody confirms them, or a
//! deadline has passed.
//!
//! `model` says what a trial is and when it is over, from values alone; `store` keeps it in `/run`.
#![allow(clippy::disallowed_methods, reason = "the store does I/O; the model is held to purity by a test")]

mod model;
mod store;

pub use model::{Candidate, Clock, Confirmation, Digest, End, Standing, Trial};
pub use store::{TrialStore, Watch};

//! A configuration on trial: files that are applied in place of those in the tree until they are confirmed or a deadline
//! passes.
//!
//! `model` defines a trial and when it ends, without I/O; `store` keeps it in `/run`.
#![allow(clippy::disallowed_methods, reason = "the store does I/O; a test checks that the model does not")]

mod model;
mod store;

pub use model::{Candidate, Clock, Confirmation, Digest, Trial, TrialEnd, TrialState};
pub use store::{TrialStore, Watch};

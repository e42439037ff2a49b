//! The configuration files: text to a model and reports. Parsing never fails as a whole.

mod report;

pub use report::{Report, Severity};

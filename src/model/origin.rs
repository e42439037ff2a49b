//! The origin of a rule or set.
use ecow::EcoString;
use std::fmt;
use std::sync::Arc;

/// The origin of a rule or set, for reports and explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1.
    Line(Arc<str>, u32),
    /// Generated without a line; a description, such as `default policy_in of 100.fw`.
    Generated(EcoString),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Line(file, line) => write!(f, "{file}:{line}"),
            Origin::Generated(what) => f.write_str(what),
        }
    }
}

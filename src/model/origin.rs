//! The origin of a rule or set.
use super::option_key::OptionKey;
use ecow::EcoString;
use std::fmt;
use std::sync::Arc;

/// The origin of a rule or set, for reports and explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1.
    Line(Arc<str>, u32),
    /// The default of an option that no line of a file sets.
    Default(Arc<str>, OptionKey),
    /// Generated without a line; a description, such as `standard chain PVEFW-reject`.
    Generated(EcoString),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Line(file, line) => write!(f, "{file}:{line}"),
            Origin::Default(file, key) => write!(f, "default {key} of {file}"),
            Origin::Generated(what) => f.write_str(what),
        }
    }
}

//! The outcome of an update.
use crate::iptables::plan::Part;
use std::fmt;

/// An error of an update. The text is the same each time for as long as the error persists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpdateError {
    part: Option<Part>,
    text: String,
}

impl UpdateError {
    pub(super) fn new(part: Part, text: impl fmt::Display) -> Self {
        UpdateError { part: Some(part), text: text.to_string() }
    }

    pub(super) fn general(text: impl fmt::Display) -> Self {
        UpdateError { part: None, text: text.to_string() }
    }

    /// The affected part of the live state; `None` for sysctls and files.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        self.part
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Some(part) => write!(f, "{part}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// The outcome of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything in the kernel was changed.
    pub changed: bool,
    /// The errors.
    pub errors: Vec<UpdateError>,
}

impl Outcome {
    /// Adds the outcome of another part.
    pub(super) fn merge(&mut self, other: Outcome) {
        self.changed |= other.changed;
        self.errors.extend(other.errors);
    }
}

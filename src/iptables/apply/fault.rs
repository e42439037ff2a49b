//! What an update comes to.
use crate::iptables::plan::Part;
use std::fmt;

/// Something that could not be done. The text is the same each time for as long as the fault stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    part: Option<Part>,
    text: String,
}

impl Fault {
    pub(super) fn new(part: Part, text: impl fmt::Display) -> Self {
        Fault { part: Some(part), text: text.to_string() }
    }

    pub(super) fn general(text: impl fmt::Display) -> Self {
        Fault { part: None, text: text.to_string() }
    }

    /// The part of the kernel's state that it is about; `None` for settings and files.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        self.part
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Some(part) => write!(f, "{part}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// What an update did and could not do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything in the kernel was changed.
    pub changed: bool,
    /// What could not be done.
    pub faults: Vec<Fault>,
}

impl Outcome {
    /// Takes in what another part of the update came to.
    pub(super) fn take_in(&mut self, other: Outcome) {
        self.changed |= other.changed;
        self.faults.extend(other.faults);
    }
}

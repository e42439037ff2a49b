//! What a ruleset is about.

/// The firewalled parts of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// The number of guests with at least one device with rules.
    pub guests: usize,
    /// The number of devices with rules.
    pub devices: usize,
    /// Whether the node itself has rules.
    pub host: bool,
}

//! The numbers of filtered guests and devices.

/// The parts of the node that have rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// The number of guests with at least one device with rules.
    pub guests: usize,
    /// The number of devices with rules.
    pub devices: usize,
    /// Whether the node itself has rules.
    pub host: bool,
}

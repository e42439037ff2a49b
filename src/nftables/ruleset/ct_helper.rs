//! Connection tracking helpers; `declaration_text` renders them.
use crate::model::Family;

/// A connection tracking helper (`ct helper`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperObject {
    /// The name in the kernel, such as `ftp`.
    pub kind: &'static str,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The family that it supports; `None` is both.
    pub family: Option<Family>,
}

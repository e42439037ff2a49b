//! What is done with packets.

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it through.
    Accept,
    /// Lose it.
    Drop,
    /// Refuse it with an answer.
    Reject,
}

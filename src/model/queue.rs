//! NFQUEUE queues.

/// The queues that packets are sent to for inspection (`-j NFQUEUE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// The default queue, 0.
    Default,
    /// `--queue-num`
    Number(u16),
    /// `--queue-balance`, first and last.
    Balance(u16, u16),
}

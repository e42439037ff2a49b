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

impl Queue {
    /// The first and the last queue.
    #[must_use]
    pub fn range(self) -> (u16, u16) {
        match self {
            Queue::Default => (0, 0),
            Queue::Number(number) => (number, number),
            Queue::Balance(first, last) => (first, last),
        }
    }
}

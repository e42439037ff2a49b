//! Rate limits of log rules.
use super::token::Spelled;
use std::sync::Arc;

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// 1 s
    Second,
    /// 60 s
    Minute,
    /// 3,600 s
    Hour,
    /// 86,400 s
    Day,
}

impl TimeUnit {
    /// Its length in seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        match self {
            TimeUnit::Second => 1,
            TimeUnit::Minute => 60,
            TimeUnit::Hour => 3_600,
            TimeUnit::Day => 86_400,
        }
    }
}

/// A number of packets per unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The number of packets.
    pub packets: u64,
    /// The unit of time.
    pub per: TimeUnit,
}

/// The rate limit of a log rule (`-m limit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRate {
    /// In iptables syntax: `1/sec`, `20/minute`.
    pub rate: Spelled<Rate>,
    /// The burst in packets; `None` is the default of the tools, 5.
    pub burst: Option<u32>,
}

/// The option `log_ratelimit`. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRatelimit(pub Option<Arc<LogRate>>);

impl Default for LogRatelimit {
    fn default() -> Self {
        let rate = Spelled::new("1/sec", Rate { packets: 1, per: TimeUnit::Second });
        LogRatelimit(rate.map(|rate| LogRate { rate, burst: None }.into()))
    }
}

//! How often log rules write a line.
use super::words::Spelled;
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
    /// How long it is, in seconds.
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

/// A number of packets in a unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many packets.
    pub packets: u64,
    /// In which time.
    pub per: TimeUnit,
}

/// How often a log rule may match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRate {
    /// As iptables takes it: `1/sec`, `20/minute`.
    pub rate: Spelled<Rate>,
    /// Packets before the rate applies; without it 5, the default of the tools.
    pub burst: Option<u32>,
}

/// How log rules are limited (`log_ratelimit`). `None` is no limit at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRatelimit(pub Option<Arc<LogRate>>);

impl Default for LogRatelimit {
    fn default() -> Self {
        let rate = Spelled::new("1/sec", Rate { packets: 1, per: TimeUnit::Second });
        LogRatelimit(rate.map(|rate| LogRate { rate, burst: None }.into()))
    }
}

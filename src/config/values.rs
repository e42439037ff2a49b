//! Values of options: levels, policies, numbers.
use crate::iptables::ruleset::{LogRate, Queue, Token};

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

impl Verdict {
    /// `ACCEPT`, `DROP` or `REJECT`, exactly; `DENY` is taken for DROP.
    pub(super) fn of_rule(word: &str) -> Option<Self> {
        match word {
            "ACCEPT" => Some(Verdict::Accept),
            "DROP" | "DENY" => Some(Verdict::Drop),
            "REJECT" => Some(Verdict::Reject),
            _ => None,
        }
    }

    /// The value of a policy option, in any case.
    pub(super) fn of_option(word: &str) -> Option<Self> {
        match word.to_ascii_uppercase().as_str() {
            "DENY" => None,
            upper => Verdict::of_rule(upper),
        }
    }
}

const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// A log level by its word in lower case: 0 (`emerg`) to 7 (`debug`), or `Some(None)` for `nolog`.
pub(super) fn log_level(word: &str) -> Option<Option<u8>> {
    if word == "nolog" {
        return Some(None);
    }
    (0..).zip(LEVELS).find(|(_, name)| *name == word).map(|(level, _)| Some(level))
}

/// `0` or `1`.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// A whole number in decimal digits; one that does not fit counts as the largest.
pub(super) fn integer(value: &str) -> Option<u64> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

/// How log rules are limited (`log_ratelimit`). `None` is no limit at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRatelimit(pub Option<LogRate>);

impl Default for LogRatelimit {
    fn default() -> Self {
        LogRatelimit(log_rate("1/sec", None))
    }
}

fn log_rate(rate: &str, burst: Option<u32>) -> Option<LogRate> {
    Token::new(rate).map(|rate| LogRate { rate, burst })
}

/// What iptables takes at the most for `--limit`, in packets a second, and for `--limit-burst`.
const MOST: u64 = 10_000;
/// The burst that iptables takes where none is given.
const BURST: u64 = 5;
/// In how many seconds a burst must be made up for: the kernel counts the credits for it in 32 bits (xt_limit.c).
const MADE_UP_FOR: u64 = 134_217;

impl LogRatelimit {
    /// `[enable=]<0|1>[,rate=<n>/(second|minute|hour|day)][,burst=<n>]`; burst 0 is none.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(',').map(str::trim);
        let first = parts.next()?;
        let enable = boolean(first.strip_prefix("enable=").unwrap_or(first))?;
        let (mut rate, mut interval, mut burst) = ("1/sec".to_string(), 10_000, None);
        for part in parts {
            let (key, value) = part.split_once('=')?;
            match key {
                "rate" => (rate, interval) = Self::rate(value)?,
                "burst" => burst = Some(integer(value).filter(|burst| *burst <= MOST)?).filter(|burst| *burst > 0),
                _ => return None,
            }
        }
        let seconds = burst.unwrap_or(BURST) * interval / 10_000;
        if enable && seconds > MADE_UP_FOR {
            return None;
        }
        let burst = burst.and_then(|burst| u32::try_from(burst).ok());
        Some(LogRatelimit(if enable { log_rate(&rate, burst) } else { None }))
    }

    /// As iptables takes it, and the time between two packets in units of 100 µs.
    fn rate(value: &str) -> Option<(String, u64)> {
        let (count, unit) = value.split_once('/')?;
        let seconds = match unit {
            "second" => 1,
            "minute" => 60,
            "hour" => 3_600,
            "day" => 86_400,
            _ => return None,
        };
        let count = integer(count).filter(|count| (1..=MOST * seconds).contains(count))?;
        Some((format!("{count}/{unit}"), seconds * 10_000 / count))
    }
}

/// `N` or `N:M`, queues of NFQUEUE; 0 is the one that packets go to without a number.
pub(super) fn queues(value: &str) -> Option<Queue> {
    let number = |text: &str| integer(text).and_then(|number| u16::try_from(number).ok());
    match value.split_once(':') {
        None => number(value).map(|number| if number == 0 { Queue::Default } else { Queue::Number(number) }),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            // the kernel counts the queues in 16 bits
            (first < last && last - first < u16::MAX).then_some(Queue::Balance(first, last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(value: &str) -> Option<String> {
        LogRatelimit::parse(value).map(|LogRatelimit(rate)| rate.map_or("off".into(), |rate| rate.to_string()))
    }

    #[test]
    fn log_ratelimits() {
        for (value, text) in [
            ("1", Some("--limit 1/sec")),
            ("enable=1,rate=20/minute,burst=7", Some("--limit 20/minute --limit-burst 7")),
            ("1,burst=0", Some("--limit 1/sec")),
            ("0,rate=1/day", Some("off")),
            ("1,rate=1/day,burst=1", Some("--limit 1/day --limit-burst 1")),
            ("1,rate=1/day,burst=2", None),
            ("1,rate=1/day", None),
            ("1,rate=8/day,burst=12", Some("--limit 8/day --limit-burst 12")),
            ("1,rate=8/day,burst=13", None),
            ("1,rate=5/day", Some("--limit 5/day")),
            ("1,rate=1/hour,burst=37", Some("--limit 1/hour --limit-burst 37")),
            ("1,rate=1/hour,burst=38", None),
            ("rate=5/day", None),
            ("1,rate=5", None),
            ("1,rate=0/second", None),
            ("1,rate=10001/second", None),
            ("1,burst=10001", None),
            ("1,rate=5/second -j ACCEPT", None),
            ("", None),
        ] {
            assert_eq!(limit(value).as_deref(), text, "{value}");
        }
    }

    #[test]
    fn queue_ranges() {
        for (value, queue) in [
            ("0", Some(Queue::Default)),
            ("65535", Some(Queue::Number(65535))),
            ("0:3", Some(Queue::Balance(0, 3))),
            ("3:3", None),
            ("4:2", None),
            ("0:65535", None),
            ("65536", None),
            ("a", None),
            ("1:", None),
        ] {
            assert_eq!(queues(value), queue, "{value}");
        }
    }

    #[test]
    fn numbers_do_not_wrap() {
        assert_eq!(integer("99999999999999999999999"), Some(u64::MAX));
        assert_eq!(integer("-1"), None);
        assert_eq!(integer(""), None);
    }
}

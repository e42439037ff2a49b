//! Values of options: levels, policies, numbers.
use crate::model::{LogRate, LogRatelimit, Queue, Rate, Spelled, TimeUnit, Verdict, lowercase};

/// `ACCEPT`, `DROP` or `REJECT` (case-sensitive); `DENY` is treated as DROP.
pub(super) fn verdict(word: &str) -> Option<Verdict> {
    match word {
        "ACCEPT" => Some(Verdict::Accept),
        "DROP" | "DENY" => Some(Verdict::Drop),
        "REJECT" => Some(Verdict::Reject),
        _ => None,
    }
}

/// The value of a policy option (case-insensitive).
pub(super) fn policy(word: &str) -> Option<Verdict> {
    match word.to_ascii_uppercase().as_str() {
        "DENY" => None,
        upper => verdict(upper),
    }
}

const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// A log level by name in lower case: 0 (`emerg`) to 7 (`debug`), or `Some(None)` for `nolog`.
pub(super) fn log_level(word: &str) -> Option<Option<u8>> {
    if word == "nolog" {
        return Some(None);
    }
    (0..).zip(LEVELS).find(|(_, name)| *name == word).map(|(level, _)| Some(level))
}

/// `0` or `1`, or a word that means one of them, in any case.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match &*lowercase(value) {
        "0" | "no" | "off" | "false" => Some(false),
        "1" | "yes" | "on" | "true" => Some(true),
        _ => None,
    }
}

/// A decimal number; saturates at the largest value.
pub(super) fn integer(value: &str) -> Option<u64> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

/// A property string: `[enable=]<0|1>`, `rate=<n>/(second|minute|hour|day)` and `burst=<n>` in any order; burst 0 is none.
pub(super) fn log_ratelimit(value: &str) -> Option<LogRatelimit> {
    let (mut enable, mut own, mut burst) = (None, None, None);
    for part in value.split(',').map(str::trim) {
        let (key, value) = part.split_once('=').unwrap_or(("enable", part));
        let (key, value) = (key.trim(), value.trim());
        let twice = match key {
            "enable" => enable.replace(boolean(value)?).is_some(),
            "rate" => own.replace(rate(value)?).is_some(),
            "burst" => burst.replace(u32::try_from(integer(value)?).unwrap_or(u32::MAX)).is_some(),
            _ => return None,
        };
        if twice {
            return None;
        }
    }
    let burst = burst.filter(|burst| *burst > 0);
    let default = LogRatelimit::default().0?.rate.clone();
    let rate = LogRate { rate: own.unwrap_or(default), burst };
    Some(LogRatelimit(enable?.then(|| rate.into())))
}

fn rate(value: &str) -> Option<Spelled<Rate>> {
    let (count, unit) = value.split_once('/')?;
    let per = match unit {
        "second" => TimeUnit::Second,
        "minute" => TimeUnit::Minute,
        "hour" => TimeUnit::Hour,
        "day" => TimeUnit::Day,
        _ => return None,
    };
    let packets = integer(count).filter(|count| *count > 0)?;
    Spelled::new(&format!("{packets}/{unit}"), Rate { packets, per })
}

/// `N` or `N:M`, NFQUEUE queues; 0 is the default queue.
pub(super) fn queues(value: &str) -> Option<Queue> {
    let number = |text: &str| integer(text).and_then(|number| u16::try_from(number).ok());
    match value.split_once(':') {
        None => number(value).map(|number| if number == 0 { Queue::Default } else { Queue::Number(number) }),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            // queue numbers have 16 bits
            (first < last && last - first < u16::MAX).then_some(Queue::Balance(first, last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(value: &str) -> Option<String> {
        log_ratelimit(value).map(|LogRatelimit(limit)| match limit.as_deref() {
            None => "off".to_string(),
            Some(LogRate { rate, burst }) => format!("{rate} {burst:?}"),
        })
    }

    #[test]
    fn log_ratelimits() {
        for (value, text) in [
            ("1", Some("1/sec None")),
            ("enable=1,rate=20/minute,burst=7", Some("20/minute Some(7)")),
            ("burst=50,enable=1,rate=20/minute", Some("20/minute Some(50)")),
            ("rate=20/minute,1", Some("20/minute None")),
            ("enable=yes, burst=3", Some("1/sec Some(3)")),
            ("burst=7,rate=1/hour,enable=off", Some("off")),
            ("1,enable=1", None),
            ("1,burst=2,burst=3", None),
            ("1,burst=0", Some("1/sec None")),
            ("0,rate=1/day", Some("off")),
            ("1,rate=8/day,burst=13", Some("8/day Some(13)")),
            ("1,burst=99999999999", Some("1/sec Some(4294967295)")),
            ("rate=5/day", None),
            ("1,rate=5", None),
            ("1,rate=0/second", None),
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

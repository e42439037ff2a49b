//! Parses the values of options.
use crate::builtin::helpers::{self, Helper};
use crate::config::value_parsers::{boolean, integer, log_level, log_ratelimit, policy, queues};
use crate::model::{LogRatelimit, Lookup, Queue, Token, Verdict, printable};
use crate::node::name_databases::Databases;

/// Why a value is invalid.
pub enum ValueError {
    /// It cannot be parsed.
    Unparsable,
    /// An item of a list is unknown: the text of the report, and the list in which the item was looked up.
    Item(String, Lookup),
}

/// A level of an option: a word in any case, or nothing.
fn level(value: &str) -> Option<Option<u8>> {
    if value.is_empty() { Some(None) } else { log_level(&value.to_ascii_lowercase()) }
}

/// The maximum of a sysctl, minus what rounding up to a multiple of 8192 may add.
const MAX_SETTING: u64 = i32::MAX as u64 - 8192;

/// 0, 1, a time in seconds since 1970, or a word that means 0 or 1.
pub fn switch_or_time(value: &str) -> Option<u64> {
    integer(value).or_else(|| boolean(value).map(u64::from))
}

/// A number for a sysctl.
fn setting(value: &str) -> Option<u64> {
    integer(value).filter(|number| *number <= MAX_SETTING)
}

/// The type of an option's value, with the field that holds it.
pub enum Value<O> {
    /// 0 or 1, or a word for one of them.
    Boolean(fn(&mut O) -> &mut bool),
    /// 0, 1 or a time.
    SwitchOrTime(fn(&mut O) -> &mut u64),
    /// ACCEPT, DROP or REJECT.
    Policy(fn(&mut O) -> &mut Verdict),
    /// ACCEPT or DROP.
    ForwardPolicy(fn(&mut O) -> &mut Verdict),
    /// A log level.
    Level(fn(&mut O) -> &mut Option<u8>),
    /// A number.
    Number(fn(&mut O) -> &mut u64),
    /// A number for a sysctl.
    Setting(fn(&mut O) -> &mut u64),
    /// A property string.
    RateLimit(fn(&mut O) -> &mut LogRatelimit),
    /// One or several queues of NFQUEUE.
    Queues(fn(&mut O) -> &mut Queue),
    /// A list of conntrack helpers.
    Helpers(fn(&mut O) -> &mut Vec<&'static Helper>),
    /// A list of ethertypes.
    Ethertypes(fn(&mut O) -> &mut Option<Vec<Token>>),
    /// A number that the official firewall accepts and does not use.
    Unused,
}

use Value::{
    Boolean, Ethertypes, ForwardPolicy, Helpers, Level, Number, Policy, Queues, RateLimit, Setting, SwitchOrTime,
    Unused,
};

impl<O> Value<O> {
    /// Parses a value and stores it in `to`.
    pub fn read(&self, to: &mut O, value: &str, databases: &Databases) -> Result<(), ValueError> {
        fn put<T>(field: &mut T, value: Option<T>) -> Result<(), ValueError> {
            *field = value.ok_or(ValueError::Unparsable)?;
            Ok(())
        }
        match self {
            Boolean(field) => put(field(to), boolean(value)),
            SwitchOrTime(field) => put(field(to), switch_or_time(value)),
            Policy(field) => put(field(to), policy(value)),
            ForwardPolicy(field) => put(field(to), policy(value).filter(|known| *known != Verdict::Reject)),
            Level(field) => put(field(to), level(value)),
            Number(field) => put(field(to), integer(value)),
            Setting(field) => put(field(to), setting(value)),
            RateLimit(field) => put(field(to), log_ratelimit(&value.to_ascii_lowercase())),
            Queues(field) => put(field(to), queues(value)),
            // the default is an empty list
            Helpers(field) if value.is_empty() => {
                field(to).clear();
                Ok(())
            }
            Helpers(field) => {
                let (known, error) = list(value, |name| {
                    let known = helpers::find(&name.to_ascii_lowercase());
                    known.ok_or_else(|| (format!("unknown helper '{}'", printable(name)), Lookup::Helper))
                });
                *field(to) = known;
                error.map_or(Ok(()), Err)
            }
            Ethertypes(field) => {
                let (known, error) = list(value, |name| {
                    let known = databases.ethertype(name).and_then(Token::new);
                    known.ok_or_else(|| {
                        (format!("unknown ethernet protocol type: {}", printable(name)), Lookup::Ethertype)
                    })
                });
                // a list of protocols enables the filter even if no protocol in it is known
                *field(to) = Some(known);
                error.map_or(Ok(()), Err)
            }
            Unused => put(&mut 0, integer(value)),
        }
    }

    /// The valid values, in words.
    pub fn valid(&self) -> &'static str {
        match self {
            Boolean(_) => "0 or 1",
            SwitchOrTime(_) => "0 or 1, or a time in seconds since 1970",
            Policy(_) => "ACCEPT, DROP or REJECT",
            ForwardPolicy(_) => "ACCEPT or DROP",
            Level(_) => "emerg, alert, crit, err, warning, notice, info, debug or nolog",
            Number(_) | Unused => "a number",
            Setting(_) => "a number up to 2147475455",
            RateLimit(_) => "enable=1,rate=N/second,burst=N, with minute, hour or day in place of second",
            Queues(_) => "a queue N, or queues N:M",
            Helpers(_) => "a list such as ftp,tftp",
            Ethertypes(_) => "a list such as IPv4,ARP",
        }
    }
}

/// The known items of a comma-separated list; the first unknown one is the error.
fn list<T>(value: &str, find: impl Fn(&str) -> Result<T, (String, Lookup)>) -> (Vec<T>, Option<ValueError>) {
    let (mut known, mut error) = (Vec::new(), None);
    for name in value.split(',') {
        match find(name.trim()) {
            Ok(item) => known.push(item),
            Err((text, lookup)) => error = error.or(Some(ValueError::Item(text, lookup))),
        }
    }
    (known, error)
}

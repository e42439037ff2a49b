//! The log prefix of an NFLOG rule, which names the guest and chain in a packet's log line: `:VMID:LOGID:CHAIN: MESSAGE`.
use std::fmt;
use thiserror::Error;

/// Maximum length of a prefix in iptables and ebtables, in bytes.
pub const MAX_LENGTH: usize = 63;
/// Maximum length of a chain name, in characters.
pub const MAX_CHAIN: usize = 28;

/// A parsed log prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<'a> {
    vmid: u32,
    level: u8,
    chain: &'a str,
    message: &'a str,
}

/// Why a prefix is invalid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PrefixError {
    /// The level is not 0 to 7.
    #[error("log level {0} is above 7")]
    Level(u8),
    /// A chain name has 1 to 28 characters, none of them a blank, a colon or a control character.
    #[error("'{0}' is not a valid chain name")]
    Chain(String),
    /// A control character would break the tools' input and the log line.
    #[error("the message '{}' contains a control character", .0.escape_default())]
    Message(String),
    /// The tools accept 63 bytes.
    #[error("the prefix '{0}' is longer than 63 bytes")]
    TooLong(String),
}

impl<'a> Prefix<'a> {
    /// A prefix for a rule. `vmid` is 0 for the host; `level` is a level of syslog(3), 0 (emerg) to 7 (debug).
    ///
    /// # Errors
    /// When a part is invalid, or the prefix is too long for the tools.
    pub fn new(vmid: u32, level: u8, chain: &'a str, message: &'a str) -> Result<Self, PrefixError> {
        if level > 7 {
            return Err(PrefixError::Level(level));
        }
        if !is_chain(chain) || chain.contains(char::is_control) {
            return Err(PrefixError::Chain(chain.to_string()));
        }
        if message.contains(char::is_control) {
            return Err(PrefixError::Message(message.to_string()));
        }
        let prefix = Prefix { vmid, level, chain, message };
        let text = prefix.to_string();
        if text.len() > MAX_LENGTH { Err(PrefixError::TooLong(text)) } else { Ok(prefix) }
    }

    /// Parses a prefix; `None` if it has another form.
    ///
    /// An empty VMID is 0. As in pve-firewall, a VMID has 32 bits: a greater number wraps around.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (vmid, rest) = text.strip_prefix(':')?.split_once(':')?;
        let (level, rest) = rest.split_once(':')?;
        let (chain, message) = rest.split_once(": ")?;
        let level = match level.as_bytes() {
            [digit @ b'0'..=b'7'] => digit - b'0',
            _ => return None,
        };
        let digits = vmid.bytes().all(|byte| byte.is_ascii_digit());
        (digits && is_chain(chain)).then(|| Prefix { vmid: number(vmid), level, chain, message })
    }

    /// The guest's VMID, or 0 for the host.
    #[must_use]
    pub fn vmid(&self) -> u32 {
        self.vmid
    }

    /// The log level, 0 (emerg) to 7 (debug).
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The chain that contains the rule.
    #[must_use]
    pub fn chain(&self) -> &'a str {
        self.chain
    }

    /// The rule's message, including the blank before the packet's fields.
    #[must_use]
    pub fn message(&self) -> &'a str {
        self.message
    }
}

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prefix { vmid, level, chain, message } = self;
        write!(formatter, ":{vmid}:{level}:{chain}: {message}")
    }
}

fn is_chain(text: &str) -> bool {
    !text.is_empty() && !text.contains([' ', ':']) && text.chars().count() <= MAX_CHAIN
}

fn number(digits: &str) -> u32 {
    digits.bytes().fold(0, |number: u32, digit| number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_prefix_is_parsed_unchanged() {
        let prefix = Prefix::new(999_999_999, 6, "GROUP-web-IN", "policy REJECT: ").unwrap();
        assert_eq!(prefix.to_string(), ":999999999:6:GROUP-web-IN: policy REJECT: ");
        assert_eq!(Prefix::parse(&prefix.to_string()), Some(prefix));
    }

    #[test]
    fn other_forms_are_not_parsed_as_a_prefix() {
        for text in [
            "",
            "hello: ",
            ":100:8:c: m",
            ":100:10:c: m",
            ":100:6:: m",
            ":100:6:ab cd: m",
            ":100:6:chain",
            ":100:6:c:",
            ":1x:6:c: m",
            ":-1:6:c: m",
            "100:6:c: m",
            ":100::c: m",
            ":100:6:ccccccccccccccccccccccccccccc: m",
        ] {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
        let prefix = Prefix::parse("::7:cccccccccccccccccccccccccccc: ").unwrap();
        assert_eq!((prefix.vmid(), prefix.level(), prefix.message()), (0, 7, ""));
        assert_eq!(Prefix::parse(":2147483648:6:c: m").unwrap().vmid(), 1 << 31);
    }

    #[test]
    fn invalid_parts_are_refused() {
        let long = "x".repeat(52);
        assert_eq!(Prefix::new(100, 8, "c", ""), Err(PrefixError::Level(8)));
        for chain in ["", "a b", "a:b", "a\nb", "ccccccccccccccccccccccccccccc"] {
            assert_eq!(Prefix::new(100, 6, chain, ""), Err(PrefixError::Chain(chain.to_string())));
        }
        assert_eq!(Prefix::new(1, 6, "c", "a\tb"), Err(PrefixError::Message("a\tb".to_string())));
        assert!(matches!(Prefix::new(1_000_000, 6, "c", &long), Err(PrefixError::TooLong(_))));
        assert_eq!(Prefix::new(0, 6, "c", &long).unwrap().to_string().len(), 60);
    }
}

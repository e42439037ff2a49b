//! The log prefix of an NFLOG rule, which names the guest and chain in a packet's log line: `:VMID:LOGID:CHAIN: MESSAGE`.
use crate::model::MAX_LOGGED_CHAIN;
use std::fmt;

/// A parsed log prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<'a> {
    vmid: u32,
    level: u8,
    chain: &'a str,
    message: &'a str,
}

impl<'a> Prefix<'a> {
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
    !text.is_empty() && !text.contains([' ', ':']) && text.chars().count() <= MAX_LOGGED_CHAIN
}

fn number(digits: &str) -> u32 {
    digits.bytes().fold(0, |number: u32, digit| number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_prefix_is_parsed_unchanged() {
        let prefix = Prefix { vmid: 999_999_999, level: 6, chain: "GROUP-web-IN", message: "policy REJECT: " };
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
}

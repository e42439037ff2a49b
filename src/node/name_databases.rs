//! The name databases of the system: protocols(5), services(5) and `/etc/ethertypes`.
use std::collections::BTreeMap;

/// The entries of the three files. Only the first name of a line is used, case-sensitively.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases {
    protocols: BTreeMap<String, u8>,
    services: BTreeMap<(String, String), u16>,
    ethertypes: Ethertypes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ethertypes {
    by_name: BTreeMap<String, u16>,
    by_code: BTreeMap<u16, String>,
}

impl Databases {
    /// Reads the contents of `/etc/protocols`, `/etc/services` and `/etc/ethertypes`. Malformed lines are skipped.
    #[must_use]
    pub fn parse(protocols: &str, services: &str, ethertypes: &str) -> Self {
        let protocols = rows(protocols).filter_map(|(name, value)| Some((name.to_string(), value.parse().ok()?)));
        let services = rows(services).filter_map(|(name, value)| {
            let (port, protocol) = value.split_once('/')?;
            Some(((name.to_string(), protocol.to_string()), port.parse().ok()?))
        });
        Databases {
            protocols: protocols.collect(),
            services: keep_first(services),
            ethertypes: Ethertypes::parse(ethertypes),
        }
    }

    /// The number of a protocol, given by name or number; `icmpv6` is accepted as well.
    #[must_use]
    pub fn protocol(&self, name: &str) -> Option<u8> {
        if name == "icmpv6" {
            return Some(58);
        }
        self.protocols.get(name).copied().or_else(|| {
            let number = decimal(name)?.try_into().ok()?;
            self.protocols.values().any(|known| *known == number).then_some(number)
        })
    }

    /// The port of a service for a protocol (by name).
    #[must_use]
    pub fn service(&self, name: &str, protocol: &str) -> Option<u16> {
        self.services.get(&(name.to_string(), protocol.to_string())).copied()
    }

    /// The names of all protocols.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocols.keys().map(String::as_str).chain(["icmpv6"])
    }

    /// All services, each with the name of its protocol.
    pub fn services(&self) -> impl Iterator<Item = (&str, &str)> {
        self.services.keys().map(|(service, protocol)| (service.as_str(), protocol.as_str()))
    }

    /// The names of all ethertypes, as ebtables prints them.
    pub fn ethertypes(&self) -> impl Iterator<Item = &str> {
        self.ethertypes.by_code.values().map(String::as_str)
    }

    /// The name that ebtables prints for an ethertype, given by a name in any case or a hexadecimal code of the file.
    #[must_use]
    pub fn ethertype(&self, name: &str) -> Option<&str> {
        self.ethertypes.find(name).map(|(_, printed)| printed)
    }

    /// The code of an ethertype, given as for [`Databases::ethertype`].
    #[must_use]
    pub fn ethertype_code(&self, name: &str) -> Option<u16> {
        self.ethertypes.find(name).map(|(code, _)| code)
    }
}

impl Ethertypes {
    fn parse(text: &str) -> Self {
        let mut ethertypes = Ethertypes::default();
        // codes up to 0x600 are lengths, not types (IEEE 802.3), and ebtables rejects them
        let types = rows(text).filter_map(|(name, code)| Some((name, hexadecimal(code).filter(|code| *code > 0x600)?)));
        for (name, code) in types {
            ethertypes.by_name.entry(name.to_ascii_lowercase()).or_insert(code);
            ethertypes.by_code.entry(code).or_insert_with(|| name.to_string());
        }
        ethertypes
    }

    /// The code and the printed name of an ethertype, given by a name in any case or a hexadecimal code of the file.
    fn find(&self, name: &str) -> Option<(u16, &str)> {
        let Ethertypes { by_name, by_code } = self;
        let code = by_name.get(&name.to_ascii_lowercase()).copied().or_else(|| hexadecimal(name))?;
        by_code.get(&code).map(|printed| (code, printed.as_str()))
    }
}

/// The first two words of each line that is not a comment.
fn rows(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        Some((words.next()?, words.next()?))
    })
}

fn keep_first<K: Ord, V>(pairs: impl Iterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        map.entry(key).or_insert(value);
    }
    map
}

/// A decimal number without sign and leading zeros: the tools parse a leading zero as octal.
#[must_use]
pub fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

fn hexadecimal(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn databases() -> Databases {
        Databases::parse(
            "# comment\nip 0 IP\ntcp\t6\tTCP\nmptcp 262 MPTCP\nipv6-icmp 58 IPv6-ICMP\n",
            "ssh 22/tcp\nhttp 80/tcp www # web\nntp 123/udp\nbroken\nssh 23/tcp\n",
            "IPv6 86DD ip6\n802_1Q 8100 8021q\nLENGTH 0600\nloopback 9000\nLoop2 9000\n",
        )
    }

    #[test]
    fn protocols_by_name_and_number() {
        let cases = [
            ("tcp", Some(6)),
            ("6", Some(6)),
            ("TCP", None),
            ("7", None),
            ("06", None),
            ("mptcp", None),
            ("icmpv6", Some(58)),
        ];
        for (name, number) in cases {
            assert_eq!(databases().protocol(name), number, "{name}");
        }
    }

    #[test]
    fn services_need_their_protocol() {
        assert_eq!(databases().service("ssh", "tcp"), Some(22));
        for (name, protocol) in [("ntp", "tcp"), ("www", "tcp"), ("SSH", "tcp")] {
            assert_eq!(databases().service(name, protocol), None, "{name}/{protocol}");
        }
    }

    #[test]
    fn an_ethertype_by_name_or_code_has_one_printed_name() {
        for (name, printed) in [
            ("IPv6", Some("IPv6")),
            ("ipv6", Some("IPv6")),
            ("86DD", Some("IPv6")),
            ("0x86dd", Some("IPv6")),
            ("8100", Some("802_1Q")),
            ("Loop2", Some("loopback")),
            ("1234", None),
            ("0600", None),
            ("", None),
        ] {
            assert_eq!(databases().ethertype(name), printed, "{name}");
        }
    }
}

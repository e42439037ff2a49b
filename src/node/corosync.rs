//! `corosync.conf`: the links between the nodes (corosync.conf(5)).
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Which addresses of a host name corosync uses (`totem.ip_version`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpVersion {
    /// `ipv4`
    V4,
    /// `ipv6`
    V6,
    /// `ipv6-4`: IPv6, or else IPv4.
    #[default]
    V6Then4,
    /// `ipv4-6`: IPv4, or else IPv6.
    V4Then6,
}

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorosyncNode {
    /// Its addresses or host names by key: `ring0_addr`, `link1_addr`.
    pub links: BTreeMap<String, String>,
}

/// The relevant settings of `corosync.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corosync {
    /// The nodes by name.
    pub nodes: BTreeMap<String, CorosyncNode>,
    /// Whether the transport is `udp`, which uses multicast.
    pub multicast: bool,
    /// How host names are resolved.
    pub ip_version: IpVersion,
    /// The ports that are configured for links (`totem.interface.mcastport`).
    pub ports: BTreeSet<u16>,
}

impl IpVersion {
    /// Selects one of the addresses of a host name, which are in the resolver's order.
    #[must_use]
    pub fn pick(self, addresses: &[IpAddr]) -> Option<IpAddr> {
        let v4 = || addresses.iter().copied().find(IpAddr::is_ipv4);
        let v6 = || addresses.iter().copied().find(IpAddr::is_ipv6);
        match self {
            IpVersion::V4 => v4(),
            IpVersion::V6 => v6(),
            IpVersion::V6Then4 => v6().or_else(v4),
            IpVersion::V4Then6 => v4().or_else(v6),
        }
    }
}

/// The link number in a key such as `ring0_addr`.
#[must_use]
pub fn link_number(key: &str) -> Option<u32> {
    let rest = key.strip_prefix("ring").or_else(|| key.strip_prefix("link"))?;
    rest.strip_suffix("_addr")?.parse().ok()
}

enum Word<'a> {
    Open(&'a str),
    Close,
    Pair(&'a str, &'a str),
}

impl Corosync {
    /// Parses the file; invalid parts are ignored.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut corosync = Corosync::default();
        let mut path: Vec<&str> = Vec::new();
        let mut node: Option<(String, CorosyncNode)> = None;
        for word in words(text).filter_map(|(_, word)| word.ok()) {
            match word {
                Word::Open(name) => {
                    path.push(name);
                    if path == ["nodelist", "node"] {
                        node = Some(Default::default());
                    }
                }
                Word::Close => {
                    if path == ["nodelist", "node"]
                        && let Some((name, links)) = node.take().filter(|(name, _)| !name.is_empty())
                    {
                        corosync.nodes.insert(name, links);
                    }
                    path.pop();
                }
                Word::Pair(key, value) if path == ["totem"] => corosync.totem(key, value),
                Word::Pair("mcastport", value) if path == ["totem", "interface"] => {
                    corosync.ports.extend(value.parse::<u16>())
                }
                Word::Pair(key, value) if path == ["nodelist", "node"] => match &mut node {
                    Some((name, _)) if key == "name" => *name = value.to_string(),
                    Some((_, node)) if link_number(key).is_some() => {
                        node.links.insert(key.to_string(), value.to_string());
                    }
                    _ => {}
                },
                Word::Pair(..) => {}
            }
        }
        corosync
    }

    fn totem(&mut self, key: &str, value: &str) {
        match (key, value) {
            ("transport", value) => self.multicast = value == "udp",
            ("ip_version", "ipv4") => self.ip_version = IpVersion::V4,
            ("ip_version", "ipv6") => self.ip_version = IpVersion::V6,
            ("ip_version", "ipv4-6") => self.ip_version = IpVersion::V4Then6,
            ("ip_version", _) => self.ip_version = IpVersion::V6Then4,
            _ => {}
        }
    }

    /// The host names among the link addresses; invalid names are not resolved.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        let values = self.nodes.values().flat_map(|node| node.links.values()).map(String::as_str);
        let plain = |value: &&str| value.bytes().all(|byte| byte.is_ascii_graphic()) && value.len() < 256;
        values.filter(plain).filter(|value| value.parse::<IpAddr>().is_err())
    }
}

/// The errors in the file, with their lines.
#[must_use]
pub fn syntax_errors(text: &str) -> Vec<(u32, String)> {
    let mut errors = Vec::new();
    let mut open = Vec::new();
    for (line, word) in words(text) {
        match word {
            Ok(Word::Open(_)) => open.push(line),
            Ok(Word::Close) if open.pop().is_none() => errors.push((line, "'}' without a '{'".to_string())),
            Ok(_) => {}
            Err(rest) => errors.push((line, format!("invalid line: {}", rest.escape_debug()))),
        }
    }
    errors.extend(open.into_iter().map(|line| (line, "'{' without a '}'".to_string())));
    errors
}

/// `name {`, `}` and `key: value`, several of which can be in a line, with the line number; or an invalid text.
fn words(text: &str) -> impl Iterator<Item = (u32, Result<Word<'_>, &str>)> {
    let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.starts_with('#'));
    lines.flat_map(|(number, mut rest)| {
        let mut words = Vec::new();
        while let Some(end) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(end);
            if after.starts_with('{') {
                // the section's name is the last word; a pair can precede it
                let name = before.split_whitespace().next_back().unwrap_or_default();
                words.push(Ok(Word::Open(name)));
            } else {
                words.extend(pair(before));
                words.push(Ok(Word::Close));
            }
            rest = &after[1..];
        }
        words.extend(pair(rest));
        words.into_iter().map(move |word| (number, word))
    })
}

/// A pair, unless it contains control characters or invalid UTF-8.
fn pair(text: &str) -> Option<Result<Word<'_>, &str>> {
    let text = Some(text.trim()).filter(|text| !text.is_empty())?;
    let plain = !text.contains(|one: char| (one.is_control() && one != '\t') || one == '\u{fffd}');
    let pair = text.split_once(':').filter(|_| plain);
    Some(pair.map(|(key, value)| Word::Pair(key.trim(), value.trim())).ok_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_may_share_lines() {
        let text = "totem { version: 2\n  transport: udp\n  ip_version: ipv6 }\n# }\nnodelist { node { name: n1\n \
                    link0_addr: fd00::11\n link1_addr: host.example }\n node { name: b\n ring0_addr: 10.0.0.2 }\n\
                    node { ring0_addr: 10.0.0.9 } }\n}}\nlogging { x: y }";
        let corosync = Corosync::parse(text);
        assert!(corosync.multicast);
        assert_eq!(corosync.ip_version, IpVersion::V6);
        assert_eq!(corosync.nodes.keys().collect::<Vec<_>>(), ["b", "n1"]);
        assert_eq!(corosync.nodes["n1"].links["link1_addr"], "host.example");
        assert_eq!(corosync.host_names().collect::<Vec<_>>(), ["host.example"]);
    }

    #[test]
    fn control_characters_are_not_part_of_a_name() {
        let node = |name| format!("node {{\n name: {name}\n ring0_addr: 10.0.0.1\n}}\n");
        let text = format!("nodelist {{\n{}{}{}}}", node("n1"), node("n2\u{1b}[31m"), node("n3\u{fffd}"));
        assert_eq!(Corosync::parse(&text).nodes.keys().collect::<Vec<_>>(), ["n1"]);
    }

    #[test]
    fn errors_have_their_line() {
        let text = "totem {\n  version: 2\n  nonsense\n}\n}\nnodelist {\n # {\n node {\n  name: a\u{1b}b\n }\n";
        let errors: Vec<_> = syntax_errors(text).into_iter().map(|(line, text)| format!("{line} {text}")).collect();
        let expected = [
            "3 invalid line: nonsense",
            "5 '}' without a '{'",
            r"9 invalid line: name: a\u{1b}b",
            "6 '{' without a '}'",
        ];
        assert_eq!(errors, expected);
        assert_eq!(syntax_errors("totem { a: b }\n\n# x\nlogging {\n}\n"), []);
    }

    #[test]
    fn addresses_are_picked_by_version() {
        let addresses: Vec<IpAddr> = ["10.0.0.1", "fd00::1"].map(|text| text.parse().unwrap()).to_vec();
        for (version, picked) in
            [(IpVersion::V4, 0), (IpVersion::V6, 1), (IpVersion::V6Then4, 1), (IpVersion::V4Then6, 0)]
        {
            assert_eq!(version.pick(&addresses), Some(addresses[picked]));
        }
        assert_eq!(IpVersion::V6.pick(&addresses[..1]), None);
        assert_eq!(IpVersion::V6Then4.pick(&addresses[..1]), Some(addresses[0]));
    }

    #[test]
    fn invalid_host_names_are_not_resolved() {
        let text = "nodelist {\n node {\n name: a\n ring0_addr: 10.1.0.11 \u{1}\0\n ring1_addr: host\n ring2_addr: a b\n }\n}\n";
        assert_eq!(Corosync::parse(text).host_names().collect::<Vec<_>>(), ["host"]);
    }
}

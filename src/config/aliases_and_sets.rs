//! Aliases and IP sets, and the names by which rules refer to them.
use super::address::cidr;
use super::sections::{Line, MAX_NAME_LENGTH, Named, cut, is_name};
use crate::model::{Lookup, PartError, Report, SetRef, SetScope, Spelled, lowercase, printable};
use ipnet::IpNet;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NO_ADDRESS: &str = "value does not look like a valid IP address or CIDR network";

/// An alias: an address or network with the user's spelling, without `/32` and `/128`.
pub type Alias = Spelled<IpNet>;

/// An entry of an IP set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetEntry {
    /// The address or network, including host bits.
    pub net: IpNet,
    /// Whether it is excluded (`!`).
    pub nomatch: bool,
}

/// The definition of an IP set in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpSet {
    /// The line of its header; 0 for a set that exists without a definition.
    pub line: u32,
    /// The number of its lines, including invalid ones, which count for its size.
    pub lines: usize,
    /// Its valid entries, in the order of the file.
    pub entries: Vec<SetEntry>,
}

impl IpSet {
    /// The networks of its entries, without exceptions (`nomatch`).
    pub fn networks(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.entries.iter().filter_map(|SetEntry { net, nomatch }| (!nomatch).then_some(*net))
    }
}

/// The definitions in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// Aliases by name.
    pub aliases: BTreeMap<String, Alias>,
    /// IP sets by name.
    pub sets: BTreeMap<String, IpSet>,
}

/// The definitions in which the names of a file are looked up.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The definitions in cluster.fw.
    pub cluster: &'a Definitions,
    /// The definitions in the guest's file, for a guest's file.
    pub guest: Option<&'a Definitions>,
    /// The names of the IP sets of SDN.
    pub sdn: &'a BTreeSet<String>,
}

impl<'a> Names<'a> {
    /// Looks up a name in lower case: in the scope of its prefix, or in the guest's file first and then in cluster.fw.
    fn find<T>(&self, reference: &str, pick: impl Fn(&'a Definitions, &str) -> Option<T>) -> Option<(SetScope, T)> {
        let cluster = |name: &str| pick(self.cluster, name).map(|found| (SetScope::Cluster, found));
        let guest = |name: &str| self.guest.and_then(|guest| pick(guest, name)).map(|found| (SetScope::Guest, found));
        match cut(reference, b'/') {
            Some(("dc", name)) => cluster(name),
            Some(("guest", name)) => guest(name),
            Some(_) => None,
            None => guest(reference).or_else(|| cluster(reference)),
        }
    }

    /// The alias with this name.
    pub fn alias(&self, reference: &str) -> Option<&'a Alias> {
        self.find(&lowercase(reference), |definitions, name| definitions.aliases.get(name)).map(|(_, alias)| alias)
    }

    /// The IP set with this name (without the `+`).
    pub fn set(&self, reference: &str) -> Option<SetRef> {
        let reference = lowercase(reference);
        if let Some(("sdn", name)) = cut(&reference, b'/') {
            return self.sdn.get(name).map(|name| SetRef { scope: SetScope::Sdn, name: name.into() });
        }
        let (scope, name) =
            self.find(&reference, |definitions, name| definitions.sets.get_key_value(name).map(|(name, _)| name))?;
        Some(SetRef { scope, name: name.into() })
    }
}

/// Whether the text has the form of an alias name.
pub fn is_alias(text: &str) -> bool {
    is_name(unscoped(text))
}

/// A name without its `dc/` or `guest/`.
pub fn unscoped(text: &str) -> &str {
    match cut(text, b'/') {
        Some((scope, name)) if ["dc", "guest", "sdn"].iter().any(|known| scope.eq_ignore_ascii_case(known)) => name,
        _ => text,
    }
}

/// An address or network, without the prefix length of a single address.
pub fn alias(text: &str) -> Option<Alias> {
    let (spelling, net) = spelled(text)?;
    Spelled::new(spelling, net)
}

/// The spelling and the value of such an address or network.
fn spelled(text: &str) -> Option<(&str, IpNet)> {
    let net = cidr(text)?;
    let whole = net.prefix_len() == net.max_prefix_len();
    let address = cut(text, b'/').map(|(address, _)| address).filter(|_| whole);
    Some((address.unwrap_or(text), net))
}

/// Parses `[ALIASES]`.
pub fn aliases(lines: &[Line<'_>], file: &Arc<str>, reports: &mut Vec<Report>) -> BTreeMap<String, Alias> {
    let (mut aliases, mut lines_of) = (BTreeMap::new(), BTreeMap::new());
    for line in lines {
        let words: Vec<_> = line.without_comment.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        let (error, word, lookup) = match words[..] {
            [name, address] if is_name(name) && name.len() <= MAX_NAME_LENGTH => match alias(address) {
                Some(alias) => {
                    let name = name.to_ascii_lowercase();
                    if let Some(first) = lines_of.insert(name.clone(), line.number) {
                        let text = format!("alias '{name}' is already defined in line {first}: this line is used");
                        reports.push(Report::warning(file, line.number, text));
                    }
                    aliases.insert(name, alias);
                    continue;
                }
                None => (NO_ADDRESS.to_string(), address, Lookup::AliasAddress),
            },
            _ => (format!("unable to parse alias: {}", printable(line.text)), line.without_comment, Lookup::AliasLine),
        };
        reports.push(Report::line(file, line.number, error).at(line.span(word), Some(lookup)));
    }
    aliases
}

/// Parses the IP sets of a file, after its aliases. Of two sets with the same name the later one is used.
pub fn sets(
    sections: &[Named<'_>],
    names: Names<'_>,
    file: &Arc<str>,
    reports: &mut Vec<Report>,
) -> BTreeMap<String, IpSet> {
    let mut sets = BTreeMap::new();
    for section in sections {
        sets.insert(section.name.clone(), set(section, names, file, reports));
    }
    sets
}

fn set(section: &Named<'_>, names: Names<'_>, file: &Arc<str>, reports: &mut Vec<Report>) -> IpSet {
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for line in &section.lines {
        let text = line.without_comment;
        let (nomatch, word) = match text.strip_prefix('!') {
            Some(word) => (true, word.trim_start()),
            None => (false, text),
        };
        match entry(word, names, &mut seen) {
            Ok(net) => entries.push(SetEntry { net, nomatch }),
            Err((text, lookup)) => {
                let what = format!("ipset '{}': {}", section.name, printable(line.without_comment));
                let error = PartError { part: "cidr", text, lookup };
                reports.push(Report::parts(file, line.number, what, vec![error], |_| line.span(word)));
            }
        }
    }
    IpSet { line: section.line, lines: section.lines.len(), entries }
}

/// The network of an entry, or the error and the list in which the word was looked up.
fn entry<'a>(
    word: &'a str,
    names: Names<'_>,
    seen: &mut BTreeSet<Cow<'a, str>>,
) -> Result<IpNet, (String, Option<Lookup>)> {
    let unknown = |text: String| (text, Some(Lookup::Entry));
    let (net, key) = if is_alias(word) {
        let alias =
            names.alias(word).ok_or_else(|| unknown(format!("no such alias '{}'", printable(unscoped(word)))))?;
        (alias.value, word)
    } else {
        let (address, net) = spelled(word).ok_or_else(|| unknown(NO_ADDRESS.to_string()))?;
        (net, address)
    };
    if net.prefix_len() == 0 {
        return Err(unknown("a zero prefix is not allowed in ipset entries".to_string()));
    }
    match seen.replace(lowercase(key)) {
        Some(key) => Err((format!("duplicate ipset entry for '{key}'"), None)),
        None => Ok(net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_of_single_addresses_omit_the_prefix_length() {
        for (text, spelled) in [("10.9.9.9/32", "10.9.9.9"), ("fd00::1/128", "fd00::1"), ("10.0.0.5/24", "10.0.0.5/24")]
        {
            assert_eq!(alias(text).unwrap().text(), spelled);
        }
        assert!(alias("1.2.3.4/33").is_none() && alias("10/8").is_none());
    }

    #[test]
    fn unscoped_names_are_looked_up_in_the_guest_first() {
        let definitions = |address: &str| Definitions {
            aliases: BTreeMap::from([("both".to_string(), alias(address).unwrap())]),
            sets: BTreeMap::new(),
        };
        let (cluster, guest) = (definitions("10.1.1.1"), definitions("10.2.2.2"));
        let sdn = BTreeSet::from(["both".to_string()]);
        let names = Names { cluster: &cluster, guest: Some(&guest), sdn: &sdn };
        for (reference, address) in
            [("both", "10.2.2.2"), ("BOTH", "10.2.2.2"), ("dc/both", "10.1.1.1"), ("guest/both", "10.2.2.2")]
        {
            assert_eq!(names.alias(reference).unwrap().text(), address, "{reference}");
        }
        assert!(names.alias("sdn/both").is_none());
        assert_eq!(names.set("SDN/Both").unwrap().scope, SetScope::Sdn);
        assert!(names.set("both").is_none() && names.set("dc/both").is_none());
        assert!(Names { cluster: &cluster, guest: None, sdn: &sdn }.alias("guest/both").is_none());
    }
}

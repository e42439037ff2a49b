//! Suggestions for the names of IP sets, aliases, groups and devices.
use super::Vocabulary;
use super::addresses::{Place, address, is_everything};
use super::words::{bare, did_you_mean, nearest_name};
use crate::config::{Definitions, is_name};
use crate::model::guest::GuestDevice;
use std::collections::BTreeMap;

/// A kind of definition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NameKind {
    Alias,
    Set,
}

impl NameKind {
    fn sign(self) -> &'static str {
        if self == NameKind::Set { "+" } else { "" }
    }

    fn is_in(self, definitions: &Definitions, name: &str) -> bool {
        match self {
            NameKind::Alias => definitions.aliases.contains_key(name),
            NameKind::Set => definitions.sets.contains_key(name),
        }
    }

    fn names(self, definitions: &Definitions) -> Box<dyn Iterator<Item = &str> + '_> {
        fn keys<T>(map: &BTreeMap<String, T>) -> impl Iterator<Item = &str> {
            map.keys().map(String::as_str)
        }
        match self {
            NameKind::Alias => Box::new(keys(&definitions.aliases)),
            NameKind::Set => Box::new(keys(&definitions.sets)),
        }
    }
}

impl Vocabulary<'_> {
    /// For an unknown IP set, with its `+`.
    pub fn set(&self, word: &str) -> Option<String> {
        if word.contains(',') {
            return Some("one IP set for each rule: write a rule for each of them".to_string());
        }
        let name = word.trim_start_matches('+');
        let plain = plain(name);
        let of_sdn = name.len() >= 4 && name[..4].eq_ignore_ascii_case("sdn/");
        if let Some(found) = self.of_sdn(&plain) {
            return Some(found);
        }
        if of_sdn {
            let found = nearest_name(&plain, self.sdn.iter().map(String::as_str));
            let none = "no vnet or guest of the SDN has this set: see sdn/.running-config and the state of the IPAM";
            return Some(found.map_or_else(|| none.to_string(), |found| did_you_mean(format_args!("+sdn/{found}"))));
        }
        self.exact(&plain, NameKind::Set)
            .or_else(|| self.exact(&plain, NameKind::Alias))
            .or_else(|| self.elsewhere(&plain, NameKind::Set))
            .or_else(|| self.similar(&plain, NameKind::Set))
            .or_else(|| self.groups.contains(&plain.as_str()).then(|| "it is a group, not an IP set".to_string()))
            .or_else(|| (!is_name(&plain)).then(|| NAMES.to_string()))
    }

    /// For an unknown alias.
    pub fn alias(&self, word: &str) -> Option<String> {
        if is_everything(word) {
            return Some("leave it out: a rule without it matches every address".to_string());
        }
        let plain = plain(word);
        self.invalid_aliases(&plain)
            .or_else(|| self.exact(&plain, NameKind::Alias))
            .or_else(|| self.exact(&plain, NameKind::Set))
            .or_else(|| self.of_sdn(&plain))
            .or_else(|| self.elsewhere(&plain, NameKind::Alias))
            .or_else(|| self.similar(&plain, NameKind::Alias))
            .or_else(|| self.similar(&plain, NameKind::Set))
            .or_else(|| Some("define it in [ALIASES]; host names are not looked up".to_string()))
    }

    /// For an entry of an IP set that is neither an address nor an alias.
    pub fn entry(&self, word: &str) -> Option<String> {
        let plain = plain(word.trim_start_matches('+'));
        if self.scopes.iter().any(|scope| NameKind::Set.is_in(scope.definitions, &plain))
            || self.sdn.contains(&plain)
            || word.starts_with('+')
        {
            let known = self.scopes.iter().any(|scope| NameKind::Alias.is_in(scope.definitions, &plain));
            return match known {
                true => Some(did_you_mean(plain)),
                false => Some("an IP set cannot contain another one: write its addresses".to_string()),
            };
        }
        if !is_name(&plain) {
            return address(word, Place::Entry);
        }
        self.invalid_aliases(&plain)
            .or_else(|| self.exact(&plain, NameKind::Alias))
            .or_else(|| self.elsewhere(&plain, NameKind::Alias))
            .or_else(|| self.similar(&plain, NameKind::Alias))
            .or_else(|| Some("define it in [ALIASES]; host names are not looked up".to_string()))
    }

    /// For a definition of an alias that is not `name address`.
    pub fn alias_line(&self, text: &str) -> Option<String> {
        let words: Vec<&str> = text.split([' ', '\t', '=', ',']).filter(|word| !word.is_empty()).collect();
        let (name, rest) = words.split_first()?;
        let name = bare(name).trim_end_matches(':');
        if !is_name(name) {
            let swapped = rest.first().filter(|other| rest.len() == 1 && is_name(other));
            return match swapped {
                Some(other) if crate::config::literal(name).is_ok() => {
                    Some(did_you_mean(format_args!("{other} {name}")))
                }
                _ => Some(NAMES.to_string()),
            };
        }
        match rest {
            [] => Some("write 'NAME ADDRESS'".to_string()),
            [value] => {
                let valid = address(value, Place::Alias).is_none() && crate::config::literal(value).is_ok();
                Some(if valid {
                    did_you_mean(format_args!("{name} {value}"))
                } else {
                    "write 'NAME ADDRESS'".to_string()
                })
            }
            [_, second, ..] if crate::config::literal(second).is_ok() => {
                Some("an alias is one address or network: use an IP set for several".to_string())
            }
            _ => Some("a comment begins with '#'".to_string()),
        }
    }

    /// For an unknown group.
    pub fn group(&self, word: &str) -> Option<String> {
        let plain = bare(word.split('(').next().unwrap_or(word)).trim_start_matches('+').to_ascii_lowercase();
        let known = |name: &str| self.groups.contains(&name);
        if known(&plain) && plain != word {
            return Some(did_you_mean(plain));
        }
        let near = nearest_name(&plain, self.groups.iter().copied()).filter(|found| *found != word);
        near.map(did_you_mean).or_else(|| {
            let is_set = self.scopes.iter().any(|scope| NameKind::Set.is_in(scope.definitions, &plain));
            is_set.then(|| "it is an IP set, not a group".to_string())
        })
    }

    /// For an interface of a guest's rule.
    pub fn device(&self, word: &str) -> Option<String> {
        let has = |netid: &str| self.devices.iter().any(|(known, _)| known == netid);
        let of_host = GuestDevice::parse(word).map(|device| format!("net{}", device.index));
        let digits = word.trim_start_matches(|one: char| !one.is_ascii_digit());
        let numbered = ["eth", "net", "ens", "NET", "Net"]
            .iter()
            .any(|kind| word.starts_with(kind))
            .then(|| format!("net{digits}"));
        let mut on_bridge =
            self.devices.iter().filter(|(_, bridge)| bridge.as_deref() == Some(word)).map(|(netid, _)| netid.clone());
        let bridge = on_bridge.next().filter(|_| on_bridge.next().is_none());
        let found = [of_host, numbered, bridge].into_iter().flatten().find(|netid| has(netid));
        let all = || self.devices.iter().map(|(netid, _)| netid.as_str()).collect::<Vec<_>>().join(", ");
        match found {
            Some(found) => Some(did_you_mean(found)),
            None if self.devices.is_empty() => Some("write the key of a network device, such as net0".to_string()),
            None => Some(format!("write a network device of the guest: {}", all())),
        }
    }

    /// The IP set of SDN with this name, or all addresses of the vnet with this name.
    fn of_sdn(&self, name: &str) -> Option<String> {
        let found = [name.to_string(), format!("{name}-all")].into_iter().find(|name| self.sdn.contains(name))?;
        Some(did_you_mean(format_args!("+sdn/{found}")))
    }

    /// That a definition with this name has an error.
    fn invalid_aliases(&self, name: &str) -> Option<String> {
        let place = |scope: &super::NameScope<'_>| {
            let line = self.invalid_aliases.get(&(scope.file.to_string(), name.to_string()))?;
            Some(format!("its definition in line {line} of {} has an error", file_name(scope.file)))
        };
        self.scopes.iter().find_map(place)
    }

    /// The definition with exactly this name, with its scope.
    fn exact(&self, name: &str, kind: NameKind) -> Option<String> {
        let scope = self.scopes.iter().position(|scope| kind.is_in(scope.definitions, name))?;
        // the first scope needs no prefix
        let prefix = if scope == 0 || !self.scopes[..scope].iter().any(|nearer| kind.is_in(nearer.definitions, name)) {
            ""
        } else {
            self.scopes[scope].prefix
        };
        Some(did_you_mean(format_args!("{}{prefix}{name}", kind.sign())))
    }

    /// An explanation that the name is defined in a file whose names cannot be used here.
    fn elsewhere(&self, name: &str, kind: NameKind) -> Option<String> {
        let mut files = self.others.iter().filter(|(_, definitions)| kind.is_in(definitions, name));
        let (file, _) = files.next()?;
        let more = if files.next().is_some() { " and others" } else { "" };
        let file = file_name(file);
        Some(format!("it is defined in {file}{more}, for that guest alone: define it in cluster.fw"))
    }

    /// A similar name, with its scope where that is needed.
    fn similar(&self, name: &str, kind: NameKind) -> Option<String> {
        let all = self.scopes.iter().flat_map(|scope| kind.names(scope.definitions));
        self.exact(nearest_name(name, all)?, kind)
    }
}

/// The syntax of names.
const NAMES: &str = "a name is a letter, then at least one more letter, digit, '_' or '-'";

/// A name without its scope, in lower case.
fn plain(word: &str) -> String {
    bare(word.rsplit('/').next().unwrap_or(word)).to_ascii_lowercase()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// For a name that no network interface can have.
pub fn interface(word: &str) -> Option<String> {
    let text = match word {
        _ if word.contains(',') => "one interface for each rule: write a rule for each of them",
        _ if word.contains(['+', '*']) => "no wildcards: write a rule for each interface",
        _ => return None,
    };
    Some(text.to_string())
}

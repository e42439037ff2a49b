//! Suggestions for addresses in rules, aliases and IP sets.
use super::words::{bare, did_you_mean};
use crate::config::{is_name, literal};
use crate::model::Literal;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::net::IpAddr;

/// The kind of line that contains an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `-source` or `-dest` of a rule.
    Rule,
    /// An alias.
    Alias,
    /// An entry of an IP set.
    Entry,
}

/// The address, range or list that was probably meant, if it is valid in such a line, or else an explanation.
pub fn address(word: &str, place: Place) -> Option<String> {
    let fits = |text: &String| text != word && fits(text, place);
    let candidates = [Some(bare(word).to_string()), list(word), range(word), wildcard(word), zone(word), masked(word)];
    if let Some(found) = candidates.into_iter().flatten().find(fits) {
        return Some(did_you_mean(found));
    }
    reason(word, place)
}

fn fits(text: &str, place: Place) -> bool {
    match (place, literal(text)) {
        (Place::Rule, Ok(_)) => true,
        (_, Ok(Literal::Nets(nets))) => {
            let [net] = nets.value[..] else { return false };
            text.contains(':') == net.addr().is_ipv6()
                && (text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok())
        }
        (_, Ok(Literal::Range(_)) | Err(_)) => false,
    }
}

/// A list without empty items and blanks.
fn list(word: &str) -> Option<String> {
    let parts: Vec<&str> = word.split([',', ';', ' ', '\t']).filter(|part| !part.is_empty()).map(bare).collect();
    (!parts.is_empty()).then(|| parts.join(","))
}

/// `10.0.0.1-9` and `10.0.0.1 - 10.0.0.9` with the whole last address and without blanks.
fn range(word: &str) -> Option<String> {
    let (first, last) = word.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let whole = match first.rsplit_once('.') {
        Some((network, _)) if !last.contains('.') => format!("{network}.{last}"),
        _ => last.to_string(),
    };
    Some(format!("{first}-{whole}"))
}

/// `10.0.0.*` and `10.0.0.x` as a network.
fn wildcard(word: &str) -> Option<String> {
    let parts: Vec<&str> = word.split('.').collect();
    let known = parts.iter().take_while(|part| part.parse::<u8>().is_ok()).count();
    let open = parts[known..].iter().all(|part| matches!(*part, "*" | "x"));
    (parts.len() == 4 && (1..4).contains(&known) && open).then(|| {
        let octets: Vec<&str> = parts[..known].iter().copied().chain(["0"; 4]).take(4).collect();
        format!("{}/{}", octets.join("."), known * 8)
    })
}

/// An IPv6 address without its zone.
fn zone(word: &str) -> Option<String> {
    word.split_once('%').map(|(address, _)| address.to_string())
}

/// A network with a dotted mask, or with omitted parts, written with its prefix length.
fn masked(word: &str) -> Option<String> {
    // a network in the usual spelling needs no suggestion
    let short = !word.contains('/') || word.parse::<IpNet>().is_ok();
    match literal(word).ok().filter(|_| !short)? {
        Literal::Nets(nets) => nets.value.first().filter(|_| nets.value.len() == 1).map(ToString::to_string),
        Literal::Range(_) => None,
    }
}

/// The explanation for a word that is not an address.
fn reason(word: &str, place: Place) -> Option<String> {
    let text = match word {
        _ if place == Place::Rule && is_everything(word) => {
            "leave it out: a rule without it matches every address".to_string()
        }
        _ if word.starts_with('!') && place == Place::Rule => {
            "a rule cannot exclude addresses: use an IP set with '!' entries".to_string()
        }
        _ if literal(word).is_err()
            && word.split_once('/').is_some_and(|(net, _)| literal(net).is_ok())
            && !word.contains(',') =>
        {
            "the length of a prefix is 0 to 32, in IPv6 0 to 128".to_string()
        }
        _ if is_mac(word) => {
            "a MAC address is not allowed here: the option macfilter of a guest checks them".to_string()
        }
        _ if has_port(word) => "write the port with -dport or -sport".to_string(),
        _ if word.contains(['+', ',']) && place == Place::Rule && literal(word).is_err() => list_reason(word),
        _ if word.contains(',') => "one address for each line".to_string(),
        _ if place != Place::Rule && word.contains(char::is_whitespace) => "a comment begins with '#'".to_string(),
        _ if place != Place::Rule && word.contains('-') && literal(word).is_ok() => networks(word)?,
        _ if is_host_name(word) => "host names are not looked up: write the address".to_string(),
        _ if matches!(place, Place::Entry) && matches!(word, "0.0.0.0/0" | "::/0") => {
            let halves = if word == "::/0" { ["::/1", "8000::/1"] } else { ["0.0.0.0/1", "128.0.0.0/1"] };
            format!("write its halves: {} and {}", halves[0], halves[1])
        }
        _ => return None,
    };
    Some(text)
}

/// Words that mean all addresses.
pub fn is_everything(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "any" | "all" | "*" | "0/0" | "anywhere")
}

fn is_mac(word: &str) -> bool {
    let pairs: Vec<&str> = word.split([':', '-']).collect();
    pairs.len() == 6 && pairs.iter().all(|pair| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn has_port(word: &str) -> bool {
    let port = word.rsplit_once(':').filter(|(before, _)| before.contains('.') || before.ends_with(']'));
    port.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn list_reason(word: &str) -> String {
    let parts = || word.split(',');
    if parts().any(|part| part.starts_with('+') || is_name(part.rsplit('/').next().unwrap_or(part))) {
        return "a list contains only addresses and networks: put them into an IP set, or write a rule for each"
            .to_string();
    }
    if parts().any(|part| part.contains('-')) {
        return "write a rule of its own for the range".to_string();
    }
    if parts().any(|part| part.contains(':')) && parts().any(|part| part.contains('.')) {
        return "write a rule for each family".to_string();
    }
    "write addresses and networks, separated by commas".to_string()
}

/// A range as networks.
fn networks(word: &str) -> Option<String> {
    let Literal::Range(range) = literal(word).ok()? else { return None };
    let nets: Vec<String> = match range.value {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Ipv4Subnets::new(first, last, 0).take(9).map(|net| net.to_string()).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Ipv6Subnets::new(first, last, 0).take(9).map(|net| net.to_string()).collect()
        }
        _ => return None,
    };
    let what = "a range is not allowed here: write its networks";
    Some(if nets.len() > 8 { what.to_string() } else { format!("{what} {}", nets.join(", ")) })
}

fn is_host_name(word: &str) -> bool {
    let labels = || word.split('.');
    let valid =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    word.contains('.') && labels().all(valid) && word.contains(|one: char| one.is_ascii_alphabetic())
}

//! Addresses, networks, ranges and lists of them in rules, aliases and IP sets.
use super::sections::cut;
use crate::model::{Family, Literal, Spelled, printable};
use crate::node::name_databases::decimal;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parses the value of `-source` or `-dest` that is neither a set nor an alias.
pub fn literal(text: &str) -> Result<Literal, String> {
    let is_list = cut(text, b',').is_some();
    if is_list && text.split(',').any(str::is_empty) {
        return Err("extraneous commas in list".to_string());
    }
    let spelled = || format!("invalid IP address: '{}'", printable(text));
    if let Some((first, last)) = cut(text, b'-') {
        if is_list {
            return Err("you can't use a range in a list".to_string());
        }
        let range = range(first, last)?;
        return Spelled::new(text, range).map(|range| Literal::Range(range.into())).ok_or_else(spelled);
    }
    let nets = if is_list { text.split(',').map(net).collect::<Result<_, _>>()? } else { vec![net(text)?] };
    let mixed = nets.iter().any(|net| Family::of(net.addr()) != Family::of(nets[0].addr()));
    if mixed {
        return Err(format!("detected mixed ipv4/ipv6 addresses in address list '{}'", printable(text)));
    }
    Spelled::new(text, nets).map(|nets| Literal::Nets(nets.into())).ok_or_else(spelled)
}

fn range(first: &str, last: &str) -> Result<(IpAddr, IpAddr), String> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| invalid(text));
    let (first, last) = (address(first)?, address(last)?);
    if first.is_ipv4() != last.is_ipv4() {
        return Err(format!("detected mixed ipv4/ipv6 addresses in range '{first}-{last}'"));
    }
    if first > last {
        return Err(format!("invalid IP address: backwards range '{first}-{last}', did you mean '{last}-{first}'?"));
    }
    Ok((first, last))
}

fn invalid(text: &str) -> String {
    format!("invalid IP address: '{}' is neither an address nor a network", printable(text))
}

/// Parses an address or network in iptables syntax: CIDR, a dotted mask, and fewer than four parts before a prefix.
fn net(text: &str) -> Result<IpNet, String> {
    cidr(text).or_else(|| loose_v4(text)).ok_or_else(|| invalid(text))
}

fn loose_v4(text: &str) -> Option<IpNet> {
    let (address, mask) = text.split_once('/')?;
    let mut octets = [0; 4];
    let parts: Vec<_> = address.split('.').collect();
    if parts.len() > 4 {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        *octet = u8::try_from(decimal(part).filter(|_| !part.is_empty())?).ok()?;
    }
    let prefix = match mask.parse::<Ipv4Addr>() {
        Ok(mask) => ipnet::ip_mask_to_prefix(IpAddr::V4(mask)).ok()?,
        Err(_) => prefix(mask, 32)?,
    };
    Ipv4Net::new(Ipv4Addr::from(octets), prefix).ok().map(IpNet::V4)
}

fn prefix(text: &str, longest: u8) -> Option<u8> {
    let number = decimal(text).filter(|_| !text.is_empty())?;
    u8::try_from(number).ok().filter(|prefix| *prefix <= longest)
}

/// Parses an address, or a network as address and prefix length; host bits are kept.
pub fn cidr(text: &str) -> Option<IpNet> {
    let (address, length) = match cut(text, b'/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    if cut(address, b':').is_some() {
        let address: Ipv6Addr = address.parse().ok()?;
        let length = length.map_or(Some(128), |length| prefix(length, 128))?;
        Ipv6Net::new(address, length).ok().map(IpNet::V6)
    } else {
        let address: Ipv4Addr = address.parse().ok()?;
        let length = length.map_or(Some(32), |length| prefix(length, 32))?;
        Ipv4Net::new(address, length).ok().map(IpNet::V4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_rules_accept() {
        for text in [
            "10.0.0.1",
            "10.0.0.0/8",
            "192.168.1.155/24",
            "10.0.0.0/255.255.255.0",
            "10/8",
            "10.1/255.255.0.0",
            "0.0.0.0/0",
            "10.0.0.1,10.2.0.0/16",
            "10.0.0.1-10.0.0.9",
            "10.0.0.1-10.0.0.1",
            "fd00::1",
            "FD00::/8",
            "fd00::1-fd00::ff",
            "::ffff:1.2.3.4",
            "::/0",
        ] {
            let read = literal(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let spelled = match read {
                Literal::Nets(nets) => nets.to_string(),
                Literal::Range(range) => range.to_string(),
            };
            assert_eq!(spelled, text);
        }
    }

    #[test]
    fn parameters_that_rules_refuse() {
        for (text, expected) in [
            ("10.0.0.300", "invalid IP address: "),
            ("10.0.0", "invalid IP address: "),
            ("10", "invalid IP address: "),
            ("010.0.0.1", "invalid IP address: "),
            ("1.2.3.4/33", "invalid IP address: "),
            ("1.2.3.4/08", "invalid IP address: "),
            ("1.2.3.4/", "invalid IP address: "),
            ("1.2.3.4.5/8", "invalid IP address: "),
            ("10.0.0.0/255.0.255.0", "invalid IP address: "),
            ("fe80::1%eth0", "invalid IP address: "),
            ("", "invalid IP address: "),
            (",", "extraneous commas in list"),
            ("10.0.0.1,", "extraneous commas in list"),
            ("10.0.0.1,,10.0.0.2", "extraneous commas in list"),
            ("10.0.0.1,fd00::1", "detected mixed ipv4/ipv6 addresses in address list"),
            ("10.0.0.1-fd00::1", "detected mixed ipv4/ipv6 addresses in range"),
            ("10.0.0.9-10.0.0.1", "invalid IP address: backwards range"),
            ("10.0.0.0/8-10.0.0.1", "invalid IP address: "),
            ("10.0.0.1-10.0.0.5,10.0.0.9", "you can't use a range in a list"),
            ("10.0.0.1;reboot", "invalid IP address: "),
        ] {
            let error = literal(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}

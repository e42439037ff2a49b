//! Ports in rules and macros.
use super::sections::cut;
use crate::model::{Ports, Spelled, printable};
use crate::node::name_databases::{Databases, decimal};

/// The maximum number of ports in a list in the grammar of Proxmox VE; a range counts as two.
const MAX_PORTS: usize = 15;

/// Whether it stands for any protocol: `ip` or 0.
pub fn is_any(protocol: &str) -> bool {
    matches!(protocol, "0" | "ip")
}

/// The protocols with ports by number, with their names in the services database.
fn with_ports(protocol: u8) -> Option<&'static str> {
    match protocol {
        6 => Some("tcp"),
        17 => Some("udp"),
        33 => Some("dccp"),
        132 => Some("sctp"),
        136 => Some("udplite"),
        _ => None,
    }
}

/// Parses the value of `-dport` or `-sport` for a protocol.
pub fn ports(text: &str, protocol: &Spelled<u8>, databases: &Databases) -> Result<Ports, String> {
    let Some(name) = with_ports(protocol.value) else {
        return Err(format!("protocol '{protocol}' does not support ports"));
    };
    if cut(text, b',').is_none() {
        let one = port(text, name, databases)?;
        return Spelled::new(text, one).map(Ports::One).ok_or_else(|| invalid(text));
    }
    let parts = || text.split(',');
    let ports: Vec<_> = parts().map(|part| port(part, name, databases)).collect::<Result<_, _>>()?;
    let count: usize = parts().map(|part| if part.contains(':') { 2 } else { 1 }).sum();
    if count > MAX_PORTS {
        return Err(format!("too many entries in port list (> {MAX_PORTS} numbers)"));
    }
    Spelled::new(text, ports).map(|ports| Ports::Several(ports.into())).ok_or_else(|| invalid(text))
}

fn invalid(text: &str) -> String {
    format!("invalid port '{}'", printable(text))
}

fn port(text: &str, protocol: &str, databases: &Databases) -> Result<(u16, u16), String> {
    let number = |text: &str| {
        let number = if text.is_empty() { None } else { decimal(text) };
        number.and_then(|number| u16::try_from(number).ok())
    };
    if let Some((first, last)) = cut(text, b':') {
        let first = number(first).ok_or_else(|| invalid(text))?;
        let last = number(last).ok_or_else(|| invalid(text))?;
        if first > last {
            return Err(format!("backwards range '{text}' not allowed, did you mean '{last}:{first}'?"));
        }
        return Ok((first, last));
    }
    let one = number(text).or_else(|| databases.service(text, protocol)).ok_or_else(|| invalid(text))?;
    Ok((one, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, protocol: &str) -> Result<Ports, String> {
        let databases = Databases::parse("tcp 6 TCP\nudplite 136\nesp 50\n", "http 80/tcp\nntp 123/udp\n", "");
        let protocol = Spelled::new(protocol, databases.protocol(protocol).unwrap()).unwrap();
        ports(text, &protocol, &databases)
    }

    #[test]
    fn ports_of_rules() {
        for (text, several) in
            [("80", false), ("0", false), ("80:85", false), ("http", false), ("80,443", true), ("http,8000:8080", true)]
        {
            let read = parse(text, "tcp").unwrap();
            assert_eq!(matches!(read, Ports::Several(_)), several, "{text}");
        }
        assert!(matches!(parse("80", "udplite"), Ok(Ports::One(_))));
        assert!(parse("1,2,3,4,5,6,7,8,9,10,11,12,13,14:15", "6").is_ok());
    }

    #[test]
    fn errors_of_ports() {
        for (text, protocol, error) in [
            ("70000", "tcp", "invalid port '70000'"),
            ("80,,81", "tcp", "invalid port ''"),
            ("010", "tcp", "invalid port '010'"),
            ("ntp", "tcp", "invalid port 'ntp'"),
            ("ssh:http", "tcp", "invalid port 'ssh:http'"),
            ("1:2:3", "tcp", "invalid port '1:2:3'"),
            ("90:80", "tcp", "backwards range '90:80' not allowed, did you mean '80:90'?"),
            ("80", "esp", "protocol 'esp' does not support ports"),
            ("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", "tcp", "too many entries in port list (> 15 numbers)"),
            ("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:16", "tcp", "too many entries in port list (> 15 numbers)"),
        ] {
            assert_eq!(parse(text, protocol).unwrap_err(), error);
        }
    }
}

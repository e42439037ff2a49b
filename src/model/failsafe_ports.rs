//! Ports of the node that are open regardless of the configuration: the option `--failsafe` of the daemon.
use ipnet::IpNet;
use std::fmt;
use std::str::FromStr;

/// The protocols that have ports, by name and number.
const PROTOCOLS: [(&str, u8); 5] = [("tcp", 6), ("udp", 17), ("dccp", 33), ("sctp", 132), ("udplite", 136)];

/// Ports of the node that are always open, for all sources or for a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPorts {
    /// The protocol's name.
    pub protocol: &'static str,
    /// The protocol's number.
    pub number: u8,
    /// The first and the last port.
    pub ports: (u16, u16),
    /// The network of allowed sources; `None` allows all.
    pub network: Option<IpNet>,
}

/// All open ports, in the order in which they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failsafe(pub Vec<OpenPorts>);

impl FromStr for OpenPorts {
    type Err = String;

    /// Parses `PROTO/PORT[@NETWORK]`, such as `tcp/22@10.0.0.0/8`; the port may be a range, `5900:5999`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (what, network) = text.split_once('@').map_or((text, None), |(what, network)| (what, Some(network)));
        let (protocol, ports) = what.split_once('/').ok_or_else(|| format!("'{text}' is not PROTO/PORT[@NETWORK]"))?;
        let known = PROTOCOLS.iter().find(|(name, _)| *name == protocol);
        let names = || PROTOCOLS.map(|(name, _)| name).join(", ");
        let (protocol, number) = *known.ok_or_else(|| format!("'{protocol}' is not one of {}", names()))?;
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (first, last) = ports.split_once(':').unwrap_or((ports, ports));
        let ports = port(first).zip(port(last)).filter(|(first, last)| first <= last);
        let ports = ports.ok_or_else(|| format!("'{}' in '{text}' is not a port or a range of ports", what))?;
        let net = |text: &str| {
            let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
            net.map(|net| net.trunc()).ok_or_else(|| format!("'{text}' is not an address or a network"))
        };
        Ok(OpenPorts { protocol, number, ports, network: network.map(net).transpose()? })
    }
}

impl fmt::Display for OpenPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.ports;
        write!(f, "{}/{first}", self.protocol)?;
        if first != last {
            write!(f, ":{last}")?;
        }
        self.network.map_or(Ok(()), |network| write!(f, "@{network}"))
    }
}

impl FromStr for Failsafe {
    type Err = String;

    /// Parses open ports separated by commas; an empty text has none.
    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(str::parse).collect::<Result<_, _>>().map(Failsafe)
    }
}

impl fmt::Display for Failsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_ports_are_parsed_and_formatted() {
        for (text, written) in [
            ("tcp/22@10.0.0.0/8,tcp/8006@10.0.0.0/8", "tcp/22@10.0.0.0/8,tcp/8006@10.0.0.0/8"),
            ("tcp/22", "tcp/22"),
            (" udp/5404:5412@fd00::/64 , sctp/9", "udp/5404:5412@fd00::/64,sctp/9"),
            ("tcp/22@10.1.2.3", "tcp/22@10.1.2.3/32"),
            ("tcp/22@10.1.2.3/8", "tcp/22@10.0.0.0/8"),
            ("", ""),
        ] {
            assert_eq!(text.parse::<Failsafe>().unwrap().to_string(), written, "{text}");
        }
        for bad in
            ["22", "tcp", "icmp/8", "tcp/0", "tcp/70000", "tcp/9:8", "tcp/22@", "tcp/22@lan", "tcp/22@10.0.0.0/40"]
        {
            assert!(bad.parse::<Failsafe>().is_err(), "{bad}");
        }
    }
}

//! MAC addresses.
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A MAC address (EUI-48).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The link-local IPv6 address for this MAC address (modified EUI-64, RFC 4291 appendix A).
    #[must_use]
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
    }
}

impl FromStr for MacAddr {
    type Err = ();

    /// Parses six pairs of hexadecimal digits separated by colons.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(())?;
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        parts.next().is_none().then_some(MacAddr(octets)).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_pairs_of_digits() {
        assert_eq!("BC:24:01:00:0f:30".parse(), Ok(MacAddr([0xbc, 0x24, 1, 0, 0x0f, 0x30])));
        for bad in ["", "bc:24", "bc:24:01:00:0f:3", "bc:24:01:00:0f:30:1", "+c:24:01:00:0f:30"] {
            assert_eq!(bad.parse::<MacAddr>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn link_local_addresses_are_derived_from_the_mac() {
        let mac: MacAddr = "BC:24:11:10:20:30".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::be24:11ff:fe10:2030");
    }
}

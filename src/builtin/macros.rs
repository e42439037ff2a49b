//! The macros: named lists of rules with protocol and ports.

/// A rule of a macro. The rule that uses the macro may set the options that this one leaves unset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacroRule {
    /// A name or number from `/etc/protocols`.
    pub proto: &'static str,
    /// Source ports, in the format of the rule option `sport`.
    pub sport: Option<&'static str>,
    /// Destination ports, in the format of the rule option `dport`.
    pub dport: Option<&'static str>,
    /// An ICMP type, in the format of the rule option `icmp-type`.
    pub icmp_type: Option<&'static str>,
}

/// A macro. For a family without rules it generates nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Macro {
    /// Its name; case-insensitive in rules.
    pub name: &'static str,
    /// Its rules for IPv4.
    pub v4: &'static [MacroRule],
    /// Its rules for IPv6.
    pub v6: &'static [MacroRule],
}

const fn proto(proto: &'static str) -> MacroRule {
    MacroRule { proto, sport: None, dport: None, icmp_type: None }
}

const fn port(name: &'static str, dport: &'static str) -> MacroRule {
    MacroRule { dport: Some(dport), ..proto(name) }
}

const fn ports(name: &'static str, sport: &'static str, dport: &'static str) -> MacroRule {
    MacroRule { sport: Some(sport), dport: Some(dport), ..proto(name) }
}

const fn icmp(name: &'static str, icmp_type: &'static str) -> MacroRule {
    MacroRule { icmp_type: Some(icmp_type), ..proto(name) }
}

const fn same(name: &'static str, rules: &'static [MacroRule]) -> Macro {
    Macro { name, v4: rules, v6: rules }
}

const fn per_family(name: &'static str, v4: &'static [MacroRule], v6: &'static [MacroRule]) -> Macro {
    Macro { name, v4, v6 }
}

/// The macro with this name (case-insensitive).
#[must_use]
pub fn find(name: &str) -> Option<&'static Macro> {
    MACROS.iter().find(|one| one.name.eq_ignore_ascii_case(name))
}

/// All macros.
#[rustfmt::skip]
pub const MACROS: &[Macro] = &[
    same("Amanda", &[port("udp", "10080"), port("tcp", "10080")]),
    same("Auth", &[port("tcp", "113")]),
    same("BGP", &[port("tcp", "179")]),
    same("BitTorrent", &[port("tcp", "6881:6889"), port("udp", "6881")]),
    same("BitTorrent32", &[port("tcp", "6881:6999"), port("udp", "6881")]),
    same("CVS", &[port("tcp", "2401")]),
    same("Ceph", &[port("tcp", "6789"), port("tcp", "3300"), port("tcp", "6800:7300")]),
    same("Citrix", &[port("tcp", "1494"), port("udp", "1604"), port("tcp", "2598")]),
    same("DAAP", &[port("tcp", "3689"), port("udp", "3689")]),
    same("DCC", &[port("tcp", "6277")]),
    same("DHCPfwd", &[ports("udp", "67:68", "67:68")]),
    same("DNS", &[port("udp", "53"), port("tcp", "53")]),
    same("Distcc", &[port("tcp", "3632")]),
    same("FTP", &[port("tcp", "21")]),
    same("Finger", &[port("tcp", "79")]),
    same("GNUnet", &[port("tcp", "2086"), port("udp", "2086"), port("tcp", "1080"), port("udp", "1080")]),
    same("GRE", &[proto("47")]),
    same("Git", &[port("tcp", "9418")]),
    same("HKP", &[port("tcp", "11371")]),
    same("HTTP", &[port("tcp", "80")]),
    same("HTTPS", &[port("tcp", "443")]),
    same("ICPV2", &[port("udp", "3130")]),
    same("ICQ", &[port("tcp", "5190")]),
    same("IMAP", &[port("tcp", "143")]),
    same("IMAPS", &[port("tcp", "993")]),
    same("IPIP", &[proto("94")]),
    same("IPsec", &[ports("udp", "500", "500"), proto("50")]),
    same("IPsecah", &[ports("udp", "500", "500"), proto("51")]),
    same("IPsecnat", &[port("udp", "500"), port("udp", "4500"), proto("50")]),
    same("IRC", &[port("tcp", "6667")]),
    same("Jetdirect", &[port("tcp", "9100")]),
    same("L2TP", &[port("udp", "1701")]),
    same("LDAP", &[port("tcp", "389")]),
    same("LDAPS", &[port("tcp", "636")]),
    same("MDNS", &[port("udp", "5353")]),
    same("MSNP", &[port("tcp", "1863")]),
    same("MSSQL", &[port("tcp", "1433")]),
    same("Mail", &[port("tcp", "25"), port("tcp", "465"), port("tcp", "587")]),
    same("Munin", &[port("tcp", "4949")]),
    same("MySQL", &[port("tcp", "3306")]),
    same("NNTP", &[port("tcp", "119")]),
    same("NNTPS", &[port("tcp", "563")]),
    same("NTP", &[port("udp", "123")]),
    same("OSPF", &[proto("89")]),
    same("OpenVPN", &[port("udp", "1194")]),
    same("PCA", &[port("udp", "5632"), port("tcp", "5631")]),
    same("PMG", &[port("tcp", "8006")]),
    same("POP3", &[port("tcp", "110")]),
    same("POP3S", &[port("tcp", "995")]),
    same("PPtP", &[proto("47"), port("tcp", "1723")]),
    per_family("Ping", &[icmp("icmp", "echo-request")], &[icmp("icmpv6", "echo-request")]),
    same("PostgreSQL", &[port("tcp", "5432")]),
    same("Printer", &[port("tcp", "515")]),
    same("RDP", &[port("tcp", "3389")]),
    same("RIP", &[port("udp", "520")]),
    same("RNDC", &[port("tcp", "953")]),
    same("Razor", &[port("tcp", "2703")]),
    same("Rdate", &[port("tcp", "37")]),
    same("Rsync", &[port("tcp", "873")]),
    same("SANE", &[port("tcp", "6566")]),
    same("SMB", &[port("udp", "135,445"), port("udp", "137:139"), ports("udp", "137", "1024:65535"), port("tcp", "135,139,445")]),
    same("SMBswat", &[port("tcp", "901")]),
    same("SMTP", &[port("tcp", "25")]),
    same("SMTPS", &[port("tcp", "465")]),
    same("SNMP", &[port("udp", "161:162"), port("tcp", "161")]),
    same("SPAMD", &[port("tcp", "783")]),
    same("SPICEproxy", &[port("tcp", "3128")]),
    same("SSH", &[port("tcp", "22")]),
    same("SVN", &[port("tcp", "3690")]),
    same("SixXS", &[port("tcp", "3874"), port("udp", "3740"), proto("41"), port("udp", "5072,8374")]),
    same("Squid", &[port("tcp", "3128")]),
    same("Submission", &[port("tcp", "587")]),
    same("Syslog", &[port("udp", "514"), port("tcp", "514")]),
    same("TFTP", &[port("udp", "69")]),
    same("Telnet", &[port("tcp", "23")]),
    same("Telnets", &[port("tcp", "992")]),
    same("Time", &[port("tcp", "37")]),
    per_family("Trcrt", &[port("udp", "33434:33524"), icmp("icmp", "echo-request")], &[port("udp", "33434:33524"), icmp("icmpv6", "echo-request")]),
    same("VNC", &[port("tcp", "5900:5999")]),
    same("VNCL", &[port("tcp", "5500")]),
    same("Web", &[port("tcp", "80"), port("tcp", "443")]),
    same("Webcache", &[port("tcp", "8080")]),
    same("Webmin", &[port("tcp", "10000")]),
    same("Whois", &[port("tcp", "43")]),
    per_family("DHCPv6", &[], &[ports("udp", "546:547", "546:547")]),
    per_family("NeighborDiscovery", &[], &[icmp("icmpv6", "router-solicitation"), icmp("icmpv6", "router-advertisement"), icmp("icmpv6", "neighbor-solicitation"), icmp("icmpv6", "neighbor-advertisement")]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_in_any_case() {
        let mut names: Vec<_> = MACROS.iter().map(|one| one.name.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), MACROS.len());
        assert_eq!(find("HtTpS").unwrap().name, "HTTPS");
        assert_eq!(find("nope"), None);
    }
}

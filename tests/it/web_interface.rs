//! Files that the web interface and the API write are accepted without reports.
use crate::trees::{facts, reports, tree};
use pve_firewall::config::known_options;
use pve_firewall::iptables::compile::compile;
use pve_firewall::model::FileKind;
use std::collections::BTreeSet;

const BOOLEAN: &[&str] = &["0", "1"];
const LEVELS: &[&str] = &["nolog", "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const POLICY: &[&str] = &["ACCEPT", "DROP", "REJECT"];

/// Every option with the values that a form can give it.
const OPTIONS: &[(FileKind, &str, &[&str])] = &[
    (FileKind::Cluster, "ebtables", BOOLEAN),
    (FileKind::Cluster, "enable", &["0", "1", "1790000100"]),
    (
        FileKind::Cluster,
        "log_ratelimit",
        &[
            "enable=0",
            "enable=1",
            "1",
            "0",
            "burst=50,enable=1,rate=20/minute",
            "burst=5,enable=0,rate=1/second",
            "burst=9,enable=1",
            "enable=1,rate=3/hour",
            "1,burst=10,rate=8/day",
        ],
    ),
    (FileKind::Cluster, "policy_forward", &["ACCEPT", "DROP"]),
    (FileKind::Cluster, "policy_in", POLICY),
    (FileKind::Cluster, "policy_out", POLICY),
    (FileKind::Host, "enable", BOOLEAN),
    (FileKind::Host, "log_level_forward", LEVELS),
    (FileKind::Host, "log_level_in", LEVELS),
    (FileKind::Host, "log_level_out", LEVELS),
    (FileKind::Host, "log_nf_conntrack", BOOLEAN),
    (FileKind::Host, "ndp", BOOLEAN),
    (FileKind::Host, "nf_conntrack_allow_invalid", BOOLEAN),
    (
        FileKind::Host,
        "nf_conntrack_helpers",
        &["", "amanda", "amanda,ftp,irc,netbios-ns,pptp,sane,sip,snmp,tftp", "tftp,ftp"],
    ),
    (FileKind::Host, "nf_conntrack_max", &["32768", "262144", "1048576"]),
    (FileKind::Host, "nf_conntrack_tcp_timeout_established", &["7875", "432000"]),
    (FileKind::Host, "nf_conntrack_tcp_timeout_syn_recv", &["30", "60"]),
    (FileKind::Host, "nftables", BOOLEAN),
    (FileKind::Host, "nosmurfs", BOOLEAN),
    (FileKind::Host, "protection_limit", &["100"]),
    (FileKind::Host, "protection_synflood", BOOLEAN),
    (FileKind::Host, "protection_synflood_burst", &["1", "1000"]),
    (FileKind::Host, "protection_synflood_rate", &["1", "200"]),
    (FileKind::Host, "smurf_log_level", LEVELS),
    (FileKind::Host, "tcp_flags_log_level", LEVELS),
    (FileKind::Host, "tcpflags", BOOLEAN),
    (FileKind::Guest, "dhcp", BOOLEAN),
    (FileKind::Guest, "enable", BOOLEAN),
    (FileKind::Guest, "ipfilter", BOOLEAN),
    (FileKind::Guest, "ips", BOOLEAN),
    (FileKind::Guest, "ips_queues", &["0", "3", "0:3"]),
    (FileKind::Guest, "layer2_protocols", &["ARP", "IPv4,IPv6,ARP", "802_1Q", "0800,86DD"]),
    (FileKind::Guest, "log_level_in", LEVELS),
    (FileKind::Guest, "log_level_out", LEVELS),
    (FileKind::Guest, "macfilter", BOOLEAN),
    (FileKind::Guest, "ndp", BOOLEAN),
    (FileKind::Guest, "policy_in", POLICY),
    (FileKind::Guest, "policy_out", POLICY),
    (FileKind::Guest, "radv", BOOLEAN),
    (FileKind::Vnet, "enable", BOOLEAN),
    (FileKind::Vnet, "log_level_forward", LEVELS),
    (FileKind::Vnet, "policy_forward", &["ACCEPT", "DROP"]),
];

/// A file of each kind, of a VM and of a container.
const FILES: [(FileKind, &str); 5] = [
    (FileKind::Cluster, "firewall/cluster.fw"),
    (FileKind::Host, "nodes/n1/host.fw"),
    (FileKind::Guest, "firewall/100.fw"),
    (FileKind::Guest, "firewall/200.fw"),
    (FileKind::Vnet, "sdn/firewall/vnet0.fw"),
];

/// Definitions that the rules of all files refer to.
const DEFINITIONS: &str = "[ALIASES]\n\nlan 10.0.0.0/8 # the LAN\nlan6 fd00::/8\n\n[IPSET web] # servers\n\n10.0.0.1\nlan\n\n[group web] # \
                           of the web servers\n\nIN HTTP(ACCEPT) -log nolog\n\n";

/// Checks that there is no report with this file in the tree, with Unix and with DOS line ends.
#[track_caller]
fn accepted(path: &str, text: &str) {
    for text in
        [text.to_string(), text.replace('\n', "\r\n"), text.replace('\n', "  \t\n"), text.trim_end().to_string()]
    {
        // the definitions are in cluster.fw, unless that is the checked file
        let cluster = format!("[OPTIONS]\n\nenable: 1\n\n{DEFINITIONS}");
        let mut files = vec![
            ("firewall/cluster.fw", cluster.as_str()),
            ("firewall/100.fw", "[OPTIONS]\n\nenable: 1\n\n"),
            ("firewall/200.fw", "[OPTIONS]\n\nenable: 1\n\n"),
            ("nodes/n1/qemu-server/100.conf", "net0: virtio=BC:24:11:00:0A:01,bridge=vmbr0,firewall=1\n"),
            (
                "nodes/n1/lxc/200.conf",
                "net0: name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:00:0A:02,ip=dhcp,type=veth\n",
            ),
        ];
        files.retain(|(known, _)| *known != path);
        files.push((path, text.as_str()));
        assert_eq!(reports(&compile(&tree(&files), &facts())), [""; 0], "{path}: {text:?}");
    }
}

fn paths(kind: FileKind) -> impl Iterator<Item = &'static str> {
    FILES.into_iter().filter(move |(of, _)| *of == kind).map(|(_, path)| path)
}

#[test]
fn every_option_with_every_value_is_accepted() {
    for kind in [FileKind::Cluster, FileKind::Host, FileKind::Guest, FileKind::Vnet] {
        let known: BTreeSet<&str> = known_options(kind).iter().map(|known| known.key).collect();
        let tried: BTreeSet<&str> = OPTIONS.iter().filter(|(of, ..)| *of == kind).map(|(_, key, _)| *key).collect();
        assert_eq!(tried, known, "{kind:?}");
    }
    for (kind, key, values) in OPTIONS {
        for (path, value) in paths(*kind).flat_map(|path| values.iter().map(move |value| (path, value))) {
            accepted(path, &format!("[OPTIONS]\n\n{key}: {value}\n\n"));
        }
    }
}

#[test]
fn all_options_of_a_file_together_are_accepted() {
    for (kind, path) in FILES {
        let of_kind = OPTIONS.iter().filter(|(of, ..)| *of == kind);
        let lines: String = of_kind.map(|(_, key, values)| format!("{key}: {}\n", values.last().unwrap())).collect();
        accepted(path, &format!("# digest: 2b0c5c2e3d\n[OPTIONS]\n\n{lines}\n[RULES]\n\n"));
    }
}

/// The parameters of rules, in the order in which they are written.
const PARAMETERS: &[&str] = &[
    "",
    " -log nolog",
    " -log emerg",
    " -log warning",
    " -source 10.0.0.1 -log nolog",
    " -source 10.0.0.0/8 -dest 10.1.2.3",
    " -source 10.0.0.1-10.0.0.9",
    " -source 10.0.0.1,10.0.0.2,10.2.0.0/16 -p tcp -log info",
    " -source fd00::1 -dest fd00::/64 -p udp",
    " -source fd00::1-fd00::9",
    " -source +web",
    " -source +dc/web -dest dc/lan",
    " -source dc/lan6",
    " -source lan",
    " -dest 10.0.0.1 -p tcp -dport 22",
    " -p tcp -dport 80,443,8000:8100 -sport 1024:65535 -log nolog",
    " -p udp -dport domain",
    " -p tcp -dport http,https",
    " -p sctp -sport 7",
    " -p icmp -icmp-type echo-request -log nolog",
    " -p icmp -icmp-type any",
    " -p icmp -dport echo-reply",
    " -p icmpv6 -icmp-type packet-too-big",
    " -p ipv6-icmp -icmp-type 128",
    " -p igmp",
    " -p 47",
];

/// The comments: those with several signs, with a percent sign, in UTF-8.
const COMMENTS: &[&str] = &["", " # a comment", " # a # b -p tcp", " # 100%25 für das Büro – 東京", " #", " # [RULES]"];

#[test]
fn every_form_of_a_rule_is_accepted() {
    for (kind, path) in FILES {
        let directions: &[&str] = match kind {
            FileKind::Cluster | FileKind::Host => &["IN", "OUT", "FORWARD"],
            FileKind::Guest => &["IN", "OUT"],
            FileKind::Vnet => &["FORWARD"],
        };
        let mut lines = String::new();
        for (direction, parameters) in directions.iter().flat_map(|one| PARAMETERS.iter().map(move |more| (one, more)))
        {
            let interface = match kind {
                FileKind::Cluster | FileKind::Host => " -i vmbr0",
                FileKind::Guest => " -i net0",
                FileKind::Vnet => "",
            };
            for (off, action, interface) in
                [("", "ACCEPT", ""), ("|", "DROP", ""), ("", "DROP", interface), ("|", "ACCEPT", interface)]
            {
                // the interface of a FORWARD rule has no effect
                let interface = if *direction == "FORWARD" { "" } else { interface };
                let comment = COMMENTS[lines.len() % COMMENTS.len()];
                lines += &format!("{off}{direction} {action}{interface}{parameters}{comment}\n");
            }
        }
        for macro_rule in
            ["SSH(ACCEPT)", "Ping(DROP)", "DNS(ACCEPT) -source 10.0.0.1", "DHCPv6(ACCEPT)", "HTTPS(DROP) -dest +dc/web"]
        {
            lines += &format!("{} {macro_rule} -log nolog # x\n|{} {macro_rule}\n", directions[0], directions[0]);
        }
        if kind != FileKind::Vnet {
            lines += "IN REJECT -log nolog\nOUT SMTP(REJECT)\n";
        }
        lines += "GROUP web\n|GROUP web\nGROUP web # all\n";
        if kind != FileKind::Vnet {
            let interface = if kind == FileKind::Guest { "net0" } else { "vmbr0" };
            lines += &format!("GROUP web -i {interface} # x\n|GROUP web -i {interface}\n");
        }
        let definitions = if kind == FileKind::Cluster { DEFINITIONS } else { "" };
        let options = if kind == FileKind::Cluster { "[OPTIONS]\n\nenable: 1\n\n" } else { "" };
        accepted(path, &format!("{options}{definitions}[RULES]\n\n{lines}\n"));
    }
}

#[test]
fn every_form_of_aliases_sets_and_groups_is_accepted() {
    let aliases = "[ALIASES]\n\nfour 10.0.0.1\nFour-Net 10.0.0.0/8 # a network\nsix fd00::1 # für uns\nsix_net fd00::/64\nhost4 192.168.1.7/24\n\
                   local_network 192.168.7.0/24 # ours\n\n";
    let sets = "[IPSET aa] # one # two\n\n10.0.0.1\n!10.0.0.2 # not this one\n10.1.0.0/16\nfd00::1\nfour # an alias\n!six\ndc/lan\n\n[IPSET Bb-_9]\n\n\n\
                [IPSET ipfilter-net0] # its own\n\n10.0.0.1\nfd00::1\n\n";
    for path in paths(FileKind::Guest) {
        accepted(path, &format!("[OPTIONS]\n\nenable: 1\n\n{aliases}{sets}[RULES]\n\n"));
        accepted(path, "[OPTIONS]\n\n\n[ALIASES]\n\n\n[IPSET aa]\n\n\n[RULES]\n\n\n");
    }
    let cluster = format!(
        "[OPTIONS]\n\nenable: 1\n\n{}{}[IPSET blacklist]\n\n192.0.2.1 # bad\n\n[IPSET management] # us\n\nlocal_network\n!10.0.0.7\n\n[RULES]\n\n\
         GROUP empty\n\n[group Empty]\n\n\n[group gg] # of all # x\n\nIN ACCEPT -source +aa -log nolog\n|OUT REJECT\nFORWARD DROP -p tcp\n\n",
        aliases.replace("local_network", "lan 10.0.0.0/8\nlocal_network"),
        sets
    );
    accepted("firewall/cluster.fw", &cluster);
    for (kind, path) in FILES {
        // without any section, with all of them empty, and with a byte order mark
        accepted(path, "\n");
        accepted(path, "# written by hand\n\n");
        accepted(path, "[OPTIONS]\n\n\n[RULES]\n\n\n");
        accepted(path, "\u{feff}[OPTIONS] # x\n[RULES]#\n");
        assert_ne!(paths(kind).count(), 0);
    }
}

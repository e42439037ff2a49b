//! Configuration trees with valid lines, almost valid lines, text that could inject commands into a script, and any bytes.
use proptest::collection::vec;
use proptest::prelude::*;
use pve_firewall::inputs::{File, Tree};

const PATHS: [&str; 15] = [
    ".vmlist",
    ".members",
    "corosync.conf",
    "firewall/cluster.fw",
    "firewall/100.fw",
    "firewall/200.fw",
    "sdn/firewall/vnet1.fw",
    "nodes/n1/host.fw",
    "nodes/n1/qemu-server/100.conf",
    "nodes/n1/lxc/200.conf",
    "nodes/n1/lxc/300.conf",
    "firewall/300.fw",
    "sdn/.running-config",
    "sdn/pve-ipam-state.json",
    "priv/ipam.db",
];

/// Words for lines: valid ones, almost valid ones, and text that could inject commands into a script.
const WORDS: &[&str] = &[
    "[OPTIONS]",
    "[RULES]",
    "[ALIASES]",
    "[IPSET web]",
    "[IPSET ipfilter-net0]",
    "[IPSET blacklist]",
    "[GROUP gg]",
    "[group x]",
    "enable: 1",
    "ipfilter: 1",
    "ips: 1",
    "ips_queues: 1:3",
    "policy_in: REJECT",
    "policy_out: DROP",
    "log_level_in: info",
    "protection_synflood: 1",
    "nf_conntrack_helpers: ftp,sip",
    "layer2_protocols: ARP,IPv6",
    "log_ratelimit: 1,rate=5/minute",
    "IN",
    "OUT",
    "FORWARD",
    "GROUP",
    "|IN",
    "ACCEPT",
    "DROP",
    "REJECT",
    "DENY",
    "SSH(ACCEPT)",
    "Ping(DROP)",
    "SMB(REJECT)",
    "gg",
    "-i net0",
    "-i vmbr0",
    "-p tcp",
    "-p udp",
    "-p icmp",
    "-p icmpv6",
    "-p 47",
    "-dport 80",
    "-dport 1:65535",
    "-dport 80,443",
    "-sport 53,123",
    "-dport ssh",
    "-icmp-type echo-request",
    "-dport 8",
    "-source 10.0.0.0/8",
    "-source +web",
    "-dest al",
    "-dest 10.0.0.1-10.0.0.9",
    "-source fd00::/8,fd01::1",
    "-source +management",
    "-log info",
    "-log nolog",
    "# comment",
    "al 10.0.0.0/24",
    "al6 fd00::1",
    "10.0.0.1",
    "!10.0.0.0/25",
    "fd00::/64",
    "al",
    "dc/al",
    "10.0.0.9/24",
    "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1",
    "net0: name=eth0,hwaddr=02:00:00:00:00:01,firewall=1,ip=10.0.0.7/24",
    "nodelist {",
    "node {",
    "name: n1",
    "ring0_addr: 10.0.0.1",
    "}",
    "totem { transport: udp }",
    "\"",
    "'",
    ";",
    "$(reboot)",
    "`id`",
    "\\",
    "\\n",
    "\"; -A INPUT -j ACCEPT",
    "--",
    "-j",
    "*filter",
    "COMMIT",
    "\u{0}",
    "\u{85}",
];

/// Parameters of a rule, most of which can be combined.
const PARAMETERS: &[&str] = &[
    "",
    "-p tcp",
    "-p udp -dport 53",
    "-p tcp -dport 80,443 -sport 1024:65535",
    "-p icmp -icmp-type 8",
    "-p icmpv6 -dport 128",
    "-p udplite -dport 7",
    "-p sctp -dport 5000",
    "-p dccp -dport 1:5",
    "-p 47",
    "-p vrrp -dest 224.0.0.18",
    "-p esp",
    "-p 58",
    "-p tcp -sport 1,2 -dport 3,4",
    "-source 10.0.0.0/8 -dest 10.1.0.0/255.255.0.0",
    "-source 10/8",
    "-source fd00::/8,fd01::1",
    "-dest 10.0.0.1-10.0.0.9",
    "-dest fd00::1-fd00::2",
    "-source +web",
    "-dest +management",
    "-source al",
    "-dest al6",
    "-log info",
    "-i net0",
    "-i vmbr0",
    "-i eth0.100",
    "-log debug -p tcp -dport http",
    "-source 0.0.0.0/0",
    "-p tcp -dport 0",
    "-p mptcp",
    "-source ::ffff:1.2.3.4",
    "-p ip",
    "-p hopopt",
    "-p tcp -dport ssh,http,1:3",
    "-dest 255.255.255.255",
    "-p ipv6-icmp -icmp-type 255",
];

/// A rule that is probably valid, sometimes followed by an invalid word.
fn rule() -> impl Strategy<Value = Vec<u8>> {
    let start = prop::sample::select(&["IN", "OUT", "|IN", "in", "FORWARD"][..]);
    let action = prop::sample::select(
        &[
            "ACCEPT",
            "DROP",
            "REJECT",
            "DENY",
            "SSH(ACCEPT)",
            "Ping(DROP)",
            "SMB(REJECT)",
            "Trcrt(ACCEPT)",
            "SixXS(DROP)",
        ][..],
    );
    let parameters = vec(prop::sample::select(PARAMETERS), 0..3);
    let end = prop_oneof![9 => Just(""), 1 => prop::sample::select(WORDS)];
    (start, action, parameters, end).prop_map(|(start, action, parameters, end)| {
        let parameters: Vec<_> = parameters.into_iter().filter(|one| !one.is_empty()).collect();
        [vec![start, action], parameters, vec![end]].concat().join(" ").trim_end().as_bytes().to_vec()
    })
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        12 => prop::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..12),
    ];
    let line = prop_oneof![3 => rule(), 2 => vec(word, 1..6).prop_map(|words| words.join(&b' '))];
    prop_oneof![
        8 => vec(line, 0..24).prop_map(|lines| [b"[OPTIONS]\nenable: 1\n[RULES]\n".to_vec(), lines.join(&b'\n')].concat()),
        1 => vec(any::<u8>(), 0..200),
    ]
}

prop_compose! {
    /// A tree for node `n1` with a VM, two containers and a vnet; most of its files exist.
    pub fn tree()(contents in vec(prop::option::weighted(0.8, content()), PATHS.len())) -> Tree {
        let mut tree = Tree { root: "/etc/pve".to_string(), ..Tree::default() };
        for (path, content) in PATHS.iter().zip(contents) {
            if let Some(content) = content {
                tree.files.insert((*path).into(), File::Content(content.into()));
            }
        }
        tree
    }
}

//! Configurations over the full range of valid values: every protocol, service, macro and type, any port, range and list,
//! any address, names of maximum length and longer, all log levels and options.
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use pve_firewall::builtin::{icmp, macros};
use pve_firewall::inputs::{File, Tree};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// The names and aliases in a database of `/etc`.
fn names(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}; run make deps"));
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words = lines.flat_map(|line| line.split_whitespace().enumerate().filter(|(at, _)| *at != 1));
    words.map(|(_, word)| word.to_string()).collect()
}

static PROTOCOLS: LazyLock<Vec<String>> = LazyLock::new(|| names("/etc/protocols"));
static SERVICES: LazyLock<Vec<String>> = LazyLock::new(|| names("/etc/services"));

const LEVELS: [&str; 10] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog", "nonsense"];
/// Names with the maximum length in the configuration and in the kernel.
const GROUP: &str = "group-of-eighteen1";
const LONG: &str = "a-name-of-sixty-four-characters-that-only-a-hash-of-it-fits-in-x";
const VM: u32 = 999_999_999;

fn v4() -> impl Strategy<Value = String> {
    let address = any::<u32>().prop_map(Ipv4Addr::from);
    prop_oneof![
        3 => address.clone().prop_map(|address| address.to_string()),
        3 => (address.clone(), 0..=32u8).prop_map(|(address, length)| format!("{address}/{length}")),
        1 => any::<[u32; 2]>().prop_map(|[a, b]| format!("{}-{}", Ipv4Addr::from(a.min(b)), Ipv4Addr::from(a.max(b)))),
        1 => vec(address, 1..8).prop_map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
    ]
}

fn v6() -> impl Strategy<Value = String> {
    let address = any::<u128>().prop_map(Ipv6Addr::from);
    prop_oneof![
        3 => address.clone().prop_map(|address| address.to_string()),
        3 => (address.clone(), 0..=128u8).prop_map(|(address, length)| format!("{address}/{length}")),
        1 => any::<[u128; 2]>().prop_map(|[a, b]| format!("{}-{}", Ipv6Addr::from(a.min(b)), Ipv6Addr::from(a.max(b)))),
        1 => vec(address, 1..8).prop_map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
    ]
}

fn address() -> impl Strategy<Value = String> {
    let named = vec!["+dc/web", "+web", "dc/al", "guest/al", "al", "al6", "+management", "+guest/own", "local_network"];
    let long = [format!("+{LONG}"), format!("dc/{LONG}"), LONG.to_string()];
    prop_oneof![
        4 => v4(),
        4 => v6(),
        2 => select(named).prop_map(str::to_string),
        1 => select(long.to_vec()),
    ]
}

fn port() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        3 => any::<u16>().prop_map(|port| port.to_string()),
        2 => any::<[u16; 2]>().prop_map(|[a, b]| format!("{}:{}", a.min(b), a.max(b))),
        1 => select(SERVICES.clone()),
    ];
    prop_oneof![3 => one.clone(), 1 => vec(one, 1..17).prop_map(|all| all.join(","))]
}

fn protocol() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&["tcp", "udp", "sctp", "dccp", "udplite", "icmp", "icmpv6", "ipv6-icmp"][..]).prop_map(str::to_string),
        2 => select(PROTOCOLS.clone()),
        1 => any::<u8>().prop_map(|number| number.to_string()),
    ]
}

fn icmp_type() -> impl Strategy<Value = String> {
    let name = |row: &(&str, Option<u8>, Option<u8>)| row.0.to_string();
    let names: Vec<String> = icmp::V4.iter().chain(icmp::V6).map(name).collect();
    prop_oneof![3 => select(names), 1 => any::<u8>().prop_map(|number| number.to_string())]
}

fn interface() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => select(&["net0", "net31", "vmbr0", "eth0.4094", "lo", "eth+"][..]).prop_map(str::to_string),
        1 => "[a-z][a-z0-9_.@:-]{0,15}",
    ]
}

/// One parameter of a rule.
fn parameter() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (protocol(), prop::option::of(port()), prop::option::of(port())).prop_map(|(protocol, sport, dport)| {
            let port = |name, port: Option<String>| port.map(|port| format!(" -{name} {port}")).unwrap_or_default();
            format!("-p {protocol}{}{}", port("sport", sport), port("dport", dport))
        }),
        2 => (select(&["icmp", "icmpv6", "ipv6-icmp"][..]), icmp_type())
            .prop_map(|(protocol, kind)| format!("-p {protocol} -icmp-type {kind}")),
        3 => address().prop_map(|address| format!("-source {address}")),
        3 => address().prop_map(|address| format!("-dest {address}")),
        2 => interface().prop_map(|interface| format!("-i {interface}")),
        2 => select(&LEVELS[..]).prop_map(|level| format!("-log {level}")),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let macros: Vec<&str> = macros::MACROS.iter().map(|one| one.name).collect();
    let verdict = select(&["ACCEPT", "DROP", "REJECT"][..]);
    let action = prop_oneof![
        4 => verdict.clone().prop_map(str::to_string),
        3 => (select(macros), verdict).prop_map(|(name, verdict)| format!("{name}({verdict})")),
    ];
    let verdict = (select(&["IN", "IN", "OUT", "OUT", "FORWARD"][..]), action, vec(parameter(), 0..4))
        .prop_map(|(direction, action, parameters)| format!("{direction} {action} {}", parameters.join(" ")));
    prop_oneof![9 => verdict, 1 => Just(format!("GROUP {GROUP}"))]
}

fn rules() -> impl Strategy<Value = String> {
    vec(rule(), 0..14).prop_map(|rules| rules.join("\n"))
}

fn entries() -> impl Strategy<Value = String> {
    let entry = prop_oneof![v4(), v6()].prop_filter("sets refuse ranges and lists", |text| !text.contains([',', '-']));
    vec((entry, any::<bool>()), 0..20)
        .prop_map(|all| all.iter().map(|(net, not)| format!("{}{net}\n", if *not { "!" } else { "" })).collect())
}

/// Options with values over their whole range.
fn options(levels: &'static [&'static str], switches: &'static [&'static str]) -> impl Strategy<Value = String> {
    let level = (select(levels), select(&LEVELS[..])).prop_map(|(name, level)| format!("{name}: {level}\n"));
    let switch = (select(switches), 0..2u8).prop_map(|(name, value)| format!("{name}: {value}\n"));
    let policy =
        (select(&["policy_in", "policy_out", "policy_forward"][..]), select(&["ACCEPT", "DROP", "REJECT"][..]))
            .prop_map(|(name, value)| format!("{name}: {value}\n"));
    vec(prop_oneof![level, switch, policy], 0..6).prop_map(|lines| lines.concat())
}

fn cluster() -> impl Strategy<Value = String> {
    let number = |usual: u32| prop_oneof![5 => (1..usual).prop_map(u64::from), 1 => any::<u64>(), 1 => any::<u32>().prop_map(u64::from)];
    let rate = (number(100), select(&["second", "minute", "hour", "day"][..]), number(200))
        .prop_map(|(rate, unit, burst)| format!("log_ratelimit: 1,rate={rate}/{unit},burst={burst}\n"));
    let parts = (options(&["log_ratelimit"], &["ebtables"]), prop::option::of(rate), [entries(), entries(), entries()]);
    (parts, v4(), v6(), [rules(), rules()]).prop_map(|((options, rate, sets), al, al6, [group, rules])| {
        let [web, long, blacklist] = sets;
        let rate = rate.unwrap_or_default();
        let (al, al6) = (al.replace([',', '-'], "/"), al6.replace([',', '-'], "/"));
        format!(
            "[OPTIONS]\nenable: 1\n{options}{rate}[ALIASES]\nal {al}\nal6 {al6}\n{LONG} 10.3.0.0/16\n[IPSET web]\n{web}\
             [IPSET {LONG}]\n{long}[IPSET blacklist]\n{blacklist}[group {GROUP}]\n{group}\n[RULES]\n{rules}\n"
        )
    })
}

fn host() -> impl Strategy<Value = String> {
    const LEVELS: &[&str] =
        &["log_level_in", "log_level_out", "log_level_forward", "smurf_log_level", "tcp_flags_log_level"];
    const SWITCHES: &[&str] =
        &["ndp", "nosmurfs", "tcpflags", "nf_conntrack_allow_invalid", "protection_synflood", "log_nf_conntrack"];
    let limits = any::<[u32; 2]>()
        .prop_map(|[rate, burst]| format!("protection_synflood_rate: {rate}\nprotection_synflood_burst: {burst}\n"));
    let helpers = vec(select(&["amanda", "ftp", "irc", "netbios-ns", "pptp", "sane", "sip", "snmp", "tftp"][..]), 1..4)
        .prop_map(|all| format!("nf_conntrack_helpers: {}\n", all.join(",")));
    let extra = (prop::option::of(limits), prop::option::of(helpers));
    (options(LEVELS, SWITCHES), extra, rules()).prop_map(|(options, (limits, helpers), rules)| {
        format!("[OPTIONS]\n{options}{}{}[RULES]\n{rules}\n", limits.unwrap_or_default(), helpers.unwrap_or_default())
    })
}

fn guest() -> impl Strategy<Value = String> {
    const SWITCHES: &[&str] = &["dhcp", "ipfilter", "macfilter", "ndp", "radv", "ips"];
    let queues = any::<[u16; 2]>().prop_map(|[a, b]| format!("ips_queues: {}:{}\n", a.min(b), a.max(b)));
    let layer2 = select(&["ARP", "IPv6", "802_1Q", "LLDP,ARP", "0x88a8", "NetBEUI,IPX"][..])
        .prop_map(|list| format!("layer2_protocols: {list}\n"));
    let extra = (prop::option::of(queues), prop::option::of(layer2), [entries(), entries()]);
    (options(&["log_level_in", "log_level_out"], SWITCHES), extra, v4(), rules()).prop_map(
        |(options, (queues, layer2, [own, filter]), al, rules)| {
            let (queues, layer2) = (queues.unwrap_or_default(), layer2.unwrap_or_default());
            let al = al.replace([',', '-'], "/");
            format!(
                "[OPTIONS]\nenable: 1\n{options}{queues}{layer2}[ALIASES]\nal {al}\n[IPSET own]\n{own}\
                 [IPSET ipfilter-net31]\n{filter}[RULES]\n{rules}\n"
            )
        },
    )
}

fn vnet() -> impl Strategy<Value = String> {
    (options(&["log_level_forward"], &["enable"]), rules())
        .prop_map(|(options, rules)| format!("[OPTIONS]\nenable: 1\n{options}[RULES]\n{rules}\n"))
}

fn mac() -> impl Strategy<Value = String> {
    any::<[u8; 6]>().prop_map(|mut octets| {
        octets[0] &= 0xfe;
        octets.map(|octet| format!("{octet:02X}")).join(":")
    })
}

prop_compose! {
    /// A tree for node `n1`: the cluster, the host, a VM with the longest names, a container and a vnet.
    pub fn tree()(
        cluster in cluster(), host in host(), vm in guest(), container in guest(), vnet in vnet(),
        macs in [mac(), mac(), mac()], ip in any::<u32>(),
    ) -> Tree {
        let address = Ipv4Addr::from(ip);
        let vmlist = format!(r#"{{"version":1,"ids":{{"{VM}":{{"node":"n1","type":"qemu"}},"200":{{"node":"n1","type":"lxc"}}}}}}"#);
        let [first, second, third] = macs;
        let files = [
            (".vmlist".into(), vmlist),
            ("firewall/cluster.fw".into(), cluster),
            ("nodes/n1/host.fw".into(), host),
            (format!("firewall/{VM}.fw"), vm),
            ("firewall/200.fw".into(), container),
            ("sdn/firewall/vnet0.fw".into(), vnet),
            (format!("nodes/n1/qemu-server/{VM}.conf"), format!(
                "net0: virtio={first},bridge=vmbr0,firewall=1\nnet31: e1000={second},bridge=vmbr0,firewall=1\n"
            )),
            ("nodes/n1/lxc/200.conf".into(), format!(
                "net0: name=eth0,hwaddr={third},bridge=vmbr0,firewall=1,ip={address}/24\n"
            )),
        ];
        let content = |text: String| File::Content(text.as_bytes().into());
        let files = files.into_iter().map(|(path, text): (String, String)| (path.into(), content(text))).collect();
        Tree { root: "/etc/pve".into(), files }
    }
}

//! Properties that must hold for any bytes in a configuration file or in the output of a save tool. Each target is a row
//! of [`TARGETS`]; the test `regressions` replays earlier findings through them.
mod nflog;

use pve_firewall::inputs::{Facts, File, Interfaces, Tree};
use pve_firewall::iptables::compile::compile;
use pve_firewall::iptables::plan::{
    BridgeFormat, Live, Plan, Readable, TableName, bridge_script, read_bridge, read_sets, read_table,
    removed_sets_script, sets_in_use, sets_script, table_script,
};
use pve_firewall::iptables::ruleset::{Family, MacStyle, Ruleset};
use pve_firewall::lint::check;
use pve_firewall::node::names_to_resolve;
use std::sync::Arc;
use std::sync::LazyLock;

/// Checks the properties for these bytes; panics if one does not hold.
pub type Check = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Check); 17] = [
    ("cluster_fw", |data| compile_with("firewall/cluster.fw", data)),
    ("host_fw", |data| compile_with("nodes/n1/host.fw", data)),
    ("guest_fw", |data| compile_with("firewall/100.fw", data)),
    ("vnet_fw", |data| compile_with("sdn/firewall/vnet0.fw", data)),
    ("vm_conf", |data| compile_with("nodes/n1/qemu-server/100.conf", data)),
    ("container_conf", |data| compile_with("nodes/n1/lxc/200.conf", data)),
    ("corosync_conf", |data| compile_with("corosync.conf", data)),
    ("vmlist", |data| compile_with(".vmlist", data)),
    ("members", |data| compile_with(".members", data)),
    ("sdn_running", |data| compile_with("sdn/.running-config", data)),
    ("ipam_state", |data| compile_with("sdn/pve-ipam-state.json", data)),
    ("iptables_save", iptables_save),
    ("ebtables_save", ebtables_save),
    ("ipset_save", ipset_save),
    ("nflog_message", nflog::packets),
    ("conntrack_message", nflog::connections),
    ("trace_message", nflog::traces),
];

/// Runs a target.
#[allow(dead_code, reason = "used by the targets; the replay iterates over the table")]
pub fn run(target: &str, data: &[u8]) {
    let (_, check) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of this name");
    check(data);
}

/// The configuration of a node that uses every kind of object, so that fuzzed references can resolve.
const FILES: [(&str, &str); 10] = [
    (
        ".vmlist",
        r#"{"version":1,"ids":{"100":{"node":"n1","type":"qemu","version":1},"200":{"node":"n1","type":"lxc","version":1}}}"#,
    ),
    (".members", r#"{"nodename":"n1","version":1,"nodelist":{"n1":{"id":1,"online":1,"ip":"10.0.0.1"}}}"#),
    (
        "corosync.conf",
        "nodelist {\n node {\n name: n1\n nodeid: 1\n ring0_addr: 10.0.0.1\n }\n node {\n name: n2\n nodeid: 2\n ring0_addr: fd00::2\n }\n}\n",
    ),
    (
        "firewall/cluster.fw",
        "[OPTIONS]\nenable: 1\n[ALIASES]\nal 10.0.0.0/24\nal6 fd00::1\n[IPSET web]\nal\n10.9.0.0/16\n!10.9.1.0/24\nfd00::/64\n[group gg]\nIN ACCEPT -p tcp -dport 80\nOUT DROP -dest +web\n[RULES]\nGROUP gg\nIN DROP -source +dc/web -log info\n",
    ),
    (
        "firewall/100.fw",
        "[OPTIONS]\nenable: 1\nipfilter: 1\n[IPSET ipfilter-net0]\n10.0.0.7\n[RULES]\nGROUP gg -i net0\nIN SSH(ACCEPT) -source dc/al\nIN DROP -source +sdn/vnet0-no-gateway\nIN DROP -source +sdn/guest-ipam-100\n",
    ),
    ("firewall/200.fw", "[OPTIONS]\nenable: 1\nlayer2_protocols: ARP,IPv6\n[RULES]\nOUT REJECT -p icmp -icmp-type 8\n"),
    (
        "nodes/n1/qemu-server/100.conf",
        "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\nnet1: e1000=02:00:00:00:00:09,bridge=vmbr1,firewall=1\n",
    ),
    ("nodes/n1/lxc/200.conf", "net0: name=eth0,hwaddr=02:00:00:00:00:01,bridge=vmbr0,firewall=1,ip=10.0.0.7/24\n"),
    (
        "sdn/.running-config",
        r#"{"zones":{"ids":{"z":{"type":"simple"}}},"vnets":{"ids":{"vnet0":{"zone":"z"}}},"subnets":{"ids":{"z-10.1.0.0-24":{"vnet":"vnet0","gateway":"10.1.0.1","dhcp-range":["start-address=10.1.0.8,end-address=10.1.0.11"]}}}}"#,
    ),
    (
        "sdn/pve-ipam-state.json",
        r#"{"zones":{"z":{"subnets":{"10.1.0.0/24":{"ips":{"10.1.0.9":{"vmid":"100","mac":"BC:24:11:00:00:01"}}}}}}}"#,
    ),
];

static FACTS: LazyLock<Facts> = LazyLock::new(|| {
    Facts {
    node: "n1".into(),
    now: 1_790_000_000,
    routes_v4: "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\nvmbr0 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n".into(),
    services: "ssh 22/tcp\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp www\nntp 123/udp\n".into(),
    protocols: "ip 0 IP\nicmp 1 ICMP\nigmp 2 IGMP\ntcp 6 TCP\nudp 17 UDP\ngre 47 GRE\nesp 50 IPSEC-ESP\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\nudplite 136 UDPLite\n".into(),
    ethertypes: "IPv4 0800 ip ip4\nARP 0806 ether-arp\n802_1Q 8100 8021q 1q 802.1q dot1q\nIPv6 86DD ip6\n".into(),
    ..Facts::default()
}
});

fn tree() -> Tree {
    let content = |text: &str| File::Content(text.as_bytes().into());
    Tree { root: "/etc/pve".into(), files: FILES.iter().map(|(path, text)| ((*path).into(), content(text))).collect() }
}

/// The output of `iptables-save` and `ip6tables-save`.
fn iptables_save(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    plan_with(|live| {
        live.filter.v4 = readable(read_table(&text, TableName::Filter));
        live.raw.v6 = readable(read_table(&text, TableName::Raw));
    });
}

/// The output of `ebtables-save`, and of `ebtables -L`.
fn ebtables_save(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for format in [BridgeFormat::Save, BridgeFormat::List] {
        plan_with(|live| live.bridge = Ok(read_bridge(&text, format).into()));
    }
}

/// The output of `ipset save`, and of `ipset -t list`.
fn ipset_save(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    plan_with(|live| live.sets = Ok(read_sets(&text).into()));
    drop(sets_in_use(&text));
}

/// A parsed part, or its error.
fn readable<T>(read: Result<T, impl std::fmt::Display>) -> Readable<Arc<T>> {
    read.map(Arc::new).map_err(|error| error.to_string().into())
}

/// Compiles a tree with these bytes as one of its files.
fn compile_with(path: &str, data: &[u8]) {
    let mut tree = tree();
    tree.files.insert(path.into(), File::Content(data.into()));
    for name in names_to_resolve(&tree, "n1") {
        assert!(!name.contains(char::is_control), "{name:?}");
    }
    let compiled = compile(&tree, &FACTS);
    assert_eq!(compile(&tree, &FACTS).ruleset, compiled.ruleset);
    lines(&compiled.ruleset).iter().for_each(|line| check_line(line));
    for report in &compiled.reports {
        assert!(!report.to_string().lines().any(|line| line.contains(char::is_control)), "{report:?}");
    }
    for finding in check(&tree, &FACTS, Interfaces::default()) {
        for mark in &finding.report.marks {
            assert!(
                finding.line.is_empty() || finding.line.get(mark.span.start..mark.span.end).is_some(),
                "{finding:?}"
            );
        }
        for help in finding.help.into_iter().flatten() {
            assert!(!help.contains(char::is_control), "{help:?}");
        }
    }
}

/// Every line that would be passed to a tool.
fn lines(ruleset: &Ruleset) -> Vec<String> {
    let mut lines = Vec::new();
    for family in Family::ALL {
        for (name, chain) in ruleset.filter[family].iter().chain(&ruleset.raw[family]) {
            lines.extend(chain.lines(name));
        }
    }
    lines.extend(ruleset.bridge.iter().flat_map(|(name, chain)| chain.lines(name, MacStyle::Padded)));
    lines.extend(ruleset.sets.iter().flat_map(|(name, set)| set.lines(name)));
    lines
}

fn check_line(line: &str) {
    assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line:?}");
    let outside = match line.split_once(" --nflog-prefix \":") {
        Some((before, prefix)) => {
            let prefix = prefix.strip_suffix('"').expect("a closing quote");
            assert!(prefix.len() < 63 && !prefix.contains(['"', '\\', '$', '`', ';']), "{line}");
            before
        }
        None => line,
    };
    assert!(!outside.contains(['"', '\'', '\\', '$', '`', ';', '#']), "{line}");
}

static WANTED: LazyLock<Arc<Ruleset>> = LazyLock::new(|| compile(&tree(), &FACTS).ruleset);

/// Plans an update from these live rules to the wanted ruleset, and to an empty one: every line of the scripts names a
/// single chain or set of the firewall.
fn plan_with(put: impl Fn(&mut Live)) {
    let mut live = Live::empty();
    put(&mut live);
    for wanted in [&**WANTED, &Ruleset::default()] {
        let plan = Plan::new(wanted, &live);
        for family in Family::ALL {
            for table in TableName::ALL {
                let plan = plan.table(table, family);
                check_script(
                    &table_script(plan, wanted.table(table, family), table).text,
                    pve_firewall::iptables::names::is_own_chain,
                );
            }
        }
        check_script(
            &bridge_script(&plan.bridge, &wanted.bridge, MacStyle::Padded).text,
            pve_firewall::iptables::names::is_own_bridge_chain,
        );
        check_script(&sets_script(&plan.sets, wanted, |_| false).text, pve_firewall::iptables::names::is_own_set);
        check_script(&removed_sets_script(&plan.sets, |_| false).text, pve_firewall::iptables::names::is_own_set);
    }
}

fn check_script(text: &str, is_own: fn(&str) -> bool) {
    for line in text.lines() {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let named = match command {
            "COMMIT" | "*filter" | "*raw" => continue,
            "-A" | "-D"
                if ["INPUT", "OUTPUT", "FORWARD", "PREROUTING"]
                    .iter()
                    .any(|hook| rest == format!("{hook} -j PVEFW-{hook}")) =>
            {
                continue;
            }
            "-A" | "-F" | "-X" | "create" | "add" | "flush" | "destroy" | "swap" => {
                rest.split(' ').next().unwrap_or_default()
            }
            _ => command.strip_prefix(':').unwrap_or_else(|| panic!("{line:?}")),
        };
        assert!(is_own(named) && !line.contains(char::is_control), "{line:?}");
    }
}

//! For any sequence of changes, the incremental compiler gives the same result as a new one, and recompiles only changed parts.
use crate::trees::{self, facts, tree};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use pve_firewall::inputs::{Facts, File, Tree};
use pve_firewall::iptables::compile::{Compiled, Compiler, compile};
use pve_firewall::iptables::ruleset::{Family, MacStyle};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

/// The time in `enable: TIME` of one of the cluster files.
const TIME: u64 = 1_790_000_000;

const CLUSTERS: [&str; 9] = [
    "[OPTIONS]\nenable: 1\n",
    "[OPTIONS]\nenable: 0\n[RULES]\nnonsense\n",
    "[OPTIONS]\nenable: 1790000000\n[IPSET web]\n10.1.1.1\n",
    "[OPTIONS]\nenable: 1\n[ALIASES]\nal 10.0.0.1\n[IPSET web]\n10.1.1.1\nfd00::1\n[group gg]\nIN SSH(ACCEPT) -source al\n",
    "[OPTIONS]\nenable: 1\n[ALIASES]\nal 10.0.0.2\n[IPSET web]\n10.1.1.2\n[group gg]\nIN SSH(DROP) -log info\n",
    "[OPTIONS]\nenable: 1\nebtables: 0\nlog_ratelimit: 0\n[IPSET blacklist]\n10.2.2.2\n[group gg]\nOUT DROP -p tcp\n",
    "[OPTIONS]\nenable: 1\nlog_ratelimit: 1,rate=5/minute\n[ALIASES]\nlocal_network 10.0.0.0/8\n[group gg]\n[group hh]\nIN DROP\n",
    "[OPTIONS]\nenable: 1\npolicy_in: REJECT\n[RULES]\nGROUP gg\nIN ACCEPT -i alt0 -source +web\nOUT DROP -i vmbr0 -dest +sdn/guest-ipam-100\n",
    "[OPTIONS]\nenable: 1\n[IPSET {C}]\n10.3.3.3\n[RULES]\nIN ACCEPT -source +{C}\n",
];

const HOSTS: [&str; 4] = [
    "[OPTIONS]\nenable: 0\n",
    "[OPTIONS]\nnosmurfs: 0\ntcpflags: 1\nndp: 0\nlog_level_in: info\nnf_conntrack_max: 300000\n",
    "[OPTIONS]\nprotection_synflood: 1\nnf_conntrack_helpers: ftp,tftp\n[RULES]\nGROUP hh\nIN ACCEPT -i alt0 -p tcp\n",
    "[OPTIONS]\nnftables: 1\nunknown: 1\n[RULES]\nIN ACCEPT -source +web -dest al\n",
];

const GUESTS: [&str; 8] = [
    "[OPTIONS]\nenable: 1\n",
    "[OPTIONS]\nenable: 0\n[RULES]\nIN ACCEPT\nbad\n",
    "[OPTIONS]\nenable: 1\nips: 1\nips_queues: 1:3\n[RULES]\nGROUP gg\nIN ACCEPT -source al -log info\n",
    "[OPTIONS]\nenable: 1\nipfilter: 1\nlog_level_in: info\n[RULES]\nGROUP hh -i net1\nIN ACCEPT -source +web\nIN NOPE(DROP)\n",
    "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\nndp: 0\n[ALIASES]\nal 10.9.9.9\n[IPSET web]\nal\n[RULES]\nOUT DROP -dest +web\n",
    "[OPTIONS]\nenable: 1\nlayer2_protocols: ARP,IPv4\nmacfilter: 0\n[IPSET ipfilter-net0]\n10.5.5.5\n[RULES]\nIN DROP -p tcp -dport http,1:9\n",
    "[OPTIONS]\nenable: 1\n[IPSET {A}]\n10.6.6.6\n[IPSET {B}]\n[RULES]\nIN ACCEPT -source +{A}\nIN ACCEPT -source +{B}\nIN DROP -source +dc/{C}\n",
    "[OPTIONS]\nenable: 1\nradv: 1\ndhcp: 0\n[RULES]\n|IN ACCEPT\nGROUP none\nIN Ping(ACCEPT)\nIN DROP -source +sdn/v0-all\n",
];

const CONFS: [&str; 6] = [
    "net0: virtio=BC:24:11:00:00:01,firewall=1\nnet1: virtio=BC:24:11:00:00:02,firewall=1\n",
    "net0: virtio=BC:24:11:00:00:03,firewall=1\n",
    "net0: virtio=BC:24:11:00:00:04\n",
    "net0: name=eth0,hwaddr=02:00:00:00:00:01,firewall=1,ip=10.0.0.7/24,ip6=fd00::7/64\n",
    "net0: virtio=BC,firewall=1\nnet300: x\n",
    "net1: name=eth1,hwaddr=02:00:00:00:00:02,firewall=1\n[snapshot]\nnet0: virtio=BC:24:11:00:00:09,firewall=1\n",
];

const LISTS: [&str; 5] = [
    r#"{"ids":{"100":{"node":"n1","type":"qemu"},"101":{"node":"n1","type":"qemu"},"200":{"node":"n1","type":"lxc"}}}"#,
    r#"{"ids":{"100":{"node":"n2","type":"qemu"},"200":{"node":"n1","type":"lxc"},"101":{"node":"n1","type":"lxc"}}}"#,
    r#"{"ids":{"100":{"node":"n1","type":"lxc"},"x":{"node":"n1","type":"lxc"},"200":{"node":"n1"}}}"#,
    "{",
    r#"{"version":2,"ids":{"100":{"node":"n1","type":"qemu"},"101":{"node":"n1","type":"qemu"},"200":{"node":"n1","type":"lxc"}}}"#,
];

const COROSYNC: [&str; 3] = [
    "nodelist {\nnode {\nname: n1\nring0_addr: 10.0.0.1\n}\nnode {\nname: n2\nring0_addr: peer\n}\n}\n",
    "totem { transport: udp }\nnodelist {\nnode {\nname: n1\nring0_addr: 10.0.0.1\n}\nnode {\nname: n2\nring0_addr: 10.0.0.2\n}\n}\n",
    "nonsense\n}\n",
];

const MEMBERS: [&str; 3] = [
    r#"{"nodelist":{"n1":{"ip":"192.168.2.100"}}}"#,
    r#"{"nodelist":{"n1":{"ip":"10.9.9.9"}}}"#,
    r#"{"nodelist":{"n1":{"ip":"x"}}}"#,
];

const RUNNING: [&str; 4] = [
    r#"{"vnets":{"ids":{"v0":{}}},"subnets":{"ids":{"z-10.1.0.0-24":{"vnet":"v0","gateway":"10.1.0.1"}}}}"#,
    r#"{"vnets":{"ids":{"v0":{}}},"subnets":{"ids":{"z-10.2.0.0-24":{"vnet":"v0"}}}}"#,
    r#"{"vnets":{"ids":{"aa":{}}}}"#,
    "{",
];

const IPAM: [&str; 2] = [
    r#"{"zones":{"z":{"subnets":{"10.1.0.0/24":{"ips":{"10.1.0.9":{"vmid":"100"}}}}}}}"#,
    r#"{"zones":{"z":{"subnets":{"10.1.0.0/24":{"ips":{"10.1.0.8":{"vmid":"100"},"10.1.0.9":{"vmid":7}}}}}}}"#,
];

const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
    vmbr0\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";

/// A file, and its possible contents.
const FILES: [(&str, &[&str]); 17] = [
    ("firewall/cluster.fw", &CLUSTERS),
    ("nodes/n1/host.fw", &HOSTS),
    ("firewall/100.fw", &GUESTS),
    ("firewall/101.fw", &GUESTS),
    ("firewall/200.fw", &GUESTS),
    ("nodes/n1/qemu-server/100.conf", &CONFS),
    ("nodes/n1/qemu-server/101.conf", &CONFS),
    ("nodes/n1/lxc/101.conf", &CONFS),
    ("nodes/n1/lxc/200.conf", &CONFS),
    (".vmlist", &LISTS),
    (".members", &MEMBERS),
    ("corosync.conf", &COROSYNC),
    ("sdn/firewall/v.fw", &HOSTS),
    ("firewall/x.fw", &GUESTS),
    ("sdn/.running-config", &RUNNING),
    ("sdn/pve-ipam-state.json", &IPAM),
    ("priv/ipam.db", &IPAM),
];

/// The initial contents.
const START: [(&str, usize); 9] = [
    ("firewall/cluster.fw", 8),
    ("nodes/n1/host.fw", 2),
    ("firewall/100.fw", 6),
    ("firewall/101.fw", 2),
    ("firewall/200.fw", 3),
    ("nodes/n1/qemu-server/100.conf", 0),
    ("nodes/n1/qemu-server/101.conf", 0),
    ("nodes/n1/lxc/200.conf", 3),
    ("corosync.conf", 0),
];

/// Names of sets whose names in the kernel collide: of cluster.fw and guest 100, and of guests 100 and 200.
static COLLIDING: LazyLock<[(String, String); 2]> = LazyLock::new(|| {
    let name = |at: u32| format!("a-rather-long-name-{at}");
    // the compiler's hash, of which 31 bits are used
    let hash = |owner: &str, at| {
        let fnv = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        format!("{owner}-{}-v4", name(at)).bytes().fold(0x811c_9dc5, fnv) << 1
    };
    let of_100: HashMap<u32, u32> = (0..100_000).map(|at| (hash("100", at), at)).collect();
    ["0", "200"].map(|owner| {
        let (own, other) = (0..).find_map(|at| Some((*of_100.get(&hash(owner, at))?, at))).unwrap();
        (name(own), name(other))
    })
});

/// Replaces `{A}`, `{B}` and `{C}` (a set of the cluster) in a text by set names.
fn text(path: &str, text: &str) -> String {
    let [(first, cluster), (second, of_200)] = &*COLLIDING;
    let (a, b) = match path {
        "firewall/100.fw" => (first.as_str(), second.as_str()),
        "firewall/200.fw" => ("aa", of_200.as_str()),
        _ => ("aa", "bb"),
    };
    text.replace("{A}", a).replace("{B}", b).replace("{C}", cluster)
}

/// A change between two compilations.
#[derive(Clone, Debug)]
enum Edit {
    Put(&'static str, &'static str),
    Remove(&'static str),
    MakeUnreadable(&'static str),
    Now(u64),
    Altnames(bool),
    Resolved(Option<&'static str>),
    LiveDevices(Vec<&'static str>),
    Routes(bool),
    Services(&'static str),
}

fn edit() -> impl Strategy<Value = Edit> {
    let put =
        select(&FILES[..]).prop_flat_map(|(path, texts)| select(texts).prop_map(move |text| Edit::Put(path, text)));
    let path = || select(&FILES[..]).prop_map(|(path, _)| path);
    prop_oneof![
        8 => put,
        1 => path().prop_map(Edit::Remove),
        2 => path().prop_map(Edit::MakeUnreadable),
        1 => select(&[TIME, TIME + 60, TIME + 61, 5][..]).prop_map(Edit::Now),
        2 => any::<bool>().prop_map(Edit::Altnames),
        1 => select(&[None, Some("10.0.0.3"), Some("10.0.0.4")][..]).prop_map(Edit::Resolved),
        3 => vec(select(&["tap100i0", "veth200i0", "tap101i3", "veth100i1"][..]), 0..4).prop_map(Edit::LiveDevices),
        1 => any::<bool>().prop_map(Edit::Routes),
        1 => select(&["", "http 80/tcp\n"][..]).prop_map(Edit::Services),
    ]
}

fn apply_edit(edit: &Edit, tree: &mut Tree, facts: &mut Facts) {
    match edit {
        Edit::Put(path, content) => {
            tree.files.insert((*path).into(), File::Content(text(path, content).into_bytes().into()));
        }
        Edit::Remove(path) => drop(tree.files.remove(*path)),
        Edit::MakeUnreadable(path) => drop(tree.files.insert((*path).into(), File::Unreadable("no reason".into()))),
        Edit::Now(now) => facts.now = *now,
        Edit::Altnames(set) => {
            let names = set.then(|| ("alt0".to_string(), "eno1".to_string()));
            facts.altnames = names.into_iter().collect();
        }
        Edit::Resolved(address) => {
            let addresses: Vec<_> = address.iter().map(|address| address.parse().unwrap()).collect();
            facts.resolved = BTreeMap::from(["peer", "n1"].map(|name| (name.to_string(), addresses.clone())));
        }
        Edit::LiveDevices(devices) => facts.live_devices = devices.iter().map(ToString::to_string).collect(),
        Edit::Routes(set) => facts.routes_v4 = if *set { ROUTES.to_string() } else { String::new() },
        Edit::Services(text) => facts.services = (*text).to_string(),
    }
}

fn signatures(compiled: &Compiled) -> Vec<String> {
    let ruleset = &compiled.ruleset;
    let tables = Family::ALL.into_iter().flat_map(|family| ruleset.filter[family].iter().chain(&ruleset.raw[family]));
    let chains = tables.map(|(name, chain)| chain.signature(name));
    let bridge = ruleset.bridge.iter().map(|(name, chain)| chain.signature(name, MacStyle::Padded));
    let sets = ruleset.sets.iter().map(|(name, set)| set.signature(name));
    chains.chain(bridge).chain(sets).map(|signature| signature.to_string()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn incremental_compiling_equals_compiling_from_scratch(
        steps in vec(vec(edit(), 0..3), 5..25),
    ) {
        let (mut tree, mut facts) = (tree(&[]), facts());
        for (path, at) in START {
            let texts = FILES.iter().find(|(of, _)| *of == path).unwrap().1;
            apply_edit(&Edit::Put(path, texts[at]), &mut tree, &mut facts);
        }
        let mut compiler = Compiler::new(2);
        for edits in steps {
            edits.iter().for_each(|edit| apply_edit(edit, &mut tree, &mut facts));
            let (incremental, fresh) = (compiler.compile(&tree, &facts), compile(&tree, &facts));
            prop_assert_eq!(signatures(&incremental), signatures(&fresh));
            prop_assert_eq!(incremental, fresh);
        }
    }
}

/// A node with this number of VMs, each with its own set.
fn node(guests: u32) -> Tree {
    let mut tree = tree(&[("firewall/cluster.fw", CLUSTERS[3])]);
    for vmid in 100..100 + guests {
        let fw = format!(
            "[OPTIONS]\nenable: 1\n[IPSET own]\n10.0.0.{}\n[RULES]\nGROUP gg\nIN ACCEPT -source +own\n",
            vmid % 256
        );
        let conf = format!("net0: virtio=BC:24:11:00:{:02X}:{:02X},firewall=1\n", vmid / 256, vmid % 256);
        put(&mut tree, &format!("firewall/{vmid}.fw"), &fw);
        put(&mut tree, &format!("nodes/n1/qemu-server/{vmid}.conf"), &conf);
    }
    tree
}

fn put(tree: &mut Tree, path: &str, text: &str) {
    tree.files.insert(path.into(), File::Content(text.as_bytes().into()));
}

/// The chains that two rulesets do not share, by family and name.
fn compiled_again(before: &Compiled, after: &Compiled) -> Vec<String> {
    let mut again = Vec::new();
    for family in Family::ALL {
        for (name, chain) in &after.ruleset.filter[family] {
            if before.ruleset.filter[family].get(name).is_none_or(|old| !Arc::ptr_eq(old, chain)) {
                again.push(format!("{family:?} {name}"));
            }
        }
    }
    again
}

#[test]
fn only_changed_parts_are_compiled_again() {
    let (mut tree, mut facts) = (node(5), facts());
    let mut compiler = Compiler::new(1);
    let first = compiler.compile(&tree, &facts);
    facts.now += 1000;
    let second = compiler.compile(&tree.clone(), &facts);
    assert!(Arc::ptr_eq(&first.ruleset, &second.ruleset), "a change of only the time has no effect");

    put(&mut tree, "firewall/102.fw", "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP\n");
    let third = compiler.compile(&tree, &facts);
    let of_guest = ["V4 tap102i0-IN", "V4 tap102i0-OUT", "V6 tap102i0-IN", "V6 tap102i0-OUT"];
    assert_eq!(compiled_again(&second, &third), of_guest);

    put(&mut tree, "firewall/cluster.fw", &CLUSTERS[3].replace("SSH", "HTTP").replace("10.1.1.1", "10.1.1.9"));
    let fourth = compiler.compile(&tree, &facts);
    let again = compiled_again(&third, &fourth);
    assert!(again.iter().any(|name| name == "V4 GROUP-gg-IN"), "{again:?}");
    assert!(!again.iter().any(|name| name.contains("tap") || name.contains("FWBR")), "{again:?}");
    assert_eq!(fourth, compile(&tree, &facts));
}

#[test]
fn a_set_dropped_for_a_name_collision_returns_when_the_collision_ends() {
    let mut tree = node(1);
    put(&mut tree, "firewall/100.fw", &text("firewall/100.fw", GUESTS[6]));
    let facts = facts();
    let mut compiler = Compiler::new(1);
    let mut rules = |tree: &Tree| {
        let compiled = compiler.compile(tree, &facts);
        assert_eq!(compiled, compile(tree, &facts));
        trees::chain(&compiled, Family::V4, "tap100i0-IN").iter().filter(|rule| rule.contains("--match-set")).count()
    };
    assert_eq!(rules(&tree), 2);
    put(&mut tree, "firewall/cluster.fw", &text("firewall/cluster.fw", CLUSTERS[8]));
    assert_eq!(rules(&tree), 2, "the guest's is dropped, the cluster's is kept");
    put(&mut tree, "firewall/cluster.fw", CLUSTERS[3]);
    assert_eq!(rules(&tree), 2);
}

#[test]
fn many_threads_give_the_same_result_as_one() {
    let (tree, facts) = (node(500), facts());
    let one = compile(&tree, &facts);
    assert_eq!(one.filtered.guests, 500);
    for threads in [0, 2, 3, 16] {
        assert_eq!(Compiler::new(threads).compile(&tree, &facts), one);
    }
}

//! Whether the node really filters: for each finding, the packet that passes or is dropped against the rules, the finding, its
//! remedy, and that it is gone then.
use super::site::{GUEST100, HOST, ON, Site, until};
use crate::host::shell;
use crate::testbed::Place::{Host, Outside};
use crate::testbed::probe::{Fate, Probe};
use crate::testbed::{VM100, VM100_NET1};
use pve_firewall::iptables::apply::Variant;
use pve_firewall::iptables::ruleset::{Family, MacAddr};

const V4: Family = Family::V4;
/// A MAC address that is no guest's.
const FORGED: MacAddr = MacAddr([0x02, 0x77, 0, 0, 0, 1]);

/// What another program does to a node with guest 100 enabled, and what comes of it.
struct Case {
    /// The commands of the other program.
    does: &'static str,
    /// A packet, and what the rules of this firewall do with it.
    packet: fn() -> Probe,
    right: Fate,
    /// What happens to it.
    wrong: Fate,
    kind: &'static str,
    text: &'static str,
    node: bool,
    guests: &'static [u32],
    exit: i32,
    /// The commands of the remedy.
    remedy: &'static str,
}

const CASES: &[Case] = &[
    Case {
        does: "iptables-legacy -w -I INPUT -p tcp --dport 22:23 -j ACCEPT",
        packet: || Probe::tcp(Outside, Host, V4, 23),
        right: Fate::Dropped,
        wrong: Fate::Arrived,
        kind: "accepted-before",
        text: "iptables filter: -A INPUT -p tcp -m tcp --dport 22:23 -j ACCEPT",
        node: true,
        guests: &[],
        exit: 1,
        remedy: "iptables-legacy -w -D INPUT -p tcp -m tcp --dport 22:23 -j ACCEPT",
    },
    Case {
        // in a chain of its own, behind a chain that only rejects, as fail2ban has
        does: "ip6tables-legacy -w -N f2b; ip6tables-legacy -w -A f2b -s fd00::99 -j REJECT; ip6tables-legacy -w -A f2b -j RETURN
            ip6tables-legacy -w -I INPUT -j f2b; ip6tables-legacy -w -N LIBVIRT; ip6tables-legacy -w -A LIBVIRT -j ACCEPT
            ip6tables-legacy -w -I INPUT -j LIBVIRT",
        packet: || Probe::tcp(Outside, Host, Family::V6, 23),
        right: Fate::Dropped,
        wrong: Fate::Arrived,
        kind: "accepted-before",
        text: "accepts all packets before ours: ip6tables filter: -A INPUT -j LIBVIRT, by '-j ACCEPT'",
        node: true,
        guests: &[],
        exit: 2,
        remedy: "ip6tables-legacy -w -D INPUT -j LIBVIRT",
    },
    Case {
        does: "iptables-legacy -w -I INPUT -s 10.0.0.254 -j RETURN",
        packet: || Probe::tcp(Outside, Host, V4, 23),
        right: Fate::Dropped,
        wrong: Fate::Arrived,
        kind: "accepted-before",
        text: "-A INPUT -s 10.0.0.254/32 -j RETURN",
        node: true,
        guests: &[],
        exit: 1,
        remedy: "iptables-legacy -w -D INPUT -s 10.0.0.254 -j RETURN",
    },
    Case {
        does: "iptables-legacy -w -I FORWARD -m physdev --physdev-is-bridged -j ACCEPT",
        packet: || Probe::tcp(Outside, VM100, V4, 23),
        right: Fate::Dropped,
        wrong: Fate::Arrived,
        kind: "accepted-before",
        text: "-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT",
        node: false,
        guests: &[100],
        exit: 1,
        remedy: "iptables-legacy -w -D FORWARD -m physdev --physdev-is-bridged -j ACCEPT",
    },
    Case {
        does: "iptables-legacy -w -P FORWARD DROP",
        packet: || Probe::tcp(VM100, Outside, V4, 23),
        right: Fate::Arrived,
        wrong: Fate::Dropped,
        kind: "dropped-behind",
        text: "iptables filter: the policy of FORWARD is DROP",
        node: false,
        guests: &[100],
        exit: 1,
        remedy: "iptables-legacy -w -A FORWARD -m physdev --physdev-is-bridged -j ACCEPT",
    },
    Case {
        does: "ip6tables-legacy -w -A FORWARD -j DROP",
        packet: || Probe::udp(VM100, Outside, Family::V6, 23),
        right: Fate::Arrived,
        wrong: Fate::Dropped,
        kind: "dropped-behind",
        text: "ip6tables filter: -A FORWARD -j DROP",
        node: false,
        guests: &[100],
        exit: 1,
        remedy: "ip6tables-legacy -w -D FORWARD -j DROP",
    },
    Case {
        does: "nft 'add table inet fw; add chain inet fw forward { type filter hook forward priority 0; policy drop; }'",
        packet: || Probe::tcp(VM100, Outside, V4, 23),
        right: Fate::Arrived,
        wrong: Fate::Dropped,
        kind: "dropped-behind",
        text: "nftables inet fw: the policy of forward is DROP",
        node: false,
        guests: &[100],
        exit: 1,
        remedy: "nft 'chain inet fw forward { policy accept; }'",
    },
    Case {
        // a frame that reaches the end of a chain with this policy is accepted
        does: "EBT -N user; EBT -I FORWARD -j user",
        packet: || Probe::arp(VM100, Outside).mac(FORGED),
        right: Fate::Dropped,
        wrong: Fate::Arrived,
        kind: "accepted-before",
        text: "ebtables filter: -A FORWARD -j user, by '-j ACCEPT'",
        node: false,
        guests: &[100],
        exit: 1,
        remedy: "EBT -P user RETURN",
    },
    Case {
        does: "ip link set tap100i0 master vmbr0; bridge fdb replace bc:24:11:00:64:00 dev tap100i0 master static",
        packet: || Probe::tcp(Outside, VM100, V4, 23),
        right: Fate::Dropped,
        wrong: Fate::Arrived,
        kind: "not-on-firewall-bridge",
        text: "tap100i0 has firewall=1 but is a port of vmbr0 and not of fwbr100i0",
        node: false,
        guests: &[100],
        exit: 2,
        remedy: "ip link set tap100i0 master fwbr100i0; bridge fdb replace bc:24:11:00:64:00 dev tap100i0 master static
            bridge fdb replace bc:24:11:00:64:00 dev fwpr100p0 master static",
    },
];

/// A policy that another program changes is found by a full reading: the kernel reports it in no other way.
const SOON: [&str; 2] = ["--full-reading", "1"];

#[test]
fn rules_that_accept_before_ours_are_found_and_gone_after_their_remedy() {
    check(|case| case.kind == "accepted-before");
}

#[test]
fn packets_dropped_behind_our_rules_are_found_and_pass_after_the_remedy() {
    check(|case| case.kind == "dropped-behind");
}

#[test]
fn devices_that_bypass_the_rules_are_found_and_filtered_after_the_remedy() {
    check(|case| !matches!(case.kind, "accepted-before" | "dropped-behind"));
}

fn check(which: impl Fn(&Case) -> bool) {
    let mut site = Site::with_options(&SOON, &[(GUEST100, ON)]);
    let cases: Vec<&Case> = CASES.iter().filter(|case| which(case)).collect();
    assert!(!cases.is_empty());
    for case in cases {
        site.all(case.right, [(case.packet)()]);
        site.until_well();
        site.bed.node.exec(&shell(Variant::Legacy, case.does));
        site.all(case.wrong, [(case.packet)()]);
        let warning = site.until_warned(case.text);
        assert_eq!(warning["kind"], case.kind, "{warning:#}");
        assert_eq!(warning["affected"]["node"], case.node, "{warning:#}");
        assert_eq!(warning["affected"]["guests"], serde_json::json!(case.guests), "{warning:#}");
        assert!(warning["since"].as_u64().unwrap() > 1_000_000_000, "{warning:#}");
        assert!(!warning["remedy"].as_str().unwrap().is_empty(), "{warning:#}");
        let (text, status) = site.status(&["--exit-code"]);
        assert!(text.starts_with("Status: enabled/running\nWARNING: ") && text.contains(case.text), "{text}");
        assert_eq!(status, case.exit, "{text}");
        site.bed.node.exec(&shell(Variant::Legacy, case.remedy));
        site.until_well();
        site.all(case.right, [(case.packet)()]);
        until("the log", || (site.logged(case.text) == 2).then_some(()));
        assert_eq!(site.logged(&format!("no longer: {}", warning["text"].as_str().unwrap())), 1);
    }
}

#[test]
fn the_other_backend_is_found_where_both_filter_or_neither() {
    let mut site = Site::with_options(&SOON, &[(GUEST100, ON)]);
    let table = "add table bridge proxmox-firewall-guests; add chain bridge proxmox-firewall-guests vm-out \
        { type filter hook prerouting priority 0; policy drop; }";
    site.all(Fate::Arrived, [Probe::tcp(VM100, Outside, V4, 23)]);
    site.bed.node.exec(&format!("nft '{table}'"));
    site.all(Fate::Dropped, [Probe::tcp(VM100, Outside, V4, 23)]);
    let warning = site.until_warned("the tables of the nftables backend filter, too: bridge proxmox-firewall-guests");
    assert_eq!((&warning["kind"], &warning["affected"]["node"]), (&"both-backends".into(), &true.into()));
    site.bed.node.exec("nft delete table bridge proxmox-firewall-guests");
    site.until_well();
    // selected and installed, but not running: this firewall continues to filter
    let program = site.root().join("usr/libexec/proxmox/proxmox-firewall");
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    std::fs::copy("/bin/true", &program).unwrap();
    site.write(HOST, "[OPTIONS]\nnftables: 1\n");
    let warning = site.until_warned("the tables of proxmox-firewall are not live: this firewall continues to filter");
    assert_eq!(warning["kind"], "backend-absent");
    assert_eq!(site.status(&["--exit-code"]).1, 1);
    site.all(Fate::Dropped, [Probe::tcp(Outside, VM100, V4, 23)]);
    std::fs::remove_file(program).unwrap();
    site.until_well();
}

#[test]
fn bridge_filtering_that_cannot_be_switched_on_is_found() {
    let mut site = Site::in_read_only_sysctls(&[(GUEST100, ON)]);
    site.all(Fate::Dropped, [Probe::tcp(Outside, VM100, V4, 23)]);
    site.bed.node.exec("sysctl -qw net.bridge.bridge-nf-call-iptables=0");
    site.all(Fate::Arrived, [Probe::tcp(Outside, VM100, V4, 23)]);
    let text = "guests are not filtered by iptables: net.bridge.bridge-nf-call-iptables is 0 and cannot be set";
    let warning = site.until_warned(text);
    assert_eq!(warning["kind"], "bridge-filtering-off");
    assert_eq!(site.status(&["--exit-code"]).1, 2);
    let verbose = site.status(&["--verbose"]).0;
    assert!(verbose.contains(&format!("WARNING: {text} (guest 100)\n  since: ")), "{verbose}");
    assert!(verbose.contains("  remedy: 'sysctl -w net.bridge.bridge-nf-call-iptables=1'"), "{verbose}");
    site.bed.node.exec("sysctl -qw net.bridge.bridge-nf-call-iptables=1");
    site.until_well();
    site.all(Fate::Dropped, [Probe::tcp(Outside, VM100, V4, 23)]);
}

#[test]
fn a_kernel_without_br_netfilter_is_found() {
    let hidden = "mount -t tmpfs none /proc/sys/net/bridge && exec \"$@\"";
    let mut site = Site::ill(&format!("exec unshare -m sh -c '{hidden}' sh \"$@\""), &[(GUEST100, ON)]);
    // as if the module was not there
    site.bed.node.exec("sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0");
    for (family, tool) in [(V4, "iptables"), (Family::V6, "ip6tables")] {
        site.all(Fate::Arrived, [Probe::tcp(Outside, VM100, family, 23)]);
        let warning = site.until_warned(&format!("the kernel has no net.bridge.bridge-nf-call-{tool}"));
        assert_eq!((&warning["kind"], &warning["severity"]), (&"bridge-filtering-off".into(), &"unfiltered".into()));
        assert!(warning["remedy"].as_str().unwrap().contains("modprobe br_netfilter"), "{warning:#}");
    }
    assert_eq!(site.status(&["--exit-code"]).1, 2);
    site.in_daemon("umount /proc/sys/net/bridge");
    site.until_well();
    site.all(Fate::Dropped, Family::ALL.map(|family| Probe::tcp(Outside, VM100, family, 24)));
}

#[test]
fn a_kernel_without_physdev_is_found() {
    // the tool refuses the match, as without the kernel's module
    let refuses = "#!/bin/sh\nrules=$(cat)\nline=$(printf '%s\\n' \"$rules\" | grep -n physdev | head -n 1 | cut -d: -f1)\n\
        if [ -n \"$line\" ]; then echo \"iptables-restore: line $line failed\" >&2; exit 1; fi\n\
        printf '%s\\n' \"$rules\" | exec /usr/sbin/iptables-legacy-restore \"$@\"\n";
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("iptables-legacy-restore");
    std::fs::write(&tool, refuses).unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let shell = format!("PATH={}:$PATH exec \"$@\"", folder.path().display());
    let mut site = Site::ill(&shell, &[(GUEST100, ON)]);
    let warning =
        site.until_warned("guests are not filtered by iptables: the kernel refuses rules with the match physdev");
    assert_eq!((&warning["kind"], &warning["affected"]["guests"]), (&"no-physdev".into(), &serde_json::json!([100])));
    site.all(Fate::Arrived, [Probe::tcp(Outside, VM100, V4, 23)]);
    site.all(Fate::Dropped, [Probe::tcp(Outside, VM100, Family::V6, 23)]);
    assert_eq!(site.status(&["--exit-code"]).1, 2);
    std::fs::remove_file(tool).unwrap();
    site.restart(&[]);
    site.until_well();
    site.all(Fate::Dropped, [Probe::tcp(Outside, VM100, V4, 24)]);
}

#[test]
fn rules_of_others_that_cannot_be_judged_are_said_to_be_so() {
    let mut site = Site::with_options(&SOON, &[(GUEST100, ON)]);
    // more rules than are kept, and none of them accepts
    let of_all = |one: &dyn Fn(usize) -> String| (0..3000).map(one).collect::<String>();
    let chains = of_all(&|at| format!(":other{at} - [0:0]\n")) + &of_all(&|at| format!("-I INPUT -j other{at}\n"));
    let file = site.root().join("rules");
    std::fs::write(&file, format!("*filter\n{chains}COMMIT\n")).unwrap();
    site.bed.node.exec(&format!("iptables-legacy-restore -w 10 -n <{}", file.display()));
    let warning = site.until_warned("cannot judge the rules of other programs in iptables filter");
    assert_eq!(warning["kind"], "not-judged");
    site.all(Fate::Dropped, [Probe::tcp(Outside, Host, V4, 23), Probe::tcp(Outside, VM100, V4, 23)]);
    let delete = of_all(&|at| format!("-D INPUT -j other{at}\n-X other{at}\n"));
    std::fs::write(&file, format!("*filter\n{delete}COMMIT\n")).unwrap();
    site.bed.node.exec(&format!("iptables-legacy-restore -w 10 -n <{}", file.display()));
    site.until_well();
    // a table of others that is too large to be read
    let rule = |at: usize| format!("-A PREROUTING -s 10.{}.{}.{} -j ACCEPT\n", at >> 16, at >> 8 & 255, at & 255);
    std::fs::write(&file, format!("*nat\n{}COMMIT\n", (0..120_000).map(rule).collect::<String>())).unwrap();
    site.bed.node.exec(&format!("iptables-legacy-restore -w 10 <{}", file.display()));
    site.until_warned("cannot judge the rules of other programs in iptables-legacy nat: it has 120");
    site.bed.node.exec("iptables-legacy -w -t nat -F");
    site.until_well();
}

#[test]
fn rules_of_others_that_open_nothing_are_no_finding() {
    let mut site = Site::new(&[(GUEST100, ON)]);
    site.bed.node.exec(
        "ipt() { iptables-legacy -w \"$@\"; }
         ipt -I INPUT -i lo -j ACCEPT; ipt -I INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
         ipt -N f2b-sshd; ipt -A f2b-sshd -s 192.0.2.1 -j REJECT; ipt -A f2b-sshd -j RETURN
         ipt -I INPUT -p tcp --dport 22 -j f2b-sshd; ipt -I INPUT -m mark --mark 0x9 -j LOG
         ipt -N DOCKER-USER; ipt -A DOCKER-USER -j RETURN; ipt -I FORWARD -j DOCKER-USER
         ipt -I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
         ipt -I FORWARD -i docker0 ! -o docker0 -j ACCEPT; ipt -A INPUT -j ACCEPT
         ipt -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
         ipt -t nat -A PREROUTING -d 127.0.0.1/32 -p tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
         ipt -t nat -A PREROUTING -i vmbr0 -p tcp --dport 8080 -j DNAT --to-destination 10.0.0.100:80
         nft 'add table inet other; add chain inet other input { type filter hook input priority -5; policy accept; }'",
    );
    site.cycle();
    assert_eq!(site.status(&["--exit-code"]), ("Status: enabled/running\n".into(), 0));
    site.all(Fate::Dropped, [Probe::tcp(Outside, Host, V4, 23), Probe::tcp(Outside, VM100, V4, 23)]);
}

#[test]
fn bridge_filtering_that_is_switched_off_is_back_within_a_second() {
    let mut site = Site::new(&[(GUEST100, ON)]);
    for (setting, family) in [("iptables", V4), ("ip6tables", Family::V6)] {
        site.all(Fate::Dropped, [Probe::tcp(Outside, VM100, family, 23)]);
        let begun = std::time::Instant::now();
        let setting = format!("bridge-nf-call-{setting}");
        site.bed.node.exec(&format!("sysctl -qw net.bridge.{setting}=0"));
        until("the setting", || {
            let now = site.bed.node.exec(&format!("cat /proc/sys/net/bridge/{setting}"));
            (now == "1\n").then_some(())
        });
        assert!(begun.elapsed() < std::time::Duration::from_millis(2500), "{:?}", begun.elapsed());
        site.all(Fate::Dropped, [Probe::tcp(Outside, VM100, family, 24)]);
        assert_eq!(site.logged(&format!("{setting} was 0, set to 1")), 1, "{:#?}", site.log());
    }
    site.until_well();
}

#[test]
fn translated_sources_need_a_zone_for_firewall_bridges() {
    check_translation(
        "iptables-legacy -w -t nat -A POSTROUTING -s 10.0.1.0/24 -o vmbr0 -j MASQUERADE",
        "iptables-legacy nat: -s 10.0.1.0/24 -o vmbr0 -j MASQUERADE",
        |site| {
            let rules = site.bed.node.exec("iptables-legacy-save -c -t nat");
            !rules.lines().any(|line| line.starts_with("[0:0]") && line.contains("MASQUERADE"))
        },
    );
}

#[test]
fn sources_translated_by_nftables_need_a_zone_for_firewall_bridges() {
    check_translation(
        "nft 'table ip own { chain post { type nat hook postrouting priority 100; ip saddr 10.0.1.0/24 oifname vmbr0 counter masquerade; }; }'",
        "nftables ip own: a rule of the chain post",
        |site| !site.bed.node.exec("nft list table ip own").contains("counter packets 0 "),
    );
}

/// A rule of another program translates the source of a guest's packets only with the remedy.
fn check_translation(does: &str, rule: &str, translated: impl Fn(&Site) -> bool) {
    let mut site = Site::with_options(&SOON, &[(GUEST100, ON)]);
    site.bed.node.exec(does);
    // routed by the node, from the guest's second device: it arrives with the source that the guest has
    let routed = |port| Probe::udp(VM100_NET1, Outside, V4, port).towards(Host.mac());
    site.all(Fate::Arrived, [routed(53)]);
    assert!(!translated(&site));
    let warning = site.until_warned("source NAT does not apply to guests behind firewall bridges");
    assert_eq!(warning["kind"], "nat-without-zone");
    assert!(warning["text"].as_str().unwrap().ends_with(rule), "{warning:#}");
    assert_eq!(warning["affected"]["guests"], serde_json::json!([100]), "{warning:#}");
    site.bed.node.exec("iptables-legacy -w -t raw -I PREROUTING -i fwbr+ -j CT --zone 1");
    site.until_well();
    // it arrives with another source, which is not what the probe expects
    site.all(Fate::Dropped, [routed(54)]);
    assert!(translated(&site));
}

#[test]
fn destination_nat_past_the_node_is_found() {
    let mut site = Site::with_options(&SOON, &[(GUEST100, ON)]);
    site.all(Fate::Dropped, [Probe::tcp(Outside, Host, V4, 8080)]);
    site.until_well();
    site.bed.node.exec("iptables-legacy -w -t nat -N DOCKER; iptables-legacy -w -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
        iptables-legacy -w -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80");
    // the node routes it, and no rule of the node is evaluated
    site.bed.node.exec("ip link add docker0 type veth peer name dock1; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up; ip link set dock1 up
        iptables-legacy -w -A FORWARD -d 172.17.0.2 -p tcp --dport 80");
    site.all(Fate::Dropped, [Probe::tcp(Outside, Host, V4, 8080)]);
    let counters = site.bed.node.exec("iptables-legacy-save -c -t filter");
    let passed = |line: &str| line.contains("-A FORWARD -d 172.17.0.2") && !line.starts_with("[0:0]");
    assert!(counters.lines().any(passed), "{counters}");
    let warning = site.until_warned("leads packets past the rules of the node: iptables-legacy nat: ");
    assert_eq!(warning["kind"], "dnat-past-the-node");
    site.bed.node.exec("iptables-legacy -w -t nat -F DOCKER");
    site.until_well();
}

#[test]
fn readme_shows_what_status_prints_of_this_node() {
    let site = Site::with_options(&SOON, &[(GUEST100, ON)]);
    site.until_well();
    let (well, code) = site.status(&["--exit-code"]);
    let shown = format!("# pve-firewall status --exit-code; echo $?\n{well}{code}\n```");
    assert!(include_str!("../../../README.md").contains(&shown), "{shown}");
    site.bed.node.exec("iptables-legacy -w -I INPUT -p tcp --dport 22:23 -j ACCEPT; ip link set tap100i0 master vmbr0");
    site.until_warned("iptables filter");
    site.until_warned("tap100i0");
    let (shown, readme) = (site.status(&[]).0, include_str!("../../../README.md"));
    assert!(readme.contains(&format!("# pve-firewall status\n{shown}```")), "{shown}");
    // and what is said of single packets
    let answer = site.command(&["simulate", "--to", "vm100", "--dport", "23"]);
    assert!(answer.contains("the node may do otherwise: tap100i0 has firewall=1"), "{answer}");
    assert!(!answer.contains("-A INPUT"), "it does not concern the guest: {answer}");
    let answer = site.command(&["simulate", "--dport", "23"]);
    assert!(answer.contains("the node may do otherwise: a rule of another program"), "{answer}");
    let checked = site.command(&["check"]);
    assert!(checked.contains("the node does not do what its configuration says: tap100i0"), "{checked}");
}

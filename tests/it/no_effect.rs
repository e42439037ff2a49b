//! `check` reports rules and options without effect.
use super::lint::{ON, found};

const CONF: &str = "nodes/n1/qemu-server/100.conf";
const DEVICES: &str =
    "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\nnet1: virtio=BC:24:11:00:00:02,bridge=vmbr0\n";
const RULE: &str = "[RULES]\nIN ACCEPT -p tcp -dport 80\n";

fn enabled(text: &str) -> String {
    format!("[OPTIONS]\nenable: 1\n{text}")
}

/// Checks that the findings in these files are exactly those that begin with these texts.
fn expect_findings(files: &[(&str, &str)], expected: &[&str]) {
    let found = found(files);
    assert_eq!(found.len(), expected.len(), "{files:?}: {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{files:?}: {found}");
    }
}

#[test]
fn rules_of_a_cluster_or_node_that_is_off_are_reported() {
    expect_findings(
        &[("firewall/cluster.fw", RULE)],
        &["cluster.fw (line 2): the firewall is off in the whole cluster"],
    );
    expect_findings(
        &[("firewall/cluster.fw", &format!("[OPTIONS]\nenable: 0\n{RULE}"))],
        &["cluster.fw (line 2): the firewall is off"],
    );
    expect_findings(&[("firewall/cluster.fw", "[OPTIONS]\nenable: 0\n")], &[]);
    expect_findings(
        &[(CONF, DEVICES), ("nodes/n1/host.fw", RULE)],
        &["cluster.fw: the firewall is off in the whole cluster"],
    );
    expect_findings(
        &[("firewall/cluster.fw", "[OPTIONS]\nenable: 2\n")],
        &["cluster.fw (line 2): 'enable: 2' is a time"],
    );
    expect_findings(
        &[("firewall/cluster.fw", "[OPTIONS]\nenable: 1799999000\n")],
        &["cluster.fw (line 2): 'enable: 1799999000' is a time"],
    );
    expect_findings(&[("firewall/cluster.fw", "[OPTIONS]\nenable: 1800000100\n")], &[]);
    expect_findings(
        &[ON, ("nodes/n1/host.fw", &format!("[OPTIONS]\nenable: 0\n{RULE}"))],
        &["/pve/nodes/n1/host.fw (line 2): the host firewall is off"],
    );
    expect_findings(
        &[ON, ("nodes/n2/host.fw", &format!("[OPTIONS]\nenable: 0\n{RULE}"))],
        &["/pve/nodes/n2/host.fw (line 2): the host firewall is off"],
    );
    expect_findings(&[ON, ("nodes/n1/host.fw", "[OPTIONS]\nenable: 0\n")], &[]);
}

#[test]
fn rules_of_a_guest_or_device_that_is_not_filtered_are_reported() {
    expect_findings(
        &[ON, ("firewall/100.fw", RULE), (CONF, DEVICES)],
        &["100.fw (line 2): the firewall of this guest is off"],
    );
    expect_findings(&[ON, ("firewall/999.fw", RULE)], &["999.fw (line 2): the firewall of this guest is off"]);
    expect_findings(&[ON, ("firewall/100.fw", &enabled(RULE)), (CONF, DEVICES)], &[]);
    expect_findings(
        &[ON, ("firewall/100.fw", &enabled(RULE)), (CONF, "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n")],
        &["100.fw (line 2): no network device of this guest has firewall=1"],
    );
    expect_findings(
        &[ON, ("firewall/100.fw", &enabled(RULE)), (CONF, "memory: 512\n")],
        &["100.fw (line 2): no network device of this guest has firewall=1"],
    );
    expect_findings(
        &[
            ON,
            ("firewall/100.fw", &enabled("[RULES]\nIN ACCEPT -i net1\nIN DROP -i net2\nIN DROP -i net0\n")),
            (CONF, DEVICES),
        ],
        &["100.fw (line 4): net1 of this guest lacks firewall=1", "100.fw (line 5): this guest has no net2"],
    );
}

#[test]
fn rules_and_options_that_only_the_nftables_backend_enforces_are_reported() {
    expect_findings(
        &[("firewall/cluster.fw", &enabled("[RULES]\nIN DROP -p udp\nFORWARD DROP -p udp\nFORWARD ACCEPT -p tcp\n"))],
        &["cluster.fw (line 5): this FORWARD rule, and 1 more below, have no effect"],
    );
    expect_findings(
        &[ON, ("nodes/n1/host.fw", "[RULES]\nFORWARD DROP\n")],
        &["/pve/nodes/n1/host.fw (line 2): this FORWARD rule has no effect"],
    );
    expect_findings(
        &[("firewall/cluster.fw", &enabled("policy_forward: DROP\n"))],
        &["cluster.fw (line 3): policy_forward has no effect"],
    );
    expect_findings(&[("firewall/cluster.fw", &enabled("policy_forward: ACCEPT\n"))], &[]);
    expect_findings(
        &[ON, ("nodes/n1/host.fw", "[OPTIONS]\nlog_level_forward: info\n")],
        &["/pve/nodes/n1/host.fw (line 2): log_level_forward has no effect"],
    );
    expect_findings(
        &[ON, ("sdn/firewall/vnet0.fw", &enabled(""))],
        &["/pve/sdn/firewall/vnet0.fw (line 2): the firewall of this vnet has no effect"],
    );
    expect_findings(
        &[
            ("firewall/cluster.fw", &enabled("policy_forward: DROP\n[RULES]\nFORWARD DROP\n")),
            ("nodes/n1/host.fw", "[OPTIONS]\nnftables: 1\n"),
            ("sdn/firewall/vnet0.fw", &enabled("")),
        ],
        &[],
    );
    expect_findings(
        &[("firewall/cluster.fw", &enabled("[GROUP fwd]\nFORWARD DROP\n[RULES]\nGROUP fwd\n"))],
        &["cluster.fw (line 3): group 'fwd' has FORWARD rules only"],
    );
}

#[test]
fn limits_of_the_backend_in_use_are_reported() {
    let list: Vec<String> = (0..120).map(|host| format!("10.0.0.{host}")).collect();
    let list = list.join(",");
    let cluster = enabled(&format!(
        "log_ratelimit: 1,rate=20000/second\n[RULES]\nIN ACCEPT -source {list}\nFORWARD ACCEPT -i vmbr1\n"
    ));
    let host = "[OPTIONS]\nprotection_synflood_rate: 2000000\n[RULES]\nIN ACCEPT -source 10.0.0.1\n";
    let guest = enabled(&format!("[RULES]\nIN ACCEPT -source {list}\n"));
    let files = |host| {
        [
            ("firewall/cluster.fw", cluster.as_str()),
            ("nodes/n1/host.fw", host),
            ("firewall/100.fw", &guest),
            (CONF, DEVICES),
        ]
    };
    expect_findings(
        &files(host),
        &[
            "100.fw (line 4): address list too long",
            "cluster.fw (line 3): log_ratelimit: at most 10000 packets a second",
            "cluster.fw (line 5): address list too long",
            "cluster.fw (line 6): this FORWARD rule has no effect",
            "/pve/nodes/n1/host.fw (line 2): protection_synflood_rate: at most 1000000 with iptables",
        ],
    );
    expect_findings(
        &files(&host.replace("[OPTIONS]", "[OPTIONS]\nnftables: 1")),
        &["cluster.fw (line 6): -i vmbr1 in a FORWARD rule: it is ignored"],
    );
    let slow = ("firewall/cluster.fw", &*enabled("log_ratelimit: 1,rate=1/day,burst=300000\n"));
    expect_findings(
        &[slow],
        &["cluster.fw (line 3): log_ratelimit: at most 10000 packets a second, and a burst of 10000"],
    );
    expect_findings(
        &[slow, ("nodes/n1/host.fw", "[OPTIONS]\nnftables: 1\n")],
        &["cluster.fw (line 3): log_ratelimit: a burst of 300000 at 1/day is more than nftables can count"],
    );
}

#[test]
fn numbers_that_the_kernel_refuses_or_that_are_replaced_are_reported() {
    for (line, expected) in [
        ("nf_conntrack_max: 0", Some("262144 is set in place of a smaller number")),
        ("nf_conntrack_max: 65536", Some("262144 is set in place of a smaller number")),
        ("nf_conntrack_max: 262144", None),
        ("nf_conntrack_max: 2147475455", None),
        ("nf_conntrack_tcp_timeout_established: 0", Some("0 counts as the default, 432000")),
        ("nf_conntrack_tcp_timeout_established: 2147483", None),
        ("nf_conntrack_tcp_timeout_established: 31536000", Some("a kernel with 1,000 ticks a second refuses it")),
        ("nf_conntrack_tcp_timeout_syn_recv: 0", Some("0 counts as the default, 60")),
        ("nf_conntrack_tcp_timeout_syn_recv: 30", None),
        ("nf_conntrack_tcp_timeout_syn_recv: 2147484", Some("a kernel with 1,000 ticks a second refuses it")),
        ("protection_synflood_rate: 0", Some("0 counts as the default, 200")),
        ("protection_synflood_rate: 1000001", Some("at most 1000000 with iptables; the default is used")),
        ("protection_synflood_burst: 0", Some("0 counts as the default, 1000")),
        ("protection_synflood_burst: 1000001", Some("at most 1000000 with iptables; the default is used")),
    ] {
        for node in ["n1", "n2"] {
            let (file, key) = (format!("nodes/{node}/host.fw"), line.split(':').next().unwrap());
            // values that iptables refuses are reported only by its own backend
            let elsewhere = node == "n2" && expected.is_some_and(|text| text.contains("with iptables"));
            let expected = expected.filter(|_| !elsewhere);
            let expected = expected.map(|text| format!("/pve/{file} (line 2): {key}: {text}"));
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            expect_findings(&[ON, (&file, &format!("[OPTIONS]\n{line}\n"))], &expected);
        }
    }
}

#[test]
fn log_rates_that_the_kernel_refuses_are_reported() {
    for (rate, expected) in [
        ("enable=1,rate=10000/second,burst=10000", None),
        ("enable=1,rate=10001/second", Some("at most 10000 packets a second")),
        ("enable=1,burst=10001", Some("at most 10000 packets a second, and a burst of 10000")),
        ("enable=1,rate=1/day", Some("a burst of 5 at 1/day takes longer to refill")),
    ] {
        let text = format!("[OPTIONS]\nenable: 1\nlog_ratelimit: {rate}\n");
        let expected = expected.map(|text| format!("cluster.fw (line 3): log_ratelimit: {text}"));
        expect_findings(&[("firewall/cluster.fw", &text)], &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

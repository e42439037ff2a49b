//! The command `localnet`.
use crate::wait::OutputInTime;
use std::fs;
use std::process::Command;

/// The output with a `corosync.conf` that has these links of the node n2.
fn localnet(links: &str, cluster: &str) -> Vec<String> {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("firewall")).unwrap();
    fs::create_dir_all(tree.path().join("nodes/n1")).unwrap();
    fs::write(tree.path().join("firewall/cluster.fw"), cluster).unwrap();
    let own = "  node {\n    name: n1\n    ring0_addr: 10.0.0.1\n  }\n";
    let other = format!("  node {{\n    name: n2\n    {links}\n  }}\n");
    fs::write(tree.path().join("corosync.conf"), format!("nodelist {{\n{own}{other}}}\n")).unwrap();
    let members = r#"{"nodelist":{"n1":{"ip":"10.0.0.1"},"n2":{"ip":"10.0.0.2"}}}"#;
    fs::write(tree.path().join(".members"), members).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    let output = command.args(["localnet", "--node", "n1", "--config"]).arg(tree.path()).output_in_time();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_string).collect()
}

#[test]
fn links_that_do_not_resolve_are_named() {
    for (links, peers) in [
        ("ring0_addr: 10.0.0.2", &[" - n2: 10.0.0.2 (link: 0)"][..]),
        ("ring0_addr: fd00::2\n ring1_addr: 10.1.0.2", &[" - n2: fd00::2 (link: 0)", " - n2: 10.1.0.2 (link: 1)"]),
        (
            "ring0_addr: 10.0.0.2\n ring1_addr: n2.invalid",
            &[" - n2: 10.0.0.2 (link: 0)", " - n2: ring1_addr 'n2.invalid' does not resolve"],
        ),
        ("link2_addr: n2.invalid", &[" - no nodes found", " - n2: link2_addr 'n2.invalid' does not resolve"]),
        ("nodeid: 2", &[" - no nodes found"]),
    ] {
        let lines = localnet(links, "");
        let head = ["local hostname: n1", "local IP address: 10.0.0.1"];
        assert_eq!(lines[..2], head);
        assert_eq!(lines[4..6], ["", "accepting corosync traffic from/to:"]);
        assert_eq!(lines[6..], *peers, "{links}");
    }
    let lines = localnet("ring0_addr: 10.0.0.2", "[ALIASES]\nlocal_network 10.0.0.0/25\n");
    assert_eq!(lines[3], "using user defined local_network: 10.0.0.0/25");
}

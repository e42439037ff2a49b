//! The command `simulate`: exact output, the deciding rule, and invalid arguments.
use crate::wait::OutputInTime;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

fn example() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/pve")
}

/// Runs `simulate` on the example configuration; its status, stdout and stderr.
fn run(args: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    command.arg("simulate").args(args.split_whitespace()).arg("--config").arg(example()).args(["--node", "demo"]);
    let output = command.output_in_time();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[track_caller]
fn object(args: &str) -> Value {
    let (status, stdout, stderr) = run(&format!("{args} --json"));
    assert_eq!((status, stderr.as_str()), (0, ""), "{args}");
    serde_json::from_str(&stdout).unwrap()
}

/// The verdict, and the origin of the deciding rule: a file and line, or a description.
#[track_caller]
fn decision(args: &str) -> (String, String) {
    let object = object(args);
    let origin = &object["decided_by"]["origin"];
    let by = match (origin["file"].as_str(), &origin["line"]) {
        (Some(file), line) => {
            let file = file.strip_prefix(example().to_str().unwrap()).unwrap();
            format!("{}:{line}", file.trim_start_matches('/'))
        }
        (None, _) => origin["made_by"].as_str().unwrap_or("nothing").replace(example().to_str().unwrap(), ""),
    };
    (object["action"].as_str().unwrap().to_string(), by)
}

#[test]
fn the_output_is_the_packet_and_the_action() {
    let (status, stdout, stderr) = run("--from outside --to vm100 --dport 22");
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_eq!(
        stdout,
        "Test packet:\n  from    : outside\n  to      : vm100\n  proto   : tcp\n  dport   : 22\nACTION: DROP\n"
    );
}

#[test]
fn options_of_the_official_simulate_command_are_accepted() {
    assert_eq!(run("-from outside -to vm100 -dport 22").1, run("--from outside --to vm100 --dport 22").1);
    assert_eq!(run("--to vm100 -verbose 1").1, run("--to vm100 --verbose").1);
}

#[test]
fn the_deciding_rule_has_a_file_and_line_or_a_default() {
    let cases = [
        ("--to vm100 --dport 80", "ACCEPT", "firewall/cluster.fw:22"),
        ("--to vm100 --dport 22", "DROP", "firewall/100.fw:5"),
        ("--to vm100 --dport 5432 --source 10.10.10.101", "ACCEPT", "firewall/100.fw:14"),
        ("--to vm100 --dport 5432 --source 10.10.10.102", "DROP", "firewall/100.fw:5"),
        ("--to vm100 --dport 139", "DROP", "standard chain PVEFW-Drop: unwanted SMB packets"),
        ("--to ct101 --dport 22 --source 10.10.10.200", "ACCEPT", "firewall/101.fw:9"),
        ("--to ct101 --dport 22", "REJECT", "firewall/101.fw:5"),
        ("--to ct101 --protocol icmp --icmp-type echo-request", "DROP", "firewall/101.fw:5"),
        ("--to ct101 --dport 22 --source 198.51.100.7", "DROP", "set blacklist of cluster.fw"),
        ("--from ct101 --to vm100 --dport 80 --dest 10.10.10.100", "ACCEPT", "firewall/cluster.fw:22"),
        ("--from ct101 --to vm100 --dport 80 --source 10.9.9.9", "DROP", "firewall/101.fw:4"),
        ("--from ct101 --to outside --dport 25", "DROP", "firewall/101.fw:6"),
        (
            "--to host --dport 8006 --source 10.10.10.200",
            "ACCEPT",
            "default access to port 8006 for the set management",
        ),
        ("--to host --dport 9100 --source 10.10.10.210", "ACCEPT", "firewall/cluster.fw:26"),
        ("--to host --icmp-type 8 --source 10.10.10.200", "ACCEPT", "firewall/cluster.fw:18"),
        ("--to host --icmp-type destination-unreachable", "DROP", "invalid connection state"),
        ("--from host --to vm100 --dport 443", "ACCEPT", "firewall/cluster.fw:23"),
        ("--from host --to host --dport 1", "ACCEPT", "the host's loopback traffic"),
        ("--from vmbr0/eno1 --to vm100i0 --dport 443 --source 2001:db8::1", "ACCEPT", "firewall/cluster.fw:23"),
        ("--from ct101 --to vm100 --protocol arp", "ACCEPT", "firewall/101.fw:2"),
        ("--from ct101 --to vm100 --protocol arp --source 10.10.10.100", "DROP", "firewall/101.fw:4"),
    ];
    let decisions: Vec<_> = cases.iter().map(|(args, ..)| (args, decision(args))).collect();
    let wanted: Vec<_> = cases.iter().map(|(args, action, by)| (args, (action.to_string(), by.to_string()))).collect();
    for (found, wanted) in decisions.iter().zip(&wanted).filter(|(found, wanted)| found != wanted) {
        eprintln!("{found:?}, not {wanted:?}");
    }
    assert!(decisions == wanted);
}

#[test]
fn the_reply_to_a_rejected_packet_is_shown() {
    assert_eq!(object("--to ct101 --dport 22")["answered_with"], "tcp-reset");
    assert_eq!(
        object("--to ct101 --dport 22 --source 2001:db8::1 --protocol udp")["answered_with"],
        "icmp6-port-unreachable"
    );
    assert_eq!(object("--to vm100 --dport 22")["answered_with"], Value::Null);
}

#[test]
fn verbose_shows_the_path_and_the_deciding_rule() {
    let (_, stdout, _) = run("--to vm100 --dport 80 --verbose");
    let wanted = [
        "bridge vmbr0, from port outside to port fwpr100p0",
        "bridge fwbr100i0, from port fwln100i0 to port tap100i0",
        "    +     -A tap100i0-IN -j GROUP-webserver-IN",
        "    +       -A GROUP-webserver-IN -p tcp --dport 80 -g PVEFW-SET-ACCEPT-MARK",
        "/examples/pve/firewall/cluster.fw:22",
        "ACTION: ACCEPT",
    ];
    let mut rest = stdout.as_str();
    for line in wanted {
        let (_, after) = rest.split_once(line).unwrap_or_else(|| panic!("no '{line}' in\n{stdout}"));
        rest = after;
    }
}

#[test]
fn invalid_arguments_get_a_clear_error() {
    let cases = [
        (
            1,
            "--to vmx",
            "ERROR: there is no zone 'vmx': give host, outside, an address, vm<ID>[i<N>], ct<ID>[i<N>] or <bridge>/<port>: the node's guests are vm100, ct101",
        ),
        (1, "--from 100 --to host", "ERROR: there is no zone '100': give host"),
        (1, "--to 203.0.113.9", "ERROR: a packet from outside to outside does not cross the node"),
        (2, "--to vm100 --dport 65536", "invalid value '65536' for '--dport <N>': a port is a number from 0 to 65535"),
        (2, "--to vm100 --source 10.0.0.300", "invalid value '10.0.0.300' for '--source <A>'"),
        (
            1,
            "--to 203.0.113.9",
            "address 203.0.113.9 by its configuration, IP filter or IPAM: its guests are vm100, ct101",
        ),
        (1, "--to vm102", "ERROR: there is no VM 102 on node demo: its guests are vm100, ct101"),
        (1, "--to vm101", "ERROR: guest 101 is a container: use ct101"),
        (1, "--to vm100i3", "ERROR: VM 100 has no network device net3: it has net0"),
        (1, "--from outside --to outside", "ERROR: a packet from outside to outside does not cross the node"),
        (1, "--from vm100 --to vm100i0", "ERROR: the packet does not leave its zone"),
        (1, "--to vm100 --protocol nonsense", "ERROR: there is no protocol 'nonsense' in /etc/protocols"),
        (1, "--to vm100 --protocol tpc", "ERROR: there is no protocol 'tpc' in /etc/protocols: did you mean 'tcp'?"),
        (1, "--to vm100 --protocol gre --dport 1", "ERROR: the protocol 'gre' has no ports"),
        (
            1,
            "--to vm100 --icmp-type nonsense",
            "ERROR: 'nonsense' is not an ICMP type; give a name, a number, or TYPE/CODE",
        ),
        (
            1,
            "--to vm100 --icmp-type echo-requst",
            "ERROR: 'echo-requst' is not an ICMP type: did you mean 'echo-request'?",
        ),
        (1, "--to vm100 --protocol udp --icmp-type 8", "ERROR: --icmp-type requires the protocol icmp or icmpv6"),
        (
            1,
            "--to vm100 --source 10.0.0.1 --dest fd00::1",
            "ERROR: --source 10.0.0.1 and --dest fd00::1 are of different families",
        ),
        (
            1,
            "--to vm100 --protocol icmpv6 --source 10.0.0.1",
            "ERROR: 10.0.0.1 cannot be used with the protocol 'icmpv6'",
        ),
        (
            1,
            "--from vm100 --to ct101 --protocol arp --source fd00::1",
            "ERROR: fd00::1 cannot be used with the protocol 'arp'",
        ),
    ];
    for (wanted, args, text) in cases {
        let (status, stdout, stderr) = run(args);
        assert_eq!((status, stdout.as_str()), (wanted, ""), "{args}: {stderr}");
        assert!(stderr.contains(text), "{args}: {stderr}");
    }
}

/// Runs `simulate` on a tree of these files for node n1.
fn simulate(files: &[(&str, &str)], args: &str) -> std::process::Output {
    let tree = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = tree.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    command.arg("simulate").args(args.split_whitespace()).arg("--config").arg(tree.path());
    command.args(["--node", "n1"]).output_in_time()
}

/// The JSON object of `simulate`.
#[track_caller]
fn simulate_json(files: &[(&str, &str)], args: &str) -> Value {
    let output = simulate(files, &format!("{args} --json"));
    assert!(output.status.success(), "{args}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const ON: (&str, &str) = ("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n");
const VM: (&str, &str) = (
    "nodes/n1/qemu-server/100.conf",
    "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\nnet1: virtio=BC:24:11:00:00:02,bridge=vmbr1\n\
     ipconfig0: ip=10.0.0.100/24,ip6=fd00::100/64\n",
);
const CONTAINER: (&str, &str) =
    ("nodes/n1/lxc/200.conf", "net0: name=eth0,hwaddr=BC:24:11:00:00:03,bridge=vmbr0,firewall=1,ip=10.0.0.200/24\n");

#[test]
fn an_address_selects_the_guest_or_node_that_has_it() {
    assert_eq!(decision("--to 10.10.10.101 --dport 22"), decision("--to ct101 --dport 22"));
    assert_eq!(
        decision("--from 10.10.10.101 --to vm100 --dport 5432 --dest 10.10.10.100"),
        ("ACCEPT".to_string(), "firewall/100.fw:14".to_string())
    );
    let filters =
        "[OPTIONS]\nenable: 1\n[IPSET ipfilter-net0]\n10.0.0.0/24\n!10.0.0.66\n[IPSET ipfilter-net1]\n10.0.0.7\n";
    let files = [ON, VM, CONTAINER, ("firewall/100.fw", filters), ("firewall/200.fw", "[OPTIONS]\nenable: 1\n")];
    for (address, device) in [
        ("10.0.0.100", "tap100i0"),
        ("fd00::100", "tap100i0"),
        ("10.0.0.200", "veth200i0"),
        // found by the IP filter with the longest prefix
        ("10.0.0.42", "tap100i0"),
        ("10.0.0.7", "tap100i1"),
    ] {
        let hops = simulate_json(&files, &format!("--to {address} --dport 22"))["way"].to_string();
        assert!(hops.contains(&format!("to port {device}")), "{address}: {hops}");
    }
    for outside in ["10.0.0.66", "192.0.2.1"] {
        let hops = simulate_json(&files, &format!("--from {outside} --to vm100i0 --dport 22"))["way"].to_string();
        assert!(hops.contains("from port outside"), "{outside}: {hops}");
    }
    assert!(simulate_json(&files, "--to 127.0.0.1 --dport 22")["way"].to_string().contains("INPUT"));
}

#[test]
fn addresses_of_guests_with_dhcp_are_found_by_the_ipam_their_mac_or_their_filter() {
    let conf = "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\nnet1: virtio=BC:24:11:00:00:02,bridge=vnet0,firewall=1\n\
                ipconfig0: ip=dhcp,ip6=auto\n";
    let ct = "net0: name=eth0,hwaddr=BC:24:11:00:00:03,bridge=vmbr0,firewall=1,ip=dhcp,ip6=auto\n";
    let running = r#"{"vnets":{"ids":{"vnet0":{"zone":"z"}}},"subnets":{"ids":{"z-10.1.0.0-24":{"vnet":"vnet0"}}}}"#;
    let leases =
        r#"{"zones":{"z":{"subnets":{"10.1.0.0/24":{"ips":{"10.1.0.9":{"vmid":"100"},"10.1.0.1":{"gateway":1}}}}}}}"#;
    let alias =
        "[OPTIONS]\nenable: 1\n[ALIASES]\nme 10.0.0.77\nnet 10.9.0.0/24\n[IPSET ipfilter-net0]\nme\ndc/net\nfd00::77\n";
    let files = [
        ("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n[ALIASES]\nnet 10.8.0.0/24\n"),
        ("nodes/n1/qemu-server/100.conf", conf),
        ("nodes/n1/lxc/200.conf", ct),
        ("firewall/200.fw", alias),
        ("sdn/.running-config", running),
        ("sdn/pve-ipam-state.json", leases),
    ];
    for (address, device) in [
        ("10.1.0.9", "tap100i1"),
        ("fe80::be24:11ff:fe00:1", "tap100i0"),
        ("2001:db8::be24:11ff:fe00:2", "tap100i1"),
        ("2001:db8::be24:11ff:fe00:3", "veth200i0"),
        ("10.0.0.77", "veth200i0"),
        ("10.8.0.5", "veth200i0"),
        ("fd00::77", "veth200i0"),
    ] {
        let hops = simulate_json(&files, &format!("--to {address} --dport 22"))["way"].to_string();
        assert!(hops.contains(&format!("to port {device}")), "{address}: {hops}");
    }
    for outside in ["10.1.0.1", "10.9.0.5", "2001:db8::be24:11ff:fe00:9"] {
        let object = simulate_json(&files, &format!("--from {outside} --to ct200 --dport 22"));
        assert!(object["way"].to_string().contains("from port outside"), "{outside}: {object}");
        let note = format!("no guest of node n1 has the address {outside} by its configuration, IP filter or IPAM");
        assert!(object["notes"].to_string().contains(&note), "{object}");
    }
}

#[test]
fn the_option_that_disables_the_firewall_is_named() {
    let rule = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 80\n";
    for (files, args, note) in [
        (vec![VM, ("firewall/100.fw", rule)], "--to vm100 --dport 22", "the firewall is off in the whole cluster"),
        (vec![ON, VM, ("firewall/100.fw", rule)], "--to vm100i1 --dport 22", "net1 of guest 100 lacks firewall=1"),
        (vec![ON, VM], "--to vm100 --dport 22", "guest 100 has no firewall/100.fw"),
        (
            vec![ON, CONTAINER, ("firewall/200.fw", "[RULES]\nIN DROP\n")],
            "--to ct200",
            "the firewall of guest 200 is off",
        ),
        (
            vec![ON, VM, ("nodes/n1/host.fw", "[OPTIONS]\nenable: 0\n")],
            "--to host --dport 22",
            "the host firewall is off",
        ),
        (
            vec![("firewall/cluster.fw", "[OPTIONS]\nenable: 1000000000\n"), VM],
            "--to host",
            "the firewall is off in the whole cluster since a minute after the time 1000000000 in 'enable'",
        ),
        (vec![ON, VM, ("firewall/100.fw", rule)], "--to vm100 --dport 22", ""),
    ] {
        let notes = simulate_json(&files, args)["notes"].to_string();
        // without --json the note is on stderr, as stdout has a fixed format
        let stderr = String::from_utf8(simulate(&files, args).stderr).unwrap();
        assert_eq!(stderr.contains(&format!("note: {note}")), !note.is_empty(), "{args}: {stderr}");
        match note {
            "" => assert!(!notes.contains("off") && !notes.contains("lacks"), "{args}: {notes}"),
            _ => assert!(notes.contains(note), "{args}: {notes}"),
        }
    }
}

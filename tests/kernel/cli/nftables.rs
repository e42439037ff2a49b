//! The commands of both programs where host.fw selects nftables, or does not.
use super::super::hand_over::{NodeWithSender, terminate};
use super::with;
use crate::netns::Netns;
use crate::nft_trees::has_bridge_conntrack;
use crate::node::{copy_program, wait_for};
use crate::wait::OutputInTime;
use pve_firewall::model::BackendKind::{self, Iptables, Nftables};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const PROXMOX: &str = env!("CARGO_BIN_EXE_proxmox-firewall");
/// The message of a program on stderr if the other one enforces.
const BY_NFTABLES: &str =
    "note: host.fw has 'nftables: 1': proxmox-firewall enforces this configuration, with nftables\n";
const BY_IPTABLES: &str =
    "note: host.fw does not have 'nftables: 1': pve-firewall enforces this configuration, with iptables\n";

const CLUSTER: &str = "[OPTIONS]\nenable: 1\n[RULES]\nFORWARD DROP -p tcp -dport 25\n";
const GUEST: &str = "[OPTIONS]\nenable: 1\npolicy_in: REJECT\n";

/// A node on which both programs are installed; host.fw selects nftables if it is 1.
fn node(selected: u8) -> TempDir {
    let host = ["[OPTIONS]\nnftables: 0\n", "[OPTIONS]\nnftables: 1\n"][usize::from(selected)];
    let root = with(&[("firewall/cluster.fw", CLUSTER), ("firewall/100.fw", GUEST), ("nodes/n1/host.fw", host)]);
    let program = root.path().join("usr/libexec/proxmox/proxmox-firewall");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    copy_program(Path::new(PROXMOX), &program);
    root
}

fn program(kind: BackendKind) -> &'static str {
    match kind {
        Iptables => env!("CARGO_BIN_EXE_pve-firewall"),
        Nftables => PROXMOX,
    }
}

/// Runs a command of a program; its status, stdout and stderr.
fn run(mut command: Command, args: &[&str], root: &Path) -> (i32, String, String) {
    let output = command.args(args).arg("--root").arg(root).args(["--node", "n1"]).output_in_time();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn run_program(kind: BackendKind, root: &TempDir, args: &[&str]) -> (i32, String, String) {
    run(Command::new(program(kind)), args, root.path())
}

/// The message of a program on stderr.
fn note(kind: BackendKind, selected: u8) -> &'static str {
    match (kind, selected) {
        (Iptables, 1) => BY_NFTABLES,
        (Nftables, 0) => BY_IPTABLES,
        _ => "",
    }
}

#[test]
fn status_of_both_programs_names_the_backend_in_use() {
    for selected in [0, 1] {
        let root = node(selected);
        for kind in BackendKind::ALL {
            // the official pve-firewall does not print it either, and other programs parse this output
            let note = if kind == Nftables { note(kind, selected) } else { "" };
            let line = "Status: enabled/stopped\n".to_string();
            assert_eq!(run_program(kind, &root, &["status"]), (0, line.clone(), note.into()));
            assert_eq!(run_program(kind, &root, &["status", "--exit-code"]), (2, line, note.into()));
            let json: Value = serde_json::from_str(&run_program(kind, &root, &["status", "--json"]).1).unwrap();
            assert_eq!(json["nftables"], selected == 1, "{kind:?} {json:#}");
            assert_eq!((&json["guests"], &json["devices"]), (&1.into(), &1.into()), "{json:#}");
            let verbose = run_program(kind, &root, &["status", "--verbose"]).1;
            let row = verbose.lines().find(|line| line.starts_with("Backend:"));
            assert_eq!(
                row,
                match (kind, selected) {
                    (Iptables, 1) => Some("Backend:       nftables (proxmox-firewall); no rules of this program"),
                    (Nftables, 0) => Some("Backend:       iptables (pve-firewall); no rules of this program"),
                    _ => None,
                }
            );
        }
    }
}

#[test]
fn compile_prints_which_program_enforces_the_configuration() {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap()["nftables"].as_array().unwrap().len();
    for selected in [0, 1] {
        let root = node(selected);
        let (status, stdout, stderr) = run_program(Iptables, &root, &["compile", "--offline"]);
        assert_eq!((status, stderr.as_str()), (0, note(Iptables, selected)));
        assert!(stdout.starts_with("ipset cmdlist:\n") && stdout.contains("create tap100i0-IN "), "{stdout}");
        let (status, stdout, stderr) = run_program(Nftables, &root, &["compile"]);
        assert_eq!((status, stderr.as_str()), (0, note(Nftables, selected)));
        assert_eq!(json(&stdout) > 100, selected == 1, "{stdout}");
    }
    let root = node(1);
    fs::write(root.path().join("etc/pve/firewall/cluster.fw"), "[OPTIONS]\nenable: 0\n").unwrap();
    assert_eq!(run_program(Nftables, &root, &["compile"]), (0, "{\n  \"nftables\": []\n}\n".into(), String::new()));
}

#[test]
fn check_and_simulate_use_the_selected_backend() {
    for selected in [0, 1] {
        let root = node(selected);
        for kind in BackendKind::ALL {
            let (status, stdout, _) = run_program(kind, &root, &["check"]);
            let ineffective = stdout.contains("only the nftables backend enforces it");
            assert_eq!((status, ineffective), (0, selected == 0), "{kind:?}: {stdout}");
            let (status, stdout, stderr) = run_program(kind, &root, &["simulate", "--to", "vm100", "--dport", "23"]);
            // behind a bridge, nftables has no answer; proxmox-firewall always simulates nftables
            let action = if kind == Nftables || selected == 1 { "ACTION: DROP\n" } else { "ACTION: REJECT\n" };
            assert_eq!((status, stdout.ends_with(action)), (0, true), "{kind:?} {selected}: {stdout}");
            let note = if kind == Nftables { note(kind, selected) } else { "" };
            assert!(stderr.starts_with(note) && stderr.contains("note: host.fw") != note.is_empty(), "{stderr}");
        }
    }
}

#[test]
fn preview_uses_the_selected_backend() {
    let netns = Netns::new("cli-preview");
    for selected in [0, 1] {
        let root = node(selected);
        let file = root.path().join("cluster.fw");
        fs::write(&file, CLUSTER.replace("FORWARD DROP", "IN DROP")).unwrap();
        let (status, stdout, stderr) = run(
            netns.command(program(Iptables)),
            &["preview", "--json", "--force", file.to_str().unwrap()],
            root.path(),
        );
        let preview: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{status} {stdout} {stderr}"));
        let of_nftables = |change: &Value| change["part"].as_str().unwrap().contains("proxmox-firewall");
        let changes = preview["changes"].as_array().unwrap();
        assert!(!changes.is_empty() && changes.iter().all(|one| of_nftables(one) == (selected == 1)), "{preview:#}");
    }
}

#[test]
fn the_error_for_a_command_of_the_other_program_names_that_program() {
    let root = node(1);
    for command in ["preview", "try", "confirm", "revert"] {
        let (status, stdout, stderr) = run_program(Nftables, &root, &[command]);
        assert_eq!((status, stdout.as_str()), (1, ""));
        let named = format!("'{command}' is a command of pve-firewall, for both backends: 'pve-firewall {command}'");
        assert!(stderr.contains(&named), "{stderr}");
    }
    let stderr = run_program(Nftables, &root, &["stop"]).2;
    assert!(stderr.contains("proxmox-firewall is stopped with 'systemctl stop proxmox-firewall'"), "{stderr}");
    let (status, stdout, stderr) = run_program(Iptables, &root, &["skeleton"]);
    assert_eq!((status, stdout.as_str()), (2, ""));
    let named = "'skeleton' is a command of proxmox-firewall: '/usr/libexec/proxmox/proxmox-firewall skeleton'";
    assert!(stderr.contains(named), "{stderr}");
    // a command that neither program has
    let stderr = run_program(Nftables, &root, &["nonsense"]).2;
    assert!(!stderr.contains("is a command of") && stderr.contains("Usage: proxmox-firewall"), "{stderr}");
}

#[test]
fn localnet_skeleton_and_help_of_proxmox_firewall_print_their_output() {
    let netns = Netns::new("cli-localnet");
    netns.exec("ip link add vmbr0 type bridge && ip address add 192.0.2.10/20 dev vmbr0 && ip link set vmbr0 up");
    for selected in [0, 1] {
        let root = node(selected);
        let output = run(netns.command(PROXMOX), &["localnet"], root.path());
        assert_eq!(output, (0, "Management IPSet:\n192.0.0.0/20\n".into(), note(Nftables, selected).into()));
        let (status, skeleton, stderr) = run_program(Nftables, &root, &["skeleton"]);
        assert_eq!((status, stderr.as_str()), (0, ""));
        for table in ["inet proxmox-firewall", "bridge proxmox-firewall-guests"] {
            assert!(skeleton.contains(table), "{skeleton}");
        }
        fs::write(root.path().join("skeleton"), skeleton).unwrap();
        let loads = netns.command("nft").arg("-c").arg("-f").arg(root.path().join("skeleton")).output_in_time();
        assert_eq!(loads.status.success(), has_bridge_conntrack(), "{loads:?}");
    }
    let plain = |args: &[&str]| {
        let output = Command::new(PROXMOX).args(args).env_remove("RUST_LOG").output_in_time();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (status, stdout, stderr) = plain(&["help"]);
    assert_eq!((status, stderr.as_str()), (0, ""));
    for command in ["start", "compile", "skeleton", "localnet", "status", "check", "simulate", "help"] {
        assert!(stdout.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{stdout}");
    }
    let (status, stdout, stderr) = plain(&[]);
    assert_eq!((status, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("Error: no command given"), "{stderr}");
}

#[test]
fn status_of_both_daemons_names_the_backend_in_use() {
    let nodes = NodeWithSender::new("cli-both");
    nodes.select(1);
    let daemons = [nodes.node.start(), nodes.start_nftables(&[])];
    nodes.wait_for_backend(true);
    let status = |kind| run(nodes.node.netns.command(program(kind)), &["status", "--exit-code"], &nodes.node.path(""));
    let running = "Status: enabled/running";
    wait_for("a status of pve-firewall without warnings", || {
        (status(Iptables) == (0, format!("{running}\n"), String::new())).then_some(())
    });
    // where bridges track no connections, some rules are refused, which is an error
    let expected = if has_bridge_conntrack() { 0 } else { 1 };
    let (found, stdout, stderr) = status(Nftables);
    assert!(found == expected && stdout.starts_with(running), "{found} {stdout} {stderr}");
    nodes.select(0);
    nodes.wait_for_backend(false);
    wait_for("pve-firewall as the only running firewall", || {
        (status(Iptables) == (0, format!("{running}\n"), String::new())).then_some(())
    });
    let (_, stdout, stderr) = status(Nftables);
    assert!(stdout.starts_with(running) && stderr == BY_IPTABLES, "{stdout} {stderr}");
    daemons.into_iter().for_each(terminate);
}

//! The commands of both programs where host.fw selects nftables, or does not.
use super::super::hand_over::{Pair, terminate};
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

fn ask(kind: BackendKind, root: &TempDir, args: &[&str]) -> (i32, String, String) {
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
            let said = if kind == Nftables { note(kind, selected) } else { "" };
            let line = "Status: enabled/stopped\n".to_string();
            assert_eq!(ask(kind, &root, &["status"]), (0, line.clone(), said.into()));
            assert_eq!(ask(kind, &root, &["status", "--exit-code"]), (2, line, said.into()));
            let json: Value = serde_json::from_str(&ask(kind, &root, &["status", "--json"]).1).unwrap();
            assert_eq!(json["nftables"], selected == 1, "{kind:?} {json:#}");
            assert_eq!((&json["guests"], &json["devices"]), (&1.into(), &1.into()), "{json:#}");
            let verbose = ask(kind, &root, &["status", "--verbose"]).1;
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
fn compile_says_which_program_enforces() {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap()["nftables"].as_array().unwrap().len();
    for selected in [0, 1] {
        let root = node(selected);
        let (status, stdout, stderr) = ask(Iptables, &root, &["compile", "--offline"]);
        assert_eq!((status, stderr.as_str()), (0, note(Iptables, selected)));
        assert!(stdout.starts_with("ipset cmdlist:\n") && stdout.contains("create tap100i0-IN "), "{stdout}");
        let (status, stdout, stderr) = ask(Nftables, &root, &["compile"]);
        assert_eq!((status, stderr.as_str()), (0, note(Nftables, selected)));
        assert_eq!(json(&stdout) > 100, selected == 1, "{stdout}");
    }
    let root = node(1);
    fs::write(root.path().join("etc/pve/firewall/cluster.fw"), "[OPTIONS]\nenable: 0\n").unwrap();
    assert_eq!(ask(Nftables, &root, &["compile"]), (0, "{\n  \"nftables\": []\n}\n".into(), String::new()));
}

#[test]
fn check_and_simulate_are_about_the_backend_in_use() {
    for selected in [0, 1] {
        let root = node(selected);
        for kind in BackendKind::ALL {
            let (status, stdout, _) = ask(kind, &root, &["check"]);
            let ineffective = stdout.contains("only the nftables backend enforces it");
            assert_eq!((status, ineffective), (0, selected == 0), "{kind:?}: {stdout}");
            let (status, stdout, stderr) = ask(kind, &root, &["simulate", "--to", "vm100", "--dport", "23"]);
            // behind a bridge, nftables has no answer; proxmox-firewall always simulates nftables
            let action = if kind == Nftables || selected == 1 { "ACTION: DROP\n" } else { "ACTION: REJECT\n" };
            assert_eq!((status, stdout.ends_with(action)), (0, true), "{kind:?} {selected}: {stdout}");
            let said = if kind == Nftables { note(kind, selected) } else { "" };
            assert!(stderr.starts_with(said) && stderr.contains("note: host.fw") != said.is_empty(), "{stderr}");
        }
    }
}

#[test]
fn preview_is_about_the_backend_in_use() {
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
fn commands_of_the_other_program_are_named() {
    let root = node(1);
    for command in ["preview", "try", "confirm", "revert"] {
        let (status, stdout, stderr) = ask(Nftables, &root, &[command]);
        assert_eq!((status, stdout.as_str()), (1, ""));
        let named = format!("'{command}' is a command of pve-firewall, for both backends: 'pve-firewall {command}'");
        assert!(stderr.contains(&named), "{stderr}");
    }
    let stderr = ask(Nftables, &root, &["stop"]).2;
    assert!(stderr.contains("proxmox-firewall is stopped with 'systemctl stop proxmox-firewall'"), "{stderr}");
    let (status, stdout, stderr) = ask(Iptables, &root, &["skeleton"]);
    assert_eq!((status, stdout.as_str()), (2, ""));
    let named = "'skeleton' is a command of proxmox-firewall: '/usr/libexec/proxmox/proxmox-firewall skeleton'";
    assert!(stderr.contains(named), "{stderr}");
    // a command that neither program has
    let stderr = ask(Nftables, &root, &["nonsense"]).2;
    assert!(!stderr.contains("is a command of") && stderr.contains("Usage: proxmox-firewall"), "{stderr}");
}

#[test]
fn localnet_skeleton_and_help_of_proxmox_firewall() {
    let netns = Netns::new("cli-localnet");
    netns.exec("ip link add vmbr0 type bridge && ip address add 192.0.2.10/20 dev vmbr0 && ip link set vmbr0 up");
    for selected in [0, 1] {
        let root = node(selected);
        let said = run(netns.command(PROXMOX), &["localnet"], root.path());
        assert_eq!(said, (0, "Management IPSet:\n192.0.0.0/20\n".into(), note(Nftables, selected).into()));
        let (status, skeleton, stderr) = ask(Nftables, &root, &["skeleton"]);
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
fn status_of_both_daemons() {
    let pair = Pair::new("cli-both");
    pair.select(1);
    let daemons = [pair.node.start(), pair.start_nftables(&[])];
    pair.wait_for_backend(true);
    let status = |kind| run(pair.node.netns.command(program(kind)), &["status", "--exit-code"], &pair.node.path(""));
    let running = "Status: enabled/running";
    wait_for("pve-firewall without a warning", || {
        (status(Iptables) == (0, format!("{running}\n"), String::new())).then_some(())
    });
    // where bridges track no connections, some rules are refused, which is an error
    let expected = if has_bridge_conntrack() { 0 } else { 1 };
    let (found, stdout, stderr) = status(Nftables);
    assert!(found == expected && stdout.starts_with(running), "{found} {stdout} {stderr}");
    pair.select(0);
    pair.wait_for_backend(false);
    wait_for("pve-firewall alone", || (status(Iptables) == (0, format!("{running}\n"), String::new())).then_some(()));
    let (_, stdout, stderr) = status(Nftables);
    assert!(stdout.starts_with(running) && stderr == BY_IPTABLES, "{stdout} {stderr}");
    daemons.into_iter().for_each(terminate);
}

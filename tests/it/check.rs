//! The command `pve-firewall check`.
use crate::wait::OutputInTime;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const CLUSTER: &str =
    "[OPTIONS]\nenable: 1\n[IPSET web]\n10.0.0.1\n[RULES]\nIN SSH(ACCEPT)\n[ALIASES]\nlocal_network 10.0.0.0/24\n";
const GUEST: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -source +web\n";

/// A valid configuration for node n1.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("firewall/cluster.fw", CLUSTER),
        ("firewall/100.fw", GUEST),
        ("nodes/n1/host.fw", "[OPTIONS]\nnosmurfs: 1\n"),
        ("nodes/n1/qemu-server/100.conf", "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\n"),
    ] {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    tree
}

/// Exit status and standard output.
fn check(config: &Path, args: &[&str]) -> (i32, String) {
    check_node("n1", config, args)
}

fn check_node(node: &str, config: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    let output = command.args(["--node", node, "--config"]).arg(config).arg("check").args(args).output_in_time();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_valid_configuration_passes() {
    let tree = tree();
    assert_eq!(check(tree.path(), &[]), (0, "0 errors, 0 warnings\n".to_string()));
    assert_eq!(check(tree.path(), &["--json"]), (0, "[]\n".to_string()));
}

#[test]
fn the_local_network_is_not_reported_for_a_copy_on_another_machine() {
    let tree = tree();
    fs::write(tree.path().join("firewall/cluster.fw"), "[OPTIONS]\nenable: 1\n[IPSET web]\n10.0.0.1\n").unwrap();
    assert_eq!(check(tree.path(), &[]), (0, "0 errors, 0 warnings\n".to_string()));
    // no interface of this machine has the node's address
    let name = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let name = name.split('.').next().unwrap();
    let members =
        |node: &str| format!(r#"{{"nodename":"{node}","nodelist":{{"{node}":{{"id":1,"ip":"198.51.100.77"}}}}}}"#);
    fs::write(tree.path().join(".members"), members("n1")).unwrap();
    assert_eq!(check(tree.path(), &[]), (0, "0 errors, 0 warnings\n".to_string()));
    // on the node itself there is a warning
    fs::write(tree.path().join(".members"), members(name)).unwrap();
    fs::rename(tree.path().join("nodes/n1"), tree.path().join("nodes").join(name)).unwrap();
    let (status, text) = check_node(name, tree.path(), &[]);
    assert!(status == 0 && text.contains("no other machine can reach port 22 (SSH) of the node"), "{text}");
}

#[test]
fn an_error_is_shown_with_its_line_and_column() {
    let tree = tree();
    let file = tree.path().join("firewall/cluster.fw");
    fs::write(&file, CLUSTER.replace("SSH", "SHH")).unwrap();
    let shown = format!(
        "error: errors in rule parameters: IN SHH(ACCEPT)\n --> {}:6:4\n  |\n6 | IN SHH(ACCEPT)\n  |    ^^^ unknown macro 'SHH': did you mean 'SSH'?\n\n1 error, 0 warnings\n",
        file.display()
    );
    assert_eq!(check(tree.path(), &[]), (1, shown));
    let (status, json) = check(tree.path(), &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let place =
        serde_json::json!({ "column": 4, "end": 7, "text": "unknown macro 'SHH'", "help": "did you mean 'SSH'?" });
    assert_eq!((status, &json[0]["line"], &json[0]["severity"]), (1, &6.into(), &"error".into()));
    assert_eq!(json[0]["places"], serde_json::json!([place]));
}

#[test]
fn warnings_alone_do_not_fail() {
    let tree = tree();
    fs::write(tree.path().join("nodes/n1/host.fw"), "[RULES]\nOUT ACCEPT\nOUT DROP -p udp\n").unwrap();
    let (status, text) = check(tree.path(), &[]);
    assert_eq!(status, 0);
    assert!(
        text.starts_with("warning: this rule is never reached: line 2 already accepts all outgoing packets"),
        "{text}"
    );
    assert!(text.ends_with("\n0 errors, 1 warning\n"), "{text}");
}

#[test]
fn a_new_file_is_checked_against_the_rest_and_its_effect_on_the_rest_is_shown() {
    let tree = tree();
    let elsewhere = tempfile::tempdir().unwrap();
    let new = elsewhere.path().join("cluster.fw");
    fs::write(&new, "[OPTIONS]\nenable: 1\nebtabels: 1\n[ALIASES]\nlocal_network 10.0.0.0/24\n").unwrap();
    let (status, text) = check(tree.path(), &[new.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(text.contains(&format!("{}:3:1", new.display())) && text.contains("did you mean 'ebtables'?"), "{text}");
    let guest = tree.path().join("firewall/100.fw");
    assert!(text.contains(&format!("{}:4:19", guest.display())) && text.contains("no such ipset 'web'"), "{text}");
    assert!(text.ends_with("\n2 errors, 0 warnings\n"), "{text}");
    assert_eq!(fs::read_to_string(tree.path().join("firewall/cluster.fw")).unwrap(), CLUSTER, "nothing is written");
    // existing errors in other files are not reported
    fs::write(&guest, "[RULES]\nIN NOPE\n").unwrap();
    fs::write(&new, CLUSTER.replace("+web", "")).unwrap();
    let (status, text) = check(tree.path(), &[new.to_str().unwrap()]);
    assert_eq!((status, text.contains("100.fw")), (0, false), "{text}");
}

#[test]
fn a_file_with_an_unknown_name_is_classified_by_its_content() {
    let (tree, elsewhere) = (tree(), tempfile::tempdir().unwrap());
    let new = elsewhere.path().join("new");
    fs::write(&new, "[OPTIONS]\nenable: 1\nebtables: 0\n[RULES]\nIN SSH(ACCEPT)\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    let output = command.args(["--node", "n1", "check"]).arg(&new).arg("--config").arg(tree.path()).output_in_time();
    let expected = format!(
        "{}: the kind of this file is not clear from its name; according to its content it is treated as firewall/cluster.fw\n",
        new.display()
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default(), expected.trim_end());
}

#[test]
fn malicious_lines_are_escaped_for_terminals() {
    let tree = tree();
    let file = tree.path().join("firewall/100.fw");
    fs::write(&file, "[RULES]\nIN \u{1b}[31mRED\u{7}\nIN ACCEPT -source \u{202e}x\nIN \u{9b}31m\n").unwrap();
    let (status, text) = check(tree.path(), &[]);
    assert_eq!(status, 1);
    let harmless = |one: char| one == '\n' || !(one.is_control() || ('\u{202a}'..='\u{202e}').contains(&one));
    assert!(text.chars().all(harmless), "{text:?}");
}

#[test]
fn without_a_configuration_only_given_files_are_checked() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(check(empty.path(), &[]).0, 1);
    let file = empty.path().join("100.fw");
    fs::write(&file, "[OPTIONS]\nenable: 1\n").unwrap();
    assert_eq!(check(empty.path(), &[file.to_str().unwrap()]), (0, "0 errors, 0 warnings\n".to_string()));
}

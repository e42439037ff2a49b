//! The commands: exact output, exit status, usage.
mod nftables;

use crate::netns::Netns;
use crate::node::copy_program;
use crate::wait::{OutputInTime, WaitInTime};
use std::fs;
use std::io::read_to_string;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const FILES: &[(&str, &str)] = &[
    (".vmlist", r#"{"version":1,"ids":{"100":{"node":"n1","type":"qemu","version":1}}}"#),
    (".members", r#"{"nodename":"n1","nodelist":{"n1":{"ip":"192.0.2.10"},"n2":{"ip":"192.0.2.11"}}}"#),
    ("firewall/cluster.fw", "[OPTIONS]\nenable: 1\n"),
    ("firewall/100.fw", "[OPTIONS]\nenable: 1\n"),
    ("nodes/n1/qemu-server/100.conf", "net0: virtio=02:00:00:00:00:01,bridge=vmbr0,firewall=1\n"),
];

/// A root directory with these files in its `/etc/pve`.
fn root(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join("etc/pve").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn with(extra: &[(&'static str, &'static str)]) -> TempDir {
    root(&[FILES, extra].concat())
}

fn command(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    command.args(args).arg("--root").arg(root).args(["--node", "n1"]);
    command
}

/// Runs a command; its status, stdout and stderr.
fn run(root: &Path, args: &[&str]) -> (i32, String, String) {
    let output = command(root, args).output_in_time();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The output of a successful command without reports.
fn prints(root: &TempDir, args: &[&str]) -> String {
    let (status, stdout, stderr) = run(root.path(), args);
    assert_eq!((status, stderr.as_str()), (0, ""), "{args:?}");
    stdout
}

#[test]
fn status_is_one_line() {
    assert_eq!(prints(&with(&[]), &["status"]), "Status: enabled/stopped\n");
    let disabled = with(&[("firewall/cluster.fw", "[OPTIONS]\nenable: 0\n")]);
    assert_eq!(prints(&disabled, &["status"]), "Status: disabled/stopped\n");
}

#[test]
fn verbose_status_shows_details() {
    let root = with(&[]);
    for spelling in [["status", "--verbose"].as_slice(), &["status", "-verbose", "1"], &["-v", "status"]] {
        let text = prints(&root, spelling);
        let heads: Vec<&str> = text.lines().map(|line| line.split(':').next().unwrap().trim_start()).collect();
        let table = ["chains  rules  raw chains  raw rules  sets", "IPv4", "IPv6", "ebtables"];
        let wanted = [
            &["Status", "Node", "Local network", "Guests", "Devices", "Tools", "Last update"][..],
            &table,
            &["Errors"],
        ]
        .concat();
        assert_eq!(heads, wanted, "{text}");
        // as root, the working tools are shown without a daemon too
        assert!(text.contains("\nTools:         iptables ") && !text.contains("iptables none"), "{text}");
        assert!(
            text.contains("\nNode:          n1\n") && text.contains("\nGuests:        1\nDevices:       1\n"),
            "{text}"
        );
    }
    assert_eq!(prints(&root, &["status", "--verbose", "0"]), "Status: enabled/stopped\n");
    let json: serde_json::Value = serde_json::from_str(&prints(&root, &["status", "--json"])).unwrap();
    assert_eq!(json["status"], "enabled/stopped");
    assert_eq!((&json["enabled"], &json["running"]), (&true.into(), &false.into()));
    assert_eq!((&json["guests"], &json["devices"]), (&1.into(), &1.into()));
    assert_eq!(json["node"], "n1");
    assert!(json["ipv4"]["filter"]["chains"].as_u64().unwrap() > 10, "{json}");
}

#[test]
fn compile_offline_lists_every_chain_as_new() {
    let text = prints(&with(&[]), &["compile", "--offline"]);
    let heads: Vec<&str> = text.lines().filter(|line| line.ends_with("cmdlist:")).collect();
    let wanted = [
        "ipset cmdlist:",
        "iptables cmdlist:",
        "ip6tables cmdlist:",
        "ebtables cmdlist:",
        "iptables table raw cmdlist:",
        "ip6tables table raw cmdlist:",
    ];
    assert_eq!(heads, wanted);
    assert!(text.contains("\n\nip6tables table raw cmdlist:\n"));
    assert!(text.contains("\ncreate tap100i0-IN ("), "{text}");
    assert!(text.contains("\n\t-A tap100i0-IN "), "{text}");
    assert!(text.ends_with("\ndetected changes\n"), "{text}");
    let disabled = with(&[("firewall/cluster.fw", "")]);
    let text = prints(&disabled, &["compile", "--offline"]);
    assert!(text.ends_with("ip6tables table raw cmdlist:\nno changes\nfirewall disabled\n"), "{text}");
}

#[test]
fn configuration_errors_go_to_stderr_with_exit_status_0() {
    let root = with(&[("firewall/100.fw", "[OPTIONS]\nenable: 1\n[RULES]\nIN NONSENSE\n")]);
    for args in [["status"].as_slice(), &["compile", "--offline"]] {
        let (status, stdout, stderr) = run(root.path(), args);
        assert_eq!(status, 0);
        let file = root.path().join("etc/pve/firewall/100.fw");
        assert!(stderr.starts_with(&format!("{} (line 4)", file.display())), "{stderr}");
        assert!(!stdout.contains("NONSENSE"), "{stdout}");
    }
}

#[test]
fn localnet_prints_the_network_and_the_corosync_addresses() {
    // a namespace with known routes; needs root
    let netns = Netns::new("pvefw-localnet");
    netns.exec("ip link add vmbr0 type bridge && ip address add 192.0.2.10/20 dev vmbr0 && ip link set vmbr0 up");
    let prints = |extra: &[(&'static str, &'static str)]| {
        let root = with(extra);
        let mut command = netns.command(env!("CARGO_BIN_EXE_pve-firewall"));
        let output = command.args(["localnet", "--node", "n1", "--root"]).arg(root.path()).output_in_time();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap()
    };
    let detected = "local hostname: n1\nlocal IP address: 192.0.2.10\nnetwork auto detect: 192.0.0.0/20\n\
                    using detected local_network: 192.0.0.0/20\n";
    assert_eq!(prints(&[]), detected);
    let named = detected
        .replace("using detected local_network: 192.0.0.0/20", "using user defined local_network: 192.0.2.0/24");
    assert_eq!(prints(&[("firewall/cluster.fw", "[ALIASES]\nlocal_network 192.0.2.0/24\n")]), named);
    let corosync = "nodelist {\n node {\n name: n1\n ring0_addr: 192.0.2.10\n }\n node {\n name: n2\n \
                    ring0_addr: 192.0.2.11\n ring1_addr: 2001:db8::2\n }\n}\ntotem {\n transport: knet\n}\n";
    let peers = "\naccepting corosync traffic from/to:\n - n2: 192.0.2.11 (link: 0)\n - n2: 2001:db8::2 (link: 1)\n";
    assert_eq!(prints(&[("corosync.conf", corosync)]), format!("{detected}{peers}"));
    let alone = "nodelist {\n node {\n name: n1\n ring0_addr: 192.0.2.10\n }\n}\n";
    let nobody = "\naccepting corosync traffic from/to:\n - no nodes found\n";
    assert_eq!(prints(&[("corosync.conf", alone)]), format!("{detected}{nobody}"));
}

#[test]
fn the_configuration_directory_can_be_chosen() {
    let root = with(&[]);
    let config = root.path().join("etc/pve");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    let output = command.args(["-node", "n1", "status", "--config"]).arg(&config).output_in_time();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Status: enabled/stopped\n");
    // a relative path is accepted too, and the services database is read below the root
    fs::create_dir_all(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/services"), "myport 4711/tcp\n").unwrap();
    fs::write(config.join("firewall/100.fw"), "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport myport\n")
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    command.current_dir(root.path()).args(["compile", "--offline", "--root", ".", "--node", "n1"]);
    let output = command.output_in_time();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(String::from_utf8_lossy(&output.stdout).contains("--dport myport"));
}

#[test]
fn a_failure_is_one_line_that_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let config = empty.path().join("etc/pve");
    for command in ["status", "localnet"] {
        let (status, stdout, stderr) = run(empty.path(), &[command]);
        let wanted = format!(
            "ERROR: cannot read {}: No such file or directory (os error 2); '--config DIR' must be a directory with \
             firewall/ and nodes/\n",
            config.display()
        );
        assert_eq!((status, stdout.as_str(), stderr), (1, "", wanted));
    }
    fs::create_dir_all(&config).unwrap();
    let (status, _, stderr) = run(empty.path(), &["status"]);
    let wanted = format!(
        "ERROR: {} contains neither .vmlist nor nodes/n1; is pve-cluster running, and is that the node's name?\n",
        config.display()
    );
    assert_eq!((status, stderr), (1, wanted));
}

#[test]
fn wrong_usage_prints_the_usage_and_exits_with_status_2() {
    let root = with(&[]);
    let cases: &[(&[&str], &str)] = &[
        (&["strat"], "a similar subcommand exists: 'start'"),
        (&["compil"], "a similar subcommand exists: 'compile'"),
        (&["stats"], "a similar subcommand exists: 'status'"),
        (&["status", "--nonsense"], "unexpected argument '--nonsense'"),
        (&["status", "--variant", "third"], "[possible values: auto, legacy, nft]"),
        (&["status", "--debug", "2"], "unexpected argument"),
    ];
    for (args, wanted) in cases {
        let (status, stdout, stderr) = run(root.path(), args);
        assert_eq!((status, stdout.as_str()), (2, ""), "{args:?}");
        assert!(stderr.contains(wanted) && stderr.contains("Usage: pve-firewall"), "{args:?}: {stderr}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_pve-firewall")).output_in_time();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: pve-firewall"));
    let (status, _, stderr) = run(root.path(), &["status", "--node", "../n2"]);
    assert!(status == 2 && stderr.contains("may only contain letters, digits and '-'"), "{stderr}");
    assert!(stderr.contains("Usage: pve-firewall"), "{stderr}");
}

#[test]
fn commands_that_only_read_write_nothing() {
    let root = with(&[]);
    for args in [["status", "--verbose"].as_slice(), &["compile", "--offline"], &["localnet"]] {
        prints(&root, args);
    }
    let names: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["etc"]);
}

#[test]
fn a_closed_pipe_causes_no_panic() {
    let root = with(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    command.args(["compile", "--offline", "--node", "n1", "--root"]).arg(root.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait_in_time().success());
    assert_eq!(read_to_string(child.stderr.take().unwrap()).unwrap(), "");
}

#[test]
fn commands_that_change_something_need_root() {
    // the tests run as root: run this as user nobody
    let root = tempfile::tempdir().unwrap();
    copy_program(Path::new(env!("CARGO_BIN_EXE_pve-firewall")), &root.path().join("pve-firewall"));
    open_to_all(root.path());
    for command in ["start", "stop", "restart", "compile"] {
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(root.path().join("pve-firewall"));
        let output = nobody.args([command, "--root"]).arg(root.path()).output_in_time();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let wanted = match command {
            "compile" => {
                "ERROR: only root can read the live rules; 'pve-firewall compile --offline' does not need them\n"
            }
            _ => &format!("ERROR: 'pve-firewall {command}' must be run as root\n"),
        };
        assert_eq!((output.status.code(), stderr.as_str()), (Some(1), wanted));
    }
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn with_systemd_the_service_is_started_and_stopped() {
    // a /run that simulates systemd, and a script in place of systemctl that logs its arguments
    let netns = Netns::new("pvefw-systemd");
    let dir = tempfile::tempdir().unwrap();
    let (notes, shim) = (dir.path().join("notes"), dir.path().join("systemctl"));
    fs::write(
        &shim,
        format!("#!/bin/sh\necho \"$@\" >> {}\n[ ! -e {}/broken ]\n", notes.display(), dir.path().display()),
    )
    .unwrap();
    open_to_all(&shim);
    let run = |command: &str| {
        let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec \"$@\"";
        let mut inside = netns.command("unshare");
        inside.args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_pve-firewall"), command]);
        inside.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dir.path().display()));
        let output = inside.output_in_time();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for (command, wanted) in [("start", "start"), ("restart", "start"), ("stop", "stop")] {
        assert_eq!(run(command), (0, String::new()), "{command}");
        assert_eq!(fs::read_to_string(&notes).unwrap(), format!("{wanted} pve-firewall.service\n"));
        fs::remove_file(&notes).unwrap();
    }
    fs::write(dir.path().join("broken"), "").unwrap();
    let wanted = "ERROR: 'systemctl start pve-firewall.service' failed; see 'journalctl -u pve-firewall.service'\n";
    assert_eq!(run("start"), (1, wanted.to_string()));
}

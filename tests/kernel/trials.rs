//! A configuration on trial is in force until it is confirmed or its deadline is reached, despite failures in the meantime.
use crate::node::{CLUSTER, GUEST, Node, wait_for};
use crate::wait::{OutputInTime, WaitInTime, repeat_during};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::{Child, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

mod connections;
mod failsafe;
mod failures;
mod lockout;
mod nftables;
mod related;
mod terminal;

/// A live rule of the current configuration, and one of the candidate.
pub const OLD: &str = "-A tap100i0-IN -p tcp -m tcp --dport 22 -j ACCEPT";
pub const NEW: &str = "-A tap100i0-IN -p tcp -m tcp --dport 2222 -j ACCEPT";

/// A node with a running daemon, and a candidate for guest 100.
pub fn node_with_candidate(name: &str) -> (Node, Child) {
    let node = Node::new(name);
    let daemon = node.start();
    candidate(&node, "100.fw", &GUEST.replace("22", "2222"));
    (node, daemon)
}

/// A file outside of the configuration; its path on disk.
pub fn candidate(node: &Node, name: &str, text: &str) -> String {
    let path = node.path("root").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

/// The length of a trial in seconds that is sufficient for the commands of a test; longer on a busy machine.
pub fn trial_seconds(node: &Node, least: u64) -> u64 {
    let began = Instant::now();
    node.run_ok(&["status"]);
    least + began.elapsed().mul_f32(15.0).as_secs()
}

/// A running `try` without a terminal.
pub fn start_trial(node: &Node, seconds: u64, files: &[&str]) -> Child {
    let seconds = seconds.to_string();
    let files: Vec<String> = files.iter().map(|name| node.path("root").join(name).to_str().unwrap().into()).collect();
    let mut args = vec!["try", "--for", &seconds];
    args.extend(files.iter().map(String::as_str));
    node.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Checks the exit status of `try`, and that it printed nothing.
#[track_caller]
pub fn assert_exit(child: Child, status: i32) {
    let output: Output = child.output_in_time();
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b""[..], &b""[..]), "{output:?}");
}

pub fn stop(node: &Node, mut daemon: Child) {
    kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    daemon.wait_in_time();
    assert_eq!(node.own_rules(), "");
}

/// The trial in the daemon's status file.
pub fn trial(node: &Node) -> Option<serde_json::Value> {
    node.status().map(|status| status["trial"].clone()).filter(|trial| !trial.is_null())
}

#[test]
fn an_unconfirmed_trial_ends_at_its_deadline() {
    let (node, daemon) = node_with_candidate("pvefw-try");
    let length = trial_seconds(&node, 4);
    let began = Instant::now();
    let attempt = start_trial(&node, length, &["100.fw"]);
    node.wait_for_rule(NEW);
    assert!(!node.rules().contains(OLD));
    wait_for("the trial in the status", || trial(&node));
    let status = node.run_ok(&["status"]);
    let (first, second) = status.split_once('\n').unwrap();
    assert_eq!(first, "Status: enabled/running", "nothing is pending: what is on trial is wanted");
    assert!(second.starts_with("Trial: 100.fw, ") && second.ends_with(" s left\n"), "{status}");
    let json: serde_json::Value = serde_json::from_str(&node.run_ok(&["status", "--json"])).unwrap();
    assert_eq!(json["trial"]["files"][0], "firewall/100.fw");
    assert!(json["trial"]["left"].as_u64().is_some_and(|left| left <= length));
    assert_exit(attempt, 3);
    assert!(began.elapsed() >= Duration::from_secs(length), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5 * length), "{:?}", began.elapsed());
    node.wait_for_rule(OLD);
    assert!(!node.rules().contains(NEW));
    assert_eq!(node.run_ok(&["status"]), "Status: enabled/running\n");
    assert_eq!(node.logged("trial of 100.fw: reverted: it was not confirmed in time"), 1);
    assert_eq!(fs::read_to_string(node.config().join("firewall/100.fw")).unwrap(), GUEST);
    stop(&node, daemon);
}

#[test]
fn confirming_a_trial_keeps_its_rules_in_place() {
    let (node, daemon) = node_with_candidate("pvefw-confirm");
    let attempt = start_trial(&node, 600, &["100.fw"]);
    node.wait_for_rule(NEW);
    let checks = repeat_during(
        || assert!(node.rules().contains(NEW), "the old rules were live"),
        || {
            let output = node.run_ok(&["confirm"]);
            assert_eq!(output, format!("Confirmed: {}\n", node.config().join("firewall/100.fw").display()));
            assert_exit(attempt, 0);
            sleep(Duration::from_secs(2));
        },
    );
    assert!(checks > 10);
    assert_eq!(fs::read_to_string(node.config().join("firewall/100.fw")).unwrap(), GUEST.replace("22", "2222"));
    assert_eq!(node.run_ok(&["status"]), "Status: enabled/running\n");
    assert_eq!(node.files("etc/pve/firewall"), ["100.fw", "cluster.fw"]);
    assert_eq!(node.files("run/pve-firewall/trial"), ["ended.json", "lock"]);
    assert!(node.run_failing(&["confirm"]).contains("no trial is running"));
    stop(&node, daemon);
}

#[test]
fn a_trial_is_reverted_at_once() {
    let (node, daemon) = node_with_candidate("pvefw-revert");
    let attempt = start_trial(&node, 600, &["100.fw"]);
    node.wait_for_rule(NEW);
    assert_eq!(node.run_ok(&["revert"]), "Reverted: 100.fw\n");
    assert!(node.rules().contains(OLD), "the command waits for the rules");
    assert_exit(attempt, 3);
    assert!(node.run_failing(&["revert"]).contains("no trial is running"));
    stop(&node, daemon);
}

#[test]
fn all_files_of_a_trial_are_confirmed() {
    let (node, daemon) = node_with_candidate("pvefw-several");
    candidate(&node, "cluster.fw", &CLUSTER.replace("8006", "8007"));
    candidate(&node, "host.fw", "[OPTIONS]\nnosmurfs: 0\n");
    let attempt = start_trial(&node, 600, &["100.fw", "cluster.fw", "host.fw"]);
    node.wait_for_rule(NEW);
    node.wait_for_rule("--dport 8007");
    assert!(node.run_ok(&["status"]).contains("Trial: 100.fw, cluster.fw, host.fw, "));
    let output = node.run_ok(&["confirm"]);
    assert_eq!(output.lines().count(), 3, "{output}");
    assert_exit(attempt, 0);
    assert_eq!(fs::read_to_string(node.config().join("nodes/n1/host.fw")).unwrap(), "[OPTIONS]\nnosmurfs: 0\n");
    stop(&node, daemon);
}

#[test]
fn a_change_of_a_replaced_file_ends_the_trial() {
    let (node, daemon) = node_with_candidate("pvefw-under");
    let attempt = start_trial(&node, 600, &["100.fw"]);
    node.wait_for_rule(NEW);
    // after the time in which the tree may be outdated
    sleep(Duration::from_secs(4));
    // a change of another guest's file has no effect on the trial
    node.write("firewall/101.fw", GUEST);
    sleep(Duration::from_secs(1));
    assert!(trial(&node).is_some());
    node.write("firewall/100.fw", &GUEST.replace("22", "23"));
    node.wait_for_rule("-A tap100i0-IN -p tcp -m tcp --dport 23 -j ACCEPT");
    node.wait_for_log("trial of 100.fw: reverted: firewall/100.fw was changed meanwhile");
    assert_exit(attempt, 3);
    stop(&node, daemon);
}

#[test]
fn a_replaced_file_that_is_deleted_or_created_ends_the_trial() {
    let (node, daemon) = node_with_candidate("pvefw-deleted");
    candidate(&node, "host.fw", "[OPTIONS]\nnosmurfs: 0\n");
    let host = node.config().join("nodes/n1/host.fw");
    let guest = node.config().join("firewall/100.fw");
    let changes: [(&str, &str, &dyn Fn()); 2] = [
        ("host.fw", "nodes/n1/host.fw", &|| node.write("nodes/n1/host.fw", "[OPTIONS]\nndp: 0\n")),
        ("100.fw", "firewall/100.fw", &|| fs::remove_file(&guest).unwrap()),
    ];
    for (name, path, change) in changes {
        let attempt = start_trial(&node, 600, &[name]);
        wait_for("the trial", || trial(&node));
        sleep(Duration::from_secs(4));
        change();
        node.wait_for_log(&format!("trial of {name}: reverted: {path} was changed meanwhile"));
        assert_exit(attempt, 3);
        assert!(node.run_failing(&["confirm"]).contains("no trial is running"));
    }
    assert_eq!(fs::read_to_string(host).unwrap(), "[OPTIONS]\nndp: 0\n");
    assert!(!guest.exists(), "it is not written again");
    wait_for("the rules of the configuration tree", || (!node.rules().contains(NEW)).then_some(()));
    stop(&node, daemon);
}

#[test]
fn trials_work_with_rules_in_the_nft_variant() {
    let node = Node::new("pvefw-try-nft");
    let daemon = node.command(&["start", "--foreground", "--variant", "nft"]).spawn().unwrap();
    let live = |rule: &str| node.netns.exec("iptables-nft-save 2>/dev/null").contains(rule);
    let wait_for_rule =
        |rule: &str| wait_for(rule, || (live(rule) && trial(&node).is_some() == (rule == NEW)).then_some(()));
    wait_for("the first update", || node.status().filter(|_| live(OLD)));
    let file = candidate(&node, "100.fw", &GUEST.replace("22", "2222"));
    assert!(node.run_ok(&["preview", &file]).contains("  update ip4 filter: tap100i0-IN\n"));
    let expired = start_trial(&node, trial_seconds(&node, 3), &["100.fw"]);
    wait_for_rule(NEW);
    assert_exit(expired, 3);
    wait_for_rule(OLD);
    let confirmed = start_trial(&node, 600, &["100.fw"]);
    wait_for_rule(NEW);
    node.run_ok(&["confirm"]);
    assert_exit(confirmed, 0);
    assert!(live(NEW) && !node.rules().contains("PVEFW"), "nothing is written to the other variant");
    stop(&node, daemon);
}

#[test]
fn a_file_changed_at_the_last_moment_is_not_overwritten() {
    let (node, daemon) = node_with_candidate("pvefw-race");
    candidate(&node, "cluster.fw", &CLUSTER.replace("8006", "8007"));
    let attempt = start_trial(&node, 600, &["cluster.fw", "100.fw"]);
    node.wait_for_rule(NEW);
    let changed = GUEST.replace("22", "23");
    // the daemon cannot detect it, because it is stopped
    let pid = Pid::from_raw(node.pid().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    node.write("firewall/100.fw", &changed);
    let error = node.run_failing(&["confirm"]);
    assert!(error.contains("firewall/100.fw"), "{error}");
    kill(pid, Signal::SIGCONT).unwrap();
    assert_eq!(fs::read_to_string(node.config().join("firewall/100.fw")).unwrap(), changed);
    assert_eq!(fs::read_to_string(node.config().join("firewall/cluster.fw")).unwrap(), CLUSTER);
    assert_exit(attempt, 3);
    stop(&node, daemon);
}

#[test]
fn invalid_candidates_are_refused() {
    let node = Node::new("pvefw-refused");
    let guest = candidate(&node, "100.fw", &GUEST.replace("22", "2222"));
    assert!(node.run_failing(&["try", &guest]).contains("the daemon is not running"));
    let daemon = node.start();
    let unnamed = candidate(&node, "mine.txt", "[OPTIONS]\nenable: 1\nmacfilter: 0\n");
    for command in ["try", "preview"] {
        let output = node.run(&[command, &unnamed]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("mine.txt does not have the name of a configuration file"), "{error}");
        assert_eq!(output.status.code(), Some(1));
    }
    let other = candidate(&node, "nodes/n2/host.fw", "[OPTIONS]\nenable: 1\n");
    assert!(node.run_failing(&["try", &other]).contains("is for the node n2"));
    assert!(node.run_failing(&["try", "/nowhere/100.fw"]).contains("cannot read /nowhere/100.fw"));
    let same = candidate(&node, "same/100.fw", GUEST);
    assert!(node.run_failing(&["try", &same]).contains("there is nothing to try"));
    assert!(node.run_failing(&["try", &guest, &same]).contains("both replace firewall/100.fw"));
    let wrong = candidate(&node, "wrong/100.fw", "[OPTIONS]\nenable: 1\n[RULES]\nIN SHH(ACCEPT)\n");
    let output = node.run(&["try", &wrong]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("unknown macro 'SHH'") && error.contains("--force"), "{error}");
    assert_eq!((output.status.code(), trial(&node)), (Some(1), None));
    // with --force it is applied nevertheless
    let forced = node.command(&["try", "--force", "--for", "1", &wrong]).spawn().unwrap();
    assert_eq!(forced.output_in_time().status.code(), Some(3));
    stop(&node, daemon);
}

#[test]
fn a_second_trial_is_refused_with_the_name_of_the_first() {
    let (node, daemon) = node_with_candidate("pvefw-second");
    let first = start_trial(&node, 600, &["100.fw"]);
    node.wait_for_rule(NEW);
    let cluster = candidate(&node, "cluster.fw", &CLUSTER.replace("8006", "8007"));
    let error = node.run_failing(&["try", &cluster]);
    assert!(error.contains("a trial is running: 100.fw, ") && error.contains("s left"), "{error}");
    // the daemon writes its status after the rules
    wait_for("the first trial in the status", || trial(&node));
    assert!(!node.rules().contains("--dport 8007"));
    node.run_ok(&["revert"]);
    assert_exit(first, 3);
    // of two trials that begin at the same time, one is started
    let mut both = [start_trial(&node, 600, &["100.fw"]), start_trial(&node, 600, &["cluster.fw"])];
    wait_for("the refusal of one trial", || both.iter_mut().find_map(|child| child.try_wait().unwrap()));
    node.run_ok(&["revert"]);
    let mut codes = both.map(|child| child.output_in_time().status.code().unwrap());
    codes.sort_unstable();
    assert_eq!(codes, [1, 3]);
    stop(&node, daemon);
}

#[test]
fn disabling_the_firewall_causes_a_warning() {
    let (node, daemon) = node_with_candidate("pvefw-opens");
    let open = candidate(&node, "cluster.fw", "[OPTIONS]\nenable: 0\n");
    let text = node.run_ok(&["preview", &open]);
    assert!(text.starts_with("WARNING: the firewall is disabled: all traffic is accepted"), "{text}");
    let host = candidate(&node, "host.fw", "[OPTIONS]\nenable: 0\n");
    assert!(node.run_ok(&["preview", &host]).contains("WARNING: the firewall of the node itself is disabled"));
    let guest = candidate(&node, "100.fw", "[OPTIONS]\nenable: 0\n");
    assert!(node.run_ok(&["preview", &guest]).contains("WARNING: 1 network device of guests would have no rules"));
    // the trial is nevertheless possible, and ends with the old rules
    let attempt = start_trial(&node, trial_seconds(&node, 3), &["cluster.fw"]);
    wait_for("the removal of the rules", || node.own_rules().is_empty().then_some(()));
    assert_exit(attempt, 3);
    node.wait_for_rule(OLD);
    stop(&node, daemon);
}

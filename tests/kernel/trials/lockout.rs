//! An administrator who is connected over SSH applies changes that lock the administrator out: each time there is a warning,
//! and each time access is back at the end of the trial.
use super::super::scenarios::scenario::{CLUSTER, HOST, ON, Scenario};
use super::connections::write;
use crate::testbed::NODE;
use crate::wait::{OutputInTime, WaitInTime, run_in_parallel};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A change that blocks access to the node: a file, its content before, and its new content.
type Lockout = (&'static str, &'static str, &'static str);

/// Changes of rules and sets on a node that accepts SSH by default, because its clients are in the local network.
const LOCKOUTS: [Lockout; 5] = [
    (CLUSTER, ON, "[OPTIONS]\nenable: 1\n[RULES]\nIN DROP -p tcp -dport 22\n"),
    (HOST, ON, "[RULES]\nIN REJECT\n"),
    (CLUSTER, ON, "[OPTIONS]\nenable: 1\n[ALIASES]\nlocal_network 192.0.2.0/24\n"),
    (CLUSTER, ON, "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -source 10.0.1.254 -p tcp -dport 22\nIN DROP\n"),
    (CLUSTER, ON, "[OPTIONS]\nenable: 1\n[IPSET blacklist]\n10.0.0.0/24\n"),
];

/// Changes on a node whose local network is another one: the rule or entry that accepts SSH is removed, disabled or limited, or
/// the firewall is enabled.
const REMOTE_LOCKOUTS: [Lockout; 4] = [
    (
        CLUSTER,
        "[OPTIONS]\nenable: 1\n[ALIASES]\nlocal_network 192.0.2.0/24\n[IPSET management]\n10.0.0.254\n",
        "[OPTIONS]\nenable: 1\n[ALIASES]\nlocal_network 192.0.2.0/24\n",
    ),
    (
        CLUSTER,
        "[OPTIONS]\nenable: 1\n[ALIASES]\nlocal_network 192.0.2.0/24\n[RULES]\nIN SSH(ACCEPT)\n",
        "[OPTIONS]\nenable: 1\n[ALIASES]\nlocal_network 192.0.2.0/24\n[RULES]\n|IN SSH(ACCEPT)\n",
    ),
    (
        CLUSTER,
        "[OPTIONS]\nenable: 1\n[ALIASES]\nlocal_network 192.0.2.0/24\n[RULES]\nIN SSH(ACCEPT)\n",
        "[OPTIONS]\nenable: 1\n[ALIASES]\nlocal_network 192.0.2.0/24\n[RULES]\nIN SSH(ACCEPT) -i vmbr9\n",
    ),
    (
        CLUSTER,
        "[OPTIONS]\nenable: 0\n[ALIASES]\nlocal_network 192.0.2.0/24\n",
        "[OPTIONS]\nenable: 1\n[ALIASES]\nlocal_network 192.0.2.0/24\n",
    ),
];

/// The time of a trial, unless another one is given.
const MINUTE: Duration = Duration::from_secs(60);
/// The time for a login, which takes less than a second on an idle machine.
const LOGIN_LIMIT: Duration = Duration::from_secs(15);

/// An SSH server on the node, with a key that the external host can log in with.
struct Ssh<'a> {
    scenario: &'a Scenario,
    server: Child,
}

impl<'a> Ssh<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let directory = scenario.root().join("ssh");
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        for key in ["host", "client"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(key));
            assert!(command.output_in_time().status.success(), "{command:?}");
        }
        fs::copy(directory.join("client.pub"), directory.join("authorized")).unwrap();
        fs::set_permissions(directory.join("client"), fs::Permissions::from_mode(0o600)).unwrap();
        let directory = directory.display();
        let config = format!(
            "ListenAddress 10.0.0.1\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/authorized\nPidFile none\n\
             StrictModes no\nUsePAM no\nPermitRootLogin yes\nUseDNS no\n"
        );
        let path = write(scenario.root(), "sshd_config", &config);
        let mut command = scenario.testbed.node.command("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", &path]).stdin(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().unwrap();
        let ssh = Ssh { scenario, server };
        let deadline = Instant::now() + MINUTE;
        while !ssh.is_accessible() {
            assert!(Instant::now() < deadline, "no SSH server");
        }
        ssh
    }

    /// A command line on the node.
    fn command(&self, line: &str) -> Command {
        let directory = self.scenario.root().join("ssh");
        let mut command = self.scenario.testbed.outside.command("ssh");
        command.args([
            "-F",
            "none",
            "-q",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=3",
            "-o",
            "StrictHostKeyChecking=no",
        ]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-i"]).arg(directory.join("client"));
        command.args(["root@10.0.0.1", line]).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output_in_time()
    }

    /// Whether a login ends in time. One that begins while the firewall is enabled may never end: the kernel did not track its
    /// connection before.
    fn is_accessible(&self) -> bool {
        let mut login = self.command("true").spawn().unwrap();
        let deadline = Instant::now() + LOGIN_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = login.try_wait().unwrap() {
                return status.success();
            }
            sleep(Duration::from_millis(20));
        }
        login.kill().unwrap();
        login.wait_in_time();
        false
    }

    /// `pve-firewall` with these arguments, as a command line on the node.
    fn firewall(&self, args: &str) -> String {
        let program = env!("CARGO_BIN_EXE_pve-firewall");
        format!("{program} --node {NODE} --root {} {args}", self.scenario.root().display())
    }
}

impl Drop for Ssh<'_> {
    fn drop(&mut self) {
        let _ = self.server.kill();
        self.server.wait_in_time();
    }
}

fn lock_out((path, before, text): Lockout) {
    let enabled = !before.contains("enable: 0");
    let scenario = Scenario::new(&if enabled { vec![(HOST, ON), (path, before)] } else { vec![(HOST, ON)] });
    if !enabled {
        scenario.disable_firewall();
        scenario.write(path, before);
    }
    scenario.testbed.assign_addresses();
    let ssh = Ssh::new(&scenario);
    let file = write(scenario.root(), path, text);
    let warned = ssh.run(&ssh.firewall(&format!("try --yes {file}")));
    let error = String::from_utf8_lossy(&warned.stderr);
    assert!(error.contains("this would end the connection that you are using: tcp 10.0.0.254:"), "{text}: {warned:?}");
    assert_eq!(warned.status.code(), Some(1), "{warned:?}");
    assert!(ssh.is_accessible(), "{text}");
    // with --force it is applied nevertheless
    let began = Instant::now();
    let mut forced = ssh.command(&ssh.firewall(&format!("try --yes --force {file}"))).spawn().unwrap();
    while ssh.is_accessible() {
        let ended = forced.try_wait().unwrap();
        assert!(
            ended.is_none() && began.elapsed() < 5 * MINUTE,
            "{text}: SSH is still accessible; {ended:?} after {:?}; {:#?}",
            began.elapsed(),
            scenario.log()
        );
        sleep(Duration::from_millis(200));
    }
    let refused = Instant::now();
    assert!(!ssh.is_accessible(), "{text}");
    while !ssh.is_accessible() {
        assert!(refused.elapsed() < 3 * MINUTE, "{text}: SSH is not accessible again");
    }
    assert!(began.elapsed() + Duration::from_secs(1) >= MINUTE, "{text}: {:?}", began.elapsed());
    assert_eq!(forced.wait_in_time().code(), Some(3), "{text}");
    assert!(scenario.root().join("etc/pve").join(CLUSTER).exists());
}

#[test]
fn five_rule_changes_that_lock_an_administrator_out_are_reverted_after_a_minute() {
    run_in_parallel("access over SSH", LOCKOUTS.iter().map(|lockout| move || lock_out(*lockout)));
}

#[test]
fn removing_the_rule_that_accepts_ssh_is_reverted_after_a_minute() {
    run_in_parallel("access over SSH", REMOTE_LOCKOUTS.iter().map(|lockout| move || lock_out(*lockout)));
}

//! The node of the test bed with a running daemon.
use crate::netns::Netns;
use crate::nft_trees::has_bridge_conntrack;
use crate::node::collect_log;
pub use crate::testbed::conf;
use crate::testbed::probe::{self, Probe, ProbeResult};
use crate::testbed::wire::Wire;
use crate::testbed::{NODE, TestBed, confs};
use crate::wait::{OutputInTime, WaitInTime};
pub use crate::wait::{WAIT_LIMIT, wait_for, wait_for_ok};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pve_firewall::model::BackendKind;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The program of a backend.
fn program(kind: BackendKind) -> &'static str {
    match kind {
        BackendKind::Iptables => env!("CARGO_BIN_EXE_pve-firewall"),
        BackendKind::Nftables => env!("CARGO_BIN_EXE_proxmox-firewall"),
    }
}

pub const CLUSTER: &str = "firewall/cluster.fw";
pub const HOST: &str = "nodes/n1/host.fw";
pub const GUEST100: &str = "firewall/100.fw";
pub const GUEST101: &str = "firewall/101.fw";
pub const GUEST200: &str = "firewall/200.fw";
/// An enabled firewall with default options.
pub const ON: &str = "[OPTIONS]\nenable: 1\n";

/// The backends with which this kernel tracks the connections of guests. With `PVEFW_SHORT_TESTS` one of them: nftables if
/// possible, because iptables is tested on the machine that emulates this one.
pub fn tracking_backends() -> impl Iterator<Item = BackendKind> {
    let short = std::env::var_os("PVEFW_SHORT_TESTS").is_some();
    let nftables = has_bridge_conntrack();
    BackendKind::ALL.into_iter().filter(move |kind| match kind {
        BackendKind::Iptables => !(short && nftables),
        BackendKind::Nftables => nftables,
    })
}

/// host.fw with these options and the one that selects a backend.
pub fn host(kind: BackendKind, options: &str) -> String {
    let nftables = if kind == BackendKind::Nftables { "nftables: 1\n" } else { "" };
    format!("[OPTIONS]\n{nftables}{options}")
}

/// The test bed with a running daemon.
pub struct Scenario {
    pub testbed: TestBed,
    kind: BackendKind,
    wire: Wire,
    daemon: Child,
    root: TempDir,
    log: Arc<Mutex<Vec<String>>>,
}

impl Scenario {
    /// Starts the daemon with an enabled firewall and these files, and waits until their rules are live.
    pub fn new(files: &[(&str, &str)]) -> Self {
        Scenario::with_options(&[], files)
    }

    /// The same, with options of the daemon.
    pub fn with_options(options: &[&str], files: &[(&str, &str)]) -> Self {
        Scenario::with_shell("exec \"$@\"", options, files)
    }

    /// The same, with a daemon that cannot write sysctls, as in a container.
    pub fn with_read_only_sysctls(files: &[(&str, &str)]) -> Self {
        let script = "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec \"$@\"";
        Scenario::with_shell(&format!("exec unshare -m sh -c '{script}' sh \"$@\""), &[], files)
    }

    /// The same, with a shell script that starts the daemon with `"$@"`.
    pub fn with_shell(shell: &str, options: &[&str], files: &[(&str, &str)]) -> Self {
        let scenario = Scenario::launch(BackendKind::Iptables, shell, options, files);
        scenario.wait_until_live();
        scenario
    }

    /// The same, without waiting: something prevents the rules from being live or effective.
    pub fn without_waiting(shell: &str, files: &[(&str, &str)]) -> Self {
        Scenario::launch(BackendKind::Iptables, shell, &[], files)
    }

    /// The same, with the nftables daemon, after its first update.
    pub fn nftables(options: &[&str], files: &[(&str, &str)]) -> Self {
        let selected = [(HOST, "[OPTIONS]\nnftables: 1\n")];
        let scenario = Scenario::launch(BackendKind::Nftables, "exec \"$@\"", options, &[&selected, files].concat());
        wait_for("the first update", || scenario.last_update());
        scenario
    }

    /// The same as [`Scenario::new`], with the daemon of a backend.
    pub fn with_backend(kind: BackendKind, files: &[(&str, &str)]) -> Self {
        println!("{kind:?}");
        if kind == BackendKind::Iptables {
            return Scenario::new(files);
        }
        let scenario = Scenario::nftables(&[], files);
        scenario.wait_until_live();
        scenario
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.daemon.id()).unwrap()), signal).unwrap();
    }

    /// Runs a command in the mount namespace of the daemon.
    pub fn exec_in_daemon_namespace(&self, script: &str) {
        self.testbed.node.exec(&format!("nsenter -t {} -m sh -c '{script}'", self.daemon.id()));
    }

    fn launch(kind: BackendKind, shell: &str, options: &[&str], files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["run", "run/lock", "dev"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        write(root.path(), ".members", r#"{"nodename":"n1","nodelist":{"n1":{"ip":"10.0.0.1"}}}"#);
        for (path, text) in confs() {
            write(root.path(), &path, &text);
        }
        write(root.path(), CLUSTER, ON);
        for (path, text) in files {
            write(root.path(), path, text);
        }
        let testbed = TestBed::new("pvs");
        let wire = Wire::new(&testbed);
        let log = collect_log(root.path());
        let daemon = start_daemon(kind, &testbed, root.path(), shell, options);
        Scenario { testbed, kind, wire, daemon, root, log }
    }

    /// Restarts the daemon with other options, as systemctl restart does.
    pub fn restart(&mut self, options: &[&str]) {
        self.restart_after(options, "true", |_| {});
    }

    /// The same; while the daemon is stopped, the script runs on the node, then `check`.
    pub fn restart_after(&mut self, options: &[&str], script: &str, check: impl FnOnce(&mut Self)) {
        kill(Pid::from_raw(i32::try_from(self.daemon.id()).unwrap()), Signal::SIGQUIT).unwrap();
        assert!(self.daemon.wait_in_time().success());
        self.testbed.node.exec(script);
        check(self);
        self.daemon = start_daemon(self.kind, &self.testbed, self.root.path(), "exec \"$@\"", options);
        wait_for("the first update", || self.last_update());
        self.wait_until_live();
    }

    /// The time of the daemon's last update, in seconds since 1970.
    fn last_update(&self) -> Option<u64> {
        let status: serde_json::Value = serde_json::from_str(&self.status(&["--json"]).0).ok()?;
        status["last_update"].as_u64()
    }

    /// Waits for a cycle that begins after this call.
    pub fn wait_for_full_cycle(&self) {
        for _ in 0..2 {
            self.wait_for_next_update();
        }
    }

    /// Waits for the end of another update.
    pub fn wait_for_next_update(&self) {
        let before = self.last_update();
        wait_for("another update", || (self.last_update() != before).then_some(()));
    }

    /// The messages in the system log.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Disables the firewall, and waits until its rules are removed.
    pub fn disable_firewall(&self) {
        write(self.root.path(), CLUSTER, "[OPTIONS]\nenable: 0\n");
        wait_for("the removal of the rules", || {
            (!self.testbed.node.exec("iptables-legacy-save").contains("PVEFW")).then_some(())
        });
    }

    /// The root directory of the node.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        write(self.root.path(), path, text);
    }

    /// Changes files, and waits until their rules are live.
    pub fn change(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            write(self.root.path(), path, text);
        }
        self.wait_until_live();
    }

    /// Waits until the rules are live and there are no findings.
    fn wait_until_live(&self) {
        wait_for_ok("the configuration to be live", || {
            let status = self.status(&[]).0;
            if status == "Status: enabled/running\n" { Ok(()) } else { Err(status) }
        });
    }

    /// The output and the exit status of `status`.
    pub fn status(&self, options: &[&str]) -> (String, i32) {
        let mut command = self.testbed.node.command(program(self.kind));
        command.arg("status").args(options).args(["--node", NODE, "--root"]).arg(self.root.path());
        let output = command.output_in_time();
        (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
    }

    /// Runs a command of the program; returns its standard output and error.
    pub fn command(&self, args: &[&str]) -> String {
        let mut command = self.testbed.node.command(program(self.kind));
        let output = command.args(args).args(["--node", NODE, "--root"]).arg(self.root.path()).output_in_time();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Waits until `status` has a warning with this text, and returns it as JSON.
    pub fn wait_for_warning(&self, text: &str) -> serde_json::Value {
        wait_for(&format!("a warning: {text}"), || {
            let status: serde_json::Value = serde_json::from_str(&self.status(&["--json"]).0).ok()?;
            let warnings = status["warnings"].as_array()?.iter();
            warnings.into_iter().find(|one| one["text"].as_str().is_some_and(|one| one.contains(text))).cloned()
        })
    }

    /// Waits until `status` has no warning.
    pub fn wait_until_healthy(&self) {
        wait_for("no warning", || {
            (self.status(&["--exit-code"]) == ("Status: enabled/running\n".into(), 0)).then_some(())
        });
    }

    /// How many messages of the log contain a text.
    pub fn logged(&self, text: &str) -> usize {
        self.log().iter().filter(|line| line.contains(text)).count()
    }

    /// Sends packets of different connections and checks the result of each.
    #[track_caller]
    pub fn check(&mut self, cases: &[(Probe, ProbeResult)]) {
        self.testbed.node.exec("conntrack -F 2>/dev/null");
        probe::check(cases, |probes| self.wire.send_probes(probes));
    }

    /// Checks the same result for all packets.
    #[track_caller]
    pub fn check_all(&mut self, result: ProbeResult, probes: impl IntoIterator<Item = Probe>) {
        let cases: Vec<_> = probes.into_iter().map(|probe| (probe, result)).collect();
        self.check(&cases);
    }

    /// Sends one packet after all earlier ones.
    #[track_caller]
    pub fn check_next(&mut self, probe: Probe, result: ProbeResult) {
        let seen = self.wire.send_probe(&probe);
        assert_eq!(seen, result, "{probe}");
    }

    /// Sends packets, and returns how many arrive.
    pub fn count_arrivals(&mut self, probes: &[Probe]) -> usize {
        self.wire.send_probes(probes).into_iter().filter(|result| *result == ProbeResult::Arrived).count()
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        stop(&mut self.daemon);
    }
}

/// Starts the daemon.
fn start_daemon(kind: BackendKind, testbed: &TestBed, root: &Path, shell: &str, options: &[&str]) -> Child {
    let mut command = testbed.node.command("sh");
    command.args(["-c", shell, "sh", program(kind)]);
    command.args(["start", "--debug", "--node", NODE, "--root"]).arg(root).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Ends a process.
pub fn stop(child: &mut Child) {
    // it may already have ended
    let _ = kill(Pid::from_raw(i32::try_from(child.id()).expect("a process number")), Signal::SIGTERM);
    child.wait_in_time();
}

/// Replaces a configuration file as PVE does.
fn write(root: &Path, path: &str, text: &str) {
    let path = root.join("etc/pve").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let fresh = path.with_extension("tmp");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

/// A process in a namespace, terminated on drop.
pub struct Program(Child);

impl Program {
    pub fn start(netns: &Netns, program: &str, args: &[&str]) -> Self {
        let mut command = netns.command(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Program(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; run make deps")))
    }

    /// Terminates it.
    pub fn stop(self) {}

    /// Kills it, so that it cannot clean up.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait_in_time();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        stop(&mut self.0);
    }
}

//! A node for tests: a network namespace, and a root directory for all paths.
#![allow(dead_code, unused_imports, reason = "each test program uses a part")]
use crate::netns::Netns;
use crate::wait::OutputInTime;
pub use crate::wait::{WAIT_LIMIT, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pve_firewall::model::BackendKind;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The program of a backend.
fn program_of(kind: BackendKind) -> &'static Path {
    Path::new(match kind {
        BackendKind::Iptables => env!("CARGO_BIN_EXE_pve-firewall"),
        BackendKind::Nftables => env!("CARGO_BIN_EXE_proxmox-firewall"),
    })
}

/// The configuration of the tests: a VM and the host, both enabled.
pub const CLUSTER: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 8006\n";
pub const GUEST: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 22\n";
const VMLIST: &str = r#"{"version":1,"ids":{"100":{"node":"n1","type":"qemu","version":1}}}"#;
const CONF: &str = "net0: virtio=02:00:00:00:00:01,bridge=vmbr0,firewall=1\n";

/// The files of the configuration.
pub const FILES: [(&str, &str); 4] = [
    (".vmlist", VMLIST),
    ("firewall/cluster.fw", CLUSTER),
    ("firewall/100.fw", GUEST),
    ("nodes/n1/qemu-server/100.conf", CONF),
];

/// The same for nftables, without guests: not every kernel tracks connections in bridges.
pub const NFTABLES_FILES: [(&str, &str); 3] =
    [(".vmlist", r#"{"version":1}"#), ("firewall/cluster.fw", GUEST), ("nodes/n1/host.fw", "[OPTIONS]\nnftables: 1\n")];

/// A node; on drop, its daemon is killed and its namespace removed.
pub struct Node {
    pub netns: Netns,
    pub kind: BackendKind,
    root: TempDir,
    log: Arc<Mutex<Vec<String>>>,
    program: PathBuf,
}

impl Node {
    /// A node with the files in [`FILES`].
    pub fn new(name: &str) -> Self {
        let node = Self::without_files(name);
        for (path, text) in FILES {
            node.write(path, text);
        }
        node
    }

    /// A node with the files and the program of a backend.
    pub fn with_backend(kind: BackendKind, name: &str) -> Self {
        let node = Self::without_files_for(kind, name);
        for (path, text) in node.initial_files() {
            node.write(path, text);
        }
        node
    }

    /// The files that [`Node::with_backend`] writes.
    pub fn initial_files(&self) -> &'static [(&'static str, &'static str)] {
        match self.kind {
            BackendKind::Iptables => &FILES,
            BackendKind::Nftables => &NFTABLES_FILES,
        }
    }

    /// The file that accepts connections to a port, and its text: for port 22 that of [`FILES`].
    pub fn accepting(&self, port: u16) -> (&'static str, String) {
        let path = match self.kind {
            BackendKind::Iptables => "firewall/100.fw",
            BackendKind::Nftables => "firewall/cluster.fw",
        };
        (path, GUEST.replace("22", &port.to_string()))
    }

    /// Changes the configuration so that it accepts connections to a port.
    pub fn accept(&self, port: u16) {
        let (path, text) = self.accepting(port);
        self.write(path, &text);
    }

    /// The live rule that accepts connections to a port.
    pub fn rule_for(&self, port: u16) -> String {
        match self.kind {
            BackendKind::Iptables => format!("-A tap100i0-IN -p tcp -m tcp --dport {port} -j ACCEPT"),
            BackendKind::Nftables => format!("tcp dport {port} accept comment \"cluster.fw:4"),
        }
    }

    /// Whether the live rules accept connections to a port.
    pub fn accepts(&self, port: u16) -> bool {
        self.rules().contains(&self.rule_for(port))
    }

    /// Waits until the live rules accept connections to a port.
    pub fn wait_until_accepted(&self, port: u16) {
        self.wait_for_rule(&self.rule_for(port));
    }

    /// A node with an empty configuration tree.
    pub fn without_files(name: &str) -> Self {
        Self::without_files_for(BackendKind::Iptables, name)
    }

    fn without_files_for(kind: BackendKind, name: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["dev", "etc/pve", "run", "sbin"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        // a copy of the program that a test can replace
        let program = root.path().join("sbin").join(kind.program());
        copy_program(program_of(kind), &program);
        let log = collect_log(root.path());
        Node { netns: Netns::new(name), kind, root, log, program }
    }

    /// Replaces the program by a copy of itself, as an upgrade does.
    pub fn replace_program(&self) {
        let new = self.path("sbin/new");
        copy_program(&self.program, &new);
        fs::rename(new, &self.program).unwrap();
    }

    /// The path on disk for a path of the node.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// The configuration tree.
    pub fn config(&self) -> PathBuf {
        self.path("etc/pve")
    }

    /// Replaces a configuration file the way PVE does.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.config().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let fresh = path.with_extension("tmp");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    /// A command of the program.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.netns.command(self.program.to_str().unwrap());
        command.args(args).arg("--root").arg(self.root.path()).args(["--node", "n1"]).stdin(Stdio::null());
        // by default proxmox-firewall logs only warnings
        command.env("PVE_LOG", "info");
        command
    }

    /// Runs a command of the program.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output_in_time()
    }

    /// Runs a command that must succeed, and returns its output.
    pub fn run_ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}\nlog: {:#?}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with status 1 and one line on stderr; returns the line.
    pub fn run_failing(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let line = stderr.strip_suffix('\n').unwrap();
        assert!(line.to_ascii_uppercase().starts_with("ERROR: ") && !line.contains('\n'), "{stderr}");
        line.to_string()
    }

    /// Starts the daemon in the foreground and waits for its first update.
    pub fn start(&self) -> Child {
        let child = self.command(&["start", "--foreground"]).spawn().unwrap();
        wait_for("the first update", || self.status().map(drop));
        child
    }

    /// The pid of the daemon.
    pub fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.path(&format!("run/{}.pid", self.kind.program()))).ok()?.trim().parse().ok()
    }

    /// The status that the daemon reports.
    pub fn status(&self) -> Option<serde_json::Value> {
        let path = self.path(&format!("run/{}/status.json", self.kind.program()));
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    }

    /// The live rules of the backend.
    pub fn rules(&self) -> String {
        self.netns.exec(match self.kind {
            BackendKind::Iptables => "iptables-legacy-save; ip6tables-legacy-save",
            BackendKind::Nftables => "nft list ruleset",
        })
    }

    /// Waits until the rules contain a text.
    pub fn wait_for_rule(&self, text: &str) {
        wait_for(&format!("'{text}' in the rules"), || self.rules().contains(text).then_some(()));
    }

    /// All live rules and sets of the firewall; empty if there are none.
    pub fn own_rules(&self) -> String {
        // a tool of the nft variant fails if the tables change while it reads them
        let all = self.netns.exec(
            "for save in iptables-legacy-save ip6tables-legacy-save iptables-nft-save ip6tables-nft-save
             do $save 2>/dev/null || $save; done; ebtables-nft-save; ebtables-legacy -L 2>/dev/null || true; ipset save; nft list tables",
        );
        all.lines()
            .filter(|line| ["PVEFW", "tap100i0", "proxmox-firewall"].iter().any(|word| line.contains(word)))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The messages in the system log.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// How many messages contain a text.
    pub fn logged(&self, text: &str) -> usize {
        self.log().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until a message contains a text.
    pub fn wait_for_log(&self, text: &str) {
        wait_for(&format!("'{text}' in the log"), || (self.logged(text) > 0).then_some(()));
    }

    /// The processes that have the node's root in their arguments.
    pub fn processes(&self) -> Vec<i32> {
        let root = self.root.path().to_str().unwrap();
        let is_ours = |pid: &i32| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(root)
        };
        let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.parse().ok()).filter(is_ours).collect()
    }

    /// All files below a directory of the node, by their path below it.
    pub fn files(&self, directory: &str) -> Vec<String> {
        fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => walk(&entry.path(), files),
                    false => files.push(entry.path()),
                }
            }
        }
        let mut files = Vec::new();
        walk(&self.path(directory), &mut files);
        let name = |file: &PathBuf| file.strip_prefix(self.path(directory)).unwrap().to_str().unwrap().to_string();
        let mut names: Vec<String> = files.iter().map(name).collect();
        names.sort();
        names
    }
}

/// Copies a program. This process does not open the copy for writing: a process that another test is starting would inherit the
/// descriptor, and the copy could not be executed.
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).output_in_time();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}

impl Drop for Node {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Replaces the log daemon of a node; returns its lines.
pub fn collect_log(root: &Path) -> Arc<Mutex<Vec<String>>> {
    let socket = UnixDatagram::bind(root.join("dev/log")).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = log.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok(length) = socket.recv(&mut buffer) {
            lines.lock().unwrap().push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    });
    log
}

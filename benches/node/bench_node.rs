//! A node with a given number of guests.
use crate::fuse::Fuse;
use crate::generated;
use crate::node::Node;
use crate::process;
use crate::trees;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pve_firewall::facts::FactsSource;
use pve_firewall::inputs::{Facts, Tree};
use pve_firewall::iptables::compile::{Compiled, Compiler, compile};
use pve_firewall::pmxcfs::{Reader, ReaderConfig};
use pve_firewall::system::process::processors;
use pve_firewall::system::root_directory::Root;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

/// The daemon's status file.
const STATUS: &str = "run/pve-firewall/status.json";
/// The name of the node in `gen.py`.
const NODE: &str = "n1";
/// The measured variant of iptables and ip6tables, `legacy` unless `PVEFW_VARIANT=nft` is set. ebtables falls back to nft if the
/// kernel has no legacy variant.
pub static VARIANT: LazyLock<String> =
    LazyLock::new(|| std::env::var("PVEFW_VARIANT").unwrap_or_else(|_| "legacy".to_string()));

pub struct BenchNode {
    pub guests: usize,
    pub node: Node,
    daemon: Option<Child>,
    /// The file system that is mounted over the configuration.
    pub fuse: Option<Fuse>,
}

impl BenchNode {
    /// A node with a configuration from `tests/tools/gen.py` and without rules.
    pub fn new(guests: usize) -> Self {
        let node = Node::without_files("bench");
        generated::write(guests, &node.config());
        BenchNode { guests, node, daemon: None, fuse: None }
    }

    /// Starts the daemon and waits until its first update is done.
    pub fn start(&mut self, options: &[&str]) {
        let _ = fs::remove_file(self.node.path(STATUS));
        let args = [&["start", "--foreground", "--variant", &VARIANT], options].concat();
        self.daemon = Some(self.node.command(&args).spawn().expect("the daemon"));
        crate::node::wait_for("the first update", || self.node.status().filter(|status| status["updated"] != 0));
    }

    /// Waits for the end of a cycle of the daemon, after which it writes its status.
    pub fn wait_for_cycle(&self) {
        let inode = || fs::metadata(self.node.path(STATUS)).map(|file| file.ino()).ok();
        let before = inode();
        crate::node::wait_for("a cycle", || inode().filter(|now| Some(*now) != before));
    }

    /// The pid of the daemon.
    pub fn daemon(&self) -> i32 {
        let daemon = self.daemon.as_ref().expect("a running daemon");
        i32::try_from(daemon.id()).expect("a pid")
    }

    /// The processor time so far of the daemon and of the file system of its configuration.
    pub fn cpu(&self) -> Duration {
        process::cpu(self.daemon()) + self.fuse.as_ref().map_or(Duration::ZERO, Fuse::cpu)
    }

    /// Mounts a file system like pmxcfs, with the same files and its log, over the configuration.
    pub fn mount(&mut self) {
        let config = self.node.config();
        let tree = trees::from_directory(&config);
        let content = |path| std::str::from_utf8(tree.content(path).unwrap_or_default()).expect("a text");
        let files: Vec<(&str, &str)> = tree.files.keys().map(|path| (&**path, content(path))).collect();
        self.fuse = Some(Fuse::mount_logged(&config, &files, &self.node.path("var/lib/pve-cluster")));
    }

    /// Unmounts it again. The daemon must have ended.
    pub fn unmount(&mut self) {
        self.fuse.take().into_iter().for_each(Fuse::unmount);
    }

    /// Kills the daemon; the rules stay in place.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGKILL).expect("a running daemon");
            daemon.wait().expect("the daemon's end");
        }
    }

    /// A reader of the configuration with a worker process, as in the daemon.
    pub fn reader(&self) -> Reader {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_pve-firewall"));
        Reader::new(program, self.node.config(), NODE.into(), ReaderConfig::DAEMON, None)
    }

    pub fn facts(&self) -> FactsSource {
        FactsSource::new(self.root(), NODE.into())
    }

    /// The root of the node's paths.
    pub fn root(&self) -> Root {
        Root::new(Some(self.node.path("")))
    }

    /// The current configuration.
    pub fn inputs(&self) -> (Tree, Facts) {
        let tree = self.reader().settle().expect("a healthy configuration");
        let facts = self.facts().collect(&tree);
        (Arc::unwrap_or_clone(tree), facts)
    }

    pub fn compiled(&self) -> Compiled {
        let (tree, facts) = self.inputs();
        compile(&tree, &facts)
    }
}

/// A compiler configured as in the daemon.
pub fn compiler() -> Compiler {
    Compiler::new(processors())
}

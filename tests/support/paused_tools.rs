//! Tools of a daemon that pause at a chosen run, so that a test can act in the middle of an update.
use crate::node::{Node, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};

const TOOLS: [&str; 8] = [
    "iptables-legacy-save",
    "iptables-legacy-restore",
    "ip6tables-legacy-save",
    "ip6tables-legacy-restore",
    "ebtables-nft-save",
    "ebtables-nft-restore",
    "ipset",
    "nft",
];

/// Counts the runs of tools once `pause-at` exists; at the chosen run, the tool waits before it does anything.
const SCRIPT: &str = "if [ -e $dir/pause-at ]; then
    echo $0 >>$dir/runs
    if [ $(grep -c '' $dir/runs) -ge $(cat $dir/pause-at) ] && mkdir $dir/paused 2>/dev/null; then
        while [ ! -e $dir/resume ]; do sleep 0.01; done
    fi
fi
exec $real \"$@\"";

/// Wrappers for the tools of a node.
pub struct PausedTools<'a> {
    node: &'a Node,
    directory: PathBuf,
}

impl<'a> PausedTools<'a> {
    pub fn new(node: &'a Node) -> Self {
        let directory = node.path("paused");
        fs::create_dir_all(directory.join("bin")).unwrap();
        for tool in TOOLS {
            let path = directory.join("bin").join(tool);
            let script = format!("#!/bin/sh\nreal=/usr/sbin/{tool}; dir={}\n{SCRIPT}\n", directory.display());
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        PausedTools { node, directory }
    }

    /// Starts a daemon that uses them, and waits for its first update.
    pub fn start_daemon(&self) -> Child {
        let mut command: Command = self.node.command(&["start", "--foreground"]);
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.directory.join("bin").display()));
        let child = command.spawn().unwrap();
        let pid = i64::from(child.id());
        wait_for("the first update", || self.node.status().filter(|status| status["pid"] == pid).map(drop));
        child
    }

    /// Makes the next update pause at this run of a tool.
    pub fn pause_at(&self, run: usize) {
        let _ = fs::remove_file(self.directory.join("pause-at"));
        let _ = fs::remove_dir(self.directory.join("paused"));
        for name in ["runs", "resume"] {
            let _ = fs::remove_file(self.directory.join(name));
        }
        fs::write(self.directory.join("pause-at.new"), run.to_string()).unwrap();
        fs::rename(self.directory.join("pause-at.new"), self.directory.join("pause-at")).unwrap();
    }

    /// Waits until the tool has paused.
    pub fn wait_until_paused(&self) {
        wait_for("a paused tool", || self.directory.join("paused").exists().then_some(()));
    }

    /// Resumes the paused tool; the following ones do not pause.
    pub fn resume(&self) {
        fs::write(self.directory.join("resume"), "").unwrap();
    }

    /// The number of tool runs that the daemon needs for a change.
    pub fn count_runs(&self, change: impl FnOnce()) -> usize {
        let status = || self.node.status();
        self.pause_at(usize::MAX >> 1);
        let before = status();
        change();
        wait_for("the update", || (status() != before).then_some(()));
        self.runs()
    }

    /// The tools that ran since [`Self::pause_at`].
    pub fn tools(&self) -> Vec<String> {
        let runs = fs::read_to_string(self.directory.join("runs")).unwrap_or_default();
        runs.lines().filter_map(|path| Some(path.rsplit('/').next()?.to_string())).collect()
    }

    /// The number of tool runs since [`Self::pause_at`].
    pub fn runs(&self) -> usize {
        self.tools().len()
    }
}

//! Network namespaces for tests: created with a unique name, removed on drop.
#![allow(dead_code, reason = "each program uses a part")]
use crate::wait::{Limit, OutputInTime};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Creates a namespace whose name begins with `name` and is unique on this machine; its loopback is up.
    pub fn new(name: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]));
        let netns = Netns { name };
        netns.exec("ip link set lo up");
        netns
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command to run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a shell command inside and returns its output; panics if it fails.
    pub fn exec(&self, line: &str) -> String {
        let output = run(self.command("sh").args(["-ec", line]));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a program inside; the child process is the program itself.
    pub fn spawn(&self, program: &str, args: &[&str]) -> Child {
        let mut command = self.command(program);
        command.args(args).spawn().unwrap_or_else(|error| panic!("{program}: {error}"))
    }

    /// Runs a closure inside, in a new thread; sockets that it returns stay in the namespace.
    #[track_caller]
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let _limit = Limit::new(format!("what runs in the namespace {}", self.name));
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(format!("/run/netns/{}", self.name)).expect("the namespace's file");
                setns(file, CloneFlags::CLONE_NEWNET).expect("entering the namespace");
                inside()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        Command::new("ip").args(["netns", "del", &self.name]).output_in_time();
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output_in_time();
    assert!(
        output.status.success(),
        "{command:?}: {} (tests need root and iproute2)",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

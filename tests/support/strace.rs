//! Kills a program at one of its system calls, by strace(1).
use std::ffi::OsStr;
use std::process::Command;

/// The options by which a process is killed when it makes the given one of these system calls (names with commas between),
/// counted from 1.
pub fn kill_at(calls: &str, call: usize) -> [String; 6] {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:signal=SIGKILL:when={call}"));
    ["-o", "/dev/null", "-e", &trace, "-e", &inject].map(str::to_string)
}

/// The program of a command that runs it in a network namespace (`ip netns exec NAME PROGRAM …`), run by strace with these
/// options.
pub fn under_strace<T: AsRef<OsStr>>(plain: &Command, options: impl IntoIterator<Item = T>) -> Command {
    let words: Vec<_> = plain.get_args().collect();
    let (netns, program) = words.split_at(3);
    let mut command = Command::new("ip");
    command.args(netns).arg("strace").args(options).args(program);
    command
}

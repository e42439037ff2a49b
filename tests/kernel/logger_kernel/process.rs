//! Start, stop, and a second instance.
use crate::flood::{self, Sender};
use crate::logger::{Logger, packet_lines, wait_for};
use crate::netns::Netns;
use crate::wait::{OutputInTime, WaitInTime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::read_to_string;
use std::path::Path;
use std::process::{Output, Stdio};

fn run(netns: &Netns, root: &Path, options: &[&str]) -> Output {
    let mut command = netns.command(env!("CARGO_BIN_EXE_pvefw-logger"));
    command.arg("--root").arg(root).args(options).output_in_time()
}

#[test]
fn without_options_it_runs_in_the_background_once_it_is_ready() {
    let netns = flood::namespace("log-background");
    let root = tempfile::tempdir().unwrap();
    let output = run(&netns, root.path(), &[]);
    assert!(output.status.success(), "{output:?}");
    let log = root.path().join("var/log/pve-firewall.log");
    assert!(fs::read_to_string(&log).unwrap().ends_with(" starting pvefw logger\n"), "ready when the starter returns");
    let pid_file = root.path().join("run/pvefw-logger.pid");
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    netns.run(|| Sender::new(46).send_burst(5));
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    wait_for("the end of the logger", || (!pid_file.exists()).then_some(()));
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(packet_lines(&text), 5);
    assert!(text.ends_with(" stopping pvefw logger\n"), "{text}");
}

#[test]
fn a_second_instance_waits_then_reports_why_it_cannot_start() {
    let netns = Netns::new("log-second");
    let root = tempfile::tempdir().unwrap();
    let first = Logger::start(&netns, root.path(), &[]);
    let output = run(&netns, root.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.starts_with("ERROR: pvefw-logger is already running: "), "{error}");
    let text = first.stop();
    assert_eq!(text.matches("starting pvefw logger").count(), 1);
}

#[test]
fn a_second_instance_starts_when_the_first_ends_in_time() {
    let netns = Netns::new("log-restart");
    let root = tempfile::tempdir().unwrap();
    let first = Logger::start(&netns, root.path(), &[]);
    let second = Logger::spawn(&netns, root.path(), &[]);
    first.stop();
    wait_for("the second start", || (second.text().matches("starting pvefw logger").count() == 2).then_some(()));
    second.stop();
}

#[test]
fn a_group_bound_by_another_program_is_an_error() {
    let netns = Netns::new("log-group");
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _first = Logger::start(&netns, root.path(), &[]);
    for options in [&["--foreground"][..], &[]] {
        let output = run(&netns, other.path(), options);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(error, "ERROR: another process receives NFLOG group 0: stop it first\n");
    }
}

#[test]
fn a_full_or_read_only_directory_does_not_stop_logging() {
    for options in ["ro", "size=4k,nr_inodes=1"] {
        let netns = flood::namespace("log-norun");
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("run")).unwrap();
        let program = env!("CARGO_BIN_EXE_pvefw-logger");
        // `ip netns exec` creates a mount namespace
        let script = format!("mount -t tmpfs -o {options} none $1/run; exec {program} --foreground --root $1");
        let mut child = netns.command("sh").args(["-ec", &script, "sh"]).arg(root.path()).spawn().unwrap();
        let text = || fs::read_to_string(root.path().join("var/log/pve-firewall.log")).unwrap_or_default();
        wait_for("the start", || text().contains("starting pvefw logger").then_some(()));
        netns.run(|| Sender::new(46).send_burst(5));
        // a second instance still detects the first
        let other = tempfile::tempdir().unwrap();
        assert_eq!(run(&netns, other.path(), &["--foreground"]).status.code(), Some(1));
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(child.wait_in_time().success());
        assert_eq!(packet_lines(&text()), 5);
    }
}

#[test]
fn lines_are_also_printed_with_debug() {
    let netns = flood::namespace("log-debug");
    let root = tempfile::tempdir().unwrap();
    let mut command = netns.command(env!("CARGO_BIN_EXE_pvefw-logger"));
    let mut child = command.arg("--root").arg(root.path()).arg("-d").stdout(Stdio::piped()).spawn().unwrap();
    let log = root.path().join("var/log/pve-firewall.log");
    let text = || fs::read_to_string(&log).unwrap_or_default();
    wait_for("the start", || text().contains("starting pvefw logger").then_some(()));
    netns.run(|| Sender::new(46).send_burst(2));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait_in_time().success());
    assert_eq!(read_to_string(child.stdout.take().unwrap()).unwrap(), text());
    assert_eq!(packet_lines(&text()), 2);
}

#[test]
fn dates_are_local_and_english() {
    let netns = Netns::new("log-zone");
    let root = tempfile::tempdir().unwrap();
    let mut command = netns.command(env!("CARGO_BIN_EXE_pvefw-logger"));
    command.arg("--root").arg(root.path()).arg("-f").env("TZ", "<+0530>-5:30").env("LC_ALL", "de_DE.UTF-8");
    let hour = || {
        let args = ["-u", "-d", "5 hours 30 minutes", "+%d/%b/%Y:%H:"];
        let output = netns.command("date").args(args).env("LC_ALL", "C").output_in_time();
        format!("0 5 - {}", String::from_utf8(output.stdout).unwrap().trim())
    };
    let before = hour();
    let mut child = command.spawn().unwrap();
    let line = wait_for("the start", || {
        let text = fs::read_to_string(root.path().join("var/log/pve-firewall.log")).unwrap_or_default();
        text.lines().next().map(str::to_string)
    });
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait_in_time().success());
    assert!(line.starts_with(&before) || line.starts_with(&hour()), "{line}");
    assert!(line.contains(" +0530 "), "{line}");
}

#[test]
fn wrong_usage_exits_with_status_2() {
    let netns = Netns::new("log-usage");
    let root = tempfile::tempdir().unwrap();
    assert_eq!(run(&netns, root.path(), &["--nonsense"]).status.code(), Some(2));
}

//! Output to a terminal is aligned, in colour, and has locations; output to programs is plain.
use crate::wait::{JoinInTime, OutputInTime, WaitInTime};
use nix::pty::openpty;
use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

const COMMANDS: [&str; 5] =
    ["status --verbose", "compile --offline", "localnet", "simulate --to vm100 --dport 22 --verbose", "check"];

/// A command on the example configuration, in the environment of a terminal with colours.
fn command(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pve");
    command.args(args.split(' ')).args(["--config", config, "--node", "demo"]).stdin(Stdio::null());
    command.env("TERM", "xterm-256color");
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(variable);
    }
    command
}

/// The output of a command on a terminal.
fn on_terminal(mut command: Command) -> String {
    let pty = openpty(None, None).unwrap();
    let mut child = command.stdout(pty.slave.try_clone().unwrap()).stderr(Stdio::null()).spawn().unwrap();
    // only the command keeps the terminal's other end open
    drop((command, pty.slave));
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        // reading from a terminal fails once its last program has ended
        let _ = File::from(pty.master).read_to_end(&mut text);
        text
    });
    assert!(child.wait_in_time().success());
    String::from_utf8(reader.join_in_time()).unwrap().replace("\r\n", "\n")
}

fn in_pipe(mut command: Command) -> String {
    String::from_utf8(command.output_in_time().stdout).unwrap()
}

fn with(args: &str, variable: &str, value: &str) -> Command {
    let mut command = command(args);
    command.env(variable, value);
    command
}

/// The text without colour: escape sequences that set it, and no others.
fn without_colour(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |plain, part| plain + part.split_once('m').unwrap().1)
}

#[test]
fn only_terminals_that_support_colour_get_it() {
    for args in COMMANDS {
        let coloured = on_terminal(command(args));
        // the output for a valid configuration has few colours
        assert!(args == "check" || args == "localnet" || coloured.contains("\u{1b}["), "{args}: {coloured}");
        for (variable, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let text = on_terminal(with(args, variable, value));
            assert_eq!(text, without_colour(&coloured), "{args} with {variable}");
        }
        for command in [command(args), with(args, "CLICOLOR_FORCE", "1")] {
            let text = in_pipe(command);
            assert!(!text.contains('\u{1b}'), "{args}: {text}");
        }
    }
}

#[test]
fn errors_are_printed_in_colour() {
    let config = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(config.path().join("firewall")).unwrap();
    std::fs::create_dir_all(config.path().join("nodes/demo")).unwrap();
    std::fs::write(config.path().join("firewall/cluster.fw"), "[OPTIONS]\nenable: 1\n[IPSET unused]\n").unwrap();
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
        command.args(["check", "--node", "demo", "--config"]).arg(config.path()).stdin(Stdio::null());
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command
    };
    let (coloured, text) = (on_terminal(check()), in_pipe(check()));
    assert!(coloured.contains("\u{1b}[") && text.contains("ipset 'unused' is not used by any rule"), "{coloured}");
    assert_eq!(without_colour(&coloured), text);
}

#[test]
fn columns_are_aligned_for_people_and_fixed_for_programs() {
    let column = |line: &str, what: &str| line.find(what).unwrap_or_else(|| panic!("no {what} in {line}"));
    let (text, fixed) = (on_terminal(with("localnet", "NO_COLOR", "1")), in_pipe(command("localnet")));
    assert!(fixed.starts_with("local hostname: demo\n"), "{fixed}");
    let values: Vec<_> = text.lines().map(|line| line.rfind(' ').unwrap()).collect();
    assert!(values.len() >= 4 && values.iter().all(|at| *at == values[0]), "{text}");
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), fixed.split_whitespace().collect::<Vec<_>>());

    let (text, fixed) =
        (on_terminal(with("compile --offline", "NO_COLOR", "1")), in_pipe(command("compile --offline")));
    assert!(fixed.contains("\ncreate tap100i0-IN (") && !fixed.contains('#'), "{fixed}");
    // a rule and a chain of the same block
    let rule = text.lines().find(|line| line.contains("-A tap100i0-IN -j GROUP-webserver-IN")).unwrap();
    assert!(rule.ends_with("/examples/pve/firewall/100.fw:13") && column(rule, "#") == 98, "{rule}");
    let heads: Vec<_> =
        text.lines().filter(|line| line.starts_with("create tap") || line.starts_with("create veth")).collect();
    let signature = |line: &&str| line.rfind(' ').unwrap();
    assert_eq!(signature(&heads[0]), signature(&heads[1]), "{heads:?}");
    // the output of --verbose to a program is equal
    assert_eq!(in_pipe(command("compile --offline --verbose")), text);
    assert_eq!(in_pipe(command("localnet --verbose")), on_terminal(with("localnet", "NO_COLOR", "1")));
}

#[test]
fn rules_on_the_path_of_a_packet_are_shown_with_their_location() {
    let text = in_pipe(command("simulate --to vm100 --dport 80 --verbose"));
    let rule = text.lines().find(|line| line.contains("-A GROUP-webserver-IN -p tcp --dport 80")).unwrap();
    assert!(
        rule.starts_with("    + ")
            && rule.ends_with("/examples/pve/firewall/cluster.fw:22")
            && rule.find('#') == Some(98),
        "{rule}"
    );
    let made = text.lines().find(|line| line.contains("-A PVEFW-FORWARD -m conntrack --ctstate INVALID")).unwrap();
    assert!(!made.contains('#'), "{made}");
}

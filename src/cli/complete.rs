//! Shell completion by the program itself (`COMPLETE=bash pve-firewall` prints the shell function).
use crate::model::guest::GuestKind;
use crate::paths::{CONFIG, NODES_DIRECTORY, TreeFile, guest_directory};
use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::CompleteEnv;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// The kernel's directory of network interfaces.
const INTERFACES: &str = "/sys/class/net";

/// Prints completions and exits if the shell has called a program for completion; `completer` is how the shell calls it.
pub fn answer(grammar: fn() -> Command, program: &'static str, completer: &'static str) {
    let grammar = || grammar().mut_args(with_candidates).mut_subcommands(|one| one.mut_args(with_candidates));
    CompleteEnv::with_factory(grammar).bin(program).completer(completer).complete();
}

/// Adds the completions for an option's value, by the name of the value.
fn with_candidates(arg: Arg) -> Arg {
    match arg.get_value_names().and_then(|names| names.first()).map(clap::builder::Str::as_str) {
        Some("NODE") => arg.add(ArgValueCompleter::new(nodes)),
        Some("ZONE") => arg.add(ArgValueCompleter::new(zones)),
        _ => arg,
    }
}

/// The nodes of the cluster.
fn nodes(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning(current, names(&Path::new(CONFIG).join("nodes")))
}

/// The possible endpoints of a packet: host, outside, guests, bridges with their ports.
fn zones(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut zones = vec!["host".to_string(), "outside".to_string()];
    for node in names(&Path::new(CONFIG).join(NODES_DIRECTORY)) {
        for (kind, prefix) in [(GuestKind::Vm, "vm"), (GuestKind::Container, "ct")] {
            let directory = guest_directory(&node, kind);
            let guests = names(&Path::new(CONFIG).join(&directory));
            zones.extend(guests.iter().filter_map(|name| match TreeFile::parse(&format!("{directory}/{name}")) {
                Some(TreeFile::GuestConfig { id, .. }) => Some(format!("{prefix}{id}")),
                _ => None,
            }));
        }
    }
    for bridge in names(Path::new(INTERFACES)) {
        let ports = names(&Path::new(INTERFACES).join(&bridge).join("brif"));
        zones.extend(ports.iter().map(|port| format!("{bridge}/{port}")));
    }
    beginning(current, zones)
}

/// The names in a directory, sorted; none if it cannot be read.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn beginning(current: &OsStr, words: Vec<String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    words.into_iter().filter(|word| word.starts_with(&*current)).map(CompletionCandidate::new).collect()
}

//! Shell completion, called in the same way as by bash.
use crate::wait::OutputInTime;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The completions in bash for the last word of a line.
fn completions(line: &[&str]) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_pve-firewall"));
    let script = r#"
        eval "$(COMPLETE=bash pve-firewall)"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        hook=$(complete -p pve-firewall)
        hook=${hook##*-F }
        "${hook%% *}" pve-firewall "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash").args(["-c", script, "bash"]).args(line).env("PATH", path).output_in_time();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|word| word.trim().to_string()).collect()
}

#[test]
fn commands_and_options_are_completed() {
    assert_eq!(completions(&["pve-firewall", "comp"]), ["compile"]);
    assert_eq!(completions(&["pve-firewall", "compile", "--off"]), ["--offline"]);
    assert_eq!(completions(&["pve-firewall", "--variant", "l"]), ["legacy"]);
}

#[test]
fn files_are_completed_for_file_arguments() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("cluster.fw"), "").unwrap();
    let start = directory.path().join("clu").to_string_lossy().into_owned();
    assert_eq!(
        completions(&["pve-firewall", "check", &start]),
        [directory.path().join("cluster.fw").to_str().unwrap()]
    );
}

#[test]
fn hidden_commands_are_not_completed() {
    assert!(!completions(&["pve-firewall", ""]).iter().any(|word| word == "read-tree"));
}

#[test]
fn zsh_completion_is_generated() {
    let output = Command::new(env!("CARGO_BIN_EXE_pve-firewall")).env("COMPLETE", "zsh").output_in_time();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("#compdef pve-firewall"));
}

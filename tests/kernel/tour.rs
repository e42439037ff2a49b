//! The demonstration of `make run`, and its part in README.
use crate::wait::OutputInTime;
use regex::Regex;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_demonstration_prints_what_readme_shows() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tour = Command::new(project.join("examples/tour.sh"));
    let output = tour.env("PVEFW_PROGRAM", env!("CARGO_BIN_EXE_pve-firewall")).output_in_time();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let readme = fs::read_to_string(project.join("README.md")).unwrap();
    let mut blocks = readme.split("\n```\n").skip(1).step_by(2);
    let block =
        blocks.find(|block| block.starts_with("# diff /etc/pve/firewall/cluster.fw")).expect("a trial in README");
    // the prompt of the demonstration is that of a user; an ellipsis matches any text
    let shown = Regex::new("(?m)^# ").unwrap().replace_all(block, "$$ ");
    let wanted = format!("(?s){}\n", regex::escape(&shown).replace('…', ".*"));
    assert!(Regex::new(&wanted).unwrap().is_match(&text), "{shown}\n\nis not in\n\n{text}");
}

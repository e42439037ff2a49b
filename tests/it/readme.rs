//! The commands in README print the output shown there.
use crate::wait::OutputInTime;
use regex::Regex;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The commands in README after a `$`, each with the output shown, in order.
fn examples(readme: &str) -> Vec<(&str, String)> {
    let mut examples: Vec<(&str, String)> = Vec::new();
    for block in readme.split("\n```\n").skip(1).step_by(2) {
        let mut shown = false;
        for line in block.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                examples.push((command, String::new()));
                shown = true;
            } else if shown && let Some((_, output)) = examples.last_mut() {
                output.push_str(&format!("{line}\n"));
            }
        }
    }
    examples
}

#[test]
fn commands_print_the_output_shown_in_readme() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clone = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(project.join("examples")).arg(clone.path()).output_in_time().status;
    assert!(copied.success());
    let release = clone.path().join("target/release");
    fs::create_dir_all(&release).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pve-firewall"), release.join("pve-firewall")).unwrap();

    let readme = fs::read_to_string(project.join("README.md")).unwrap();
    let examples = examples(&readme);
    assert!(examples.len() > 5, "{examples:?}");
    for (command, shown) in examples {
        let output =
            Command::new("sh").args(["-c", &format!("{command} 2>&1")]).current_dir(clone.path()).output_in_time();
        let output = String::from_utf8(output.stdout).unwrap();
        // an ellipsis matches any text
        let wanted = format!("(?s)^{}$", regex::escape(&shown).replace('…', ".*"));
        assert!(Regex::new(&wanted).unwrap().is_match(&output), "{command} prints\n{output}");
    }
}

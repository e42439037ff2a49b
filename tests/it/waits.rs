//! Tests wait with a time limit, with the functions of `tests/support/wait.rs`.
use regex::Regex;
use std::fs;
use std::path::{Path, PathBuf};

/// Calls that wait for a process or a thread without a limit.
const UNLIMITED: &str =
    r"\.(wait|output|wait_with_output)\(\)|\.status\(\)(;|\.unwrap|\.expect)|JoinHandle::join|\.join\(\)";

/// Calls that are limited in another way.
const LIMITED: [&str; 2] = ["inside.join()", "session.join()"];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => Vec::from_iter(path.extension().is_some_and(|extension| extension == "rs").then_some(path)),
    };
    entries.flat_map(of).collect()
}

#[test]
fn no_test_waits_without_a_limit() {
    let unlimited = Regex::new(UNLIMITED).unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = ["tests/support/wait.rs", "tests/it/waits.rs"].map(|path| project.join(path));
    let mut found = Vec::new();
    for path in sources(&project.join("tests")).into_iter().filter(|path| !own.contains(path)) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let limited = LIMITED.iter().any(|call| line.contains(call)) || line.contains("node.status()");
            if unlimited.is_match(line) && !limited {
                found.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

//! Earlier findings of fuzzing: each file in `tests/regressions/TARGET/` is replayed through that target of `fuzz/`.
#[path = "../../fuzz/fuzz_targets/support/mod.rs"]
mod support;

use self::support::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn directory(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn names(path: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory(path)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn targets() -> BTreeSet<String> {
    TARGETS.iter().map(|(name, _)| (*name).to_string()).collect()
}

#[test]
fn earlier_fuzzing_findings_are_fixed() {
    let directories = names("tests/regressions");
    assert!(
        !directories.is_empty() && directories.is_subset(&targets()),
        "each directory has the name of a target: {directories:?}"
    );
    for (target, check) in TARGETS.into_iter().filter(|(target, _)| directories.contains(*target)) {
        let cases = format!("tests/regressions/{target}");
        for case in names(&cases) {
            // printed if the check panics
            println!("{cases}/{case}");
            check(&fs::read(directory(&cases).join(case)).unwrap());
        }
    }
}

#[test]
fn every_target_has_its_program() {
    let programs: BTreeSet<String> =
        names("fuzz/fuzz_targets").iter().filter_map(|name| name.strip_suffix(".rs").map(String::from)).collect();
    assert_eq!(programs, targets());
    let manifest = fs::read_to_string(directory("fuzz/Cargo.toml")).unwrap();
    for target in targets() {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
        let program = fs::read_to_string(directory("fuzz/fuzz_targets").join(format!("{target}.rs"))).unwrap();
        assert!(program.contains(&format!("support::run(\"{target}\", data)")), "{program}");
    }
}

//! Every test named in `docs/faults.md` exists.
use regex::Regex;
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

fn below(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path())
}

/// The source of a test module: of `NAME.rs`, and of all files in the directory `NAME`.
fn module(directory: &Path, name: &str) -> String {
    let text = |path: PathBuf| match (path.is_dir(), path.file_stem().is_some_and(|stem| stem == name)) {
        (true, true) => all_below(&path),
        (true, false) => module(&path, name),
        (false, true) if path.extension().is_some_and(|extension| extension == "rs") => read(path),
        (false, _) => String::new(),
    };
    entries(directory).map(text).collect()
}

fn all_below(directory: &Path) -> String {
    entries(directory).map(|path| if path.is_dir() { all_below(&path) } else { read(path) }).collect()
}

/// Whether a test with this name exists: with `#[test]`, or in the list of a program with its own `main`.
fn declares(text: &str, test: &str) -> bool {
    Regex::new(&format!(r#"#\[test\]\s+fn {test}\(|\(\s*"{test}","#)).unwrap().is_match(text)
}

/// The number of tests that a cell of a row names; all of them exist.
fn tests_in(cell: &str, row: &str, source: &str, name: &Regex) -> usize {
    let program = |name: &str| module(&below("tests"), name);
    let of_units = cell.find("unit test").unwrap_or(cell.len());
    for found in name.captures_iter(cell) {
        let (whole, first) = (found.get(0).unwrap(), &found[1]);
        let there = match found.get(2) {
            Some(test) => declares(&program(first), test.as_str()),
            None if whole.start() > of_units => declares(source, first),
            None => !program(first).is_empty(),
        };
        assert!(there, "there is no test {}: {row}", whole.as_str());
    }
    let needs_no_test = ["the same", "– "].iter().any(|start| cell.starts_with(start));
    assert!(name.is_match(cell) || needs_no_test, "a row without a test: {row}");
    name.captures_iter(cell).count()
}

#[test]
fn every_test_in_the_table_of_failures_exists() {
    let table = read("docs/faults.md");
    let source = all_below(&below("src"));
    let name = Regex::new("`([a-z0-9_]+)(?:::([a-z0-9_]+))?`").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|') && !line.starts_with("| ---")).collect();
    let (mut tests, mut columns) = (0, 0);
    for row in &rows {
        // the header of a table determines how many of the last columns name tests
        match row.rsplit(" | ").next() {
            Some("test |") => columns = 1,
            Some("nftables |") => columns = 2,
            _ => {
                let cells = row.trim_end_matches(" |").rsplit(" | ").take(columns);
                tests += cells.map(|cell| tests_in(cell, row, &source, &name)).sum::<usize>();
            }
        }
    }
    assert!(rows.len() > 40 && tests > rows.len(), "{} rows, {tests} tests", rows.len());
}

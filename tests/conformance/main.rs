//! The recorded cases: configuration trees, and the exact ruleset for each.
//!
//! `tests/conformance/cases/NAME/expected.txt` has a section for each table. A line without indentation is a chain or set
//! with its signature, and the indented lines below are its rules; if there are none, only the signature is compared.
#![allow(clippy::disallowed_methods, reason = "tests read files")]
use libtest_mimic::{Arguments, Failed, Trial};
use pve_firewall::iptables::compile::{Compiled, compile};
use pve_firewall::iptables::ruleset::{Family, MacStyle, Ruleset, Table};
use similar::TextDiff;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../support/trees.rs"]
mod trees;
use trees::{facts, from_directory};

type Entries = BTreeMap<String, (String, Vec<String>)>;

fn main() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let mut cases: Vec<PathBuf> = fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let trials = cases.into_iter().map(|case| {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        Trial::test(name, move || check(&case))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn check(case: &Path) -> Result<(), Failed> {
    let compiled = compile(&from_directory(&case.join("pve")), &facts());
    if let Ok(expected) = fs::read_to_string(case.join("reports.txt")) {
        return same_reports(&expected, &compiled);
    }
    let expected = sections(&fs::read_to_string(case.join("expected.txt"))?);
    let actual = compiled_sections(&compiled.ruleset);
    let mut difference = String::new();
    for (section, expected) in &expected {
        let actual = &actual[section];
        for name in expected.keys().chain(actual.keys().filter(|name| !expected.contains_key(*name))) {
            difference += &compare(section, name, expected.get(name), actual.get(name));
        }
    }
    if difference.is_empty() { Ok(()) } else { Err(difference.into()) }
}

fn compare(
    section: &str,
    name: &str,
    expected: Option<&(String, Vec<String>)>,
    actual: Option<&(String, Vec<String>)>,
) -> String {
    let lines = |side: Option<&(String, Vec<String>)>| match side {
        Some((signature, rules)) => format!("{name} {signature}\n{}\n", rules.join("\n")),
        None => String::new(),
    };
    let same = match (expected, actual) {
        (Some((expected, rules)), Some((actual, _))) if rules.is_empty() => expected == actual,
        (expected, actual) => expected == actual,
    };
    if same {
        return String::new();
    }
    let (expected, actual) = (lines(expected), lines(actual));
    let diff = TextDiff::from_lines(&expected, &actual);
    format!("\n{section}, {name}: - expected, + compiled\n{}", diff.unified_diff().context_radius(2))
}

fn same_reports(expected: &str, compiled: &Compiled) -> Result<(), Failed> {
    let report_lines = |text: &str| -> Vec<String> { text.lines().map(ToString::to_string).collect() };
    let actual: Vec<_> = compiled.reports.iter().flat_map(|report| report_lines(&report.to_string())).collect();
    let matches = |expected: &str, actual: &str| match expected.split_once('…') {
        Some((start, _)) => actual.starts_with(start),
        None => actual == expected,
    };
    let mut unmatched = actual.clone();
    let mut missing = Vec::new();
    for line in expected.lines() {
        match unmatched.iter().position(|one| matches(line, one)) {
            Some(index) => drop(unmatched.remove(index)),
            None => missing.push(line),
        }
    }
    if missing.is_empty() && unmatched.is_empty() {
        return Ok(());
    }
    Err(format!("missing:\n{}\nunexpected:\n{}", missing.join("\n"), unmatched.join("\n")).into())
}

fn sections(text: &str) -> BTreeMap<String, Entries> {
    let mut sections: BTreeMap<String, Entries> = BTreeMap::new();
    let (mut section, mut name) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            section = title.to_string();
            sections.entry(section.clone()).or_default();
        } else if let Some(rule) = line.strip_prefix("    ") {
            let entry = sections.get_mut(&section).unwrap().get_mut(&name).unwrap();
            entry.1.push(rule.to_string());
        } else {
            let (chain, signature) = line.split_once(' ').unwrap();
            name = chain.to_string();
            sections.get_mut(&section).unwrap().insert(name.clone(), (signature.to_string(), Vec::new()));
        }
    }
    sections
}

fn compiled_sections(ruleset: &Ruleset) -> BTreeMap<String, Entries> {
    let table = |table: &Table| -> Entries {
        let entry = |(name, chain): (&_, &std::sync::Arc<pve_firewall::iptables::ruleset::Chain>)| {
            let name: &pve_firewall::iptables::ruleset::ChainName = name;
            (name.to_string(), (chain.signature(name).to_string(), chain.lines(name).collect()))
        };
        table.iter().map(entry).collect()
    };
    let style = MacStyle::Short;
    let bridge = ruleset.bridge.iter().map(|(name, chain)| {
        (name.to_string(), (chain.signature(name, style).to_string(), chain.lines(name, style).collect()))
    });
    let sets = ruleset
        .sets
        .iter()
        .map(|(name, set)| (name.to_string(), (set.signature(name).to_string(), set.lines(name).collect::<Vec<_>>())));
    BTreeMap::from([
        ("ip4 filter".to_string(), table(&ruleset.filter[Family::V4])),
        ("ip4 raw".to_string(), table(&ruleset.raw[Family::V4])),
        ("ip6 filter".to_string(), table(&ruleset.filter[Family::V6])),
        ("ip6 raw".to_string(), table(&ruleset.raw[Family::V6])),
        ("ebtables filter".to_string(), bridge.collect()),
        ("ipset".to_string(), sets.collect()),
    ])
}

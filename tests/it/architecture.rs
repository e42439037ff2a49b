//! Dependencies between modules, and the absence of I/O in the core.
use std::fs;
use std::path::{Path, PathBuf};

/// A module, and the other modules that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    // the core
    ("model", &[]),
    ("builtin", &[]),
    ("nflog", &[]),
    ("inputs", &[]),
    ("parallel", &[]),
    ("paths", &["model"]),
    ("config", &["builtin", "inputs", "model", "node", "parallel", "paths"]),
    ("node", &["inputs", "model", "paths"]),
    ("lint", &["builtin", "config", "inputs", "iptables", "model", "node", "paths"]),
    ("connections", &["inputs", "iptables", "model", "nflog", "node", "parallel", "paths"]),
    // the shell
    ("iptables", &["builtin", "config", "inputs", "model", "node", "parallel", "paths", "system"]),
    ("nftables", &["builtin", "config", "model", "nflog", "node", "system"]),
    ("system", &["nflog"]),
    ("pmxcfs", &["inputs", "model", "node", "parallel", "paths", "system"]),
    ("logger", &["nflog", "paths", "system"]),
    ("trial", &["inputs", "paths", "system"]),
    ("daemon", &["inputs", "iptables", "model", "paths", "pmxcfs", "system", "trial"]),
    (
        "cli",
        &[
            "builtin",
            "connections",
            "daemon",
            "inputs",
            "iptables",
            "lint",
            "model",
            "nflog",
            "node",
            "paths",
            "pmxcfs",
            "system",
            "trial",
        ],
    ),
];

/// The core: bytes to values and text, without I/O, clock and environment.
const CORE: &[&str] = &[
    "model",
    "builtin",
    "nflog",
    "inputs",
    "parallel",
    "paths",
    "config",
    "node",
    "lint",
    "iptables/limits",
    "connections",
    "iptables/ruleset",
    "iptables/compile",
    "iptables/plan",
    "iptables/simulate",
    "nftables/ruleset",
    "nftables/compile",
    "nftables/plan",
    "trial/model",
];
/// What the core must not name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::process",
    "std::env",
    "std::net::Tcp",
    "std::net::Udp",
    "SystemTime",
    "Instant",
    "println!",
    "nix::",
];

fn sources(module: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![src.join(module)];
    files.extend(Some(src.join(format!("{module}.rs"))).filter(|file| file.exists()));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// A file without its tests and comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_use_only_those_below_them() {
    let mut seen = 0;
    for (module, allowed) in MAY_USE {
        for file in sources(module) {
            seen += 1;
            for (index, _) in code(&file).match_indices("crate::") {
                let text = code(&file);
                let used: String =
                    text[index + 7..].chars().take_while(|one| one.is_alphanumeric() || *one == '_').collect();
                let fine = used == *module || allowed.contains(&used.as_str());
                assert!(fine, "{}: {module} must not use {used}", file.display());
            }
        }
    }
    assert!(seen > 20, "the sources were not found");
}

#[test]
fn every_module_is_in_the_table() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let module = line.trim_end_matches(';');
        assert!(MAY_USE.iter().any(|(known, _)| *known == module), "{module} has no row in MAY_USE");
    }
}

#[test]
fn the_core_does_no_io() {
    for file in CORE.iter().flat_map(|module| sources(module)) {
        let text = code(&file);
        for word in IMPURE {
            assert!(!text.contains(word), "{}: {word} in the core", file.display());
        }
    }
}

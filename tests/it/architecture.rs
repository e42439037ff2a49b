//! Modules use only the modules that they may use, the core does no I/O, and each kernel name and path is in one file.
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with the modules that it may use besides itself. `iptables` has several; the files directly in
/// `src/iptables/` are a module as well.
#[rustfmt::skip]
const MAY_USE: &[(&str, &[&str])] = &[
    // the core
    ("simulate", &["model"]),
    ("builtin", &[]),
    ("model", &[]),
    ("nflog", &["model"]),
    ("inputs", &["model"]),
    ("parallel", &[]),
    ("paths", &["model"]),
    ("config", &["builtin", "inputs", "model", "node", "parallel", "paths"]),
    ("node", &["inputs", "model", "paths"]),
    ("lint", &[
        "builtin", "config", "inputs", "iptables/compile", "iptables/ruleset", "iptables/simulate", "model", "nftables/compile",
        "nftables/unsupported_values", "nftables/ruleset", "nftables/simulate", "node", "paths", "simulate",
    ]),
    ("listing", &["model"]),
    ("iptables/ruleset", &["model"]),
    ("iptables/names", &["iptables/ruleset", "model"]),
    ("iptables/unsupported_values", &["config", "model"]),
    ("iptables/compile", &[
        "builtin", "config", "inputs", "iptables/unsupported_values", "iptables/names", "iptables/ruleset", "model", "node",
        "parallel", "paths", "settings",
    ]),
    ("iptables/plan", &["health", "iptables/names", "iptables/ruleset", "listing", "model", "parallel"]),
    ("iptables/simulate", &["iptables/names", "iptables/ruleset", "model", "simulate"]),
    ("health", &["model"]),
    ("connections", &["inputs", "model", "nflog", "node", "parallel", "paths", "simulate"]),
    ("nftables/ruleset", &["model", "nftables/names"]),
    ("nftables/names", &["model"]),
    ("nftables/compile", &[
        "config", "inputs", "model", "nftables/unsupported_values", "nftables/names", "nftables/ruleset", "node",
        "parallel", "paths",
    ]),
    ("nftables/live", &["nflog", "nftables/names", "nftables/ruleset", "system"]),
    ("nftables/plan", &["model", "nftables/live", "nftables/names", "nftables/ruleset"]),
    ("nftables/simulate", &["model", "nftables/names", "nftables/ruleset", "simulate"]),
    ("nftables/unsupported_values", &["config", "model", "nftables/names", "nftables/ruleset"]),
    ("nftables/json_export", &["model", "nftables/names", "nftables/ruleset"]),
    ("nftables/apply", &["nftables/live", "nftables/names", "nftables/plan", "nftables/ruleset", "system"]),
    // the shell
    ("system", &["model", "nflog"]),
    ("settings", &["config", "paths", "system"]),
    ("iptables/apply", &["health", "iptables/names", "iptables/plan", "iptables/ruleset", "model", "paths", "system"]),
    ("iptables/backend", &[
        "config", "health", "inputs", "iptables/apply", "iptables/compile", "iptables/names", "iptables/plan",
        "iptables/ruleset", "listing", "model", "parallel", "paths", "system",
    ]),
    ("nftables/backend", &[
        "config", "health", "inputs", "listing", "model", "nftables/apply", "nftables/compile", "nftables/live",
        "nftables/names", "nftables/plan", "nftables/ruleset", "paths", "system",
    ]),
    ("backend", &[
        "config", "health", "inputs", "iptables/apply", "iptables/backend", "iptables/compile", "iptables/plan",
        "iptables/ruleset", "iptables/simulate", "listing", "model", "nftables/apply", "nftables/backend",
        "nftables/compile", "nftables/json_export", "nftables/unsupported_values", "nftables/live", "nftables/names", "nftables/ruleset",
        "nftables/simulate", "node", "settings", "simulate", "system",
    ]),
    ("pmxcfs", &["inputs", "model", "node", "parallel", "paths", "system"]),
    ("facts", &["inputs", "model", "node", "paths", "system"]),
    ("logger", &["nflog", "paths", "system"]),
    ("trial", &["inputs", "model", "paths", "system"]),
    ("daemon", &[
        "backend", "config", "connections", "facts", "health", "inputs", "model", "paths", "pmxcfs", "settings", "system", "trial",
    ]),
    ("cli", &[
        "backend", "builtin", "config", "connections", "daemon", "facts", "health", "inputs", "lint", "listing", "model", "nflog",
        "node", "parallel", "paths", "pmxcfs", "simulate", "system", "trial",
    ]),
];

/// The core: bytes to values and text, without I/O, clock and environment.
const CORE: &[&str] = &[
    "builtin",
    "model",
    "nflog",
    "inputs",
    "parallel",
    "paths",
    "config",
    "node",
    "lint",
    "connections",
    "health",
    "iptables/unsupported_values",
    "iptables/names",
    "iptables/ruleset",
    "iptables/compile",
    "iptables/plan",
    "iptables/simulate",
    "nftables/unsupported_values",
    "nftables/names",
    "nftables/ruleset",
    "nftables/compile",
    "nftables/plan",
    "nftables/simulate",
    "nftables/json_export",
    "listing",
    "simulate",
    "trial/model",
];
/// Names that must not occur in the core.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::process",
    "std::env",
    "std::net::Tcp",
    "std::net::Udp",
    "SystemTime",
    "Instant",
    "println",
    "nix::",
];

/// Parts of names in the kernel, and the files that may format and parse these names.
const NAMES: &[&str] = &["PVEFW-", "GROUP-", "fwln", "fwbr", "fwpr", "_swap"];
const NAMES_OWNERS: &[&str] = &["iptables/names/mod.rs", "iptables/names/fixed_chains.rs", "model/guest.rs"];
/// The same for literals that are equal to one of these.
const WHOLE_NAMES: &[&str] = &["tap", "veth", "-IN", "-OUT", "-OUT-ARP", "-OUT-PROTO", "_next"];
/// Beginnings of nftables names, and the file that may format and parse these names. Other files of the backend use names of hooks
/// and words of nft(8).
const NFT_NAMES: &[&str] = &[
    "accept-management",
    "allow-",
    "before-bridge",
    "block-",
    "bridge-map",
    "check-",
    "do-reject",
    "failsafe-",
    "helper-",
    "host-bridge-",
    "log-",
    "policy-",
    "pre-vm-",
    "proxmox-firewall",
    "vm-",
];
const NFT_NAMES_OWNER: &str = "nftables/names.rs";
/// Parts of file paths, and the file that may format and parse these paths.
const PATHS: &[&str] = &[
    "/etc/pve",
    "/etc/services",
    "/etc/protocols",
    "/etc/ethertypes",
    "/run/",
    "/var/",
    ".fw",
    ".vmlist",
    ".members",
    "corosync.conf",
    "qemu-server",
    "nodes/",
    "firewall/",
];
const PATHS_OWNERS: &[&str] = &["paths.rs"];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All source files, by their path below `src`.
pub(super) fn sources() -> BTreeMap<String, TokenStream> {
    let mut files = BTreeMap::new();
    let mut directories = vec![src()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(src()).unwrap().to_str().unwrap().to_string();
            let code = fs::read_to_string(&path).unwrap().parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            files.insert(name, without_tests(code));
        }
    }
    assert!(files.len() > 100, "the sources were not found");
    files
}

/// The code without `#[cfg(test)] mod tests` and documentation.
fn without_tests(code: TokenStream) -> TokenStream {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut tokens = code.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let attribute = matches!(&token, TokenTree::Punct(hash) if hash.as_char() == '#');
        let text = tokens.peek().filter(|_| attribute).map(|next| next.to_string().replace(' ', ""));
        match text.as_deref() {
            Some("[cfg(test)]") => {
                tokens.next();
                // up to the end of the item: its body, or a semicolon
                for token in tokens.by_ref() {
                    match token {
                        TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => break,
                        TokenTree::Punct(end) if end.as_char() == ';' => break,
                        _ => {}
                    }
                }
            }
            Some(text) if text.starts_with("[doc=") => drop(tokens.next()),
            // an attribute of the file, `#![doc = …]`
            Some("!") => drop((tokens.next(), tokens.next())),
            _ => kept.push(match token {
                TokenTree::Group(group) => Group::new(group.delimiter(), without_tests(group.stream())).into(),
                token => token,
            }),
        }
    }
    kept.into_iter().collect()
}

/// The module of a file, as the words of its path.
pub(super) fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_string).collect()
}

/// All paths that begin with `crate` or `super`, as words from the crate's root.
pub(super) fn uses(code: &TokenStream, module: &[String], found: &mut BTreeSet<Vec<String>>) {
    let tokens: Vec<TokenTree> = code.clone().into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(word) if word == "crate" => at = path(&tokens, at + 1, &[], found),
            TokenTree::Ident(word) if word == "super" => {
                let above = &module[..module.len().saturating_sub(1)];
                at = path(&tokens, at + 1, above, found);
            }
            TokenTree::Group(group) => {
                uses(&group.stream(), module, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Follows a path from the `::` at `at`. Returns where it ends.
pub(super) fn path(tokens: &[TokenTree], mut at: usize, from: &[String], found: &mut BTreeSet<Vec<String>>) -> usize {
    let mut words = from.to_vec();
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(colon)) if colon.as_char() == ':');
    while colon(at) && colon(at + 1) {
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(word)) if word == "super" => drop(words.pop()),
            Some(TokenTree::Ident(word)) => words.push(word.to_string()),
            Some(TokenTree::Group(group)) => {
                branches(&group.stream(), &words, found);
                return at + 3;
            }
            _ => break,
        }
        at += 3;
    }
    found.insert(words);
    at
}

/// The branches of `{a, b::c, d::{e}}`.
fn branches(code: &TokenStream, from: &[String], found: &mut BTreeSet<Vec<String>>) {
    let tokens: Vec<TokenTree> = code.clone().into_iter().collect();
    for branch in tokens.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',')) {
        if let Some(TokenTree::Ident(word)) = branch.first() {
            let mut words = from.to_vec();
            words.extend(Some(word.to_string()).filter(|word| word != "self"));
            path(branch, 1, &words, found);
        }
    }
}

/// The row of [`MAY_USE`] that a module belongs to.
fn listed_module(words: &[String]) -> Option<&'static str> {
    let joined = words.join("/");
    let is_in =
        |module: &str| joined == module || joined.strip_prefix(module).is_some_and(|rest| rest.starts_with('/'));
    MAY_USE.iter().map(|(module, _)| *module).find(|module| is_in(module))
}

/// The modules that each module uses, each with a file that uses it.
fn used() -> BTreeMap<&'static str, BTreeMap<&'static str, String>> {
    let mut used: BTreeMap<_, BTreeMap<_, _>> = MAY_USE.iter().map(|(module, _)| (*module, BTreeMap::new())).collect();
    for (file, code) in sources() {
        let module = module_of(&file);
        let Some(own) = listed_module(&module) else { continue };
        let mut found = BTreeSet::new();
        uses(&code, &module, &mut found);
        let modules = found.iter().filter_map(|path| listed_module(path)).filter(|module| *module != own);
        used.get_mut(own).unwrap().extend(modules.map(|module| (module, file.clone())));
    }
    used
}

#[test]
fn modules_use_only_what_is_allowed_and_no_permission_is_unused() {
    let mut wrong = Vec::new();
    for (module, used) in used() {
        let (_, allowed) = MAY_USE.iter().find(|(known, _)| *known == module).unwrap();
        for (other, file) in &used {
            if !allowed.contains(other) {
                wrong.push(format!("{file}: {module} must not use {other}"));
            }
        }
        for unused in allowed.iter().filter(|other| !used.contains_key(*other)) {
            wrong.push(format!("{module} has a permission for {unused} that it does not use"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_backends_do_not_use_each_other_and_the_configuration_uses_neither() {
    let backend = |module: &str| ["iptables", "nftables"].into_iter().find(|backend| module.starts_with(backend));
    for (module, used) in used() {
        for (other, file) in used {
            if let Some(other) = backend(other) {
                let shared = ["model", "builtin", "config", "node", "paths", "inputs"].contains(&module);
                assert!(!shared, "{file}: {module} uses {other}");
                assert_eq!(backend(module).unwrap_or(other), other, "{file}");
            }
        }
    }
}

#[test]
fn every_file_belongs_to_a_listed_module() {
    let roots = ["lib.rs", "iptables/mod.rs", "nftables/mod.rs"];
    for file in sources().keys().filter(|file| !roots.contains(&file.as_str()) && !file.starts_with("bin/")) {
        assert!(listed_module(&module_of(file)).is_some(), "{file} is in no module of MAY_USE");
    }
    for (module, _) in MAY_USE {
        let there = src().join(module).is_dir() || src().join(format!("{module}.rs")).is_file();
        assert!(there, "there is no {module}");
    }
}

#[test]
fn the_core_does_no_io() {
    for (file, code) in sources() {
        let module = module_of(&file).join("/");
        if CORE.iter().any(|core| module == *core || module.starts_with(&format!("{core}/"))) {
            let text = code.to_string().replace(' ', "");
            for word in IMPURE {
                assert!(!text.contains(word), "{file}: the core must not use {word}");
            }
        }
    }
}

/// The string literals of code.
fn literals(code: &TokenStream, found: &mut Vec<String>) {
    for token in code.clone() {
        match token {
            TokenTree::Group(group) => literals(&group.stream(), found),
            TokenTree::Literal(literal) => found.push(literal.to_string()),
            _ => {}
        }
    }
}

#[test]
fn names_in_the_kernel_and_paths_have_one_owner() {
    let mut wrong = Vec::new();
    for (file, code) in sources() {
        let mut found = Vec::new();
        literals(&code, &mut found);
        // messages may name a file
        let words = || found.iter().map(|literal| literal.trim_matches('"')).filter(|literal| !literal.contains(' '));
        let is_name = |text: &&str| NAMES.iter().any(|part| text.contains(part)) || WHOLE_NAMES.contains(text);
        let is_path = |text: &&str| PATHS.iter().any(|part| text.contains(part));
        if !NAMES_OWNERS.contains(&file.as_str()) {
            wrong.extend(words().filter(is_name).map(|text| format!("{file}: a name: {text}")));
            let sentences = found.iter().filter(|literal| literal.contains("PVEFW-") && literal.contains(' '));
            wrong.extend(sentences.map(|text| format!("{file}: a name: {text}")));
        }
        let is_nft_name = |text: &&str| NFT_NAMES.iter().any(|start| text.starts_with(start));
        if file.starts_with("nftables/") && file != NFT_NAMES_OWNER {
            wrong.extend(words().filter(is_nft_name).map(|text| format!("{file}: a name: {text}")));
        }
        if !PATHS_OWNERS.contains(&file.as_str()) {
            wrong.extend(words().filter(is_path).map(|text| format!("{file}: a path: {text}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

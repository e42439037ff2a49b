//! Configuration trees from a directory or from a few lines of text, compiled.
#![allow(dead_code, reason = "each program uses a part")]
use pve_firewall::inputs::{Facts, File, Tree};
use pve_firewall::iptables::compile::{Compiled, compile};
use pve_firewall::iptables::ruleset::{Family, MacStyle};
use std::fs;
use std::path::Path;

/// A tree of files for node `n1`, each a path below the root and its text.
pub fn tree(files: &[(&str, &str)]) -> Tree {
    let content = |text: &str| File::Content(text.as_bytes().into());
    Tree {
        root: "/etc/pve".to_string(),
        files: files.iter().map(|(path, text)| ((*path).into(), content(text))).collect(),
    }
}

/// The files of a directory, named as on a node.
pub fn from_directory(root: &Path) -> Tree {
    let mut tree = Tree { root: "/etc/pve".to_string(), ..Tree::default() };
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else {
                tree.files.insert(name.into(), File::Content(fs::read(&path).unwrap().into()));
            }
        }
    }
    tree
}

/// A node named `n1` with Debian's name databases, without routes and resolver.
pub fn facts() -> Facts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}; run make deps"));
    Facts {
        node: "n1".to_string(),
        now: 1_790_000_000,
        services: read("/etc/services"),
        protocols: read("/etc/protocols"),
        ethertypes: read("/etc/ethertypes"),
        ..Facts::default()
    }
}

/// A tree with an enabled VM 100 on the node, and lines to add to its file and to cluster.fw.
pub fn vm(cluster: &str, guest: &str) -> Compiled {
    compile(&vm_tree(cluster, guest), &facts())
}

/// The tree of [`vm`].
pub fn vm_tree(cluster: &str, guest: &str) -> Tree {
    tree(&[
        ("firewall/cluster.fw", &format!("[OPTIONS]\nenable: 1\n{cluster}")),
        ("firewall/100.fw", &format!("[OPTIONS]\nenable: 1\n{guest}")),
        ("nodes/n1/qemu-server/100.conf", "net0: virtio=BC:24:11:00:0A:01,bridge=vmbr0,firewall=1\n"),
    ])
}

/// A tree with these lines in an enabled cluster.fw, compiled.
pub fn cluster(text: &str) -> Compiled {
    compile(&tree(&[("firewall/cluster.fw", &format!("[OPTIONS]\nenable: 1\n{text}"))]), &facts())
}

/// The rules of a chain of the table filter, without `-A CHAIN`; none if there is no such chain.
pub fn chain(compiled: &Compiled, family: Family, name: &str) -> Vec<String> {
    let Some((name, chain)) = compiled.ruleset.filter[family].get_key_value(name) else { return Vec::new() };
    let prefix = format!("-A {name} ");
    chain.lines(name).map(|line| line.strip_prefix(&prefix).unwrap().to_string()).collect()
}

/// The rules of an ebtables chain, without `-A CHAIN`; none if there is no such chain.
pub fn bridge(compiled: &Compiled, name: &str, style: MacStyle) -> Vec<String> {
    let Some((name, chain)) = compiled.ruleset.bridge.get_key_value(name) else { return Vec::new() };
    let prefix = format!("-A {name} ");
    chain.lines(name, style).map(|line| line.strip_prefix(&prefix).unwrap().to_string()).collect()
}

/// The entries of an IP set, as they follow its name in `ipset save`.
pub fn entries(compiled: &Compiled, name: &str) -> Vec<String> {
    let Some((name, set)) = compiled.ruleset.sets.get_key_value(name) else { return Vec::new() };
    let prefix = format!("add {name} ");
    set.lines(name).filter_map(|line| line.strip_prefix(&prefix).map(ToString::to_string)).collect()
}

/// The reports as text.
pub fn reports(compiled: &Compiled) -> Vec<String> {
    compiled.reports.iter().map(ToString::to_string).collect()
}

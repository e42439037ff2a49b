//! Modules have no cyclic dependencies.
use super::architecture::{module_of, path, sources, uses};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

/// A module or an item, as words from the crate's root.
type Words = Vec<String>;
/// For each module the modules that it uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The names that the `use` lines of a module import, with their full paths.
fn imports(code: &TokenStream, module: &[String], modules: &BTreeSet<Words>) -> BTreeMap<String, Words> {
    let mut found = BTreeSet::new();
    let tokens: Vec<TokenTree> = code.clone().into_iter().collect();
    let lines = tokens.iter().enumerate().filter(|(_, token)| matches!(token, TokenTree::Ident(word) if word == "use"));
    for (at, _) in lines {
        match tokens.get(at + 1) {
            Some(TokenTree::Ident(word)) if word == "crate" || word == "super" => {
                let above = &module[..module.len().saturating_sub(1)];
                path(&tokens, at + 2, if word == "crate" { &[] } else { above }, &mut found);
            }
            Some(TokenTree::Ident(child)) => {
                let mut from = module.to_vec();
                from.push(child.to_string());
                if modules.contains(&from) {
                    path(&tokens, at + 2, &from, &mut found);
                }
            }
            _ => {}
        }
    }
    found.into_iter().filter_map(|words| Some((words.last()?.clone(), words))).collect()
}

/// The module in which an item is defined; `use` lines of the modules in its path are followed.
fn owner(item: &[String], modules: &BTreeSet<Words>, imported: &BTreeMap<Words, BTreeMap<String, Words>>) -> Words {
    let mut item = item.to_vec();
    // no item has more re-exports
    for _ in 0..10 {
        let length = (0..=item.len()).rev().find(|length| modules.contains(&item[..*length])).unwrap_or(0);
        let target = item.get(length).and_then(|name| imported.get(&item[..length])?.get(name));
        match target.filter(|target| **target != item) {
            Some(target) => item = target.iter().chain(&item[length + 1..]).cloned().collect(),
            None => return item[..length].to_vec(),
        }
    }
    item
}

/// For each directory, which of its modules uses which. Uses of modules above are left out.
fn graphs() -> BTreeMap<String, Graph> {
    let files: BTreeMap<Words, TokenStream> = sources()
        .into_iter()
        .filter(|(file, _)| !file.starts_with("bin/") && file != "lib.rs")
        .map(|(file, code)| (module_of(&file), code))
        .collect();
    let modules: BTreeSet<Words> = files.keys().cloned().collect();
    let imported = files.iter().map(|(module, code)| (module.clone(), imports(code, module, &modules))).collect();
    let mut graphs: BTreeMap<String, Graph> = BTreeMap::new();
    for (module, code) in &files {
        let mut found = BTreeSet::new();
        uses(code, module, &mut found);
        for other in found.iter().map(|item| owner(item, &modules, &imported)) {
            let shared = module.iter().zip(&other).take_while(|(own, other)| own == other).count();
            if let (Some(own), Some(other)) = (module.get(shared), other.get(shared)) {
                let graph = graphs.entry(module[..shared].join("/")).or_default();
                graph.entry(own.clone()).or_default().insert(other.clone());
            }
        }
    }
    graphs
}

/// All modules that a module uses, directly or indirectly.
fn used_transitively(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&String> = graph.get(from).into_iter().flatten().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module.clone()) {
            next.extend(graph.get(module).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn modules_have_no_dependency_cycles() {
    let graphs = graphs();
    assert!(graphs["iptables/apply"]["sets"].contains("restore"), "uses are not found: {graphs:?}");
    let mut wrong = Vec::new();
    for (directory, graph) in &graphs {
        for (module, used) in graph {
            let back = used.iter().filter(|other| used_transitively(graph, other).contains(module));
            wrong.extend(back.map(|other| format!("{directory}: {module} uses {other}, which uses {module} again")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

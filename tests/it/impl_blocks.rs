//! `impl` blocks of a type are in the file that defines it, or in files that this file names.
use super::architecture::sources;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The types that code defines, and those with inherent `impl` blocks in it.
#[derive(Default)]
struct Types {
    defined: BTreeSet<String>,
    implemented: BTreeSet<String>,
}

impl Types {
    fn collect(&mut self, code: TokenStream) {
        let tokens: Vec<TokenTree> = code.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(word) if word == "struct" || word == "enum" => {
                    self.defined.extend(tokens.get(at + 1).map(ToString::to_string));
                }
                TokenTree::Ident(word) if word == "impl" => self.implemented.extend(inherent(&tokens[at + 1..])),
                // the bodies of modules
                TokenTree::Group(group) if at > 1 && tokens[at - 2].to_string() == "mod" => {
                    self.collect(group.stream())
                }
                _ => {}
            }
        }
    }
}

/// The type of an `impl` block, without its path and parameters; `None` for the implementation of a trait.
fn inherent(after: &[TokenTree]) -> Option<String> {
    let (mut name, mut depth) = (None, 0);
    for token in after {
        match token {
            TokenTree::Punct(open) if open.as_char() == '<' => depth += 1,
            TokenTree::Punct(close) if close.as_char() == '>' => depth -= 1,
            TokenTree::Ident(word) if depth == 0 && word == "for" => return None,
            TokenTree::Ident(word) if depth == 0 && word == "where" => return name,
            TokenTree::Ident(word) if depth == 0 => name = Some(word.to_string()),
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => return name,
            _ => {}
        }
    }
    None
}

/// The number of leading directories that two files have in common.
fn common_directories(one: &str, other: &str) -> usize {
    one.split('/').zip(other.split('/')).take_while(|(one, other)| one == other).count()
}

/// Whether a file names another one as its module, or as `name` in its text.
fn names(file: &str, other: &str) -> bool {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap();
    let name = other.trim_end_matches("/mod.rs").trim_end_matches(".rs").rsplit('/').next().unwrap();
    text.contains(&format!("mod {name};")) || text.contains(&format!("`{name}`"))
}

#[test]
fn impl_blocks_are_in_the_file_of_their_type_or_in_files_that_it_names() {
    let files: BTreeMap<String, Types> = sources()
        .into_iter()
        .map(|(file, code)| {
            let mut types = Types::default();
            types.collect(code);
            (file, types)
        })
        .collect();
    let (mut wrong, mut in_other_files) = (Vec::new(), 0);
    for (file, types) in &files {
        for name in types.implemented.difference(&types.defined) {
            // if several types have the same name, the one in the nearest directory
            let defining = files.iter().filter(|(_, types)| types.defined.contains(name)).map(|(file, _)| file);
            let Some(defined) = defining.max_by_key(|other| common_directories(file, other)) else { continue };
            in_other_files += 1;
            if !names(defined, file) {
                wrong.push(format!("{file}: impl {name}, which {defined} defines and does not announce"));
            }
        }
    }
    assert!(in_other_files > 10, "the blocks were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

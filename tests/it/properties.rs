//! Properties that hold for any bytes in any file.
use crate::hostile_trees::tree;
use crate::trees::facts;
use proptest::prelude::*;
use pve_firewall::iptables::compile::compile;
use pve_firewall::iptables::ruleset::{Family, MacStyle, Ruleset, Token};

/// Every line that would be passed to a tool.
fn lines(ruleset: &Ruleset) -> Vec<String> {
    let mut lines = Vec::new();
    for family in Family::ALL {
        for (name, chain) in ruleset.filter[family].iter().chain(&ruleset.raw[family]) {
            lines.extend(chain.lines(name));
        }
    }
    for (name, chain) in &ruleset.bridge {
        lines.extend(chain.lines(name, MacStyle::Padded));
    }
    for (name, set) in &ruleset.sets {
        lines.extend(set.lines(name));
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn compiling_is_deterministic_and_never_panics(tree in tree()) {
        prop_assert_eq!(compile(&tree, &facts()).ruleset, compile(&tree, &facts()).ruleset);
    }

    #[test]
    fn text_of_a_file_becomes_at_most_one_word_of_a_script(tree in tree()) {
        for line in lines(&compile(&tree, &facts()).ruleset) {
            prop_assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line:?}");
            let outside: String = match line.split_once(" --nflog-prefix \":") {
                Some((before, prefix)) => {
                    let prefix = prefix.strip_suffix('"').unwrap();
                    prop_assert!(prefix.len() < 63 && !prefix.contains(['"', '\\', '$', '`', ';']), "{line}");
                    before.to_string()
                }
                None => line.clone(),
            };
            prop_assert!(!outside.contains(['"', '\'', '\\', '$', '`', ';', '#']), "{line}");
        }
    }

    #[test]
    fn reports_are_single_lines_of_printable_text(tree in tree()) {
        for report in compile(&tree, &facts()).reports {
            for line in report.to_string().lines() {
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
                prop_assert!(line.len() < 2000, "{line}");
            }
        }
    }

    #[test]
    fn tokens_display_their_text(text in any::<String>()) {
        if let Some(token) = Token::new(&text) {
            prop_assert!(token.as_str() == text && !text.contains([' ', '"', '\\', '\n']));
        }
    }
}

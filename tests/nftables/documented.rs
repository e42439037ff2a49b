//! The differences to which tests refer by number are listed in `docs/nftables.md`.
use crate::{backends, recorded, scenarios};

#[test]
fn each_difference_that_a_test_names_is_documented() {
    let text = include_str!("../../docs/nftables.md");
    let number = |line: &str| line.strip_prefix("| ")?.split_once(" |")?.0.parse().ok();
    let listed: Vec<u64> = text.lines().filter_map(number).collect();
    assert_eq!(listed, (1..=44).collect::<Vec<_>>(), "the numbers of the rows");
    let (_, from_iptables) = text.split_once("## From the iptables backend").expect("the second table");
    let shared =
        from_iptables.lines().find(|line| line.starts_with("In addition to ")).expect("numbers of the first table");
    let first: u64 = from_iptables.lines().find_map(number).expect("a row");
    let packets = backends::DIFFERENCES.iter().map(|(number, _)| *number);
    let scenes = scenarios::scenario::DIFFERENCES.iter().map(|(number, _)| *number);
    for number in packets.chain(scenes) {
        let word = |word: &str| word.trim_end_matches([',', ':']) == number.to_string();
        assert!(number >= first || shared.split(' ').any(word), "no difference from the iptables backend: {number}");
        assert!(listed.contains(&number), "{number} is not listed");
    }
    for (number, _) in recorded::DIFFERENCES {
        assert!(*number < first, "no difference from the recorded program: {number}");
    }
}

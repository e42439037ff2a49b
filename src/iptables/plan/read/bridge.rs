//! The formats of `ebtables-save` and `ebtables -L`.
use super::super::live::{BRIDGE_HOOKS, LiveBridge, LiveTable};
use super::tables::hook_of;
use super::{collect_references, split_name};
use crate::iptables::names::is_own_bridge_chain;
use crate::iptables::ruleset::{ChainName, MacStyle, Signature, signature_of};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The built-in chains of the table `filter`.
const BUILT_IN: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];

/// How an ebtables variant shows its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeFormat {
    /// `ebtables-nft-save`: all tables, `*TABLE`, `:CHAIN POLICY`, `-A CHAIN RULE`.
    Save,
    /// `ebtables-legacy -t filter -L`: `Bridge chain: NAME, entries: N, policy: P`, then the rules without the chain.
    List,
}

impl BridgeFormat {
    /// The format of MAC addresses in the variant with this output.
    #[must_use]
    pub fn mac_style(self) -> MacStyle {
        match self {
            BridgeFormat::Save => MacStyle::Padded,
            BridgeFormat::List => MacStyle::Short,
        }
    }
}

/// The lines of each chain as `-A CHAIN RULE`, by chain.
type ChainLines<'a> = BTreeMap<&'a str, BridgeLines<'a>>;

/// A chain: its policy and its rules.
#[derive(Default)]
struct BridgeLines<'a> {
    policy: &'a str,
    rules: Vec<Cow<'a, str>>,
}

/// Parses the ebtables table `filter`.
#[must_use]
pub fn read_bridge(text: &str, format: BridgeFormat) -> LiveBridge {
    let chains = match format {
        BridgeFormat::Save => saved(text),
        BridgeFormat::List => listed(text),
    };
    let mut live = LiveBridge::empty(format.mac_style());
    for (name, BridgeLines { policy, rules: lines }) in chains {
        match ChainName::new(name).filter(|name| is_own_bridge_chain(name.as_str())) {
            Some(own) => add_own(&mut live.table, own, &lines),
            None => {
                let built_in = BUILT_IN.contains(&name);
                if built_in {
                    live.table.others.built_in(name, policy);
                }
                live.others.insert(name.into(), add_other(&mut live.table, name, &lines));
                // a frame that reaches the end of such a chain does not return
                if !built_in && policy == "ACCEPT" {
                    live.table.others.rule(name, "-j ACCEPT", is_own_bridge_chain, |_| false);
                }
            }
        }
    }
    live
}

fn saved(text: &str) -> ChainLines<'_> {
    let mut chains = ChainLines::new();
    let mut inside = false;
    for line in text.lines().map(str::trim_end) {
        if let Some(table) = line.strip_prefix('*') {
            inside = table == "filter";
        } else if !inside {
        } else if let Some(chain) = line.strip_prefix(':') {
            let (name, policy) = split_name(chain);
            chains.entry(name).or_default().policy = split_name(policy).0;
        } else if let Some(rule) = line.strip_prefix("-A ") {
            chains.entry(split_name(rule).0).or_default().rules.push(inversions_behind_options(line));
        }
    }
    chains
}

fn listed(text: &str) -> ChainLines<'_> {
    let mut chains = ChainLines::new();
    let mut current = None;
    for line in text.lines().map(str::trim_end) {
        if let Some(head) = line.strip_prefix("Bridge chain: ") {
            let name = head.split(',').next().unwrap_or(head);
            chains.entry(name).or_default().policy = head.rsplit("policy: ").next().unwrap_or_default();
            current = Some(name);
        } else if line.starts_with("Bridge table:") || line.is_empty() {
        } else if let Some(name) = current {
            chains.entry(name).or_default().rules.push(format!("-A {name} {}", inversions_behind_options(line)).into());
        }
    }
    chains
}

/// Replaces each `! -s MAC` by `-s ! MAC`. ebtables 1.8.10 and later print the former; rules are written and signed in the
/// latter, older form.
fn inversions_behind_options(line: &str) -> Cow<'_, str> {
    if !line.contains("! -") {
        return line.into();
    }
    let mut words: Vec<&str> = line.split(' ').collect();
    for at in 1..words.len() {
        if words[at - 1] == "!" && words[at].starts_with('-') {
            words.swap(at - 1, at);
        }
    }
    words.join(" ").into()
}

fn add_own(table: &mut LiveTable, name: ChainName, lines: &[Cow<'_, str>]) {
    let chain = table.chains.entry(name).or_default();
    chain.signature = Some(signature_of(lines));
    chain.rules = lines.len();
    for line in lines {
        collect_references(line, is_own_bridge_chain, &mut chain.refers);
    }
}

fn add_other(table: &mut LiveTable, name: &str, lines: &[Cow<'_, str>]) -> Signature {
    for line in lines {
        let rule = split_name(line.strip_prefix("-A ").unwrap_or(line)).1;
        match hook_of(BRIDGE_HOOKS, name, rule) {
            Some(hook) => {
                *table.hooks.entry(hook).or_default() += 1;
                table.others.hook(name);
            }
            None => {
                collect_references(rule, is_own_bridge_chain, &mut table.foreign);
                table.others.rule(name, rule, is_own_bridge_chain, |_| false);
            }
        }
    }
    signature_of(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAVED: &str = "# Generated by ebtables-nft-save v1.8.9 (nf_tables) on Mon Nov 23 12:19:30 2026
*nat
:PVEFW-x ACCEPT
*filter
:INPUT DROP
:FORWARD ACCEPT
:OUTPUT ACCEPT
:FOREIGN ACCEPT
:PVEFW-FORWARD ACCEPT
:tap100i0-OUT ACCEPT
-A FORWARD -p ARP -j FOREIGN
-A FORWARD -j PVEFW-FORWARD
-A PVEFW-FORWARD -p IPv4 -j ACCEPT
-A tap100i0-OUT -p ARP -j tap100i0-OUT-ARP
";
    const LISTED: &str = "Bridge table: filter

Bridge chain: INPUT, entries: 0, policy: DROP

Bridge chain: FORWARD, entries: 2, policy: ACCEPT
-p ARP -j FOREIGN 
-j PVEFW-FORWARD 

Bridge chain: OUTPUT, entries: 0, policy: ACCEPT

Bridge chain: FOREIGN, entries: 0, policy: ACCEPT

Bridge chain: PVEFW-FORWARD, entries: 1, policy: ACCEPT
-p IPv4 -j ACCEPT 

Bridge chain: tap100i0-OUT, entries: 1, policy: ACCEPT
-p ARP -j tap100i0-OUT-ARP 
";

    #[test]
    fn both_formats_parse_equally() {
        let saved = read_bridge(SAVED, BridgeFormat::Save);
        assert_eq!(saved, LiveBridge { style: MacStyle::Padded, ..read_bridge(LISTED, BridgeFormat::List) });
        assert_eq!(saved.others.keys().collect::<Vec<_>>(), ["FOREIGN", "FORWARD", "INPUT", "OUTPUT"]);
        assert_eq!(saved.table.hooks[&BRIDGE_HOOKS[0]], 1);
        assert!(saved.table.chains["tap100i0-OUT"].refers.chains.contains("tap100i0-OUT-ARP"));
        let forward = signature_of(["-A PVEFW-FORWARD -p IPv4 -j ACCEPT"]);
        assert_eq!(saved.table.chains["PVEFW-FORWARD"].signature, Some(forward));
        assert_eq!(read_bridge("", BridgeFormat::Save), LiveBridge::empty(MacStyle::Padded));
    }

    #[test]
    fn both_spellings_of_an_inverted_match_are_equal() {
        let saved = |rule: &str| read_bridge(&format!("*filter\n-A tap1i0-OUT {rule}\n"), BridgeFormat::Save);
        let listed = |rule: &str| read_bridge(&format!("Bridge chain: tap1i0-OUT,\n{rule}\n"), BridgeFormat::List);
        for (today, before) in [
            ("! -s 02:00:00:00:00:01 -j DROP", "-s ! 02:00:00:00:00:01 -j DROP"),
            (
                "-p ARP ! -s 2:0:0:0:0:1 ! --arp-ip-src 10.0.0.1 -j DROP",
                "-p ARP -s ! 2:0:0:0:0:1 --arp-ip-src ! 10.0.0.1 -j DROP",
            ),
        ] {
            assert_eq!(saved(today), saved(before));
            assert_eq!(listed(today), listed(before));
            let signature = signature_of([format!("-A tap1i0-OUT {before}")]);
            assert_eq!(saved(today).table.chains["tap1i0-OUT"].signature, Some(signature));
        }
        assert_ne!(saved("! -s 02:00:00:00:00:01 -j DROP"), saved("-s 02:00:00:00:00:01 -j DROP"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let text = String::from_utf8_lossy(&bytes);
            let _ = read_bridge(&format!("*filter\n{text}"), BridgeFormat::Save);
            let _ = read_bridge(&format!("Bridge chain: {text}"), BridgeFormat::List);
        }
    }
}

//! The formats of `ebtables-save` and `ebtables -L`.
use super::super::live::{BRIDGE_HOOKS, LiveBridge, LiveChain, LiveTable};
use super::tables::hook_of;
use super::{collect_references, split_name};
use crate::iptables::names::is_own_bridge_chain;
use crate::iptables::ruleset::{ChainName, LineSigner, MacStyle};
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

/// A chain of another program: its policy and its relevant rules.
#[derive(Default)]
struct OtherChain {
    /// Whether its policy is ACCEPT.
    accepts: bool,
    signer: LineSigner,
}

/// A chain of ours.
#[derive(Default)]
struct OwnChain {
    signer: LineSigner,
    chain: LiveChain,
}

/// Maximum number of chains of other programs that are kept.
const MAX_OTHERS: usize = 1000;

/// Parses the ebtables table `filter` line by line.
pub struct BridgeParser {
    format: BridgeFormat,
    inside: bool,
    /// The chain whose rules follow, in a list.
    current: String,
    own: BTreeMap<ChainName, OwnChain>,
    others: BTreeMap<String, OtherChain>,
    table: LiveTable,
}

/// Parses the ebtables table `filter`.
#[must_use]
pub fn read_bridge(text: &str, format: BridgeFormat) -> LiveBridge {
    let mut parser = BridgeParser::new(format);
    text.lines().for_each(|line| parser.line(line));
    parser.end()
}

impl BridgeParser {
    /// A parser without input so far.
    #[must_use]
    pub fn new(format: BridgeFormat) -> Self {
        BridgeParser {
            format,
            inside: false,
            current: String::new(),
            own: BTreeMap::new(),
            others: BTreeMap::new(),
            table: LiveTable::default(),
        }
    }

    /// Parses one line, without its end.
    pub fn line(&mut self, line: &str) {
        let line = line.trim_end();
        match self.format {
            BridgeFormat::Save => self.saved(line),
            BridgeFormat::List => self.listed(line),
        }
    }

    fn saved(&mut self, line: &str) {
        if let Some(table) = line.strip_prefix('*') {
            self.inside = table == "filter";
        } else if !self.inside {
        } else if let Some(chain) = line.strip_prefix(':') {
            let (name, policy) = split_name(chain);
            self.chain(name, split_name(policy).0);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            self.rule(split_name(rule).0, &inversions_after_options(line));
        }
    }

    fn listed(&mut self, line: &str) {
        if let Some(head) = line.strip_prefix("Bridge chain: ") {
            let name = head.split(',').next().unwrap_or(head);
            self.chain(name, head.rsplit("policy: ").next().unwrap_or_default());
            name.clone_into(&mut self.current);
            self.inside = true;
        } else if self.inside && !line.is_empty() && !line.starts_with("Bridge table:") {
            let name = std::mem::take(&mut self.current);
            self.rule(&name, &format!("-A {name} {}", inversions_after_options(line)));
            self.current = name;
        }
    }

    fn chain(&mut self, name: &str, policy: &str) {
        if let Some(own) = own_chain(name) {
            self.own.entry(own).or_default();
            return;
        }
        if BUILT_IN.contains(&name) {
            self.table.others.built_in(name, policy);
        }
        if let Some(chain) = self.other(name) {
            chain.accepts = policy == "ACCEPT";
        }
    }

    /// A chain of another program; `None` if there are too many.
    fn other(&mut self, name: &str) -> Option<&mut OtherChain> {
        if !self.others.contains_key(name) {
            if self.others.len() >= MAX_OTHERS {
                self.table.others.too_many = true;
                return None;
            }
            self.others.insert(name.to_string(), OtherChain::default());
        }
        self.others.get_mut(name)
    }

    /// A rule as `-A CHAIN RULE`.
    fn rule(&mut self, name: &str, line: &str) {
        if let Some(own) = own_chain(name) {
            let OwnChain { signer, chain } = self.own.entry(own).or_default();
            signer.add(line);
            chain.rules += 1;
            collect_references(line, is_own_bridge_chain, &mut chain.references);
            return;
        }
        if let Some(chain) = self.other(name) {
            chain.signer.add(line);
        }
        let rule = split_name(line.strip_prefix("-A ").unwrap_or(line)).1;
        match hook_of(BRIDGE_HOOKS, name, rule) {
            Some(hook) => {
                *self.table.hooks.entry(hook).or_default() += 1;
                self.table.others.hook(name);
            }
            None => {
                collect_references(rule, is_own_bridge_chain, &mut self.table.foreign);
                self.table.others.rule(name, rule, is_own_bridge_chain, |_, _| false);
            }
        }
    }

    /// The parsed table.
    #[must_use]
    pub fn end(self) -> LiveBridge {
        let BridgeParser { format, inside: _, current: _, own, others, table } = self;
        let mut live = LiveBridge { table, ..LiveBridge::empty(format.mac_style()) };
        for (name, OwnChain { signer, chain }) in own {
            live.table.chains.insert(name, LiveChain { signature: Some(signer.signature()), ..chain });
        }
        for (name, OtherChain { accepts, signer }) in others {
            // a frame that reaches the end of such a chain does not return
            if accepts && !BUILT_IN.contains(&&*name) {
                live.table.others.rule(&name, "-j ACCEPT", is_own_bridge_chain, |_, _| false);
            }
            live.others.insert(name, signer.signature());
        }
        live
    }
}

fn own_chain(name: &str) -> Option<ChainName> {
    ChainName::new(name).filter(|name| is_own_bridge_chain(name.as_str()))
}

/// Replaces each `! -s MAC` by `-s ! MAC`. ebtables 1.8.10 and later print the former; rules are written and signed in the
/// latter, older form.
fn inversions_after_options(line: &str) -> Cow<'_, str> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables::ruleset::signature_of;
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
        assert!(saved.table.chains["tap100i0-OUT"].references.chains.contains("tap100i0-OUT-ARP"));
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

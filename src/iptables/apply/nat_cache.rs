//! Reads the tables `nat`, which contain no rules of ours, for findings about address translation.
use super::tool_names::{Commands, Tool, Variant};
use super::tool_variants::Variants;
use crate::health::ForeignRules;
use crate::iptables::plan::{NatParser, Readable};
use crate::model::Family;
use crate::system::netfilter::{self, Summary};
use crate::system::tools;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAT: &str = "nat";
/// Maximum number of rules of a table that are read.
const MAX_COUNT: u32 = 100_000;

/// The tables `nat` of both variants of both tools, each with the tool, such as `iptables-legacy`.
pub type NatTables = Vec<(String, Family, Readable<Arc<ForeignRules>>)>;

/// The cached tables. A table is read again when the kernel reports a change, and at regular intervals.
#[derive(Debug, Default)]
pub(super) struct NatCache(BTreeMap<(bool, bool), NatRead>);

#[derive(Debug)]
struct NatRead {
    tool: String,
    rules: Readable<Arc<ForeignRules>>,
    /// The summary, taken before it was read.
    evidence: Summary,
    at: Instant,
}

impl NatCache {
    /// All tables that exist. `in_nft` returns whether nftables has that of a family.
    pub fn refresh(
        &mut self,
        variants: &Variants,
        interval: Duration,
        limit: Duration,
        in_nft: impl Fn(Family) -> bool,
    ) -> NatTables {
        for family in Family::ALL {
            let ipv6 = family == Family::V6;
            let legacy = netfilter::legacy_tables(ipv6).iter().any(|table| table == NAT);
            let evidence = legacy.then(|| netfilter::iptables(NAT, ipv6).ok()).flatten();
            self.read((family, Variant::Legacy), evidence, variants, interval, limit);
            let evidence = in_nft(family).then(|| netfilter::nftables().ok()).flatten();
            self.read((family, Variant::Nft), evidence, variants, interval, limit);
        }
        let family = |ipv6| if ipv6 { Family::V6 } else { Family::V4 };
        self.0.iter().map(|((ipv6, _), read)| (read.tool.clone(), family(*ipv6), read.rules.clone())).collect()
    }

    fn read(
        &mut self,
        (family, variant): (Family, Variant),
        evidence: Option<Summary>,
        variants: &Variants,
        interval: Duration,
        limit: Duration,
    ) {
        let key = (family == Family::V6, variant == Variant::Nft);
        let commands = variants.installed(Tool::Iptables(family)).find(|commands| commands.variant == variant);
        let (Some(evidence), Some(commands)) = (evidence, commands) else {
            self.0.remove(&key);
            return;
        };
        let holds = |read: &NatRead| read.evidence == evidence && read.at.elapsed() < interval;
        if !self.0.get(&key).is_some_and(holds) {
            let too_many = match variant {
                Variant::Legacy => netfilter::rules(&evidence).is_some_and(|count| count > MAX_COUNT),
                Variant::Nft => netfilter::has_more_rules(family == Family::V6, NAT, MAX_COUNT).unwrap_or(false),
            };
            let rules = match too_many {
                true => Err(format!("it has more than {MAX_COUNT} rules").into()),
                false => table(commands, limit).map(Arc::new),
            };
            let tool = commands.single.clone();
            self.0.insert(key, NatRead { tool, rules, evidence, at: Instant::now() });
        }
    }
}

fn table(commands: &Commands, limit: Duration) -> Readable<ForeignRules> {
    let mut parser = NatParser::default();
    tools::lines(&commands.save, &["-t", NAT], limit, |line| parser.line(line)).map_err(|error| error.to_string())?;
    parser.end().map_err(|error| format!("'{}': {error}", commands.save).into())
}

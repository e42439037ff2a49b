//! Builds chains rule by rule.
use crate::iptables::names;
use crate::iptables::ruleset::{Chain, ChainName, LogPrefix, Match, MatchList, Rule, Target};
use crate::model::{LogRatelimit, Origin, Verdict};
use ecow::EcoString;
use std::sync::{Arc, LazyLock};

/// The bit of the packet mark for accepted packets.
pub const ACCEPT_MARK: u32 = 0x8000_0000;

/// A jump to one of our chains.
pub fn jump(name: impl Into<ChainName>) -> Target {
    Target::Jump(name.into())
}

/// A goto to the chain that marks a packet as accepted.
pub fn accept_by_mark() -> Target {
    static CHAIN: LazyLock<ChainName> = LazyLock::new(|| names::SET_ACCEPT_MARK.into());
    Target::Goto(CHAIN.clone())
}

/// An origin without a line in a file.
pub fn generated(what: impl Into<EcoString>) -> Origin {
    Origin::Generated(what.into())
}

/// How a rule is logged.
#[derive(Clone, Copy)]
pub struct Log {
    /// The VMID, or 0.
    pub vmid: u32,
    /// The level; `None` for no log rule.
    pub level: Option<u8>,
    /// The message in the log prefix.
    pub message: &'static str,
}

/// Settings for log rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The rate limit of log rules.
    pub ratelimit: LogRatelimit,
    /// Whether drops without a level of the configuration are logged.
    pub all_drops: bool,
}

/// The level of drops that the configuration has no level for: `info`.
pub const INFO: u8 = 6;

/// Finished chains, in any order.
pub type FinishedChains = Vec<(ChainName, Arc<Chain>)>;

/// Buffers for building chains one after the other.
pub struct ChainBuffers {
    /// The finished chains.
    pub chains: FinishedChains,
    /// The buffer for the rules of the next chain.
    rules: Vec<Rule>,
    /// The buffer for the matches of the next rule.
    pub matches: Vec<Match>,
}

impl Default for ChainBuffers {
    fn default() -> Self {
        // most chains and rules fit
        ChainBuffers { chains: Vec::new(), rules: Vec::with_capacity(64), matches: Vec::with_capacity(8) }
    }
}

/// A chain that is being built.
pub struct Builder<'a> {
    name: ChainName,
    rules: Vec<Rule>,
    logging: &'a Logging,
}

impl<'a> Builder<'a> {
    /// An empty chain.
    pub fn new(name: ChainName, logging: &'a Logging, buffers: &mut ChainBuffers) -> Self {
        Builder { name, rules: std::mem::take(&mut buffers.rules), logging }
    }

    /// Adds a rule with a single blank after the chain name.
    pub fn plain(&mut self, matches: impl Into<MatchList>, target: Target, origin: &Origin) {
        self.rules.push(Rule { matches: matches.into(), target, double_space: false, origin: origin.clone() });
    }

    /// Adds a rule with two blanks after the chain name if it has no match.
    pub fn spec(&mut self, matches: impl Into<MatchList>, target: Target, origin: &Origin) {
        let matches = matches.into();
        let double_space = matches.is_empty();
        self.rules.push(Rule { matches, target, double_space, origin: origin.clone() });
    }

    /// Adds a log rule before a rule with the same match.
    pub fn log(&mut self, matches: &[Match], log: Log, origin: &Origin) {
        let Some(level) = log.level else { return };
        let double_space = matches.is_empty();
        let limit = self.logging.ratelimit.0.clone().map(Match::Limit);
        let matches: Vec<Match> = matches.iter().cloned().chain(limit).collect();
        let prefix = LogPrefix { vmid: log.vmid, level, chain: self.name.clone(), message: log.message };
        self.rules.push(Rule {
            matches: matches.into(),
            target: Target::Nflog(Box::new(prefix)),
            double_space,
            origin: origin.clone(),
        });
    }

    /// Adds a rule that refuses packets, for which the configuration has no log level; `vmid` is the guest's, or 0.
    pub fn refuse(&mut self, vmid: u32, matches: impl Into<MatchList>, target: Target, origin: &Origin) {
        let matches = matches.into();
        if self.logging.all_drops {
            let verdict = if target == Target::Drop { Verdict::Drop } else { Verdict::Reject };
            self.log(&matches, Log { vmid, level: Some(INFO), message: verdict.message() }, origin);
        }
        self.rules.push(Rule { matches, target, double_space: false, origin: origin.clone() });
    }

    /// Adds a copy of these rules.
    pub fn extend(&mut self, rules: &[Rule]) {
        self.rules.extend_from_slice(rules);
    }

    /// The rules so far, to be copied to the beginning of other chains.
    pub fn into_rules(self) -> Vec<Rule> {
        self.rules
    }

    /// Adds the chain to the finished ones.
    pub fn finish(mut self, buffers: &mut ChainBuffers) {
        let chain = Chain::new(self.rules.drain(..).collect::<Box<[Rule]>>());
        buffers.chains.push((self.name, Arc::new(chain)));
        buffers.rules = self.rules;
    }
}

//! Building chains rule by rule.
use crate::iptables::names;
use crate::iptables::ruleset::{Chain, ChainName, LogPrefix, Match, Rule, Target};
use crate::model::{LogRatelimit, Origin};
use ecow::EcoString;
use std::sync::{Arc, LazyLock};

/// The bit of a packet's mark that says: accepted.
pub const ACCEPT_MARK: u32 = 0x8000_0000;

/// A jump to a chain of ours.
pub fn jump(name: impl Into<ChainName>) -> Target {
    Target::Jump(name.into())
}

/// A goto to the chain that marks a packet as accepted.
pub fn accept_by_mark() -> Target {
    static CHAIN: LazyLock<ChainName> = LazyLock::new(|| names::SET_ACCEPT_MARK.into());
    Target::Goto(CHAIN.clone())
}

/// An origin that is no line of a file.
pub fn made(what: impl Into<EcoString>) -> Origin {
    Origin::Made(what.into())
}

/// When and how a rule logs.
#[derive(Clone, Copy)]
pub struct Log {
    /// The guest, or 0.
    pub vmid: u32,
    /// The level; `None` does not log.
    pub level: Option<u8>,
    /// What the log line says of the rule.
    pub message: &'static str,
}

/// Chains that are made, in any order.
pub type Chains = Vec<(ChainName, Arc<Chain>)>;

/// Where chains are made, one after the other.
#[derive(Default)]
pub struct Workshop {
    /// The finished ones.
    pub chains: Chains,
    /// Room for the rules of the next one.
    room: Vec<Rule>,
    /// Room for the matches of the next rule.
    pub matches: Vec<Match>,
}

/// A chain that is being made.
pub struct Builder<'a> {
    name: ChainName,
    rules: Vec<Rule>,
    ratelimit: &'a LogRatelimit,
}

impl<'a> Builder<'a> {
    /// An empty chain.
    pub fn new(name: ChainName, ratelimit: &'a LogRatelimit, workshop: &mut Workshop) -> Self {
        Builder { name, rules: std::mem::take(&mut workshop.room), ratelimit }
    }

    /// A rule that is written with one blank where its match is empty.
    pub fn plain(&mut self, matches: impl Into<Box<[Match]>>, target: Target, origin: &Origin) {
        self.rules.push(Rule { matches: matches.into(), target, double_space: false, origin: origin.clone() });
    }

    /// A rule that keeps both blanks where its match is empty.
    pub fn spec(&mut self, matches: impl Into<Box<[Match]>>, target: Target, origin: &Origin) {
        let matches = matches.into();
        let double_space = matches.is_empty();
        self.rules.push(Rule { matches, target, double_space, origin: origin.clone() });
    }

    /// The rule that logs what a rule with the same match is about to do.
    pub fn log(&mut self, matches: &[Match], log: Log, origin: &Origin) {
        let Some(level) = log.level else { return };
        let double_space = matches.is_empty();
        let limit = self.ratelimit.0.clone().map(Match::Limit);
        let matches = matches.iter().cloned().chain(limit).collect();
        let prefix = LogPrefix { vmid: log.vmid, level, chain: self.name.clone(), message: log.message };
        self.rules.push(Rule {
            matches,
            target: Target::Nflog(Box::new(prefix)),
            double_space,
            origin: origin.clone(),
        });
    }

    /// The same rules again.
    pub fn extend(&mut self, rules: &[Rule]) {
        self.rules.extend_from_slice(rules);
    }

    /// The rules so far, of what is only the head of chains.
    pub fn into_rules(self) -> Vec<Rule> {
        self.rules
    }

    /// Puts the chain to the others.
    pub fn finish(mut self, workshop: &mut Workshop) {
        let chain = Chain::new(self.rules.drain(..).collect::<Box<[Rule]>>());
        workshop.chains.push((self.name, Arc::new(chain)));
        workshop.room = self.rules;
    }
}

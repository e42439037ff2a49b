//! The rules of other programs in a table that may decide on packets before or after our rules.
use std::collections::BTreeMap;

/// Maximum number of rules that are kept for one table.
const MAX_COUNT: usize = 512;

/// Rules of other programs in one table that may make ours ineffective.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignRules {
    /// The built-in chains.
    pub built_in: BTreeMap<String, BuiltIn>,
    /// The other chains, each with its rules that may accept packets, or jump.
    pub chains: BTreeMap<String, Vec<ForeignRule>>,
    /// Whether there were more rules than are kept.
    pub too_many: bool,
    kept: usize,
}

/// The rules of other programs in a built-in chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuiltIn {
    /// Whether the policy is DROP.
    pub drops: bool,
    /// The rules before the jump to our entry chain that may accept packets, or jump.
    pub before: Vec<ForeignRule>,
    /// The rules after that jump that may accept or drop every packet.
    pub after: Vec<ForeignRule>,
    /// Whether the jump has been read.
    hooked: bool,
}

/// A rule of another program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignRule {
    /// Its matches and target, as the save tool prints them.
    pub text: String,
    /// The target.
    pub target: String,
    /// Whether it is a goto (`-g`): the target chain does not return to this one.
    pub goto: bool,
}

/// Targets that never accept a packet: the next rule is evaluated, or the packet is dropped.
const NON_ACCEPTING: [&str; 26] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DROP",
    "DSCP",
    "HL",
    "HMARK",
    "LED",
    "LOG",
    "MARK",
    "NFLOG",
    "NOTRACK",
    "RATEEST",
    "REJECT",
    "SECMARK",
    "SET",
    "SYNPROXY",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TRACE",
    "TTL",
];

impl ForeignRule {
    /// The value of an option such as `-i`, and whether it is negated.
    #[must_use]
    pub fn value(&self, option: &str) -> Option<(&str, bool)> {
        option_value(&self.text, option)
    }

    /// Whether it matches every bridged packet.
    #[must_use]
    pub fn matches_bridged(&self) -> bool {
        matches_bridged(&self.text)
    }

    /// The words before the target.
    pub fn matches(&self) -> impl Iterator<Item = &str> {
        matches_of(&self.text)
    }
}

/// The value of an option of a rule such as `-i`, and whether it is negated.
#[must_use]
pub fn option_value<'a>(rule: &'a str, option: &str) -> Option<(&'a str, bool)> {
    let mut words = unquoted(rule);
    let mut negated = false;
    while let Some(word) = words.next() {
        if word == option {
            return words.next().map(|value| (value, negated));
        }
        negated = word == "!";
    }
    None
}

/// The words of a rule before its target.
fn matches_of(rule: &str) -> impl Iterator<Item = &str> {
    unquoted(rule).take_while(|word| !matches!(*word, "-j" | "-g"))
}

/// Whether a rule matches every bridged packet.
fn matches_bridged(rule: &str) -> bool {
    let mut words = matches_of(rule);
    words.next().is_none_or(|first| first == "-m" && words.eq(["physdev", "--physdev-is-bridged"]))
}

/// The target of a rule, and whether it is a goto.
fn target_of(rule: &str) -> Option<(&str, bool)> {
    let mut words = unquoted(rule);
    let option = words.find(|word| matches!(*word, "-j" | "-g"))?;
    Some((words.next()?, option == "-g"))
}

impl ForeignRules {
    /// Records a built-in chain with its policy.
    pub fn built_in(&mut self, name: &str, policy: &str) {
        self.built_in.entry(name.to_string()).or_default().drops = policy == "DROP";
    }

    /// Records the jump from a built-in chain to our entry chain.
    pub fn hook(&mut self, chain: &str) {
        self.built_in.entry(chain.to_string()).or_default().hooked = true;
    }

    /// Records a rule of another program, unless it jumps to a chain of ours (`is_own`). `kept` selects, by target and text, the
    /// rules that matter besides those that may accept packets. Others need no allocation, because there may be a million.
    pub fn rule(&mut self, chain: &str, text: &str, is_own: impl Fn(&str) -> bool, kept: impl Fn(&str, &str) -> bool) {
        let behind = self.built_in.get(chain).is_some_and(|chain| chain.hooked);
        let Some((target, goto)) = target_of(text) else { return };
        let matters = match behind {
            // a rule after ours matters if it decides all packets that return from our chains
            true => matches!(target, "ACCEPT" | "DROP" | "REJECT") && matches_bridged(text),
            false => !NON_ACCEPTING.contains(&target),
        };
        if is_own(target) || !(matters || kept(target, text)) {
            return;
        }
        if self.kept == MAX_COUNT {
            self.too_many = true;
            return;
        }
        self.kept += 1;
        let rule = ForeignRule { text: text.trim_end().to_string(), target: target.to_string(), goto };
        let rules = match self.built_in.get_mut(chain) {
            Some(built_in) if behind => &mut built_in.after,
            Some(built_in) => &mut built_in.before,
            None => self.chains.entry(chain.to_string()).or_default(),
        };
        rules.push(rule);
    }
}

/// The words of a rule outside of quotes, so that a comment is not parsed as a match or target.
pub fn unquoted(rule: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    rule.split_ascii_whitespace().filter(move |word| {
        let bytes = word.as_bytes();
        let quotes = (0..bytes.len()).filter(|at| bytes[*at] == b'"' && (*at == 0 || bytes[*at - 1] != b'\\')).count();
        let inside = quoted || quotes > 0;
        quoted ^= quotes % 2 == 1;
        !inside
    })
}

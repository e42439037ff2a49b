//! The interface of a chain, of iptables or ebtables, for finding the rules that a tool refuses and leaving them out.
use crate::iptables::names;
use crate::iptables::ruleset::{
    BridgeChain, BridgeRule, BridgeTarget, Chain, ChainName, MacStyle, Rule, SetName, Signature, Target,
};
use crate::model::Origin;
use std::collections::BTreeMap;

/// A rule that a tool refuses: its chain, its index, and the reason.
pub(super) type RefusedRule = (ChainName, usize, String);

/// A chain of iptables or ebtables whose rules can be tested one by one. Rules are given by their index, from 0.
pub(super) trait BisectableChain: Clone {
    fn count(&self) -> usize;
    fn line(&self, name: &ChainName, at: usize) -> String;
    /// An equivalent rule for a test in the chain `name`: the tools accept it if and only if they accept this one. A jump
    /// target is replaced by `to`.
    fn probe(&self, at: usize, name: &ChainName, to: &ChainName) -> String;
    /// Whether leaving out this rule could let more packets pass.
    fn is_restrictive(&self, name: &ChainName, at: usize) -> bool;
    fn origin(&self, at: usize) -> &Origin;
    /// The jump target of this rule.
    fn target(&self, at: usize) -> Option<&ChainName>;
    fn sets_at(&self, at: usize) -> impl Iterator<Item = &SetName>;
    fn without(&self, left_out: &BTreeMap<usize, String>) -> Self;
    fn sign(&self, name: &ChainName) -> Signature;
}

fn others<R: Clone>(rules: &[R], left_out: &BTreeMap<usize, String>) -> Vec<R> {
    let stays = |(at, _): &(usize, &R)| !left_out.contains_key(at);
    rules.iter().enumerate().filter(stays).map(|(_, rule)| rule.clone()).collect()
}

impl BisectableChain for Chain {
    fn count(&self) -> usize {
        self.rules().len()
    }

    fn line(&self, name: &ChainName, at: usize) -> String {
        self.rules()[at].line(name)
    }

    fn probe(&self, at: usize, name: &ChainName, to: &ChainName) -> String {
        let mut rule: Rule = self.rules()[at].clone();
        if let Target::Jump(chain) | Target::Goto(chain) = &mut rule.target {
            *chain = to.clone();
        }
        rule.line(name)
    }

    fn is_restrictive(&self, name: &ChainName, at: usize) -> bool {
        match &self.rules()[at].target {
            Target::Accept | Target::Return | Target::Nflog(_) | Target::SetConnmark(_) | Target::CtHelper(_) => false,
            // inspects packets that a later ACCEPT would let pass; otherwise it replaces ACCEPT
            Target::Nfqueue(_) => *name == names::IPS,
            Target::SetMark { value, .. } => *value == 0,
            Target::Jump(chain) | Target::Goto(chain) => *chain != names::SET_ACCEPT_MARK,
            Target::Drop | Target::Reject(_) => true,
        }
    }

    fn origin(&self, at: usize) -> &Origin {
        &self.rules()[at].origin
    }

    fn target(&self, at: usize) -> Option<&ChainName> {
        match &self.rules()[at].target {
            Target::Jump(chain) | Target::Goto(chain) => Some(chain),
            _ => None,
        }
    }

    fn sets_at(&self, at: usize) -> impl Iterator<Item = &SetName> {
        self.rules()[at].sets()
    }

    fn without(&self, left_out: &BTreeMap<usize, String>) -> Self {
        Chain::new(others(self.rules(), left_out))
    }

    fn sign(&self, name: &ChainName) -> Signature {
        self.signature(name)
    }
}

impl BisectableChain for BridgeChain {
    fn count(&self) -> usize {
        self.rules().len()
    }

    fn line(&self, name: &ChainName, at: usize) -> String {
        self.rules()[at].line(name, MacStyle::Padded)
    }

    fn probe(&self, at: usize, name: &ChainName, to: &ChainName) -> String {
        let mut rule: BridgeRule = self.rules()[at].clone();
        if let BridgeTarget::Jump(chain) = &mut rule.target {
            *chain = to.clone();
        }
        rule.line(name, MacStyle::Padded)
    }

    fn is_restrictive(&self, _name: &ChainName, at: usize) -> bool {
        matches!(self.rules()[at].target, BridgeTarget::Drop | BridgeTarget::Jump(_))
    }

    fn origin(&self, at: usize) -> &Origin {
        &self.rules()[at].origin
    }

    fn target(&self, at: usize) -> Option<&ChainName> {
        match &self.rules()[at].target {
            BridgeTarget::Jump(chain) => Some(chain),
            _ => None,
        }
    }

    fn sets_at(&self, _at: usize) -> impl Iterator<Item = &SetName> {
        std::iter::empty()
    }

    fn without(&self, left_out: &BTreeMap<usize, String>) -> Self {
        BridgeChain::new(others(self.rules(), left_out))
    }

    fn sign(&self, name: &ChainName) -> Signature {
        self.signature(name, MacStyle::Padded)
    }
}

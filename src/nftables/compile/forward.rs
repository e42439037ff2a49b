//! Chains for forwarded packets: those routed by the node, and those of vnets.
use super::chain_builder::{Builder, Log, generated, goto, jump};
use super::chain_context::{ChainContext, Limited};
use super::rules::put;
use super::{Node, Shared, TablePart, real_interface};
use crate::config::{Rule, Vnet, VnetOptions};
use crate::model::{Direction, OptionKey, Origin, Verdict};
use crate::nftables::names::{
    BEFORE_BRIDGE, CONNTRACK, FORWARD, REJECT, TableName, bridge_chain, cluster_chain, host_chain,
};
use crate::nftables::ruleset::Action;
use std::sync::Arc;

/// The chains for packets that the node routes.
pub fn routed(node: &Node<'_>, shared: &Shared) -> TablePart {
    let mut part = TablePart::default();
    let mut base = Builder::base(FORWARD, "forward", 0);
    base.rule([], jump(CONNTRACK), &node.host.options.lines.origin(OptionKey::NfConntrackAllowInvalid));
    base.rule([], Action::Jump(host_chain(Direction::Forward)), &generated("the rules of host.fw"));
    base.rule([], Action::Jump(cluster_chain(Direction::Forward)), &generated("the rules of cluster.fw"));
    base.finish(&mut part);
    let mut rules = Builder::new(host_chain(Direction::Forward), &shared.limit);
    user_rules(node, shared, &node.host.file, &node.host.rules, &mut part, &mut rules);
    rules.finish(&mut part);
    let mut rules = Builder::new(cluster_chain(Direction::Forward), &shared.limit);
    user_rules(node, shared, &node.cluster.file, &node.cluster.rules, &mut part, &mut rules);
    let options = &node.cluster.options;
    let level = node.host.options.log_level_forward;
    policy(options.policy_forward, goto(REJECT), level, &options.lines.origin(OptionKey::PolicyForward), &mut rules);
    rules.finish(&mut part);
    part
}

/// The chains of vnets with an enabled firewall.
pub fn vnets(node: &Node<'_>, shared: &Shared, table: TableName) -> TablePart {
    let mut part = TablePart::default();
    for (vnet, parsed) in node.vnets.iter().filter(|(_, vnet)| vnet.options.enable) {
        let Some(name) = bridge_chain(vnet) else { continue };
        let Vnet { file, options, rules } = &parsed.value;
        let VnetOptions { enable: _, policy_forward, log_level_forward, lines } = options;
        let origin = &lines.origin(OptionKey::PolicyForward);
        let mut chain = Builder::new(name, &shared.limit);
        chain.rule([], jump(BEFORE_BRIDGE), origin);
        user_rules(node, shared, file, rules, &mut part, &mut chain);
        let reject = if table == TableName::Guests { Action::Drop } else { goto(REJECT) };
        policy(*policy_forward, reject, *log_level_forward, origin, &mut chain);
        chain.finish(&mut part);
    }
    part
}

fn user_rules(
    node: &Node<'_>,
    shared: &Shared,
    file: &Arc<str>,
    rules: &[Rule],
    part: &mut TablePart,
    into: &mut Builder<'_>,
) {
    let context = ChainContext {
        file,
        direction: Direction::Forward,
        vmid: 0,
        accept: Action::Accept,
        reject: Action::Drop,
        queues: None,
        guest_sets: None,
        interface: &|name| real_interface(name, node.altnames).map_or(Limited::Nothing, |name| Limited::To(Some(name))),
    };
    put(rules, &context, shared, part, into);
}

fn policy(verdict: Verdict, reject: Action, level: Option<u8>, origin: &Origin, into: &mut Builder<'_>) {
    into.log(&[], &Log { vmid: 0, level, message: verdict.policy_message() }, origin);
    let action = match verdict {
        Verdict::Accept => Action::Accept,
        Verdict::Drop => Action::Drop,
        Verdict::Reject => reject,
    };
    into.rule([], action, origin);
}

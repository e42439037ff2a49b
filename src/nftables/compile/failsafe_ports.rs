//! Ports of the node that are open regardless of the configuration.
use super::chain_builder::{Builder, address, generated, jump, known};
use super::{Node, TablePart};
use crate::model::OpenPorts;
use crate::nftables::names::{FAILSAFE_IN, FAILSAFE_OUT};
use crate::nftables::ruleset::{Action, Match, Side};

/// Builds both chains, if any ports are to be open.
pub fn make(node: &Node<'_>, part: &mut TablePart) {
    if node.options.failsafe.0.is_empty() {
        return;
    }
    let (mut incoming, mut outgoing) = (Builder::own(FAILSAFE_IN), Builder::own(FAILSAFE_OUT));
    for open in &node.options.failsafe.0 {
        let OpenPorts { protocol: _, number, ports, network } = open;
        let origin = generated(format!("--failsafe {open}"));
        let matches = |far, near| {
            let port = Match::Port { protocol: *number, side: near, ports: *ports };
            let mut matches = Vec::from_iter(network.map(|network| address(far, network)));
            matches.push(port);
            matches
        };
        incoming.rule(matches(Side::Source, Side::Destination), Action::Accept, &origin);
        let mut answers = matches(Side::Destination, Side::Source);
        answers.push(known());
        outgoing.rule(answers, Action::Accept, &origin);
    }
    incoming.finish(part);
    outgoing.finish(part);
}

/// Adds the jump to one of these chains, if they exist.
pub fn jump_to(chain: &'static str, node: &Node<'_>, rules: &mut Builder<'_>) {
    if !node.options.failsafe.0.is_empty() {
        rules.rule([], jump(chain), &generated("--failsafe"));
    }
}

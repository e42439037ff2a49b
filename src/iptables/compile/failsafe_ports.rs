//! PVEFW-FAILSAFE: ports of the node that are open regardless of the configuration.
use super::FamilyCompiler;
use super::chain_builder::{Builder, generated};
use super::common_matches::{established, port, proto};
use crate::iptables::names;
use crate::iptables::ruleset::{AddrType, Match, Side, Target};
use crate::model::{Failsafe, Family, OpenPorts, Spelled};

impl FamilyCompiler<'_> {
    /// Builds the chain, if any ports are to be open. INPUT and OUTPUT both jump to it; its rules match the direction of a
    /// packet by address type.
    pub(super) fn failsafe(&mut self, failsafe: &Failsafe) {
        let open: Vec<_> = failsafe.0.iter().filter(|ports| applies_to(ports, self.family)).collect();
        if open.is_empty() {
            return;
        }
        let mut rules = self.chain(names::FAILSAFE);
        for ports in open {
            accept(&mut rules, ports);
        }
        rules.finish(&mut self.buffers);
    }
}

fn applies_to(ports: &OpenPorts, family: Family) -> bool {
    ports.network.is_none_or(|network| Family::of(network.addr()) == family)
}

/// Accepts packets to the ports, and replies from them.
fn accept(rules: &mut Builder<'_>, open: &OpenPorts) {
    let OpenPorts { protocol, number, ports: (first, last), network } = open;
    let origin = generated(format!("--failsafe {open}"));
    let far = |side| {
        let spelled = network.and_then(|network| Spelled::new(&network.to_string(), vec![network]));
        spelled.map(|nets| Match::Address(side, nets.into()))
    };
    let of_node = |near: Side, far_side: Side| {
        let mut matches = Vec::from_iter(far(far_side));
        let local = Match::AddrType(near, AddrType::Local);
        matches.extend([proto(protocol, *number), port(near, *first, *last), local]);
        matches
    };
    rules.plain(of_node(Side::Destination, Side::Source), Target::Accept, &origin);
    let mut answers = of_node(Side::Source, Side::Destination);
    answers.push(established());
    rules.plain(answers, Target::Accept, &origin);
}

//! PVEFW-FAILSAFE: ports of the node that stay open whatever the configuration says.
use super::FamilyCompiler;
use super::builder::{Builder, made};
use super::matches::{established, port, proto};
use crate::iptables::names;
use crate::iptables::ruleset::{AddrType, Match, Side, Target};
use crate::model::{Failsafe, Family, OpenPorts, Spelled};

impl FamilyCompiler<'_> {
    /// Builds the chain, if any ports are to be open. Both INPUT and OUTPUT jump to it; its rules match the direction of a packet
    /// by address type.
    pub(super) fn failsafe(&mut self, failsafe: &Failsafe) {
        let openings: Vec<_> = failsafe.0.iter().filter(|opening| concerns(opening, self.family)).collect();
        if openings.is_empty() {
            return;
        }
        let mut rules = self.chain(names::FAILSAFE);
        for opening in openings {
            open(&mut rules, opening);
        }
        rules.finish(&mut self.buffers);
    }
}

fn concerns(opening: &OpenPorts, family: Family) -> bool {
    opening.network.is_none_or(|network| Family::of(network.addr()) == family)
}

/// Accepts packets to the ports, and replies from them.
fn open(rules: &mut Builder<'_>, opening: &OpenPorts) {
    let OpenPorts { protocol, number, ports: (first, last), network } = opening;
    let origin = made(format!("--failsafe {opening}"));
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

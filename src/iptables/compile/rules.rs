//! User rules: the rules of the configuration files.
use super::FamilyCompiler;
use super::chain_builder::{Builder, Log, accept_by_mark, jump};
use super::common_matches::{MARKED, address, term};
use crate::config::{Cluster, Rule, RuleAction, VerdictRule};
use crate::iptables::names;
use crate::iptables::ruleset::{ChainName, Match, Side, Target};
use crate::model::{Direction, Interface, Origin, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The chain to which rules are added, and its targets for verdicts.
#[derive(Clone)]
pub struct ChainContext<'a> {
    /// The file of the rules.
    pub file: &'a Arc<str>,
    /// The direction of the chain.
    pub direction: Direction,
    /// The VMID for log prefixes, or 0.
    pub vmid: u32,
    /// The target for ACCEPT.
    pub accept: Target,
    /// The target for packets accepted by a group.
    pub group_accept: Target,
    /// The owner of the rules.
    pub owner: RuleOwner<'a>,
}

/// The owner of rules.
#[derive(Clone, Copy)]
pub enum RuleOwner<'a> {
    /// The host; `-i` is an interface, possibly an alternative name.
    Host(&'a BTreeMap<String, String>),
    /// A guest's device, which `-i` must match.
    Guest(&'a str),
    /// A group, whose rules have no interface.
    Group,
}

impl FamilyCompiler<'_> {
    /// Adds the rules of one direction to a chain.
    pub(super) fn user_rules(&mut self, rules: &[Rule], place: &ChainContext<'_>, into: &mut Builder<'_>) {
        for rule in rules {
            let Rule { line, place: _, iface, action } = rule;
            let interface = match (place.owner, iface) {
                (RuleOwner::Guest(netid), Some(iface)) if iface != netid => continue,
                (RuleOwner::Host(altnames), Some(iface)) => {
                    // no packet matches if no interface has that name
                    let Some(interface) = real_interface(iface, altnames, place.direction) else { continue };
                    Some(interface)
                }
                _ => None,
            };
            match action {
                RuleAction::Group(name) => self.group_rule(name, *line, interface, place, into),
                RuleAction::Verdict(verdict) if verdict.direction == place.direction => {
                    self.verdict_rule(verdict, *line, interface, place, into);
                }
                RuleAction::Verdict(_) => {}
            }
        }
    }

    fn group_rule(
        &mut self,
        name: &str,
        line: u32,
        interface: Option<Match>,
        place: &ChainContext<'_>,
        into: &mut Builder<'_>,
    ) {
        if !self.groups_in_use.contains(name) {
            self.groups_in_use.insert(name.to_string());
        }
        let origin = Origin::Line(place.file.clone(), line);
        into.plain(Vec::from_iter(interface), jump(group_chain(name, place.direction)), &origin);
        into.plain(&MARKED[..], place.group_accept.clone(), &origin);
    }

    fn verdict_rule(
        &mut self,
        rule: &VerdictRule,
        line: u32,
        interface: Option<Match>,
        place: &ChainContext<'_>,
        into: &mut Builder<'_>,
    ) {
        let VerdictRule { direction: _, verdict, source, dest, terms, log } = rule;
        let mut matches = std::mem::take(&mut self.buffers.matches);
        matches.clear();
        matches.extend(interface);
        let set = |reference: &_| self.set_name(reference);
        for (side, one) in [(Side::Source, source), (Side::Destination, dest)] {
            if let Some(one) = one {
                // a rule with a dropped set is dropped too, which the report of the set mentions
                let Some(one) = address(side, one, set) else { return };
                matches.push(one);
            }
        }
        let origin = Origin::Line(place.file.clone(), line);
        let target = match verdict {
            Verdict::Accept => place.accept.clone(),
            Verdict::Drop => Target::Drop,
            Verdict::Reject => jump(names::REJECT),
        };
        let log = Log { vmid: place.vmid, level: *log, message: verdict.message() };
        let common = matches.len();
        for one in terms[self.family].iter() {
            matches.truncate(common);
            term(one, &mut matches);
            into.log(&matches, log, &origin);
            into.spec(matches.clone(), target.clone(), &origin);
        }
        self.buffers.matches = matches;
    }

    /// Builds the chains of a group.
    pub(super) fn group(&mut self, name: &str, cluster: &Cluster) {
        for direction in [Direction::In, Direction::Out] {
            let mut rules = self.chain(group_chain(name, direction));
            let group = cluster.groups.get(name);
            let origin = match group {
                Some(group) => Origin::Line(cluster.file.clone(), group.line),
                None => super::chain_builder::generated(format!("security group {name}, which does not exist")),
            };
            rules.plain([], super::common_matches::set_mark(false), &origin);
            let accept = accept_by_mark();
            let place = ChainContext {
                file: &cluster.file,
                direction,
                vmid: 0,
                group_accept: accept.clone(),
                accept,
                owner: RuleOwner::Group,
            };
            self.user_rules(group.map_or(&[], |group| &group.rules), &place, &mut rules);
            rules.finish(&mut self.buffers);
        }
    }
}

fn group_chain(name: &str, direction: Direction) -> ChainName {
    if direction == Direction::In { names::group_in(name) } else { names::group_out(name) }
}

/// `-i` or `-o` with the real name of an interface.
fn real_interface(name: &str, altnames: &BTreeMap<String, String>, direction: Direction) -> Option<Match> {
    let real = altnames.get(name).map_or(name, String::as_str);
    let interface = Interface::new(real)?;
    Some(if direction == Direction::Out { Match::OutInterface(interface) } else { Match::InInterface(interface) })
}

//! User rules: rules of the configuration files, in the chains that they go into.
use super::builder::{Builder, Log, chain, jump};
use super::matches::{address, marked, term};
use super::{FamilyCompiler, message};
use crate::config::{Action, Rule, Verdict, VerdictRule, Way};
use crate::ruleset::{Direction, Interface, Match, Origin, Target};
use std::sync::Arc;

/// The chain that rules are put into, and what verdicts mean there.
#[derive(Clone)]
pub struct Place<'a> {
    /// The file of the rules.
    pub file: &'a Arc<str>,
    /// The direction of the chain.
    pub way: Way,
    /// The guest, or 0: in log prefixes, and for the names of sets.
    pub vmid: u32,
    /// What ACCEPT means.
    pub accept: Target,
    /// What a packet that a group has accepted meets.
    pub group_accept: Target,
    /// Whose rules these are.
    pub owner: Owner<'a>,
}

/// Whose rules go into a chain.
#[derive(Clone, Copy)]
pub enum Owner<'a> {
    /// The host's, where `-i` names an interface.
    Host,
    /// A guest's, where `-i` names a device: this one is meant.
    Guest(&'a str),
    /// A group's, which have no interface.
    Group,
}

impl FamilyCompiler<'_> {
    /// Puts the rules of one direction into a chain.
    pub(super) fn user_rules(&mut self, rules: &[Rule], place: &Place<'_>, into: &mut Builder<'_>) {
        for rule in rules {
            let interface = match (place.owner, &rule.iface) {
                (Owner::Guest(netid), Some(iface)) if iface != netid => continue,
                (Owner::Host, Some(iface)) => self.interface(iface, place.way),
                _ => None,
            };
            match &rule.action {
                Action::Group(name) => self.group_rule(name, rule, interface, place, into),
                Action::Verdict(verdict) if verdict.way == place.way => {
                    self.verdict_rule(verdict, rule.line, interface, place, into);
                }
                Action::Verdict(_) => {}
            }
        }
    }

    /// `-i` or `-o` with the real name of an interface.
    fn interface(&self, name: &str, way: Way) -> Option<Match> {
        let real = self.altnames.get(name).map_or(name, String::as_str);
        let interface = Interface::new(real)?;
        Some(if way == Way::Out { Match::OutInterface(interface) } else { Match::InInterface(interface) })
    }

    fn group_rule(
        &mut self,
        name: &str,
        rule: &Rule,
        interface: Option<Match>,
        place: &Place<'_>,
        into: &mut Builder<'_>,
    ) {
        self.groups_in_use.insert(name.to_string());
        let origin = Origin::Line(place.file.clone(), rule.line);
        let direction = if place.way == Way::In { "IN" } else { "OUT" };
        into.plain(Vec::from_iter(interface), jump(&format!("GROUP-{name}-{direction}")), &origin);
        into.plain([marked()], place.group_accept.clone(), &origin);
    }

    fn verdict_rule(
        &self,
        rule: &VerdictRule,
        line: u32,
        interface: Option<Match>,
        place: &Place<'_>,
        into: &mut Builder<'_>,
    ) {
        let set = |reference: &_| self.sets.name(place.vmid, reference, self.family);
        let mut common: Vec<_> = interface.into_iter().collect();
        for (direction, one) in [(Direction::Source, &rule.source), (Direction::Destination, &rule.dest)] {
            if let Some(one) = one {
                // a rule whose set is lost is lost with it; the set's report says so
                let Some(one) = address(direction, one, set) else { return };
                common.push(one);
            }
        }
        let origin = Origin::Line(place.file.clone(), line);
        let target = match rule.verdict {
            Verdict::Accept => place.accept.clone(),
            Verdict::Drop => Target::Drop,
            Verdict::Reject => jump("PVEFW-reject"),
        };
        let log = Log { vmid: place.vmid, level: rule.log, message: message(rule.verdict) };
        for one in &rule.terms[self.family] {
            let mut matches = common.clone();
            term(one, &mut matches);
            into.log(&matches, log, &origin);
            into.spec(matches, target.clone(), &origin);
        }
    }

    /// The chains of the groups that rules use.
    pub(super) fn groups(&mut self) {
        let world = self.world;
        for name in std::mem::take(&mut self.groups_in_use) {
            for (way, direction) in [(Way::In, "IN"), (Way::Out, "OUT")] {
                let mut rules = self.chain(&format!("GROUP-{name}-{direction}"));
                let group = world.cluster.groups.get(&name);
                let origin = match group {
                    Some(group) => Origin::Line(world.cluster.file.clone(), group.line),
                    None => super::builder::made(format!("security group {name}, which does not exist")),
                };
                rules.plain([], super::matches::set_mark(false), &origin);
                let accept = Target::Goto(chain("PVEFW-SET-ACCEPT-MARK"));
                let place = Place {
                    file: &world.cluster.file,
                    way,
                    vmid: 0,
                    group_accept: accept.clone(),
                    accept,
                    owner: Owner::Group,
                };
                self.user_rules(group.map_or(&[], |group| &group.rules), &place, &mut rules);
                rules.finish(&mut self.filter);
            }
        }
    }
}

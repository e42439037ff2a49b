//! User rules: the rules of the configuration files.
use super::chain_builder::{Builder, Log, icmp_protocol};
use super::chain_context::{ChainContext, Limited};
use super::lists::{OneOf, combinations, merged_ports};
use super::{Shared, TablePart, group_uses};
use crate::config::{Rule, RuleAction, Term, VerdictRule};
use crate::model::{Address, Direction, Family, IcmpType, Literal, Origin, Ports, SetRef, SetScope, Verdict};
use crate::nftables::names::{SetOwner, set_name};
use crate::nftables::ruleset::{Action, Addresses, Interval, IntervalSet, Match, Side};

/// The source or destination addresses of a rule.
enum Choice {
    /// One of these; matches nothing if empty.
    List(IntervalSet),
    /// The addresses of a set, as a match.
    Set(Match),
}

/// Adds the rules of one direction to a chain.
pub fn put(rules: &[Rule], context: &ChainContext<'_>, shared: &Shared, part: &mut TablePart, into: &mut Builder<'_>) {
    for rule in rules {
        let Rule { line, place: _, iface, action } = rule;
        let origin = Origin::Line(context.file.clone(), *line);
        let interface = match iface.as_deref().map(context.interface) {
            Some(Limited::Nothing) => continue,
            Some(Limited::To(interface)) => interface,
            None => None,
        };
        let limited = interface.map(|name| match context.direction {
            Direction::In if context.vmid != 0 => Match::OutInterface(name),
            Direction::Out if context.vmid != 0 => Match::InInterface(name),
            Direction::Out => Match::OutInterface(name),
            Direction::In | Direction::Forward => Match::InInterface(name),
        });
        match action {
            RuleAction::Group(_) if context.direction == Direction::Forward && limited.is_some() => {}
            RuleAction::Group(name) => {
                // a group that does not exist matches no packet
                if let Some(group) = group_uses::find(name, context, shared) {
                    into.rule(Vec::from_iter(limited), Action::Jump(group.chain()), &origin);
                    part.uses.groups.insert(group);
                }
            }
            RuleAction::Verdict(rule) if rule.direction == context.direction => {
                verdict_rule(rule, limited, &origin, context, shared, part, into);
            }
            RuleAction::Verdict(_) => {}
        }
    }
}

fn verdict_rule(
    rule: &VerdictRule,
    limited: Option<Match>,
    origin: &Origin,
    context: &ChainContext<'_>,
    shared: &Shared,
    part: &mut TablePart,
    into: &mut Builder<'_>,
) {
    let VerdictRule { direction: _, verdict, source: _, dest: _, terms: _, log } = rule;
    let action = match verdict {
        Verdict::Accept => context.accept.clone(),
        Verdict::Drop => Action::Drop,
        Verdict::Reject => context.reject.clone(),
    };
    let log = Log { vmid: context.vmid, level: *log, message: verdict.message() };
    for interface in interfaces(limited, *verdict, context.direction) {
        for rest in alternatives(rule, context, shared, part) {
            let matches: Vec<_> = interface.iter().cloned().chain(rest).collect();
            into.log(&matches, &log, origin);
            into.rule(matches, action.clone(), origin);
        }
    }
}

/// The interface matches of a rule. A FORWARD rule does not specify to which of the two interfaces of a packet it applies: a
/// rule that refuses packets applies to both, and one that accepts packets to neither.
fn interfaces(limited: Option<Match>, verdict: Verdict, direction: Direction) -> Vec<Option<Match>> {
    match (direction, verdict, limited) {
        (Direction::Forward, Verdict::Accept, Some(_)) => Vec::new(),
        (Direction::Forward, _, Some(Match::InInterface(name))) => {
            vec![Some(Match::InInterface(name.clone())), Some(Match::OutInterface(name))]
        }
        (_, _, limited) => vec![limited],
    }
}

/// The matches of all nft rules for a rule of the configuration; none if no packet can match it.
fn alternatives(
    rule: &VerdictRule,
    context: &ChainContext<'_>,
    shared: &Shared,
    part: &mut TablePart,
) -> Vec<Vec<Match>> {
    let VerdictRule { direction: _, verdict: _, source, dest, terms, log: _ } = rule;
    let mut all = Vec::new();
    if source.is_none() && dest.is_none() {
        for one in terms.v4.iter() {
            let family = if terms.v6.contains(one) { None } else { Some(Family::V4) };
            all.extend(of_term(one, family, Vec::new(), part));
        }
        for one in terms.v6.iter().filter(|one| !terms.v4.contains(one)) {
            all.extend(of_term(one, Some(Family::V6), Vec::new(), part));
        }
        return all;
    }
    for family in Family::ALL {
        for one in terms[family].iter() {
            let mut choices = Vec::new();
            for (side, address) in [(Side::Source, source), (Side::Destination, dest)] {
                choices.extend(
                    address.as_ref().map(|address| (side, choice(address, side, family, context, shared, part))),
                );
            }
            all.extend(of_term(one, Some(family), choices, part));
        }
    }
    all
}

/// The matches of one term with these addresses.
fn of_term(
    term: &Term,
    family: Option<Family>,
    addresses: Vec<(Side, Choice)>,
    part: &mut TablePart,
) -> Vec<Vec<Match>> {
    let Term { proto, sport, dport, icmp_type } = term;
    let mut head = Vec::new();
    let mut lists = Vec::new();
    let mut guarded = false;
    for (side, choice) in addresses {
        match choice {
            Choice::List(set) if set.intervals().first().is_some_and(Interval::is_everything) => {}
            Choice::List(set) => {
                guarded = true;
                lists.extend(family.map(|family| OneOf::Addresses(side, family, set)));
            }
            Choice::Set(one) => {
                guarded = true;
                head.push(one);
            }
        }
    }
    if let Some(family) = family.filter(|_| !guarded) {
        head.push(Match::Family(family));
    }
    let mut ported = false;
    if let Some(proto) = proto {
        for (side, ports) in [(Side::Source, sport), (Side::Destination, dport)] {
            let Some(ports) = ports else { continue };
            let ranges = merged_ports(&match ports {
                Ports::One(range) => vec![range.value],
                Ports::Several(ranges) => ranges.value.clone(),
            });
            if ranges != [(0, u16::MAX)] {
                ported = true;
                lists.push(OneOf::Ports(proto.value, side, ranges));
            }
        }
    }
    let mut tail = Vec::new();
    match (proto, icmp_type) {
        (_, Some((family, kind))) => {
            tail.push(icmp_protocol(*family));
            let IcmpType { kind, code } = kind.value;
            tail.extend(kind.map(|kind| Match::Icmp { family: *family, kind, code }));
        }
        (Some(proto), None) if !ported => tail.push(Match::Protocol(proto.value)),
        _ => {}
    }
    let combined = combinations(&lists, part).into_iter();
    combined.map(|middle| [&head[..], &middle, &tail].concat()).collect()
}

/// The source or destination addresses of a rule in a family.
fn choice(
    address: &Address,
    side: Side,
    family: Family,
    context: &ChainContext<'_>,
    shared: &Shared,
    part: &mut TablePart,
) -> Choice {
    let none = || Choice::List(IntervalSet::default());
    let set = match address {
        Address::Literal(literal) => return Choice::List(literal_addresses(literal, family)),
        Address::Set(set) => set,
    };
    let SetRef { scope, name } = set;
    let named = match (scope, context.guest_sets) {
        (SetScope::Cluster | SetScope::Sdn, _) => {
            let owner = if *scope == SetScope::Sdn { SetOwner::Sdn } else { SetOwner::Cluster };
            let set = (owner, name.to_string());
            if !shared.sets.get(&set).is_some_and(|families| families[family]) {
                return none();
            }
            part.uses.shared_sets.insert(set);
            set_name(owner, name, family)
        }
        (SetScope::Guest, Some(sets)) => {
            let Some(content) = sets.get(name.as_str()).map(|families| &families[family]) else { return none() };
            if content.intervals().len() <= super::lists::MAX_ALTERNATIVES {
                return Choice::List(content.clone());
            }
            super::sets::add_guest_set(context.vmid, name, family, content, context.file, part)
        }
        (SetScope::Guest, None) => return none(),
    };
    named.map_or_else(none, |name| {
        Choice::Set(Match::Address { side, negated: false, addresses: Addresses::Set(family, name) })
    })
}

fn literal_addresses(literal: &Literal, family: Family) -> IntervalSet {
    let intervals: Vec<Interval> = match literal {
        Literal::Nets(nets) => nets.value.iter().map(|net| Interval::from(*net)).collect(),
        Literal::Range(range) => Interval::new(range.value.0, range.value.1).into_iter().collect(),
    };
    IntervalSet::union(intervals.into_iter().filter(|interval| interval.family() == family))
}

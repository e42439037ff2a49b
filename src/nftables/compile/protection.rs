//! What happens before anything else: the limit against SYN floods, and helpers of connection tracking.
use super::builder::Builder;
use super::{Node, Part};
use crate::model::{Family, TcpFlags};
use crate::nftables::names::{helper_object, synflood_set};
use crate::nftables::ruleset::{Action, DynamicSet, End, Helper, Match, Table};

/// The most sources that are counted at once, in each family.
const SOURCES: u32 = 65_536;
/// For which time they are, in seconds, if no option says so.
const REMEMBERED: u64 = 60;

/// Adds them to the table of the host.
pub fn add(node: &Node<'_>, table: &mut Table) {
    let mut part = Part::default();
    synflood(node, table, &mut part);
    helpers(node, table, &mut part);
    table.chains.extend(part.chains);
}

/// Drops what opens connections faster than the limit, for each source. Nothing else.
fn synflood(node: &Node<'_>, table: &mut Table, part: &mut Part) {
    let options = &node.host.options;
    if !options.protection_synflood {
        return;
    }
    let or = |value: u64, default: u64| u32::try_from(if value == 0 { default } else { value }).unwrap_or(u32::MAX);
    let limit = (or(options.protection_synflood_rate, 200), or(options.protection_synflood_burst, 1000));
    let timeout = match options.nf_conntrack_tcp_timeout_syn_recv {
        0 => REMEMBERED,
        seconds => seconds.min(86_400),
    };
    let mut rules = Builder::base("raw", "prerouting", -300);
    let mask = TcpFlags::FIN.and(TcpFlags::SYN).and(TcpFlags::RST).and(TcpFlags::ACK);
    for family in Family::ALL {
        let set = synflood_set(family);
        table.dynamic_sets.insert(set.clone(), DynamicSet { family, timeout, size: SOURCES });
        let opening = Match::TcpFlags { negated: false, mask, set: TcpFlags::SYN };
        let action = Action::DropAbove { family, set, limit };
        rules.rule([Match::Family(family), opening], action, &options.lines.origin("protection_synflood"));
    }
    rules.finish(part);
}

/// Gives connections their helpers, which accepts nothing: what a helper announces is related.
fn helpers(node: &Node<'_>, table: &mut Table, part: &mut Part) {
    let options = &node.host.options;
    if options.nf_conntrack_helpers.is_empty() {
        return;
    }
    let mut rules = Builder::base("helpers", "prerouting", -150);
    let origin = options.lines.origin("nf_conntrack_helpers");
    for helper in &options.nf_conntrack_helpers {
        let Some(name) = helper_object(helper.name, helper.proto.0) else { continue };
        let family = if helper.v6 { None } else { Some(Family::V4) };
        let object = Helper { kind: helper.name, protocol: helper.proto.0, family };
        table.helpers.insert(name.clone(), object);
        let port = Match::Port { protocol: helper.proto.1, end: End::Destination, ports: (helper.port, helper.port) };
        let matches: Vec<_> = family.map(Match::Family).into_iter().chain([port]).collect();
        rules.rule(matches, Action::CtHelper(name), &origin);
    }
    rules.finish(part);
}

//! The rules before all others: SYN flood protection, and conntrack helpers. Packets that a bridge forwards pass only the guests'
//! table, so both tables assign helpers.
use super::chain_builder::Builder;
use super::{Node, TablePart};
use crate::model::{Family, OptionKey, TcpFlags};
use crate::nftables::names::{HELPERS, RAW, helper_object, synflood_set};
use crate::nftables::ruleset::{Action, DynamicSet, HelperObject, Match, Side, Table};

/// Maximum number of sources that are tracked at a time, for each family.
const SOURCES: u32 = 65_536;
/// The default timeout of a source, in seconds.
const SOURCE_TIMEOUT: u64 = 60;

/// Adds the rules of the host's table.
pub fn of_host(node: &Node<'_>, table: &mut Table) {
    let mut part = TablePart::default();
    synflood(node, table, &mut part);
    helpers(node, table, &mut part);
    table.chains.extend(part.chains);
}

/// Adds the rules of the guests' table.
pub fn of_guests(node: &Node<'_>, table: &mut Table) {
    let mut part = TablePart::default();
    helpers(node, table, &mut part);
    table.chains.extend(part.chains);
}

/// Drops packets of a source that opens connections faster than the limit.
fn synflood(node: &Node<'_>, table: &mut Table, part: &mut TablePart) {
    let options = &node.host.options;
    if !options.protection_synflood {
        return;
    }
    let or = |value: u64, default: u64| u32::try_from(if value == 0 { default } else { value }).unwrap_or(u32::MAX);
    let limit = (or(options.protection_synflood_rate, 200), or(options.protection_synflood_burst, 1000));
    let timeout = match options.nf_conntrack_tcp_timeout_syn_recv {
        0 => SOURCE_TIMEOUT,
        seconds => seconds.min(86_400),
    };
    let mut rules = Builder::base(RAW, "prerouting", -300);
    let mask = TcpFlags::FIN.and(TcpFlags::SYN).and(TcpFlags::RST).and(TcpFlags::ACK);
    for family in Family::ALL {
        let set = synflood_set(family);
        table.dynamic_sets.insert(set.clone(), DynamicSet { family, timeout, size: SOURCES });
        let opening = Match::TcpFlags { negated: false, mask, set: TcpFlags::SYN };
        let action = Action::DropAbove { family, set, limit };
        rules.rule([Match::Family(family), opening], action, &options.lines.origin(OptionKey::ProtectionSynflood));
    }
    rules.finish(part);
}

/// Assigns helpers to connections. This accepts no packets: expected connections get the state `related`.
fn helpers(node: &Node<'_>, table: &mut Table, part: &mut TablePart) {
    let options = &node.host.options;
    if options.nf_conntrack_helpers.is_empty() {
        return;
    }
    let mut rules = Builder::base(HELPERS, "prerouting", -150);
    let origin = options.lines.origin(OptionKey::NfConntrackHelpers);
    for helper in &options.nf_conntrack_helpers {
        let Some(name) = helper_object(helper.name, helper.proto.0) else { continue };
        let family = if helper.v6 { None } else { Some(Family::V4) };
        let object = HelperObject { kind: helper.name, protocol: helper.proto.0, family };
        table.helpers.insert(name.clone(), object);
        let port = Match::Port { protocol: helper.proto.1, side: Side::Destination, ports: (helper.port, helper.port) };
        let matches: Vec<_> = family.map(Match::Family).into_iter().chain([port]).collect();
        rules.rule(matches, Action::CtHelper(name), &origin);
    }
    rules.finish(part);
}

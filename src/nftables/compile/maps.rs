//! The verdict maps from interfaces to the chains of guests and vnets: one lookup for any number of guests.
use super::chain_builder::{Builder, chain, generated, jump};
use super::failsafe_ports;
use super::{Node, TablePart};
use crate::model::{Direction, Interface, TcpFlags};
use crate::nftables::names::{
    ALLOW_RESETS, BRIDGE_MAP, FAILSAFE_IN, FAILSAFE_OUT, FORWARD, HOST_BRIDGE_INPUT, HOST_BRIDGE_OUTPUT, Name, VM_IN,
    VM_MAP_IN, VM_MAP_OUT, VM_OUT, bridge_chain, guest_chain,
};
use crate::nftables::ruleset::{Action, CtStates, Map, MapKey, Match, Table, VerdictTarget};
use imbl::OrdMap;
use std::collections::BTreeMap;

/// Adds the map to the chains of vnets to the host's table, for packets between vnets and the node.
pub fn of_host(node: &Node<'_>, table: &mut Table) {
    let mut part = TablePart::default();
    let map = bridges(node, MapKey::InInterface);
    if map.elements.is_empty() {
        return;
    }
    table.maps.insert(chain(BRIDGE_MAP), map);
    let hooks = [
        (HOST_BRIDGE_INPUT, "input", -1, MapKey::InInterface, FAILSAFE_IN),
        (HOST_BRIDGE_OUTPUT, "output", 1, MapKey::OutInterface, FAILSAFE_OUT),
    ];
    for (name, hook, priority, key, failsafe) in hooks {
        let mut base = Builder::base(name, hook, priority);
        failsafe_ports::jump_to(failsafe, node, &mut base);
        base.rule([], Action::VerdictMap(key, chain(BRIDGE_MAP)), &generated("the jump to the chains of vnets"));
        base.finish(&mut part);
    }
    table.chains.extend(part.chains);
}

/// The maps from devices to the chains of guests, without elements.
pub fn of_devices() -> BTreeMap<Name, Map> {
    let map = |key| Map { key, elements: OrdMap::default() };
    [(chain(VM_MAP_IN), map(MapKey::OutInterface)), (chain(VM_MAP_OUT), map(MapKey::InInterface))].into()
}

/// The chain of a guest to which a map of devices leads.
pub fn target(map: &Name, vmid: u32) -> VerdictTarget {
    let direction = if map.as_str() == VM_MAP_IN { Direction::In } else { Direction::Out };
    VerdictTarget::Goto(guest_chain(vmid, direction))
}

/// Adds the base chains that use the maps to the chains of guests, and the map to those of vnets, to the guests' table.
pub fn of_guests(node: &Node<'_>, table: &mut Table) {
    let mut part = TablePart::default();
    let origin = generated("the jump to the chains of guests");
    let mut outgoing = Builder::base(VM_OUT, "prerouting", 0);
    outgoing.rule([], Action::VerdictMap(MapKey::InInterface, chain(VM_MAP_OUT)), &origin);
    outgoing.finish(&mut part);
    let mut incoming = Builder::base(VM_IN, "postrouting", 0);
    let reset = Match::TcpFlags { negated: false, mask: TcpFlags::RST, set: TcpFlags::RST };
    let answer = generated("the reply of a reject rule, which belongs to no connection");
    incoming.rule([Match::NotForwarded, Match::Ct(CtStates::Invalid), reset], jump(ALLOW_RESETS), &answer);
    incoming.rule([], Action::VerdictMap(MapKey::OutInterface, chain(VM_MAP_IN)), &origin);
    incoming.finish(&mut part);
    let mut resets = Builder::own(ALLOW_RESETS);
    resets.rule([Match::HasRoute], Action::Return, &answer);
    resets.rule([], Action::Accept, &answer);
    resets.finish(&mut part);
    let map = bridges(node, MapKey::Bridges);
    if !map.elements.is_empty() {
        table.maps.insert(chain(BRIDGE_MAP), map);
        let mut forward = Builder::base(FORWARD, "forward", 0);
        let action = Action::VerdictMap(MapKey::Bridges, chain(BRIDGE_MAP));
        forward.rule([], action, &generated("the jump to the chains of vnets"));
        forward.finish(&mut part);
    }
    table.chains.extend(part.chains);
}

fn bridges(node: &Node<'_>, key: MapKey) -> Map {
    let vnets = node.vnets.iter().filter(|(_, vnet)| vnet.options.enable);
    let element = |name: &str| -> Option<(Interface, VerdictTarget)> {
        let chain: Name = bridge_chain(name)?;
        Some((Interface::new(name)?, VerdictTarget::Jump(chain)))
    };
    Map { key, elements: vnets.filter_map(|(name, _)| element(name)).collect() }
}

//! The verdict maps from interfaces to the chains of guests and vnets: one lookup, however many there are.
use super::chain_builder::{Builder, chain, jump, made};
use super::failsafe_ports;
use super::{GuestPart, Node, TablePart};
use crate::model::{Direction, Interface, TcpFlags};
use crate::nftables::names::{
    ALLOW_RESETS, BRIDGE_MAP, FAILSAFE_IN, FAILSAFE_OUT, FORWARD, HOST_BRIDGE_INPUT, HOST_BRIDGE_OUTPUT, Name, VM_IN,
    VM_MAP_IN, VM_MAP_OUT, VM_OUT, bridge_chain, guest_chain,
};
use crate::nftables::ruleset::{Action, CtStates, Map, MapKey, Match, Table, VerdictTarget};
use std::sync::Arc;

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
        base.rule([], Action::VerdictMap(key, chain(BRIDGE_MAP)), &made("the way to the chains of vnets"));
        base.finish(&mut part);
    }
    table.chains.extend(part.chains);
}

/// Adds the maps to the chains of guests and vnets to the guests' table.
pub fn of_guests(node: &Node<'_>, guests: &[Arc<GuestPart>], table: &mut Table) {
    let mut part = TablePart::default();
    let origin = made("the way to the chains of guests");
    let mut outgoing = Builder::base(VM_OUT, "prerouting", 0);
    outgoing.rule([], Action::VerdictMap(MapKey::InInterface, chain(VM_MAP_OUT)), &origin);
    outgoing.finish(&mut part);
    let mut incoming = Builder::base(VM_IN, "postrouting", 0);
    let reset = Match::TcpFlags { negated: false, mask: TcpFlags::RST, set: TcpFlags::RST };
    let answer = made("the answer of a rule that rejects, which has no connection");
    incoming.rule([Match::NotForwarded, Match::Ct(CtStates::Invalid), reset], jump(ALLOW_RESETS), &answer);
    incoming.rule([], Action::VerdictMap(MapKey::OutInterface, chain(VM_MAP_IN)), &origin);
    incoming.finish(&mut part);
    let mut resets = Builder::own(ALLOW_RESETS);
    resets.rule([Match::HasRoute], Action::Return, &answer);
    resets.rule([], Action::Accept, &answer);
    resets.finish(&mut part);
    for (name, key, direction) in
        [(VM_MAP_IN, MapKey::OutInterface, Direction::In), (VM_MAP_OUT, MapKey::InInterface, Direction::Out)]
    {
        let element = |guest: &GuestPart, device: &Interface| {
            (device.clone(), VerdictTarget::Goto(guest_chain(guest.vmid, direction)))
        };
        let devices = guests.iter().flat_map(|guest| guest.devices.iter().map(move |device| element(guest, device)));
        table.maps.insert(chain(name), Map { key, elements: devices.collect() });
    }
    let map = bridges(node, MapKey::Bridges);
    if !map.elements.is_empty() {
        table.maps.insert(chain(BRIDGE_MAP), map);
        let mut forward = Builder::base(FORWARD, "forward", 0);
        let action = Action::VerdictMap(MapKey::Bridges, chain(BRIDGE_MAP));
        forward.rule([], action, &made("the way to the chains of vnets"));
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

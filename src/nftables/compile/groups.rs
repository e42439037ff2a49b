//! Security groups: a chain for each direction in which a table uses them.
use super::builder::{Builder, goto};
use super::rules::{Limited, Place, put};
use super::standard::REJECT;
use super::{Node, Part, Shared};
use crate::model::Direction;
use crate::nftables::names::{Name, TableName, group_chain, group_chain_to_queue};
use crate::nftables::ruleset::Action;
use std::collections::BTreeSet;

/// A group as a table uses it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    name: String,
    /// 0 in, 1 out, 2 forward: directions have no order of their own.
    direction: u8,
    queues: Option<(u16, u16)>,
}

const DIRECTIONS: [Direction; 3] = [Direction::In, Direction::Out, Direction::Forward];

/// The group of this name in a place, and its chain there; `None` if there is no such group.
pub fn find(name: &str, place: &Place<'_>, shared: &Shared) -> Option<(Use, Name)> {
    let at = DIRECTIONS.iter().position(|one| *one == place.direction)?;
    let queues = place.queues.filter(|_| place.direction == Direction::In);
    let chain = chain_name(name, place.direction, queues);
    let direction = u8::try_from(at).ok()?;
    shared.groups.contains(name).then(|| (Use { name: name.to_string(), direction, queues }, chain))
}

fn chain_name(name: &str, direction: Direction, queues: Option<(u16, u16)>) -> Name {
    match queues {
        Some(queues) => group_chain_to_queue(name, queues),
        None => group_chain(name, direction),
    }
}

/// The chains of these groups.
pub fn make(node: &Node<'_>, shared: &Shared, table: TableName, uses: &BTreeSet<Use>) -> Part {
    let mut part = Part::default();
    for one in uses {
        let direction = DIRECTIONS[usize::from(one.direction)];
        let Some(group) = node.cluster.groups.get(&one.name) else { continue };
        // the kernel has no reject behind a bridge
        let reject = match (table, direction) {
            (TableName::Guests, Direction::In | Direction::Forward) => Action::Drop,
            _ => goto(REJECT),
        };
        let place = Place {
            file: &node.cluster.file,
            direction,
            vmid: 0,
            accept: one.queues.map_or(Action::Accept, |(first, last)| Action::Queue(first, last)),
            reject,
            queues: one.queues,
            guest_sets: None,
            interface: &|_| Limited::Nothing,
        };
        let mut chain = Builder::new(chain_name(&one.name, direction, one.queues), &shared.limit);
        put(&group.rules, &place, shared, &mut part, &mut chain);
        chain.finish(&mut part);
    }
    part
}

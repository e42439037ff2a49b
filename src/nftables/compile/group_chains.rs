//! The chains of the security groups that a table uses.
use super::chain_builder::{Builder, goto};
use super::chain_context::{ChainContext, Limited};
use super::group_uses::Use;
use super::rules::put;
use super::{Node, Shared, TablePart};
use crate::model::Direction;
use crate::nftables::names::{REJECT, TableName};
use crate::nftables::ruleset::Action;
use std::collections::BTreeSet;

/// The chains of these groups.
pub fn make(node: &Node<'_>, shared: &Shared, table: TableName, uses: &BTreeSet<Use>) -> TablePart {
    let mut part = TablePart::default();
    for one in uses {
        let direction = one.direction();
        let Some(group) = node.cluster.groups.get(one.name()) else { continue };
        // the kernel cannot reject in the postrouting hook of a bridge
        let reject = match (table, direction) {
            (TableName::Guests, Direction::In | Direction::Forward) => Action::Drop,
            _ => goto(REJECT),
        };
        let context = ChainContext {
            file: &node.cluster.file,
            direction,
            vmid: 0,
            accept: one.queues().map_or(Action::Accept, |(first, last)| Action::Queue(first, last)),
            reject,
            queues: one.queues(),
            guest_sets: None,
            interface: &|_| Limited::Nothing,
        };
        let mut chain = Builder::new(one.chain(), &shared.limit);
        put(&group.rules, &context, shared, &mut part, &mut chain);
        chain.finish(&mut part);
    }
    part
}

//! Uses of security groups by rules; each has its own chain.
use super::Shared;
use super::chain_context::ChainContext;
use crate::model::Direction;
use crate::nftables::names::{Name, group_chain, group_chain_to_queue};

/// A use of a group in a table: its name, direction and queues.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    name: String,
    /// 0 in, 1 out, 2 forward: `Direction` is not ordered.
    direction: u8,
    queues: Option<(u16, u16)>,
}

const DIRECTIONS: [Direction; 3] = [Direction::In, Direction::Out, Direction::Forward];

impl Use {
    /// The name of the group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The direction of the rules in its chain.
    pub fn direction(&self) -> Direction {
        DIRECTIONS[usize::from(self.direction)]
    }

    /// The queues of accepted packets.
    pub fn queues(&self) -> Option<(u16, u16)> {
        self.queues
    }

    /// The name of its chain.
    pub fn chain(&self) -> Name {
        match self.queues {
            Some(queues) => group_chain_to_queue(&self.name, queues),
            None => group_chain(&self.name, self.direction()),
        }
    }
}

/// The use of a group by a chain; `None` if there is no such group.
pub fn find(name: &str, context: &ChainContext<'_>, shared: &Shared) -> Option<Use> {
    let at = DIRECTIONS.iter().position(|one| *one == context.direction)?;
    let direction = u8::try_from(at).ok()?;
    let queues = context.queues.filter(|_| context.direction == Direction::In);
    shared.groups.contains(name).then(|| Use { name: name.to_string(), direction, queues })
}

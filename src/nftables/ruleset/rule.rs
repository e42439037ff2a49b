//! Rules; `text` renders them.
use super::action::Action;
use super::matches::Match;
use crate::model::Origin;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The matches, in the order of the text.
    pub matches: Box<[Match]>,
    /// The target.
    pub action: Action,
    /// The origin of the rule.
    pub origin: Origin,
}

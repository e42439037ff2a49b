//! The matches of a rule.
use super::matches::Match;
use std::ops::Deref;

/// The matches of a rule: its own, or constant ones that the rules of all devices share.
#[derive(Clone, Debug)]
pub enum MatchList {
    /// Matches of this rule.
    Own(Box<[Match]>),
    /// Constant matches.
    Shared(&'static [Match]),
}

impl MatchList {
    /// The matches, to be changed; shared ones are copied.
    pub fn to_mut(&mut self) -> &mut [Match] {
        if let MatchList::Shared(shared) = self {
            *self = MatchList::Own(Box::from(*shared));
        }
        match self {
            MatchList::Own(own) => own,
            MatchList::Shared(_) => &mut [],
        }
    }
}

impl Deref for MatchList {
    type Target = [Match];

    fn deref(&self) -> &[Match] {
        match self {
            MatchList::Own(own) => own,
            MatchList::Shared(shared) => shared,
        }
    }
}

impl PartialEq for MatchList {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for MatchList {}

impl<const N: usize> From<[Match; N]> for MatchList {
    fn from(matches: [Match; N]) -> Self {
        MatchList::Own(matches.into())
    }
}

impl From<Vec<Match>> for MatchList {
    fn from(matches: Vec<Match>) -> Self {
        MatchList::Own(matches.into())
    }
}

impl From<&'static [Match]> for MatchList {
    fn from(matches: &'static [Match]) -> Self {
        MatchList::Shared(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_matches_are_copied_before_a_change() {
        static SHARED: [Match; 1] = [Match::Module("tcp")];
        let mut list = MatchList::from(&SHARED[..]);
        assert_eq!(list, MatchList::from([Match::Module("tcp")]));
        list.to_mut()[0] = Match::Module("udp");
        assert_eq!((&*list, &SHARED), (&[Match::Module("udp")][..], &[Match::Module("tcp")]));
    }
}

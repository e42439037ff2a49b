//! What a pass over the tree found, and how it is told to the process that asked: only what has changed since the pass before.
use crate::inputs::Content;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a file showed in a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// Its content.
    Content(Content),
    /// Spaced tries to open it and a listing of its folder both say that it is not there.
    Absent,
    /// It is there and cannot be read: why.
    Failed(String),
}

/// Whether somebody may be in the middle of writing a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Writing {
    /// Nothing is known.
    Perhaps,
    /// Its writer, a process of this node, has just closed it or renamed it into its place.
    Closed,
    /// Its time of modification is long enough ago.
    AtRest,
}

/// A file in a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// What it showed.
    pub seen: Seen,
    /// Whether that may be half of something.
    pub writing: Writing,
}

impl Sight {
    /// A file that is not there, or cannot be read.
    #[must_use]
    pub fn without_content(seen: Seen) -> Self {
        Sight { seen, writing: Writing::Perhaps }
    }
}

/// What a pass found of the tree as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Why the pass does not show a healthy tree; with `None` there is positive evidence that it does.
    pub ill: Option<String>,
    /// Whether the tree is a FUSE mount, as pmxcfs is.
    pub fuse: bool,
    /// `st_dev` of the tree's root.
    pub device: u64,
    /// The fingerprint of the tree, of before each file was read.
    pub fingerprint: u64,
    /// Whether every change from now on is told: the tree is on a file system of this node, and all its folders are
    /// watched.
    pub watched: bool,
}

/// What a pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Of the tree as a whole.
    pub place: Place,
    /// The files by their path below the root: those listed, those always looked for, and those of the pass before.
    pub files: BTreeMap<Arc<str>, Sight>,
}

/// What a pass found that the one before did not.
#[derive(Debug, Serialize, Deserialize)]
pub struct News {
    place: Place,
    changed: Vec<(Arc<str>, Sight)>,
    gone: Vec<Arc<str>>,
}

impl News {
    /// What `now` has and `before` has not.
    #[must_use]
    pub fn between(before: &Scan, now: &Scan) -> Self {
        let mut news = News { place: now.place.clone(), changed: Vec::new(), gone: Vec::new() };
        if !std::ptr::eq(before, now) {
            let changed = now.files.iter().filter(|(path, sight)| before.files.get(*path) != Some(sight));
            news.changed.extend(changed.map(|(path, sight)| (path.clone(), sight.clone())));
            news.gone.extend(before.files.keys().filter(|path| !now.files.contains_key(*path)).cloned());
        }
        news
    }

    /// Whether the pass found what the one before did.
    #[must_use]
    pub fn are_none(&self, before: &Scan) -> bool {
        self.place == before.place && self.changed.is_empty() && self.gone.is_empty()
    }
}

impl Scan {
    /// Becomes the pass that the news are of.
    pub fn take_in(&mut self, news: News) {
        self.place = news.place;
        for path in news.gone {
            self.files.remove(&path);
        }
        self.files.append(&mut news.changed.into_iter().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scans() -> impl Strategy<Value = Scan> {
        let seen = prop_oneof![
            Just(Seen::Absent),
            Just(Seen::Failed("EIO".into())),
            proptest::collection::vec(any::<u8>(), 0..3).prop_map(|content| Seen::Content(content.into())),
        ];
        let writing = prop_oneof![Just(Writing::Perhaps), Just(Writing::Closed), Just(Writing::AtRest)];
        let sight = (seen, writing).prop_map(|(seen, writing)| Sight { seen, writing });
        proptest::collection::btree_map("[a-d]".prop_map(Arc::from), sight, 0..4)
            .prop_map(|files| Scan { place: Place { device: files.len() as u64, ..Place::default() }, files })
    }

    proptest! {
        #[test]
        fn applying_changes_reproduces_the_read(before in scans(), now in scans()) {
            let news = News::between(&before, &now);
            let told: News = postcard::from_bytes(&postcard::to_stdvec(&news).unwrap()).unwrap();
            let mut scan = before;
            scan.take_in(told);
            prop_assert_eq!(scan, now.clone());
            prop_assert!(News::between(&now, &now).changed.is_empty());
        }
    }
}

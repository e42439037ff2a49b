//! Queues of NFQUEUE that no program reads, for both backends.
use super::Finding;
use super::evidence::Scope;
use std::collections::BTreeSet;

/// The queues of guests that no program reads: the kernel then accepts the packets (`--queue-bypass`).
pub(super) fn not_inspected(read: &BTreeSet<u16>, scope: &Scope) -> impl Iterator<Item = Finding> {
    let wanted: BTreeSet<(u16, u16)> = scope.inspected.values().copied().collect();
    wanted.into_iter().filter_map(|queues| {
        let mut unread: Vec<(u16, u16)> = Vec::new();
        for queue in (queues.0..=queues.1).filter(|queue| !read.contains(queue)) {
            match unread.last_mut() {
                Some((_, last)) if *last + 1 == queue => *last = queue,
                _ => unread.push((queue, queue)),
            }
        }
        (!unread.is_empty()).then_some(Finding::NotInspected { queues, unread })
    })
}

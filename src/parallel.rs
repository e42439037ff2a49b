//! Work in several threads.
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Number of items that a thread takes at a time.
const PORTION: usize = 16;
/// With fewer items per thread, starting a thread costs more than it saves.
const MIN_PER_THREAD: usize = 64;
/// The same threshold for items that are only compared.
const MIN_COMPARED: usize = 4096;

/// Computes two results, in parallel if two threads are allowed.
pub fn both<A: Send, B>(threads: usize, one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    if threads < 2 {
        return (one(), other());
    }
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| resume_unwind(panic)), other)
    })
}

/// The number of threads for making two parts with [`both`] from this number of items, at most `threads`.
pub fn threads_to_make(items: usize, threads: usize) -> usize {
    if items < MIN_PER_THREAD { 1 } else { threads }
}

/// The number of threads for comparing two parts with [`both`], each of this number of items.
pub fn threads_for(items: usize) -> usize {
    if items < MIN_COMPARED { 1 } else { 2 }
}

/// Maps the items with up to `threads` threads; the results are in the order of the items.
pub fn map<T: Sync, R: Send>(items: &[T], threads: usize, make: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = threads.min(items.len() / MIN_PER_THREAD);
    if threads < 2 {
        return items.iter().map(make).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(PORTION, Ordering::Relaxed);
            let portion = items.iter().skip(at).take(PORTION);
            if portion.len() == 0 {
                return done;
            }
            done.push((at, portion.map(&make).collect::<Vec<R>>()));
        }
    };
    let mut portions = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut portions = work();
        for other in others {
            portions.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        portions
    });
    portions.sort_unstable_by_key(|(at, _)| *at);
    portions.into_iter().flat_map(|(_, portion)| portion).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_results_are_returned() {
        for threads in [0, 1, 2] {
            let text = "text".to_string();
            assert_eq!(both(threads, || text.len(), || text.as_str()), (4, "text"));
        }
    }

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for count in [0, 1, 63, 64, 1000] {
            let items: Vec<usize> = (0..count).collect();
            for threads in [0, 1, 2, 5] {
                assert_eq!(
                    map(&items, threads, |item| item * 2),
                    items.iter().map(|item| item * 2).collect::<Vec<_>>()
                );
            }
        }
    }
}

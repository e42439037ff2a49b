//! Limits on the allocations of compiling, which do not depend on the machine or its load.
//!
//! The limits are a few percent above the counts at the time they were set. A change that lowers the counts also lowers the
//! limits; `cargo test --test resources budget -- --nocapture` shows the counts.
#![allow(unsafe_code, reason = "an allocator")]

use crate::generated;
use crate::trees;
use pve_firewall::iptables::compile::Compiler;
use pve_firewall::iptables::plan::{Live, Plan};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The limits of a stage for a number of guests: allocations, and peak memory in KiB.
const LIMITS: [(&str, usize, u64, u64); 8] = [
    ("compile everything", 100, 26_200, 2_520),
    ("compile everything", 1000, 213_000, 21_000),
    ("compile one guest", 100, 720, 44),
    ("compile one guest", 1000, 1_380, 206),
    ("compile nothing", 100, 8, 1),
    ("compile nothing", 1000, 8, 1),
    ("plan", 100, 158, 62),
    ("plan", 1000, 1_020, 490),
];

/// The system's allocator with counters.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED_BYTES: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

impl Counting {
    fn add(size: usize) {
        ALLOCATIONS.fetch_add(1, Relaxed);
        let held = ALLOCATED_BYTES.fetch_add(size as u64, Relaxed) + size as u64;
        PEAK.fetch_max(held, Relaxed);
    }
}

// SAFETY: every call is delegated to the system's allocator
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::add(layout.size());
        // SAFETY: the caller upholds the contract
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATED_BYTES.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: the caller upholds the contract
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counting::add(size);
        ALLOCATED_BYTES.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: the caller upholds the contract
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Allocations, and peak memory in KiB.
pub type Count = (u64, u64);

pub fn count<T>(work: impl FnOnce() -> T) -> (T, Count) {
    let (allocations, held) = (ALLOCATIONS.load(Relaxed), ALLOCATED_BYTES.load(Relaxed));
    PEAK.store(held, Relaxed);
    let result = work();
    (result, (ALLOCATIONS.load(Relaxed) - allocations, (PEAK.load(Relaxed) - held) / 1024))
}

/// The counts of all stages, with one thread.
fn stages(guests: usize) -> [(&'static str, Count); 4] {
    let (tree, facts) = (generated::tree(guests), trees::facts());
    let (changed, mut compiler) = (generated::with_rule(&tree, 1), Compiler::new(1));
    // allocations made once per process are not counted
    Compiler::new(1).compile(&generated::tree(1), &facts);
    let (compiled, everything) = count(|| compiler.compile(&tree, &facts));
    let (other, one) = count(|| compiler.compile(&changed, &facts));
    let (same, nothing) = count(|| compiler.compile(&changed, &facts));
    let (plan, planning) = count(|| Plan::new(&compiled.ruleset, &Live::empty()));
    assert!(compiled.filtered.guests > 0 && other != compiled && other == same && !plan.is_empty());
    [("compile everything", everything), ("compile one guest", one), ("compile nothing", nothing), ("plan", planning)]
}

#[test]
fn compiling_stays_within_its_allocation_limits() {
    let _exclusive = crate::measure();
    let counts: Vec<_> = [100, 1000].map(|guests| (guests, stages(guests))).into();
    let mut exceeded = Vec::new();
    for (guests, stages) in &counts {
        for (name, (allocations, held)) in stages {
            let limit = LIMITS.iter().find(|limit| (limit.0, limit.1) == (*name, *guests)).unwrap();
            let line = format!("{name}, {guests} guests: {allocations} allocations, {held} KiB");
            println!("{line}");
            if *allocations > limit.2 || *held > limit.3 {
                exceeded.push(format!("{line}: more than {} and {}", limit.2, limit.3));
            }
        }
    }
    for ((name, small), (_, large)) in counts[0].1.iter().zip(&counts[1].1) {
        if large.0 > small.0 * 10 || large.1 > small.1 * 10 {
            exceeded.push(format!("{name}: {small:?} for 100 guests, {large:?} for 1000"));
        }
    }
    assert!(exceeded.is_empty(), "{exceeded:#?}");
}

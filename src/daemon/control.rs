//! What the main thread and the updater tell each other.
use crate::system::waker::Waker;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What the updater is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Keep the rules up to date.
    Work,
    /// Finish the update under way, and end; the rules stay.
    Leave,
    /// Finish the update under way, remove the rules, and end.
    Stop,
}

/// Orders to the updater, and its news.
#[derive(Debug)]
pub struct Orders {
    order: AtomicU8,
    waker: Arc<Waker>,
    updated: AtomicBool,
    ended: AtomicBool,
    news: Arc<Waker>,
}

impl Orders {
    /// Orders to work; `news` is rung by the updater.
    ///
    /// # Errors
    /// When the kernel has no descriptor to spare.
    pub fn new(news: Arc<Waker>) -> Result<Self> {
        Ok(Orders {
            order: AtomicU8::new(Order::Work as u8),
            waker: Arc::new(Waker::new()?),
            updated: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            news,
        })
    }

    /// Gives an order. One to stop is never taken back.
    pub fn give(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::SeqCst);
        self.waker.wake();
    }

    /// The order that holds.
    pub fn current(&self) -> Order {
        match self.order.load(Ordering::SeqCst) {
            order if order == Order::Work as u8 => Order::Work,
            order if order == Order::Leave as u8 => Order::Leave,
            _ => Order::Stop,
        }
    }

    /// Rung, and never hushed, when there is an order to end.
    pub fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// The updater has made its first update, or tried to.
    pub fn tell_updated(&self) {
        self.updated.store(true, Ordering::SeqCst);
        self.news.wake();
    }

    /// Whether it has.
    pub fn updated(&self) -> bool {
        self.updated.load(Ordering::SeqCst)
    }

    /// The updater ends, if only by a panic.
    pub fn tell_ended(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.news.wake();
    }

    /// Whether it has.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

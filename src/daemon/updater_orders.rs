//! Communication between the main thread and the updater.
use crate::system::waker::Waker;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// The task of the updater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Keep the rules up to date.
    Work,
    /// Finish the current update and end; the rules stay in place.
    Leave,
    /// Finish the current update, remove the rules, and end.
    Stop,
}

/// Orders to the updater, and its state.
#[derive(Debug)]
pub struct Orders {
    order: AtomicU8,
    waker: Arc<Waker>,
    updated: AtomicBool,
    ended: AtomicBool,
    state_changed: Arc<Waker>,
}

impl Orders {
    /// Initial orders; the updater signals `state_changed` when its state changes.
    ///
    /// # Errors
    /// When the event descriptor cannot be opened.
    pub fn new(state_changed: Arc<Waker>) -> Result<Self> {
        Ok(Orders {
            order: AtomicU8::new(Order::Work as u8),
            waker: Arc::new(Waker::new()?),
            updated: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            state_changed,
        })
    }

    /// Sets the order. An order to end is never reverted.
    pub fn set(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::SeqCst);
        self.waker.wake();
    }

    /// The current order.
    pub fn current(&self) -> Order {
        match self.order.load(Ordering::SeqCst) {
            order if order == Order::Work as u8 => Order::Work,
            order if order == Order::Leave as u8 => Order::Leave,
            _ => Order::Stop,
        }
    }

    /// Signalled, and never cleared, once there is an order to end.
    pub fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Records that the updater has attempted its first update.
    pub fn set_updated(&self) {
        self.updated.store(true, Ordering::SeqCst);
        self.state_changed.wake();
    }

    /// Whether that was recorded.
    pub fn updated(&self) -> bool {
        self.updated.load(Ordering::SeqCst)
    }

    /// Records that the updater has ended, also by a panic.
    pub fn set_ended(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.state_changed.wake();
    }

    /// Whether that was recorded.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

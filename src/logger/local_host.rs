//! Interface names and clock of this machine.
use crate::nflog::lines::LogContext;
use crate::nflog::time::LocalTime;
use crate::system::clock;
use crate::system::netlink::LinkNames;

/// The interfaces and the clock of this machine.
#[derive(Debug)]
pub(super) struct LocalHost(pub LinkNames);

impl LogContext for LocalHost {
    fn interface(&mut self, index: u32) -> Option<&str> {
        self.0.name(index)
    }

    fn now(&self) -> i64 {
        clock::now()
    }

    fn local_time(&self, seconds: i64) -> LocalTime {
        clock::local_time(seconds)
    }
}

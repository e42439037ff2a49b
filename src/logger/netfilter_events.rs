//! Reads the events of netfilter: connections and traces.
use super::dropped::DroppedEntries;
use crate::nflog::netlink::{Message, messages};
use crate::system::netlink::{NetfilterEvents, Received};
use anyhow::Result;

/// Passes the messages in up to this many datagrams to `each` and counts those that the kernel dropped; false if there may be
/// more.
///
/// # Errors
/// When reading from the socket fails.
pub(super) fn read_events(
    events: &mut NetfilterEvents,
    datagrams: usize,
    dropped: &mut DroppedEntries,
    mut each: impl FnMut(Message<'_>),
) -> Result<bool> {
    for _ in 0..datagrams {
        match events.receive()? {
            Received::Datagram(datagram) => messages(datagram).for_each(&mut each),
            Received::Overflow => dropped.add(u64::from(events.take_drops()?)),
            Received::Nothing => {
                // the kernel reports no further overflow until the queue is empty
                dropped.add(u64::from(events.take_drops()?));
                return Ok(true);
            }
        }
    }
    Ok(false)
}

//! Receives frames of guests whose IP packets bypass iptables, on the node's interfaces.
use crate::health::EncapsulatedFrame;
use crate::model::Direction;
use crate::model::guest::{GuestDevice, INNER_LINK};
use crate::system::encapsulated_frames::Frames;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long frames are received in each interval, in seconds: an open packet socket slows down every packet of the node by some
/// percent.
const WINDOW: u64 = 10;

/// The minimum time for which a frame is reported after it was received, in seconds.
const REPORT_TIME: u64 = 300;

/// The frames that were received recently.
#[derive(Debug)]
pub struct EncapsulatedFrames {
    /// The time from one start of receiving to the next, in seconds.
    interval: u64,
    socket: Option<Frames>,
    /// When each was last received.
    seen: BTreeMap<EncapsulatedFrame, u64>,
    /// When receiving frames of all interfaces last started.
    resumed: u64,
}

impl EncapsulatedFrames {
    /// No frames yet. Frames are received for some seconds in each `interval`.
    pub fn new(interval: Duration) -> Self {
        EncapsulatedFrames { interval: interval.as_secs(), socket: None, seen: BTreeMap::new(), resumed: 0 }
    }

    /// The frames of these devices until `now`, in seconds since 1970. Without any devices nothing is received.
    pub fn current(&mut self, devices: &[GuestDevice], now: u64) -> Vec<EncapsulatedFrame> {
        self.receive(devices, now);
        let lasting = (2 * self.interval).max(REPORT_TIME);
        self.seen.retain(|_, last| now.saturating_sub(*last) < lasting);
        self.seen.keys().copied().collect()
    }

    fn receive(&mut self, devices: &[GuestDevice], now: u64) {
        let socket = self.socket.take().filter(|_| !devices.is_empty());
        let due = now.saturating_sub(self.resumed) >= self.interval;
        let Some(mut socket) = socket else {
            if due && !devices.is_empty() {
                // without CAP_NET_RAW such frames are not received
                self.socket = Frames::open().ok();
                self.resumed = now;
            }
            return;
        };
        let device = |name: &str| device_of(name, devices);
        let taken = socket.take(|name| device(name).is_some());
        let resumed = if due { socket.resume() } else { Ok(()) };
        // a failed socket is opened again later
        let Ok(frames) = taken else { return };
        if due {
            self.resumed = now;
        }
        self.socket = resumed.ok().filter(|()| now.saturating_sub(self.resumed) < WINDOW).map(|()| socket);
        for (name, encapsulation) in frames {
            if let Some((device, direction)) = device(&name) {
                self.seen.insert(EncapsulatedFrame { device, direction, encapsulation }, now);
            }
        }
    }
}

/// The device that an interface belongs to, and the direction of frames that the node receives on it.
fn device_of(interface: &str, devices: &[GuestDevice]) -> Option<(GuestDevice, Direction)> {
    if interface.starts_with(INNER_LINK) {
        let device = devices.iter().find(|device| device.inner_link() == interface)?;
        return Some((*device, Direction::In));
    }
    let device = GuestDevice::parse(interface).filter(|device| devices.contains(device))?;
    Some((device, Direction::Out))
}

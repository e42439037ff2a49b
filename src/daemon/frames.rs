//! Frames of guests that carry IP packets past iptables, as they are seen on the node's interfaces.
use crate::health::Carried;
use crate::model::guest::{GuestDevice, INNER_LINK};
use crate::model::{Direction, Encapsulation};
use crate::system::frames::{Carrier, Frames};
use std::collections::BTreeMap;

/// For how long a frame counts after it was seen, in seconds.
const LASTING: u64 = 300;
/// How often interfaces are looked at again that had such frames, in seconds.
const AGAIN: u64 = 60;

/// The frames that were seen lately.
#[derive(Debug, Default)]
pub struct CarriedFrames {
    socket: Option<Frames>,
    /// When each was seen last.
    seen: BTreeMap<Carried, u64>,
    /// When all interfaces were looked at last.
    resumed: u64,
}

impl CarriedFrames {
    /// The frames of these devices until `now`, in seconds since 1970. Without any devices nothing is received.
    pub fn current(&mut self, devices: &[GuestDevice], now: u64) -> Vec<Carried> {
        self.look(devices, now);
        self.seen.retain(|_, last| now.saturating_sub(*last) < LASTING);
        self.seen.keys().copied().collect()
    }

    fn look(&mut self, devices: &[GuestDevice], now: u64) {
        let socket = self.socket.take().filter(|_| !devices.is_empty());
        let due = now.saturating_sub(self.resumed) >= AGAIN;
        let socket = match socket {
            // without CAP_NET_RAW such frames are not seen
            None if devices.is_empty() || !due => None,
            None => Frames::open().ok(),
            Some(socket) => Some(socket),
        };
        if due {
            self.resumed = now;
        }
        let Some(mut socket) = socket else { return };
        let device = |name: &str| device_of(name, devices);
        let taken = socket.take(|name| device(name).is_some());
        let resumed = if due { socket.resume() } else { Ok(()) };
        // a failed socket is opened again later
        let Ok(frames) = taken else { return };
        self.socket = resumed.ok().map(|()| socket);
        for (name, carrier) in frames {
            if let Some((device, direction)) = device(&name) {
                let encapsulation = match carrier {
                    Carrier::Vlan => Encapsulation::Vlan,
                    Carrier::ServiceVlan => Encapsulation::ServiceVlan,
                    Carrier::Pppoe => Encapsulation::Pppoe,
                    Carrier::Snap => Encapsulation::Llc,
                };
                self.seen.insert(Carried { device, direction, encapsulation }, now);
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

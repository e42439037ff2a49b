//! The guests of traced packets.
use std::collections::VecDeque;

/// Number of packets whose guest is remembered.
const PACKETS: usize = 256;

/// The guest of each of the last packets, by the id of its trace. Only the first step in a base chain names the devices.
#[derive(Debug, Default)]
pub struct TraceGuests(VecDeque<(u32, u32)>);

impl TraceGuests {
    /// The VMID of the guest of the packet with this id, or 0 for the node. `named` is the VMID that the devices of this step
    /// name; without one it is that of an earlier step.
    pub fn vmid(&mut self, id: u32, named: Option<u32>) -> u32 {
        let known = self.0.iter_mut().rfind(|(packet, _)| *packet == id).map(|(_, vmid)| vmid);
        match (named, known) {
            (Some(vmid), Some(known)) => *known = vmid,
            (Some(vmid), None) => {
                if self.0.len() == PACKETS {
                    self.0.pop_front();
                }
                self.0.push_back((id, vmid));
            }
            (None, known) => return known.map_or(0, |vmid| *vmid),
        }
        named.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_named_guest_is_remembered() {
        let mut guests = TraceGuests::default();
        for (id, named, vmid) in
            [(1, None, 0), (1, Some(100), 100), (2, None, 0), (1, None, 100), (1, Some(200), 200), (1, None, 200)]
        {
            assert_eq!(guests.vmid(id, named), vmid);
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut guests = TraceGuests::default();
        for id in 0..10_000 {
            guests.vmid(id, Some(100));
        }
        assert_eq!(guests.0.len(), PACKETS);
        assert_eq!((guests.vmid(9_999, None), guests.vmid(0, None)), (100, 0));
    }
}

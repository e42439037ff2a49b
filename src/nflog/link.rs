//! Network interfaces as rtnetlink(7) announces them.
use super::netlink::{Message, attributes, until_zero};
use super::text::printable;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const IFLA_IFNAME: u16 = 3;
/// Bytes of `struct ifinfomsg`.
const INFO: usize = 16;
const AF_UNSPEC: u8 = 0;

/// What a message says about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// It exists under this name; control characters in the name are already shown as `\xNN`.
    Named(u32, String),
    /// It is gone.
    Gone(u32),
}

/// Reads a link message; `None` for any other.
///
/// A bridge announces the leaving of a port as `RTM_DELLINK` too, with a family: the interface itself stays.
#[must_use]
pub fn link_event(message: Message<'_>) -> Option<LinkEvent> {
    let info = message.body().first_chunk::<INFO>()?;
    if info[0] != AF_UNSPEC {
        return None;
    }
    let index = u32::from_ne_bytes([info[4], info[5], info[6], info[7]]);
    match message.kind {
        RTM_NEWLINK => {
            let (_, name) = attributes(&message.body()[INFO..]).find(|(kind, _)| *kind == IFLA_IFNAME)?;
            Some(LinkEvent::Named(index, printable(until_zero(name)).into_owned()))
        }
        RTM_DELLINK => Some(LinkEvent::Gone(index)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::netlink::{Request, messages};
    use super::*;

    fn event(kind: u16, family: u8, name: &[u8]) -> Option<LinkEvent> {
        let info = [family, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let bytes = Request::new(kind, 0, 0, &info).with(IFLA_IFNAME, name).bytes();
        messages(&bytes).next().and_then(link_event)
    }

    #[test]
    fn names_come_and_go_but_a_port_that_leaves_its_bridge_stays() {
        let index = u32::from_ne_bytes([7, 0, 0, 0]);
        assert_eq!(event(RTM_NEWLINK, 0, b"tap100i0\0"), Some(LinkEvent::Named(index, "tap100i0".into())));
        assert_eq!(event(RTM_NEWLINK, 0, b"a\x1bb\0"), Some(LinkEvent::Named(index, "a\\x1bb".into())));
        assert_eq!(event(RTM_DELLINK, 0, b"tap100i0\0"), Some(LinkEvent::Gone(index)));
        assert_eq!(event(RTM_DELLINK, 7, b"tap100i0\0"), None);
    }
}

//! Network interface messages of rtnetlink(7).
use crate::nflog::netlink::{self, Message, attributes, until_zero};
use crate::nflog::text::printable;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
/// Bytes of `struct ifinfomsg`.
const INFO: usize = 16;
const AF_UNSPEC: u8 = 0;

/// A change to a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The interface with this index has this name; control characters in the name are already escaped as `\xNN`.
    Named(u32, String),
    /// The interface with this index was removed.
    Removed(u32),
}

/// Decodes a link message; `None` for any other.
///
/// When a port leaves a bridge, the kernel also sends `RTM_DELLINK`, with a family: the interface itself still exists.
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
        RTM_DELLINK => Some(LinkEvent::Removed(index)),
        _ => None,
    }
}

/// The name of an interface and its alternative names; `None` unless the message is `RTM_NEWLINK`.
#[must_use]
pub fn link_altnames(message: Message<'_>) -> Option<(String, Vec<String>)> {
    let text = |name| printable(until_zero(name)).into_owned();
    let attributes = || attributes(message.body().get(INFO..).unwrap_or_default());
    let (_, name) = attributes().find(|(kind, _)| message.kind == RTM_NEWLINK && *kind == IFLA_IFNAME)?;
    let lists = attributes().filter(|(kind, _)| *kind == IFLA_PROP_LIST);
    let props = lists.flat_map(|(_, list)| netlink::attributes(list));
    let altnames = props.filter(|(kind, _)| *kind == IFLA_ALT_IFNAME).map(|(_, name)| text(name)).collect();
    Some((text(name), altnames))
}

/// The index and the name of an interface, and the index of the bridge or other interface that it is a port of; `None` unless
/// the message is `RTM_NEWLINK`.
#[must_use]
pub fn link_master(message: Message<'_>) -> Option<(u32, String, Option<u32>)> {
    let LinkEvent::Named(index, name) = link_event(message)? else { return None };
    let master = attributes(&message.body()[INFO..]).find(|(kind, _)| *kind == IFLA_MASTER);
    let master = master.and_then(|(_, master)| master.try_into().ok()).map(u32::from_ne_bytes);
    Some((index, name, master))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nflog::netlink::{Request, messages};

    fn event(kind: u16, family: u8, name: &[u8]) -> Option<LinkEvent> {
        let info = [family, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let bytes = Request::new(kind, 0, 0, &info).with(IFLA_IFNAME, name).bytes();
        messages(&bytes).next().and_then(link_event)
    }

    #[test]
    fn link_events_are_decoded_and_a_port_leaving_its_bridge_is_ignored() {
        let index = u32::from_ne_bytes([7, 0, 0, 0]);
        assert_eq!(event(RTM_NEWLINK, 0, b"tap100i0\0"), Some(LinkEvent::Named(index, "tap100i0".into())));
        assert_eq!(event(RTM_NEWLINK, 0, b"a\x1bb\0"), Some(LinkEvent::Named(index, "a\\x1bb".into())));
        assert_eq!(event(RTM_DELLINK, 0, b"tap100i0\0"), Some(LinkEvent::Removed(index)));
        assert_eq!(event(RTM_DELLINK, 7, b"tap100i0\0"), None);
    }

    #[test]
    fn the_bridge_of_a_port_is_decoded() {
        let info = [0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let request = Request::new(RTM_NEWLINK, 0, 0, &info).with(IFLA_IFNAME, b"tap100i0\0");
        let bytes = request.with(IFLA_MASTER, &3_u32.to_ne_bytes()).bytes();
        let index = u32::from_ne_bytes([7, 0, 0, 0]);
        assert_eq!(messages(&bytes).next().and_then(link_master), Some((index, "tap100i0".into(), Some(3))));
    }

    #[test]
    fn alternative_names_are_decoded_from_the_property_list() {
        let prop = |name: &[u8]| {
            let length = u16::try_from(4 + name.len()).unwrap();
            let mut bytes = [length.to_ne_bytes(), IFLA_ALT_IFNAME.to_ne_bytes()].concat();
            bytes.extend(name);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let list = [prop(b"lan\0"), prop(b"uplink0\0")].concat();
        let request = Request::new(RTM_NEWLINK, 0, 0, &[0; INFO]).with(IFLA_IFNAME, b"eth0\0");
        let bytes = request.with(IFLA_PROP_LIST | 0x8000, &list).bytes();
        let names = messages(&bytes).next().and_then(link_altnames);
        assert_eq!(names, Some(("eth0".to_string(), vec!["lan".to_string(), "uplink0".to_string()])));
        assert_eq!(messages(&Request::new(RTM_DELLINK, 0, 0, &[]).bytes()).next().and_then(link_altnames), None);
    }
}

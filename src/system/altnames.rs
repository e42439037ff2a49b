//! The alternative names of network interfaces, by rtnetlink(7).
use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage, Prop};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::collections::BTreeMap;

/// The alternative names of all interfaces (`IFLA_ALT_IFNAME`), each with the name that it stands for.
///
/// # Errors
/// When the kernel does not answer as rtnetlink(7) says.
pub fn list() -> Result<BTreeMap<String, String>> {
    let mut names = BTreeMap::new();
    for attributes in dump().context("cannot list the network interfaces")? {
        let name = attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        let Some(name) = name else { continue };
        for attribute in attributes {
            let LinkAttribute::PropList(props) = attribute else { continue };
            for prop in props {
                if let Prop::AltIfName(altname) = prop {
                    names.insert(altname, name.clone());
                }
            }
        }
    }
    Ok(names)
}

/// `RTM_GETLINK` for all interfaces: the attributes of each.
fn dump() -> Result<Vec<Vec<LinkAttribute>>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    let kernel = SocketAddr::new(0, 0);
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut request = NetlinkMessage::new(header, RouteNetlinkMessage::GetLink(link).into());
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &kernel, 0)?;
    let mut links = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).context("not understood")?;
            let length = (message.header.length as usize).next_multiple_of(4).clamp(1, rest.len());
            rest = &rest[length..];
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(links),
                NetlinkPayload::Error(error) => bail!("refused: {error}"),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => links.push(link.attributes),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_answers() {
        // which names there are depends on the machine; `tests/daemon.rs` gives an interface one
        super::list().unwrap();
    }
}

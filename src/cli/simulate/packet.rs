//! The packet described by the options.
use super::endpoints::Located;
use crate::builtin::icmp;
use crate::cli::args::SimulateOptions;
use crate::inputs::Facts;
use crate::node::name_databases::Databases;

use crate::lint;
use crate::model::{Family, IcmpType};
use crate::simulate::{Layer, Packet};
use anyhow::{Context as _, Result, bail};
use std::net::IpAddr;

/// The protocols that have ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// The packet, with its addresses if known.
///
/// # Errors
/// When the options contradict each other, or a name does not exist.
pub(super) fn of_options(options: &SimulateOptions, from: &Located, to: &Located, facts: &Facts) -> Result<Packet> {
    let (source, dest) = (options.source, options.dest);
    if let (Some(source), Some(dest)) = (source, dest)
        && source.is_ipv4() != dest.is_ipv4()
    {
        bail!("--source {source} and --dest {dest} are of different families");
    }
    let family = source.or(dest).map(Family::of);
    let mut packet = of_protocol(options, family, facts)?;
    let own = match packet.layer {
        Layer::Ip(family) => family,
        Layer::Arp | Layer::Other(_) => Family::V4,
    };
    if let Some(address) = source.or(dest).filter(|address| Family::of(*address) != own) {
        bail!("{address} cannot be used with the protocol '{}'", protocol_name(options, &packet));
    }
    let known = |located: &Located| located.addresses.iter().copied().find(|address| Family::of(*address) == own);
    packet.source = source.or_else(|| known(from));
    packet.dest = dest.or_else(|| known(to));
    if (options.sport.is_some() || options.dport.is_some()) && !WITH_PORTS.contains(&packet.protocol) {
        bail!("the protocol '{}' has no ports: omit --sport and --dport", protocol_name(options, &packet));
    }
    (packet.sport, packet.dport) = (options.sport, options.dport);
    packet.icmp = options.icmp_type.as_deref().map(|text| message(text, &packet)).transpose()?;
    Ok(packet.first_of_its_connection())
}

/// The name of the protocol: as given, or the default.
pub(super) fn protocol_name(options: &SimulateOptions, packet: &Packet) -> String {
    let taken = match (packet.layer, packet.protocol) {
        (Layer::Ip(_), Packet::ICMP) => "icmp",
        (Layer::Ip(_), Packet::ICMPV6) => "icmpv6",
        _ => "tcp",
    };
    options.protocol.clone().unwrap_or_else(|| taken.to_string())
}

/// A packet of the protocol, without addresses and ports.
fn of_protocol(options: &SimulateOptions, family: Option<Family>, facts: &Facts) -> Result<Packet> {
    let number = match options.protocol.as_deref() {
        Some("arp") => return Ok(Packet::arp()),
        Some(name) => {
            let databases = Databases::parse(&facts.protocols, "", "");
            let near = || did_you_mean(name, databases.protocols());
            databases
                .protocol(name)
                .with_context(|| format!("there is no protocol '{name}' in /etc/protocols{}", near()))?
        }
        None if options.icmp_type.is_some() && family == Some(Family::V6) => Packet::ICMPV6,
        None if options.icmp_type.is_some() => Packet::ICMP,
        None => Packet::TCP,
    };
    let only = match number {
        Packet::ICMP => Some(Family::V4),
        Packet::ICMPV6 => Some(Family::V6),
        _ => None,
    };
    Ok(Packet::new(only.or(family).unwrap_or(Family::V4), number))
}

/// The type and code of an ICMP message.
fn message(text: &str, packet: &Packet) -> Result<(u8, u8)> {
    let table = match packet.protocol {
        Packet::ICMP => icmp::V4,
        Packet::ICMPV6 => icmp::V6,
        _ => bail!("--icmp-type requires the protocol icmp or icmpv6"),
    };
    let number = |text: &str| text.parse::<u8>().ok();
    let named = icmp::find(table, text).map(|(kind, code)| IcmpType { kind, code });
    let (kind, code) = match (named, text.split_once('/')) {
        (Some(IcmpType { kind, code }), _) => (kind, code.or(Some(0))),
        (None, Some((kind, code))) => (number(kind), number(code)),
        (None, None) => (number(text), Some(0)),
    };
    let near = || did_you_mean(text, table.iter().map(|row| row.0));
    kind.zip(code)
        .with_context(|| format!("'{text}' is not an ICMP type{}; give a name, a number, or TYPE/CODE", near()))
}

fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    lint::nearest(word, known).map_or_else(String::new, |near| format!(": did you mean '{near}'?"))
}

/// The fields that are not given: rules with a match on them do not match.
pub(super) fn missing_fields(packet: &Packet) -> Vec<&'static str> {
    let address = |address: Option<IpAddr>, name| address.is_none().then_some(name);
    let ports = WITH_PORTS.contains(&packet.protocol) && packet.layer != Layer::Arp;
    let port = |port: Option<u16>, name| (ports && port.is_none()).then_some(name);
    let icmp = matches!(packet.protocol, Packet::ICMP | Packet::ICMPV6) && packet.icmp.is_none();
    let missing = [
        address(packet.source, "source"),
        address(packet.dest, "dest"),
        port(packet.sport, "sport"),
        port(packet.dport, "dport"),
        icmp.then_some("icmp-type"),
    ];
    missing.into_iter().flatten().collect()
}

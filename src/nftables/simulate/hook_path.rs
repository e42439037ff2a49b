//! The hooks on the path of a packet between two endpoints.
use crate::nftables::names::TableName;
use crate::simulate::{End, Layer};
use std::fmt;

/// A hook of a table, with the interfaces that rules match there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The table.
    pub table: TableName,
    /// `prerouting`, `input`, `forward`, `output` or `postrouting`.
    pub hook: &'static str,
    /// The input interface.
    pub input: Option<String>,
    /// The output interface.
    pub output: Option<String>,
    /// The bridge that forwards it.
    pub bridge: Option<String>,
    /// Whether the node receives, sends or routes it, so that no bridge forwards it.
    pub by_node: bool,
}

impl At {
    fn new(table: TableName, hook: &'static str, input: Option<&str>, output: Option<&str>) -> Self {
        let text = |name: Option<&str>| name.map(ToString::to_string);
        At { table, hook, input: text(input), output: text(output), bridge: None, by_node: true }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table.family(), self.hook)?;
        if let Some(input) = &self.input {
            write!(f, ", in by {input}")?;
        }
        if let Some(output) = &self.output {
            write!(f, ", out by {output}")?;
        }
        Ok(())
    }
}

/// The hooks between two endpoints; none if the packet does not enter the node.
#[must_use]
pub fn hooks(from: &End, to: &End, layer: Layer) -> Vec<At> {
    let mut hooks = Vec::new();
    if from == to && *from != End::Host {
        return hooks;
    }
    let (source, target) = (attached(from), attached(to));
    let source = source.as_ref().map(|(bridge, port)| (bridge.as_str(), port.as_str()));
    let target = target.as_ref().map(|(bridge, port)| (bridge.as_str(), port.as_str()));
    let guests = |hook, input, output| At::new(TableName::Guests, hook, input, output);
    let host = |hook, input, output| At::new(TableName::Host, hook, input, output);
    if let Some((_, port)) = source {
        hooks.push(guests("prerouting", Some(port), None));
    }
    // the host's table has the family inet: IP only
    let is_ip = matches!(layer, Layer::Ip(_));
    match (source, target) {
        (None, None) => hooks.extend([host("output", None, Some("lo")), host("input", Some("lo"), None)]),
        (Some((bridge, _)), None) => hooks.push(host("input", Some(bridge), None)),
        (None, Some((bridge, _))) => hooks.push(host("output", None, Some(bridge))),
        (Some((one, input)), Some((other, output))) if one == other => {
            hooks.push(At { bridge: Some(one.to_string()), ..guests("forward", Some(input), Some(output)) });
        }
        (Some((input, _)), Some((output, _))) => hooks.push(host("forward", Some(input), Some(output))),
    }
    if let Some((_, port)) = target {
        hooks.push(guests("postrouting", None, Some(port)));
    }
    hooks.retain(|at| is_ip || at.table == TableName::Guests);
    if hooks.iter().any(|at| at.bridge.is_some()) {
        hooks.iter_mut().for_each(|at| at.by_node = false);
    }
    hooks
}

/// The bridge and the port of an endpoint; `None` for the node itself. The port of a guest is its device, as in the maps.
fn attached(end: &End) -> Option<(String, String)> {
    match end {
        End::Host => None,
        End::Port { bridge, port } => Some((bridge.clone(), port.clone())),
        End::Guest(guest) => Some((guest.bridge.clone(), guest.device.to_string())),
    }
}

//! The inputs of compiling: file contents and facts about the node. Modules with I/O collect them for the core.
use crate::model::DaemonOptions;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

/// The content of a file, any bytes. It is reference-counted: copying it and comparing it with a copy are cheap. Most contents
/// of a tree that is read again are copies.
#[derive(Clone, Debug, Default, Eq, Serialize, Deserialize)]
pub struct Content(#[serde(with = "bytes")] Arc<[u8]>);

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        Content(bytes.into())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Content(bytes.into())
    }
}

/// Serialises all bytes at once instead of one by one.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::Bytes;
    use std::sync::Arc;

    pub fn serialize<S: Serializer>(content: &Arc<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(content)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
        <&'de Bytes>::deserialize(from).map(|bytes| Arc::from(&**bytes))
    }
}

/// A file of the configuration tree. A file known to be absent or empty is not in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum File {
    /// Its content.
    Content(Content),
    /// The file exists, or existed, but cannot be read, with the reason. Whatever depends on it keeps its live rules.
    Unreadable(Arc<str>),
}

/// The configuration tree (`/etc/pve`), as one read returned it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The directory that was read, without a trailing slash; reports use it in file names.
    pub root: String,
    /// The relevant files by their path below the root, such as `firewall/100.fw`:
    /// `.vmlist`, `.members`, `corosync.conf`, `firewall/*.fw`, `sdn/firewall/*.fw`, `sdn/.running-config`,
    /// `sdn/pve-ipam-state.json`, `priv/ipam.db`, `nodes/NODE/host.fw`,
    /// `nodes/NODE/qemu-server/*.conf` and `nodes/NODE/lxc/*.conf` of the own node.
    pub files: BTreeMap<Arc<str>, File>,
}

impl Tree {
    /// The content of a file; `None` if it is absent or unreadable.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        match self.files.get(path)? {
            File::Content(content) => Some(content),
            File::Unreadable(_) => None,
        }
    }

    /// The files below a directory, by path.
    pub fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a Arc<str>, &'a File)> {
        self.files.range(Arc::from(directory)..).take_while(move |(path, _)| path.starts_with(directory))
    }

    /// The name of a file for reports: the path that was read.
    #[must_use]
    pub fn label(&self, path: &str) -> Arc<str> {
        label(&self.root, path)
    }
}

/// The name for reports of a file below this root.
#[must_use]
pub fn label(root: &str, path: &str) -> Arc<str> {
    [root, "/", path].concat().into()
}

/// An address of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The name of its interface.
    pub interface: String,
    /// The address with the length of its prefix.
    pub net: IpNet,
}

/// The network interfaces of a machine, for checking the names in rules; none if they are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// Each interface with the bridge, bond or VRF that it is a port of, if any.
    pub masters: BTreeMap<String, Option<String>>,
    /// Whether the machine's host name differs from the node's name.
    pub host_name_differs: bool,
}

impl Interfaces {
    /// Whether there is an interface with this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.masters.contains_key(name)
    }

    /// The bridge, bond or VRF that an interface is a port of.
    #[must_use]
    pub fn master(&self, name: &str) -> Option<&str> {
        self.masters.get(name)?.as_deref()
    }

    /// The names of all interfaces.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.masters.keys().map(String::as_str)
    }
}

/// Facts about the node that are not in the configuration tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The node's name: the host name up to the first dot, or the argument of `--node`.
    pub node: String,
    /// The current time in seconds since 1970 (UTC): `enable: N` may be a time.
    pub now: u64,
    /// The content of `/proc/net/route`.
    pub routes_v4: String,
    /// The content of `/proc/net/ipv6_route`.
    pub routes_v6: String,
    /// The addresses of the node's interfaces.
    pub addresses: Vec<InterfaceAddress>,
    /// The content of `/etc/services`.
    pub services: String,
    /// The content of `/etc/protocols`.
    pub protocols: String,
    /// The content of `/etc/ethertypes`.
    pub ethertypes: String,
    /// Alternative interface names (`ip link property add … altname`), each with the name of the interface.
    pub altnames: BTreeMap<String, String>,
    /// Host names of the tree ([`crate::node::names_to_resolve`]) with their addresses, in the
    /// resolver's order. A name without addresses is absent.
    pub resolved: BTreeMap<String, Vec<IpAddr>>,
    /// The options of the daemon.
    pub options: DaemonOptions,
    /// Devices with live rules of guests with an unreadable file (`tap100i0`): their live chains are kept.
    pub live_devices: Vec<String>,
}

impl Facts {
    /// Whether all facts except the time are equal.
    #[must_use]
    pub fn equal_except_time(&self, other: &Self) -> bool {
        let Facts { node, now: _, routes_v4, routes_v6, services, protocols, ethertypes, .. } = self;
        let Facts { addresses, altnames, resolved, options, live_devices, .. } = self;
        (node, routes_v4, routes_v6, services, protocols, ethertypes)
            == (&other.node, &other.routes_v4, &other.routes_v6, &other.services, &other.protocols, &other.ethertypes)
            && (addresses, altnames, resolved, options, live_devices)
                == (&other.addresses, &other.altnames, &other.resolved, &other.options, &other.live_devices)
    }
}

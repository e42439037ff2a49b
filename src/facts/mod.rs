//! Collects facts about the node: names, routes, and the databases in /etc.
#![allow(clippy::disallowed_methods, reason = "I/O is done in this module")]

mod hostname_resolver;

use crate::inputs::{Facts, InterfaceAddress, Tree};
use crate::model::DaemonOptions;
use crate::node::names_to_resolve;
use crate::paths;
use crate::system::netlink::{Altnames, interface_addresses};
use crate::system::root_directory::Root;
use hostname_resolver::Resolver;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The timeout of the resolver. Later answers are used by the next call.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);
/// The databases in `/etc` that compiling needs.
const TABLES: [&str; 3] = [paths::SERVICES, paths::PROTOCOLS, paths::ETHERTYPES];

/// Collects [`Facts`] for one node.
#[derive(Debug)]
pub struct FactsSource {
    root: Root,
    node: String,
    resolver: Resolver,
    /// The last good content of [`TABLES`].
    tables: [String; 3],
    interfaces: Option<Altnames>,
    options: DaemonOptions,
    /// The last good list of altnames.
    altnames: BTreeMap<String, String>,
    /// The last good list of addresses.
    addresses: Vec<InterfaceAddress>,
}

impl FactsSource {
    /// A collector for the node with this name.
    #[must_use]
    pub fn new(root: Root, node: String) -> Self {
        let (resolver, tables, altnames, addresses, options) = Default::default();
        FactsSource { root, node, resolver, tables, interfaces: None, altnames, addresses, options }
    }

    /// Sets the options of the daemon.
    #[must_use]
    pub fn with_options(self, options: DaemonOptions) -> Self {
        FactsSource { options, ..self }
    }

    /// All current facts, except [`Facts::live_devices`], which come from the live rules.
    pub fn collect(&mut self, tree: &Tree) -> Facts {
        for (path, known) in TABLES.iter().zip(&mut self.tables) {
            if let Some(text) = text(&table(&self.root, path)) {
                *known = text;
            }
        }
        self.update_altnames();
        if let Ok(addresses) = addresses() {
            self.addresses = addresses;
        }
        let [services, protocols, ethertypes] = self.tables.clone();
        Facts {
            node: self.node.clone(),
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            routes_v4: text(Path::new("/proc/net/route")).unwrap_or_default(),
            routes_v6: text(Path::new("/proc/net/ipv6_route")).unwrap_or_default(),
            addresses: self.addresses.clone(),
            services,
            protocols,
            ethertypes,
            altnames: self.altnames.clone(),
            resolved: self.resolver.resolve(&names_to_resolve(tree, &self.node), RESOLVE_TIMEOUT),
            options: self.options.clone(),
            live_devices: Vec::new(),
        }
    }

    fn update_altnames(&mut self) {
        // a failed socket is reopened by the next call
        let Ok(mut interfaces) = self.interfaces.take().map_or_else(Altnames::open, Ok) else { return };
        if let Ok(altnames) = interfaces.current() {
            self.altnames.clone_from(altnames);
            self.interfaces = Some(interfaces);
        }
    }
}

/// The addresses of the node.
fn addresses() -> anyhow::Result<Vec<InterfaceAddress>> {
    let all = interface_addresses()?;
    let known =
        |(interface, address, length)| Some(InterfaceAddress { interface, net: IpNet::new(address, length).ok()? });
    Ok(all.into_iter().filter_map(known).collect())
}

/// Reads a database below the root, or the system's if there is none.
fn table(root: &Root, path: &str) -> PathBuf {
    let own = root.path(path);
    if own.exists() { own } else { path.into() }
}

/// The text of a file; bytes that are not UTF-8 can only be in comments, and are replaced.
fn text(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}

/// The node's name: the host name up to the first dot.
///
/// # Errors
/// When the host name cannot be read, is empty or not UTF-8.
pub fn node_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname()?.into_string().ok();
    let node = name.as_deref().and_then(|name| name.split('.').next()).filter(|node| !node.is_empty());
    node.map(str::to_string).ok_or_else(|| anyhow::anyhow!("this host has no name; set one with '--node NAME'"))
}

//! What the node itself tells: names, routes, the system's tables.
use super::resolver::Resolver;
use crate::inputs::{Facts, Tree};
use crate::node::names_to_resolve;
use crate::paths;
use crate::system::netlink::Altnames;
use crate::system::root::Root;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the resolver may take. Later answers are used the next time.
const RESOLVING: Duration = Duration::from_secs(3);
/// The tables of `/etc` that compiling needs.
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
    /// The last good answer about altnames.
    altnames: BTreeMap<String, String>,
}

impl FactsSource {
    /// For the node of this name.
    #[must_use]
    pub fn new(root: Root, node: String) -> Self {
        let (resolver, tables, altnames) = Default::default();
        FactsSource { root, node, resolver, tables, interfaces: None, altnames }
    }

    /// All facts as they are now, but for [`Facts::live_devices`], which only the kernel knows.
    pub fn collect(&mut self, tree: &Tree) -> Facts {
        for (path, known) in TABLES.iter().zip(&mut self.tables) {
            if let Some(text) = text(&table(&self.root, path)) {
                *known = text;
            }
        }
        self.ask_for_altnames();
        let [services, protocols, ethertypes] = self.tables.clone();
        Facts {
            node: self.node.clone(),
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            routes_v4: text(Path::new("/proc/net/route")).unwrap_or_default(),
            routes_v6: text(Path::new("/proc/net/ipv6_route")).unwrap_or_default(),
            services,
            protocols,
            ethertypes,
            altnames: self.altnames.clone(),
            resolved: self.resolver.resolve(&names_to_resolve(tree, &self.node), RESOLVING),
            live_devices: Vec::new(),
        }
    }

    fn ask_for_altnames(&mut self) {
        // a socket that fails is opened anew the next time
        let Ok(mut interfaces) = self.interfaces.take().map_or_else(Altnames::open, Ok) else { return };
        if let Ok(altnames) = interfaces.current() {
            self.altnames.clone_from(altnames);
            self.interfaces = Some(interfaces);
        }
    }
}

/// A root that has no such table of its own uses the system's: a port's name means the same everywhere.
fn table(root: &Root, path: &str) -> PathBuf {
    let own = root.path(path);
    if own.exists() { own } else { path.into() }
}

/// A file's text; bytes that are no UTF-8 can only be in comments, and are replaced.
fn text(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}

/// The node's name: the host name up to the first dot.
///
/// # Errors
/// When the host name cannot be asked for, is empty or no UTF-8.
pub fn node_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname()?.into_string().ok();
    let node = name.as_deref().and_then(|name| name.split('.').next()).filter(|node| !node.is_empty());
    node.map(str::to_string).ok_or_else(|| anyhow::anyhow!("this host has no name; give one with '--node NAME'"))
}

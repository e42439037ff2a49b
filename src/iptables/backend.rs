//! This backend as the daemon and the commands use it: what compiles, and what makes the rules live.
use super::apply::{Firewall, Outcome, VariantChoice};
use super::compile::{Compiled, Compiler};
use super::names;
use super::plan::{Live, Part, TableName};
use crate::inputs::{Facts, File, Tree};
use crate::model::Family;
use crate::model::guest::parse_vmid;
use crate::paths::TreeFile;
use crate::system::root::Root;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The iptables backend of one process. Keep one for the process's life: it remembers what it has compiled, which variants
/// of the tools are in use, what is live, and which rules the kernel refused.
pub struct Iptables {
    compiler: Compiler,
    firewall: Firewall,
}

impl Iptables {
    /// Nothing is run yet. State files lie under `root`; compiling uses so many threads.
    #[must_use]
    pub fn new(root: &Root, variant: VariantChoice, threads: usize) -> Self {
        Iptables { compiler: Compiler::new(threads), firewall: Firewall::new(root, variant) }
    }

    /// Changes how often everything is read though nothing seems to have changed; by default every five minutes.
    pub fn set_full_reading(&mut self, interval: Duration) {
        self.firewall.set_full_reading(interval);
    }

    /// Compiles a configuration. The kernel is asked only where a guest has an unreadable file: its devices with live rules
    /// keep them.
    pub fn compile(&mut self, tree: &Tree, mut facts: Facts) -> Compiled {
        facts.live_devices = live_devices(tree, || self.firewall.live());
        self.compiler.compile(tree, &facts)
    }

    /// Whether the rules of both families are live.
    pub fn is_live(&mut self) -> bool {
        let live = self.firewall.live();
        Family::ALL.iter().all(|family| live.holds(Part::Table(TableName::Filter, *family)))
    }

    /// Makes the compiled rules live, with little effort where nothing has happened since the last call.
    pub fn maintain(&mut self, compiled: &Compiled) -> Outcome {
        let mut outcome = self.firewall.maintain(&compiled.ruleset);
        outcome.faults.extend(self.firewall.lost_scripts());
        outcome
    }

    /// When [`Iptables::maintain`] has a part of a full reading to make; `None` while it has other things to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.firewall.due()
    }

    /// Removes all rules, chains and sets of ours.
    pub fn remove(&mut self) -> Outcome {
        self.firewall.remove()
    }
}

/// The devices with live rules of the guests that have an unreadable file. The kernel is asked only if there are any.
#[must_use]
pub fn live_devices(tree: &Tree, live: impl FnOnce() -> Live) -> Vec<String> {
    let unreadable = tree.files.iter().filter(|(_, file)| matches!(file, File::Unreadable(_)));
    let guests: BTreeSet<u32> = unreadable.filter_map(|(path, _)| guest_of(path)).collect();
    if guests.is_empty() {
        return Vec::new();
    }
    let live = live();
    let tables = Family::ALL.into_iter().filter_map(|family| live.filter[family].as_ref().ok());
    let devices = tables.flat_map(|table| table.chains.keys()).filter_map(|chain| names::device_of(chain.as_str()));
    let kept: BTreeSet<String> =
        devices.filter(|device| guests.contains(&device.vmid)).map(|device| device.to_string()).collect();
    kept.into_iter().collect()
}

/// The guest that a file belongs to, by its VMID.
fn guest_of(path: &str) -> Option<u32> {
    match TreeFile::parse(path)? {
        TreeFile::Guest(id) | TreeFile::GuestConfig { id, .. } => parse_vmid(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_guest() {
        assert_eq!(guest_of("firewall/100.fw"), Some(100));
        assert_eq!(guest_of("nodes/n1/lxc/7.conf"), Some(7));
        assert_eq!(guest_of("firewall/cluster.fw"), None);
        assert_eq!(guest_of("nodes/n1/host.fw"), None);
        assert_eq!(guest_of(".vmlist"), None);
    }
}

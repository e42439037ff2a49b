//! The configuration as a value: the content of all files of a tree, and facts about the node.
use super::{Cluster, Guest, Host, Sdn, Vnet};
use crate::model::guest::GuestDevice;
use crate::model::{Interface, Report};
use crate::node::name_databases::Databases;
use crate::node::{Device, ListedGuest, Network};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// The value of a file, and the reports about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    /// The value.
    pub value: T,
    /// The reports.
    pub reports: Vec<Report>,
}

impl<T> Deref for Parsed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// All inputs of a node's rules, except time and interfaces. Parts that have not changed since the previous configuration
/// are the same `Arc`.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The node's name.
    pub node: String,
    /// The name databases.
    pub databases: Arc<Databases>,
    /// The networks of the node and of corosync.
    pub network: Network,
    /// `firewall/cluster.fw`
    pub cluster: Arc<Parsed<Cluster>>,
    /// `nodes/<node>/host.fw`
    pub host: Arc<Parsed<Host>>,
    /// The IP sets of SDN.
    pub sdn: Arc<Parsed<Sdn>>,
    /// `sdn/firewall/<vnet>.fw`, by the name of the vnet.
    pub vnets: BTreeMap<String, Arc<Parsed<Vnet>>>,
    /// The guests of this node with a firewall file and a configuration, in the order of rules.
    pub guests: Vec<Arc<GuestConfig>>,
    /// The reports about the list of guests.
    pub listing_reports: Vec<Report>,
}

impl Configuration {
    /// The reports about all files, unordered.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        let own = self.network.reports.iter().chain(&self.listing_reports).chain(&self.sdn.reports);
        let files = self.cluster.reports.iter().chain(&self.host.reports);
        let vnets = self.vnets.values().flat_map(|vnet| &vnet.reports);
        own.chain(files).chain(vnets).chain(self.guests.iter().flat_map(|guest| &guest.reports))
    }

    /// The text of the alias `local_network`, and whether cluster.fw defines it.
    #[must_use]
    pub fn local_network(&self) -> (&str, bool) {
        (self.cluster.local_network.text(), self.cluster.own_local_network)
    }

    /// A device of a guest whose files can be read, with the guest's firewall file.
    #[must_use]
    pub fn device(&self, device: GuestDevice) -> Option<(&Guest, &Device)> {
        let guest = self.guests.iter().find(|guest| guest.listed.vmid == device.vmid)?;
        let GuestFiles::Read { firewall, devices } = &guest.files else { return None };
        let name = device.to_string();
        Some((firewall, devices.iter().find(|one| one.name.as_str() == name)?))
    }

    /// The guests with rules whose accepted packets an IPS inspects (`ips: 1`), each with the first and the last queue.
    #[must_use]
    pub fn inspected_guests(&self) -> BTreeMap<u32, (u16, u16)> {
        let queues = |guest: &GuestConfig| match &guest.files {
            GuestFiles::Read { firewall, .. } if firewall.options.ips => Some(firewall.options.ips_queues.range()),
            _ => None,
        };
        let filtered = self.guests.iter().filter(|guest| guest.filtered_devices() > 0);
        filtered.filter_map(|guest| Some((guest.listed.vmid, queues(guest)?))).collect()
    }
}

/// A guest of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestConfig {
    /// The guest.
    pub listed: ListedGuest,
    /// The content of its files.
    pub files: GuestFiles,
    /// The reports about them.
    pub reports: Vec<Report>,
}

impl GuestConfig {
    /// The number of its devices that have rules.
    #[must_use]
    pub fn filtered_devices(&self) -> usize {
        match &self.files {
            GuestFiles::Read { firewall, devices } if firewall.options.enable => devices.len(),
            GuestFiles::Read { .. } => 0,
            GuestFiles::Unreadable { live } => live.len(),
        }
    }
}

/// The content of a guest's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestFiles {
    /// Both files could be read.
    Read {
        /// `firewall/<VMID>.fw`
        firewall: Box<Guest>,
        /// The devices with `firewall=1`, in the order of rules.
        devices: Vec<Device>,
    },
    /// One cannot be read: these devices keep their live rules.
    Unreadable {
        /// Its devices with live rules.
        live: Vec<Interface>,
    },
}

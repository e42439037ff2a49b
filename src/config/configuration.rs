//! The configuration as a value: what all files of a tree say, and what the node itself adds.
use super::{Cluster, Guest, Host, Vnet};
use crate::builtin::databases::Databases;
use crate::model::{Interface, Report};
use crate::node::{Device, Listed, Network};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// What was read from a file, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    /// What it says.
    pub value: T,
    /// What is wrong with it.
    pub reports: Vec<Report>,
}

impl<T> Deref for Parsed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// All that the rules of a node are made from, but for time and interfaces. Parts that have not changed since the
/// configuration before are the same `Arc`.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The node's name.
    pub node: String,
    /// The name databases.
    pub databases: Arc<Databases>,
    /// The node's network, and corosync's.
    pub network: Network,
    /// `firewall/cluster.fw`
    pub cluster: Arc<Parsed<Cluster>>,
    /// `nodes/<node>/host.fw`
    pub host: Arc<Parsed<Host>>,
    /// `sdn/firewall/<vnet>.fw`, by the name of the vnet.
    pub vnets: BTreeMap<String, Arc<Parsed<Vnet>>>,
    /// The guests of this node that have a firewall file and a configuration, in the order of rules.
    pub guests: Vec<Arc<GuestConfig>>,
    /// What is wrong with the list of guests.
    pub listing_reports: Vec<Report>,
}

impl Configuration {
    /// What is wrong with all files, in no order.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        let own = self.network.reports.iter().chain(&self.listing_reports);
        let files = self.cluster.reports.iter().chain(&self.host.reports);
        let vnets = self.vnets.values().flat_map(|vnet| &vnet.reports);
        own.chain(files).chain(vnets).chain(self.guests.iter().flat_map(|guest| &guest.reports))
    }

    /// The alias `local_network` as it is written, and whether cluster.fw defines it.
    #[must_use]
    pub fn local_network(&self) -> (&str, bool) {
        (self.cluster.local_network.text(), self.cluster.own_local_network)
    }
}

/// A guest of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestConfig {
    /// What it is.
    pub listed: Listed,
    /// What its files say.
    pub files: GuestFiles,
    /// What is wrong with them.
    pub reports: Vec<Report>,
}

/// What the files of a guest say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestFiles {
    /// Both could be read.
    Read {
        /// `firewall/<VMID>.fw`
        firewall: Box<Guest>,
        /// The devices with `firewall=1`, in the order of rules.
        devices: Vec<Device>,
    },
    /// One cannot be read: the rules of these devices stay as they are in the kernel.
    Unreadable {
        /// Its devices that have rules there.
        live: Vec<Interface>,
    },
}

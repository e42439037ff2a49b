//! The files of cluster and host, and the parts that guests depend on.
use super::chain_builder::Logging;
use super::sets::{self, Defined, SetNames, Sets};
use super::strict_layer2::Encapsulations;
use crate::config::{Cluster, ClusterOptions, Configuration, Host, Parsed, Sdn};
use crate::iptables::unsupported_values;
use crate::model::{DaemonOptions, Report};
use crate::node::CorosyncLinks;
use crate::node::name_databases::Databases;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The files that it is built from.
type Source = (Arc<Parsed<Cluster>>, Arc<Parsed<Host>>, Arc<Parsed<Sdn>>);

/// The files of cluster and host within the limits of iptables.
pub struct SharedConfig {
    source: Source,
    /// `firewall/cluster.fw`
    pub cluster: Arc<Parsed<Cluster>>,
    /// `nodes/<node>/host.fw`
    pub host: Arc<Parsed<Host>>,
    /// The sets of cluster.fw and of SDN.
    pub sets: Vec<Defined>,
    /// The names of sets that were not dropped.
    pub set_names: SetNames,
    /// The reports about limits of iptables.
    pub reports: Vec<Report>,
}

impl SharedConfig {
    /// Builds the value, or reuses the previous one.
    pub fn reuse_or_build(old: Option<&Arc<Self>>, configuration: &Configuration) -> Arc<Self> {
        let Configuration { cluster, host, sdn, .. } = configuration;
        let same = |old: &&Arc<Self>| {
            let (old_cluster, old_host, old_sdn) = &old.source;
            Arc::ptr_eq(old_cluster, cluster) && Arc::ptr_eq(old_host, host) && Arc::ptr_eq(old_sdn, sdn)
        };
        old.filter(same).cloned().unwrap_or_else(|| Arc::new(SharedConfig::of(cluster, host, sdn)))
    }

    fn of(cluster: &Arc<Parsed<Cluster>>, host: &Arc<Parsed<Host>>, sdn: &Arc<Parsed<Sdn>>) -> Self {
        let source = (cluster.clone(), host.clone(), sdn.clone());
        let mut reports = Vec::new();
        let cluster = within(cluster, unsupported_values::cluster(cluster, &mut reports));
        let host = within(host, unsupported_values::host(host, &mut reports));
        let mut sets = sets::of_cluster(&cluster);
        sets.extend(sets::of_sdn(sdn, &cluster));
        let set_names = SetNames::of(&sets, &Sets::default().add(&sets));
        SharedConfig { source, cluster, host, sets, set_names, reports }
    }
}

/// The part of a file within the limits; usually the whole file.
fn within<T: Clone>(file: &Arc<Parsed<T>>, value: Cow<'_, T>) -> Arc<Parsed<T>> {
    match value {
        Cow::Borrowed(_) => file.clone(),
        Cow::Owned(value) => Arc::new(Parsed { value, reports: Vec::new() }),
    }
}

/// All inputs of guests' rules besides their own files. While it is unchanged, a guest's rules change only with its files.
#[derive(PartialEq)]
pub struct Basis {
    /// The names in the kernel of the cluster's sets.
    pub set_names: SetNames,
    /// The settings for log rules.
    pub logging: Logging,
    /// Whether to generate ebtables rules.
    pub ebtables: bool,
    /// Whether the firewall is enabled: if not, guests have no rules.
    pub enabled: bool,
    /// The encapsulations that no device may use, if `--strict-layer2` is given.
    pub strict_layer2: Option<Encapsulations>,
}

impl Basis {
    /// The parts that guests depend on.
    pub fn of(shared: &SharedConfig, enabled: bool, options: &DaemonOptions, databases: &Databases) -> Self {
        let ClusterOptions {
            enable: _,
            ebtables,
            policy_in: _,
            policy_out: _,
            policy_forward: _,
            log_ratelimit,
            lines: _,
        } = &shared.cluster.options;
        Basis {
            set_names: shared.set_names.clone(),
            logging: Logging { ratelimit: log_ratelimit.clone(), all_drops: options.log_all_drops },
            ebtables: *ebtables,
            enabled,
            strict_layer2: options.strict_layer2.then(|| Encapsulations::of(databases)),
        }
    }
}

/// The inputs for the node's chains.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// The files of cluster and host.
    pub shared: &'a Arc<SharedConfig>,
    /// The parts of them that guests depend on.
    pub basis: &'a Basis,
    /// `corosync.conf`
    pub corosync: &'a Option<CorosyncLinks>,
    /// Alternative names of interfaces.
    pub altnames: &'a BTreeMap<String, String>,
    /// Whether there is a device with IPS.
    pub ips: bool,
}

//! Parses the configuration files to a model and reports.
//!
//! Parsing never fails as a whole: an invalid line is reported and skipped, and does not affect others. The order of
//! sections in a file does not matter: names are resolved after the whole file has been parsed.

mod address;
mod aliases_and_sets;
mod cache;
mod configuration;
mod icmp;
mod last_valid;
mod macros;
mod options;
mod ports;
mod resolve;
mod rule;
mod rule_syntax;
mod sdn;
mod sections;
mod value_parsers;

pub use address::literal;
pub use aliases_and_sets::{Alias, Definitions, IpSet, Names, SetEntry};
pub use cache::ConfigCache;
pub use configuration::{Configuration, GuestConfig, GuestFiles, Parsed};
pub use icmp::icmp_type;
pub use last_valid::{InForce, in_force};
pub use options::{
    ClusterOptions, GuestOptions, HostOptions, KnownOption, OptionOrigins, VnetOptions, accepts as option_accepts,
    known as known_options,
};
pub use ports::ports;
pub use rule::{Rule, RuleAction, Term, VerdictRule};
pub use sdn::{Sdn, SdnSet};
pub use sections::{is_header, is_name};

use crate::model::{FileKind, Report};
use crate::node::name_databases::Databases;
use resolve::{Env, RuleContext};
use sections::{Sections, decode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A group of cluster.fw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The line of its header.
    pub line: u32,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// `firewall/cluster.fw`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The path of the file.
    pub file: Arc<str>,
    /// `[OPTIONS]`
    pub options: ClusterOptions,
    /// `[ALIASES]` and the IP sets; always include `local_network` and `management`.
    pub definitions: Definitions,
    /// The alias `local_network`: the file's own, or the node's.
    pub local_network: Alias,
    /// Whether cluster.fw defines it.
    pub own_local_network: bool,
    /// `[RULES]`
    pub rules: Vec<Rule>,
    /// The groups by name in lower case.
    pub groups: BTreeMap<String, Group>,
}

/// `nodes/<node>/host.fw`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The path of the file.
    pub file: Arc<str>,
    /// `[OPTIONS]`
    pub options: HostOptions,
    /// `[RULES]`
    pub rules: Vec<Rule>,
}

/// `firewall/<VMID>.fw`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guest {
    /// The path of the file.
    pub file: Arc<str>,
    /// `[OPTIONS]`
    pub options: GuestOptions,
    /// `[ALIASES]` and the IP sets.
    pub definitions: Definitions,
    /// `[RULES]`
    pub rules: Vec<Rule>,
}

/// `sdn/firewall/<vnet>.fw`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vnet {
    /// The file, by the path that was read.
    pub file: Arc<str>,
    /// `[OPTIONS]`
    pub options: VnetOptions,
    /// `[RULES]`
    pub rules: Vec<Rule>,
}

/// The inputs for parsing a file besides its text.
#[derive(Clone, Copy)]
pub struct Parser<'a> {
    /// Protocols, services and ethertypes.
    pub databases: &'a Databases,
    /// The names of the IP sets of SDN.
    pub sdn: &'a BTreeSet<String>,
}

impl Parser<'_> {
    /// Parses cluster.fw. `network` is the node's local network, for the alias `local_network` if the file does not define it.
    pub fn cluster(&self, content: &[u8], file: &Arc<str>, network: &Alias, reports: &mut Vec<Report>) -> Cluster {
        let text = decode(content);
        let sections = Sections::of(&text, file, FileKind::Cluster, reports);
        let options = options::read(&sections.options, file, self.databases, reports);
        let aliases = aliases_and_sets::aliases(&sections.aliases, file, reports);
        let mut known = Definitions { aliases, ..Definitions::default() };
        let own_local_network = known.aliases.contains_key("local_network");
        let local_network = known.aliases.entry("local_network".to_string()).or_insert_with(|| network.clone()).clone();
        known.sets = aliases_and_sets::sets(
            &sections.sets,
            Names { cluster: &known, guest: None, sdn: self.sdn },
            file,
            reports,
        );
        known.sets.entry("management".to_string()).or_default();
        let has_group = |name: &str| sections.groups.iter().any(|group| group.name == name);
        let names = Names { cluster: &known, guest: None, sdn: self.sdn };
        let context = |env| RuleContext { env, names, databases: self.databases, has_group: &has_group };
        let rules = resolve::rules(&sections.rules, context(Env::Cluster), file, reports);
        let mut groups = BTreeMap::new();
        for section in &sections.groups {
            let rules = resolve::rules(&section.lines, context(Env::Group), file, reports);
            groups.insert(section.name.clone(), Group { line: section.line, rules });
        }
        let file = file.clone();
        Cluster { file, options, definitions: known, local_network, own_local_network, rules, groups }
    }

    /// Parses host.fw.
    pub fn host(&self, content: &[u8], file: &Arc<str>, cluster: &Cluster, reports: &mut Vec<Report>) -> Host {
        let text = decode(content);
        let sections = Sections::of(&text, file, FileKind::Host, reports);
        let names = Names { cluster: &cluster.definitions, guest: None, sdn: self.sdn };
        let has_group = |name: &str| cluster.groups.contains_key(name);
        let context = RuleContext { env: Env::Host, names, databases: self.databases, has_group: &has_group };
        Host {
            file: file.clone(),
            options: options::read(&sections.options, file, self.databases, reports),
            rules: resolve::rules(&sections.rules, context, file, reports),
        }
    }

    /// Parses a guest's file.
    pub fn guest(
        &self,
        content: &[u8],
        file: &Arc<str>,
        container: bool,
        cluster: &Cluster,
        reports: &mut Vec<Report>,
    ) -> Guest {
        let text = decode(content);
        let sections = Sections::of(&text, file, FileKind::Guest, reports);
        let options = options::read(&sections.options, file, self.databases, reports);
        let aliases = aliases_and_sets::aliases(&sections.aliases, file, reports);
        let mut known = Definitions { aliases, ..Definitions::default() };
        let names = Names { cluster: &cluster.definitions, guest: Some(&known), sdn: self.sdn };
        known.sets = aliases_and_sets::sets(&sections.sets, names, file, reports);
        let env = if container { Env::Ct } else { Env::Vm };
        let names = Names { cluster: &cluster.definitions, guest: Some(&known), sdn: self.sdn };
        let has_group = |name: &str| cluster.groups.contains_key(name);
        let context = RuleContext { env, names, databases: self.databases, has_group: &has_group };
        let rules = resolve::rules(&sections.rules, context, file, reports);
        Guest { file: file.clone(), options, definitions: known, rules }
    }

    /// Parses the file of an SDN vnet.
    pub fn vnet(&self, content: &[u8], file: &Arc<str>, cluster: &Cluster, reports: &mut Vec<Report>) -> Vnet {
        let text = decode(content);
        let sections = Sections::of(&text, file, FileKind::Vnet, reports);
        let names = Names { cluster: &cluster.definitions, guest: None, sdn: self.sdn };
        let has_group = |name: &str| cluster.groups.contains_key(name);
        let context = RuleContext { env: Env::Vnet, names, databases: self.databases, has_group: &has_group };
        Vnet {
            file: file.clone(),
            options: options::read(&sections.options, file, self.databases, reports),
            rules: resolve::rules(&sections.rules, context, file, reports),
        }
    }
}

//! The backends, which compile a configuration and apply the rules. An enum instead of a trait object, because there are only
//! two.
//!
//! The daemon and the commands use no other module of the backends.
mod compiled_rules;

pub use crate::iptables::apply::{FULL_READING, VariantChoice};
pub use compiled_rules::Rules;

use crate::config::Configuration;
use crate::health::{EncapsulatedFrame, Evidence, Scope};
use crate::inputs::{Facts, Tree};
use crate::iptables::apply::Outcome as IptablesOutcome;
use crate::iptables::backend::Iptables;
use crate::listing::{Difference, Listing};
use crate::model::{BackendKind, Filtered, Report};
use crate::nftables::apply::Outcome as NftablesOutcome;
use crate::nftables::backend::Nftables;
use crate::nftables::names::TableName;
use crate::node::Localnet;
use crate::settings::{Settings, bridges_pass_to_iptables};
use crate::system::netfilter::BaseChain;
use crate::system::root_directory::Root;
use anyhow::Result;
use ipnet::IpNet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tables of the nftables backend: address family and name.
pub const NFTABLES_TABLES: [(&str, &str); 2] =
    [(TableName::Host.family(), TableName::Host.as_str()), (TableName::Guests.family(), TableName::Guests.as_str())];

/// The backend of one process. Use one for the lifetime of the process: it caches the compiled and the live rules.
///
/// Callers must hold the lock that prevents concurrent updates.
pub enum Backend {
    /// iptables, ip6tables, ipset and ebtables.
    Iptables(Box<Iptables>),
    /// nftables.
    Nftables(Box<Nftables>),
}

/// The outcome of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything in the kernel was changed.
    pub changed: bool,
    /// The errors. A text is the same each time for as long as the error persists.
    pub errors: Vec<String>,
}

/// The result of compiling a configuration tree for this node.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The parsed configuration.
    pub configuration: Arc<Configuration>,
    /// Whether the cluster option `enable` is currently on. If not, there are no rules.
    pub enabled: bool,
    /// When the firewall is disabled automatically (`enable: TIME`), in seconds since 1970.
    pub expires: Option<u64>,
    /// Whether host.fw selects the nftables backend (`nftables: 1`).
    pub nftables: bool,
    /// The rules.
    pub rules: Rules,
    /// The reports about all files, in the order of files and lines.
    pub reports: Vec<Report>,
    /// The kernel settings of the configuration.
    pub settings: Settings,
    /// The node's network.
    pub localnet: Localnet,
    /// Guests and devices with rules.
    pub filtered: Filtered,
}

impl Backend {
    /// A backend of this node with state files under `root`, which compiles with up to `threads` threads. Does not run tools.
    #[must_use]
    pub fn new(kind: BackendKind, root: &Root, variant: VariantChoice, threads: usize) -> Self {
        match kind {
            BackendKind::Iptables => Backend::Iptables(Box::new(Iptables::new(root, variant, threads))),
            BackendKind::Nftables => Backend::Nftables(Box::new(Nftables::new(threads))),
        }
    }

    /// The kind of this backend.
    #[must_use]
    pub fn kind(&self) -> BackendKind {
        match self {
            Backend::Iptables(_) => BackendKind::Iptables,
            Backend::Nftables(_) => BackendKind::Nftables,
        }
    }

    /// Whether rules of the other backend are live, whichever program created them.
    #[must_use]
    pub fn other_is_live(&self, root: &Root) -> bool {
        match self {
            Backend::Iptables(_) => crate::nftables::live::exists().unwrap_or(false),
            // the tools are run only if they would find rules
            Backend::Nftables(_) => Iptables::may_be_live() && Iptables::new(root, VariantChoice::Auto, 1).is_live(),
        }
    }

    /// Whether the other backend enforces a configuration: its rules for the node and for each guest with a firewall are live,
    /// whichever program created them.
    #[must_use]
    pub fn other_enforces(&self, compiled: &Compiled, root: &Root) -> bool {
        match self {
            Backend::Iptables(_) => crate::nftables::backend::enforces(&compiled.configuration).unwrap_or(false),
            Backend::Nftables(_) => self.other_is_live(root) && bridges_pass_to_iptables(),
        }
    }

    /// Stops querying the kernel: all rules count as missing.
    #[must_use]
    pub fn offline(mut self) -> Self {
        if let Backend::Iptables(iptables) = &mut self {
            iptables.set_offline();
        }
        self
    }

    /// Sets the maximum time between two full readings of the live rules, by default five minutes. It has no effect with
    /// nftables, whose generation number shows every change.
    pub fn set_full_reading(&mut self, interval: Duration) {
        if let Backend::Iptables(iptables) = self {
            iptables.set_full_reading(interval);
        }
    }

    /// Compiles a configuration. The kernel is queried only if a guest has an unreadable file: its devices keep their live
    /// rules.
    pub fn compile(&mut self, tree: &Tree, facts: Facts) -> Compiled {
        match self {
            Backend::Iptables(iptables) => {
                let (configuration, compiled) = iptables.compile(tree, facts);
                Compiled::of_iptables(configuration, compiled)
            }
            Backend::Nftables(nftables) => {
                let (configuration, ruleset) = nftables.compile(tree, &facts);
                Compiled::of_nftables(configuration, ruleset, facts.now)
            }
        }
    }

    /// Whether rules are live.
    pub fn is_live(&mut self) -> bool {
        match self {
            Backend::Iptables(iptables) => iptables.is_live(),
            Backend::Nftables(_) => crate::nftables::live::exists().unwrap_or(false),
        }
    }

    /// Applies the compiled rules; cheap if nothing has changed since the last call.
    pub fn maintain(&mut self, compiled: &Compiled) -> Outcome {
        match (self, &compiled.rules) {
            (Backend::Iptables(iptables), Rules::Iptables(ruleset)) => iptables.maintain(ruleset).into(),
            (Backend::Nftables(nftables), Rules::Nftables(ruleset)) => nftables.maintain(ruleset).into(),
            _ => Outcome { changed: false, errors: vec![WRONG_BACKEND.to_string()] },
        }
    }

    /// Starts the tools that an update would run, if that saves time: they read the live rules while the configuration is read
    /// and compiled. Other programs may have to wait with their changes until [`Backend::maintain`] or [`Backend::end_early`].
    pub fn start_early(&mut self) {
        if let Backend::Iptables(iptables) = self {
            iptables.start_early();
        }
    }

    /// Ends the tools of [`Backend::start_early`] that have waited for this time.
    pub fn end_early(&self, after: Duration) {
        if let Backend::Iptables(iptables) = self {
            iptables.end_early(after);
        }
    }

    /// The changes by other programs that [`Backend::maintain`] has undone since the last call: a line for each part of the
    /// rules, with names.
    pub fn undone(&mut self) -> Vec<String> {
        match self {
            Backend::Iptables(iptables) => iptables.undone(),
            Backend::Nftables(nftables) => nftables.undone(),
        }
    }

    /// Records the scripts of transactions from now on, for the log. The scripts of iptables are in files.
    pub fn record_scripts(&mut self) {
        match self {
            Backend::Iptables(_) => {}
            Backend::Nftables(nftables) => nftables.record_scripts(),
        }
    }

    /// The recorded scripts since the last call.
    pub fn scripts(&mut self) -> Vec<String> {
        match self {
            Backend::Iptables(_) => Vec::new(),
            Backend::Nftables(nftables) => nftables.scripts(),
        }
    }

    /// When [`Backend::maintain`] has to be called again even if nothing changes.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        match self {
            Backend::Iptables(iptables) => iptables.due(),
            Backend::Nftables(nftables) => nftables.due(),
        }
    }

    /// The parts of the node that the configuration filters.
    #[must_use]
    pub fn scope(compiled: &Compiled) -> Scope {
        let scope = match &compiled.rules {
            Rules::Iptables(ruleset) => Iptables::scope(ruleset, compiled.filtered.host),
            Rules::Nftables(_) => Nftables::scope(&compiled.configuration, compiled.filtered.host),
        };
        Scope { inspected: compiled.configuration.inspected_guests(), ..scope }
    }

    /// Whether the rules accept a frame whose IP packet bypasses iptables, although the configuration does not allow it.
    #[must_use]
    pub fn allows_bypass(compiled: &Compiled, frame: EncapsulatedFrame) -> bool {
        match &compiled.rules {
            Rules::Iptables(ruleset) => Iptables::allows_bypass(&compiled.configuration, ruleset, frame),
            Rules::Nftables(ruleset) => Nftables::allows_bypass(&compiled.configuration, ruleset, frame),
        }
    }

    /// The evidence for [`crate::health`]: rules of other programs, and the state of ours. `chains` are the base chains of nftables.
    pub fn evidence(&mut self, chains: &[BaseChain]) -> Evidence {
        match self {
            Backend::Iptables(iptables) => iptables.evidence(chains),
            Backend::Nftables(nftables) => nftables.evidence(chains),
        }
    }

    /// Removes all rules.
    pub fn remove(&mut self) -> Outcome {
        match self {
            Backend::Iptables(iptables) => iptables.remove().into(),
            Backend::Nftables(nftables) => nftables.remove().into(),
        }
    }

    /// The parts of the live rules that cannot be read, with the reason.
    pub fn unreadable(&mut self) -> Vec<String> {
        match self {
            Backend::Iptables(iptables) => iptables.unreadable(),
            Backend::Nftables(nftables) => {
                let read = nftables.differs(&crate::nftables::ruleset::Ruleset::default());
                read.err().map(|error| format!("nftables: {error:#}")).into_iter().collect()
            }
        }
    }

    /// Whether an update to these rules would change anything; `None` means no rules. A part that cannot be read counts as
    /// equal.
    pub fn differs(&mut self, wanted: Option<&Rules>) -> bool {
        match (self, wanted) {
            (Backend::Iptables(iptables), Some(Rules::Iptables(ruleset))) => iptables.differs(ruleset),
            (Backend::Iptables(iptables), None) => iptables.differs(&crate::iptables::ruleset::Ruleset::default()),
            (Backend::Nftables(nftables), Some(Rules::Nftables(ruleset))) => nftables.differs(ruleset).unwrap_or(false),
            (Backend::Nftables(nftables), None) => {
                nftables.differs(&crate::nftables::ruleset::Ruleset::default()).unwrap_or(false)
            }
            _ => true,
        }
    }

    /// The changes of an update to these rules; only if `lines`, with the changed lines and the rules that the kernel would
    /// refuse.
    ///
    /// # Errors
    /// When the tools cannot be run or the kernel cannot be queried.
    pub fn difference(&mut self, wanted: &Rules, lines: bool) -> Result<Difference> {
        match (self, wanted) {
            (Backend::Iptables(iptables), Rules::Iptables(ruleset)) => iptables.difference(ruleset, lines),
            (Backend::Nftables(nftables), Rules::Nftables(ruleset)) => nftables.difference(ruleset, lines),
            _ => anyhow::bail!(WRONG_BACKEND),
        }
    }

    /// The rules in the output format of the backend's command `compile`.
    pub fn document(&mut self, compiled: &Compiled) -> Document {
        match (self, &compiled.rules) {
            (Backend::Iptables(iptables), Rules::Iptables(ruleset)) => {
                Document::Listing(iptables.listing(ruleset, compiled.enabled))
            }
            (_, Rules::Iptables(ruleset)) => {
                Document::Listing(crate::iptables::plan::listing(ruleset, None, compiled.enabled))
            }
            (_, Rules::Nftables(ruleset)) => Document::Json(crate::nftables::json_export::document(ruleset)),
        }
    }

    /// The tools in use.
    #[must_use]
    pub fn tools(&self) -> String {
        match self {
            Backend::Iptables(iptables) => iptables.tools(),
            Backend::Nftables(_) => "nft".to_string(),
        }
    }
}

/// The part of the nftables tables that every configuration has, as a script for `nft -f -`.
#[must_use]
pub fn skeleton() -> String {
    crate::nftables::backend::skeleton()
}

/// The networks that may always manage the node with nftables, besides the entries of the set `management`.
#[must_use]
pub fn management_networks(configuration: &Configuration, facts: &Facts) -> Vec<IpNet> {
    crate::nftables::compile::management_networks(configuration, facts)
}

/// The panic message for rules that the other backend has compiled.
const WRONG_BACKEND: &str = "internal error: the rules are those of the other backend";

/// The output of the command `compile`.
#[derive(Debug)]
pub enum Document {
    /// Chains and sets, compared with the live ones.
    Listing(Listing),
    /// A document for `nft -j -f -`.
    Json(serde_json::Value),
}

impl Compiled {
    fn of_iptables(configuration: Arc<Configuration>, compiled: crate::iptables::compile::Compiled) -> Self {
        let crate::iptables::compile::Compiled {
            enabled,
            expires,
            nftables,
            ruleset,
            reports,
            settings,
            localnet,
            filtered,
        } = compiled;
        Compiled {
            configuration,
            enabled,
            expires,
            nftables,
            rules: Rules::Iptables(ruleset),
            reports,
            settings,
            localnet,
            filtered,
        }
    }

    fn of_nftables(
        configuration: Arc<Configuration>,
        ruleset: Arc<crate::nftables::ruleset::Ruleset>,
        now: u64,
    ) -> Self {
        let (cluster, host) = (&configuration.cluster.options, &configuration.host.options);
        let enabled = cluster.is_enabled(now);
        let (used, user_defined) = configuration.local_network();
        let localnet = Localnet { used: used.to_string(), user_defined, ..configuration.network.localnet.clone() };
        let devices = || configuration.guests.iter().map(|guest| guest.filtered_devices()).filter(|count| *count > 0);
        let filtered = Filtered { guests: devices().count(), devices: devices().sum(), host: host.enable };
        Compiled {
            enabled,
            expires: cluster.expiry().filter(|_| enabled),
            nftables: host.nftables,
            rules: Rules::Nftables(ruleset),
            reports: crate::nftables::unsupported_values::reports(&configuration),
            settings: Settings::of(host),
            localnet,
            filtered: if enabled { filtered } else { Filtered::default() },
            configuration,
        }
    }
}

impl From<IptablesOutcome> for Outcome {
    fn from(IptablesOutcome { changed, errors }: IptablesOutcome) -> Self {
        Outcome { changed, errors: errors.iter().map(ToString::to_string).collect() }
    }
}

impl From<NftablesOutcome> for Outcome {
    fn from(NftablesOutcome { changed, errors }: NftablesOutcome) -> Self {
        Outcome { changed, errors }
    }
}

//! The sysctls of host.fw, and the switch of the log daemon, for both backends.
#![allow(clippy::disallowed_methods, reason = "I/O is done in this module")]

mod log_conntrack;
mod sysctls;

use crate::config::HostOptions;
use crate::system::root_directory::Root;
use std::path::Path;

/// Kernel settings of host.fw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `net.nf_conntrack_max`, a multiple of 8192.
    pub conntrack_max: u64,
    /// `net.netfilter.nf_conntrack_tcp_timeout_established`, in seconds.
    pub tcp_timeout_established: u64,
    /// `net.netfilter.nf_conntrack_tcp_timeout_syn_recv`, in seconds.
    pub tcp_timeout_syn_recv: u64,
    /// Whether the log daemon logs connections.
    pub log_conntrack: bool,
}

/// The backend that enforces the configuration whose settings are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforced {
    /// Nothing: the firewall is disabled.
    Not,
    /// iptables: bridges have to pass their packets to it.
    WithIptables,
    /// nftables: its bridge table filters bridged packets, which must not pass the node's forward chain.
    WithNftables,
}

/// Whether bridges pass their packets to iptables; also true if the sysctl does not exist.
#[must_use]
pub fn bridges_pass_to_iptables() -> bool {
    sysctls::bridges_pass_to_iptables(Path::new("/proc/sys"))
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            conntrack_max: 262_144,
            tcp_timeout_established: 432_000,
            tcp_timeout_syn_recv: 60,
            log_conntrack: false,
        }
    }
}

impl Settings {
    /// The settings in host.fw.
    #[must_use]
    pub fn of(host: &HostOptions) -> Self {
        #[rustfmt::skip]
        let HostOptions {
            enable: _, nosmurfs: _, tcpflags: _, ndp: _, log_nf_conntrack, nf_conntrack_allow_invalid: _,
            protection_synflood: _, nftables: _, log_level_in: _, log_level_out: _, log_level_forward: _,
            tcp_flags_log_level: _, smurf_log_level: _, nf_conntrack_max, nf_conntrack_tcp_timeout_established,
            nf_conntrack_tcp_timeout_syn_recv, protection_synflood_rate: _, protection_synflood_burst: _,
            nf_conntrack_helpers: _, lines: _,
        } = host;
        let default = Settings::default();
        let or = |value: u64, default| if value == 0 { default } else { value };
        Settings {
            conntrack_max: (*nf_conntrack_max).max(default.conntrack_max).next_multiple_of(8192),
            tcp_timeout_established: or(*nf_conntrack_tcp_timeout_established, default.tcp_timeout_established),
            tcp_timeout_syn_recv: or(*nf_conntrack_tcp_timeout_syn_recv, default.tcp_timeout_syn_recv),
            log_conntrack: *log_nf_conntrack,
        }
    }

    /// Writes the sysctls that differ, and the log daemon's switch for connections. For a disabled firewall, only the switch
    /// is set to off.
    #[must_use]
    pub fn apply(&self, root: &Root, enforced: Enforced) -> Applied {
        let mut applied = Applied::default();
        let enabled = enforced != Enforced::Not;
        if enabled {
            let bridged = enforced == Enforced::WithIptables;
            let written = sysctls::write(Path::new("/proc/sys"), Path::new("/sys"), self, bridged);
            applied = Applied { changed: written.changed, errors: written.error.into_iter().collect() };
        }
        let switched = log_conntrack::switch(root, enabled && self.log_conntrack);
        applied.errors.extend(switched.err().map(|error| format!("connections are not logged as set: {error:#}")));
        applied
    }
}

/// The result of applying settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The changed sysctls, each with its old and new value: `net.nf_conntrack_max was 65536, set to 262144`.
    pub changed: Vec<String>,
    /// The errors.
    pub errors: Vec<String>,
}

//! The options of the configuration files.
use std::fmt;

macro_rules! options {
    ($($variant:ident $key:literal)*) => {
        /// An option of a configuration file, of whatever kind: its key in `[OPTIONS]`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are those of the options, which the manual explains")]
        pub enum OptionKey {
            $($variant,)*
        }

        impl OptionKey {
            /// The key, in lower case.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(OptionKey::$variant => $key,)*
                }
            }
        }
    };
}

options! {
    Dhcp "dhcp"
    Ebtables "ebtables"
    Enable "enable"
    Ipfilter "ipfilter"
    Ips "ips"
    IpsQueues "ips_queues"
    Layer2Protocols "layer2_protocols"
    LogLevelForward "log_level_forward"
    LogLevelIn "log_level_in"
    LogLevelOut "log_level_out"
    LogNfConntrack "log_nf_conntrack"
    LogRatelimit "log_ratelimit"
    Macfilter "macfilter"
    Ndp "ndp"
    NfConntrackAllowInvalid "nf_conntrack_allow_invalid"
    NfConntrackHelpers "nf_conntrack_helpers"
    NfConntrackMax "nf_conntrack_max"
    NfConntrackTcpTimeoutEstablished "nf_conntrack_tcp_timeout_established"
    NfConntrackTcpTimeoutSynRecv "nf_conntrack_tcp_timeout_syn_recv"
    Nftables "nftables"
    Nosmurfs "nosmurfs"
    PolicyForward "policy_forward"
    PolicyIn "policy_in"
    PolicyOut "policy_out"
    ProtectionLimit "protection_limit"
    ProtectionSynflood "protection_synflood"
    ProtectionSynfloodBurst "protection_synflood_burst"
    ProtectionSynfloodRate "protection_synflood_rate"
    Radv "radv"
    SmurfLogLevel "smurf_log_level"
    TcpFlagsLogLevel "tcp_flags_log_level"
    Tcpflags "tcpflags"
}

impl fmt::Display for OptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

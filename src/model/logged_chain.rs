//! The limit of chain names in log prefixes.

/// Maximum length of a chain name in a log prefix, in characters: that of iptables (`XT_EXTENSION_MAXNAMELEN` without the
/// terminating zero).
pub const MAX_LOGGED_CHAIN: usize = 28;

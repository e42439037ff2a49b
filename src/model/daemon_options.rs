//! Options of the daemon.
use super::Failsafe;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The options of the daemon that rules depend on. They are set in `START_OPTIONS`, and no file of the configuration changes
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DaemonOptions {
    /// `--failsafe`: ports of the node that are open regardless of the configuration.
    #[serde(serialize_with = "write_failsafe", deserialize_with = "read_failsafe")]
    pub failsafe: Failsafe,
    /// `--strict-layer2`: whether frames whose IP packets bypass iptables are dropped.
    pub strict_layer2: bool,
    /// `--log-all-drops`: whether packets are logged that are otherwise dropped without a log entry.
    pub log_all_drops: bool,
}

fn write_failsafe<S: Serializer>(failsafe: &Failsafe, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(failsafe)
}

fn read_failsafe<'de, D: Deserializer<'de>>(from: D) -> Result<Failsafe, D::Error> {
    // written by this program
    Ok(String::deserialize(from)?.parse().unwrap_or_default())
}

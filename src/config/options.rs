//! The `[OPTIONS]` of each kind of file.
use super::report::Report;
use super::text::{Line, shown};
use super::values::{LogRatelimit, Verdict, boolean, integer, log_level, queues};
use crate::ruleset::{Origin, Queue, Token};
use crate::tables::databases::Databases;
use crate::tables::helpers::{self, Helper};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where each option was set: its line, by its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    file: Arc<str>,
    by_key: BTreeMap<String, u32>,
}

impl Lines {
    /// Where an option's value comes from: its line, or its default.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        match self.by_key.get(key) {
            Some(line) => Origin::Line(self.file.clone(), *line),
            None => Origin::Made(format!("default {key} of {}", self.file).into()),
        }
    }
}

/// Options of cluster.fw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// 0 is off, 1 on; a larger number is a time in seconds since 1970: on until 60 s after it.
    pub enable: u64,
    /// Whether there are ebtables rules.
    pub ebtables: bool,
    /// What the host does with incoming packets that no rule decides.
    pub policy_in: Verdict,
    /// Likewise with outgoing ones.
    pub policy_out: Verdict,
    /// Likewise with forwarded ones; only the nftables backend enforces it.
    pub policy_forward: Verdict,
    /// How log rules are limited.
    pub log_ratelimit: LogRatelimit,
    /// Where each was set.
    pub lines: Lines,
}

/// Options of host.fw. A log level of `None` logs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the options, which the manual explains")]
#[expect(clippy::struct_excessive_bools, reason = "so many switches there are")]
pub struct HostOptions {
    pub enable: bool,
    pub nosmurfs: bool,
    pub tcpflags: bool,
    pub ndp: bool,
    pub log_nf_conntrack: bool,
    pub nf_conntrack_allow_invalid: bool,
    pub protection_synflood: bool,
    pub nftables: bool,
    pub log_level_in: Option<u8>,
    pub log_level_out: Option<u8>,
    pub log_level_forward: Option<u8>,
    pub tcp_flags_log_level: Option<u8>,
    pub smurf_log_level: Option<u8>,
    /// Connections; 0 is the default.
    pub nf_conntrack_max: u64,
    /// Seconds; 0 is the default.
    pub nf_conntrack_tcp_timeout_established: u64,
    /// Seconds; 0 is the default.
    pub nf_conntrack_tcp_timeout_syn_recv: u64,
    /// Packets a second; 0 is the default.
    pub protection_synflood_rate: u64,
    /// Packets; 0 is the default.
    pub protection_synflood_burst: u64,
    pub nf_conntrack_helpers: Vec<&'static Helper>,
    /// Where each was set.
    pub lines: Lines,
}

/// Options of a guest. A log level of `None` logs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the options, which the manual explains")]
#[expect(clippy::struct_excessive_bools, reason = "so many switches there are")]
pub struct GuestOptions {
    pub enable: bool,
    pub dhcp: bool,
    pub ndp: bool,
    pub radv: bool,
    pub macfilter: bool,
    pub ipfilter: bool,
    pub ips: bool,
    pub log_level_in: Option<u8>,
    pub log_level_out: Option<u8>,
    pub policy_in: Verdict,
    pub policy_out: Verdict,
    pub ips_queues: Queue,
    /// Names as ebtables prints them.
    pub layer2_protocols: Vec<Token>,
    /// Where each was set.
    pub lines: Lines,
}

/// Options of an SDN vnet. Checked only: the nftables backend enforces them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VnetOptions;

impl Default for ClusterOptions {
    fn default() -> Self {
        ClusterOptions {
            enable: 0,
            ebtables: true,
            policy_in: Verdict::Drop,
            policy_out: Verdict::Accept,
            policy_forward: Verdict::Accept,
            log_ratelimit: LogRatelimit::default(),
            lines: Lines::default(),
        }
    }
}

impl Default for HostOptions {
    fn default() -> Self {
        HostOptions {
            enable: true,
            nosmurfs: true,
            tcpflags: false,
            ndp: true,
            log_nf_conntrack: false,
            nf_conntrack_allow_invalid: false,
            protection_synflood: false,
            nftables: false,
            log_level_in: None,
            log_level_out: None,
            log_level_forward: None,
            tcp_flags_log_level: None,
            smurf_log_level: None,
            nf_conntrack_max: 0,
            nf_conntrack_tcp_timeout_established: 0,
            nf_conntrack_tcp_timeout_syn_recv: 0,
            protection_synflood_rate: 0,
            protection_synflood_burst: 0,
            nf_conntrack_helpers: Vec::new(),
            lines: Lines::default(),
        }
    }
}

impl Default for GuestOptions {
    fn default() -> Self {
        GuestOptions {
            enable: false,
            dhcp: true,
            ndp: true,
            radv: false,
            macfilter: true,
            ipfilter: false,
            ips: false,
            log_level_in: None,
            log_level_out: None,
            policy_in: Verdict::Drop,
            policy_out: Verdict::Accept,
            ips_queues: Queue::Default,
            layer2_protocols: Vec::new(),
            lines: Lines::default(),
        }
    }
}

/// Why a line of `[OPTIONS]` is bad.
pub(super) enum Fault {
    /// There is no such option, or its value makes no sense.
    Unparsable,
    /// What is wrong with a part of the value.
    Value(String),
}

fn put<T>(field: &mut T, value: Option<T>) -> Result<(), Fault> {
    *field = value.ok_or(Fault::Unparsable)?;
    Ok(())
}

/// A level of an option: a word in any case, or nothing.
fn level(value: &str) -> Option<Option<u8>> {
    if value.is_empty() { Some(None) } else { log_level(&value.to_ascii_lowercase()) }
}

/// A number that a kernel tool or setting takes up to a limit.
fn at_most(value: &str, most: u64) -> Option<u64> {
    integer(value).filter(|number| *number <= most)
}

/// What `--hashlimit-above` (packets a second) and `--hashlimit-burst` take at the most.
const MOST_HASHLIMIT: u64 = 1_000_000;
/// What the kernel's settings take at the most, less what rounding up to 8192 may add.
const MOST_SETTING: u64 = i32::MAX as u64 - 8192;
/// What `--hashlimit-htable-expire` takes at the most, in seconds.
const MOST_EXPIRE: u64 = u32::MAX as u64 / 1000;

/// A set of options that is filled line by line. A new option is a field with its default, and a line in `set`.
pub(super) trait Options: Default {
    fn set(&mut self, key: &str, value: &str, databases: &Databases) -> Result<(), Fault>;
    fn lines(&mut self) -> Option<&mut Lines>;
}

impl Options for ClusterOptions {
    fn set(&mut self, key: &str, value: &str, _: &Databases) -> Result<(), Fault> {
        match key {
            "enable" => put(&mut self.enable, integer(value)),
            "ebtables" => put(&mut self.ebtables, boolean(value)),
            "policy_in" => put(&mut self.policy_in, Verdict::of_option(value)),
            "policy_out" => put(&mut self.policy_out, Verdict::of_option(value)),
            "policy_forward" => put(&mut self.policy_forward, Verdict::of_option(value)),
            "log_ratelimit" => put(&mut self.log_ratelimit, LogRatelimit::parse(&value.to_ascii_lowercase())),
            _ => Err(Fault::Unparsable),
        }
    }

    fn lines(&mut self) -> Option<&mut Lines> {
        Some(&mut self.lines)
    }
}

impl Options for HostOptions {
    fn set(&mut self, key: &str, value: &str, _: &Databases) -> Result<(), Fault> {
        match key {
            "enable" => put(&mut self.enable, boolean(value)),
            "nosmurfs" => put(&mut self.nosmurfs, boolean(value)),
            "tcpflags" => put(&mut self.tcpflags, boolean(value)),
            "ndp" => put(&mut self.ndp, boolean(value)),
            "log_nf_conntrack" => put(&mut self.log_nf_conntrack, boolean(value)),
            "nf_conntrack_allow_invalid" => put(&mut self.nf_conntrack_allow_invalid, boolean(value)),
            "protection_synflood" => put(&mut self.protection_synflood, boolean(value)),
            "nftables" => put(&mut self.nftables, boolean(value)),
            "log_level_in" => put(&mut self.log_level_in, level(value)),
            "log_level_out" => put(&mut self.log_level_out, level(value)),
            "log_level_forward" => put(&mut self.log_level_forward, level(value)),
            "tcp_flags_log_level" => put(&mut self.tcp_flags_log_level, level(value)),
            "smurf_log_level" => put(&mut self.smurf_log_level, level(value)),
            "nf_conntrack_max" => put(&mut self.nf_conntrack_max, at_most(value, MOST_SETTING)),
            "nf_conntrack_tcp_timeout_established" => {
                put(&mut self.nf_conntrack_tcp_timeout_established, at_most(value, MOST_SETTING))
            }
            "nf_conntrack_tcp_timeout_syn_recv" => {
                put(&mut self.nf_conntrack_tcp_timeout_syn_recv, at_most(value, MOST_EXPIRE))
            }
            "protection_synflood_rate" => put(&mut self.protection_synflood_rate, at_most(value, MOST_HASHLIMIT)),
            "protection_synflood_burst" => put(&mut self.protection_synflood_burst, at_most(value, MOST_HASHLIMIT)),
            // read by the reference and used by nothing
            "protection_limit" => put(&mut 0, integer(value)),
            "nf_conntrack_helpers" => {
                self.nf_conntrack_helpers = list(value, |name| {
                    helpers::find(&name.to_ascii_lowercase()).ok_or(format!("unknown helper '{}'", shown(name)))
                })?;
                Ok(())
            }
            _ => Err(Fault::Unparsable),
        }
    }

    fn lines(&mut self) -> Option<&mut Lines> {
        Some(&mut self.lines)
    }
}

impl Options for GuestOptions {
    fn set(&mut self, key: &str, value: &str, databases: &Databases) -> Result<(), Fault> {
        match key {
            "enable" => put(&mut self.enable, boolean(value)),
            "dhcp" => put(&mut self.dhcp, boolean(value)),
            "ndp" => put(&mut self.ndp, boolean(value)),
            "radv" => put(&mut self.radv, boolean(value)),
            "macfilter" => put(&mut self.macfilter, boolean(value)),
            "ipfilter" => put(&mut self.ipfilter, boolean(value)),
            "ips" => put(&mut self.ips, boolean(value)),
            "log_level_in" => put(&mut self.log_level_in, level(value)),
            "log_level_out" => put(&mut self.log_level_out, level(value)),
            "policy_in" => put(&mut self.policy_in, Verdict::of_option(value)),
            "policy_out" => put(&mut self.policy_out, Verdict::of_option(value)),
            "ips_queues" => put(&mut self.ips_queues, queues(value)),
            "layer2_protocols" => {
                self.layer2_protocols = list(value, |name| {
                    let known = databases.ethertype(name).and_then(Token::new);
                    known.ok_or(format!("unknown ethernet protocol type: {}", shown(name)))
                })?;
                Ok(())
            }
            _ => Err(Fault::Unparsable),
        }
    }

    fn lines(&mut self) -> Option<&mut Lines> {
        Some(&mut self.lines)
    }
}

impl Options for VnetOptions {
    fn set(&mut self, key: &str, value: &str, _: &Databases) -> Result<(), Fault> {
        let known = match key {
            "enable" => boolean(value).is_some(),
            "policy_forward" => Verdict::of_option(value).is_some_and(|policy| policy != Verdict::Reject),
            "log_level_forward" => level(value).is_some(),
            _ => false,
        };
        known.then_some(()).ok_or(Fault::Unparsable)
    }

    fn lines(&mut self) -> Option<&mut Lines> {
        None
    }
}

/// The items of a comma list, each by its name; the first unknown one is the fault.
fn list<T>(value: &str, find: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Fault> {
    value.split(',').map(|name| find(name.trim()).map_err(Fault::Value)).collect()
}

/// `key: value` with nothing between the key and the colon.
fn key_and_value(text: &str) -> Option<(String, &str)> {
    let (key, value) = text.split_once(':')?;
    let word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    word.then(|| (key.to_ascii_lowercase(), value.trim()))
}

/// Reads the lines of `[OPTIONS]`; a bad one is reported and changes nothing.
pub(super) fn read<O: Options>(
    lines: &[Line<'_>],
    file: &Arc<str>,
    databases: &Databases,
    reports: &mut Vec<Report>,
) -> O {
    let mut options = O::default();
    if let Some(lines) = options.lines() {
        lines.file = file.clone();
    }
    for line in lines {
        let set = match key_and_value(line.text) {
            Some((key, value)) => options.set(&key, value, databases).map(|()| key),
            None => Err(Fault::Unparsable),
        };
        match set {
            Ok(key) => {
                if let Some(lines) = options.lines() {
                    lines.by_key.insert(key, line.number);
                }
            }
            Err(Fault::Unparsable) => {
                reports.push(Report::line(file, line.number, format!("can't parse option '{}'", shown(line.text))));
            }
            Err(Fault::Value(text)) => reports.push(Report::line(file, line.number, text)),
        }
    }
    options
}

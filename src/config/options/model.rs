//! The options and their defaults.
use crate::builtin::helpers::Helper;
use crate::model::{LogRatelimit, OptionKey, Origin, Queue, Token, Verdict};
use std::sync::Arc;

/// The lines of a file that set its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionOrigins {
    file: Arc<str>,
    lines: Vec<(OptionKey, u32)>,
}

impl OptionOrigins {
    /// The file, of which no line has been read.
    pub(super) fn of(file: &Arc<str>) -> Self {
        OptionOrigins { file: file.clone(), lines: Vec::new() }
    }

    /// Records the line that sets an option, and returns the line that set it before.
    pub(super) fn set(&mut self, key: OptionKey, line: u32) -> Option<u32> {
        let before = self.lines.iter_mut().find(|(known, _)| *known == key);
        match before {
            Some((_, before)) => Some(std::mem::replace(before, line)),
            None => {
                self.lines.push((key, line));
                None
            }
        }
    }

    /// The line that sets an option, if one does.
    #[must_use]
    pub fn line(&self, key: OptionKey) -> Option<u32> {
        self.lines.iter().find(|(known, _)| *known == key).map(|(_, line)| *line)
    }

    /// The origin of an option's value: its line, or its default.
    #[must_use]
    pub fn origin(&self, key: OptionKey) -> Origin {
        match self.line(key) {
            Some(line) => Origin::Line(self.file.clone(), line),
            None => Origin::Default(self.file.clone(), key),
        }
    }
}

/// Options of cluster.fw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// 0 is off, 1 is on; a larger number is a time in seconds since 1970: on until 60 s after it.
    pub enable: u64,
    /// Whether to generate ebtables rules.
    pub ebtables: bool,
    /// The host's policy for incoming packets.
    pub policy_in: Verdict,
    /// The host's policy for outgoing packets.
    pub policy_out: Verdict,
    /// The host's policy for forwarded packets; enforced by the nftables backend only.
    pub policy_forward: Verdict,
    /// The rate limit of log rules.
    pub log_ratelimit: LogRatelimit,
    /// The origin of each option.
    pub lines: OptionOrigins,
}

/// How long an `enable: TIME` stays on after its time, in seconds.
const GRACE: u64 = 60;

impl ClusterOptions {
    /// Whether the firewall is on: 0 is off, 1 is on, and a larger number is on until a minute after that time. `now` is in
    /// seconds since 1970.
    #[must_use]
    pub fn is_enabled(&self, now: u64) -> bool {
        self.enable != 0 && self.expiry().is_none_or(|expiry| now < expiry)
    }

    /// The first second in which an `enable: TIME` is off.
    #[must_use]
    pub fn expiry(&self) -> Option<u64> {
        (self.enable > 1).then(|| self.enable.saturating_add(GRACE).saturating_add(1))
    }
}

/// Options of host.fw. A log level of `None` logs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the options, which the manual explains")]
#[expect(clippy::struct_excessive_bools, reason = "one field for each option")]
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
    /// The origin of each option.
    pub lines: OptionOrigins,
}

/// Options of a guest. A log level of `None` logs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the options, which the manual explains")]
#[expect(clippy::struct_excessive_bools, reason = "one field for each option")]
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
    /// Names as ebtables prints them; `None` if all protocols may pass.
    pub layer2_protocols: Option<Vec<Token>>,
    /// The origin of each option.
    pub lines: OptionOrigins,
}

/// Options of an SDN vnet, which only the nftables backend enforces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VnetOptions {
    /// Whether its rules are enforced.
    pub enable: bool,
    /// The verdict on forwarded packets that no rule matches: ACCEPT or DROP.
    pub policy_forward: Verdict,
    /// The level at which the policy logs; `None` logs nothing.
    pub log_level_forward: Option<u8>,
    /// The origin of each option.
    pub lines: OptionOrigins,
}

impl Default for VnetOptions {
    fn default() -> Self {
        VnetOptions {
            enable: false,
            policy_forward: Verdict::Accept,
            log_level_forward: None,
            lines: OptionOrigins::default(),
        }
    }
}

impl Default for ClusterOptions {
    fn default() -> Self {
        ClusterOptions {
            enable: 0,
            ebtables: true,
            policy_in: Verdict::Drop,
            policy_out: Verdict::Accept,
            policy_forward: Verdict::Accept,
            log_ratelimit: LogRatelimit::default(),
            lines: OptionOrigins::default(),
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
            nf_conntrack_max: 262_144,
            nf_conntrack_tcp_timeout_established: 432_000,
            nf_conntrack_tcp_timeout_syn_recv: 60,
            protection_synflood_rate: 200,
            protection_synflood_burst: 1000,
            nf_conntrack_helpers: Vec::new(),
            lines: OptionOrigins::default(),
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
            layer2_protocols: None,
            lines: OptionOrigins::default(),
        }
    }
}

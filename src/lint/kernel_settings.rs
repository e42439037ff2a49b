//! Numbers in host.fw that the kernel rejects, or that are replaced by other numbers.
use super::parsed_files::Files;
use crate::config::{Host, HostOptions};
use crate::model::{OptionKey, Report};

/// The minimum, and the default.
const MIN_CONNECTIONS: u64 = 262_144;
/// The maximum of a timeout in seconds: the kernel counts it in ticks, up to 1,000 per second, in a signed 32-bit number.
const MAX_TIMEOUT: u64 = i32::MAX as u64 / 1000;

/// Checks host.fw of all nodes.
pub fn settings(files: &Files<'_>, reports: &mut Vec<Report>) {
    for host in [files.host].into_iter().chain(files.other_hosts) {
        of_host(host, reports);
    }
}

fn of_host(host: &Host, reports: &mut Vec<Report>) {
    #[rustfmt::skip]
    let HostOptions {
        enable: _, nosmurfs: _, tcpflags: _, ndp: _, log_nf_conntrack: _, nf_conntrack_allow_invalid: _,
        protection_synflood: _, nftables: _, log_level_in: _, log_level_out: _, log_level_forward: _, tcp_flags_log_level: _,
        smurf_log_level: _, nf_conntrack_max, nf_conntrack_tcp_timeout_established, nf_conntrack_tcp_timeout_syn_recv,
        protection_synflood_rate, protection_synflood_burst, nf_conntrack_helpers: _, lines,
    } = &host.options;
    let mut warn = |key: OptionKey, text: String| {
        if let Some(line) = lines.line(key) {
            reports.push(Report::warning(&host.file, line, format!("{key}: {text}")));
        }
    };
    if *nf_conntrack_max < MIN_CONNECTIONS {
        let text = format!("{MIN_CONNECTIONS} is set in place of a smaller number; write more, or remove the line");
        warn(OptionKey::NfConntrackMax, text);
    }
    for (key, value, default) in [
        (OptionKey::NfConntrackTcpTimeoutEstablished, *nf_conntrack_tcp_timeout_established, 432_000),
        (OptionKey::NfConntrackTcpTimeoutSynRecv, *nf_conntrack_tcp_timeout_syn_recv, 60),
        (OptionKey::ProtectionSynfloodRate, *protection_synflood_rate, 200),
        (OptionKey::ProtectionSynfloodBurst, *protection_synflood_burst, 1000),
    ] {
        let is_timeout = key.as_str().starts_with("nf_conntrack");
        if value == 0 {
            warn(key, format!("0 counts as the default, {default}; write another number, or remove the line"));
        } else if is_timeout && value > MAX_TIMEOUT {
            let text = format!("a kernel with 1,000 ticks a second refuses it; write at most {MAX_TIMEOUT} (seconds)");
            warn(key, text);
        }
    }
}

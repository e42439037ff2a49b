//! The table raw: SYN flood protection and conntrack helpers.
use super::FamilyCompiler;
use super::chain_builder::INFO;
use super::common_matches::{from_port, opening, port, proto};
use crate::config::HostOptions;
use crate::iptables::names;
use crate::iptables::ruleset::{HashLimit, Match, Side, Target};
use crate::model::{Family, OptionKey};

/// Defaults: packets per second, burst in packets, seconds.
const RATE: u64 = 200;
const BURST: u64 = 1000;
const EXPIRE: u64 = 60;

/// 0 is the default.
fn or_default(value: u64, default: u64) -> u64 {
    if value == 0 { default } else { value }
}

impl FamilyCompiler<'_> {
    /// Builds PVEFW-PREROUTING, if it has rules.
    pub(super) fn raw(&mut self, host: &HostOptions) {
        if !host.protection_synflood && host.nf_conntrack_helpers.is_empty() {
            return;
        }
        let mut rules = self.chain(names::PREROUTING);
        let origin = host.lines.origin(OptionKey::NfConntrackHelpers);
        for helper in &host.nf_conntrack_helpers {
            if self.family == Family::V4 || helper.v6 {
                let (name, number) = helper.proto;
                let port = port(Side::Destination, helper.port, helper.port);
                rules.plain(
                    vec![proto(name, number), Match::Module(name), port],
                    Target::CtHelper(helper.name),
                    &origin,
                );
            }
        }
        if host.protection_synflood {
            let origin = host.lines.origin(OptionKey::ProtectionSynflood);
            // a packet to or from a guest crosses two or three bridges, and is counted once
            for link in [names::inner_links(), names::outer_links()] {
                rules.plain([from_port(&link)], Target::Return, &origin);
            }
            let limit = HashLimit {
                above: or_default(host.protection_synflood_rate, RATE),
                burst: or_default(host.protection_synflood_burst, BURST),
                source_mask: if self.family == Family::V4 { 32 } else { 64 },
                expire: 1000 * or_default(host.nf_conntrack_tcp_timeout_syn_recv, EXPIRE),
            };
            let matches = Vec::from_iter(opening(false).into_iter().chain([Match::HashLimit(limit.into())]));
            // two rules with the same limit would count each packet twice
            let target = if self.logging.all_drops { Target::Goto(names::SYNFLOOD.into()) } else { Target::Drop };
            rules.plain(matches, target, &origin);
        }
        rules.finish(&mut self.buffers);
        if host.protection_synflood && self.logging.all_drops {
            self.logged_drop(names::SYNFLOOD, Some(INFO), &host.lines.origin(OptionKey::ProtectionSynflood));
        }
    }
}

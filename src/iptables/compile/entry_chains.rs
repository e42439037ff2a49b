//! The entry chains, to which the built-in chains jump, and which jump to the host's and the guests' chains.
use super::FamilyCompiler;
use super::chain_builder::{Builder, Log, generated, jump};
use super::common_matches::{entering, established, leaving, source_in, tcp};
use super::device_tree::Branch;
use super::host::conntrack_filter;
use super::shared_config::SharedConfig;
use crate::config::Guest;
use crate::iptables::names;
use crate::iptables::ruleset::{CtState, Match, Physdev, Rule, Target};
use crate::model::{Family, Interface, OptionKey, Verdict};

const TO_GUESTS: &str = "the jump to the guests' chains";

impl FamilyCompiler<'_> {
    /// Builds PVEFW-INPUT, PVEFW-OUTPUT, PVEFW-FORWARD and their common chains, without the guests' and the host's chains.
    pub(super) fn entries(&mut self, shared: &SharedConfig, ips: bool) {
        let origin = generated("the jump to the host's chains");
        for (name, to) in [(names::INPUT, names::HOST_IN), (names::OUTPUT, names::HOST_OUT)] {
            let mut rules = self.chain(name);
            if shared.host.options.enable {
                rules.plain([], jump(to), &origin);
            }
            rules.finish(&mut self.buffers);
        }
        let origin = generated(TO_GUESTS);
        let mut rules = self.chain(names::FORWARD);
        if ips {
            rules.plain([established()], jump(names::IPS), &generated("IPS for established connections"));
        }
        conntrack_filter(&mut rules, !shared.host.options.nf_conntrack_allow_invalid);
        rules.plain([entering(&names::inner_links())], jump(names::FWBR_IN), &origin);
        rules.plain([leaving(&names::inner_links())], jump(names::FWBR_OUT), &origin);
        rules.finish(&mut self.buffers);
        self.blacklist(shared);
    }

    /// Builds PVEFW-FWBR-IN, beginning with these rules, PVEFW-FWBR-OUT, and the chains between them and those of devices.
    pub(super) fn links(&mut self, head: &[Rule], tree: &[Branch<'_>]) {
        let origin = generated(TO_GUESTS);
        for Branch { prefix, jumps } in tree {
            let mut incoming = self.chain(names::branch_in(prefix));
            if prefix.is_empty() {
                incoming.extend(head);
            }
            for one in jumps {
                incoming.plain([leaving(&one.port())], jump(one.chain_in()), &origin);
            }
            incoming.finish(&mut self.buffers);
            let mut outgoing = self.chain(names::branch_out(prefix));
            for one in jumps {
                outgoing.plain([entering(&one.port())], jump(one.chain_out()), &origin);
            }
            outgoing.finish(&mut self.buffers);
        }
    }

    /// The first rules of PVEFW-FWBR-IN.
    pub(super) fn links_head(&mut self, shared: &SharedConfig) -> Vec<Rule> {
        let mut head = self.chain(names::FWBR_IN);
        self.input_filter(shared, &mut head);
        head.into_rules()
    }

    /// Builds PVEFW-IPS, if it has rules.
    pub(super) fn ips(&mut self, to_queues: &[Rule]) {
        if !to_queues.is_empty() {
            let mut rules = self.chain(names::IPS);
            rules.extend(to_queues);
            rules.finish(&mut self.buffers);
        }
    }

    /// Adds the rules that drop packets before all user rules: blacklisted sources, smurfs, invalid TCP flags.
    pub(super) fn input_filter(&self, shared: &SharedConfig, rules: &mut Builder<'_>) {
        let host = &shared.host.options;
        if shared.cluster.definitions.sets.contains_key("blacklist") {
            let set = names::set(0, "blacklist", self.family);
            rules.plain([source_in(&set)], jump(names::BLACKLIST), &generated("set blacklist of cluster.fw"));
        }
        if self.family == Family::V4 && host.nosmurfs {
            let fresh = Match::Conntrack(&[CtState::Invalid, CtState::New]);
            rules.plain([fresh], jump(names::SMURFS), &host.lines.origin(OptionKey::Nosmurfs));
        }
        if host.tcpflags {
            rules.plain([tcp()], jump(names::TCPFLAGS), &host.lines.origin(OptionKey::Tcpflags));
        }
    }

    fn blacklist(&mut self, shared: &SharedConfig) {
        if !shared.cluster.definitions.sets.contains_key("blacklist") {
            return;
        }
        let origin = generated("set blacklist of cluster.fw");
        let mut rules = self.chain(names::BLACKLIST);
        let level = shared.host.options.log_level_out;
        rules.log(&[], Log { vmid: 0, level, message: Verdict::Drop.message() }, &origin);
        rules.plain([], Target::Drop, &origin);
        rules.finish(&mut self.buffers);
    }
}

/// The rule that sends the packets to a device to its guest's IPS.
pub(super) fn to_queue(guest: &Guest, device: &Interface) -> Rule {
    let matches = [Match::Physdev(Physdev::OutFirst(device.clone()))].into();
    let origin = guest.options.lines.origin(OptionKey::Ips);
    Rule { matches, target: Target::Nfqueue(guest.options.ips_queues), double_space: false, origin }
}

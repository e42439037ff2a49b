//! The entry chains: where packets come from the kernel's hooks, and find the host's and the guests' chains.
use super::builder::{Builder, Log, jump, made};
use super::host::conntrack_filter;
use super::matches::{entering, established, guest_links, leaving, source_in, tcp};
use super::sets::set_name;
use super::{FamilyCompiler, message};
use crate::config::Verdict;
use crate::ruleset::{CtState, Family, Match, Physdev, Target};

impl FamilyCompiler<'_> {
    /// PVEFW-INPUT, PVEFW-OUTPUT, PVEFW-FORWARD, and what they lead to for bridged packets.
    pub(super) fn entries(&mut self) {
        let world = self.world;
        let host_on = world.host.options.enable;
        let origin = made("the way to the host's chains");
        for (name, to) in [("PVEFW-INPUT", "PVEFW-HOST-IN"), ("PVEFW-OUTPUT", "PVEFW-HOST-OUT")] {
            let mut rules = self.chain(name);
            if host_on {
                rules.plain([], jump(to), &origin);
            }
            rules.finish(&mut self.filter);
        }
        let ips = self.ips();
        let origin = made("the way to the guests' chains");
        let mut rules = self.chain("PVEFW-FORWARD");
        if ips {
            rules.plain([established()], jump("PVEFW-IPS"), &made("IPS for established connections"));
        }
        conntrack_filter(&mut rules, !world.host.options.nf_conntrack_allow_invalid);
        rules.plain([entering(&guest_links())], jump("PVEFW-FWBR-IN"), &origin);
        rules.plain([leaving(&guest_links())], jump("PVEFW-FWBR-OUT"), &origin);
        rules.finish(&mut self.filter);

        let mut incoming = self.chain("PVEFW-FWBR-IN");
        let mut outgoing = self.chain("PVEFW-FWBR-OUT");
        self.input_filter(&mut incoming);
        for device in world.units.iter().flat_map(super::world::Unit::handled) {
            incoming.plain(vec![leaving(device)], jump(&format!("{device}-IN")), &origin);
            outgoing.plain(vec![entering(device)], jump(&format!("{device}-OUT")), &origin);
        }
        incoming.finish(&mut self.filter);
        outgoing.finish(&mut self.filter);
        self.blacklist();
    }

    /// PVEFW-IPS; whether there is any device for it.
    fn ips(&mut self) -> bool {
        let mut rules = self.chain("PVEFW-IPS");
        let mut any = false;
        for (guest, devices) in self.world.units.iter().filter_map(super::world::Unit::enabled) {
            for device in devices.iter().filter(|_| guest.options.ips) {
                let leaving = Match::Physdev(Physdev::OutFirst(device.name.clone()));
                let target = Target::Nfqueue(guest.options.ips_queues);
                rules.plain([leaving], target, &guest.options.lines.origin("ips"));
                any = true;
            }
        }
        if any {
            rules.finish(&mut self.filter);
        }
        any
    }

    /// What is dropped before any rule is asked: blacklisted sources, smurfs, illegal TCP flags.
    pub(super) fn input_filter(&self, rules: &mut Builder<'_>) {
        let host = &self.world.host.options;
        if self.world.cluster.definitions.sets.contains_key("blacklist") {
            let set = set_name(0, "blacklist", self.family);
            rules.plain([source_in(&set)], jump("PVEFW-blacklist"), &made("set blacklist of cluster.fw"));
        }
        if self.family == Family::V4 && host.nosmurfs {
            let fresh = Match::Conntrack(&[CtState::Invalid, CtState::New]);
            rules.plain([fresh], jump("PVEFW-smurfs"), &host.lines.origin("nosmurfs"));
        }
        if host.tcpflags {
            rules.plain([tcp()], jump("PVEFW-tcpflags"), &host.lines.origin("tcpflags"));
        }
    }

    fn blacklist(&mut self) {
        if !self.world.cluster.definitions.sets.contains_key("blacklist") {
            return;
        }
        let origin = made("set blacklist of cluster.fw");
        let mut rules = self.chain("PVEFW-blacklist");
        let level = self.world.host.options.log_level_out;
        rules.log(&[], Log { vmid: 0, level, message: message(Verdict::Drop) }, &origin);
        rules.plain([], Target::Drop, &origin);
        rules.finish(&mut self.filter);
    }
}

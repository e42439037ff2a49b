//! The chains of guests' devices.
use super::FamilyCompiler;
use super::chain_builder::{Builder, Log, accept_by_mark};
use super::common_matches::{icmp_proto, icmp_type, port, set_mark, udp};
use super::rules::{ChainContext, RuleOwner};
use super::sets::{has_ipfilter, ipfilter};
use crate::config::Guest;
use crate::iptables::names;
use crate::iptables::ruleset::{Match, Side, Target};
use crate::model::{Direction, Family, OptionKey, PerFamily, SetRef, SetScope};
use crate::node::Device;
use std::sync::LazyLock;

/// The matches for DHCP between a server and a client.
struct Dhcp {
    to_client: [Match; 3],
    from_client: [Match; 3],
}

/// The same by family, with the ports of RFC 2131 and RFC 8415.
static DHCP: LazyLock<PerFamily<Dhcp>> = LazyLock::new(|| {
    let packets = |from, to| [udp(), port(Side::Source, from, from), port(Side::Destination, to, to)];
    let both = |server, client| Dhcp { to_client: packets(server, client), from_client: packets(client, server) };
    PerFamily { v4: both(67, 68), v6: both(547, 546) }
});

impl FamilyCompiler<'_> {
    /// Both chains of every device of an enabled guest.
    pub(super) fn guest(&mut self, vmid: u32, guest: &Guest, devices: &[Device]) {
        for device in devices {
            self.device_in(vmid, guest, device);
            self.device_out(vmid, guest, device);
        }
    }

    fn device_in(&mut self, vmid: u32, guest: &Guest, device: &Device) {
        let options = &guest.options;
        let accept = if options.ips { Target::Nfqueue(options.ips_queues) } else { Target::Accept };
        let mut rules = self.chain(names::device_in(&device.name));
        rules.plain([], Target::SetConnmark(vmid), &options.lines.origin(OptionKey::Enable));
        self.dhcp(&mut rules, guest, Direction::In);
        if options.ndp {
            self.ndp(&mut rules, Direction::In, options.radv, &accept, &options.lines.origin(OptionKey::Ndp));
        }
        let place = ChainContext {
            file: &guest.file,
            direction: Direction::In,
            vmid,
            accept: accept.clone(),
            group_accept: accept.clone(),
            owner: RuleOwner::Guest(&device.netid),
        };
        self.user_rules(&guest.rules, &place, &mut rules);
        let log = Log { vmid, level: options.log_level_in, message: options.policy_in.policy_message() };
        self.policy(&mut rules, options.policy_in, accept, log, &options.lines.origin(OptionKey::PolicyIn));
        rules.finish(&mut self.buffers);
    }

    fn device_out(&mut self, vmid: u32, guest: &Guest, device: &Device) {
        let options = &guest.options;
        let accept = accept_by_mark();
        let mut rules = self.chain(names::device_out(&device.name));
        rules.plain([], Target::SetConnmark(vmid), &options.lines.origin(OptionKey::Enable));
        self.dhcp(&mut rules, guest, Direction::Out);
        self.source_filters(&mut rules, vmid, guest, device);
        rules.plain([], set_mark(false), &options.lines.origin(OptionKey::Enable));
        if options.ndp {
            self.ndp(&mut rules, Direction::Out, options.radv, &accept, &options.lines.origin(OptionKey::Ndp));
        }
        let place = ChainContext {
            file: &guest.file,
            direction: Direction::Out,
            vmid,
            accept: accept.clone(),
            group_accept: Target::Return,
            owner: RuleOwner::Guest(&device.netid),
        };
        self.user_rules(&guest.rules, &place, &mut rules);
        let log = Log { vmid, level: options.log_level_out, message: options.policy_out.policy_message() };
        self.policy(&mut rules, options.policy_out, accept, log, &options.lines.origin(OptionKey::PolicyOut));
        rules.finish(&mut self.buffers);
    }

    /// Adds the rules for a DHCP client.
    fn dhcp(&self, rules: &mut Builder<'_>, guest: &Guest, direction: Direction) {
        if !guest.options.dhcp {
            return;
        }
        let Dhcp { to_client, from_client } = &DHCP[self.family];
        let (matches, target) = match direction {
            Direction::Out => (from_client, accept_by_mark()),
            _ => (to_client, Target::Accept),
        };
        rules.spec(&matches[..], target, &guest.options.lines.origin(OptionKey::Dhcp));
    }

    /// Adds the filters that apply regardless of the guest's rules: MAC and IP source addresses, router advertisements.
    fn source_filters(&self, rules: &mut Builder<'_>, vmid: u32, guest: &Guest, device: &Device) {
        let options = &guest.options;
        if let Some(mac) = device.mac.clone().filter(|_| options.macfilter) {
            rules.refuse(vmid, [Match::NotFromMac(mac)], Target::Drop, &options.lines.origin(OptionKey::Macfilter));
        }
        if self.family == Family::V6 && !options.radv {
            let matches = vec![icmp_proto(Family::V6), icmp_type(Family::V6, "router-advertisement")];
            rules.refuse(vmid, matches, Target::Drop, &options.lines.origin(OptionKey::Radv));
        }
        if has_ipfilter(guest, device) {
            let set = SetRef { scope: SetScope::Guest, name: ipfilter(device).into() };
            let foreign = self.set_name(&set).map(|name| Match::Set { name, side: Side::Source, negated: true });
            // without its set no address is allowed
            rules.refuse(vmid, Vec::from_iter(foreign), Target::Drop, &options.lines.origin(OptionKey::Ipfilter));
        }
    }
}

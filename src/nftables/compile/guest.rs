//! The chains of guests: for packets to them, and from them.
use super::chain_builder::{Builder, Log, goto, icmp, jump, known};
use super::chain_context::{ChainContext, Limited};
use super::rules::put;
use super::sets::{GuestSets, of_guest};
use super::standard::{NDP_IN, policy};
use super::{GuestInput, Shared, TablePart, guest_filters};
use crate::config::GuestOptions;
use crate::model::{Direction, Family, Interface, OptionKey, Verdict};
use crate::nftables::names::{
    ALLOW_DHCP_IN, ALLOW_DHCP_OUT, ALLOW_NDP_IN, ALLOW_NDP_OUT, ALLOW_RA_OUT, BLOCK_DHCP_IN, BLOCK_DHCP_OUT,
    BLOCK_NDP_IN, BLOCK_NDP_OUT, BLOCK_RA_OUT, CHECK_BLACKLIST, PRE_VM_IN, PRE_VM_OUT, REJECT, guest_chain,
};
use crate::nftables::ruleset::{Action, Match};
use crate::node::Device;
use crate::node::name_databases::Databases;

/// Everything that is generated from a guest's own files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestPart {
    /// The guest.
    pub vmid: u32,
    /// Its devices that have rules.
    pub devices: Vec<Interface>,
    /// Its chains and sets.
    pub part: TablePart,
}

impl GuestPart {
    /// Compiles the guest's files.
    #[must_use]
    pub fn make(input: &GuestInput<'_>, shared: &Shared, databases: &Databases) -> Self {
        // exhaustive: a new option must be used for the chains below, or ignored explicitly
        #[rustfmt::skip]
        let GuestOptions {
            enable: _, dhcp: _, ndp: _, radv: _, macfilter: _, ipfilter: _, ips: _, ips_queues: _, layer2_protocols: _,
            policy_in: _, policy_out: _, log_level_in: _, log_level_out: _, lines: _,
        } = &input.guest.options;
        let sets = of_guest(input.guest);
        let mut part = TablePart::default();
        let guest = GuestBuilder { input, shared, sets: &sets };
        guest.incoming(databases, &mut part);
        guest.outgoing(databases, &mut part);
        let devices = input.devices.iter().map(|device| device.name.clone()).collect();
        GuestPart { vmid: input.vmid, devices, part }
    }
}

/// A guest whose chains are being built.
struct GuestBuilder<'a> {
    input: &'a GuestInput<'a>,
    shared: &'a Shared,
    sets: &'a GuestSets,
}

impl GuestBuilder<'_> {
    fn incoming(&self, databases: &Databases, part: &mut TablePart) {
        let GuestInput { vmid, guest, devices } = self.input;
        let options = &guest.options;
        let queues = options.ips.then(|| options.ips_queues.range());
        let accept = queues.map_or(Action::Accept, |(first, last)| Action::Queue(first, last));
        let mut chain = Builder::new(guest_chain(*vmid, Direction::In), &self.shared.limit);
        if self.shared.strict_layer2 {
            for device in *devices {
                let on = (devices.len() > 1).then(|| Match::OutInterface(device.name.clone()));
                guest_filters::strict(guest, device, on.as_ref(), databases, &mut chain);
            }
        }
        if queues.is_some() {
            let origin = options.lines.origin(OptionKey::Ips);
            if self.shared.blacklist {
                chain.rule([], jump(CHECK_BLACKLIST), &origin);
            }
            chain.rule([known()], accept.clone(), &origin);
        }
        let origin = options.lines.origin(OptionKey::Enable);
        chain.rule([], jump(PRE_VM_IN), &origin);
        let dhcp = if options.dhcp { ALLOW_DHCP_IN } else { BLOCK_DHCP_IN };
        chain.rule([], jump(dhcp), &options.lines.origin(OptionKey::Dhcp));
        let ndp = options.lines.origin(OptionKey::Ndp);
        match (options.ndp, queues) {
            (false, _) => chain.rule([], jump(BLOCK_NDP_IN), &ndp),
            (true, None) => chain.rule([], jump(ALLOW_NDP_IN), &ndp),
            (true, Some(_)) => {
                NDP_IN.iter().for_each(|kind| chain.rule(icmp(Family::V6, *kind), accept.clone(), &ndp));
            }
        }
        chain.rule([], Action::CtMark(*vmid), &origin);
        // the kernel cannot reject in the postrouting hook of a bridge
        let (accept, reject) = (accept, Action::Drop);
        self.rules(Direction::In, accept.clone(), reject.clone(), queues, part, &mut chain);
        let log = Log { vmid: *vmid, level: options.log_level_in, message: options.policy_in.policy_message() };
        policy(options.policy_in, accept, reject, &log, &options.lines.origin(OptionKey::PolicyIn), &mut chain);
        chain.finish(part);
    }

    fn outgoing(&self, databases: &Databases, part: &mut TablePart) {
        let GuestInput { vmid, guest, devices } = self.input;
        let options = &guest.options;
        let mut chain = Builder::new(guest_chain(*vmid, Direction::Out), &self.shared.limit);
        let on = |device: &Device| (devices.len() > 1).then(|| Match::InInterface(device.name.clone()));
        for device in *devices {
            if self.shared.strict_layer2 {
                guest_filters::strict(guest, device, on(device).as_ref(), databases, &mut chain);
            }
            guest_filters::mac(guest, device, on(device).as_ref(), &mut chain);
        }
        let dhcp = if options.dhcp { ALLOW_DHCP_OUT } else { BLOCK_DHCP_OUT };
        chain.rule([], jump(dhcp), &options.lines.origin(OptionKey::Dhcp));
        if !options.radv {
            chain.rule([], jump(BLOCK_RA_OUT), &options.lines.origin(OptionKey::Radv));
        }
        for device in *devices {
            guest_filters::ip(*vmid, guest, device, on(device).as_ref(), part, &mut chain);
        }
        guest_filters::layer2(guest, databases, &mut chain);
        let origin = options.lines.origin(OptionKey::Enable);
        chain.rule([], jump(PRE_VM_OUT), &origin);
        if options.radv {
            chain.rule([], jump(ALLOW_RA_OUT), &options.lines.origin(OptionKey::Radv));
        }
        let ndp = if options.ndp { ALLOW_NDP_OUT } else { BLOCK_NDP_OUT };
        chain.rule([], jump(ndp), &options.lines.origin(OptionKey::Ndp));
        chain.rule([], Action::CtMark(*vmid), &origin);
        self.rules(Direction::Out, Action::Accept, goto(REJECT), None, part, &mut chain);
        let log = Log { vmid: *vmid, level: options.log_level_out, message: options.policy_out.policy_message() };
        let origin = options.lines.origin(OptionKey::PolicyOut);
        policy(options.policy_out, Action::Accept, goto(REJECT), &log, &origin, &mut chain);
        chain.finish(part);
    }

    fn rules(
        &self,
        direction: Direction,
        accept: Action,
        reject: Action,
        queues: Option<(u16, u16)>,
        part: &mut TablePart,
        chain: &mut Builder<'_>,
    ) {
        let GuestInput { vmid, guest, devices } = self.input;
        let interface = |netid: &str| match devices.iter().find(|device| device.netid == netid) {
            None => Limited::Nothing,
            Some(_) if devices.len() == 1 => Limited::To(None),
            Some(device) => Limited::To(Some(device.name.clone())),
        };
        let context = ChainContext {
            file: &guest.file,
            direction,
            vmid: *vmid,
            accept,
            reject,
            queues,
            guest_sets: Some(self.sets),
            interface: &interface,
        };
        put(&guest.rules, &context, self.shared, part, chain);
    }
}

/// Whether a policy refuses packets.
pub fn is_restrictive(policy: Verdict) -> bool {
    matches!(policy, Verdict::Drop | Verdict::Reject)
}

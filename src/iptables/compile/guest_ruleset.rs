//! The rules of a guest: everything that is generated from its own files.
use super::FamilyCompiler;
use super::chain_builder::FinishedChains;
use super::ebtables::{self, BridgeChains};
use super::entry_chains::to_queue;
use super::sets::{self, Defined, DroppedSets, SetNames};
use super::shared_config::Basis;
use crate::config::{Guest, GuestConfig, GuestFiles, GuestOptions};
use crate::iptables::ruleset::Rule;
use crate::iptables::unsupported_values;
use crate::model::{Family, Interface, PerFamily, Report};
use crate::node::Device;
use std::collections::BTreeSet;

/// The rules of a guest. Without rules and sets if the firewall is disabled.
#[derive(Default)]
pub struct GuestRuleset {
    /// The reports about limits of iptables.
    pub reports: Vec<Report>,
    /// The devices with rules, generated or kept, in the order of rules.
    pub devices: Vec<Interface>,
    /// Whether these keep their live rules, because a file of the guest cannot be read.
    pub kept: bool,
    /// Its sets, by name.
    pub sets: Vec<Defined>,
    /// The chains of the table `filter`.
    pub filter: PerFamily<FinishedChains>,
    /// The ebtables chains.
    pub bridge: BridgeChains,
    /// The rules of PVEFW-IPS.
    pub to_queues: Vec<Rule>,
    /// The groups that its rules use.
    pub groups: BTreeSet<String>,
}

impl GuestRuleset {
    /// Compiles the rules; some of the guest's sets may have been dropped.
    pub fn make(config: &GuestConfig, dropped: &DroppedSets, basis: &Basis) -> Self {
        let mut rules = GuestRuleset::default();
        match &config.files {
            GuestFiles::Unreadable { live } => {
                rules.devices.clone_from(live);
                rules.kept = true;
                if basis.enabled && basis.ebtables {
                    rules.bridge = ebtables::kept(live, basis.strict_layer2.as_ref());
                }
            }
            GuestFiles::Read { firewall, devices } => {
                let guest = &*unsupported_values::guest(firewall, &mut rules.reports);
                if basis.enabled {
                    rules.sets = sets::of_guest(config.listed.vmid, guest, devices);
                    if guest.options.enable {
                        rules.add_rules(config.listed.vmid, dropped, basis, guest, devices);
                    }
                }
            }
        }
        rules
    }

    fn add_rules(&mut self, vmid: u32, dropped: &DroppedSets, basis: &Basis, guest: &Guest, devices: &[Device]) {
        // exhaustive: a new option must be used for the chains below, or ignored explicitly
        #[rustfmt::skip]
        let GuestOptions {
            enable: _, dhcp: _, ndp: _, radv: _, macfilter: _, ipfilter: _, ips, ips_queues: _, layer2_protocols: _,
            policy_in: _, policy_out: _, log_level_in: _, log_level_out: _, lines: _,
        } = &guest.options;
        self.devices = devices.iter().map(|device| device.name.clone()).collect();
        let own = SetNames::of(&self.sets, dropped);
        for family in Family::ALL {
            let mut compiler = FamilyCompiler::new(family, &basis.logging, &basis.set_names, &own);
            compiler.guest(vmid, guest, devices);
            self.groups.append(&mut compiler.groups_in_use);
            self.filter[family] = compiler.chains();
        }
        if basis.ebtables {
            self.bridge = ebtables::guest(guest, devices, basis.strict_layer2.as_ref());
        }
        if *ips {
            self.to_queues = self.devices.iter().map(|device| to_queue(guest, device)).collect();
        }
    }
}

//! A guest's share of the ruleset: all that comes from its own files.
use super::FamilyCompiler;
use super::builder::Chains;
use super::dispatch::to_queue;
use super::ebtables::{self, BridgeChains};
use super::sets::{self, Defined, Lost, SetNames};
use super::shared_config::Basis;
use crate::config::{Guest, GuestOptions, Parser};
use crate::inputs::{Facts, File, Tree};
use crate::iptables::limits;
use crate::iptables::ruleset::Rule;
use crate::model::guest::GuestKind;
use crate::model::{Family, Interface, PerFamily, Report};
use crate::node::{self, Device, Listed};
use std::collections::BTreeSet;

/// What a share is made from, besides the basis.
pub struct Source {
    /// The guest.
    pub listed: Listed,
    fw: File,
    conf: File,
    /// Its live devices, where a file cannot be read.
    live: Vec<String>,
    /// Its sets that are lost.
    pub lost: Lost,
}

impl Source {
    /// What there is for a guest; `None` without a firewall file, or without a configuration: it is not firewalled at all.
    pub fn of(listed: &Listed, tree: &Tree, facts: &Facts) -> Option<Self> {
        let fw = tree.files.get(listed.fw().as_str())?.clone();
        let conf = tree.files.get(listed.conf(&facts.node).as_str())?.clone();
        let readable = |file: &File| matches!(file, File::Content(_));
        let live = if readable(&fw) && readable(&conf) { &[][..] } else { &facts.live_devices };
        let live = live.iter().filter(|device| listed.owns(device)).cloned().collect();
        Some(Source { listed: listed.clone(), fw, conf, live, lost: Lost::new() })
    }

    /// Whether this is the same, but perhaps for sets that are lost.
    pub fn is(&self, other: &Self) -> bool {
        let Source { listed, fw, conf, live, lost: _ } = self;
        (listed, fw, conf, live) == (&other.listed, &other.fw, &other.conf, &other.live)
    }
}

/// The share. Without rules and sets where the firewall is off.
#[derive(Default)]
pub struct Share {
    /// The faults of its files.
    pub reports: Vec<Report>,
    /// The devices that have rules, made anew or kept, in the order of rules.
    pub devices: Vec<Interface>,
    /// Whether these keep their live rules: a file of the guest cannot be read.
    pub kept: bool,
    /// Its sets, by name.
    pub sets: Vec<Defined>,
    /// The chains of the table `filter`.
    pub filter: PerFamily<Chains>,
    /// The ebtables chains.
    pub bridge: BridgeChains,
    /// The rules of PVEFW-IPS.
    pub to_queues: Vec<Rule>,
    /// The groups that its rules use.
    pub groups: BTreeSet<String>,
}

impl Share {
    /// Makes the share.
    pub fn make(source: &Source, basis: &Basis) -> Self {
        let Source { listed, fw, conf, .. } = source;
        let label = |path: &str| format!("{}/{path}", basis.root).into();
        let (fw_label, conf_label) = (label(&listed.fw()), label(&listed.conf(&basis.node)));
        let mut share = Share::default();
        let (File::Content(fw), File::Content(conf)) = (fw, conf) else {
            for (label, file) in [(&fw_label, fw), (&conf_label, conf)] {
                if let File::Unreadable(why) = file {
                    let text = format!("cannot be read ({why}): guest {} keeps its live rules", listed.vmid);
                    share.reports.push(Report::file(label, text));
                }
            }
            share.devices = source.live.iter().filter_map(|device| Interface::new(device)).collect();
            share.kept = true;
            return share;
        };
        let parser = Parser { databases: &basis.databases };
        let container = listed.kind == GuestKind::Container;
        let guest = parser.guest(fw, &fw_label, container, &basis.cluster, &mut share.reports);
        let guest = &*limits::guest(&guest, &mut share.reports);
        let devices = node::devices(conf, listed, &conf_label, &mut share.reports);
        if basis.enabled {
            share.sets = sets::of_guest(listed.vmid, guest, &devices);
            if guest.options.enable {
                share.add_rules(source, basis, guest, &devices);
            }
        }
        share
    }

    fn add_rules(&mut self, source: &Source, basis: &Basis, guest: &Guest, devices: &[Device]) {
        // the options that the chains below are made from: a new one has to get its place there
        #[rustfmt::skip]
        let GuestOptions {
            enable: _, dhcp: _, ndp: _, radv: _, macfilter: _, ipfilter: _, ips, ips_queues: _, layer2_protocols: _,
            policy_in: _, policy_out: _, log_level_in: _, log_level_out: _, lines: _,
        } = &guest.options;
        self.devices = devices.iter().map(|device| device.name.clone()).collect();
        let own = SetNames::of(&self.sets, &source.lost);
        for family in Family::ALL {
            let mut compiler = FamilyCompiler::new(family, &basis.ratelimit, &basis.set_names, &own);
            compiler.guest(source.listed.vmid, guest, devices);
            self.groups.append(&mut compiler.groups_in_use);
            self.filter[family] = compiler.chains();
        }
        if basis.ebtables {
            self.bridge = ebtables::guest(guest, devices);
        }
        if *ips {
            self.to_queues = self.devices.iter().map(|device| to_queue(guest, device)).collect();
        }
    }
}

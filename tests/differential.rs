//! tmp
#[path = "support/netns.rs"]
mod netns;
mod testbed;
use testbed::*;
use testbed::wire::*;
use testbed::probe::*;
use pve_firewall::ruleset::Family;

#[test]
fn smoke() {
    let t = std::time::Instant::now();
    let bed = Bed::new("pvd");
    let mut wire = Wire::new(&bed);
    eprintln!("made {:?}", t.elapsed());
    for from in Place::ALL { for to in Place::ALL {
        if from == to || from.bridge() != to.bridge() && from != Place::Host && to != Place::Host { continue }
        let mut probes = vec![];
        for f in Family::ALL {
            probes.push(Probe::tcp(from, to, f, 22));
            probes.push(Probe::udp(from, to, f, 53));
            probes.push(Probe::new(from, to, f, 47));
        }
        probes.push(Probe::icmp(from, to, 8)); probes.push(Probe::icmp(from, to, 3));
        probes.push(Probe::icmpv6(from, to, 128)); probes.push(Probe::icmpv6(from, to, 135));
        if from != Place::Host && to != Place::Host { probes.push(Probe::arp(from, to)); }
        let fates = wire.ask_many(&probes);
        eprintln!("{from:?} {to:?} {:?}", fates);
    }}
    eprintln!("made {:?}", t.elapsed());
}

//! Whether one rule leaves nothing for another.
use crate::config::{Address, Cluster, Definitions, Literal, Ports, Scope, SetRef, Term, VerdictRule};
use crate::iptables::ruleset::Family;
use ipnet::IpNet;
use std::net::IpAddr;

/// The definitions that the rules' sets are looked up in.
#[derive(Clone, Copy)]
pub struct Sets<'a> {
    /// cluster.fw
    pub cluster: &'a Cluster,
    /// The guest's own, in a guest's file.
    pub guest: Option<&'a Definitions>,
}

/// First and last address, as numbers of one family.
type Interval = (u128, u128);

impl Sets<'_> {
    /// Whether every packet that `later` matches is matched by `earlier` as well. In doubt it is not.
    pub fn covers(&self, earlier: &VerdictRule, later: &VerdictRule) -> bool {
        let applies = Family::ALL.iter().any(|family| !later.terms[*family].is_empty());
        applies
            && earlier.direction == later.direction
            && Family::ALL.iter().all(|family| self.covers_in(*family, earlier, later))
    }

    fn covers_in(&self, family: Family, earlier: &VerdictRule, later: &VerdictRule) -> bool {
        let terms = |term| earlier.terms[family].iter().any(|wide| term_covers(wide, term));
        later.terms[family].is_empty()
            || later.terms[family].iter().all(terms)
                && self.address_covers(family, earlier.source.as_ref(), later.source.as_ref())
                && self.address_covers(family, earlier.dest.as_ref(), later.dest.as_ref())
    }

    fn address_covers(&self, family: Family, wide: Option<&Address>, narrow: Option<&Address>) -> bool {
        let (wide, narrow) = match (wide, narrow) {
            (None, _) => return true,
            (Some(_), None) => return false,
            (Some(wide), Some(narrow)) if wide == narrow => return true,
            (Some(wide), Some(narrow)) => (self.intervals(family, wide), self.intervals(family, narrow)),
        };
        let (Some(wide), Some(narrow)) = (wide, narrow) else { return false };
        narrow.iter().all(|(first, last)| wide.iter().any(|(from, to)| from <= first && last <= to))
    }

    /// The addresses of a family; `None` where they are not known for certain.
    fn intervals(&self, family: Family, address: &Address) -> Option<Vec<Interval>> {
        let nets = |nets: &mut dyn Iterator<Item = IpNet>| -> Vec<Interval> {
            nets.filter(|net| Family::of(net.addr()) == family)
                .map(|net| (number(net.network()), number(net.broadcast())))
                .collect()
        };
        match address {
            Address::Literal(Literal::Nets(list)) => Some(nets(&mut list.value.iter().copied())),
            Address::Literal(Literal::Range(range)) => {
                let (first, last) = range.value;
                Some(Some((number(first), number(last))).filter(|_| Family::of(first) == family).into_iter().collect())
            }
            Address::Set(reference) => {
                let set = self.set(reference)?;
                // what the firewall itself adds to these, it knows
                let extended = reference.name == "management" || reference.name.starts_with("ipfilter-");
                let plain = !extended && !set.entries.iter().any(|entry| entry.nomatch);
                plain.then(|| nets(&mut set.entries.iter().map(|entry| entry.net)))
            }
        }
    }

    fn set(&self, reference: &SetRef) -> Option<&crate::config::IpSet> {
        let definitions = match reference.scope {
            Scope::Cluster => &self.cluster.definitions,
            Scope::Guest => self.guest?,
        };
        definitions.sets.get(&reference.name)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn term_covers(wide: &Term, narrow: &Term) -> bool {
    let proto = wide.proto.as_ref().is_none_or(|wide| narrow.proto.as_ref().is_some_and(|one| one.value == wide.value));
    let icmp = wide.icmp_type.as_ref().is_none_or(|(_, wide)| {
        let within = |kind: &crate::iptables::ruleset::IcmpType| {
            let kinds = wide.value.kind.is_none() || wide.value.kind == kind.kind;
            kinds && (wide.value.code.is_none() || wide.value.code == kind.code)
        };
        narrow.icmp_type.as_ref().is_some_and(|(_, one)| within(&one.value))
    });
    proto
        && icmp
        && ports_cover(wide.sport.as_ref(), narrow.sport.as_ref())
        && ports_cover(wide.dport.as_ref(), narrow.dport.as_ref())
}

fn ports_cover(wide: Option<&Ports>, narrow: Option<&Ports>) -> bool {
    let ranges = |ports: &Ports| match ports {
        Ports::One(one) => vec![one.value],
        Ports::Several(several) => several.value.clone(),
    };
    let Some(wide) = wide.map(ranges) else { return true };
    let within = |(first, last)| wide.iter().any(|(from, to)| *from <= first && last <= *to);
    narrow.map(ranges).is_some_and(|narrow| narrow.into_iter().all(within))
}

//! Whether one rule matches every packet of another.
use crate::config::{Cluster, Definitions, SetEntry, Term, VerdictRule};
use crate::model::{Address, Family, Literal, Ports, SetRef, SetScope};
use ipnet::IpNet;
use std::net::IpAddr;

/// The files in which sets are looked up.
#[derive(Clone, Copy)]
pub struct SetFiles<'a> {
    /// cluster.fw
    pub cluster: &'a Cluster,
    /// The guest's file, for its rules.
    pub guest: Option<&'a Definitions>,
}

/// First and last address of one family, as numbers.
type AddressRange = (u128, u128);

impl SetFiles<'_> {
    /// Whether every packet that `later` matches is also matched by `earlier`. False if that is not certain.
    pub fn covers(&self, earlier: &VerdictRule, later: &VerdictRule) -> bool {
        // the action of the rules is not relevant
        let VerdictRule { direction, verdict: _, source, dest, terms, log: _ } = later;
        let VerdictRule {
            direction: wide_direction,
            verdict: _,
            source: wide_source,
            dest: wide_dest,
            terms: wide_terms,
            log: _,
        } = earlier;
        let covers_in = |family: Family| {
            let covered = |term| wide_terms[family].iter().any(|wide| term_covers(wide, term));
            terms[family].is_empty()
                || terms[family].iter().all(covered)
                    && self.address_covers(family, wide_source.as_ref(), source.as_ref())
                    && self.address_covers(family, wide_dest.as_ref(), dest.as_ref())
        };
        let applies = Family::ALL.iter().any(|family| !terms[*family].is_empty());
        applies && wide_direction == direction && Family::ALL.into_iter().all(covers_in)
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

    /// The addresses of a family; `None` if they are not completely known.
    fn intervals(&self, family: Family, address: &Address) -> Option<Vec<AddressRange>> {
        let nets = |nets: &mut dyn Iterator<Item = IpNet>| -> Vec<AddressRange> {
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
                // the firewall itself adds entries to these sets
                let extended = reference.name == "management" || reference.name.starts_with("ipfilter-");
                let known: Option<Vec<IpNet>> =
                    set.entries.iter().map(|SetEntry { net, nomatch }| (!nomatch).then_some(*net)).collect();
                known.filter(|_| !extended).map(|known| nets(&mut known.into_iter()))
            }
        }
    }

    fn set(&self, reference: &SetRef) -> Option<&crate::config::IpSet> {
        let definitions = match reference.scope {
            SetScope::Cluster => &self.cluster.definitions,
            SetScope::Guest => self.guest?,
            // the addresses of SDN change, so the current ones cannot be used
            SetScope::Sdn => return None,
        };
        definitions.sets.get(reference.name.as_str())
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn term_covers(wide: &Term, narrow: &Term) -> bool {
    let Term { proto, sport, dport, icmp_type } = narrow;
    let Term { proto: wide_proto, sport: wide_sport, dport: wide_dport, icmp_type: wide_type } = wide;
    let same_proto = wide_proto.as_ref().is_none_or(|wide| proto.as_ref().is_some_and(|one| one.value == wide.value));
    let icmp = wide_type.as_ref().is_none_or(|(_, wide)| {
        let within = |kind: &crate::model::IcmpType| {
            let kinds = wide.value.kind.is_none() || wide.value.kind == kind.kind;
            kinds && (wide.value.code.is_none() || wide.value.code == kind.code)
        };
        icmp_type.as_ref().is_some_and(|(_, one)| within(&one.value))
    });
    same_proto
        && icmp
        && ports_cover(wide_sport.as_ref(), sport.as_ref())
        && ports_cover(wide_dport.as_ref(), dport.as_ref())
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

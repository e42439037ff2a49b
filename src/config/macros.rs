//! Combines macros with the parameters of the rule that uses them.
use super::icmp::icmp_type;
use super::ports::{self, is_any};
use super::rule::Term;
use super::rule_syntax::RawRule;
use crate::builtin::macros::{Macro, MacroRule};
use crate::model::{Family, PartError, PerFamily, Spelled};
use crate::node::name_databases::Databases;
use std::sync::Arc;

type PartErrors = Vec<PartError>;

/// The terms of a macro, with the rule's parameters where the macro sets none, for one or both families.
pub fn terms(
    mac: &Macro,
    raw: &RawRule<'_>,
    only: Option<Family>,
    databases: &Databases,
) -> Result<PerFamily<Arc<[Term]>>, PartErrors> {
    let applies = |family| only.is_none_or(|only| only == family);
    let families = [(Family::V4, mac.v4), (Family::V6, mac.v6)];
    let applying = || families.into_iter().filter(|(family, _)| applies(*family));
    // a macro without rules for the rule's family is checked with its rules for the other
    let errors = match applying().all(|(_, rules)| rules.is_empty()) {
        true => conflicts(mac.v4.iter().chain(mac.v6), raw),
        false => conflicts(applying().flat_map(|(_, rules)| rules), raw),
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let of = |family, rules: &[MacroRule]| -> Result<Arc<[Term]>, PartErrors> {
        if !applies(family) {
            return Ok(Arc::default());
        }
        let mut terms = Vec::with_capacity(rules.len());
        for rule in rules {
            terms.push(term(rule, raw, family, databases)?);
        }
        Ok(terms.into())
    };
    let v4 = of(Family::V4, mac.v4)?;
    // ICMP types have other numbers in IPv6
    let same = only.is_none() && mac.v4 == mac.v6 && mac.v4.iter().all(|rule| rule.icmp_type.is_none());
    let v6 = if same { v4.clone() } else { of(Family::V6, mac.v6)? };
    Ok(PerFamily { v4, v6 })
}

/// Parameters for which the rules of a macro set another value.
fn conflicts<'a>(rules: impl IntoIterator<Item = &'a MacroRule>, raw: &RawRule<'_>) -> PartErrors {
    let mut errors = PartErrors::new();
    let RawRule {
        enabled: _,
        kind: _,
        action: _,
        iface: _,
        source: _,
        dest: _,
        log: _,
        proto,
        sport,
        dport,
        icmp_type,
    } = raw;
    for MacroRule { proto: fixed_proto, sport: fixed_sport, dport: fixed_dport, icmp_type: fixed_type } in rules {
        let pairs = [
            ("proto", proto.filter(|proto| !is_any(proto)), Some(*fixed_proto)),
            ("sport", *sport, *fixed_sport),
            ("dport", *dport, *fixed_dport),
            ("icmp-type", *icmp_type, *fixed_type),
        ];
        for (part, given, fixed) in pairs {
            if let (Some(given), Some(fixed)) = (given, fixed)
                && given != fixed
                && !errors.iter().any(|known| known.part == part)
            {
                let text = format!("parameter '{part}' already define in macro (value = '{fixed}')");
                errors.push(PartError::new(part, text));
            }
        }
    }
    errors
}

fn term(rule: &MacroRule, raw: &RawRule<'_>, family: Family, databases: &Databases) -> Result<Term, PartErrors> {
    let MacroRule { proto: name, sport, dport, icmp_type: kind } = *rule;
    // a protocol and an ICMP type that differ from the macro's are errors: see `conflicts`
    #[rustfmt::skip]
    let RawRule {
        enabled: _, kind: _, action: _, iface: _, source: _, dest: _, log: _, proto: _, icmp_type: _,
        sport: own_sport, dport: own_dport,
    } = *raw;
    let proto = databases.protocol(name).or_else(|| well_known(name));
    let proto = proto.and_then(|number| Spelled::new(name, number)).ok_or_else(|| {
        let text = format!("the macro's protocol '{name}' is not in /etc/protocols");
        vec![PartError::new("macro", text)]
    })?;
    let ports = |part, text: Option<&str>| {
        text.map(|text| ports::ports(text, &proto, databases).map_err(|error| vec![PartError::new(part, error)]))
            .transpose()
    };
    let sport = ports("sport", sport.or(own_sport))?;
    let dport = ports("dport", dport.or(own_dport))?;
    let icmp_type = kind.and_then(|text| icmp_type(text, family)).map(|kind| (family, kind));
    Ok(Term { proto: Some(proto), sport, dport, icmp_type })
}

/// Macros work without `/etc/protocols`: iptables accepts these names, and any number, without it.
fn well_known(protocol: &str) -> Option<u8> {
    match protocol {
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::macros::{self, MACROS};

    #[test]
    fn conflicts_are_checked_for_the_families_of_the_rule_only() {
        for (name, proto, only, counts) in [
            ("Ping", "icmp", Some(Family::V4), Some((1, 0))),
            ("Ping", "icmpv6", Some(Family::V6), Some((0, 1))),
            ("Ping", "tcp", None, None),
            ("Trcrt", "icmp", Some(Family::V4), None),
            ("NeighborDiscovery", "icmpv6", Some(Family::V6), Some((0, 4))),
            ("NeighborDiscovery", "icmp", Some(Family::V4), None),
            ("HTTP", "tcp", None, Some((1, 1))),
        ] {
            let raw = RawRule { proto: Some(proto), ..RawRule::default() };
            let terms = terms(macros::find(name).unwrap(), &raw, only, &Databases::default()).ok();
            assert_eq!(terms.map(|terms| (terms.v4.len(), terms.v6.len())), counts, "{name} {proto}");
        }
    }

    #[test]
    fn every_macro_expands_without_the_system_databases() {
        for mac in MACROS {
            let terms = terms(mac, &RawRule::default(), None, &Databases::default()).unwrap();
            assert_eq!((terms.v4.len(), terms.v6.len()), (mac.v4.len(), mac.v6.len()), "{}", mac.name);
            let typed = terms.v4.iter().filter(|term| term.icmp_type.is_some()).count();
            assert_eq!(typed, mac.v4.iter().filter(|rule| rule.icmp_type.is_some()).count(), "{}", mac.name);
        }
    }
}

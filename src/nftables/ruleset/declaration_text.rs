//! The text of hooks, sets, maps and helpers, in a syntax that both nft 1.0.6 and 1.1.3 accept.
use super::chain::Hook;
use super::ct_helper::HelperObject;
use super::set::{DynamicSet, Map, MapKey, Set, SetKind, VerdictTarget};
use super::text::{interface, interval, ports};
use crate::model::{Family, Interface};

impl Hook {
    /// The declaration of a base chain, between its braces.
    #[must_use]
    pub fn text(self) -> String {
        format!("type filter hook {} priority {}; policy accept;", self.name, self.priority)
    }
}

impl Set {
    /// The declaration, between its braces.
    #[must_use]
    pub fn declaration(&self) -> &'static str {
        match &self.kind {
            SetKind::Addresses(Family::V4, _) => "type ipv4_addr; flags interval;",
            SetKind::Addresses(Family::V6, _) => "type ipv6_addr; flags interval;",
            SetKind::Ports(_) => "type inet_service; flags interval;",
        }
    }

    /// Its elements, separated by commas.
    #[must_use]
    pub fn elements(&self) -> String {
        let mut out = String::new();
        match &self.kind {
            SetKind::Addresses(_, set) => join(&mut out, set.intervals(), interval),
            SetKind::Ports(ranges) => join(&mut out, ranges, |out, range| ports(out, *range)),
        }
        out
    }
}

fn join<T>(out: &mut String, items: &[T], mut one: impl FnMut(&mut String, &T)) {
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { ", " });
        one(out, item);
    }
}

impl DynamicSet {
    /// The declaration, between its braces.
    #[must_use]
    pub fn declaration(&self) -> String {
        let kind = if self.family == Family::V4 { "ipv4_addr" } else { "ipv6_addr" };
        format!("type {kind}; size {}; flags dynamic,timeout; timeout {}s;", self.size, self.timeout)
    }
}

impl Map {
    /// The declaration, between its braces.
    #[must_use]
    pub fn declaration(&self) -> &'static str {
        match self.key {
            MapKey::InInterface | MapKey::OutInterface => "type ifname : verdict;",
            MapKey::Bridges => "type ifname . ifname : verdict;",
        }
    }

    /// An element without its verdict, for deleting it.
    #[must_use]
    pub fn key_text(&self, name: &Interface) -> String {
        let mut out = String::new();
        interface(&mut out, name);
        if self.key == MapKey::Bridges {
            out.push_str(" . ");
            interface(&mut out, name);
        }
        out
    }

    /// An element.
    #[must_use]
    pub fn element_text(&self, name: &Interface, target: &VerdictTarget) -> String {
        format!("{} : {}", self.key_text(name), target.text())
    }
}

impl VerdictTarget {
    fn text(&self) -> String {
        match self {
            VerdictTarget::Jump(chain) => format!("jump {chain}"),
            VerdictTarget::Goto(chain) => format!("goto {chain}"),
        }
    }
}

impl HelperObject {
    /// The declaration, between its braces.
    #[must_use]
    pub fn declaration(&self) -> String {
        let layer_3 = match self.family {
            None => "inet",
            Some(family) => family.nft(),
        };
        format!("type \"{}\" protocol {}; l3proto {layer_3};", self.kind, self.protocol)
    }
}

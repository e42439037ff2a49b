//! Strict filtering on layer 2 (`--strict-layer2`): frames whose IP packets bypass iptables.
use crate::config::GuestOptions;
use crate::model::{Encapsulation, Token};
use crate::node::Device;
use crate::node::name_databases::Databases;

/// The encapsulations with their names in ebtables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encapsulations(Vec<(Encapsulation, Token)>);

impl Encapsulations {
    /// All encapsulations, with the names in `/etc/ethertypes`, as ebtables prints them.
    #[must_use]
    pub fn of(databases: &Databases) -> Self {
        let name = |one: &Encapsulation| {
            let Some(code) = one.ethertype() else { return Token::new(Encapsulation::LENGTH) };
            let known = databases.ethertype(&format!("{code:04x}")).and_then(Token::new);
            known.or_else(|| Token::new(&format!("0x{code:x}")))
        };
        Encapsulations(Encapsulation::ALL.iter().filter_map(|one| Some((*one, name(one)?))).collect())
    }

    /// The encapsulations that a device may not use; all of them if its configuration is unknown. Tags are allowed for trunks
    /// (`trunks=`), and so are the types in `layer2_protocols`.
    pub fn refused<'a>(
        &'a self,
        known: Option<(&'a GuestOptions, &'a Device)>,
    ) -> impl Iterator<Item = (Encapsulation, &'a Token)> {
        let allowed = move |one: Encapsulation, name: &Token| {
            known.is_some_and(|(options, device)| {
                let named = options.layer2_protocols.as_ref().is_some_and(|listed| listed.contains(name));
                named || (device.trunk && one.is_tag())
            })
        };
        let all = self.0.iter().map(|(one, name)| (*one, name));
        all.filter(move |(one, name)| !allowed(*one, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Interface;

    fn device(trunk: bool) -> Device {
        let name = Interface::new("tap100i0").unwrap();
        Device { netid: "net0".into(), name, mac: None, addresses: Vec::new(), trunk }
    }

    #[test]
    fn refused_encapsulations() {
        let databases = Databases::parse("", "", "802_1Q 8100\nS-TAG 88A8\nPPP_DISC 8863\nPPP_SES 8864\n");
        let all = Encapsulations::of(&databases);
        let words = |names: &[&str]| Some(names.iter().map(|name| Token::new(name).unwrap()).collect());
        for (layer2_protocols, trunk, expected) in [
            (None, false, "802_1Q S-TAG PPP_DISC PPP_SES Length"),
            (None, true, "PPP_DISC PPP_SES Length"),
            (words(&["ARP"]), false, "802_1Q S-TAG PPP_DISC PPP_SES Length"),
            (words(&["802_1Q", "PPP_SES"]), false, "S-TAG PPP_DISC Length"),
        ] {
            let (options, device) = (GuestOptions { layer2_protocols, ..GuestOptions::default() }, device(trunk));
            let refused: Vec<&str> = all.refused(Some((&options, &device))).map(|(_, name)| name.as_str()).collect();
            assert_eq!(refused.join(" "), expected);
        }
        assert_eq!(all.refused(None).count(), 5);
        // a type without a name is printed as its number
        let unnamed = Encapsulations::of(&Databases::parse("", "", ""));
        let names: Vec<&str> = unnamed.refused(None).map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["0x8100", "0x88a8", "0x8863", "0x8864", "Length"]);
    }
}

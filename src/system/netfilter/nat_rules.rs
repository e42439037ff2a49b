//! Rules of nftables with address translation.
use super::base_chains::{
    Listed, NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_IMMEDIATE_DATA, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS,
    NFTA_RULE_TABLE, find, number, text,
};
use super::nftables::{NftObjects, nft_list_while};
use crate::nflog::netlink::{attributes, until_zero};
use anyhow::Result;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

// linux/netfilter/nf_tables.h
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFT_NAT_DNAT: u32 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_DATA_VALUE: u16 = 1;

/// A rule with address translation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatRule {
    /// Its chain.
    pub chain: String,
    /// Whether it translates sources, and not destinations.
    pub source: bool,
    /// The source network that it matches, if it is known.
    pub of: Option<IpNet>,
    /// The destination network that it matches, if it is known.
    pub at: Option<IpNet>,
    /// The first address that it translates to, if it is known.
    pub to: Option<IpAddr>,
}

/// The rules with address translation in a table.
///
/// # Errors
/// As for [`super::base_chains()`].
pub fn nat_rules(family: u8, table: &str) -> Result<Listed<NatRule>> {
    nft_list_while(NftObjects::Rules, family, &[(NFTA_RULE_TABLE, table)], |rules: &mut Listed<NatRule>, body| {
        rules.take(nat_rule(family, body), "rules", "rules with address translation")
    })
}

fn nat_rule(family: u8, body: &[u8]) -> Option<NatRule> {
    let chain = text(find(body, NFTA_RULE_CHAIN)?);
    let (mut loaded, mut mask, mut source) = (None, None, None);
    let mut rule = NatRule { chain, ..NatRule::default() };
    // the values that were loaded into registers
    let mut registers: BTreeMap<u32, &[u8]> = BTreeMap::new();
    for (_, expression) in attributes(find(body, NFTA_RULE_EXPRESSIONS)?) {
        let data = find(expression, NFTA_EXPR_DATA).unwrap_or_default();
        match until_zero(find(expression, NFTA_EXPR_NAME)?) {
            b"masq" => source = Some(true),
            b"nat" => {
                source = Some(find(data, NFTA_NAT_TYPE).and_then(number) != Some(NFT_NAT_DNAT));
                let register = find(data, NFTA_NAT_REG_ADDR_MIN).and_then(number);
                rule.to = register.and_then(|register| address(registers.get(&register)?));
            }
            b"immediate" => {
                let register = find(data, NFTA_IMMEDIATE_DREG).and_then(number);
                let value = find(data, NFTA_IMMEDIATE_DATA).and_then(|data| find(data, NFTA_DATA_VALUE));
                registers.extend(register.zip(value));
            }
            b"payload" => (loaded, mask) = (address_field(family, data), None),
            b"bitwise" => mask = find(data, NFTA_BITWISE_MASK).and_then(|mask| find(mask, NFTA_DATA_VALUE)),
            b"cmp" => {
                let value = find(data, NFTA_CMP_DATA).and_then(|data| find(data, NFTA_DATA_VALUE));
                let equal = find(data, NFTA_CMP_OP).and_then(number) == Some(0);
                let net = value.filter(|_| equal).and_then(|value| network(family, value, mask));
                match loaded.take() {
                    Some(AddressField::Source) => rule.of = net,
                    Some(AddressField::Destination) => rule.at = net,
                    None => {}
                }
            }
            _ => {}
        }
    }
    source.map(|source| NatRule { source, ..rule })
}

/// An address in the header of a packet.
#[derive(Clone, Copy)]
enum AddressField {
    Source,
    Destination,
}

/// The address that a payload expression loads, or whose first bytes it loads.
fn address_field(family: u8, data: &[u8]) -> Option<AddressField> {
    let value = |kind| find(data, kind).and_then(number);
    let (source, length) = if family == 10 { (8, 16) } else { (12, 4) };
    if value(NFTA_PAYLOAD_BASE)? != NFT_PAYLOAD_NETWORK_HEADER || value(NFTA_PAYLOAD_LEN)? > length {
        return None;
    }
    match value(NFTA_PAYLOAD_OFFSET)? {
        offset if offset == source => Some(AddressField::Source),
        offset if offset == source + length => Some(AddressField::Destination),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// The network with these first bytes of its address; the prefix length is that of the mask, or else the number of bytes.
fn network(family: u8, value: &[u8], mask: Option<&[u8]>) -> Option<IpNet> {
    let bits = |mask: &[u8]| mask.iter().map(|byte| byte.leading_ones()).sum::<u32>();
    let length = u8::try_from(mask.map_or(8 * u32::try_from(value.len()).ok()?, bits)).ok()?;
    let mut bytes = [0; 16];
    bytes.get_mut(..value.len())?.copy_from_slice(value);
    if family == 10 {
        return Ipv6Net::new(Ipv6Addr::from(bytes), length).ok().map(IpNet::V6);
    }
    let v4: [u8; 4] = *bytes.first_chunk()?;
    Ipv4Net::new(Ipv4Addr::from(v4), length).ok().map(IpNet::V4)
}

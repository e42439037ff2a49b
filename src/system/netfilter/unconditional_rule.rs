//! Rules without matches in base chains of other programs.
use super::base_chains::{
    BaseChain, MAX_COUNT, NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_IMMEDIATE_DATA, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS,
    NFTA_RULE_TABLE, find, is_named, number,
};
use super::nftables::{NftObjects, nft_list_while};
use crate::nflog::netlink::{attributes, until_zero};
use anyhow::Result;

// linux/netfilter/nf_tables.h
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// Whether the first rule without matches drops packets (`false`: accepts them); `None` if there is no such rule, so that the
/// policy decides. The inner error is the reason if the chain is too long to be read.
///
/// # Errors
/// As for [`super::base_chains()`].
pub fn unconditional_verdict(chain: &BaseChain) -> Result<Result<Option<bool>, String>> {
    let of = [(NFTA_RULE_TABLE, chain.table.1.as_str()), (NFTA_RULE_CHAIN, chain.name.as_str())];
    let (read, found) =
        nft_list_while(NftObjects::Rules, chain.family, &of, |(read, found): &mut (usize, Option<bool>), body| {
            *read += 1;
            if is_named(body, &of) {
                *found = verdict_on_all(body);
            }
            *read <= MAX_COUNT && found.is_none()
        })?;
    Ok(if read > MAX_COUNT { Err(format!("it has more than {MAX_COUNT} rules")) } else { Ok(found) })
}

/// Whether a rule drops all packets (`false`: accepts them); `None` if it matches only some packets, or has no verdict.
fn verdict_on_all(body: &[u8]) -> Option<bool> {
    for (_, expression) in attributes(find(body, NFTA_RULE_EXPRESSIONS)?) {
        let data = find(expression, NFTA_EXPR_DATA).unwrap_or_default();
        match until_zero(find(expression, NFTA_EXPR_NAME)?) {
            b"counter" | b"log" => {}
            b"reject" => return Some(true),
            b"immediate" => {
                let verdict = find(find(data, NFTA_IMMEDIATE_DATA)?, NFTA_DATA_VERDICT)?;
                return match find(verdict, NFTA_VERDICT_CODE).and_then(number)? {
                    NF_DROP => Some(true),
                    NF_ACCEPT => Some(false),
                    _ => None,
                };
            }
            _ => return None,
        }
    }
    None
}

//! Verdicts of nftables (`enum nft_verdicts` and `NF_…` in `linux/netfilter.h`).
use crate::nflog::log_fields::Fields;
use crate::nflog::netlink::{attributes, be32, until_zero};
use crate::nflog::text::word;

/// `NFTA_VERDICT_CODE` and `NFTA_VERDICT_CHAIN`.
const CODE: u16 = 1;
const CHAIN: u16 = 2;
/// `NF_VERDICT_MASK`: the other bits have the number of a queue, or of an error.
const MASK: u32 = 0xff;
/// `NFT_JUMP` and `NFT_GOTO`.
const JUMP: i32 = -3;
const GOTO: i32 = -4;

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict<'a> {
    code: u32,
    /// The chain of a jump or goto.
    chain: &'a [u8],
}

impl<'a> Verdict<'a> {
    /// Decodes the attributes of a verdict; `None` without a code.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (mut code, mut chain) = (None, &b""[..]);
        for (kind, content) in attributes(bytes) {
            match kind {
                CODE => code = be32(content),
                CHAIN => chain = until_zero(content),
                _ => {}
            }
        }
        Some(Verdict { code: code?, chain })
    }

    /// A verdict without a chain.
    pub fn from_code(code: u32) -> Self {
        Verdict { code, chain: b"" }
    }

    /// Appends `name` and the verdict as nft(8) prints it; an unknown one is a number.
    pub fn push(&self, name: &str, fields: &mut Fields<'_>) {
        let code = self.code.cast_signed();
        let text = match code {
            0.. => match self.code & MASK {
                0 => "drop",
                1 => "accept",
                2 => "stolen",
                3 => "queue",
                4 => "repeat",
                5 => "stop",
                _ => return fields.number(name, code),
            },
            -1 => "continue",
            -2 => "break",
            JUMP => "jump",
            GOTO => "goto",
            -5 => "return",
            _ => return fields.number(name, code),
        };
        fields.text(name);
        fields.word(text);
        if matches!(code, JUMP | GOTO) {
            fields.word(&word(self.chain));
        }
    }
}

//! Random configurations of the test bed's node, and packets for them, from a seed.
#![allow(dead_code, reason = "each program uses a part")]
pub mod config;
pub mod packets;
pub mod pools;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::ops::Range;

/// The seeds of the configurations of a run, and the number of packets for each: `DIFFERENTIAL=CONFIGURATIONS,PACKETS` or
/// `short`, from `DIFFERENTIAL_SEED` or `seed` on.
pub fn seeds_and_packets(short: (u64, usize), seed: u64) -> (Range<u64>, usize) {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("'{text}' is not a number"));
    let (configurations, packets) = match std::env::var("DIFFERENTIAL") {
        Ok(text) => {
            let (configurations, packets) = text.split_once(',').expect("DIFFERENTIAL=CONFIGURATIONS,PACKETS");
            (number(configurations), usize::try_from(number(packets)).unwrap())
        }
        Err(_) => short,
    };
    let seed = std::env::var("DIFFERENTIAL_SEED").map_or(seed, |text| number(&text));
    (seed..seed + configurations, packets)
}

/// The number of packets by verdict.
#[derive(Default)]
pub struct VerdictCounts(BTreeMap<String, usize>);

impl VerdictCounts {
    pub fn count(&mut self, verdict: &str) {
        *self.0.entry(verdict.to_string()).or_default() += 1;
    }

    /// Checks that each verdict occurred; otherwise it has not been compared.
    pub fn assert_all_verdicts_occurred(&self) {
        for verdict in ["ACCEPT", "DROP", "REJECT"] {
            assert!(self.0.contains_key(verdict), "no packet had the verdict {verdict}");
        }
    }
}

impl fmt::Display for VerdictCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets, {:?}", self.0.values().sum::<usize>(), self.0)
    }
}

/// The files of a configuration, for messages.
pub fn format_files(files: &BTreeMap<String, String>) -> String {
    files.iter().fold(String::new(), |mut text, (path, content)| {
        write!(text, "--- {path}\n{content}").unwrap();
        text
    })
}

//! Reading and compiling, as the daemon does it, against bare saves of the rules that come of it.
use crate::site::Site;
use crate::table::{Question, Table, median, milliseconds};
use crate::tools;
use pve_firewall::compile::{Compiled, compile};
use pve_firewall::ruleset::{Family, MacStyle};
use std::hint::black_box;
use std::time::{Duration, Instant};

const RUNS: usize = 15;
/// Where it must still be linear.
const LARGE: usize = 5000;

/// The times of one node.
#[derive(Default)]
struct Times {
    read: Vec<Duration>,
    compile: Vec<Duration>,
    sign: Vec<Duration>,
    saves: Vec<Duration>,
}

pub fn measure(sites: &[Site], table: &mut Table) {
    eprintln!("reading and compiling ...");
    table.heading(Question::Read, "Read and compile", "at most 0.2 of `iptables-save` and `ip6tables-save`");
    let times: Vec<Times> = sites.iter().map(|site| run(site, true)).collect();
    let medians = |of: fn(&Times) -> &Vec<Duration>| times.iter().map(|times| median(of(times).clone())).collect();
    let (read, compile, sign): (Vec<_>, Vec<_>, Vec<_>) =
        (medians(|times| &times.read), medians(|times| &times.compile), medians(|times| &times.sign));
    let saves: Vec<Duration> = medians(|times| &times.saves);
    let both: Vec<Duration> = read.iter().zip(&compile).map(|(read, compile)| *read + *compile).collect();
    table.times("read", &read);
    table.times("compile", &compile);
    table.times("signatures", &sign);
    table.times("two bare saves", &saves);
    table.ratios(&both, &saves);
    let large = run(&Site::new(LARGE), false);
    let large = median(large.read) + median(large.compile);
    let per_guest = |time: Duration, guests: usize| milliseconds(time * 1000 / u32::try_from(guests).expect("guests"));
    let figures = sites.iter().zip(&both).map(|(site, time)| per_guest(*time, site.guests));
    table.row(&format!("for 1,000 guests ({} with {LARGE} guests), ms", per_guest(large, LARGE)), figures);
}

fn run(site: &Site, live: bool) -> Times {
    let (mut reader, mut facts) = (site.reader(), site.facts());
    reader.settle().expect("a healthy configuration");
    let mut times = Times::default();
    for _ in 0..RUNS {
        let began = Instant::now();
        reader.pass().expect("a healthy configuration");
        let tree = reader.tree();
        let facts = facts.collect(&tree);
        times.read.push(began.elapsed());
        let began = Instant::now();
        let compiled = compile(&tree, &facts);
        times.compile.push(began.elapsed());
        let began = Instant::now();
        sign(&compiled);
        times.sign.push(began.elapsed());
        if live {
            let saves = ["iptables", "ip6tables"].map(|tool| tools::save(&site.node.netns, tool, &[]));
            times.saves.push(saves[0].wall + saves[1].wall);
        }
    }
    times
}

/// The signatures of all chains and sets, for which they are rendered.
fn sign(compiled: &Compiled) {
    let ruleset = &compiled.ruleset;
    for family in Family::ALL {
        for (name, chain) in ruleset.filter[family].iter().chain(&ruleset.raw[family]) {
            black_box(chain.signature(name));
        }
    }
    for (name, chain) in &ruleset.bridge {
        black_box(chain.signature(name, MacStyle::Short));
    }
    for (name, set) in &ruleset.sets {
        black_box(set.signature(name));
    }
}

//! Tables with any number of rules of other programs are read in bounded memory.
use crate::budget::count;
use pve_firewall::health::ForeignRules;
use pve_firewall::iptables::plan::{BridgeFormat, BridgeParser, NatParser, TableName, TableParser};
use std::fmt::Write;

/// The number of rules, each generated when it is parsed: far more than the parser keeps, so that a million need no more memory.
const RULES: usize = 100_000;
/// The maximum number of allocations, for the rules that the parser keeps of each table.
const ALLOCATIONS: u64 = 5_000;
/// The maximum peak memory, in KiB.
const MEMORY: u64 = 400;

/// Passes a table to a parser line by line; `rule` gets the number of each.
fn generate_table(head: &str, rule: fn(&mut String, usize), mut line: impl FnMut(&str)) {
    head.lines().for_each(&mut line);
    let mut text = String::with_capacity(200);
    for at in 0..RULES {
        text.clear();
        rule(&mut text, at);
        line(&text);
    }
    line("COMMIT");
}

fn source(out: &mut String, at: usize) {
    write!(out, "10.{}.{}.{}/32", at >> 16, at >> 8 & 255, at & 255).unwrap();
}

#[track_caller]
fn check(name: &str, foreign: &ForeignRules, too_many: bool, (allocations, memory): (u64, u64)) {
    println!("{name}: {allocations} allocations, {memory} KiB");
    assert!(allocations <= ALLOCATIONS && memory <= MEMORY, "{name}: {allocations} allocations, {memory} KiB");
    assert_eq!(foreign.too_many, too_many, "{name}");
}

#[test]
fn any_number_of_rules_of_other_programs_is_read_in_bounded_memory() {
    let _exclusive = crate::measure();
    const FILTER: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:PVEFW-INPUT - [0:0]\n\
        -A PVEFW-INPUT -j RETURN";
    let table = |rule: fn(&mut String, usize)| {
        count(|| {
            let mut parser = TableParser::new(TableName::Filter);
            generate_table(FILTER, rule, |line| parser.line(line));
            parser.end().unwrap()
        })
    };
    let (read, cost) = table(|out, at| {
        out.push_str("-A INPUT -s ");
        source(out, at);
        out.push_str(" -j ACCEPT");
    });
    assert_eq!(read.chains["PVEFW-INPUT"].rules, 1);
    check("accepted before", &read.others, true, cost);
    let (read, cost) = table(|out, at| {
        out.push_str("-A INPUT -s ");
        source(out, at);
        out.push_str(" -m comment --comment \"x -j ACCEPT\" -j DROP");
    });
    check("dropped", &read.others, false, cost);
    let (read, cost) = table(|out, at| write!(out, "-A chain{at} -j PVEFW-INPUT").unwrap());
    check("jumps to a chain of ours", &read.others, false, cost);
    let (read, cost) = table(|out, at| write!(out, ":chain{at} - [0:0]").unwrap());
    check("chains", &read.others, false, cost);

    let (read, cost) = count(|| {
        let mut parser = NatParser::default();
        let rule = |out: &mut String, at: usize| {
            write!(out, "-A PREROUTING -p tcp --dport {at} -j DNAT --to-destination 172.17.0.2").unwrap()
        };
        generate_table("*nat\n:PREROUTING ACCEPT [0:0]", rule, |line| parser.line(line));
        parser.end().unwrap()
    });
    check("nat", &read, true, cost);

    let bridge = |format, head: &str, rule: fn(&mut String, usize)| {
        count(|| {
            let mut parser = BridgeParser::new(format);
            generate_table(head, rule, |line| parser.line(line));
            parser.end()
        })
    };
    let saved = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT";
    let (read, cost) = bridge(BridgeFormat::Save, saved, |out, at| {
        write!(out, "-A FORWARD -p IPv4 --ip-src 10.0.{}.{} -j DROP", at >> 8 & 255, at & 255).unwrap();
    });
    check("ebtables", &read.table.others, false, cost);
    let (read, cost) = bridge(BridgeFormat::Save, saved, |out, at| write!(out, ":chain{at} ACCEPT").unwrap());
    assert!(read.others.len() <= 1000, "{}", read.others.len());
    check("chains of ebtables", &read.table.others, true, cost);
}

//! nft as the measured programs run it, and nft alone.
//!
//! A wrapper counts the runs. On a kernel that does not track connections in bridges, it also replaces expressions of the guests'
//! table that such a kernel refuses by others of the same size.
use crate::netns::Netns;
use crate::sandbox::TOOLS;
use crate::tools;
use pve_firewall::nftables::names::{Name, TableName};
use pve_firewall::nftables::plan::{LiveCache, diff, script};
use pve_firewall::nftables::ruleset::{Chain, Ruleset};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = "/usr/sbin/nft";
/// A line for each run.
const RUNS: &str = "/run/nft.runs";
/// For sed(1): the rules of the guests' table, which is the last in a script.
const REPLACED: &str = r"/^table bridge /,$ {
s/(^| )ct mark set /\1meta mark set /
s/(^| )ct state [a-z,]+/\1meta mark 7/
s/(^| )reject with (tcp reset|icmp(v6)? [a-z-]+)/\1drop/
s/meta ibrname \. meta obrname/iifname . oifname/
s/(^| )queue num [0-9-]+( bypass)?/\1accept/
}";
const BRIDGED: &str =
    "table bridge t { chain c { type filter hook prerouting priority 0; meta ibrname v ct state new reject; }; }";

/// Whether this kernel supports the guests' table.
pub fn supports_guest_rules() -> bool {
    Command::new(PROGRAM).args(["-c", BRIDGED]).output().is_ok_and(|output| output.status.success())
}

/// Replaces nft by the wrapper, for this process and its children.
pub fn install() {
    let filter = if supports_guest_rules() { "cat" } else { "sed -Ef /run/nft.sed" };
    let text = format!(
        "#!/bin/sh\necho \"$*\" >>{RUNS}\ncase \"$*\" in\n*'-f -') {filter} | {PROGRAM} \"$@\" ;;\n*) exec {PROGRAM} \"$@\" ;;\nesac\n"
    );
    let path = Path::new(TOOLS).join("nft");
    let written = fs::create_dir_all(TOOLS)
        .and_then(|()| fs::write(RUNS, ""))
        .and_then(|()| fs::write("/run/nft.sed", REPLACED))
        .and_then(|()| fs::write(&path, text))
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    written.expect("a directory for tools");
}

/// How often nft was run since [`install`].
pub fn runs() -> usize {
    fs::read_to_string(RUNS).expect("the runs of nft").lines().count()
}

/// A ruleset as plain text: the same rules without comments.
pub fn text(ruleset: &Ruleset) -> String {
    let script = script(&diff(ruleset, &LiveCache::default(), &|_, _| None), ruleset);
    let without_comment = |line: &str| line.split_once(" comment \"").map_or(line, |(rule, _)| rule).to_string() + "\n";
    script.text.lines().map(without_comment).collect()
}

/// The text that replaces the rules of a chain of the guests' table.
pub fn chain_text(name: &Name, chain: &Chain) -> String {
    let table = TableName::Guests;
    let mut text = format!("table {table} {{\n}}\nflush chain {table} {name}\n");
    for rule in chain.rules() {
        let _ = write!(text, "add rule {table} {name} ");
        rule.put(&mut text);
        text.push('\n');
    }
    text
}

/// Loads a text with nft alone, and returns the time. Expressions that this kernel does not have are already replaced.
pub fn load(netns: &Netns, text: &str) -> Duration {
    let (given, file) = (Path::new("/run/nft.given"), Path::new("/run/nft.text"));
    fs::write(given, text).expect("the text");
    let filter: &[&str] = if supports_guest_rules() { &["cat"] } else { &["sed", "-Ef", "/run/nft.sed"] };
    let filtered = Command::new(filter[0]).args(&filter[1..]).arg(given).output().expect("sed");
    assert!(filtered.status.success(), "{}", String::from_utf8_lossy(&filtered.stderr));
    fs::write(file, filtered.stdout).expect("the text");
    tools::run(netns, PROGRAM, &["-f", "/run/nft.text"], None).wall
}

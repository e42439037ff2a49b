//! The manual pages are well-formed and match the program's tables.
use crate::wait::OutputInTime;
use clap::CommandFactory;
use pve_firewall::builtin::helpers::HELPERS;
use pve_firewall::builtin::macros::{MACROS, Macro, MacroRule};
use pve_firewall::cli::Cli;
use pve_firewall::config::known_options;
use pve_firewall::model::FileKind;
use std::fs;
use std::process::Command;

const PAGES: [&str; 4] = ["pve-firewall.8", "pvefw-logger.8", "proxmox-firewall.8", "pve-firewall.fw.5"];

fn path(page: &str) -> String {
    format!("{}/man/{page}", env!("CARGO_MANIFEST_DIR"))
}

fn text(page: &str) -> String {
    fs::read_to_string(path(page)).unwrap()
}

/// The text between two lines.
fn between<'a>(text: &'a str, first: &str, last: &str) -> &'a str {
    let (_, rest) = text.split_once(first).unwrap_or_else(|| panic!("no {first}"));
    rest.split_once(last).unwrap_or_else(|| panic!("no {last} after {first}")).0
}

#[test]
fn pages_are_well_formed() {
    for page in PAGES {
        let output = Command::new("mandoc").args(["-Tlint", "-Wwarning", &path(page)]).output_in_time();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_manual_names_every_kind_of_finding() {
    let page = text("pve-firewall.8");
    let section = between(&page, ".Sh WARNINGS\n", ".Sh SIGNALS");
    let kinds: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix(".It Cm ")).collect();
    assert_eq!(kinds, pve_firewall::health::KINDS);
}

#[test]
fn the_options_in_the_manual_match_the_program() {
    let page = text("pve-firewall.fw.5");
    let kinds = [
        (FileKind::Cluster, ".Ss cluster.fw\n"),
        (FileKind::Host, ".Ss host.fw\n"),
        (FileKind::Guest, ".Ss Guests\n"),
        (FileKind::Vnet, ".Ss Vnets\n"),
    ];
    for (kind, title) in kinds {
        let section = between(&page, title, "\n.El");
        let items = section.split(".It Cm ").skip(1).map(|item| {
            let key = item.split_once(' ').unwrap().0;
            // the default is in the head of an item, before its first sentence
            let head = item.lines().take_while(|line| *line == item.lines().next().unwrap() || line.starts_with('.'));
            let head = head.collect::<Vec<_>>().join("\n");
            let default = head.split_once("default: ").map_or("", |(_, rest)| rest.lines().next().unwrap());
            (key.to_string(), default.to_string())
        });
        let known = known_options(kind).into_iter().map(|known| (known.key.to_string(), known.default.to_string()));
        assert_eq!(items.collect::<Vec<_>>(), known.collect::<Vec<_>>(), "{kind:?}");
    }
}

#[test]
fn the_macros_in_the_manual_match_the_program() {
    let page = text("pve-firewall.fw.5");
    let table = between(&page, ".It Sy macro Ta Sy protocol and ports\n", ".El");
    let rows: Vec<&str> = table.lines().collect();
    let known: Vec<String> = MACROS.iter().map(row).collect();
    assert_eq!(rows, known);
}

fn row(one: &Macro) -> String {
    let rules = |rules: &[MacroRule]| rules.iter().map(rule).collect::<Vec<_>>().join(", ");
    let (v4, v6) = (rules(one.v4), rules(one.v6));
    let what = match (v4 == v6, v4.is_empty()) {
        (true, _) => v4,
        (false, true) => format!("IPv6: {v6}"),
        (false, false) => format!("IPv4: {v4}; IPv6: {v6}"),
    };
    format!(".It {} Ta {what}", one.name)
}

fn rule(one: &MacroRule) -> String {
    let dport = one.dport.or(one.icmp_type).map(|what| format!(" {what}")).unwrap_or_default();
    let sport = one.sport.map(|ports| format!(" from {ports}")).unwrap_or_default();
    format!("{}{dport}{sport}", one.proto)
}

#[test]
fn the_helpers_in_the_manual_match_the_program() {
    let page = text("pve-firewall.fw.5");
    let names: Vec<_> = HELPERS.iter().map(|helper| helper.name).collect();
    assert!(page.contains(&format!(".Cm {} .", names.join(" , "))), "{names:?}");
}

#[test]
fn commands_and_options_are_all_explained() {
    let page = text("pve-firewall.8");
    let command = Cli::command();
    let mut seen = 0;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        assert!(page.contains(&format!(".It Cm {}", sub.get_name())), "{}", sub.get_name());
        for option in sub.get_arguments().chain(command.get_arguments()).filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("Fl -{option}")) || page.contains(&format!(", -{option}")), "--{option}");
            seen += 1;
        }
    }
    assert!(seen > 20, "the grammar was not read");
}

#[test]
fn example_files_have_no_errors() {
    let page = text("pve-firewall.fw.5");
    let tree = tempfile::tempdir().unwrap();
    let mut files = 0;
    for block in page.split(".Bd -literal -offset indent\n").skip(1) {
        let block = between(block, "", "\n.Ed");
        let Some(path) = block.lines().next().and_then(|line| line.strip_prefix("# /etc/pve/")) else { continue };
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, block).unwrap();
        files += 1;
    }
    assert!(files >= 2, "no examples");
    fs::create_dir_all(tree.path().join("nodes/n1/qemu-server")).unwrap();
    let conf = "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1\n";
    fs::write(tree.path().join("nodes/n1/qemu-server/100.conf"), conf).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_pve-firewall"));
    let output = check.args(["check", "--node", "n1", "--config"]).arg(tree.path()).output_in_time();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

//! The command line options.
use super::endpoint::Endpoint;
use crate::model::Failsafe;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

/// Compile the Proxmox VE firewall configuration to netfilter rules and apply them
#[derive(Debug, Parser)]
#[command(name = "pve-firewall", version, arg_required_else_help = true, subcommand_required = true)]
#[command(after_help = "Example: pve-firewall status --verbose    # see 'pve-firewall help COMMAND' for more examples")]
pub struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options for all commands.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Prefix for every path that is read or written, except /proc and /sys. If DIR has no /etc/services,
    /// /etc/protocols or /etc/ethertypes, the system's are used
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub root: Option<PathBuf>,
    /// Configuration directory, instead of /etc/pve
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub config: Option<PathBuf>,
    /// Name of the node, instead of the host name up to the first dot
    #[arg(long, global = true, value_name = "NODE", value_parser = node_name)]
    pub node: Option<String>,
    /// Print more details
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// Variant of iptables, ip6tables and ebtables: auto selects the one with live rules, otherwise legacy if the
    /// kernel supports it
    #[arg(long, global = true, value_name = "VARIANT", default_value = VARIANTS[0])]
    #[arg(value_parser = PossibleValuesParser::new(VARIANTS))]
    pub variant: String,
}

const VARIANTS: [&str; 3] = ["auto", "legacy", "nft"];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start the daemon, with systemd if it is running
    #[command(after_help = "Example: pve-firewall start --debug    # in the foreground, with messages on stderr")]
    Start(StartOptions),
    /// Stop the daemon and remove every rule of the firewall
    #[command(after_help = "Example: pve-firewall stop    # the node and its guests are then unprotected")]
    Stop,
    /// Re-execute the daemon; the rules stay in place. Starts it if it is not running
    #[command(after_help = "Example: pve-firewall restart    # after replacing the program manually")]
    Restart,
    /// Show whether the firewall is enabled, the daemon is running, and changes are pending
    #[command(after_help = "Example: pve-firewall status --verbose")]
    Status(StatusOptions),
    /// Print the compiled ruleset and compare it with the live rules
    #[command(after_help = "Example: pve-firewall compile | grep -A20 tap100i0-IN    # rules for packets to guest 100")]
    Compile(CompileOptions),
    /// Check the configuration for errors and likely mistakes; changes nothing
    #[command(after_help = "Example: pve-firewall check /root/cluster.fw    # before replacing the one in /etc/pve")]
    Check(CheckOptions),
    /// Show the changes that files would cause, and the current connections that they would refuse
    #[command(after_help = "Example: pve-firewall preview /root/cluster.fw    # before replacing the one in /etc/pve")]
    Preview(PreviewOptions),
    /// Apply files for a limited time: unless they are confirmed, the configuration is applied again
    #[command(after_help = "Example: pve-firewall try --for 120 /root/cluster.fw    # reverts itself after 120 s")]
    Try(TryOptions),
    /// Write the files on trial to the configuration
    #[command(after_help = "Example: pve-firewall confirm    # from a new session, to be sure that access works")]
    Confirm,
    /// End a trial before its deadline: the configuration is applied again
    #[command(after_help = "Example: pve-firewall revert")]
    Revert,
    /// Show the node's address, the local network and the corosync peers
    #[command(after_help = "Example: pve-firewall localnet")]
    Localnet,
    /// Trace one packet through the compiled ruleset and print the verdict
    #[command(after_help = "Example: pve-firewall simulate --to vm100 --dport 22 --source 192.0.2.7 --verbose")]
    Simulate(SimulateOptions),
    #[command(name = crate::pmxcfs::WORKER_COMMAND, hide = true)]
    ReadTree { config: PathBuf, node: String, log: Option<PathBuf> },
}

#[derive(Debug, Args)]
pub(super) struct StartOptions {
    /// Stay in the foreground and log to stderr too
    #[arg(long)]
    pub debug: bool,
    /// Stay in the foreground, for a service manager
    #[arg(long)]
    pub foreground: bool,
    /// Keep no copy of the last good configuration, which is applied after a boot until /etc/pve can be read
    #[arg(long)]
    pub no_last_good: bool,
    /// Accept connections to these ports of the node regardless of the configuration, such as tcp/22@10.0.0.0/8,tcp/8006
    #[arg(long, value_name = "PROTO/PORT[@NETWORK],...", default_value = "", hide_default_value = true)]
    pub failsafe: Failsafe,
    /// Drop frames from and to firewalled devices whose IP packets bypass iptables: with a VLAN tag, PPPoE, LLC. Trunks keep
    /// their tags
    #[arg(long)]
    pub strict_layer2: bool,
    /// Log the packets that are otherwise dropped without a log entry, such as broadcasts and those of the state INVALID
    #[arg(long)]
    pub log_all_drops: bool,
    /// Delete connections from connection tracking that a change of the rules no longer accepts
    #[arg(long)]
    pub cut_connections: bool,
    /// Read all live rules and all files again at least this often, even without a detected change
    #[arg(long, value_name = "SECONDS", default_value_t = FULL_READING, value_parser = clap::value_parser!(u64).range(1..=FULL_READING))]
    pub full_reading: u64,
}

/// In seconds.
pub(super) const FULL_READING: u64 = crate::backend::FULL_READING.as_secs();

impl Default for StartOptions {
    fn default() -> Self {
        StartOptions {
            debug: false,
            foreground: false,
            no_last_good: false,
            failsafe: Failsafe::default(),
            strict_layer2: false,
            log_all_drops: false,
            cut_connections: false,
            full_reading: FULL_READING,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct StatusOptions {
    /// Print one JSON object with everything that --verbose shows
    #[arg(long)]
    pub json: bool,
    /// Exit with 0 without problems, 1 if there are warnings or errors or changes are pending, 2 if the node or a guest is not
    /// filtered or the daemon is not running
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args)]
pub(super) struct CompileOptions {
    /// Do not read the live rules: everything is to be created. Needs no privileges
    #[arg(long)]
    pub offline: bool,
    /// Show the changed lines of each chain instead, with the configuration line that causes each change
    #[arg(long, conflicts_with = "offline")]
    pub diff: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// Files to check in place of those of the configuration, such as a new cluster.fw or 100.fw
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Print a JSON array with an object for each finding
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PreviewOptions {
    /// Files in place of those of the configuration, such as a new cluster.fw, host.fw or 100.fw
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Show each change line by line
    #[arg(long)]
    pub diff: bool,
    /// Succeed despite errors, and even if your own connection would be refused
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "diff")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TryOptions {
    /// Files in place of those of the configuration, such as a new cluster.fw, host.fw or 100.fw
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// How long they are applied unless they are confirmed
    #[arg(long = "for", value_name = "SECONDS", default_value_t = DEFAULT_TRIAL, value_parser = clap::value_parser!(u64).range(1..=MAX_TRIAL))]
    pub seconds: u64,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Show each change line by line
    #[arg(long)]
    pub diff: bool,
    /// Continue despite errors, and even if your own connection would be refused
    #[arg(long)]
    pub force: bool,
}

/// In seconds.
const DEFAULT_TRIAL: u64 = 60;
/// One day, in seconds.
const MAX_TRIAL: u64 = 86_400;

/// The packet, its source and its destination.
#[derive(Debug, Args)]
pub(super) struct SimulateOptions {
    /// The source.
    #[arg(long, value_name = "ZONE", default_value = "outside")]
    #[arg(help = "Source: host, outside, an address, vm<ID>[i<N>], ct<ID>[i<N>] or <bridge>/<port>")]
    pub from: Endpoint,
    /// Destination, in the same format
    #[arg(long, value_name = "ZONE", default_value = "host")]
    pub to: Endpoint,
    /// Name or number from /etc/protocols, or arp; default: tcp. A TCP packet is a SYN
    #[arg(long, value_name = "P")]
    pub protocol: Option<String>,
    /// Source address; a rule with a match on an unknown field does not match
    #[arg(long, value_name = "A")]
    pub source: Option<IpAddr>,
    /// Destination address
    #[arg(long, value_name = "A")]
    pub dest: Option<IpAddr>,
    /// Source port
    #[arg(long, value_name = "N", value_parser = port)]
    pub sport: Option<u16>,
    /// Destination port
    #[arg(long, value_name = "N", value_parser = port)]
    pub dport: Option<u16>,
    /// ICMP or ICMPv6 type: a name, a number, or type/code
    #[arg(long, value_name = "T")]
    pub icmp_type: Option<String>,
    /// Print one JSON object with the whole path
    #[arg(long)]
    pub json: bool,
}

/// A node name is used as the name of a directory.
fn node_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.is_empty() || !text.bytes().all(plain) {
        return Err("a node name may only contain letters, digits and '-'".into());
    }
    Ok(text.to_string())
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "a port is a number from 0 to 65535".into())
}

/// Boolean options.
const SWITCHES: [&str; 11] = [
    "--verbose",
    "--debug",
    "--foreground",
    "--no-last-good",
    "--cut-connections",
    "--json",
    "--exit-code",
    "--offline",
    "--diff",
    "--yes",
    "--force",
];

/// Accepts the syntax of PVE: a single dash, and `1` or `0` after a boolean option.
pub(super) fn two_dashes(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut translated = Vec::new();
    let mut args = args.into_iter().map(with_two_dashes).peekable();
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_string())));
        if !SWITCHES.contains(&name) {
            translated.push(arg);
            continue;
        }
        let next = || args.next_if(|next| next == "0" || next == "1").and_then(|next| next.into_string().ok());
        match value.clone().or_else(next).as_deref() {
            None | Some("1") => translated.push(name.into()),
            Some("0") => {}
            Some(_) => translated.push(arg),
        }
    }
    translated
}

fn with_two_dashes(arg: OsString) -> OsString {
    match arg.to_str() {
        Some(text) if is_one_dash_option(text) => format!("-{text}").into(),
        _ => arg,
    }
}

fn is_one_dash_option(text: &str) -> bool {
    let name = text.strip_prefix('-').unwrap_or_default();
    name.len() > 1 && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_syntax_of_pve_is_accepted() {
        let cases: &[(&str, &str)] = &[
            ("x status -verbose 1", "x status --verbose"),
            ("x status -verbose 0", "x status"),
            ("x start --debug 1", "x start --debug"),
            ("x start --debug=1", "x start --debug"),
            ("x start --debug=2", "x start --debug=2"),
            ("x compile -node n1", "x compile --node n1"),
            ("x compile --node 1", "x compile --node 1"),
            ("x status -v", "x status -v"),
            ("x --verbose status", "x --verbose status"),
        ];
        for (given, wanted) in cases {
            let translated = two_dashes(given.split(' ').map(OsString::from));
            assert_eq!(translated, wanted.split(' ').map(OsString::from).collect::<Vec<_>>(), "{given}");
        }
    }

    #[test]
    fn every_command_has_an_example() {
        use clap::CommandFactory;
        let (all, logger) = (Cli::command(), crate::logger::args::Args::command());
        for command in all.get_subcommands().chain([&all, &logger]).filter(|command| !command.is_hide_set()) {
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let words = example.split("    #").next().unwrap_or_default().split('|').next().unwrap_or_default();
            let words = words.strip_prefix("Example: ").unwrap_or_else(|| panic!("{}", command.get_name()));
            let args = || words.split_whitespace();
            let understood = match args().next() {
                Some("pvefw-logger") => crate::logger::args::Args::try_parse_from(args()).is_ok(),
                _ => Cli::try_parse_from(args()).is_ok(),
            };
            assert!(understood, "{words}");
        }
    }

    #[test]
    fn the_grammar_is_complete() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}

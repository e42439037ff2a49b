//! The grammar of the command line.
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Compiles the Proxmox VE firewall configuration to netfilter rules, and keeps them live
#[derive(Debug, Parser)]
#[command(name = "pve-firewall", version, arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Prefix of every path that is read or written, but for /proc and /sys. A root without /etc/services,
    /// /etc/protocols or /etc/ethertypes uses the system's
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The configuration's root, instead of /etc/pve
    #[arg(long, global = true, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// The node's name, instead of the host name up to the first dot
    #[arg(long, global = true, value_name = "NAME", value_parser = node_name)]
    pub node: Option<String>,
    /// Say more
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// The variant of iptables, ip6tables and ebtables that is used: auto takes the one whose rules are live, else
    /// legacy where the kernel has it
    #[arg(long, global = true, value_name = "VARIANT", default_value = VARIANTS[0])]
    #[arg(value_parser = PossibleValuesParser::new(VARIANTS))]
    pub variant: String,
}

const VARIANTS: [&str; 3] = ["auto", "legacy", "nft"];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start the daemon; where systemd runs, through systemd
    Start(StartOptions),
    /// Stop the daemon and remove every rule of the firewall
    Stop,
    /// Let the daemon execute itself anew, with all rules in place; start it if it is not running
    Restart,
    /// Show whether the firewall is enabled and the daemon running, and whether changes are pending
    Status(StatusOptions),
    /// Print the compiled ruleset against the live one
    Compile(CompileOptions),
    /// Show the node's network as the firewall sees it
    Localnet,
    #[command(name = crate::reader::WORKER_COMMAND, hide = true)]
    ReadTree { config: PathBuf, node: String },
}

#[derive(Debug, Default, Args)]
pub(super) struct StartOptions {
    /// Stay in the foreground and log to stderr too
    #[arg(long)]
    pub debug: bool,
    /// Stay in the foreground, as a service manager wants it
    #[arg(long)]
    pub foreground: bool,
    /// Keep no copy of the last good configuration, which is in force after a boot until /etc/pve is there
    #[arg(long)]
    pub no_last_good: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusOptions {
    /// Print one JSON object with all that --verbose shows
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CompileOptions {
    /// Do not look at the kernel: everything is to be created. Needs no privileges
    #[arg(long)]
    pub offline: bool,
}

/// A node's name is the name of a folder.
fn node_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.is_empty() || !text.bytes().all(plain) {
        return Err("a node's name has letters, digits and '-' only".into());
    }
    Ok(text.to_string())
}

/// Options that are on or off.
const SWITCHES: [&str; 6] = ["--verbose", "--debug", "--foreground", "--no-last-good", "--json", "--offline"];

/// Translates PVE's spellings: one dash for two, and `1` or `0` behind an option that is on or off.
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
    fn spellings_of_pve_are_translated() {
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
    fn the_grammar_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}

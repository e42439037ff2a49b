//! The program `proxmox-firewall`, with the commands of the official one and some of `pve-firewall`.
use super::args::{CheckOptions, FULL_READING, Global, SimulateOptions, StartOptions, StatusOptions};
use super::{
    Context, check, compile, complete, hint_other_program, load, output, require_root, restart, simulate, start, status,
};
use crate::daemon::instance::Instance;
use crate::daemon::{self, Setup};
use crate::model::{BackendKind, Failsafe};
use crate::paths::NFTABLES_BACKEND;
use crate::pmxcfs::worker;
use crate::system::syslog::Severity;
use anyhow::{Result, bail};
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Enforce the Proxmox VE firewall configuration with nftables
#[derive(Debug, Parser)]
#[command(name = "proxmox-firewall", version)]
#[command(after_help = "Example: proxmox-firewall status --verbose    # messages: PVE_LOG=debug, or RUST_LOG=debug")]
pub struct ProxmoxCli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the firewall in the foreground until SIGTERM, which removes both tables
    #[command(after_help = "Example: proxmox-firewall start    # what proxmox-firewall.service runs")]
    Start(Start),
    /// Re-execute the running daemon from the program on disk, for 'systemctl reload'; the rules stay in place
    #[command(hide = true)]
    Restart,
    /// Print the rules of the current configuration as JSON for 'nft -j -f -'; changes nothing
    #[command(after_help = "Example: proxmox-firewall compile > rules.json")]
    Compile,
    /// Print the part that every ruleset has, as text for 'nft -f -'; changes nothing
    #[command(after_help = "Example: proxmox-firewall skeleton")]
    Skeleton,
    /// Print the networks that may always manage the node
    #[command(after_help = "Example: proxmox-firewall localnet")]
    Localnet,
    /// Show whether the firewall is enabled, the daemon is running, and changes are pending
    #[command(after_help = "Example: proxmox-firewall status --verbose")]
    Status(StatusOptions),
    /// Check the configuration for errors and likely mistakes; changes nothing
    #[command(
        after_help = "Example: proxmox-firewall check /root/cluster.fw    # before replacing the one in /etc/pve"
    )]
    Check(CheckOptions),
    /// Trace one packet through the compiled rules and print the verdict
    #[command(after_help = "Example: proxmox-firewall simulate --to vm100 --dport 22 --verbose")]
    Simulate(SimulateOptions),
    #[command(name = crate::pmxcfs::WORKER_COMMAND, hide = true)]
    ReadTree { config: PathBuf, node: String, log: Option<PathBuf> },
}

#[derive(Clone, Debug, Args)]
struct Start {
    /// Keep no copy of the last good configuration, which is applied after a boot until /etc/pve can be read
    #[arg(long)]
    no_last_good: bool,
    /// Accept connections to these ports of the node regardless of the configuration, such as tcp/22@10.0.0.0/8,tcp/8006
    #[arg(long, value_name = "PROTO/PORT[@NETWORK],...", default_value = "", hide_default_value = true)]
    failsafe: Failsafe,
    /// Drop frames from and to firewalled devices whose IP packets bypass the rules: with a VLAN tag, PPPoE, LLC. Trunks keep
    /// their tags
    #[arg(long)]
    strict_layer2: bool,
    /// Delete connections from connection tracking that a change of the rules no longer accepts
    #[arg(long)]
    cut_connections: bool,
    /// Read all files again at least this often, even without a detected change
    #[arg(long, value_name = "SECONDS", default_value_t = FULL_READING, value_parser = clap::value_parser!(u64).range(1..=FULL_READING))]
    full_reading: u64,
    /// Log to stderr too
    #[arg(long)]
    debug: bool,
    /// Has no effect; accepted because a daemon that re-executes itself passes it
    #[arg(long, hide = true)]
    foreground: bool,
}

impl Start {
    /// The options of `proxmox-firewall --debug` without a command.
    fn debugging() -> Self {
        Start {
            no_last_good: false,
            failsafe: Failsafe::default(),
            strict_layer2: false,
            cut_connections: false,
            full_reading: FULL_READING,
            debug: true,
            foreground: false,
        }
    }
}

/// Runs the command given by these arguments, the first of which is the program name.
///
/// The exit status is 0 for success, and 1 for a failure (one line `Error: …` on stderr) and for wrong usage.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    complete::answer(ProxmoxCli::command, "proxmox-firewall", NFTABLES_BACKEND);
    let cli = match ProxmoxCli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // a closed stream does not change the exit status
            let _ = error.print();
            if let Some(note) = hint_other_program(&error, BackendKind::Nftables) {
                output::note(&note);
                return ExitCode::FAILURE;
            }
            if error.use_stderr() {
                output::note(&ProxmoxCli::command().render_long_help().to_string());
            }
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match Context::new(BackendKind::Nftables, cli.global).and_then(|context| dispatch(&context, cli.command)) {
        Ok(status) => status,
        Err(error) => {
            output::note(&format!("Error: {}", format!("{error:#}").replace('\n', " ")));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(context: &Context, command: Option<Command>) -> Result<ExitCode> {
    match command {
        Some(Command::Start(options)) => run_daemon(context, &options),
        Some(Command::Restart) => restart::run(context),
        Some(Command::Compile) => compile::print(context, &mut load::backend(context, context.kind).offline()),
        Some(Command::Skeleton) => output::data(&crate::backend::skeleton()),
        Some(Command::Localnet) => localnet(context),
        Some(Command::Status(options)) => return status::run(context, &options),
        Some(Command::Check(options)) => check::run(context, &options),
        Some(Command::Simulate(options)) => simulate::run(context, &options),
        Some(Command::ReadTree { config, node, log }) => worker::work(config, node, log),
        // as described for debugging in the manual of Proxmox VE
        None if std::env::var_os(RUST_LOG).is_some() => run_daemon(context, &Start::debugging()),
        None => bail!("no command given; 'proxmox-firewall help' lists them"),
    }
    .map(|()| ExitCode::SUCCESS)
}

const PVE_LOG: &str = "PVE_LOG";
const RUST_LOG: &str = "RUST_LOG";

fn run_daemon(context: &Context, options: &Start) -> Result<()> {
    require_root(context, "start")?;
    let instance = Instance::claim(&context.root, context.kind)?;
    let Start { no_last_good, failsafe, strict_layer2, cut_connections, full_reading, debug, foreground: _ } =
        options.clone();
    let options = StartOptions {
        debug,
        no_last_good,
        failsafe,
        strict_layer2,
        cut_connections,
        full_reading,
        ..StartOptions::default()
    };
    let level = [PVE_LOG, RUST_LOG].into_iter().find_map(|name| std::env::var(name).ok());
    let min_severity = level.map_or(Severity::Notice, |level| min_severity(&level));
    daemon::run(Setup { min_severity, ..start::setup(context, &options)? }, &instance)
}

/// The minimum severity for a level in `PVE_LOG` or `RUST_LOG`: `info`, or `module=trace,warn`, of which the most verbose is
/// used. The level `warn` includes notices, because a notice reports the end of a warning.
fn min_severity(level: &str) -> Severity {
    let words = level.split(',').map(|part| part.rsplit('=').next().unwrap_or(part).trim().to_ascii_lowercase());
    let severities = words.filter_map(|word| match word.as_str() {
        "off" | "error" => Some(Severity::Error),
        "warn" | "warning" => Some(Severity::Notice),
        "info" => Some(Severity::Info),
        "debug" => Some(Severity::Debug),
        "trace" => Some(Severity::Trace),
        _ => None,
    });
    severities.max().unwrap_or(Severity::Notice)
}

/// The networks that may always manage the node, one a line.
fn localnet(context: &Context) -> Result<()> {
    let view = load::read(context, &mut load::backend(context, context.kind).offline())?;
    load::note_other_backend(context, &view.compiled);
    let networks = crate::backend::management_networks(&view.compiled.configuration, &view.facts);
    let lines: String = networks.iter().map(|network| format!("{network}\n")).collect();
    output::data(&format!("Management IPSet:\n{lines}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_verbose_level_is_used() {
        for (text, expected) in [
            ("trace", Severity::Trace),
            ("debug", Severity::Debug),
            ("warn", Severity::Notice),
            ("INFO", Severity::Info),
            ("proxmox_firewall=debug,error", Severity::Debug),
            ("error", Severity::Error),
            ("nonsense", Severity::Notice),
        ] {
            assert_eq!(min_severity(text), expected, "{text}");
        }
    }

    #[test]
    fn the_grammar_is_complete() {
        ProxmoxCli::command().debug_assert();
    }
}

//! The program `pve-firewall`, with a file for each command; `args` defines the options.
#![allow(clippy::disallowed_methods, reason = "I/O is done in this module")]

mod args;
mod check;
mod compile;
mod complete;
mod endpoint;
mod given_files;
mod load;
mod localnet;
mod output;
mod preview;
pub mod proxmox;
mod restart;
mod simulate;
mod start;
mod status;
mod stop;
mod style;
mod trial;

pub use args::Cli;

use crate::backend::VariantChoice;
use crate::facts::node_name;
use crate::model::BackendKind;
use crate::pmxcfs::worker;
use crate::system::root_directory::Root;
use anyhow::{Context as _, Result, bail};
use args::{Command, Global};
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the command given by these arguments, the first of which is the program name.
///
/// The exit status is 0 for success, 1 for a failure (one line `ERROR: …` on stderr), 2 for wrong usage, 3 for a trial that was
/// not confirmed.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    complete::answer(Cli::command, "pve-firewall", "pve-firewall");
    let cli = match Cli::try_parse_from(args::two_dashes(args)) {
        Ok(cli) => cli,
        Err(mut error) => {
            suggest_nearest(&mut error);
            // a closed stream does not change the exit status
            let _ = error.print();
            if let Some(note) = hint_other_program(&error, BackendKind::Iptables) {
                output::note(&note);
            }
            if error.use_stderr() && error.get(ContextKind::Usage).is_none() {
                output::note(&Cli::command().render_usage().to_string());
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match Context::new(BackendKind::Iptables, cli.global).and_then(|context| dispatch(&context, cli.command)) {
        Ok(status) => status,
        Err(error) => {
            output::error(format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

/// The hint for an unknown command that is a command of the other backend's program.
fn hint_other_program(error: &clap::Error, kind: BackendKind) -> Option<String> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let other = match kind {
        BackendKind::Iptables => proxmox::ProxmoxCli::command(),
        BackendKind::Nftables => Cli::command(),
    };
    other.get_subcommands().find(|command| command.get_name() == name)?;
    Some(match (kind, name.as_str()) {
        (BackendKind::Nftables, "stop") => "proxmox-firewall is stopped with 'systemctl stop proxmox-firewall'".into(),
        (BackendKind::Nftables, _) => {
            format!("'{name}' is a command of pve-firewall, for both backends: 'pve-firewall {name}'")
        }
        (BackendKind::Iptables, _) => {
            format!("'{name}' is a command of proxmox-firewall: '{} {name}'", crate::paths::NFTABLES_BACKEND)
        }
    })
}

/// Suggests only the nearest command for an unknown one, which clap lists last.
fn suggest_nearest(error: &mut clap::Error) {
    if let Some(ContextValue::Strings(names)) = error.get(ContextKind::SuggestedSubcommand)
        && let Some(nearest) = names.last().cloned()
    {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![nearest]));
    }
}

fn dispatch(context: &Context, command: Command) -> Result<ExitCode> {
    match command {
        Command::Start(options) => start::run(context, &options),
        Command::Stop => stop::run(context),
        Command::Restart => restart::run(context),
        Command::Status(options) => return status::run(context, &options),
        Command::Compile(options) => compile::run(context, &options),
        Command::Check(options) => check::run(context, &options),
        Command::Preview(options) => preview::run(context, &options),
        Command::Try(options) => return trial::start(context, &options),
        Command::Confirm => trial::confirm(context),
        Command::Revert => trial::revert(context),
        Command::Localnet => localnet::run(context),
        Command::Simulate(options) => simulate::run(context, &options),
        Command::ReadTree { config, node, log } => worker::work(config, node, log),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// The values of the global options.
struct Context {
    root: Root,
    config: PathBuf,
    node: Option<String>,
    /// The backend of the program.
    kind: BackendKind,
    variant: VariantChoice,
    verbose: bool,
    /// Whether the command applies to the node itself, with its systemd units, and not to another root or configuration.
    whole_system: bool,
    /// The options, as arguments for another process.
    options: Vec<OsString>,
}

impl Context {
    fn new(kind: BackendKind, global: Global) -> Result<Self> {
        let absolute = |dir: PathBuf| {
            std::path::absolute(&dir).with_context(|| format!("{} is not a valid directory name", dir.display()))
        };
        let dir = global.root.clone().map(absolute).transpose()?;
        let root = Root::new(dir.clone());
        let given = global.config.clone().map(absolute).transpose()?;
        let config = given.clone().unwrap_or_else(|| root.path(crate::paths::CONFIG));
        let whole_system = root == Root::default() && given.is_none() && global.node.is_none();
        let mut options = Vec::new();
        let paths = [("--root", dir), ("--config", given), ("--node", global.node.clone().map(PathBuf::from))];
        for (option, value) in paths {
            options.extend(value.into_iter().flat_map(|value| [option.into(), value.into_os_string()]));
        }
        let variant = global.variant.parse().map_err(anyhow::Error::msg)?;
        options.extend(["--variant".into(), global.variant.into()]);
        Ok(Context { kind, root, config, node: global.node, variant, verbose: global.verbose, whole_system, options })
    }

    /// Whether to align columns and show the origins of rules. Programs get the fixed format.
    fn for_people(&self) -> bool {
        self.verbose || output::is_terminal()
    }

    fn node(&self) -> Result<String> {
        self.node.clone().map_or_else(node_name, Ok)
    }
}

/// Checks that the user is root, for commands that change something.
fn require_root(context: &Context, command: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("'{} {command}' must be run as root", context.kind.program());
    }
    Ok(())
}

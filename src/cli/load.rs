//! Reads and compiles the configuration once, for read-only commands.
use super::{Context, output};
use crate::backend::{Backend, Compiled};
use crate::config::{InForce, in_force};
use crate::daemon::instance::running;
use crate::daemon::last_good::LastGood;
use crate::daemon::mode::Mode;
use crate::daemon::status::Status;
use crate::facts::{FactsSource, node_name};
use crate::health::{ActiveFinding, Affected};
use crate::inputs::{Facts, Interfaces, Tree};
use crate::model::BackendKind;
use crate::pmxcfs::{Reader, ReaderConfig, this_program};
use crate::system::netlink::BridgePorts;
use crate::system::process::processors;
use crate::trial::{Trial, TrialStore};
use anyhow::{Result, anyhow};
use std::sync::Arc;

/// Reads the configuration; prints unreadable files to stderr.
///
/// # Errors
/// When the configuration tree is unhealthy.
pub(super) fn tree(context: &Context, node: &str) -> Result<Tree> {
    let program = this_program().to_path_buf();
    let mut reader = Reader::new(program, context.config.clone(), node.to_string(), ReaderConfig::COMMAND, None);
    let tree = reader.settle().map_err(|problem| with_advice(&problem.to_string(), context))?;
    output::reports(&reader.reports());
    Ok(Arc::unwrap_or_clone(tree))
}

/// The error for an unhealthy configuration tree, with advice.
fn with_advice(problem: &str, context: &Context) -> anyhow::Error {
    let advice = match context.whole_system {
        _ if problem.ends_with('?') => "",
        true => "; see 'systemctl status pve-cluster', or name another configuration with '--config DIR'",
        false => "; '--config DIR' must be a directory with firewall/ and nodes/",
    };
    anyhow!("{problem}{advice}")
}

/// The configuration and the compiled result.
pub(super) struct View {
    /// The files.
    pub tree: Tree,
    /// The facts about the node.
    pub facts: Facts,
    /// The compiled result.
    pub compiled: Compiled,
}

/// Reads and compiles the configuration with a backend, and prints reports to stderr.
///
/// # Errors
/// When the configuration tree is unhealthy.
pub(super) fn read(context: &Context, backend: &mut Backend) -> Result<View> {
    let node = context.node()?;
    let tree = with_trial(context, with_last_valid(context, &node, tree(context, &node)?));
    let facts = facts_source(context, node).collect(&tree);
    let compiled = backend.compile(&tree, facts.clone());
    output::reports(&compiled.reports);
    Ok(View { tree, facts, compiled })
}

/// Like [`read`], with the backend in use, which is returned. The kernel is not queried.
///
/// # Errors
/// When the configuration tree is unhealthy.
pub(super) fn read_in_use(context: &Context) -> Result<View> {
    let node = context.node()?;
    let tree = with_trial(context, with_last_valid(context, &node, tree(context, &node)?));
    let facts = facts_source(context, node).collect(&tree);
    let (_, compiled) = compile_in_use(context, &tree, &facts);
    output::reports(&compiled.reports);
    Ok(View { tree, facts, compiled })
}

/// Compiles a tree with the backend that enforces it on this node.
pub(super) fn compile_in_use(context: &Context, tree: &Tree, facts: &Facts) -> (Backend, Compiled) {
    let mut first = backend(context, context.kind);
    let compiled = first.compile(tree, facts.clone());
    match other_in_use(context, &first, &compiled) {
        None => (first, compiled),
        Some(mut other) => {
            let compiled = other.compile(tree, facts.clone());
            (other, compiled)
        }
    }
}

/// The other backend, if that enforces the configuration on this node; `None` for `proxmox-firewall`, which shows only its own
/// rules.
pub(super) fn other_in_use(context: &Context, used: &Backend, compiled: &Compiled) -> Option<Backend> {
    let nftables = Mode::of(BackendKind::Iptables, compiled, &context.root) == Mode::Other;
    let in_use = if nftables { BackendKind::Nftables } else { BackendKind::Iptables };
    (context.kind == BackendKind::Iptables && used.kind() != in_use).then(|| backend(context, in_use))
}

/// Prints a note on stderr if the program of the other backend enforces the configuration.
pub(super) fn note_other_backend(context: &Context, compiled: &Compiled) {
    if Mode::of(context.kind, compiled, &context.root) == Mode::Other {
        output::note(match context.kind {
            BackendKind::Iptables => {
                "note: host.fw has 'nftables: 1': proxmox-firewall enforces this configuration, with nftables"
            }
            BackendKind::Nftables => {
                "note: host.fw does not have 'nftables: 1': pve-firewall enforces this configuration, with iptables"
            }
        });
    }
}

/// A backend of the node.
pub(super) fn backend(context: &Context, kind: BackendKind) -> Backend {
    Backend::new(kind, &context.root, context.variant, processors())
}

/// The files in force, as in the daemon: a file with an invalid `enable` is replaced by its version in the last good
/// configuration. Prints the errors to stderr.
pub(super) fn with_last_valid(context: &Context, node: &str, tree: Tree) -> Tree {
    let Ok(Some(known)) = LastGood::new(&context.root, node).load() else { return tree };
    let InForce { tree, reports, unknown: _ } = in_force(&Arc::new(tree), Some(&known));
    output::reports(&reports);
    Arc::unwrap_or_clone(tree)
}

/// The status of the running daemon of a backend.
pub(super) fn daemon_status(context: &Context, kind: BackendKind) -> Option<Status> {
    running(&context.root, kind).and_then(|pid| Status::read(&context.root, kind, pid))
}

/// The findings of the running daemon that affect the node or guests for which `affects` is true.
pub(super) fn warnings(context: &Context, affects: impl Fn(&Affected) -> bool) -> Vec<ActiveFinding> {
    // pve-firewall shows the backend in use, and its daemon runs next to that of the other backend
    let kinds =
        BackendKind::ALL.into_iter().filter(|kind| *kind == context.kind || context.kind == BackendKind::Iptables);
    let status = kinds.filter_map(|kind| daemon_status(context, kind));
    status.flat_map(|status| status.findings).filter(|one| affects(&one.affected)).collect()
}

/// The collector for facts about the node, with the options of the running daemon.
pub(super) fn facts_source(context: &Context, node: String) -> FactsSource {
    let status = daemon_status(context, context.kind);
    let options = status.map(|status| status.options).unwrap_or_default();
    FactsSource::new(context.root.clone(), node).with_options(options)
}

/// The network interfaces of this machine, which may be another machine than the node; none if the kernel does not list them.
pub(super) fn interfaces(node: &str) -> Interfaces {
    let masters = BridgePorts::open().and_then(|mut ports| ports.current());
    Interfaces {
        masters: masters.map(Arc::unwrap_or_clone).unwrap_or_default(),
        host_name_differs: node_name().is_ok_and(|name| name != node),
    }
}

/// The tree with the files of the running trial in place of its own, as the daemon enforces it.
fn with_trial(context: &Context, tree: Tree) -> Tree {
    trial(context).map_or_else(|| tree.clone(), |trial| trial.overlay(&tree))
}

/// The running trial; `None` also if it cannot be read.
fn trial(context: &Context) -> Option<Trial> {
    let trial = TrialStore::new(&context.root).load().ok()??;
    let clock = TrialStore::clock().ok()?;
    (trial.left(&clock) > 0).then_some(trial)
}

/// Prints a note on stderr if a trial is running, whose files the output is based on.
pub(super) fn note_trial(context: &Context) {
    if let Some(trial) = trial(context) {
        output::note(&format!("a trial is running: the output is based on {} on trial", trial.names()));
    }
}

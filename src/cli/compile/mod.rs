//! `compile`: prints the compiled ruleset and compares it with the live rules.
pub(super) mod diff;
mod terminal_listing;

use super::args::CompileOptions;
use super::{Context, load, output};
use crate::backend::{Backend, Document, Rules};
use crate::daemon::mode::Mode;
use crate::model::BackendKind;
use anyhow::{Context as _, Result, bail};

pub(super) fn run(context: &Context, options: &CompileOptions) -> Result<()> {
    load::note_trial(context);
    let mut backend = load::backend(context, context.kind);
    if options.offline {
        backend = backend.offline();
    } else if !nix::unistd::geteuid().is_root() {
        bail!("only root can read the live rules; 'pve-firewall compile --offline' does not need them");
    }
    if options.diff {
        let compiled = load::read(context, &mut backend)?.compiled;
        load::note_other_backend(context, &compiled);
        output::data(&diff::text(&backend.difference(&compiled.rules, true)?))?;
    } else {
        print(context, &mut backend)?;
    }
    let unreadable = backend.unreadable();
    if !options.offline && !unreadable.is_empty() {
        bail!(
            "some live rules could not be read and are shown as missing: {}; fix this and run the command again",
            unreadable.join("; ")
        );
    }
    Ok(())
}

/// Prints the rules of the current configuration, as the program of the backend does.
///
/// # Errors
/// When the configuration tree is unhealthy.
pub(super) fn print(context: &Context, backend: &mut Backend) -> Result<()> {
    let mut compiled = load::read(context, backend)?.compiled;
    load::note_other_backend(context, &compiled);
    if context.kind == BackendKind::Nftables && Mode::of(context.kind, &compiled, &context.root) != Mode::On {
        compiled.rules = Rules::empty(context.kind);
    }
    output::data(&text(context, &backend.document(&compiled))?)
}

fn text(context: &Context, document: &Document) -> Result<String> {
    Ok(match document {
        Document::Listing(listing) if context.for_people() => terminal_listing::text(listing),
        Document::Listing(listing) => listing.to_string(),
        Document::Json(json) => serde_json::to_string_pretty(json).context("cannot write JSON")? + "\n",
    })
}

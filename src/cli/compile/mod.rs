//! `compile`: prints the compiled ruleset and compares it with the live rules.
pub(super) mod diff;
mod render;

use super::args::CompileOptions;
use super::{Context, load, output};
use crate::iptables::apply::Firewall;
use crate::iptables::plan::{Listing, Live};
use anyhow::{Result, bail};

pub(super) fn run(context: &Context, options: &CompileOptions) -> Result<()> {
    load::note_trial(context);
    if options.offline {
        let compiled = load::compiled(context, Live::empty)?;
        return output::data(&text(context, &Listing::new(&compiled.ruleset, None, compiled.enabled)));
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("only root can read the live rules; 'pve-firewall compile --offline' does not need them");
    }
    let mut firewall = Firewall::new(&context.root, context.variant);
    let live = firewall.live();
    let compiled = load::compiled(context, || live.clone())?;
    if options.diff {
        output::data(&diff::text(&mut firewall, &compiled.ruleset, &live)?)?;
    } else {
        output::data(&text(context, &Listing::new(&compiled.ruleset, Some(&live), compiled.enabled)))?;
    }
    let faults: Vec<String> = live.faults().iter().map(|(part, why)| format!("{part}: {why}")).collect();
    if !faults.is_empty() {
        bail!(
            "some live rules could not be read and are shown as missing: {}; fix this and run the command again",
            faults.join("; ")
        );
    }
    Ok(())
}

fn text(context: &Context, listing: &Listing<'_>) -> String {
    if context.for_people() { render::text(listing) } else { listing.to_string() }
}

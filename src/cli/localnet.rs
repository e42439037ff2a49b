//! `localnet`: the node's network as the firewall sees it.
use super::{Context, output, view};
use crate::compile::Localnet;
use crate::plan::Live;
use anyhow::Result;
use std::fmt::Write;

pub(super) fn run(context: &Context) -> Result<()> {
    output::data(&text(&view::compiled(context, Live::empty)?.localnet))
}

fn text(localnet: &Localnet) -> String {
    let address = localnet.address.map_or_else(|| "unknown".to_string(), |address| address.to_string());
    let detected = localnet.detected.as_deref().unwrap_or("127.0.0.0/8");
    let how = if localnet.user_defined { "user defined" } else { "detected" };
    let mut text = format!(
        "local hostname: {}\nlocal IP address: {address}\nnetwork auto detect: {detected}\nusing {how} local_network: {}\n",
        localnet.node, localnet.used
    );
    if let Some(peers) = &localnet.corosync {
        text.push_str("\naccepting corosync traffic from/to:\n");
        for peer in peers {
            // writing to a String cannot fail
            let _ = writeln!(text, " - {}: {} (link: {})", peer.node, peer.address, peer.link);
        }
        if peers.is_empty() {
            text.push_str(" - no nodes found\n");
        }
    }
    text
}

//! `localnet`: the node's address, the local network, and the corosync peers.
use super::style::{TITLE, paint};
use super::{Context, load, output};
use crate::model::BackendKind;
use crate::node::{Localnet, UnresolvedLink};
use anyhow::Result;

pub(super) fn run(context: &Context) -> Result<()> {
    let localnet = load::read(context, &mut load::backend(context, BackendKind::Iptables).offline())?.compiled.localnet;
    output::data(&text(&localnet, context.for_people()))
}

/// The output, in columns or in the fixed format for programs.
fn text(localnet: &Localnet, aligned: bool) -> String {
    let how = if localnet.user_defined { "user defined" } else { "detected" };
    let address = localnet.address.map_or_else(|| "unknown".to_string(), |address| address.to_string());
    let detected = localnet.detected.as_deref().unwrap_or("127.0.0.0/8");
    let rows = [
        ["local hostname:".to_string(), localnet.node.clone()],
        ["local IP address:".to_string(), address],
        ["network auto detect:".to_string(), detected.to_string()],
        [format!("using {how} local_network:"), localnet.used.clone()],
    ];
    let mut text = table(&rows, aligned);
    if let Some(peers) = &localnet.corosync {
        text += &format!("\n{}\n", paint(TITLE, "accepting corosync traffic from/to:"));
        let peers = peers
            .iter()
            .map(|peer| [format!(" - {}:", peer.node), peer.address.to_string(), format!("(link: {})", peer.link)]);
        let peers: Vec<_> = peers.collect();
        text += &table(&peers, aligned);
        if peers.is_empty() {
            text += " - no nodes found\n";
        }
        for UnresolvedLink { node, key, name } in &localnet.unresolved {
            text += &format!(" - {node}: {key} '{name}' does not resolve\n");
        }
    }
    text
}

/// Rows of cells separated by a blank; if aligned, each column is as wide as its widest cell.
fn table<const N: usize>(rows: &[[String; N]], aligned: bool) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().filter(|_| aligned).unwrap_or_default();
    let line = |row: &[String; N]| {
        let cells: Vec<String> =
            row.iter().enumerate().map(|(at, cell)| format!("{cell:width$}", width = width(at))).collect();
        cells.join(" ").trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}

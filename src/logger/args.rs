//! The command line of `pvefw-logger`.
use crate::system::root_directory::Root;
use clap::Parser;
use std::path::PathBuf;

/// Write packets logged by firewall rules to /var/log/pve-firewall.log
#[derive(Clone, Debug, Parser)]
#[command(name = "pvefw-logger", version)]
#[command(after_help = "Example: pvefw-logger --debug    # print each logged packet, in the foreground")]
pub struct Args {
    /// Stay in the foreground
    #[arg(short, long)]
    pub foreground: bool,
    /// Stay in the foreground and print each line to stdout too
    #[arg(short, long)]
    pub debug: bool,
    /// Log new and closed connections regardless of the host's firewall options
    #[arg(long)]
    pub conntrack: bool,
    /// Directory prefixed to every path that is read or written
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

impl Args {
    /// Whether the logger runs in the started process, without forking.
    #[must_use]
    pub fn stays_in_foreground(&self) -> bool {
        self.foreground || self.debug
    }

    /// The root of all paths.
    #[must_use]
    pub fn root(&self) -> Root {
        Root::new(self.root.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_implies_foreground() {
        let foreground = |words: &[&str]| Args::try_parse_from(words).unwrap().stays_in_foreground();
        assert!(!foreground(&["pvefw-logger", "--conntrack"]));
        for option in ["-f", "--foreground", "-d", "--debug"] {
            assert!(foreground(&["pvefw-logger", option]));
        }
    }
}

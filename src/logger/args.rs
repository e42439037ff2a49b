//! The command line of `pvefw-logger`.
use crate::system::root::Root;
use clap::Parser;
use std::path::PathBuf;

/// Writes the packets that the firewall's rules log to /var/log/pve-firewall.log
#[derive(Clone, Debug, Parser)]
#[command(name = "pvefw-logger", version)]
#[command(after_help = "Example: pvefw-logger --debug    # in the foreground, to see each packet that is logged")]
pub struct Args {
    /// Stay in the foreground
    #[arg(short, long)]
    pub foreground: bool,
    /// Stay in the foreground, and print the lines as well
    #[arg(short, long)]
    pub debug: bool,
    /// Log new and ended connections, whatever the host's firewall options say
    #[arg(long)]
    pub conntrack: bool,
    /// Directory that stands before every path that is read or written
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

impl Args {
    /// Whether the process that was started does the work itself.
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
    fn debugging_stays_in_the_foreground() {
        let foreground = |words: &[&str]| Args::try_parse_from(words).unwrap().stays_in_foreground();
        assert!(!foreground(&["pvefw-logger", "--conntrack"]));
        for option in ["-f", "--foreground", "-d", "--debug"] {
            assert!(foreground(&["pvefw-logger", option]));
        }
    }
}

//! `--cut-connections`: after a change of the rules, the connections that it no longer accepts are deleted from connection
//! tracking, so that their next packets are evaluated by the rules.
use super::system_log::SystemLog;
use crate::backend::Rules;
use crate::connections::{AddressOwners, Comparison, NodeNetwork, RefusedConnection, RulesChange, compare};
use crate::inputs::Tree;
use crate::system::netlink::{ConntrackTable, neighbours};
use crate::system::process::processors;
use crate::system::{addresses, syslog::Severity};
use anyhow::Result;
use std::fs;
use std::time::{Duration, Instant};

/// How many deletions are logged by name within [`PERIOD`].
const MAX_LOGGED: usize = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// The current state of the node's network in the kernel; parts that cannot be read are empty.
#[must_use]
pub fn node_network() -> NodeNetwork {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    NodeNetwork {
        own: addresses::own(),
        neighbours: neighbours().unwrap_or_default(),
        routes_v4: text("/proc/net/route"),
        routes_v6: text("/proc/net/ipv6_route"),
    }
}

/// Deletes connections that a change of the rules no longer accepts.
#[derive(Debug)]
pub struct ConnectionCutter {
    enabled: bool,
    before: Option<Rules>,
    /// The rules before the first of the latest consecutive updates with errors: since then it is not known which rules are in
    /// force.
    certain: Option<Rules>,
    /// The current period: its start, and the number of deletions logged in it.
    period: Option<(Instant, usize)>,
}

impl ConnectionCutter {
    /// Does nothing unless `enabled`.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        ConnectionCutter { enabled, before: None, certain: None, period: None }
    }

    /// Records the rules that are in force now (all of them if `complete`), and deletes the connections that they no longer
    /// accept. Even if the kernel refuses a rule, connections that other rules no longer accept are deleted.
    pub fn rules_are_live(&mut self, rules: &Rules, complete: bool, tree: &Tree, node: &str, log: &SystemLog) {
        if !self.enabled {
            return;
        }
        let before = self.before.replace(rules.clone());
        let certain = match complete {
            true => self.certain.take(),
            false => {
                self.certain = self.certain.take().or_else(|| before.clone());
                None
            }
        };
        // the rules of an earlier process are not known
        for before in [certain, before].into_iter().flatten().filter(|before| !before.is_same(rules)) {
            if let Err(error) = self.cut(&before, rules, tree, node, log) {
                log.write(Severity::Warning, &format!("connections that are no longer allowed continue: {error:#}"));
            }
        }
    }

    fn cut(&mut self, before: &Rules, after: &Rules, tree: &Tree, node: &str, log: &SystemLog) -> Result<()> {
        let Some(affected) = before.change_to(after) else { return Ok(()) };
        let mut tracked = ConntrackTable::open()?;
        let connections = tracked.list()?;
        let owners = AddressOwners::new(tree, node, node_network());
        let change =
            RulesChange { before: &|sent| before.decide(sent), after: &|sent| after.decide(sent), affected: &affected };
        let Comparison { refused, .. } = compare(&connections, &owners, &change, processors());
        let mut unnamed = 0;
        for one in refused {
            if tracked.delete(&one.connection)? {
                match self.may_log() {
                    true => log.write(Severity::Notice, &text(&one)),
                    false => unnamed += 1,
                }
            }
        }
        if unnamed > 0 {
            let text =
                format!("and {unnamed} more connections are no longer allowed: deleted from connection tracking");
            log.write(Severity::Notice, &text);
        }
        Ok(())
    }

    fn may_log(&mut self) -> bool {
        let (began, logged) = self.period.filter(|(began, _)| began.elapsed() < PERIOD).unwrap_or((Instant::now(), 0));
        self.period = Some((began, logged + 1));
        logged < MAX_LOGGED
    }
}

fn text(one: &RefusedConnection) -> String {
    let RefusedConnection { connection, verdict, guest, origin } = one;
    let whose = guest.map_or_else(String::new, |vmid| format!(" of guest {vmid}"));
    let tuple = connection.original;
    format!("connection {tuple}{whose} is no longer allowed ({verdict} by {origin}): deleted from connection tracking")
}

//! `--cut-connections`: after a change of the rules, the connections that it no longer accepts are deleted from connection
//! tracking, so that their next packets meet the rules.
use super::problems::SystemLog;
use crate::backend::Rules;
use crate::connections::{Comparison, Network, RefusedConnection, RulesChange, Surroundings, compare};
use crate::inputs::Tree;
use crate::system::netlink::{Tracked, neighbours};
use crate::system::process::processors;
use crate::system::{addresses, syslog::Severity};
use anyhow::Result;
use std::fs;
use std::time::{Duration, Instant};

/// How many deletions are logged by name within [`PERIOD`].
const LOGGED: usize = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// What the kernel says of the node's network now; what it does not say is missing.
#[must_use]
pub fn surroundings() -> Surroundings {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    Surroundings {
        own: addresses::own(),
        neighbours: neighbours().unwrap_or_default(),
        routes_v4: text("/proc/net/route"),
        routes_v6: text("/proc/net/ipv6_route"),
    }
}

/// Remembers the rules that were last in force.
#[derive(Debug)]
pub struct Cutter {
    enabled: bool,
    before: Option<Rules>,
    /// The rules before the first of the latest updates that had errors: it is not known which of the rules since are in force.
    certain: Option<Rules>,
    /// The period under way: when it began, and how many deletions were logged in it.
    period: Option<(Instant, usize)>,
}

impl Cutter {
    /// One that acts only if it is enabled.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Cutter { enabled, before: None, certain: None, period: None }
    }

    /// Takes note of rules that are in force now, all of them if they are `complete`, and deletes the connections that they no
    /// longer accept. A rule that the kernel refuses keeps none of the others from ending connections.
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
        // of the rules of an earlier process nothing is known
        for before in [certain, before].into_iter().flatten().filter(|before| !before.are(rules)) {
            if let Err(error) = self.cut(&before, rules, tree, node, log) {
                log.write(Severity::Warning, &format!("connections that are no longer allowed go on: {error:#}"));
            }
        }
    }

    fn cut(&mut self, before: &Rules, after: &Rules, tree: &Tree, node: &str, log: &SystemLog) -> Result<()> {
        let Some(concerns) = before.change_to(after) else { return Ok(()) };
        let mut tracked = Tracked::open()?;
        let connections = tracked.list()?;
        let network = Network::new(tree, node, surroundings());
        let change =
            RulesChange { before: &|sent| before.decide(sent), after: &|sent| after.decide(sent), concerns: &concerns };
        let Comparison { refused, .. } = compare(&connections, &network, &change, processors());
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
        logged < LOGGED
    }
}

fn text(one: &RefusedConnection) -> String {
    let RefusedConnection { connection, verdict, guest, origin } = one;
    let whose = guest.map_or_else(String::new, |vmid| format!(" of guest {vmid}"));
    let tuple = connection.original;
    format!("connection {tuple}{whose} is no longer allowed ({verdict} by {origin}): deleted from connection tracking")
}

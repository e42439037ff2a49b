//! Which connections one ruleset accepts and another one refuses.
use super::judge::{Beginning, Unjudged};
use super::network::Network;
use crate::iptables::ruleset::Ruleset;
use crate::iptables::simulate::{End, Question, Verdict, simulate};
use crate::model::Origin;
use crate::nflog::conntrack::{Connection, Tuple};
use crate::parallel;
use std::collections::{BTreeMap, HashMap};

/// A connection that would be refused if it began now, and was not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The connection.
    pub connection: Connection,
    /// What would become of its first packet; of a related connection, its master's.
    pub verdict: Verdict,
    /// Where it is refused: the guest whose connection it is, `None` for the node's own.
    pub guest: Option<u32>,
    /// Where the rule comes from that refuses it.
    pub origin: Origin,
}

/// What two rulesets make of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The connections that only the first one accepts.
    pub refused: Vec<Refused>,
    /// How many were put to the simulator.
    pub judged: usize,
    /// How many were not, and why.
    pub unjudged: BTreeMap<Unjudged, usize>,
}

/// What is known of one connection.
enum Finding {
    Accepted,
    Refused(Box<Refused>),
    Unjudged(Unjudged),
}

/// Puts connections to two rulesets as if they began now. Related ones go with their masters.
#[must_use]
pub fn compare(
    connections: &[Connection],
    network: &Network,
    before: &Ruleset,
    after: &Ruleset,
    threads: usize,
) -> Comparison {
    let find = |connection: &Connection| match Beginning::of(connection, network) {
        Err(why) => Finding::Unjudged(why),
        Ok(beginning) => find(connection, &beginning, network, before, after),
    };
    let alive: Vec<Connection> = connections.iter().filter(|connection| !connection.over).copied().collect();
    let (related, own): (Vec<_>, Vec<_>) = alive.into_iter().partition(|connection| connection.master.is_some());
    let found = parallel::map(&own, threads, find);
    let mut comparison = Comparison::default();
    let masters: HashMap<(Tuple, u16), &Finding> =
        own.iter().zip(&found).map(|(one, finding)| ((one.original, one.zone), finding)).collect();
    // one connection may lead to another that leads to a third
    for connection in &related {
        let master = connection.master.and_then(|master| masters.get(&(master, connection.zone)));
        comparison.add(match master {
            None => Finding::Unjudged(Unjudged::Orphan),
            Some(Finding::Accepted) => Finding::Accepted,
            Some(Finding::Unjudged(why)) => Finding::Unjudged(*why),
            Some(Finding::Refused(master)) => {
                Finding::Refused(Box::new(Refused { connection: *connection, ..Refused::clone(master) }))
            }
        });
    }
    for finding in found {
        comparison.add(finding);
    }
    comparison.refused.sort_by_key(|one| (one.guest, one.connection.original, one.connection.zone));
    comparison
}

fn find(
    connection: &Connection,
    beginning: &Beginning,
    network: &Network,
    before: &Ruleset,
    after: &Ruleset,
) -> Finding {
    let ask = |ruleset| {
        let Beginning { packet, from, to } = beginning;
        let broadcasts = network.broadcasts().clone();
        simulate(&Question { ruleset, packet, from: from.clone(), to: to.clone(), broadcasts })
    };
    let answer = ask(after);
    // most are accepted, and then nothing else matters
    if answer.verdict == Verdict::Accept || ask(before).verdict != Verdict::Accept {
        return Finding::Accepted;
    }
    let origin = answer.decision().map(|decision| decision.cause.rule.origin().clone());
    let guest = |end: &End| match end {
        End::Guest(port) => Some(port.device.vmid),
        End::Host | End::Port { .. } => None,
    };
    Finding::Refused(Box::new(Refused {
        connection: *connection,
        verdict: answer.verdict,
        guest: guest(&beginning.to).or_else(|| guest(&beginning.from)),
        origin: origin.unwrap_or_else(|| Origin::Made("the policy of the hook".into())),
    }))
}

impl Comparison {
    fn add(&mut self, finding: Finding) {
        match finding {
            Finding::Accepted => self.judged += 1,
            Finding::Refused(refused) => {
                self.judged += 1;
                self.refused.push(*refused);
            }
            Finding::Unjudged(why) => *self.unjudged.entry(why).or_default() += 1,
        }
    }
}

//! Finds connections that one ruleset accepts and another refuses.
use super::judge::{Beginning, Unjudged};
use super::network::Network;
use crate::model::{Family, Origin, Verdict};
use crate::nflog::conntrack::{Connection, Tuple};
use crate::parallel;
use crate::simulate::{Concerns, Decided, End, Layer, Sent};
use std::collections::{BTreeMap, HashMap};
use std::iter::successors;
use std::sync::{Mutex, PoisonError};

/// A connection that the second ruleset would refuse and the first would not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The connection.
    pub connection: Connection,
    /// The verdict on its first packet; for a related connection, that of its master.
    pub verdict: Verdict,
    /// The guest of the connection; `None` for the node.
    pub guest: Option<u32>,
    /// The origin of the rule that refuses it.
    pub origin: Origin,
}

/// The comparison of two rulesets for connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The connections that only the first ruleset accepts.
    pub refused: Vec<Refused>,
    /// The number of simulated connections.
    pub judged: usize,
    /// The number of other connections, by reason.
    pub unjudged: BTreeMap<Unjudged, usize>,
}

/// The result for one connection.
enum Finding {
    Accepted,
    Refused(Box<Refused>),
    Unjudged(Unjudged),
}

/// A ruleset, as the verdict that it has on a packet.
pub type Rules<'a> = &'a (dyn Fn(&Sent<'_>) -> Decided + Sync);

/// A change of rules.
pub struct RulesChange<'a> {
    /// The rules before it.
    pub before: Rules<'a>,
    /// The rules after it.
    pub after: Rules<'a>,
    /// Whether it can matter to a packet.
    pub concerns: &'a Concerns<'a>,
}

/// Simulates connections with two rulesets as if they started now, as far as the change concerns them. Related ones
/// have the verdict of their masters.
#[must_use]
pub fn compare(
    connections: &[Connection],
    network: &Network,
    change: &RulesChange<'_>,
    threads: usize,
) -> Comparison {
    let concerned = Concerned { concerns: change.concerns, known: Mutex::default() };
    let find = |connection: &Connection| match Beginning::of(connection, network) {
        Err(why) => Finding::Unjudged(why),
        Ok(beginning) if !concerned.holds(&beginning) => Finding::Accepted,
        Ok(beginning) => find(connection, &beginning, network, change),
    };
    let alive: Vec<Connection> = connections.iter().filter(|connection| !connection.over).copied().collect();
    let (related, own): (Vec<_>, Vec<_>) = alive.into_iter().partition(|connection| connection.master.is_some());
    let found = parallel::map(&own, threads, find);
    let mut comparison = Comparison::default();
    let findings: HashMap<(Tuple, u16), &Finding> = match related.is_empty() {
        true => HashMap::new(),
        false => own.iter().zip(&found).map(|(one, finding)| ((one.original, one.zone), finding)).collect(),
    };
    let masters: HashMap<(Tuple, u16), Tuple> =
        related.iter().filter_map(|one| Some(((one.original, one.zone), one.master?))).collect();
    for connection in &related {
        // a master may itself be related, as with H.323; the kernel has no such circles
        let chain = successors(connection.master, |master| masters.get(&(*master, connection.zone)).copied());
        let first = chain.take(related.len()).last();
        comparison.add(match first.and_then(|first| findings.get(&(first, connection.zone))) {
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

/// For each source and destination: IPv4 and IPv6.
type Known = HashMap<End, HashMap<End, [Option<bool>; 2]>>;

/// Whether a change concerns packets, by their endpoints and family.
struct Concerned<'a> {
    concerns: &'a Concerns<'a>,
    known: Mutex<Known>,
}

impl Concerned<'_> {
    fn holds(&self, Beginning { packet, from, to }: &Beginning) -> bool {
        let family = usize::from(packet.layer == Layer::Ip(Family::V6));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holds) = known.get(from).and_then(|known| known.get(to)?[family]) {
            return holds;
        }
        let holds = (self.concerns)(from, to, packet.layer);
        known.entry(from.clone()).or_default().entry(to.clone()).or_default()[family] = Some(holds);
        holds
    }
}

fn find(
    connection: &Connection,
    beginning: &Beginning,
    network: &Network,
    change: &RulesChange<'_>,
) -> Finding {
    let Beginning { packet, from, to } = beginning;
    let sent = Sent { packet, from: from.clone(), to: to.clone(), broadcasts: network.broadcasts() };
    let answer = (change.after)(&sent);
    // fast path: most are accepted
    if answer.verdict == Verdict::Accept || (change.before)(&sent).verdict != Verdict::Accept {
        return Finding::Accepted;
    }
    let guest = |end: &End| match end {
        End::Guest(port) => Some(port.device.vmid),
        End::Host | End::Port { .. } => None,
    };
    Finding::Refused(Box::new(Refused {
        connection: *connection,
        verdict: answer.verdict,
        guest: guest(&beginning.to).or_else(|| guest(&beginning.from)),
        origin: answer.origin.unwrap_or_else(|| Origin::Made("the policy of the built-in chain".into())),
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

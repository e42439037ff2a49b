//! Finds the connections that one ruleset accepts and another refuses.
use super::address_owners::AddressOwners;
use super::first_packet::{FirstPacket, NotSimulated};
use crate::model::{Family, Origin, Verdict};
use crate::nflog::conntrack::{Connection, Tuple};
use crate::parallel;
use crate::simulate::{Decided, End, IsAffected, IsAffectedBetween, Layer, Sent};
use std::collections::{BTreeMap, HashMap};
use std::iter::successors;
use std::sync::{Arc, Mutex, PoisonError};

/// A connection that the second ruleset would refuse but the first would not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedConnection {
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
    pub refused: Vec<RefusedConnection>,
    /// The number of simulated connections.
    pub simulated: usize,
    /// The number of other connections, by reason.
    pub not_simulated: BTreeMap<NotSimulated, usize>,
}

/// The result for one connection.
enum ConnectionResult {
    Accepted,
    RefusedConnection(Box<RefusedConnection>),
    NotSimulated(NotSimulated),
}

/// A ruleset, as a function that returns the verdict on a packet.
pub type Decide<'a> = &'a (dyn Fn(&Sent<'_>) -> Decided + Sync);

/// A change of rules.
pub struct RulesChange<'a, 'rules> {
    /// The rules before it.
    pub before: Decide<'a>,
    /// The rules after it.
    pub after: Decide<'a>,
    /// Whether the change can affect a packet.
    pub affected: &'a IsAffectedBetween<'rules>,
}

/// Simulates connections with two rulesets as if they started now. Connections that the change cannot affect are skipped;
/// related ones get the verdict of their masters.
#[must_use]
pub fn compare(
    connections: &[Connection],
    owners: &AddressOwners,
    change: &RulesChange<'_, '_>,
    threads: usize,
) -> Comparison {
    let filter = ChangeFilter { affected: change.affected, known: Mutex::default() };
    let find = |connection: &Connection| match FirstPacket::of(connection, owners) {
        Err(why) => ConnectionResult::NotSimulated(why),
        Ok(first) if !filter.is_affected(&first) => ConnectionResult::Accepted,
        Ok(first) => find(connection, &first, owners, change),
    };
    let alive: Vec<Connection> = connections.iter().filter(|connection| !connection.closed).copied().collect();
    let (related, own): (Vec<_>, Vec<_>) = alive.into_iter().partition(|connection| connection.master.is_some());
    let found = parallel::map(&own, threads, find);
    let mut comparison = Comparison::default();
    let findings: HashMap<(Tuple, u16), &ConnectionResult> = match related.is_empty() {
        true => HashMap::new(),
        false => own.iter().zip(&found).map(|(one, finding)| ((one.original, one.zone), finding)).collect(),
    };
    let masters: HashMap<(Tuple, u16), Tuple> =
        related.iter().filter_map(|one| Some(((one.original, one.zone), one.master?))).collect();
    for connection in &related {
        // a master may itself be related, as with H.323; the kernel creates no cycles
        let chain = successors(connection.master, |master| masters.get(&(*master, connection.zone)).copied());
        let first = chain.take(related.len()).last();
        comparison.add(match first.and_then(|first| findings.get(&(first, connection.zone))) {
            None => ConnectionResult::NotSimulated(NotSimulated::MasterUntracked),
            Some(ConnectionResult::Accepted) => ConnectionResult::Accepted,
            Some(ConnectionResult::NotSimulated(why)) => ConnectionResult::NotSimulated(*why),
            Some(ConnectionResult::RefusedConnection(master)) => {
                ConnectionResult::RefusedConnection(Box::new(RefusedConnection {
                    connection: *connection,
                    ..RefusedConnection::clone(master)
                }))
            }
        });
    }
    for finding in found {
        comparison.add(finding);
    }
    comparison.refused.sort_by_key(|one| (one.guest, one.connection.original, one.connection.zone));
    comparison
}

/// The cached test whether a change can affect packets between two endpoints.
type CachedTest<'a> = Arc<Option<IsAffected<'a>>>;
type ByTarget<'a> = HashMap<End, [Option<CachedTest<'a>>; 2]>;

/// Tests whether a change can affect a packet; caches the tests by endpoints and family.
struct ChangeFilter<'a, 'rules> {
    affected: &'a IsAffectedBetween<'rules>,
    /// For each source and destination: IPv4 and IPv6.
    known: Mutex<HashMap<End, ByTarget<'rules>>>,
}

impl<'rules> ChangeFilter<'_, 'rules> {
    fn is_affected(&self, FirstPacket { packet, from, to }: &FirstPacket) -> bool {
        let test = self.between(from, to, packet.layer);
        test.as_ref().as_ref().is_some_and(|test| test(packet))
    }

    fn between(&self, from: &End, to: &End, layer: Layer) -> CachedTest<'rules> {
        let family = usize::from(layer == Layer::Ip(Family::V6));
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(test) = known().get(from).and_then(|known| known.get(to)?[family].clone()) {
            return test;
        }
        // two threads may compute the same at the same time
        let test = Arc::new((self.affected)(from, to, layer));
        known().entry(from.clone()).or_default().entry(to.clone()).or_default()[family] = Some(test.clone());
        test
    }
}

fn find(
    connection: &Connection,
    first: &FirstPacket,
    owners: &AddressOwners,
    change: &RulesChange<'_, '_>,
) -> ConnectionResult {
    let FirstPacket { packet, from, to } = first;
    let sent = Sent { packet, from: from.clone(), to: to.clone(), broadcasts: owners.broadcasts() };
    let answer = (change.after)(&sent);
    // fast path: most are accepted
    if answer.verdict == Verdict::Accept || (change.before)(&sent).verdict != Verdict::Accept {
        return ConnectionResult::Accepted;
    }
    let guest = |end: &End| match end {
        End::Guest(port) => Some(port.device.vmid),
        End::Host | End::Port { .. } => None,
    };
    ConnectionResult::RefusedConnection(Box::new(RefusedConnection {
        connection: *connection,
        verdict: answer.verdict,
        guest: guest(&first.to).or_else(|| guest(&first.from)),
        origin: answer.origin.unwrap_or_else(|| Origin::Generated("the policy of the built-in chain".into())),
    }))
}

impl Comparison {
    fn add(&mut self, finding: ConnectionResult) {
        match finding {
            ConnectionResult::Accepted => self.simulated += 1,
            ConnectionResult::RefusedConnection(refused) => {
                self.simulated += 1;
                self.refused.push(*refused);
            }
            ConnectionResult::NotSimulated(why) => *self.not_simulated.entry(why).or_default() += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::address_owners::tests::{owners, tree};
    use super::*;
    use crate::backend::{Backend, Rules, VariantChoice};
    use crate::inputs::{Facts, File};
    use crate::model::BackendKind;
    use crate::nflog::conntrack::Detail;
    use crate::system::root_directory::Root;

    const CLUSTER: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 22,8006\n[IPSET friends]\n10.0.0.7\n[group web]\nIN ACCEPT -p tcp -dport 80\n";
    const GUEST: &str = "[OPTIONS]\nenable: 1\n[RULES]\nGROUP web\nIN ACCEPT -p tcp -dport 443 -source +friends\n";

    fn rules(kind: BackendKind, changes: &[(&str, &str)]) -> Rules {
        let mut tree = tree();
        let files = [
            ("firewall/cluster.fw", CLUSTER),
            ("firewall/100.fw", GUEST),
            ("firewall/200.fw", "[OPTIONS]\nenable: 1\n"),
        ];
        for (path, text) in files.iter().chain(changes) {
            tree.files.insert((*path).into(), File::Content(text.as_bytes().into()));
        }
        let facts = Facts { node: "n1".into(), protocols: "tcp 6 TCP\n".into(), ..Facts::default() };
        let mut backend = Backend::new(kind, &Root::default(), VariantChoice::default(), 1).offline();
        let compiled = backend.compile(&tree, facts);
        assert!(compiled.reports.is_empty(), "{:?}", compiled.reports);
        compiled.rules
    }

    fn connection(source: &str, dest: &str, dport: u16) -> Connection {
        let tuple = |source: &str, dest: &str, ports: (u16, u16)| Tuple {
            source: source.parse().unwrap(),
            dest: dest.parse().unwrap(),
            protocol: 6,
            detail: Detail::Ports { source: ports.0, dest: ports.1 },
        };
        Connection::between(tuple(source, dest, (40_000, dport)), tuple(dest, source, (dport, 40_000)))
    }

    fn connections() -> Vec<Connection> {
        let ends = ["10.0.0.1", "10.0.0.7", "10.0.0.8", "10.0.0.100", "10.0.1.101", "10.0.0.200", "192.0.2.7"];
        let pairs = ends.iter().flat_map(|one| ends.iter().map(move |other| (*one, *other)));
        let different = pairs.filter(|(one, other)| one != other);
        different.flat_map(|(one, other)| [22, 80, 443, 8006].map(|port| connection(one, other, port))).collect()
    }

    /// Packets that a change cannot affect have the same verdict under both rulesets. Each of these changes affects some
    /// packets and not others.
    #[test]
    fn only_affected_connections_are_simulated() {
        let guest = "firewall/100.fw";
        let changes: [(&str, String); 8] = [
            (guest, GUEST.replace("GROUP web\n", "")),
            (guest, GUEST.replace("enable: 1", "enable: 0")),
            (guest, GUEST.replace("[RULES]", "[RULES]\nOUT DROP")),
            ("firewall/200.fw", "[OPTIONS]\nenable: 1\npolicy_in: ACCEPT\npolicy_out: REJECT\n".into()),
            ("firewall/cluster.fw", CLUSTER.replace("10.0.0.7", "10.0.0.8")),
            ("firewall/cluster.fw", CLUSTER.replace("-dport 80", "-dport 80 -source 10.0.0.8")),
            ("firewall/cluster.fw", CLUSTER.replace("22,8006", "8006")),
            ("nodes/n1/host.fw", "[OPTIONS]\nenable: 0\n".into()),
        ];
        let (owners, connections) = (owners(), connections());
        for (kind, (path, text)) in BackendKind::ALL.iter().flat_map(|kind| changes.iter().map(move |one| (*kind, one)))
        {
            let (before, after) = (rules(kind, &[]), rules(kind, &[(path, text)]));
            for (before, after) in [(&before, &after), (&after, &before)] {
                let affected = before.change_to(after).expect("a change");
                let change = RulesChange {
                    before: &|sent| before.decide(sent),
                    after: &|sent| after.decide(sent),
                    affected: &affected,
                };
                let (mut tested, mut refused) = (0, Vec::new());
                for one in &connections {
                    let Ok(first) = FirstPacket::of(one, &owners) else { continue };
                    let test = affected(&first.from, &first.to, first.packet.layer);
                    let is_affected = test.is_some_and(|test| test(&first.packet));
                    tested += usize::from(is_affected);
                    if let ConnectionResult::RefusedConnection(one) = find(one, &first, &owners, &change) {
                        assert!(is_affected, "{kind:?} {path} {text}: {one:?}");
                        refused.push(*one);
                    }
                }
                assert!(tested > 0 && tested < connections.len() / 2, "{kind:?} {path} {text}: {tested}");
                let comparison = compare(&connections, &owners, &change, 1);
                refused.sort_by_key(|one| (one.guest, one.connection.original, one.connection.zone));
                assert_eq!(comparison.refused, refused, "{kind:?} {path} {text}");
            }
        }
    }

    #[test]
    fn comments_are_no_change() {
        for kind in BackendKind::ALL {
            let commented = rules(kind, &[("firewall/100.fw", &format!("# moved down\n{GUEST}"))]);
            let before = rules(kind, &[]);
            assert!(!before.is_same(&commented), "the lines of the rules differ");
            assert!(before.change_to(&commented).is_none(), "{kind:?}");
        }
    }

    #[test]
    fn related_connections_have_the_verdict_of_the_first_master() {
        let first = connection("10.0.0.7", "10.0.0.100", 443);
        let second = Connection { master: Some(first.original), ..connection("10.0.0.7", "10.0.0.100", 5000) };
        let third = Connection { master: Some(second.original), ..connection("10.0.0.100", "10.0.0.7", 5001) };
        let orphan = Connection { master: Some(third.reply), ..connection("10.0.0.7", "10.0.0.100", 5002) };
        let (before, after) = (
            rules(BackendKind::Iptables, &[]),
            rules(BackendKind::Iptables, &[("firewall/100.fw", "[OPTIONS]\nenable: 1\n")]),
        );
        let affected = before.change_to(&after).expect("a change");
        let change =
            RulesChange { before: &|sent| before.decide(sent), after: &|sent| after.decide(sent), affected: &affected };
        let comparison = compare(&[third, orphan, second, first], &owners(), &change, 1);
        let refused: Vec<Connection> = comparison.refused.iter().map(|one| one.connection).collect();
        assert_eq!(refused.len(), 3, "{comparison:?}");
        assert!([first, second, third].iter().all(|one| refused.contains(one)), "{refused:?}");
        assert_eq!(comparison.not_simulated, BTreeMap::from([(NotSimulated::MasterUntracked, 1)]));
    }
}

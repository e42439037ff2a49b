//! Resolves host names with a timeout, and caches the last good answers.
use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The result of a lookup.
enum LookupResult {
    Addresses(Vec<IpAddr>),
    /// The name has no addresses.
    None,
    /// The lookup failed.
    Unknown,
}

/// Queries the system's resolver (getaddrinfo(3)), which has no timeout.
#[derive(Debug, Default)]
pub struct Resolver {
    known: BTreeMap<String, Vec<IpAddr>>,
    /// The current lookup: one at a time, so that an unreachable name server blocks only one thread.
    running: Option<Receiver<(String, LookupResult)>>,
}

impl Resolver {
    /// The addresses of names, in the resolver's order, that are known after `limit`. A name without addresses is absent.
    /// A later answer is used the next time.
    pub fn resolve(&mut self, names: &[String], limit: Duration) -> BTreeMap<String, Vec<IpAddr>> {
        let deadline = Instant::now() + limit;
        self.receive(deadline);
        if self.running.is_none() && !names.is_empty() {
            self.start(names);
            self.receive(deadline);
        }
        let wanted: BTreeSet<&String> = names.iter().collect();
        self.known.retain(|name, _| wanted.contains(name));
        self.known.clone()
    }

    fn start(&mut self, names: &[String]) {
        let (sender, receiver) = channel();
        let names = names.to_vec();
        let spawned = thread::Builder::new().name("resolver".into()).spawn(move || {
            for name in names {
                let answer = look_up(&name);
                if sender.send((name, answer)).is_err() {
                    return;
                }
            }
        });
        self.running = spawned.ok().map(|_| receiver);
    }

    /// Receives results of the current lookup until the deadline.
    fn receive(&mut self, deadline: Instant) {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        while let Some(receiver) = &self.running {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((name, LookupResult::Addresses(addresses))) => drop(self.known.insert(name, addresses)),
                Ok((name, LookupResult::None)) => drop(self.known.remove(&name)),
                Ok((_, LookupResult::Unknown)) => {}
                Err(Timeout) => return,
                Err(Disconnected) => self.running = None,
            }
        }
    }
}

fn look_up(name: &str) -> LookupResult {
    if let Ok(address) = name.parse() {
        return LookupResult::Addresses(vec![address]);
    }
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    match getaddrinfo(Some(name), None, Some(hints)) {
        Ok(found) => LookupResult::Addresses(found.flatten().map(|info| info.sockaddr.ip()).collect()),
        Err(error) => match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => LookupResult::None,
            _ => LookupResult::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_local_names_resolve_and_unused_names_are_dropped() {
        let mut resolver = Resolver::default();
        let limit = Duration::from_secs(30);
        let names = ["192.0.2.1", "localhost", "no such name"].map(String::from);
        let found = resolver.resolve(&names, limit);
        assert_eq!(found["192.0.2.1"], ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert!(found["localhost"].iter().all(IpAddr::is_loopback), "{found:?}");
        assert!(!found.contains_key("no such name"));
        assert_eq!(resolver.resolve(&names[..1], limit).len(), 1);
        assert!(resolver.resolve(&[], limit).is_empty());
    }
}

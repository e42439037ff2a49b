//! Resolves host names with a timeout, and caches the last good answers.
use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The result of a lookup.
#[derive(Debug)]
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
    /// A single thread, so that an unreachable name server blocks only one. It is kept, because starting a thread takes longer
    /// than most lookups.
    thread: Option<LookupThread>,
}

/// A thread that looks up names.
#[derive(Debug)]
struct LookupThread {
    requests: Sender<Vec<String>>,
    /// An answer for each name of a request, then `None`.
    answers: Receiver<Option<(String, LookupResult)>>,
    is_busy: bool,
}

impl Resolver {
    /// The addresses of names, in the resolver's order, as far as they are known after `limit`. A name without addresses is
    /// absent. A later answer is used by the next call.
    pub fn resolve(&mut self, names: &[String], limit: Duration) -> BTreeMap<String, Vec<IpAddr>> {
        let deadline = Instant::now() + limit;
        self.receive(deadline);
        let is_busy = self.thread.as_ref().is_some_and(|thread| thread.is_busy);
        if !is_busy && !names.is_empty() {
            self.request(names);
            self.receive(deadline);
        }
        let wanted: BTreeSet<&String> = names.iter().collect();
        self.known.retain(|name, _| wanted.contains(name));
        self.known.clone()
    }

    fn request(&mut self, names: &[String]) {
        // without a thread, the next call tries again
        let Some(mut thread) = self.thread.take().or_else(|| LookupThread::start().ok()) else { return };
        thread.is_busy = thread.requests.send(names.to_vec()).is_ok();
        self.thread = thread.is_busy.then_some(thread);
    }

    /// Receives the answers of the current request until the deadline.
    fn receive(&mut self, deadline: Instant) {
        while let Some(thread) = self.thread.as_mut().filter(|thread| thread.is_busy) {
            match thread.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some((name, LookupResult::Addresses(addresses)))) => drop(self.known.insert(name, addresses)),
                Ok(Some((name, LookupResult::None))) => drop(self.known.remove(&name)),
                Ok(Some((_, LookupResult::Unknown))) => {}
                Ok(None) => thread.is_busy = false,
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => self.thread = None,
            }
        }
    }
}

impl LookupThread {
    fn start() -> std::io::Result<Self> {
        let (requests, requested) = channel::<Vec<String>>();
        let (sender, answers) = channel();
        thread::Builder::new().name("resolver".into()).spawn(move || {
            for names in requested {
                let found = names.into_iter().map(|name| {
                    let answer = look_up(&name);
                    Some((name, answer))
                });
                if found.chain([None]).any(|answer| sender.send(answer).is_err()) {
                    return;
                }
            }
        })?;
        Ok(LookupThread { requests, answers, is_busy: false })
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

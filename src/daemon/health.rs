//! Collects the evidence for findings, and keeps the active ones.
use super::encapsulated_frames::EncapsulatedFrames;
use crate::backend::{Backend, Compiled, NFTABLES_TABLES, Rules};
use crate::health::{ActiveFinding, ActiveFindings, Enforcer, Evidence, NatSource, NftNat, Scope, evaluate};
use crate::model::{BackendKind, Family, PerFamily};
use crate::system::addresses;
use crate::system::bridge_filtering::BridgeFiltering;
use crate::system::netfilter::{self, BaseChain, NftGeneration, base_chains, nat_rules, unconditional_verdict};
use crate::system::netlink::BridgePorts;
use std::collections::BTreeSet;
use std::time::Duration;

/// The state of nftables, listed again when its generation has changed.
#[derive(Debug, Default)]
pub struct NftablesState {
    current: NftGeneration,
    generation: Option<u32>,
    chains: Vec<BaseChain>,
    nat: Vec<NftNat>,
    /// Tables that were not read, or not as a whole, each with the reason.
    unread: Vec<(String, String)>,
    /// The tables of the nftables backend that are live.
    backend_tables: Vec<String>,
}

impl NftablesState {
    /// Lists it again if it has changed: with `ends` the rules without matches in base chains of other programs, otherwise
    /// address translation.
    pub fn refresh(&mut self, ends: bool) {
        // a kernel without nftables has no tables
        let generation = self.current.read().ok();
        if generation.is_none() || generation != self.generation {
            let listed = generation.map(|_| base_chains());
            self.generation = if matches!(listed, Some(Ok(_))) { generation } else { None };
            let listed = listed.and_then(Result::ok).unwrap_or_default();
            self.chains = listed.kept;
            self.unread = listed.incomplete.map(|why| ("nftables".to_string(), why)).into_iter().collect();
            let live = |table: &(&'static str, &str)| netfilter::has_table(table.0, table.1).unwrap_or(false);
            let live = NFTABLES_TABLES.iter().filter(|table| live(table));
            self.backend_tables = live.map(|(family, name)| format!("{family} {name}")).collect();
            if ends {
                self.refresh_ends();
            } else {
                self.refresh_nat();
            }
        }
    }

    /// Reads the rules without matches in base chains of other programs.
    fn refresh_ends(&mut self) {
        for chain in self.chains.iter_mut().filter(|chain| chain.kind == "filter" && !is_ours(chain)) {
            let BaseChain { table: (family, table), name, .. } = &*chain;
            match unconditional_verdict(chain) {
                Ok(Ok(unconditional_drop)) => chain.unconditional_drop = unconditional_drop,
                Ok(Err(why)) => self.unread.push((format!("nftables {family} {table}, chain {name}"), why)),
                // the chain has been deleted meanwhile
                Err(_) => {}
            }
        }
    }

    /// Reads address translation in the tables of base chains, unless the iptables tools show such a table.
    fn refresh_nat(&mut self) {
        self.nat.clear();
        let shown = |family: &str, table: &str| Family::ALL.iter().any(|one| one.nft() == family) && table == "nat";
        let chains = self.chains.iter().filter(|chain| chain.kind == "nat" && !shown(chain.table.0, &chain.table.1));
        let tables: BTreeSet<_> = chains.map(|chain| (chain.family, &chain.table)).collect();
        for (number, (family, name)) in tables {
            let rules = nat_rules(number, name).unwrap_or_default();
            let table = format!("{family} {name}");
            let rule = |netfilter::NatRule { chain, source, of, at, to }| NftNat {
                table: table.clone(),
                chain,
                source,
                of: of.map_or(NatSource::Any, NatSource::Net),
                at,
                to,
            };
            self.nat.extend(rules.kept.into_iter().map(rule));
            self.unread.extend(rules.incomplete.map(|why| (format!("nftables {table}"), why)));
        }
    }
}

/// Whether a base chain is one of the nftables backend.
fn is_ours(chain: &BaseChain) -> bool {
    NFTABLES_TABLES.contains(&(chain.table.0, chain.table.1.as_str()))
}

/// The findings of the daemon.
#[derive(Debug)]
pub struct Health {
    nftables: NftablesState,
    ports: Option<BridgePorts>,
    bridge_filtering: BridgeFiltering,
    carried: EncapsulatedFrames,
    /// The last ruleset, and its scope.
    scope: Option<(Rules, Scope)>,
    evidence: Evidence,
    active: ActiveFindings,
}

impl Health {
    /// No findings yet. Frames are captured once per `full_reading`.
    pub fn new(full_reading: Duration) -> Self {
        Health {
            nftables: NftablesState::default(),
            ports: None,
            bridge_filtering: BridgeFiltering::default(),
            carried: EncapsulatedFrames::new(full_reading),
            scope: None,
            evidence: Evidence::default(),
            active: ActiveFindings::default(),
        }
    }

    /// The settings by which iptables filters bridged packets.
    pub fn bridge_filtering(&mut self) -> &mut BridgeFiltering {
        &mut self.bridge_filtering
    }

    /// Updates the findings. `now` is in seconds since 1970.
    pub fn examine(&mut self, backend: &mut Backend, compiled: &Compiled, enforcer: Enforcer, now: u64) {
        let scope = self.scope_of(compiled, enforcer);
        let mut evidence = self.collect(backend, !scope.inspected.is_empty());
        let filters = !matches!(enforcer, Enforcer::Nobody | Enforcer::Nftables);
        let carried = self.carried.current(if filters { &scope.devices } else { &[] }, now);
        evidence.carried = carried.into_iter().filter(|one| Backend::allows_bypass(compiled, *one)).collect();
        if !self.scope.as_ref().is_some_and(|(_, before)| *before == scope) || evidence != self.evidence {
            self.active.set(evaluate(&evidence, &scope), now);
        }
        (self.evidence, self.scope) = (evidence, Some((compiled.rules.clone(), scope)));
    }

    /// The texts of the findings.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.active.texts()
    }

    /// The findings for the status file.
    pub fn active(&self) -> Vec<ActiveFinding> {
        self.scope.as_ref().map(|(_, scope)| self.active.describe(&self.evidence, scope)).unwrap_or_default()
    }

    fn scope_of(&self, compiled: &Compiled, enforcer: Enforcer) -> Scope {
        match &self.scope {
            Some((ruleset, scope)) if ruleset.is_same(&compiled.rules) => Scope { enforcer, ..scope.clone() },
            _ => Scope { enforcer, ..Backend::scope(compiled) },
        }
    }

    /// `inspects`: whether an IPS inspects packets to guests.
    fn collect(&mut self, backend: &mut Backend, inspects: bool) -> Evidence {
        // with the nftables backend, rules without matches matter in base chains of other programs, and address translation
        // does not
        self.nftables.refresh(backend.kind() == BackendKind::Nftables);
        let [v4, v6] = self.bridge_filtering.read();
        let ports = self.ports.take().map_or_else(BridgePorts::open, Ok).and_then(|mut ports| {
            let current = ports.current()?;
            Ok((ports, current))
        });
        let mut evidence = backend.evidence(&self.nftables.chains);
        evidence.backend_tables = self.nftables.backend_tables.clone();
        evidence.chains.retain(|chain| !evidence.backend_tables.contains(&chain.table));
        evidence.nat.clone_from(&self.nftables.nat);
        evidence.unread.clone_from(&self.nftables.unread);
        evidence.bridge_filtering = PerFamily { v4, v6 };
        // a failed socket is opened again the next time
        if let Ok((ports, current)) = ports {
            (self.ports, evidence.attached) = (Some(ports), current);
        } else {
            evidence.attached.clone_from(&self.evidence.attached);
        }
        if inspects {
            evidence.queues = netfilter::read_queues();
        }
        if evidence.translates() {
            evidence.networks = addresses::networks();
        }
        evidence
    }
}

//! Updates on the real kernel, with only the host's table: not every kernel tracks connections in bridges.
use crate::netns::Netns;
use crate::{nft_trees, trees};
use pve_firewall::inputs::File;
use pve_firewall::nftables::apply::{Firewall, Outcome};
use pve_firewall::nftables::live::{Live, LiveChain, LiveRule, LiveTable};
use pve_firewall::nftables::names::{Name, TableName};
use pve_firewall::nftables::plan::{CachedChain, LiveCache};
use pve_firewall::nftables::ruleset::{Action, Chain, Hook, Match, Rejection, Rule, Ruleset, Side, Signature};
use std::sync::Arc;

/// The host's rules of a tree with these lines in an enabled cluster.fw.
fn host(cluster: &str) -> Arc<Ruleset> {
    let mut ruleset = nft_trees::rules(&trees::vm_tree(cluster, ""), &nft_trees::facts());
    ruleset.tables.remove(&TableName::Guests);
    Arc::new(ruleset)
}

struct Node {
    netns: Netns,
    firewall: Firewall,
}

impl Node {
    fn new(name: &str) -> Self {
        Node { netns: Netns::new(name), firewall: Firewall::default() }
    }

    fn update(&mut self, wanted: &Arc<Ruleset>) -> Outcome {
        let firewall = &mut self.firewall;
        self.netns.run(|| firewall.update(wanted))
    }

    /// Updates, and checks that there is no error and that a second update has nothing to do.
    fn update_and_check(&mut self, wanted: &Arc<Ruleset>) {
        assert_eq!(self.update(wanted), Outcome { changed: true, errors: vec![] });
        let generation = self.generation();
        assert_eq!(self.update(wanted), Outcome::default());
        assert_eq!(self.generation(), generation, "an update without a change makes no transaction");
    }

    fn generation(&self) -> u32 {
        self.netns.run(|| pve_firewall::system::netfilter::nft_generation().unwrap())
    }

    fn list(&self) -> String {
        self.netns.exec("nft -a list ruleset")
    }

    fn chain(&self, name: &str) -> Vec<String> {
        let listed = self.netns.exec(&format!("nft -a list chain inet proxmox-firewall {name}"));
        listed.lines().filter(|line| line.contains("handle") && !line.contains("chain ")).map(str::to_string).collect()
    }
}

const RULES: &str = "[IPSET web]\n10.0.0.0/24\n!10.0.0.7\n[RULES]\nIN DROP -p tcp -dport 23 -log info\n\
    IN ACCEPT -p tcp -dport 80 -source +web\n";

#[test]
fn unchanged_rules_are_not_rewritten_and_a_new_process_takes_them_over() {
    let mut node = Node::new("nft-adopt");
    let wanted = host(RULES);
    node.update_and_check(&wanted);
    let before = node.list();
    assert!(before.contains("10.0.0.0-10.0.0.6, 10.0.0.8-10.0.0.255"), "{before}");
    node.firewall = Firewall::default();
    assert_eq!(node.update(&host(RULES)), Outcome::default());
    assert_eq!(node.list(), before);
    let firewall = &mut node.firewall;
    assert_eq!(node.netns.run(|| firewall.remove()), Outcome { changed: true, errors: vec![] });
    assert_eq!(node.list(), "");
}

#[test]
fn unchanged_rules_keep_their_state_when_their_chain_changes() {
    let mut node = Node::new("nft-edit");
    node.update_and_check(&host(RULES));
    let before = node.chain("cluster-in");
    // a new line at the beginning moves all others
    node.update_and_check(&host(&RULES.replace("[RULES]\n", "[RULES]\nIN ACCEPT -p tcp -dport 22\n")));
    let after = node.chain("cluster-in");
    let log = |lines: &[String]| lines.iter().find(|line| line.contains("log prefix")).cloned();
    assert_eq!(log(&before), log(&after), "the same handle: the rule and its limit are the same");
    assert!(after[0].contains("tcp dport 22 accept comment \"cluster.fw:7\""), "{after:?}");
    assert!(after.iter().any(|line| line.contains("tcp dport 80 accept comment \"cluster.fw:9\"")), "{after:?}");
    assert_eq!(after.len(), before.len() + 1);
}

#[test]
fn sets_change_without_their_rules() {
    let mut node = Node::new("nft-sets");
    node.update_and_check(&host(RULES));
    let before = node.chain("cluster-in");
    node.update_and_check(&host(&RULES.replace("10.0.0.0/24", "10.0.0.0/16")));
    assert_eq!(node.chain("cluster-in"), before);
    assert!(node.list().contains("10.0.0.8-10.0.255.255"));
    node.update_and_check(&host(""));
    assert!(!node.list().contains("v4-dc/web"), "a set that no rule uses is deleted");
}

#[test]
fn changes_by_other_programs_are_reverted_and_their_own_tables_are_kept() {
    let mut node = Node::new("nft-others");
    let wanted = host(RULES);
    node.update_and_check(&wanted);
    let before = node.netns.exec("nft list ruleset");
    node.netns.exec("nft 'table inet mine { chain guest-100-in { type filter hook input priority 5; drop; }; }'");
    assert_eq!(node.update(&wanted), Outcome::default(), "a table of another program is not changed");
    for change in [
        "flush chain inet proxmox-firewall input",
        "insert rule inet proxmox-firewall cluster-in accept",
        "add rule inet proxmox-firewall host-in accept comment \\\"PVESIG:0123456789abcdef0123456789abcdef\\\"",
        "delete element inet proxmox-firewall v4-dc/web { 10.0.0.8-10.0.0.255 }",
        "add element inet proxmox-firewall v4-dc/management { 0.0.0.0-9.255.255.255 }",
        "chain inet proxmox-firewall other { type filter hook input priority -9; accept; }",
        "add set inet proxmox-firewall stray { type ipv4_addr; }",
        "delete table inet proxmox-firewall",
        "add table inet proxmox-firewall { flags dormant; }",
        "chain inet proxmox-firewall input { policy drop; }",
    ] {
        node.netns.exec(&format!("echo \"{change}\" | nft -f -"));
        assert_eq!(node.update(&wanted), Outcome { changed: true, errors: vec![] }, "{change}");
        let mut now = node.netns.exec("nft list ruleset");
        let mine = now.find("table inet mine").expect("the other program's table");
        let end = now[mine..].find("\n}\n").unwrap() + mine + 3;
        now.replace_range(mine..end, "");
        assert_eq!(now.trim(), before.trim(), "{change}");
    }
}

#[test]
fn tables_created_by_another_program_are_replaced_completely() {
    let mut node = Node::new("nft-peer");
    node.netns.exec(
        "nft 'table inet proxmox-firewall { set v4-dc/web { type ipv4_addr; flags interval; auto-merge
 }
        chain input { type filter hook input priority 0; policy accept; jump cluster-in; }
        chain cluster-in { ip saddr @v4-dc/web accept; drop; }
        }
        table bridge proxmox-firewall-guests { chain x { }
 }'",
    );
    node.update_and_check(&host(RULES));
    let listed = node.list();
    assert!(!listed.contains("auto-merge") && !listed.contains("proxmox-firewall-guests"), "{listed}");
}

/// The rules with one more at the beginning of a chain.
fn with_rule(wanted: &Ruleset, chain: &str, matches: &[Match], action: Action) -> Arc<Ruleset> {
    let mut wanted = wanted.clone();
    let origin = pve_firewall::model::Origin::Line("/etc/pve/firewall/cluster.fw".into(), 77);
    let rule = Rule { matches: matches.into(), action, origin };
    let chains = &mut wanted.tables.get_mut(&TableName::Host).unwrap().chains;
    let (name, old) = chains.get_key_value(chain).map(|(name, chain)| (name.clone(), chain.clone())).unwrap();
    let rules: Vec<_> = [rule].into_iter().chain(old.rules().iter().cloned()).collect();
    chains.insert(name, Arc::new(Chain::new(old.hook(), rules)));
    Arc::new(wanted)
}

#[test]
fn a_refused_rule_affects_only_itself_and_accepts_nothing() {
    let wanted = host(RULES);
    let absent = Name::new("absent").unwrap();
    let in_set = Match::PortIn { protocol: 6, side: Side::Source, set: absent.clone() };
    for (matches, action, keeps) in [
        (vec![in_set.clone()], Action::Accept, false),
        (vec![in_set], Action::Drop, true),
        (vec![], Action::Jump(absent), true),
    ] {
        let refused = with_rule(&wanted, "host-in", &matches, action.clone());
        // a new chain is created without the rule
        let mut node = Node::new("nft-refused");
        let outcome = node.update(&refused);
        assert!(outcome.changed && outcome.errors.len() == 1, "{action:?} {outcome:?}");
        assert!(outcome.errors[0].starts_with("/etc/pve/firewall/cluster.fw:77: a rule of chain host-in is refused: "));
        assert!(outcome.errors[0].ends_with("; left out"), "{outcome:?}");
        assert_eq!(node.chain("cluster-in").len(), wanted.tables[&TableName::Host].chains["cluster-in"].rules().len());
        assert_eq!(node.update(&refused), Outcome { changed: false, ..outcome }, "it is not tried in each update");
        // a live chain keeps its rules if the refused rule drops packets
        let mut node = Node::new("nft-refused");
        node.update_and_check(&with_rule(&wanted, "host-in", &[], Action::Drop));
        let before = node.chain("host-in");
        let outcome = node.update(&refused);
        assert_eq!(outcome.errors.len(), 1);
        assert_eq!(node.chain("host-in") == before, keeps, "{action:?} {outcome:?}");
        assert_eq!(node.update(&wanted).errors, [""; 0]);
        assert_eq!(node.chain("host-in"), [""; 0]);
    }
}

#[test]
fn several_refused_rules_of_a_chain_affect_only_themselves() {
    let absent = Match::PortIn { protocol: 6, side: Side::Source, set: Name::new("absent").unwrap() };
    let port = |port| Match::Port { protocol: 6, side: Side::Destination, ports: (port, port) };
    let mut wanted = host(RULES);
    for number in (1..=4).rev() {
        wanted = with_rule(&wanted, "cluster-in", &[port(number)], Action::Drop);
        wanted = with_rule(&wanted, "cluster-in", std::slice::from_ref(&absent), Action::Accept);
    }
    let all = wanted.tables[&TableName::Host].chains["cluster-in"].rules().len();
    let mut node = Node::new("nft-several");
    let outcome = node.update(&wanted);
    assert!(outcome.changed && outcome.errors.len() == 4, "{outcome:#?}");
    assert!(outcome.errors.iter().all(|error| error.contains("@absent")), "{outcome:#?}");
    let live = node.chain("cluster-in");
    assert_eq!(live.len(), all - 4, "{live:#?}");
    for (number, rule) in (1..=4).zip(&live) {
        assert!(rule.trim_start().starts_with(&format!("tcp dport {number} drop")), "{live:#?}");
    }
}

#[test]
fn a_refused_helper_affects_only_itself() {
    let mut tree = trees::vm_tree("", "");
    let options = "[OPTIONS]\nnf_conntrack_helpers: ftp,irc,tftp\n";
    tree.files.insert("nodes/n1/host.fw".into(), File::Content(options.as_bytes().into()));
    let mut wanted = nft_trees::rules(&tree, &nft_trees::facts());
    wanted.tables.remove(&TableName::Guests);
    for absent in [&["helper-irc-tcp"][..], &["helper-irc-tcp", "helper-tftp-udp"]] {
        let helpers = &mut wanted.tables.get_mut(&TableName::Host).unwrap().helpers;
        absent.iter().for_each(|name| helpers.get_mut(*name).unwrap().kind = "absent");
        let refused = Arc::new(wanted.clone());
        let mut node = Node::new("nft-helper");
        let outcome = node.update(&refused);
        assert!(outcome.changed && outcome.errors.len() == absent.len(), "{outcome:#?}");
        for (name, error) in absent.iter().zip(&outcome.errors) {
            assert!(error.starts_with("/etc/pve/nodes/n1/host.fw:2: a rule of chain helpers is refused: "), "{error}");
            assert!(error.contains(&format!("ct helper set \"{name}\" ")) && error.ends_with("; left out"), "{error}");
        }
        assert_eq!(node.chain("helpers").len(), 3 - absent.len());
        assert!(node.list().contains("chain cluster-in"));
        assert_eq!(node.update(&refused), Outcome { changed: false, ..outcome }, "it is not tried in each update");
        for name in absent {
            assert!(!node.list().contains(name), "{}", node.list());
        }
    }
}

#[test]
fn a_rule_that_is_refused_in_its_chain_only_is_found() {
    // the kernel refuses `reject` in hooks where no reply can be sent, and refuses the jump to its chain
    let mut wanted = Ruleset::clone(&host(""));
    let table = wanted.tables.get_mut(&TableName::Host).unwrap();
    let origin = pve_firewall::model::Origin::Generated("test".into());
    let rule = |action| Rule { matches: [].into(), action, origin: origin.clone() };
    let chain = |hook, rules: Vec<Rule>| Arc::new(Chain::new(hook, rules));
    let hook = Some(Hook { name: "postrouting", priority: 0 });
    table.chains.insert(
        Name::new("last").unwrap(),
        chain(hook, vec![rule(Action::Reject(Rejection::TcpReset)), rule(Action::Accept)]),
    );
    let wanted = Arc::new(wanted);
    let mut node = Node::new("nft-place");
    let outcome = node.update(&wanted);
    assert!(outcome.changed && outcome.errors.len() == 1, "{outcome:?}");
    assert!(outcome.errors[0].contains("reject with tcp reset"), "{outcome:?}");
    assert!(node.list().contains("chain cluster-in"));
}

/// Groups with two rules each: more chains than one request reads back.
fn groups(port: u16) -> Arc<Ruleset> {
    let rules = (0..70).map(|group| format!("GROUP g{group}\n")).collect::<String>();
    let group = |group: u16| {
        let port = if group == 7 { port } else { 1000 };
        format!("[group g{group}]\nIN ACCEPT -p tcp -dport {port}\nIN DROP -p tcp -dport 2000\n")
    };
    host(&format!("[RULES]\n{rules}{}", (0..70).map(group).collect::<String>()))
}

const CHANGED: Outcome = Outcome { changed: true, errors: vec![] };

#[test]
fn the_rules_of_a_large_transaction_are_read_back_by_the_next_update() {
    let mut node = Node::new("nft-later");
    let (wanted, other) = (groups(1000), groups(1001));
    assert_eq!(node.update(&wanted), CHANGED);
    assert!(node.firewall.due().is_some(), "nothing is read back yet");
    let (generation, before) = (node.generation(), node.list());
    assert_eq!(node.update(&wanted), Outcome::default());
    assert!(node.firewall.due().is_none(), "all is read back");
    assert_eq!((node.generation(), node.list()), (generation, before));

    // a change before it
    let mut node = Node::new("nft-later");
    assert_eq!(node.update(&wanted), CHANGED);
    let before = node.list();
    assert_eq!(node.update(&other), CHANGED);
    let after = node.list();
    let kept = before.lines().filter(|line| !line.contains("cluster.fw")).all(|line| after.contains(line));
    assert!(kept && node.chain("group-g7-in")[0].contains("dport 1001"), "one chain has changed");
    assert_eq!(node.update(&other), Outcome::default());
    assert!(node.firewall.due().is_none());
    node.firewall = Firewall::default();
    assert_eq!(node.update(&other), Outcome::default(), "another process finds it as wanted");
}

#[test]
fn changes_by_other_programs_before_a_large_transaction_is_read_back_are_reverted() {
    let wanted = groups(1000);
    // the number of rules and the comment of the last one are unchanged
    let replace = "nft -a list chain inet proxmox-firewall group-g0-in | sed -n 's/.*dport 1000 .*# handle //p' | \
        xargs -I{} nft replace rule inet proxmox-firewall group-g0-in handle {} accept";
    let flushed = "table inet proxmox-firewall: the chain input was changed";
    for (change, named) in [
        (replace, None),
        ("nft flush chain inet proxmox-firewall input", Some(flushed)),
        ("nft add table inet mine", None),
    ] {
        let mut node = Node::new("nft-between");
        assert_eq!(node.update(&wanted), CHANGED);
        let before = node.netns.exec("nft list table inet proxmox-firewall");
        node.netns.exec(change);
        assert_eq!(node.update(&wanted), CHANGED, "{change}");
        assert_eq!(node.netns.exec("nft list table inet proxmox-firewall"), before, "{change}");
        assert_eq!(node.firewall.undone(), Vec::from_iter(named), "{change}");
        assert_eq!(node.update(&wanted), Outcome::default(), "{change}");
        assert!(node.firewall.due().is_none());
    }
}

#[test]
fn changes_by_other_programs_are_named_when_the_configuration_has_changed_too() {
    let (few, many, others) = (host(""), groups(1000), groups(1001));
    // one chain changes, or more than one request reads back
    for (before, after) in [(&many, &others), (&many, &few), (&few, &many), (&few, &few)] {
        let mut node = Node::new("nft-named");
        assert_eq!(node.update(before), CHANGED);
        assert_eq!(node.update(before), Outcome::default());
        node.netns.exec("nft 'flush chain inet proxmox-firewall input; add chain inet proxmox-firewall mine'");
        assert_eq!(node.update(after), CHANGED);
        let named = "table inet proxmox-firewall: the chain input was changed, the chain mine was created";
        assert_eq!(node.firewall.undone(), [named]);
        assert_eq!(node.update(after), Outcome::default());
        assert_eq!(node.firewall.undone(), [""; 0]);
        // without another program nothing is named
        assert_eq!(node.update(before).errors, [""; 0]);
        assert_eq!(node.firewall.undone(), [""; 0]);
    }
}

#[test]
fn rules_that_were_not_read_are_trusted_only_without_another_transaction_and_with_their_signature() {
    let wanted = host(RULES).tables[&TableName::Host].chains["cluster-in"].clone();
    let mut known = LiveCache { unread: true, ..LiveCache::default() };
    let chains = &mut known.tables.entry(TableName::Host).or_default().chains;
    chains.insert("cluster-in".to_string(), CachedChain::unread(&wanted));
    let rule = |signature| LiveRule { signature, ..LiveRule::default() };
    let live = |count: usize, signature| {
        let last = rule(Some(signature));
        let rules = (1..count).map(|_| rule(None)).chain([last]).collect();
        let chains = [("cluster-in".to_string(), LiveChain { rules, ..LiveChain::default() })].into();
        Live { tables: [(TableName::Host, LiveTable { chains, ..LiveTable::default() })].into() }
    };
    let (count, signature) = (wanted.rules().len(), wanted.signature());
    for (live, quiet, trusted) in [
        (live(count, signature), true, true),
        (live(count, signature), false, false),
        (live(count - 1, signature), true, false),
        (live(count, Signature::of(["another"])), true, false),
    ] {
        let read = LiveCache::of(live, Some(&known), quiet);
        assert_eq!(read.tables[&TableName::Host].chains["cluster-in"].matches(&wanted), trusted);
        assert!(!read.unread);
    }
}

//! Rules that the tools refuse affect only themselves, and no additional packet passes.
use crate::host::{Host, VARIANTS};
use crate::rulesets::{append, chain, node, put, rule, tcp};
use crate::tool_wrappers::{read_note, refuse, restore_tool};
use pve_firewall::iptables::apply::Outcome;
use pve_firewall::iptables::plan::Plan;
use pve_firewall::iptables::ruleset::{Match, Spelled, Target};

pub fn tests() -> Vec<(&'static str, fn())> {
    vec![
        ("a_refused_accept_is_left_out", a_refused_accept_is_left_out),
        ("a_chain_whose_refused_rule_drops_stays_live", a_chain_whose_refused_rule_drops_stays_live),
        ("a_new_chain_is_created_without_its_refused_rule", a_new_chain_is_created_without_its_refused_rule),
        ("rules_that_the_kernel_refuses_are_found", rules_that_the_kernel_refuses_are_found),
        ("many_refused_rules_are_found_in_few_runs", many_refused_rules_are_found_in_few_runs),
        ("a_refused_ebtables_rule_affects_only_itself", a_refused_ebtables_rule_affects_only_itself),
    ]
}

fn texts(outcome: &Outcome) -> Vec<String> {
    outcome.errors.iter().map(ToString::to_string).collect()
}

fn runs(host: &Host) -> usize {
    read_note(host, "runs").lines().count()
}

fn a_refused_accept_is_left_out() {
    for variant in VARIANTS {
        let mut host = Host::new("accept", variant);
        let tool = format!("iptables-{variant}-restore");
        refuse(&mut host, &tool, "dport 4444");
        let mut wanted = node(&[100, 101]);
        append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(4444), Target::Accept, 12));
        append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(80), Target::Drop, 13));
        let outcome = host.update(&wanted);
        let expected = "iptables filter: 100.fw:12: a rule is refused: the kernel refuses it: \
                        -A tap100i0-IN -p tcp --dport 4444 -j ACCEPT; left out";
        assert_eq!(texts(&outcome), [expected], "{variant}");
        let saved = host.saved("iptables", "-t filter");
        assert!(saved.contains("-A tap100i0-IN -p tcp -m tcp --dport 80 -j DROP") && !saved.contains("PVEFW-TRY"));
        // a persisting error is reported again, without further runs
        let before = (host.kernel_state(), runs(&host));
        assert_eq!(host.update(&wanted), Outcome { changed: false, errors: outcome.errors.clone() });
        assert_eq!((host.kernel_state(), runs(&host)), before);
        // a new process finds the refused rule again, and rewrites nothing
        let mut restarted = host.restarted();
        assert_eq!(texts(&restarted.update(&wanted)), [expected]);
        assert_eq!(restarted.kernel_state(), before.0);
        // the live chain is not considered complete
        assert!(!Plan::new(&wanted, &restarted.live()).is_empty());
        // when the chain changes, all rules are tried again
        restore_tool(&restarted, &tool);
        append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(81), Target::Accept, 14));
        restarted.update_and_check(&wanted);
    }
}

fn a_chain_whose_refused_rule_drops_stays_live() {
    for variant in VARIANTS {
        let mut host = Host::new("drop", variant);
        host.update_and_check(&node(&[100, 101]));
        let tool = format!("iptables-{variant}-restore");
        refuse(&mut host, &tool, "dport 4444");
        let mut wanted = node(&[101]);
        crate::rulesets::add_guest(&mut wanted, 100);
        append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(4444), Target::Drop, 12));
        append(&mut wanted.filter.v4, "tap101i0-IN", rule(tcp(80), Target::Accept, 13));
        let live = |host: &Host| -> Vec<String> {
            host.saved("iptables", "-t filter")
                .lines()
                .filter(|line| line.starts_with("-A tap100i0-IN"))
                .map(Into::into)
                .collect()
        };
        let before = live(&host);
        let outcome = host.update(&wanted);
        let expected = "iptables filter: 100.fw:12: a rule is refused: the kernel refuses it: -A tap100i0-IN -p tcp \
                        --dport 4444 -j DROP; the chain keeps its live rules until this is fixed";
        assert_eq!(texts(&outcome), [expected], "{variant}");
        assert_eq!(live(&host), before);
        assert!(host.saved("iptables", "").contains("-A tap101i0-IN -p tcp -m tcp --dport 80 -j ACCEPT"));
        assert_eq!(host.update(&wanted), Outcome { changed: false, errors: outcome.errors });
        restore_tool(&host, &tool);
        append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(81), Target::Accept, 14));
        host.update_and_check(&wanted);
    }
}

fn a_new_chain_is_created_without_its_refused_rule() {
    for variant in VARIANTS {
        let mut host = Host::new("fresh", variant);
        refuse(&mut host, &format!("ip6tables-{variant}-restore"), "dport 4444");
        let mut wanted = node(&[100]);
        append(&mut wanted.filter.v6, "tap100i0-IN", rule(tcp(4444), Target::Drop, 12));
        let outcome = host.update(&wanted);
        assert_eq!(outcome.errors.len(), 1, "{:?}", outcome.errors);
        assert!(texts(&outcome)[0].ends_with("-A tap100i0-IN -p tcp --dport 4444 -j DROP; left out"));
        let saved = host.saved("ip6tables", "-t filter");
        assert!(saved.contains("-A tap100i0-IN -p tcp -m tcp --dport 23 -j DROP"));
        assert!(saved.contains("--physdev-out tap100i0 --physdev-is-bridged -j tap100i0-IN"));
        let before = host.kernel_state();
        assert_eq!(host.update(&wanted), Outcome { changed: false, errors: outcome.errors });
        let mut restarted = host.restarted();
        assert_eq!(restarted.update(&wanted).errors.len(), 1);
        assert_eq!(restarted.kernel_state(), before);
    }
}

/// A MAC match is refused in a chain called from OUTPUT, an unknown helper by the kernel, and an unknown option by the tool.
fn rules_that_the_kernel_refuses_are_found() {
    for variant in VARIANTS {
        let mut host = Host::new("kernel", variant);
        let mut wanted = node(&[100]);
        let mac =
            || Match::NotFromMac(Spelled::new("BC:24:11:00:00:01", "BC:24:11:00:00:01".parse().unwrap()).unwrap());
        host.update_and_check(&wanted);
        let raw = vec![
            rule(tcp(21), Target::CtHelper("nosuch"), 7),
            rule(tcp(22), Target::Accept, 8),
            rule(tcp(6667), Target::CtHelper("neither"), 9),
        ];
        put(&mut wanted.raw.v4, "PVEFW-PREROUTING", raw);
        put(
            &mut wanted.filter.v4,
            "PVEFW-OUTPUT",
            vec![rule(vec![mac()], Target::Accept, 3), rule(tcp(99), Target::Drop, 4)],
        );
        put(
            &mut wanted.filter.v6,
            "PVEFW-OUTPUT",
            vec![rule(vec![mac()], Target::Drop, 5), rule(tcp(99), Target::Drop, 6)],
        );
        append(&mut wanted.filter.v4, "tap100i0-IN", rule(tcp(98), Target::Jump(chain("nowhere")), 2));
        let outcome = host.update(&wanted);
        let errors = texts(&outcome);
        let of = |line: u32| {
            errors.iter().find(|text| text.contains(&format!("100.fw:{line}: a rule is refused: "))).unwrap()
        };
        assert_eq!(errors.len(), 5, "{errors:#?}");
        assert!(of(3).starts_with("iptables filter") && of(3).ends_with("left out"));
        assert!(
            of(5).starts_with("ip6tables filter")
                && of(5).ends_with("the chain keeps its live rules until this is fixed")
        );
        assert!(of(2).contains("there is no chain 'nowhere'"));
        assert!(of(7).contains("the kernel refuses it") && of(9).contains("the kernel refuses it"));
        let (v4, v6) = (host.saved("iptables", ""), host.saved("ip6tables", ""));
        assert!(v4.contains("-A PVEFW-PREROUTING -p tcp -m tcp --dport 22 -j ACCEPT"), "{v4}");
        assert!(v4.contains("-A PVEFW-OUTPUT -p tcp -m tcp --dport 99 -j DROP"), "{v4}");
        assert!(!v6.contains("--dport 99") && !v4.contains("PVEFW-TRY") && !v6.contains("PVEFW-TRY"));
        assert_eq!(host.update(&wanted).errors, outcome.errors);
    }
}

fn many_refused_rules_are_found_in_few_runs() {
    let guests: Vec<u32> = (100..160).collect();
    let mut host = Host::new("many", VARIANTS[0]);
    refuse(&mut host, "iptables-legacy-restore", "dport 44[0-9][0-9]");
    let mut wanted = node(&guests);
    for guest in &guests {
        // the same rule in each guest, and a different one in some
        append(&mut wanted.filter.v4, &format!("tap{guest}i0-IN"), rule(tcp(4400), Target::Accept, 20));
        if guest % 6 == 0 {
            append(
                &mut wanted.filter.v4,
                &format!("tap{guest}i0-IN"),
                rule(tcp(4300 + *guest as u16), Target::Accept, 21),
            );
        }
    }
    let outcome = host.update(&wanted);
    assert_eq!(outcome.errors.len(), 70, "{:#?}", outcome.errors.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert!(runs(&host) < 200, "{} runs", runs(&host));
    assert_eq!(host.update(&wanted), Outcome { changed: false, errors: outcome.errors });
}

fn a_refused_ebtables_rule_affects_only_itself() {
    use pve_firewall::iptables::ruleset::{BridgeChain, BridgeMatch, BridgeRule, BridgeTarget, Origin, Token};
    let mut host = Host::new("bridge", VARIANTS[0]);
    let mut wanted = node(&[100, 101]);
    let name = chain("tap100i0-OUT");
    let mut rules = wanted.bridge[&name].rules().to_vec();
    let protocol = BridgeMatch::Protocol(Token::new("NOSUCHTYPE").unwrap());
    let origin = Origin::Line("100.fw".into(), 4);
    rules.insert(1, BridgeRule { matches: [protocol].into(), target: BridgeTarget::Accept, origin });
    wanted.bridge.insert(name, std::sync::Arc::new(BridgeChain::new(rules)));
    let outcome = host.update(&wanted);
    assert_eq!(outcome.errors.len(), 1, "{:?}", texts(&outcome));
    assert!(texts(&outcome)[0].starts_with("ebtables: 100.fw:4: a rule is refused: "), "{:?}", texts(&outcome));
    let saved = host.saved_bridge();
    assert!(saved.contains("-A tap101i0-OUT -j ACCEPT") && saved.contains("-A tap100i0-OUT -j ACCEPT"), "{saved}");
    assert_eq!(host.update(&wanted), Outcome { changed: false, errors: outcome.errors });
}

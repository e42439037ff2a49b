//! The selection of the tools' variant, and the removal of rules in the other variant.
use crate::host::{Host, VARIANTS, ebtables, shell};
use crate::rounds::rounds;
use crate::rulesets::node;
use crate::tool_wrappers::{replace_tool, restore_tool};
use pve_firewall::iptables::apply::{Firewall, Outcome, Variant, VariantChoice};
use pve_firewall::iptables::plan::Plan;
use pve_firewall::system::root_directory::Root;
use std::sync::Arc;
use std::time::Duration;

pub fn tests() -> Vec<(&'static str, fn())> {
    vec![
        ("the_variant_with_live_chains_is_used", the_variant_with_live_chains_is_used),
        ("the_other_variant_is_cleared_after_an_update", the_other_variant_is_cleared_after_an_update),
        ("removal_clears_both_variants", removal_clears_both_variants),
        ("a_variant_that_does_not_work_is_not_used", a_variant_that_does_not_work_is_not_used),
        ("a_variant_that_fails_at_start_is_cleared_later", a_variant_that_fails_at_start_is_cleared_later),
        ("rules_that_appear_in_the_other_variant_are_removed", rules_that_appear_in_the_other_variant_are_removed),
        ("ebtables_legacy_changes_a_copy", ebtables_legacy_changes_a_copy),
    ]
}

fn choosing(host: &Host, choice: VariantChoice) -> Firewall {
    Firewall::new(&Root::new(Some(host.root.path().into())), choice)
}

fn texts(outcome: &Outcome) -> Vec<String> {
    outcome.errors.iter().map(ToString::to_string).collect()
}

fn saved(host: &Host, variant: Variant) -> String {
    host.netns.exec(&format!("iptables-{variant}-save; ip6tables-{variant}-save"))
}

fn the_variant_with_live_chains_is_used() {
    for variant in VARIANTS {
        let mut host = Host::new("auto", variant);
        host.update_and_check(&node(&[100]));
        let mut auto = choosing(&host, VariantChoice::Auto);
        assert!(host.netns.run(|| Plan::new(&node(&[100]), &auto.live())).is_empty());
        assert_eq!(
            auto.variants().to_string(),
            format!("iptables {variant}, ip6tables {variant}, ebtables {}", ebtables(variant))
        );
    }
    let host = Host::new("auto", Variant::Nft);
    let mut auto = choosing(&host, VariantChoice::Auto);
    host.netns.run(|| auto.live());
    assert_eq!(
        auto.variants().to_string(),
        format!("iptables legacy, ip6tables legacy, ebtables {}", ebtables(Variant::Legacy))
    );
}

fn the_other_variant_is_cleared_after_an_update() {
    for [from, to] in [VARIANTS, [Variant::Nft, Variant::Legacy]] {
        let mut host = Host::new("move", from);
        host.netns.exec(&shell(from, "IPT -N mine"));
        let wanted = node(&[100]);
        host.update_and_check(&wanted);
        let mut other = choosing(&host, VariantChoice::Only(to));
        // the old rules stay in place until the new ones are complete
        let tool = format!("ip6tables-{to}-restore");
        replace_tool(&mut host, &tool, "exit 3");
        assert!(!host.netns.run(|| other.update(&wanted)).errors.is_empty());
        assert!(saved(&host, from).contains("PVEFW-FORWARD"));
        restore_tool(&host, &tool);
        assert_eq!(host.netns.run(|| other.update(&wanted)).errors, []);
        assert!(!saved(&host, from).contains("PVEFW") && saved(&host, from).contains(":mine"));
        assert!(saved(&host, to).contains("-j PVEFW-FORWARD"));
        assert!(!host.netns.run(|| other.update(&wanted)).changed);
    }
}

fn removal_clears_both_variants() {
    let mut host = Host::new("both", Variant::Legacy);
    host.update_and_check(&node(&[100]));
    let mut other = choosing(&host, VariantChoice::Only(Variant::Nft));
    host.netns.run(|| other.live());
    host.netns.exec("iptables-nft -N PVEFW-INPUT; iptables-nft -A INPUT -j PVEFW-INPUT");
    assert_eq!(host.remove().errors, []);
    for variant in VARIANTS {
        assert!(!saved(&host, variant).contains("PVEFW"));
    }
}

fn a_variant_that_does_not_work_is_not_used() {
    let mut host = Host::new("broken", Variant::Nft);
    replace_tool(&mut host, "ip6tables-legacy-save", "echo 'out of order' >&2; exit 3");
    let mut auto = choosing(&host, VariantChoice::Auto);
    let wanted = node(&[100]);
    // the rules of this variant are unknown, because the kernel has its tables
    let expected = ["ip6tables filter: the legacy variant, which is not in use, may contain rules of this firewall: \
        'ip6tables-legacy-save' failed (exit status 3): out of order"];
    for _ in 0..2 {
        assert_eq!(texts(&host.netns.run(|| auto.update(&wanted))), expected);
    }
    let ebtables = ebtables(Variant::Legacy);
    assert_eq!(auto.variants().to_string(), format!("iptables legacy, ip6tables nft, ebtables {ebtables}"));
    assert!(saved(&host, Variant::Nft).contains(":tap100i0-IN"));
    let mut legacy = choosing(&host, VariantChoice::Only(Variant::Legacy));
    let errors = texts(&host.netns.run(|| legacy.update(&wanted)));
    assert!(errors[0].contains("the legacy variant of 'ip6tables' does not work here"), "{}", errors[0]);
    restore_tool(&host, "ip6tables-legacy-save");
    assert_eq!(texts(&host.netns.run(|| auto.update(&wanted))), [""; 0]);
}

/// If a tool fails at the start of a process, the process uses the other variant, and still removes the rules of this one.
fn a_variant_that_fails_at_start_is_cleared_later() {
    let reads = |variant| ["iptables", "ip6tables"].map(|tool| format!("{tool}-{variant}-save"));
    for variant in VARIANTS {
        // without legacy ebtables in the kernel there is only one variant
        let chosen = VARIANTS.map(ebtables) == VARIANTS;
        let bridge = chosen.then(|| format!("ebtables-{variant}-save"));
        for tool in reads(variant).into_iter().chain(bridge) {
            for how in rounds(["kill -9 $$", "sleep 1000", "exit 1"]) {
                let mut host = Host::new("start", variant);
                let wanted = node(&[100]);
                host.update_and_check(&wanted);
                replace_tool(&mut host, &tool, how);
                let mut auto = choosing(&host, VariantChoice::Auto);
                auto.set_time_limit(Duration::from_secs(2));
                let outcome = host.netns.run(|| auto.update(&wanted));
                let text = texts(&outcome).join("\n");
                assert!(
                    text.contains("which is not in use, may contain rules of this firewall"),
                    "{tool}: {how}: {text}"
                );
                restore_tool(&host, &tool);
                auto.set_time_limit(Duration::from_secs(60));
                let outcome = host.netns.run(|| auto.update(&wanted));
                assert_eq!((texts(&outcome), outcome.changed), (vec![], true), "{tool}: {how}: it is cleared");
                let live = match tool.strip_suffix("-save").unwrap() {
                    "ebtables-legacy" => host.netns.exec("ebtables-legacy -L"),
                    _ => host.netns.exec(&tool),
                };
                assert!(!live.contains("PVEFW"), "{tool}: {how}: {live}");
                assert_eq!(host.netns.run(|| auto.update(&wanted)), Outcome::default());
            }
        }
    }
}

/// Another program, or another version of the firewall, may have rules in the variant that is not in use.
fn rules_that_appear_in_the_other_variant_are_removed() {
    for [used, other] in [VARIANTS, [Variant::Nft, Variant::Legacy]] {
        let mut host = Host::new("later", used);
        let wanted = Arc::new(node(&[100]));
        host.update_and_check(&wanted);
        host.firewall.set_full_reading(Duration::ZERO);
        for commands in
            ["IPT -N PVEFW-INPUT; IPT -A INPUT -j PVEFW-INPUT", "SIX -N tap100i0-IN; SIX -A tap100i0-IN -j DROP"]
        {
            host.netns.exec(&shell(other, commands));
            assert!(saved(&host, other).contains(":PVEFW-INPUT") || saved(&host, other).contains(":tap100i0-IN"));
            let Host { netns, firewall, .. } = &mut host;
            assert_eq!(netns.run(|| firewall.maintain(&wanted).errors), []);
            let left = saved(&host, other);
            assert!(!left.contains("PVEFW") && !left.contains("tap100i0"), "{left}");
        }
    }
}

/// A script keeps the table in a file, because the kernel may not have legacy ebtables.
fn ebtables_legacy_changes_a_copy() {
    let mut host = Host::new("eblegacy", Variant::Legacy);
    // the copy is not a state file, so unwritable directories have no effect
    std::fs::create_dir_all(host.root.path().join("var/lib")).unwrap();
    std::fs::write(host.root.path().join("var/lib/pve-firewall"), "a file in the way").unwrap();
    let lock = host.root.path().join("var/lib/ebtables/lock");
    replace_tool(&mut host, "ebtables-legacy", &format!("lock={}\n{EBTABLES_LEGACY}", lock.display()));
    let wanted = node(&[100, 101]);
    let kept = |error: &String| error.contains("the last script could not be saved");
    assert!(texts(&host.update(&wanted)).iter().all(kept));
    assert_eq!(host.firewall.variants().to_string(), "iptables legacy, ip6tables legacy, ebtables legacy");
    let log = crate::tool_wrappers::read_note(&host, "log");
    assert!(log.contains("--atomic-commit") && !log.contains("free"), "the lock is held all along: {log}");
    let table = crate::tool_wrappers::read_note(&host, "table");
    assert!(table.contains("tap101i0-OUT -s ! bc:24:1:0:f:30 -j DROP"), "{table}");
    // the rules are applied even if the lock cannot be created
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    assert!(texts(&host.update(&node(&[100]))).iter().all(kept));
    let table = crate::tool_wrappers::read_note(&host, "table");
    assert!(!table.contains("tap101i0"), "{table}");
    assert!(texts(&host.remove()).iter().all(kept));
    assert_eq!(crate::tool_wrappers::read_note(&host, "table"), ":INPUT\n:FORWARD\n:OUTPUT\n");
}

/// The table is a file of `:CHAIN` and `CHAIN RULE` lines.
const EBTABLES_LEGACY: &str = r#"
echo "$*" >>$dir/log
table=$dir/table; [ -e $table ] || printf ':INPUT\n:FORWARD\n:OUTPUT\n' >$table
[ "$1 $2" = "-t filter" ] || exit 1
shift 2
file=$table
if [ "$1" = --atomic-file ]; then file=$2; shift 2; flock -n $lock echo free >>$dir/log; fi
without() { grep -v -x -F -e "$1" $file >$dir/new; cat $dir/new >$file; }
command=$1; chain=$2; shift; [ $# = 0 ] || shift
case $command in
    --atomic-save) cat $table >$file;;
    --atomic-commit) cat $file >$table;;
    -N) echo ":$chain" >>$file;;
    -A) grep -q -x -e ":$chain" $file || exit 1; echo "$chain $*" >>$file;;
    -D) without "$chain $*";;
    -F) grep -v -e "^$chain " $file >$dir/new; cat $dir/new >$file;;
    -X) if grep -q -e "-j $chain\$" $file; then exit 1; fi; without ":$chain";;
    -L) echo 'Bridge table: filter'
        sed -n 's/^://p' $file | while read -r name; do
            printf '\nBridge chain: %s, entries: 0, policy: ACCEPT\n' "$name"
            sed -n "s/^$name \(.*\)/\1 /p" $file
        done;;
    *) exit 1;;
esac"#;

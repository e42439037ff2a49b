//! The selection of the tools' variant, and the removal of rules in the other variant.
use crate::host::{Host, VARIANTS};
use crate::rulesets::node;
use crate::standins::{mend, stand_in};
use pve_firewall::iptables::apply::{Firewall, Variant, VariantChoice};
use pve_firewall::iptables::plan::Plan;
use pve_firewall::system::root::Root;

pub fn tests() -> Vec<(&'static str, fn())> {
    vec![
        ("the_variant_with_live_chains_wins", the_variant_with_live_chains_wins),
        ("the_other_variant_is_cleared_after_an_update", the_other_variant_is_cleared_after_an_update),
        ("removal_clears_both_variants", removal_clears_both_variants),
        ("a_variant_that_does_not_work_is_not_used", a_variant_that_does_not_work_is_not_used),
        ("ebtables_legacy_changes_a_copy", ebtables_legacy_changes_a_copy),
    ]
}

fn choosing(host: &Host, choice: VariantChoice) -> Firewall {
    Firewall::new(&Root::new(Some(host.root.path().into())), choice)
}

fn saved(host: &Host, variant: Variant) -> String {
    host.netns.exec(&format!("iptables-{variant}-save; ip6tables-{variant}-save"))
}

fn the_variant_with_live_chains_wins() {
    for variant in VARIANTS {
        let mut host = Host::new("auto", variant);
        host.settle(&node(&[100]));
        let mut auto = choosing(&host, VariantChoice::Auto);
        assert!(host.netns.run(|| Plan::new(&node(&[100]), &auto.live())).is_empty());
        assert_eq!(auto.variants().to_string(), format!("iptables {variant}, ip6tables {variant}, ebtables nft"));
    }
    let host = Host::new("auto", Variant::Nft);
    let mut auto = choosing(&host, VariantChoice::Auto);
    host.netns.run(|| auto.live());
    assert_eq!(auto.variants().to_string(), "iptables legacy, ip6tables legacy, ebtables nft");
}

fn the_other_variant_is_cleared_after_an_update() {
    for [from, to] in [VARIANTS, [Variant::Nft, Variant::Legacy]] {
        let mut host = Host::new("move", from);
        host.netns.exec(&format!("iptables-{from} -N mine"));
        let wanted = node(&[100]);
        host.settle(&wanted);
        let mut other = choosing(&host, VariantChoice::Only(to));
        // the old rules stay in place until the new ones are complete
        let tool = format!("ip6tables-{to}-restore");
        stand_in(&mut host, &tool, "exit 3");
        assert!(!host.netns.run(|| other.update(&wanted)).faults.is_empty());
        assert!(saved(&host, from).contains("PVEFW-FORWARD"));
        mend(&host, &tool);
        assert_eq!(host.netns.run(|| other.update(&wanted)).faults, []);
        assert!(!saved(&host, from).contains("PVEFW") && saved(&host, from).contains(":mine"));
        assert!(saved(&host, to).contains("-j PVEFW-FORWARD"));
        assert!(!host.netns.run(|| other.update(&wanted)).changed);
    }
}

fn removal_clears_both_variants() {
    let mut host = Host::new("both", Variant::Legacy);
    host.settle(&node(&[100]));
    let mut other = choosing(&host, VariantChoice::Only(Variant::Nft));
    host.netns.run(|| other.live());
    host.netns.exec("iptables-nft -N PVEFW-INPUT; iptables-nft -A INPUT -j PVEFW-INPUT");
    assert_eq!(host.remove().faults, []);
    for variant in VARIANTS {
        assert!(!saved(&host, variant).contains("PVEFW"));
    }
}

fn a_variant_that_does_not_work_is_not_used() {
    let mut host = Host::new("broken", Variant::Nft);
    stand_in(&mut host, "ip6tables-legacy-save", "echo 'no kernel support' >&2; exit 3");
    let mut auto = choosing(&host, VariantChoice::Auto);
    assert_eq!(host.netns.run(|| auto.update(&node(&[100]))).faults, []);
    assert_eq!(auto.variants().to_string(), "iptables legacy, ip6tables nft, ebtables nft");
    let mut legacy = choosing(&host, VariantChoice::Only(Variant::Legacy));
    let faults = host.netns.run(|| legacy.update(&node(&[100]))).faults;
    assert!(faults[0].to_string().contains("the legacy variant of 'ip6tables' does not work here"), "{}", faults[0]);
}

/// A script keeps the table in a file, in place of the kernel, which may lack legacy ebtables.
fn ebtables_legacy_changes_a_copy() {
    let mut host = Host::new("eblegacy", Variant::Legacy);
    stand_in(&mut host, "ebtables-legacy", STAND_IN);
    // the tool would follow a symlink in place of the copy
    let (state, victim) = (host.root.path().join("var/lib/pve-firewall"), host.root.path().join("victim"));
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(&victim, "untouched").unwrap();
    std::os::unix::fs::symlink(&victim, state.join("ebtables.atomic")).unwrap();
    let wanted = node(&[100, 101]);
    host.settle(&wanted);
    assert_eq!(host.firewall.variants().to_string(), "iptables legacy, ip6tables legacy, ebtables legacy");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    let log = crate::standins::notes(&host, "log");
    assert!(log.lines().all(|line| line.starts_with("--concurrent -t filter") || line == "--version"), "{log}");
    let table = crate::standins::notes(&host, "table");
    assert!(table.contains("tap101i0-OUT -s ! bc:24:1:0:f:30 -j DROP"), "{table}");
    host.settle(&node(&[100]));
    let table = crate::standins::notes(&host, "table");
    assert!(!table.contains("tap101i0"), "{table}");
    assert_eq!(host.remove().faults, []);
    assert_eq!(crate::standins::notes(&host, "table"), ":INPUT\n:FORWARD\n:OUTPUT\n");
}

/// The table is a file of `:CHAIN` and `CHAIN RULE` lines.
const STAND_IN: &str = r#"
echo "$*" >>$dir/log
table=$dir/table; [ -e $table ] || printf ':INPUT\n:FORWARD\n:OUTPUT\n' >$table
[ "$1 $2 $3" = "--concurrent -t filter" ] || exit 1
shift 3
file=$table
if [ "$1" = --atomic-file ]; then file=$2; shift 2; fi
without() { grep -v -x -F -e "$1" $file >$file.new; cat $file.new >$file; rm -f $file.new; }
command=$1; chain=$2; shift; [ $# = 0 ] || shift
case $command in
    --atomic-save) cp $table $file;;
    --atomic-commit) cat $file >$table;;
    -N) echo ":$chain" >>$file;;
    -A) grep -q -x -e ":$chain" $file || exit 1; echo "$chain $*" >>$file;;
    -D) without "$chain $*";;
    -F) grep -v -e "^$chain " $file >$file.new; cat $file.new >$file; rm -f $file.new;;
    -X) if grep -q -e "-j $chain\$" $file; then exit 1; fi; without ":$chain";;
    -L) echo 'Bridge table: filter'
        sed -n 's/^://p' $file | while read -r name; do
            printf '\nBridge chain: %s, entries: 0, policy: ACCEPT\n' "$name"
            sed -n "s/^$name \(.*\)/\1 /p" $file
        done;;
    *) exit 1;;
esac"#;

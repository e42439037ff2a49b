//! An update that ends at any step, by a failure or by SIGKILL: no refused packet passes, and the next update completes it.
use crate::host::{Host, VARIANTS, ebtables};
use crate::rounds::rounds;
use crate::rulesets::{add_guest, addresses, append, node, rule, set, tcp};
use crate::tool_wrappers::{read_note, replace_tool, restore_tool};
use crate::tools::restore;
use crate::wait::OutputInTime;
use crate::wait::wait_for;
use pve_firewall::iptables::apply::{Firewall, Variant};
use pve_firewall::iptables::ruleset::{Ruleset, Target};
use pve_firewall::system::root_directory::Root;
use std::fmt::Display;
use std::process::{Command, ExitStatus};

pub fn tests() -> Vec<(&'static str, fn())> {
    vec![
        ("an_update_that_ends_after_any_step_is_completed", an_update_that_ends_after_any_step_is_completed),
        ("an_update_that_is_killed_at_any_step_is_completed", an_update_that_is_killed_at_any_step_is_completed),
        ("a_set_restore_that_ends_at_any_line_is_completed", a_set_restore_that_ends_at_any_line_is_completed),
        (
            "a_program_that_is_not_installed_affects_only_its_part",
            a_program_that_is_not_installed_affects_only_its_part,
        ),
    ]
}

const CHILD: &str = "--update-as-child";

/// Whether this process was started by a test to be killed.
pub fn is_child() -> bool {
    std::env::args().nth(1).as_deref() == Some(CHILD)
}

/// Updates the namespace in which this process was started to [`new_ruleset`], or to a target of [`crate::stream`]. Prints the errors.
pub fn child() {
    let args: Vec<String> = std::env::args().collect();
    if args[3] == crate::nftables::BACKEND {
        return crate::nftables::child(args[4].parse().unwrap());
    }
    let mut firewall = Firewall::new(&Root::new(Some(args[2].clone().into())), args[3].parse().unwrap());
    let wanted = args.get(4).map_or_else(new_ruleset, |number| crate::stream::target(number.parse().unwrap()));
    firewall.update(&wanted).errors.iter().for_each(|error| println!("{error}"));
}

/// Runs [`child`] on a host until it ends. The backend is a variant of iptables, or nftables.
pub fn run_child<F, V>(host: &Host<F, V>, backend: impl Display, target: Option<usize>) -> ExitStatus {
    let program = std::env::current_exe().unwrap();
    let mut child: Command = host.netns.command(program.to_str().unwrap());
    child.arg(CHILD).arg(host.root.path()).arg(backend.to_string());
    child.args(target.map(|target| target.to_string())).output_in_time().status
}

/// Runs [`child`] without some of the programs, and returns the errors.
pub fn run_child_without<F, V>(
    host: &Host<F, V>,
    backend: impl Display,
    target: Option<usize>,
    programs: &[String],
) -> String {
    // `ip netns exec` creates a mount namespace
    let script = "cd $1; shift; mkdir sbin; mount --bind /usr/sbin sbin; mount -t tmpfs none /usr/sbin
        ln -s $PWD/sbin/* /usr/sbin; for program in $1; do rm /usr/sbin/$program; done; shift; exec \"$@\"";
    let mut child: Command = host.netns.command("sh");
    child.args(["-ec", script, "sh"]).arg(host.root.path()).arg(programs.join(" "));
    child.arg(std::env::current_exe().unwrap()).arg(CHILD).arg(host.root.path()).arg(backend.to_string());
    child.args(target.map(|target| target.to_string()));
    // without the wrappers
    let output = child.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output_in_time();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn old_ruleset() -> Ruleset {
    node(&[100, 101])
}

/// An added rule, a larger set, a removed guest and an added guest.
fn new_ruleset() -> Ruleset {
    let mut new = node(&[100]);
    add_guest(&mut new, 102);
    append(&mut new.filter.v4, "tap100i0-IN", rule(tcp(80), Target::Accept, 9));
    new.sets.insert(set("PVEFW-100-friends-v4"), addresses(70));
    new
}

/// A DROP rule in the old and the new configuration, and the jumps to it.
#[track_caller]
fn assert_drop_rule_is_live(host: &Host) {
    let saved = host.saved("iptables", "-t filter");
    for line in [
        "-A FORWARD -j PVEFW-FORWARD",
        "-A PVEFW-FORWARD -m physdev --physdev-in fwln+ --physdev-is-bridged -j PVEFW-FWBR-IN",
        "-A PVEFW-FWBR-IN -m physdev --physdev-out tap100i0 --physdev-is-bridged -j tap100i0-IN",
        "-A tap100i0-IN -p tcp -m tcp --dport 23 -j DROP",
    ] {
        assert!(saved.lines().any(|one| one == line), "{line} is missing in\n{saved}");
    }
}

/// The number of tool runs that change something in the update: new sets, two families, removed sets, ebtables; and, because a
/// set changes together with a rule that uses it, the changed set, its family, and the set with the temporary name. Of
/// ebtables-legacy, which first changes a copy, only the last run is counted.
const STEPS: usize = 8;

/// Replaces every such run after the first `steps` with `fault`. Returns the replaced tools.
fn fail_after(host: &mut Host, variant: Variant, steps: usize, fault: &str) -> Vec<String> {
    let count = format!("echo >>$dir/steps; [ $(grep -c '' $dir/steps) -le {steps} ] || {{ {fault}; exit 1; }}");
    let mut tools: Vec<String> = ["iptables", "ip6tables", "ebtables"].map(|tool| restore(tool, variant)).into();
    for tool in &tools {
        let counted = if tool == "ebtables-legacy-restore" { "*--atomic-commit" } else { "*" };
        replace_tool(host, tool, &format!("case \"$*\" in {counted}) {count};; esac; exec $real \"$@\""));
    }
    replace_tool(host, "ipset", &format!("if [ \"$1\" = restore ]; then {count}; fi; exec $real \"$@\""));
    tools.push("ipset".into());
    tools
}

fn complete_update(host: Host, tools: &[String]) {
    assert_drop_rule_is_live(&host);
    tools.iter().for_each(|tool| restore_tool(&host, tool));
    let mut restarted = host.restarted();
    restarted.update_and_check(&new_ruleset());
    assert_drop_rule_is_live(&restarted);
    assert!(!restarted.netns.exec("ipset save").contains("_swap"));
}

fn an_update_that_ends_after_any_step_is_completed() {
    for (steps, variant) in rounds((0..STEPS).flat_map(|steps| VARIANTS.map(|variant| (steps, variant)))) {
        let mut host = Host::new("ended", variant);
        host.update_and_check(&old_ruleset());
        let tools = fail_after(&mut host, variant, steps, ":");
        assert!(!host.update(&new_ruleset()).errors.is_empty(), "{steps}");
        complete_update(host, &tools);
    }
}

fn an_update_that_is_killed_at_any_step_is_completed() {
    let faults = ["kill -9 $PPID", "kill -9 $PPID; $real \"$@\"; echo >>$dir/late"];
    let of_step = |steps| VARIANTS.into_iter().flat_map(move |variant| faults.map(|fault| (steps, variant, fault)));
    for (steps, variant, fault) in rounds((0..STEPS).flat_map(of_step)) {
        let mut host = Host::new("killed", variant);
        host.update_and_check(&old_ruleset());
        let tools = fail_after(&mut host, variant, steps, fault);
        assert!(!run_child(&host, variant, None).success(), "{steps}: it was killed");
        let over = || !fault.ends_with("late") || !read_note(&host, "late").is_empty();
        wait_for("the end of a tool that outlives its caller", || over().then_some(()));
        complete_update(host, &tools);
    }
}

fn a_set_restore_that_ends_at_any_line_is_completed() {
    for lines in [1, 5, 11, 12, 20, 40, 85, 86, 87, 88] {
        let mut host = Host::new("setkill", Variant::Legacy);
        host.update_and_check(&old_ruleset());
        let script = format!("[ \"$1\" = restore ] || exec $real \"$@\"; head -n {lines} | $real restore; exit 1");
        replace_tool(&mut host, "ipset", &script);
        assert!(!host.update(&new_ruleset()).errors.is_empty());
        complete_update(host, &["ipset".into()]);
    }
}

fn a_program_that_is_not_installed_affects_only_its_part() {
    for variant in VARIANTS {
        let of = |tool: &str| ["save", "restore"].map(|end| format!("{tool}-{variant}-{end}")).to_vec();
        // without the one program of the legacy variant, the other variant is used
        let ebtables = match ebtables(variant) {
            Variant::Legacy => vec![],
            Variant::Nft => ["ebtables-nft-save", "ebtables-nft-restore"].map(String::from).to_vec(),
        };
        let programs = of("iptables").into_iter().chain(of("ip6tables")).chain(ebtables).chain(["ipset".into()]);
        for missing in rounds(programs) {
            let mut host = Host::new("absent", variant);
            host.update_and_check(&old_ruleset());
            let errors = run_child_without(&host, variant, None, std::slice::from_ref(&missing));
            let expected = format!("'{missing}' is not installed; install the Debian package that has it");
            assert!(errors.contains(&expected), "{missing}: {errors}");
            for (of, live, chain) in [
                ("iptables", host.saved("iptables", "-t filter"), ":tap102i0-IN "),
                ("ip6tables", host.saved("ip6tables", "-t filter"), ":tap102i0-IN "),
                ("ebtables", host.saved_bridge(), ":tap102i0-OUT "),
            ] {
                let updated = !missing.starts_with(of);
                assert!(!updated || live.contains(chain), "without {missing}: {of}\n{live}");
            }
            complete_update(host, &[]);
        }
        // all programs of a package are missing
        let mut host = Host::new("absent", variant);
        host.update_and_check(&old_ruleset());
        let package = [of("ip6tables"), vec![format!("ip6tables-{variant}"), "ip6tables".into()]].concat();
        let errors = run_child_without(&host, variant, None, &package);
        assert!(errors.contains("no variant of 'ip6tables' is installed"), "{errors}");
        assert!(host.saved("iptables", "-t filter").contains(":tap102i0-IN "));
        complete_update(host, &[]);
    }
}

//! A boot before the cluster file system is mounted: the last good configuration is applied until then. Needs root.
use crate::fuse::Fuse;
use crate::node::{CLUSTER, Node, wait_for};
use crate::wait::WaitInTime;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pve_firewall::model::BackendKind;
use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

fn last_good(node: &Node) -> PathBuf {
    node.path("var/lib/pve-firewall/last-good")
}

fn terminate(mut child: Child) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait_in_time().success());
}

/// A node that has run with its configuration and is shut down: no rule is live, and there is no configuration tree.
fn node_after_shutdown(kind: BackendKind, name: &str) -> Node {
    let node = Node::with_backend(kind, name);
    let child = node.start();
    node.wait_until_accepted(22);
    terminate(child);
    assert_eq!(node.own_rules(), "");
    fs::rename(node.config(), node.path("away")).unwrap();
    fs::create_dir(node.config()).unwrap();
    node
}

fn boot(node: &Node, args: &[&str]) -> Child {
    node.command(&[&["start", "--foreground"], args].concat()).spawn().unwrap()
}

#[test]
fn the_last_good_rules_are_live_until_the_tree_can_be_read() {
    BackendKind::ALL.into_iter().for_each(last_good_rules_are_live);
}

fn last_good_rules_are_live(kind: BackendKind) {
    let node = node_after_shutdown(kind, "pvefw-boot");
    // mounted, but still empty
    let fuse = Fuse::mount(&node.config(), &[]);
    let child = node.start();
    assert!(node.accepts(22), "when it reports readiness");
    assert_eq!(node.logged("the last good configuration is in force until"), 1);
    node.wait_for_log(".vmlist is missing; is pve-cluster running?");
    // changes by other programs are reverted
    node.netns.exec(match kind {
        BackendKind::Iptables => "iptables-legacy -w -F tap100i0-IN",
        BackendKind::Nftables => "nft flush ruleset",
    });
    node.wait_until_accepted(22);
    // the files appear one after the other, and one has changed
    let (changed, text) = node.accepting(23);
    let add = |path: &str, text: &str| fuse.change(|state| drop(state.files.insert(path.into(), text.into())));
    let (last, first) = node.initial_files().split_last().unwrap();
    for (path, content) in first.iter().filter(|(path, _)| *path != changed) {
        add(path, content);
    }
    // for three seconds no known file counts as absent
    std::thread::sleep(Duration::from_millis(500));
    assert!(node.accepts(22), "what has files that are still missing keeps its rules");
    add(changed, &text);
    add(last.0, last.1);
    node.wait_until_accepted(23);
    wait_for("the removal of the old rule in both families", || (!node.accepts(22)).then_some(()));
    terminate(child);
    fuse.unmount();
}

#[test]
fn an_incomplete_or_foreign_file_is_ignored_with_a_report() {
    BackendKind::ALL.into_iter().for_each(invalid_files_are_ignored);
}

fn invalid_files_are_ignored(kind: BackendKind) {
    let node = node_after_shutdown(kind, "pvefw-corrupt");
    let file = last_good(&node);
    let whole = fs::read(&file).unwrap();
    let damage: [(&str, &dyn Fn()); 5] = [
        ("it is truncated", &|| fs::write(&file, &whole[..60]).unwrap()),
        ("its checksum is wrong", &|| {
            let mut flipped = whole.clone();
            *flipped.last_mut().unwrap() ^= 1;
            fs::write(&file, flipped).unwrap();
        }),
        ("it has another format", &|| fs::write(&file, "#!/bin/sh\n").unwrap()),
        ("users other than root can write it", &|| chown(&file, Some(1234), None).unwrap()),
        ("it cannot be opened", &|| {
            fs::rename(&file, node.path("elsewhere")).unwrap();
            std::os::unix::fs::symlink(node.path("elsewhere"), &file).unwrap();
        }),
    ];
    for (number, (reason, damage)) in damage.into_iter().enumerate() {
        let _ = fs::remove_file(&file);
        fs::write(&file, &whole).unwrap();
        damage();
        let child = boot(&node, &[]);
        node.wait_for_log(&format!("is ignored: {reason}"));
        wait_for("the first read", || (node.logged("contains neither .vmlist nor nodes/n1") > number).then_some(()));
        assert_eq!(node.own_rules(), "", "{reason}");
        terminate(child);
    }
    assert_eq!(fs::read(node.path("elsewhere")).unwrap(), whole, "no symlink is followed");
}

#[test]
fn a_disabled_last_good_configuration_has_no_effect() {
    let node = Node::new("pvefw-bootoff");
    node.write("firewall/cluster.fw", &CLUSTER.replace("enable: 1", "enable: 0"));
    terminate(node.start());
    assert!(last_good(&node).exists());
    fs::rename(node.config(), node.path("away")).unwrap();
    fs::create_dir(node.config()).unwrap();
    let child = boot(&node, &[]);
    node.wait_for_log("contains neither .vmlist nor nodes/n1");
    assert_eq!(node.own_rules(), "");
    terminate(child);
}

#[test]
fn last_good_can_be_disabled() {
    BackendKind::ALL.into_iter().for_each(no_last_good);
}

fn no_last_good(kind: BackendKind) {
    let node = node_after_shutdown(kind, "pvefw-nolast");
    let mut child = boot(&node, &["--no-last-good"]);
    node.wait_for_log("contains neither .vmlist nor nodes/n1");
    assert_eq!(node.own_rules(), "");
    assert!(!last_good(&node).exists(), "no copy is left");
    fs::remove_dir(node.config()).unwrap();
    fs::rename(node.path("away"), node.config()).unwrap();
    node.wait_until_accepted(22);
    // also when it re-executes itself
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGHUP).unwrap();
    wait_for("the re-executed daemon", || (node.logged("starting server") == 3).then_some(()));
    node.accept(23);
    node.wait_until_accepted(23);
    assert!(!last_good(&node).exists());
    assert!(child.try_wait().unwrap().is_none());
    terminate(child);
}

//! A boot before the cluster file system is mounted: the last good configuration is applied until then. Needs root.
use crate::fuse::Fuse;
use crate::node::{CLUSTER, FILES, GUEST, Node, until};
use crate::wait::WaitInTime;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

const SSH: &str = "-A tap100i0-IN -p tcp -m tcp --dport 22 -j ACCEPT";

fn last_good(node: &Node) -> PathBuf {
    node.path("var/lib/pve-firewall/last-good")
}

fn end(mut child: Child) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait_in_time().success());
}

/// A node that has run with its configuration and is shut down: no rule is live, and there is no configuration tree.
fn switched_off(name: &str) -> Node {
    let node = Node::new(name);
    let child = node.start();
    node.until_live(SSH);
    end(child);
    assert_eq!(node.ours(), "");
    fs::rename(node.config(), node.path("away")).unwrap();
    fs::create_dir(node.config()).unwrap();
    node
}

fn boot(node: &Node, args: &[&str]) -> Child {
    node.command(&[&["start", "--foreground"], args].concat()).spawn().unwrap()
}

#[test]
fn the_last_good_rules_are_live_until_the_tree_can_be_read() {
    let node = switched_off("pvefw-boot");
    // mounted, but still empty
    let fuse = Fuse::mount(&node.config(), &[]);
    let child = node.start();
    assert!(node.rules().contains(SSH), "when it reports readiness");
    assert_eq!(node.logged("the last good configuration is in force until"), 1);
    let missing = ".vmlist is missing; is pve-cluster running?";
    node.until_logged(missing);
    // changes by other programs are repaired
    node.netns.exec("iptables-legacy -w -F tap100i0-IN");
    node.until_live(SSH);
    // the files appear one after the other, and one has changed
    let changed = GUEST.replace("22", "23");
    let add = |path: &str, text: &str| fuse.change(|state| drop(state.files.insert(path.into(), text.into())));
    add(FILES[0].0, FILES[0].1);
    add(FILES[1].0, FILES[1].1);
    // for three seconds no known file counts as absent
    std::thread::sleep(Duration::from_millis(500));
    assert!(node.rules().contains(SSH), "a guest whose files are still missing keeps its rules");
    add(FILES[2].0, &changed);
    add(FILES[3].0, FILES[3].1);
    node.until_live(&SSH.replace("22", "23"));
    assert!(!node.rules().contains(SSH));
    end(child);
    fuse.unmount();
}

#[test]
fn an_incomplete_or_foreign_file_is_ignored_with_a_report() {
    let node = switched_off("pvefw-corrupt");
    let file = last_good(&node);
    let whole = fs::read(&file).unwrap();
    let spoil: [(&str, &dyn Fn()); 5] = [
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
    for (number, (reason, spoil)) in spoil.into_iter().enumerate() {
        let _ = fs::remove_file(&file);
        fs::write(&file, &whole).unwrap();
        spoil();
        let child = boot(&node, &[]);
        node.until_logged(&format!("is ignored: {reason}"));
        until("the first read", || (node.logged("contains neither .vmlist nor nodes/n1") > number).then_some(()));
        assert_eq!(node.ours(), "", "{reason}");
        end(child);
    }
    assert_eq!(fs::read(node.path("elsewhere")).unwrap(), whole, "no symlink is followed");
}

#[test]
fn a_disabled_last_good_configuration_has_no_effect() {
    let node = Node::new("pvefw-bootoff");
    node.write("firewall/cluster.fw", &CLUSTER.replace("enable: 1", "enable: 0"));
    end(node.start());
    assert!(last_good(&node).exists());
    fs::rename(node.config(), node.path("away")).unwrap();
    fs::create_dir(node.config()).unwrap();
    let child = boot(&node, &[]);
    node.until_logged("contains neither .vmlist nor nodes/n1");
    assert_eq!(node.ours(), "");
    end(child);
}

#[test]
fn last_good_can_be_disabled() {
    let node = switched_off("pvefw-nolast");
    let mut child = boot(&node, &["--no-last-good"]);
    node.until_logged("contains neither .vmlist nor nodes/n1");
    assert_eq!(node.ours(), "");
    assert!(!last_good(&node).exists(), "no copy is left");
    fs::remove_dir(node.config()).unwrap();
    fs::rename(node.path("away"), node.config()).unwrap();
    node.until_live(SSH);
    // also when it re-executes itself
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGHUP).unwrap();
    until("the re-executed daemon", || (node.logged("starting server") == 3).then_some(()));
    node.write("firewall/100.fw", &GUEST.replace("22", "23"));
    node.until_live(&SSH.replace("22", "23"));
    assert!(!last_good(&node).exists());
    assert!(child.try_wait().unwrap().is_none());
    end(child);
}

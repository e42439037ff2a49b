//! The locks of the daemon and of its updates.
use super::{SSH, terminate};
use crate::node::Node;
use crate::wait::WaitInTime;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::Child;

#[test]
fn only_one_of_several_daemons_started_at_once_runs() {
    let node = Node::new("pvefw-two");
    let starters: Vec<Child> = (0..3).map(|_| node.command(&["start"]).spawn().unwrap()).collect();
    let succeeded = starters.into_iter().filter_map(|mut child| child.wait_in_time().success().then_some(())).count();
    assert_eq!(succeeded, 1);
    assert_eq!(node.logged("starting server"), 1);
    assert_eq!(node.processes().len(), 2);
    node.run_ok(&["stop"]);
    assert_eq!(node.own_rules(), "");
}

#[test]
fn a_lock_held_by_another_process_only_delays_an_update() {
    let node = Node::new("pvefw-lock");
    fs::create_dir_all(node.path("run/lock")).unwrap();
    let file = File::create(node.path("run/lock/pvefw.lck")).unwrap();
    let lock = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    let child = node.command(&["start", "--foreground"]).spawn().unwrap();
    node.wait_for_log("another process holds the lock");
    assert_eq!(node.own_rules(), "");
    drop(lock);
    node.wait_for_rule(SSH);
    node.wait_for_log("no longer: status update error: another process holds the lock");
    terminate(child);
    assert_eq!(node.own_rules(), "");
}

#[test]
fn a_lock_file_locked_by_another_user_delays_nothing() {
    let node = Node::new("pvefw-foreign");
    fs::create_dir_all(node.path("run/lock")).unwrap();
    let path = node.path("run/lock/pvefw.lck");
    let lock = Flock::lock(File::create(&path).unwrap(), FlockArg::LockExclusive).unwrap();
    std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
    let child = node.start();
    node.wait_for_rule(SSH);
    assert_eq!(node.logged("another process holds the lock"), 0, "{:#?}", node.log());
    assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "it is replaced");
    assert_eq!(node.run_ok(&["restart"]), "");
    terminate(child);
    assert_eq!(node.own_rules(), "");
    drop(lock);
}

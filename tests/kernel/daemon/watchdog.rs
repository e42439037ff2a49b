//! The daemon's notifications to the service manager while updates are blocked.
use super::{SSH, signal};
use crate::fuse::Fuse;
use crate::node::{CLUSTER, FILES, Node, wait_for};
use crate::wait::WaitInTime;
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

/// The daemon's notifications to the service manager.
struct ServiceManager(UnixDatagram);

impl ServiceManager {
    fn new(node: &Node) -> Self {
        let socket = UnixDatagram::bind(node.path("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        ServiceManager(socket)
    }

    /// The next message that contains a text.
    fn wait_for_message(&self, text: &str) {
        let mut buffer = [0; 4096];
        wait_for(&format!("a message with '{text}'"), || {
            let length = self.0.recv(&mut buffer).ok()?;
            String::from_utf8_lossy(&buffer[..length]).contains(text).then_some(())
        });
    }

    /// Discards the messages received so far.
    fn discard_messages(&self) {
        while self.0.recv(&mut [0; 4096]).is_ok() {}
    }
}

#[test]
fn a_hanging_tree_blocks_neither_the_watchdog_nor_signals() {
    let node = Node::without_files("pvefw-hanging");
    let fuse = Fuse::mount(&node.config(), &FILES);
    let manager = ServiceManager::new(&node);
    let mut command = node.command(&["start", "--foreground"]);
    command.env("NOTIFY_SOCKET", node.path("notify")).env("WATCHDOG_USEC", "600000");
    let mut child = command.spawn().unwrap();
    manager.wait_for_message("READY=1");
    assert!(node.rules().contains(SSH), "ready means that the rules are live");
    fuse.hang(true);
    node.wait_for_log("hangs; is pmxcfs stopped");
    manager.discard_messages();
    // with `PVEFW_LONG_TESTS` for over a minute
    let count = if std::env::var_os("PVEFW_LONG_TESTS").is_some() { 250 } else { 5 };
    for _ in 0..count {
        manager.wait_for_message("WATCHDOG=1");
    }
    assert_eq!(node.logged("hangs; is pmxcfs stopped"), 1, "{:#?}", node.log());
    wait_for("at most one reading process", || (node.processes().len() <= 2).then_some(()));
    assert!(node.rules().contains(SSH));
    // the re-executed daemon does not start a second reading process while the hanging one exists
    signal(&child, Signal::SIGHUP);
    manager.wait_for_message("RELOADING=1");
    manager.wait_for_message("WATCHDOG=1");
    wait_for("at most one reading process", || (node.processes().len() <= 2).then_some(()));
    assert!(node.rules().contains(SSH));
    signal(&child, Signal::SIGTERM);
    assert!(child.wait_in_time().success());
    assert_eq!(node.own_rules(), "");
    fuse.hang(false);
    wait_for("the end of the reader", || node.processes().is_empty().then_some(()));
    fuse.unmount();
}

#[test]
fn a_slow_tool_blocks_neither_the_watchdog_nor_termination() {
    let node = Node::new("pvefw-slow");
    // replaces ipset, first in PATH: slow while the file `slow` exists
    let (shims, slow) = (node.path("shims"), node.path("slow"));
    fs::create_dir(&shims).unwrap();
    let script = format!("#!/bin/sh\n[ -e {} ] && sleep 3\nexec /usr/sbin/ipset \"$@\"\n", slow.display());
    fs::write(shims.join("ipset"), script).unwrap();
    fs::set_permissions(shims.join("ipset"), fs::Permissions::from_mode(0o755)).unwrap();
    let manager = ServiceManager::new(&node);
    let mut command = node.command(&["start", "--foreground"]);
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", shims.display()));
    command.env("NOTIFY_SOCKET", node.path("notify")).env("WATCHDOG_USEC", "600000");
    let child = command.spawn().unwrap();
    manager.wait_for_message("READY=1");
    fs::write(&slow, "").unwrap();
    node.write("firewall/cluster.fw", &format!("{CLUSTER}[IPSET some]\n192.0.2.1\n"));
    wait_for("the slow tool", || (node.processes().len() > 2).then_some(()));
    manager.discard_messages();
    for _ in 0..10 {
        manager.wait_for_message("WATCHDOG=1");
    }
    node.wait_for_log("update took ");
    // again, with the signal in the middle of an update
    node.write("firewall/cluster.fw", &format!("{CLUSTER}[IPSET some]\n192.0.2.2\n"));
    wait_for("the slow tool", || (node.processes().len() > 2).then_some(()));
    signal(&child, Signal::SIGTERM);
    manager.wait_for_message("STOPPING=1");
    manager.wait_for_message("WATCHDOG=1");
    fs::remove_file(&slow).unwrap();
    let mut child = child;
    assert!(child.wait_in_time().success());
    assert_eq!(node.own_rules(), "");
    assert_eq!(node.processes(), [0i32; 0]);
    assert_eq!(node.files("").iter().filter(|file| file.ends_with(".new")).count(), 0);
}

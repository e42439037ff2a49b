//! The FUSE mounts of the tests themselves.
use crate::fuse::Fuse;
use crate::wait::{WaitInTime, wait_for};
use std::fs;
use std::path::Path;
use std::process::Command;

const FILE: (&str, &str) = ("firewall/100.fw", "[RULES]\n");

/// A test that runs at the same time may have a mount namespace that was created in the meantime.
#[test]
fn a_fuse_mount_ends_even_if_another_namespace_has_a_copy() {
    for unmounted in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let fuse = Fuse::mount(dir.path(), &[FILE]);
        let mut other = Command::new("unshare");
        let mut other = other.args(["--mount", "--propagation", "private", "sleep", "600"]).spawn().unwrap();
        let name = format!("/proc/{}/comm", other.id());
        wait_for("the other namespace", || (fs::read_to_string(&name).unwrap() == "sleep\n").then_some(()));
        let copy =
            Path::new("/proc").join(other.id().to_string()).join("root").join(dir.path().strip_prefix("/").unwrap());
        assert_eq!(fs::read_to_string(copy.join(FILE.0)).unwrap(), FILE.1);
        match unmounted {
            true => fuse.unmount(),
            false => drop(fuse),
        }
        assert!(!dir.path().join("firewall").exists());
        assert!(fs::read_to_string(copy.join(FILE.0)).is_err(), "the copy is still readable");
        other.kill().unwrap();
        other.wait_in_time();
    }
}

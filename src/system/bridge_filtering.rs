//! Whether bridged packets are filtered by iptables: sysctls of br_netfilter, of this network namespace.
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// `net.bridge.bridge-nf-call-iptables` and `-ip6tables`.
const FILES: [&str; 2] =
    ["/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"];

/// The two settings, for IPv4 and IPv6. The files stay open, so that reading them takes only two system calls, and the kernel
/// keeps the watched inodes.
#[derive(Debug)]
pub struct BridgeFiltering {
    files: [Option<File>; 2],
    /// `None` if the kernel has no inotify instance left.
    inotify: Option<Inotify>,
}

impl Default for BridgeFiltering {
    fn default() -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
        BridgeFiltering { files: [None, None], inotify }
    }
}

impl BridgeFiltering {
    /// Whether each is on; `None` if the kernel does not have it.
    pub fn read(&mut self) -> [Option<bool>; 2] {
        let mut values = [None; 2];
        for ((file, path), value) in self.files.iter_mut().zip(FILES).zip(&mut values) {
            *value = file.as_ref().and_then(look);
            // after the module was unloaded and loaded again, the file has to be opened again
            if value.is_none() {
                *file = File::open(path).ok();
                if let Some(inotify) = self.inotify.take_if(|_| file.is_some()) {
                    self.inotify = inotify.add_watch(path, AddWatchFlags::IN_MODIFY).is_ok().then_some(inotify);
                }
                *value = file.as_ref().and_then(look);
            }
        }
        values
    }

    /// Whether an existing setting is off.
    pub fn is_off(&mut self) -> bool {
        while self.inotify.as_ref().is_some_and(|inotify| inotify.read_events().is_ok()) {}
        self.read().contains(&Some(false))
    }

    /// Becomes readable when a program writes a setting through the instance of procfs that is mounted on `/proc`; writes
    /// through other instances, such as those of containers, cause no event. `None` if the settings cannot be watched.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }
}

fn look(file: &File) -> Option<bool> {
    let mut byte = [0; 1];
    (file.read_at(&mut byte, 0).ok()? == 1).then(|| byte != *b"0")
}

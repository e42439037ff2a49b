//! Whether bridged packets are filtered by iptables: sysctls of br_netfilter, of this network namespace.
use std::fs::File;
use std::os::unix::fs::FileExt;

/// `net.bridge.bridge-nf-call-iptables` and `-ip6tables`.
const FILES: [&str; 2] =
    ["/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"];

/// The two settings, for IPv4 and IPv6. The files stay open, so that reading them takes two system calls.
#[derive(Debug, Default)]
pub struct BridgeFiltering([Option<File>; 2]);

impl BridgeFiltering {
    /// Whether each is on; `None` if the kernel does not have it.
    pub fn read(&mut self) -> [Option<bool>; 2] {
        let mut values = [None; 2];
        for ((file, path), value) in self.0.iter_mut().zip(FILES).zip(&mut values) {
            *value = file.as_ref().and_then(look);
            // after the module was unloaded and loaded again, the file has to be opened again
            if value.is_none() {
                *file = File::open(path).ok();
                *value = file.as_ref().and_then(look);
            }
        }
        values
    }

    /// Whether an existing setting is off.
    pub fn is_off(&mut self) -> bool {
        self.read().contains(&Some(false))
    }
}

fn look(file: &File) -> Option<bool> {
    let mut byte = [0; 1];
    (file.read_at(&mut byte, 0).ok()? == 1).then(|| byte != *b"0")
}

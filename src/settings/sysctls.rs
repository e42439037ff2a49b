//! Sysctls below `/proc/sys` and `/sys`.
use super::Settings;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Whether bridges pass their packets to iptables and ip6tables.
const BRIDGE: [&str; 2] = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];

/// Whether bridges pass their packets to iptables; also true if the sysctl does not exist.
pub(super) fn bridges_pass_to_iptables(proc_sys: &Path) -> bool {
    BRIDGE.iter().all(|name| fs::read_to_string(proc_sys.join(name)).map_or(true, |now| now.trim() != "0"))
}

/// The result of writing sysctls.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// One line for each that had another value: `net.nf_conntrack_max was 65536, set to 262144`.
    pub changed: Vec<String>,
    /// One error for all that cannot be written, as in a container.
    pub error: Option<String>,
}

/// Writes the sysctls that differ. The size of conntrack's hash table is written only together with a new maximum, and never
/// reduced: another program may have increased it, and rehashing takes time.
pub(super) fn write(proc_sys: &Path, sys: &Path, settings: &Settings, bridged: bool) -> Written {
    const MAX: &str = "net/nf_conntrack_max";
    let hash_size = sys.join("module/nf_conntrack/parameters/hashsize");
    let mut failed: Vec<(String, Vec<String>)> = Vec::new();
    let mut changed = Vec::new();
    let mut note = |path: &Path, value: u64, result: Result<Option<String>, String>| match result {
        Ok(before) => {
            let name = path.strip_prefix(proc_sys).unwrap_or(path).display().to_string().replace('/', ".");
            changed.extend(before.as_ref().map(|before| format!("{name} was {before}, set to {value}")));
            before.is_some()
        }
        Err(reason) => {
            let setting = format!("{} to {value}", path.display());
            match failed.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, settings)) => settings.push(setting),
                None => failed.push((reason, vec![setting])),
            }
            false
        }
    };
    let bridges = BRIDGE.map(|name| (name, u64::from(bridged)));
    let bridges = bridges.into_iter().filter(|(name, _)| bridged || proc_sys.join(name).exists());
    let others = [
        ("net/ipv4/tcp_syncookies", 1),
        (MAX, settings.conntrack_max),
        ("net/netfilter/nf_conntrack_tcp_timeout_established", settings.tcp_timeout_established),
        ("net/netfilter/nf_conntrack_tcp_timeout_syn_recv", settings.tcp_timeout_syn_recv),
    ];
    for (name, value) in bridges.chain(others) {
        let path = proc_sys.join(name);
        let result = write_setting(&path, |now| (now != value.to_string()).then_some(value));
        if note(&path, value, result) && name == MAX {
            let value = settings.conntrack_max / 4;
            let smaller = |now: &str| now.parse().map_or(true, |now: u64| now < value);
            note(&hash_size, value, write_setting(&hash_size, |now| smaller(now).then_some(value)));
        }
    }
    let by_reason: Vec<_> =
        failed.iter().map(|(reason, settings)| format!("{}: {reason}", settings.join(", "))).collect();
    Written { changed, error: (!by_reason.is_empty()).then(|| format!("cannot set {}", by_reason.join("; "))) }
}

/// Writes the value that `wanted` returns for the current one. Returns the old value if it was replaced, or the error.
fn write_setting(path: &Path, wanted: impl FnOnce(&str) -> Option<u64>) -> Result<Option<String>, String> {
    let written = fs::read_to_string(path).and_then(|now| match wanted(now.trim()) {
        None => Ok(None),
        // the kernel's files cannot be replaced by renaming
        Some(value) => fs::write(path, value.to_string()).map(|()| Some(now.trim().to_string())),
    });
    written.map_err(|error| match error.kind() {
        ErrorKind::NotFound => "the kernel does not have it; is its module loaded (br_netfilter, nf_conntrack)?".into(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 6] = [
        "net/bridge/bridge-nf-call-iptables",
        "net/bridge/bridge-nf-call-ip6tables",
        "net/ipv4/tcp_syncookies",
        "net/nf_conntrack_max",
        "net/netfilter/nf_conntrack_tcp_timeout_established",
        "net/netfilter/nf_conntrack_tcp_timeout_syn_recv",
    ];

    fn fill(dir: &Path, name: &str, value: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    #[test]
    fn sysctls_are_written_if_they_differ_and_a_missing_one_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        for name in &FILES[1..] {
            fill(dir.path(), name, "1\n");
        }
        fill(dir.path(), "module/nf_conntrack/parameters/hashsize", "65536\n");
        // equal values are not written
        let same = dir.path().join(FILES[1]);
        let before = fs::metadata(&same).unwrap().modified().unwrap();
        let settings = Settings { conntrack_max: 270_336, ..Settings::default() };
        let Written { changed, error } = write(dir.path(), dir.path(), &settings, true);
        let error = error.unwrap();
        assert_eq!(changed[0], "net.nf_conntrack_max was 1, set to 270336");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(
            FILES[1..].iter().map(|name| read(name)).collect::<Vec<_>>(),
            ["1\n", "1\n", "270336", "432000", "60"]
        );
        assert_eq!(read("module/nf_conntrack/parameters/hashsize"), "67584");
        assert_eq!(fs::metadata(&same).unwrap().modified().unwrap(), before);
        assert!(error.contains("bridge-nf-call-iptables to 1: the kernel does not have it"), "{error}");
        // without a new maximum, the size set by another program is kept, even if it is smaller
        let hash_size = |value: &str| fill(dir.path(), "module/nf_conntrack/parameters/hashsize", value);
        let hashed = |settings: &Settings| {
            assert_eq!(write(dir.path(), dir.path(), settings, true).changed.len(), 1);
            fs::read_to_string(dir.path().join("module/nf_conntrack/parameters/hashsize")).unwrap()
        };
        hash_size("1024");
        assert_eq!(write(dir.path(), dir.path(), &settings, true).changed, [""; 0]);
        assert_eq!(read("module/nf_conntrack/parameters/hashsize"), "1024");
        // with a new maximum, the size is never reduced
        hash_size("1000000");
        assert_eq!(hashed(&Settings::default()), "1000000");
    }

    #[test]
    fn with_nftables_bridges_do_not_pass_to_iptables() {
        let dir = tempfile::tempdir().unwrap();
        for name in &FILES[1..] {
            fill(dir.path(), name, "1\n");
        }
        fill(dir.path(), "module/nf_conntrack/parameters/hashsize", "65536\n");
        assert!(bridges_pass_to_iptables(dir.path()));
        // one of both switches does not exist, which is no error
        assert_eq!(write(dir.path(), dir.path(), &Settings::default(), false).error, None);
        assert_eq!(fs::read_to_string(dir.path().join(FILES[1])).unwrap(), "0");
        assert!(!dir.path().join(FILES[0]).exists() && !bridges_pass_to_iptables(dir.path()));
    }

    /// A file that can be read but not written.
    fn sealed() -> fs::File {
        use nix::fcntl::{FcntlArg, SealFlag, fcntl};
        use nix::sys::memfd::{MFdFlags, memfd_create};
        use std::io::Write;
        let mut file = fs::File::from(memfd_create(c"sealed", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        file.write_all(b"7\n").unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK)).unwrap();
        file
    }

    #[test]
    fn a_failing_sysctl_does_not_affect_others() {
        let sealed = sealed();
        let sealed = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&sealed));
        let all = || FILES.into_iter().chain(["module/nf_conntrack/parameters/hashsize"]);
        let reasons =
            ["the kernel does not have it; is its module loaded", "Is a directory", "Operation not permitted"];
        let break_file = |reason: &str, path: &Path| match reason {
            "Is a directory" => fs::create_dir(path).unwrap(),
            "Operation not permitted" => std::os::unix::fs::symlink(&sealed, path).unwrap(),
            _ => {}
        };
        for (broken, reason) in all().flat_map(|broken| reasons.map(|reason| (broken, reason))) {
            let dir = tempfile::tempdir().unwrap();
            all().for_each(|name| fill(dir.path(), name, "7\n"));
            fs::remove_file(dir.path().join(broken)).unwrap();
            break_file(reason, &dir.path().join(broken));
            let error = write(dir.path(), dir.path(), &Settings::default(), true).error.unwrap();
            assert!(error.contains(broken) && error.contains(reason), "{error}");
            assert_eq!(error.matches(" to ").count(), 1, "{error}");
            // the hash table is written together with the maximum
            let skipped = |other: &str| broken.ends_with("conntrack_max") && other.ends_with("hashsize");
            for other in all().filter(|other| *other != broken && !skipped(other)) {
                assert_ne!(fs::read_to_string(dir.path().join(other)).unwrap(), "7\n", "{broken}: {other}");
            }
        }
    }
    #[test]
    fn settings_that_cannot_be_written_are_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = sealed();
        let sealed = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&sealed));
        for name in &FILES[2..] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&sealed, path).unwrap();
        }
        let error = write(dir.path(), dir.path(), &Settings::default(), true).error.unwrap();
        assert_eq!(error.matches(" to ").count(), 6, "{error}");
        assert_eq!(error.matches("the kernel does not have it").count(), 1, "{error}");
        assert_eq!(error.matches("Operation not permitted").count(), 1, "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

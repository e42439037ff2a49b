//! Sysctls below `/proc/sys` and `/sys`.
use super::Settings;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Whether bridges pass their packets to iptables and ip6tables.
const BRIDGE: [&str; 2] = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];

/// Whether bridges pass their packets to iptables; also if there is no such switch.
pub(super) fn bridges_pass_to_iptables(proc_sys: &Path) -> bool {
    BRIDGE.iter().all(|name| fs::read_to_string(proc_sys.join(name)).map_or(true, |now| now.trim() != "0"))
}

/// Writes the sysctls that differ. Those that cannot be written, as in a container, are one error. Where bridges are not to
/// pass their packets to iptables, the kernel need not be able to.
pub(super) fn write(proc_sys: &Path, sys: &Path, settings: &Settings, bridged: bool) -> Option<String> {
    let hash_size = sys.join("module/nf_conntrack/parameters/hashsize");
    let mut failed: Vec<(String, Vec<String>)> = Vec::new();
    let bridges = BRIDGE.map(|name| (proc_sys.join(name), u64::from(bridged)));
    let bridges = bridges.into_iter().filter(|(path, _)| bridged || path.exists());
    let others = [
        (proc_sys.join("net/ipv4/tcp_syncookies"), 1),
        (proc_sys.join("net/nf_conntrack_max"), settings.conntrack_max),
        (hash_size, settings.conntrack_max / 4),
        (proc_sys.join("net/netfilter/nf_conntrack_tcp_timeout_established"), settings.tcp_timeout_established),
        (proc_sys.join("net/netfilter/nf_conntrack_tcp_timeout_syn_recv"), settings.tcp_timeout_syn_recv),
    ];
    for (path, value) in bridges.chain(others) {
        if let Err(reason) = write_setting(&path, value) {
            let setting = format!("{} to {value}", path.display());
            match failed.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, settings)) => settings.push(setting),
                None => failed.push((reason, vec![setting])),
            }
        }
    }
    let by_reason: Vec<_> =
        failed.iter().map(|(reason, settings)| format!("{}: {reason}", settings.join(", "))).collect();
    (!by_reason.is_empty()).then(|| format!("cannot set {}", by_reason.join("; ")))
}

/// Writes a setting if it differs; returns the reason why it cannot be written.
fn write_setting(path: &Path, value: u64) -> Result<(), String> {
    let wanted = value.to_string();
    let written = fs::read_to_string(path).and_then(|now| {
        // the kernel's files cannot be replaced by renaming
        if now.trim() == wanted { Ok(()) } else { fs::write(path, &wanted) }
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
        let error =
            write(dir.path(), dir.path(), &Settings { conntrack_max: 270_336, ..Settings::default() }, true).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(
            FILES[1..].iter().map(|name| read(name)).collect::<Vec<_>>(),
            ["1\n", "1\n", "270336", "432000", "60"]
        );
        assert_eq!(read("module/nf_conntrack/parameters/hashsize"), "67584");
        assert_eq!(fs::metadata(&same).unwrap().modified().unwrap(), before);
        assert!(error.contains("bridge-nf-call-iptables to 1: the kernel does not have it"), "{error}");
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
        assert_eq!(write(dir.path(), dir.path(), &Settings::default(), false), None);
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
    fn each_failing_sysctl_affects_only_itself() {
        let sealed = sealed();
        let sealed = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&sealed));
        let all = || FILES.into_iter().chain(["module/nf_conntrack/parameters/hashsize"]);
        let reasons =
            ["the kernel does not have it; is its module loaded", "Is a directory", "Operation not permitted"];
        let spoil = |reason: &str, path: &Path| match reason {
            "Is a directory" => fs::create_dir(path).unwrap(),
            "Operation not permitted" => std::os::unix::fs::symlink(&sealed, path).unwrap(),
            _ => {}
        };
        for (broken, reason) in all().flat_map(|broken| reasons.map(|reason| (broken, reason))) {
            let dir = tempfile::tempdir().unwrap();
            all().for_each(|name| fill(dir.path(), name, "7\n"));
            fs::remove_file(dir.path().join(broken)).unwrap();
            spoil(reason, &dir.path().join(broken));
            let error = write(dir.path(), dir.path(), &Settings::default(), true).unwrap();
            assert!(error.contains(broken) && error.contains(reason), "{error}");
            assert_eq!(error.matches(" to ").count(), 1, "{error}");
            for other in all().filter(|other| *other != broken) {
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
        let error = write(dir.path(), dir.path(), &Settings::default(), true).unwrap();
        assert_eq!(error.matches(" to ").count(), 7, "{error}");
        assert_eq!(error.matches("the kernel does not have it").count(), 1, "{error}");
        assert_eq!(error.matches("Operation not permitted").count(), 1, "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

//! Kernel settings and files that go with the rules.
use super::{Fault, Firewall};
use crate::iptables::compile::Settings;
use crate::paths::{LOG_CONNTRACK, LOGGER_PID};
use crate::system::{files, process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

impl Firewall {
    /// Writes the node's settings, each only where it differs, and tells the log daemon whether to write connections.
    /// Of a disabled firewall only the latter: no connection is written then.
    pub fn settings(&mut self, settings: &Settings, enabled: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        if enabled {
            faults = sysctls(Path::new("/proc/sys"), Path::new("/sys"), settings);
        }
        faults.extend(self.log_conntrack(enabled && settings.log_conntrack).err());
        faults
    }

    fn log_conntrack(&self, wanted: bool) -> Result<(), Fault> {
        let fault = |error: anyhow::Error| Fault::general(format_args!("connections are not logged as set: {error:#}"));
        let path = self.tools.root.path(LOG_CONNTRACK);
        let content = files::read_optional(&path).map_err(fault)?;
        let now = content.is_some_and(|content| content.trim_ascii() == b"1");
        if now == wanted {
            return Ok(());
        }
        files::replace(&path, if wanted { b"1" } else { b"0" }, 0o644).map_err(fault)?;
        // one that does not run reads the file when it starts
        if let Some(pid) = process::running(&self.tools.root.path(LOGGER_PID), "pvefw-logger") {
            kill(Pid::from_raw(pid), Signal::SIGHUP).map_err(|errno| fault(errno.into()))?;
        }
        Ok(())
    }
}

fn sysctls(proc_sys: &Path, sys: &Path, settings: &Settings) -> Vec<Fault> {
    let hash_size = sys.join("module/nf_conntrack/parameters/hashsize");
    [
        (proc_sys.join("net/bridge/bridge-nf-call-iptables"), 1),
        (proc_sys.join("net/bridge/bridge-nf-call-ip6tables"), 1),
        (proc_sys.join("net/ipv4/tcp_syncookies"), 1),
        (proc_sys.join("net/nf_conntrack_max"), settings.conntrack_max),
        (hash_size, settings.conntrack_max / 4),
        (proc_sys.join("net/netfilter/nf_conntrack_tcp_timeout_established"), settings.tcp_timeout_established),
        (proc_sys.join("net/netfilter/nf_conntrack_tcp_timeout_syn_recv"), settings.tcp_timeout_syn_recv),
    ]
    .into_iter()
    .filter_map(|(path, value)| write_setting(&path, value).err())
    .collect()
}

fn write_setting(path: &Path, value: u64) -> Result<(), Fault> {
    let wanted = value.to_string();
    let written = fs::read_to_string(path).and_then(|now| {
        // the kernel's files cannot be replaced by renaming
        if now.trim() == wanted { Ok(()) } else { fs::write(path, &wanted) }
    });
    written.map_err(|error| {
        let what = match error.kind() {
            ErrorKind::NotFound => {
                "the kernel does not have it; is its module loaded (br_netfilter, nf_conntrack)?".into()
            }
            _ => error.to_string(),
        };
        Fault::general(format_args!("cannot set {} to {wanted}: {what}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables::apply::VariantChoice;
    use crate::system::root::Root;

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
        // what does not differ is not written
        let same = dir.path().join(FILES[1]);
        let before = fs::metadata(&same).unwrap().modified().unwrap();
        let faults = sysctls(dir.path(), dir.path(), &Settings { conntrack_max: 270_336, ..Settings::default() });
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(
            FILES[1..].iter().map(|name| read(name)).collect::<Vec<_>>(),
            ["1\n", "1\n", "270336", "432000", "60"]
        );
        assert_eq!(read("module/nf_conntrack/parameters/hashsize"), "67584");
        assert_eq!(fs::metadata(&same).unwrap().modified().unwrap(), before);
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].to_string().contains("bridge-nf-call-iptables to 1: the kernel does not have it"),
            "{}",
            faults[0]
        );
    }

    /// A file that can be read and not written.
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
            let told = sysctls(dir.path(), dir.path(), &Settings::default());
            let [fault] = &told[..] else { panic!("{broken}: {told:?}") };
            assert!(fault.to_string().contains(broken) && fault.to_string().contains(reason), "{fault}");
            for other in all().filter(|other| *other != broken) {
                assert_ne!(fs::read_to_string(dir.path().join(other)).unwrap(), "7\n", "{broken}: {other}");
            }
        }
    }

    #[test]
    fn connection_logging_is_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut firewall = Firewall::new(&Root::new(Some(dir.path().into())), VariantChoice::Auto);
        let path = dir.path().join("var/lib/pve-firewall/log_nf_conntrack");
        firewall.log_conntrack(false).unwrap();
        assert!(!path.exists());
        firewall.log_conntrack(true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1");
        let on = Settings { log_conntrack: true, ..Settings::default() };
        assert!(firewall.settings(&on, false).is_empty());
        assert_eq!(fs::read(&path).unwrap(), b"0");
    }
}

//! Reading the configuration tree with injected failures of the cluster file system.
mod writes;

use crate::fuse::{self, Fuse};
use crate::wait::{WAIT_LIMIT, wait_for};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use pve_firewall::inputs::File;
use pve_firewall::pmxcfs::{ReadError, Reader, ReaderConfig};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const VMLIST: &str = r#"{"version":1,"ids":{"100":{"node":"n1","type":"qemu","version":1}}}"#;
const CLUSTER: &str = "[OPTIONS]\nenable: 1\n";
const GUEST: &str = "[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp -dport 22\n";
const FILES: [(&str, &str); 5] = [
    (".vmlist", VMLIST),
    ("firewall/cluster.fw", CLUSTER),
    ("firewall/100.fw", GUEST),
    ("nodes/n1/host.fw", "[RULES]\n"),
    ("nodes/n1/qemu-server/100.conf", "net0: virtio=02:00:00:00:00:01,bridge=vmbr0,firewall=1\n"),
];

/// The daemon's configuration with a shorter timeout for hanging reads.
const READING: ReaderConfig = ReaderConfig { limit: Duration::from_millis(700), ..ReaderConfig::DAEMON };

fn config_directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in FILES {
        write(dir.path(), path, text);
    }
    dir
}

/// Writes a file in place, as an editor does.
fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn reader(root: &Path) -> Reader {
    let program = env!("CARGO_BIN_EXE_pve-firewall").into();
    Reader::new(program, root.to_path_buf(), "n1".into(), READING, None)
}

/// A reader that has read the whole tree.
fn initialized_reader(root: &Path) -> Reader {
    let mut reader = reader(root);
    let tree = reader.settle().unwrap();
    assert!(reader.settled(), "{tree:?}");
    assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
    reader
}

/// The current content of a file, or the error.
fn accepted_content(reader: &Reader, path: &str) -> Option<String> {
    reader.tree().files.get(path).map(|file| match file {
        File::Content(content) => String::from_utf8_lossy(content).into_owned(),
        File::Unreadable(why) => format!("unreadable: {why}"),
    })
}

/// Reads repeatedly for some time and checks that a file does not change.
fn assert_unchanged_for(reader: &mut Reader, path: &str, content: &str, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        reader.read().unwrap();
        let now = accepted_content(reader, path);
        // on a busy machine, a read that ends too late is not counted
        assert!(now.as_deref() == Some(content) || began.elapsed() >= time, "{now:?}");
        sleep(READING.pause / 4);
    }
}

/// Reads until a file has the content `after`; until then it must have the content `before`.
fn wait_for_content(reader: &mut Reader, path: &str, before: Option<&str>, after: Option<&str>) -> Duration {
    let began = Instant::now();
    loop {
        reader.read().unwrap();
        let now = accepted_content(reader, path);
        if now.as_deref() == after {
            return began.elapsed();
        }
        assert_eq!(now.as_deref(), before);
        assert!(began.elapsed() < Duration::from_secs(30), "{path} never becomes {after:?}");
        sleep(READING.pause);
    }
}

fn unhealthy_reason(reader: &mut Reader) -> String {
    match reader.read() {
        Err(ReadError::Unhealthy(why)) => why,
        other => panic!("the tree should be unhealthy: {other:?}"),
    }
}

/// The processes that read this tree.
fn workers(root: &Path) -> usize {
    let wanted = root.to_str().unwrap().as_bytes();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let commands = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands.filter(|command| command.split(|byte| *byte == 0).any(|arg| arg == wanted)).count()
}

#[test]
fn a_command_reads_newly_written_files_even_if_a_read_is_slow() {
    let dir = config_directory();
    let program = std::path::PathBuf::from(env!("CARGO_BIN_EXE_pve-firewall"));
    // as if the first read took all the available time
    let late = ReaderConfig { settle: Duration::ZERO, ..ReaderConfig::COMMAND };
    for text in [CLUSTER, "[OPTIONS]\nenable: 0\n"] {
        write(dir.path(), "firewall/cluster.fw", text);
        let mut reader = Reader::new(program.clone(), dir.path().to_path_buf(), "n1".into(), late, None);
        let tree = reader.settle().unwrap();
        assert_eq!(tree.content("firewall/cluster.fw"), Some(text.as_bytes()), "{tree:?}");
        assert_eq!(tree.files.len(), FILES.len(), "{tree:?}");
    }
}

#[test]
fn only_relevant_files_are_read() {
    let dir = config_directory();
    for path in [
        "firewall/100.fw.tmp.77",
        "firewall/.100.fw.swp",
        "firewall/notes",
        "nodes/n2/host.fw",
        "user.cfg",
        "sdn/.version",
        "priv/known_hosts",
    ] {
        write(dir.path(), path, "x");
    }
    write(dir.path(), "sdn/firewall/vnet0.fw", "[OPTIONS]\n");
    write(dir.path(), "nodes/n1/lxc/101.conf", "arch: amd64\n");
    write(dir.path(), "corosync.conf", "totem {\n}\n");
    let of_sdn = ["sdn/.running-config", "sdn/pve-ipam-state.json", "priv/ipam.db"];
    of_sdn.iter().for_each(|path| write(dir.path(), path, "{}"));
    let reader = initialized_reader(dir.path());
    let tree = reader.tree();
    assert_eq!(tree.root, dir.path().to_str().unwrap());
    let mut wanted: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
    wanted.extend(["sdn/firewall/vnet0.fw", "nodes/n1/lxc/101.conf", "corosync.conf"]);
    wanted.extend(of_sdn);
    wanted.sort_unstable();
    assert_eq!(tree.files.keys().map(|path| &**path).collect::<Vec<_>>(), wanted);
    assert_eq!(reader.reports(), []);
}

#[test]
fn enoent_during_renames_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let fuse = Fuse::mount(dir.path(), &FILES);
    let mut reader = initialized_reader(dir.path());
    // one lookup of three succeeds
    fuse.change(|state| state.failing_lookups = 2);
    for _ in 0..10 {
        reader.read().unwrap();
        assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
    }
    drop(reader);
    let mut reader = self::reader(dir.path());
    reader.settle().unwrap();
    assert_eq!(accepted_content(&reader, "nodes/n1/host.fw").as_deref(), Some("[RULES]\n"), "also when it is new");
    drop(reader);
    fuse.unmount();
}

#[test]
fn a_file_that_disappears_is_used_until_its_absence_is_certain() {
    let dir = config_directory();
    let mut reader = initialized_reader(dir.path());
    // this test uses shorter times than the daemon
    let brief = READING.debounce.absence / 2;
    fs::rename(dir.path().join("firewall/100.fw"), dir.path().join("away")).unwrap();
    assert_unchanged_for(&mut reader, "firewall/100.fw", GUEST, brief);
    fs::rename(dir.path().join("away"), dir.path().join("firewall/100.fw")).unwrap();
    reader.read().unwrap();
    assert!(reader.settled());
    fs::remove_file(dir.path().join("firewall/100.fw")).unwrap();
    let took = wait_for_content(&mut reader, "firewall/100.fw", Some(GUEST), None);
    assert!(took >= READING.debounce.absence, "{took:?}");
}

#[test]
fn an_empty_file_is_accepted_only_after_a_delay() {
    let dir = config_directory();
    let mut reader = initialized_reader(dir.path());
    write(dir.path(), "firewall/cluster.fw", "");
    let took = wait_for_content(&mut reader, "firewall/cluster.fw", Some(CLUSTER), None);
    assert!(took >= READING.debounce.absence, "{took:?}");
    write(dir.path(), "firewall/cluster.fw", CLUSTER);
    wait_for_content(&mut reader, "firewall/cluster.fw", None, Some(CLUSTER));
}

/// Files of a file system that fail in some way.
type Files = fn(&mut fuse::State) -> &mut BTreeSet<String>;

#[test]
fn an_unreadable_file_keeps_its_last_good_content() {
    let failures: [(&str, Files); 2] =
        [("Input/output error", |state| &mut state.unreadable), ("Permission denied", |state| &mut state.forbidden)];
    for (why, failing) in failures {
        let dir = tempfile::tempdir().unwrap();
        let fuse = Fuse::mount(dir.path(), &FILES);
        let mut reader = initialized_reader(dir.path());
        fuse.change(|state| assert!(failing(state).insert("firewall/100.fw".into())));
        for _ in 0..3 {
            reader.read().unwrap();
            assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
            let [report] = &reader.reports()[..] else { panic!("{:?}", reader.reports()) };
            let text = report.to_string();
            assert!(text.starts_with(&format!("{}/firewall/100.fw: cannot be read", dir.path().display())), "{text}");
            assert!(text.contains(why), "{text}");
        }
        // a file that was never read is unreadable, and the others are available
        let mut reader = self::reader(dir.path());
        reader.settle().unwrap();
        assert!(accepted_content(&reader, "firewall/100.fw").unwrap().starts_with("unreadable: "));
        assert_eq!(accepted_content(&reader, "firewall/cluster.fw").as_deref(), Some(CLUSTER));
        // without cluster.fw the tree is unhealthy
        fuse.change(|state| assert!(failing(state).insert("firewall/cluster.fw".into())));
        let mut reader = self::reader(dir.path());
        assert!(matches!(reader.settle(), Err(ReadError::Unhealthy(why)) if why.contains("firewall/cluster.fw: ")));
        fuse.change(|state| failing(state).clear());
        reader.settle().unwrap();
        assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
        assert_eq!(reader.reports(), []);
    }
}

#[test]
fn a_file_that_is_not_regular_does_not_block_reading() {
    let dir = config_directory();
    let firewall = dir.path().join("firewall");
    mkfifo(&firewall.join("200.fw"), Mode::S_IRWXU).unwrap();
    fs::create_dir(firewall.join("201.fw")).unwrap();
    symlink("/dev/zero", firewall.join("202.fw")).unwrap();
    symlink("203.fw", firewall.join("203.fw")).unwrap();
    symlink("nowhere", firewall.join("204.fw")).unwrap();
    fs::write(firewall.join("205.fw"), vec![b'#'; (1 << 20) + 1]).unwrap();
    fs::write(firewall.join("206.fw"), vec![b'#'; 1 << 20]).unwrap();
    let mut reader = reader(dir.path());
    reader.settle().unwrap();
    for (guest, why) in [
        (200, "it is not a regular file"),
        (201, "it is not a regular file"),
        (202, "it is not a regular file"),
        (203, "Too many levels of symbolic links (os error 40)"),
        (204, "it is listed, but does not exist"),
        (205, "it is larger than 1 MiB"),
    ] {
        let wanted = format!("unreadable: {why}");
        assert_eq!(accepted_content(&reader, &format!("firewall/{guest}.fw")), Some(wanted));
    }
    assert_eq!(accepted_content(&reader, "firewall/206.fw").unwrap().len(), 1 << 20);
}

#[test]
fn a_hanging_read_is_killed_and_at_most_one_exists() {
    let dir = tempfile::tempdir().unwrap();
    let fuse = Fuse::mount(dir.path(), &FILES);
    let mut reader = initialized_reader(dir.path());
    fuse.hang(true);
    let mut texts = Vec::new();
    for _ in 0..4 {
        let began = Instant::now();
        texts.push(unhealthy_reason(&mut reader));
        assert!(began.elapsed() < WAIT_LIMIT, "{:?}", began.elapsed());
        assert!(workers(dir.path()) <= 1, "{} workers", workers(dir.path()));
    }
    assert!(texts[0].contains("hangs"), "{texts:?}");
    assert!(texts.windows(2).all(|nodes| nodes[0] == nodes[1]), "one report, not many: {texts:?}");
    assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
    fuse.hang(false);
    wait_for("a successful read", || reader.read().ok());
    assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
    drop(reader);
    assert_eq!(workers(dir.path()), 0);
}

#[test]
fn an_empty_or_missing_tree_is_unhealthy() {
    let dir = config_directory();
    let mut reader = initialized_reader(dir.path());
    for name in [".vmlist", "firewall", "nodes"] {
        fs::rename(dir.path().join(name), dir.path().join(format!("{name}.away"))).unwrap();
    }
    assert!(unhealthy_reason(&mut reader).contains("contains neither .vmlist nor nodes/n1"));
    assert!(matches!(self::reader(dir.path()).settle(), Err(ReadError::Unhealthy(_))));
    for name in [".vmlist", "firewall", "nodes"] {
        fs::rename(dir.path().join(format!("{name}.away")), dir.path().join(name)).unwrap();
    }
    reader.read().unwrap();
    let away = dir.path().with_extension("away");
    fs::rename(dir.path(), &away).unwrap();
    assert!(unhealthy_reason(&mut reader).contains("No such file or directory"));
    fs::rename(&away, dir.path()).unwrap();
    assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
    // a truncated list of guests is unhealthy too
    write(dir.path(), ".vmlist", &VMLIST[..20]);
    assert!(unhealthy_reason(&mut reader).contains("not complete JSON"));
    for nothing in ["{}", "null", "[]", r#"{"version":1,"ids":null}"#] {
        write(dir.path(), ".vmlist", nothing);
        assert!(unhealthy_reason(&mut reader).contains("does not list guests"), "{nothing}");
    }
}

#[test]
fn a_cluster_without_guests_is_healthy() {
    let dir = tempfile::tempdir().unwrap();
    for fuse in [false, true] {
        // a new node in pmxcfs: no guests and no firewall files
        let files = [(".vmlist", r#"{"version":1}"#), (".members", r#"{"nodename":"n1","version":0}"#)];
        let mount = fuse.then(|| Fuse::mount(dir.path(), &files));
        if !fuse {
            files.iter().for_each(|(path, text)| write(dir.path(), path, text));
        }
        let mut reader = reader(dir.path());
        let tree = reader.settle().unwrap();
        assert!(reader.settled(), "{tree:?}");
        assert_eq!(accepted_content(&reader, "firewall/cluster.fw"), None);
        drop(reader);
        drop(mount);
    }
}

#[test]
fn a_plain_directory_without_a_guest_list_needs_its_node_directory() {
    let dir = config_directory();
    fs::remove_file(dir.path().join(".vmlist")).unwrap();
    initialized_reader(dir.path());
}

#[test]
fn the_directory_hidden_by_the_mount_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    // a valid tree, except that a file system was mounted here before
    write(dir.path(), "nodes/n1/host.fw", "[RULES]\n");
    let fuse = Fuse::mount(dir.path(), &FILES);
    let mut reader = initialized_reader(dir.path());
    fuse.unmount();
    assert!(unhealthy_reason(&mut reader).contains("not mounted"));
    assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
    // after it is mounted again, files are missing for some time
    let fuse = Fuse::mount(dir.path(), &FILES[..2]);
    assert_unchanged_for(&mut reader, "firewall/100.fw", GUEST, READING.debounce.appearance / 2);
    fuse.change(|state| state.put("firewall/100.fw", "[RULES]\n"));
    wait_for_content(&mut reader, "firewall/100.fw", Some(GUEST), Some("[RULES]\n"));
    drop(reader);
    fuse.unmount();
}

#[test]
fn an_empty_file_system_mounted_over_it_is_unhealthy() {
    let dir = config_directory();
    std::thread::scope(|scope| {
        // a mount namespace for this thread and the workers that it starts
        scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (needs root)");
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
            let mut reader = initialized_reader(dir.path());
            mount(Some("none"), dir.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            assert!(unhealthy_reason(&mut reader).contains("contains neither"));
            nix::mount::umount(dir.path()).expect("unmounting: no process uses the mount");
            reader.read().unwrap();
            assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
        });
    });
}

#[test]
fn a_killed_cluster_file_system_is_unhealthy_and_can_be_mounted_again() {
    let dir = tempfile::tempdir().unwrap();
    let fuse = Fuse::mount(dir.path(), &FILES);
    let mut reader = initialized_reader(dir.path());
    fuse.kill();
    let why = unhealthy_reason(&mut reader);
    assert!(why.contains("os error 103") || why.contains("ECONNABORTED") || why.contains("os error 107"), "{why}");
    assert_eq!(accepted_content(&reader, "firewall/100.fw").as_deref(), Some(GUEST));
    // the idle reading process with its watches does not keep the mount busy
    assert_eq!(workers(dir.path()), 1);
    nix::mount::umount(dir.path()).expect("unmounting: no process uses the mount");
    let again = Fuse::mount(dir.path(), &FILES);
    reader.read().unwrap();
    drop(reader);
    again.unmount();
}

//! Wrappers that replace the tools. A wrapper runs the script with its name in the directory of the current network namespace;
//! if there is none, it runs the real tool.
use crate::host::Host;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

const TOOLS: [&str; 14] = [
    "iptables-legacy",
    "iptables-legacy-save",
    "iptables-legacy-restore",
    "ip6tables-legacy-save",
    "ip6tables-legacy-restore",
    "iptables-nft-save",
    "iptables-nft-restore",
    "ip6tables-nft-save",
    "ip6tables-nft-restore",
    "ebtables-legacy",
    "ebtables-nft-save",
    "ebtables-nft-restore",
    "ipset",
    "nft",
];

/// Puts the wrappers first in PATH. Call it before starting threads.
#[allow(unsafe_code, reason = "changes the environment")]
pub fn install() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for tool in TOOLS {
        let script = format!(
            "#!/bin/sh\nown={}/$(readlink /proc/self/ns/net)/{tool}\nif [ -x \"$own\" ]; then exec \"$own\" \"$@\"; fi\n\
             exec /usr/sbin/{tool} \"$@\"\n",
            directory.path().display()
        );
        write(&directory.path().join(tool), &script);
    }
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap_or_default());
    // SAFETY: the process has one thread
    unsafe { std::env::set_var("PATH", path) };
    DIRECTORY.get_or_init(|| directory.path().into());
    directory
}

fn write(path: &Path, script: &str) {
    // written under a temporary name, because a file that is open for writing cannot be executed
    let fresh = path.with_extension("new");
    fs::write(&fresh, script).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&fresh, path).unwrap();
}

/// A directory of scripts, removed before another namespace can get the same number.
struct OwnDirectory(PathBuf);

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program of a tool. `ebtables-legacy` has no save and restore programs: `ebtables-legacy-save` means its runs that read
/// the table, `ebtables-legacy-restore` all others.
pub fn program(tool: &str) -> &str {
    match tool {
        "ebtables-legacy-save" | "ebtables-legacy-restore" => "ebtables-legacy",
        other => other,
    }
}

/// The beginning of a script: executes the real tool for runs of the program that do not belong to `tool`.
fn run_filter(tool: &str) -> &str {
    match tool {
        "ebtables-legacy-save" => "case \"$*\" in *-L) ;; *) exec $real \"$@\";; esac",
        "ebtables-legacy-restore" => "case \"$*\" in *-L | --version) exec $real \"$@\";; esac",
        _ => "",
    }
}

fn own_directory<F, V>(host: &Host<F, V>) -> PathBuf {
    let namespace = host.netns.run(|| fs::read_link("/proc/thread-self/ns/net").unwrap());
    DIRECTORY.get().unwrap().join(namespace)
}

/// Replaces a tool with a shell script. In it, `$real` is the tool, and `$dir` a directory for files.
pub fn replace_tool<F, V>(host: &mut Host<F, V>, tool: &str, script: &str) {
    let directory = own_directory(host);
    if host.guards.is_empty() {
        fs::create_dir(&directory).unwrap();
        host.guards.push(Box::new(OwnDirectory(directory.clone())));
    }
    let (program, guard) = (program(tool), run_filter(tool));
    let script = format!("#!/bin/sh\nreal=/usr/sbin/{program}; dir={}\n{guard}\n{script}\n", directory.display());
    write(&directory.join(program), &script);
}

/// Restores the real tool.
pub fn restore_tool<F, V>(host: &Host<F, V>, tool: &str) {
    fs::remove_file(own_directory(host).join(program(tool))).unwrap();
}

/// The content of a file written by scripts.
pub fn read_note<F, V>(host: &Host<F, V>, name: &str) -> String {
    fs::read_to_string(own_directory(host).join(name)).unwrap_or_default()
}

/// Makes the tool refuse a whole restore script that contains a text, without a line number, as the kernel does.
pub fn refuse(host: &mut Host, tool: &str, text: &str) {
    let script = format!(
        "script=$(mktemp); trap 'rm -f $script' EXIT; cat >$script; echo >>$dir/runs\n\
         if grep -q -e '{text}' $script; then\n\
         echo \"{tool}: line $(grep -c '' $script) failed\" >&2; exit 1; fi\n$real \"$@\" <$script"
    );
    replace_tool(host, tool, &script);
}

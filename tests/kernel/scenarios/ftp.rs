//! FTP through the firewall: a real server in a guest, a real client on the external host.
use super::scenario::{GUEST100, HOST, Program, Scenario, host, tracking_backends, wait_for};
use crate::testbed::VM100;
use crate::wait::OutputInTime;
use pve_firewall::model::BackendKind;
use std::fs;
use std::path::Path;

/// Only port 21 is accepted, and outgoing only packets of established connections.
pub const GUEST: &str = "[OPTIONS]\nenable: 1\npolicy_out: DROP\n[RULES]\nIN FTP(ACCEPT)\n";
const GREETING: &str = "hello by FTP";
/// curl(1): the transfer took too long.
const TIMED_OUT: i32 = 28;

pub fn server(scenario: &Scenario) -> Program {
    let directory = scenario.root().join("ftp");
    fs::create_dir_all(directory.join("files")).unwrap();
    fs::write(directory.join("files/greeting"), GREETING).unwrap();
    // the server's user needs access
    for directory in [scenario.root(), &directory] {
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory, everyone).unwrap();
    }
    let conf = directory.join("vsftpd.conf");
    let files = directory.join("files");
    let text = format!(
        "listen=YES\nbackground=NO\nanonymous_enable=YES\nno_anon_password=YES\nlocal_enable=NO\nanon_root={0}\n\
         secure_chroot_dir={0}\nconnect_from_port_20=YES\nseccomp_sandbox=NO\n",
        files.display()
    );
    fs::write(&conf, text).unwrap();
    Program::start(scenario.testbed.netns(VM100), "vsftpd", &[conf.to_str().unwrap()])
}

/// Downloads the file with these options; returns curl's exit status and output.
fn get(scenario: &Scenario, options: &[&str], seconds: &str) -> (i32, String) {
    let mut command = scenario.testbed.outside.command("curl");
    command.args(["--silent", "--show-error", "--max-time", seconds]).args(options).arg("ftp://10.0.0.100/greeting");
    let output = command.output_in_time();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

const PASSIVE: [&[&str]; 2] = [&["--disable-epsv"], &[]];
const ACTIVE: [&[&str]; 2] = [&["--ftp-port", "-", "--disable-eprt"], &["--ftp-port", "-"]];

#[test]
fn the_conntrack_helper_allows_the_data_connection() {
    assert!(Path::new("/proc/sys/net/netfilter").exists(), "no connection tracking");
    tracking_backends().for_each(helper_allows_data_connections);
}

fn helper_allows_data_connections(kind: BackendKind) {
    let with_helper = host(kind, "nf_conntrack_helpers: ftp\n");
    let scenario = Scenario::with_backend(kind, &[(GUEST100, GUEST), (HOST, &with_helper)]);
    scenario.testbed.assign_addresses();
    let _server = server(&scenario);
    wait_for("the server", || (get(&scenario, PASSIVE[0], "5").0 == 0).then_some(()));
    for options in PASSIVE.into_iter().chain(ACTIVE) {
        assert_eq!(get(&scenario, options, "20"), (0, GREETING.to_string()), "{options:?}");
    }
    scenario.change(&[(HOST, &host(kind, ""))]);
    for options in [PASSIVE[0], ACTIVE[0]] {
        assert_eq!(get(&scenario, options, "2"), (TIMED_OUT, String::new()), "{options:?}");
    }
}

//! The network connection of the login session from which this process was started.
use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The ports for administering a node: SSH and the web interface.
pub const ADMIN_PORTS: [u16; 2] = [22, 8006];
/// The major device numbers of pseudo-terminals: not those of the console.
const PSEUDO_TERMINALS: std::ops::RangeInclusive<u64> = 136..=143;
/// Maximum number of ancestors that are examined; no process has as many.
const ANCESTORS: usize = 100;
/// `TCP_ESTABLISHED`
const ESTABLISHED: &str = "01";

/// The connections of a session, each with the client's address first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The connections that are known to be the caller's.
    pub connections: Vec<(SocketAddr, SocketAddr)>,
    /// Whether the caller has a terminal that is not the console, and its connection is not known.
    pub connection_unknown: bool,
}

/// The session of this process, found by `SSH_CONNECTION` in the environment of the process and its ancestors (`sudo` removes
/// it), and by open sockets of its ancestors.
#[must_use]
pub fn own() -> Session {
    let mut session = Session::default();
    let mut inodes = HashSet::new();
    let mut terminal = false;
    let mut pid = std::process::id();
    for _ in 0..ANCESTORS {
        let Some(Process { parent, tty }) = process(pid) else { break };
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        session.connections.extend(ssh_connection(&environment));
        inodes.extend(sockets(pid));
        terminal |= PSEUDO_TERMINALS.contains(&(tty >> 8 & 0xfff));
        pid = parent;
        if pid <= 1 {
            break;
        }
    }
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        let own = text
            .lines()
            .filter_map(established)
            .filter(|(_, server, inode)| inodes.contains(inode) && ADMIN_PORTS.contains(&server.port()));
        session.connections.extend(own.map(|(client, server, _)| (client, server)));
    }
    session.connections.sort();
    session.connections.dedup();
    session.connection_unknown = terminal && session.connections.is_empty();
    session
}

struct Process {
    parent: u32,
    /// The device number of its terminal; 0 without one.
    tty: u64,
}

/// Reads a process's parent and terminal; see proc_pid_stat(5).
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // a command may contain blanks and parentheses
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(1);
    let parent = words.next()?.parse().ok()?;
    let tty = words.nth(2)?.parse::<i64>().ok()?;
    Some(Process { parent, tty: u64::try_from(tty).unwrap_or(0) })
}

/// `SSH_CONNECTION=client-address client-port server-address server-port`
fn ssh_connection(environment: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(b"SSH_CONNECTION="))?;
    let words: Vec<&str> = std::str::from_utf8(value).ok()?.split(' ').collect();
    let [client, client_port, server, server_port] = words[..] else { return None };
    // a link-local address is followed by its interface
    let address = |text: &str| text.split('%').next().unwrap_or_default().parse::<IpAddr>().ok();
    let end = |host: &str, port: &str| Some(SocketAddr::new(address(host)?.to_canonical(), port.parse().ok()?));
    Some((end(client, client_port)?, end(server, server_port)?))
}

/// The inodes of a process's sockets.
fn sockets(pid: u32) -> impl Iterator<Item = u64> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| {
        let target = fs::read_link(file.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// Parses a line of `/proc/net/tcp`: the remote address, the local address and the inode of an established connection.
fn established(line: &str) -> Option<(SocketAddr, SocketAddr, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (near, far, state, inode) = (words.get(1)?, words.get(2)?, words.get(3)?, words.get(9)?);
    (*state == ESTABLISHED).then_some(())?;
    Some((end(far)?, end(near)?, inode.parse().ok()?))
}

/// `0100007F:0016`: the address in words of the machine's byte order, and the port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let octets = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ssh_connections_are_parsed() {
        let parsed = |value: &str| ssh_connection(format!("A=1\0SSH_CONNECTION={value}\0B=2\0").as_bytes());
        assert_eq!(parsed("192.0.2.7 40000 10.0.0.1 22"), Some((socket("192.0.2.7:40000"), socket("10.0.0.1:22"))));
        assert_eq!(
            parsed("fe80::7%vmbr0 40000 fe80::1%vmbr0 22"),
            Some((socket("[fe80::7]:40000"), socket("[fe80::1]:22")))
        );
        assert_eq!(parsed("::ffff:192.0.2.7 40000 ::ffff:10.0.0.1 22").unwrap().0, socket("192.0.2.7:40000"));
        for nonsense in ["", "192.0.2.7", "192.0.2.7 x 10.0.0.1 22", "a b c d"] {
            assert_eq!(parsed(nonsense), None, "{nonsense}");
        }
        assert_eq!(ssh_connection(b""), None);
    }

    #[test]
    fn lines_of_the_kernels_tables_are_read() {
        let v4 = "   0: 0100000A:0016 FE00000A:9C40 01 00000000:00000000 02:0009C5B8 00000000     0        0 4711 2 0";
        assert_eq!(established(v4), Some((socket("10.0.0.254:40000"), socket("10.0.0.1:22"), 4711)));
        let listening = v4.replace(" 01 ", " 0A ");
        assert_eq!(established(&listening), None);
        let v6 =
            "   1: 000000FD000000000000000001000000:1F46 000000FD0000000000000000FE000000:9C40 01 0:0 0:0 0 0 0 9 1 0";
        assert_eq!(established(v6), Some((socket("[fd00::fe]:40000"), socket("[fd00::1]:8006"), 9)));
        assert_eq!(established("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn an_ancestor_with_an_open_connection_is_found() {
        let parent = process(std::process::id()).unwrap().parent;
        assert!(process(parent).is_some());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(sockets(std::process::id()).count() > 0);
        drop(listener);
    }
}

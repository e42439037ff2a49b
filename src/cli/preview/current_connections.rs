//! The connections that the kernel currently tracks.
use crate::nflog::conntrack::{Connection, Detail, Tuple};
use crate::system::login_session::{self, ADMIN_PORTS};
use crate::system::netlink::ConntrackTable;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The tracked connections in the kernel.
pub(in crate::cli) struct CurrentConnections {
    /// All tracked connections, and the caller's own.
    pub connections: Vec<Connection>,
    /// Why the connections could not be listed.
    pub error: Option<String>,
    own: BTreeSet<Tuple>,
    /// Whether each connection to a management port may be the caller's.
    connection_unknown: bool,
}

impl CurrentConnections {
    /// Lists the connections in the kernel.
    pub(super) fn now() -> Self {
        let listed = ConntrackTable::open().and_then(|mut tracked| tracked.list());
        let (mut connections, error) = match listed {
            Ok(connections) => (connections, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        let session = login_session::own();
        let own: BTreeSet<Tuple> = session.connections.iter().map(|(client, server)| tcp(*client, *server)).collect();
        let known: BTreeSet<Tuple> = connections.iter().map(|one| one.original).collect();
        // without filtering there is no connection tracking
        connections.extend(own.difference(&known).map(|original| untracked(*original)));
        CurrentConnections { connections, error, own, connection_unknown: session.connection_unknown }
    }

    /// Whether a connection is, or may be, the caller's session.
    pub(super) fn is_own(&self, connection: &Connection) -> bool {
        let Tuple { protocol, detail, .. } = connection.original;
        let admin = matches!(detail, Detail::Ports { dest, .. } if ADMIN_PORTS.contains(&dest));
        self.own.contains(&connection.original)
            || (self.connection_unknown && protocol == 6 && admin && connection.answered)
    }
}

fn tcp(client: SocketAddr, server: SocketAddr) -> Tuple {
    let detail = Detail::Ports { source: client.port(), dest: server.port() };
    Tuple { source: client.ip(), dest: server.ip(), protocol: 6, detail }
}

fn untracked(original: Tuple) -> Connection {
    let detail = match original.detail {
        Detail::Ports { source, dest } => Detail::Ports { source: dest, dest: source },
        other => other,
    };
    Connection::between(original, Tuple { source: original.dest, dest: original.source, detail, ..original })
}

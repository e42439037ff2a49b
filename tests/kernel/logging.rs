//! Both programs together: packets logged by rules and policies are in the log file. Needs root, netfilter and `make deps`.
use crate::logger::Logger;
use crate::netns::Netns;
use crate::node::{Node, wait_for};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// How long to wait for the line of a packet that must not be logged, after a later packet has been logged.
const LOG_DELAY: Duration = Duration::from_millis(300);

const HOST: &str = "[OPTIONS]\nlog_level_in: warning\n[RULES]\n\
    IN ACCEPT -p tcp -dport 8006 -log info\n\
    IN REJECT -p udp -dport 7000 -log debug\n\
    IN REJECT -p udp -dport 7001 -log nolog\n";
const GUEST: &str = "[OPTIONS]\nenable: 1\nlog_level_in: err\nlog_level_out: crit\n[RULES]\n\
    IN SSH(ACCEPT) -log info\n\
    OUT DROP -p udp -dport 9 -log alert\n";

/// A node with VM 100 behind its bridges, and a client on the same bridge.
struct Net {
    node: Node,
    desk: Netns,
    guest: Netns,
}

impl Net {
    fn new() -> Self {
        let node = Node::new("pvefw-log");
        let (desk, guest) = (Netns::new("pvefw-desk"), Netns::new("pvefw-vm"));
        node.netns.exec(&format!(
            "ip link add vmbr0 type bridge && ip address add 10.77.0.1/24 dev vmbr0 && ip link set vmbr0 up
             ip link add desk0 type veth peer name eth0 netns {desk} && ip link set desk0 master vmbr0 up
             ip link add fwbr100i0 type bridge && ip link set fwbr100i0 up
             ip link add fwln100i0 type veth peer name fwpr100p0
             ip link set fwln100i0 master fwbr100i0 up && ip link set fwpr100p0 master vmbr0 up
             ip link add tap100i0 type veth peer name eth0 netns {guest} && ip link set tap100i0 master fwbr100i0 up",
            desk = desk.name(),
            guest = guest.name()
        ));
        desk.exec("ip address add 10.77.0.9/24 dev eth0 && ip link set eth0 up");
        guest.exec("ip link set eth0 address 02:00:00:00:00:01 up && ip address add 10.77.0.100/24 dev eth0");
        Net { node, desk, guest }
    }
}

fn udp(from: &Netns, to: &str) {
    from.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"hello", to).map(drop)).unwrap();
}

/// Tries to open a connection; other tests check whether it succeeds.
fn tcp(from: &Netns, to: &str) {
    let address: SocketAddr = to.parse().unwrap();
    from.run(|| TcpStream::connect_timeout(&address, Duration::from_millis(200)).map(drop).unwrap_or(()));
}

#[test]
fn rules_and_policies_are_logged() {
    let Net { node, desk, guest } = Net::new();
    node.write("firewall/cluster.fw", "[OPTIONS]\nenable: 1\nlog_ratelimit: 0\n");
    node.write("nodes/n1/host.fw", HOST);
    node.write("firewall/100.fw", GUEST);
    let logger = Logger::start(&node.netns, &node.path(""), &[]);
    node.run_ok(&["start"]);

    // the host: rules at their levels, the policy at the host's
    tcp(&desk, "10.77.0.1:8006");
    let line = logger.line_with("DPT=8006");
    assert!(line.starts_with("0 6 PVEFW-HOST-IN ") && line.contains(" ACCEPT: IN=vmbr0 PHYSIN=desk0 MAC="), "{line}");
    assert!(line.contains(" SRC=10.77.0.9 DST=10.77.0.1 LEN=60 ") && line.ends_with(" SYN"), "{line}");
    udp(&desk, "10.77.0.1:7000");
    let line = logger.line_with("DPT=7000");
    assert!(line.starts_with("0 7 PVEFW-HOST-IN ") && line.contains(" REJECT: IN=vmbr0 "), "{line}");
    // no line for nolog, nor for traffic that the standard chains drop without logging: SMB and UPnP noise
    for port in [7001, 137, 445, 1900] {
        udp(&desk, &format!("10.77.0.1:{port}"));
    }
    udp(&desk, "10.77.0.1:5000");
    let line = logger.line_with("DPT=5000");
    assert!(line.starts_with("0 4 PVEFW-HOST-IN ") && line.contains(" policy DROP: IN=vmbr0 "), "{line}");

    // the VM, with its VMID and its bridge ports
    tcp(&desk, "10.77.0.100:22");
    let line = logger.line_with("DPT=22");
    assert!(line.starts_with("100 6 tap100i0-IN ") && line.contains(" ACCEPT: IN=fwbr100i0 OUT=fwbr100i0 "), "{line}");
    assert!(line.contains(" PHYSIN=fwln100i0 PHYSOUT=tap100i0 MAC=02:00:00:00:00:01:"), "{line}");
    tcp(&desk, "10.77.0.100:23");
    let line = logger.line_with("DPT=23");
    assert!(line.starts_with("100 3 tap100i0-IN ") && line.contains(" policy DROP: IN=fwbr100i0 "), "{line}");
    udp(&guest, "10.77.0.9:9");
    let line = logger.line_with("DPT=9 ");
    assert!(line.starts_with("100 1 tap100i0-OUT ") && line.contains(" DROP: IN=fwbr100i0 "), "{line}");
    assert!(line.contains(" PHYSIN=tap100i0 PHYSOUT=fwln100i0 "), "{line}");

    std::thread::sleep(LOG_DELAY);
    let log = logger.text();
    for unlogged in ["DPT=7001", "DPT=137", "DPT=445", "DPT=1900"] {
        assert!(!log.contains(unlogged), "{unlogged}\n{log}");
    }
    let dropped = log.lines().filter(|line| line.contains("policy DROP: IN")).count();
    assert!(dropped >= 2, "DROP: lines\n{log}");
    node.run_ok(&["stop"]);
}

#[test]
fn the_host_option_enables_and_disables_logging_of_connections() {
    let Net { node, desk, .. } = Net::new();
    let logger = Logger::start(&node.netns, &node.path(""), &[]);
    node.run_ok(&["start"]);
    let connections = || logger.text().matches("[NEW] ipv4     2 udp ").count();
    // the kernel tracks connections only if a rule uses connection tracking, as the firewall's rules do
    udp(&desk, "10.77.0.1:6000");
    std::thread::sleep(LOG_DELAY);
    assert_eq!(connections(), 0);

    node.write("nodes/n1/host.fw", "[OPTIONS]\nlog_nf_conntrack: 1\n[RULES]\nIN ACCEPT -p udp\n");
    wait_for("a connection's line", || {
        udp(&desk, "10.77.0.1:6001");
        (connections() > 0).then_some(())
    });
    assert!(logger.text().contains(" src=10.77.0.9 dst=10.77.0.1 sport="), "{}", logger.text());

    node.write("nodes/n1/host.fw", "[RULES]\nIN ACCEPT -p udp\n");
    wait_for("the last line about a connection", || {
        let before = connections();
        udp(&desk, "10.77.0.1:6002");
        std::thread::sleep(LOG_DELAY);
        (connections() == before).then_some(())
    });
    node.run_ok(&["stop"]);
}

//! Packets logged by rules of every tool.
use crate::frames;
use crate::logger::{Logger, wait_for};
use crate::netns::Netns;
use std::net::UdpSocket;

/// Sends a UDP packet with this payload and source address.
pub(super) fn send(netns: &Netns, from: &str, to: &str, data: &[u8]) {
    netns.run(|| UdpSocket::bind(from).unwrap().send_to(data, to).unwrap());
}

/// A line without its date and values chosen by the kernel.
pub(super) fn without_variable_fields(line: &str) -> String {
    let date = regex::Regex::new(r"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}").unwrap();
    let chosen = regex::Regex::new(r" (ID|FLOWLBL)=\d+").unwrap();
    chosen.replace_all(&date.replace(line, "DATE"), "").into_owned()
}

#[test]
fn packets_are_logged_by_rules_of_both_variants_and_families() {
    let netns = Netns::new("log-tables");
    netns.exec("ip address add fd99::1/64 dev lo nodad");
    let tools = ["iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft"];
    for (vmid, tool) in (1..).zip(tools) {
        netns.exec(&format!(
            "{tool} -w -A OUTPUT -p udp --dport 100{vmid} -j NFLOG --nflog-prefix ':{vmid}:4:tap{vmid}i0-OUT: DROP: '"
        ));
    }
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&netns, root.path(), &[]);
    for vmid in 1..=2 {
        send(&netns, "127.0.0.1:4000", &format!("127.0.0.1:100{vmid}"), b"hello");
        let line = without_variable_fields(&logger.line_with(&format!(" DPT=100{vmid} ")));
        assert_eq!(
            line,
            format!(
                "{vmid} 4 tap{vmid}i0-OUT DATE DROP: OUT=lo SRC=127.0.0.1 DST=127.0.0.1 LEN=33 TOS=0x00 PREC=0x00 \
                 TTL=64 DF PROTO=UDP SPT=4000 DPT=100{vmid} LEN=13"
            )
        );
    }
    for vmid in 3..=4 {
        send(&netns, "[fd99::1]:4000", &format!("[fd99::1]:100{vmid}"), b"hello");
        let line = without_variable_fields(&logger.line_with(&format!(" DPT=100{vmid} ")));
        assert_eq!(
            line,
            format!(
                "{vmid} 4 tap{vmid}i0-OUT DATE DROP: OUT=lo SRC=fd99::1 DST=fd99::1 LEN=13 TC=0 HOPLIMIT=64 \
                 PROTO=UDP SPT=4000 DPT=100{vmid} LEN=13"
            )
        );
    }
}

/// A host with a guest and an external host on a bridge; the guest's address is 10.99.0.1.
pub(super) struct Bridged {
    pub host: Netns,
    pub guest: Netns,
    _outside: Netns,
}

pub(super) fn bridged() -> Bridged {
    let (host, guest, outside) = (Netns::new("log-host"), Netns::new("log-guest"), Netns::new("log-outside"));
    host.exec(&format!(
        "ip link add fwbr100i0 type bridge mcast_snooping 0
         ip link add tap100i0 type veth peer name eth0 netns {}
         ip link add fwln100i0 type veth peer name eth0 netns {}
         for port in tap100i0 fwln100i0; do ip link set $port master fwbr100i0 up; done
         ip link set fwbr100i0 up
         echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables",
        guest.name(),
        outside.name()
    ));
    let end = |netns: &Netns, last: u8, other: u8| {
        netns.exec(&format!(
            "ip link set eth0 address 02:00:00:00:00:0{last} up
             ip address add 10.99.0.{last}/24 dev eth0
             ip neigh replace 10.99.0.{other} lladdr 02:00:00:00:00:0{other} dev eth0 nud permanent"
        ));
    };
    end(&guest, 1, 2);
    end(&outside, 2, 1);
    // a port forwards once its carrier is up
    wait_for("the bridge's ports", || host.exec("bridge link").matches("state forwarding").nth(1).map(drop));
    Bridged { host, guest, _outside: outside }
}

#[test]
fn lines_of_bridged_packets_have_the_bridge_and_its_ports() {
    let network = bridged();
    network.host.exec(
        "iptables -w -A FORWARD -m physdev --physdev-is-bridged --physdev-in tap100i0 \
         -j NFLOG --nflog-prefix ':100:6:tap100i0-OUT: policy DROP: '",
    );
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&network.host, root.path(), &[]);
    send(&network.guest, "10.99.0.1:4000", "10.99.0.2:53", b"hello");
    assert_eq!(
        without_variable_fields(&logger.line_with("DPT=53")),
        "100 6 tap100i0-OUT DATE policy DROP: IN=fwbr100i0 OUT=fwbr100i0 PHYSIN=tap100i0 PHYSOUT=fwln100i0 \
         MAC=02:00:00:00:00:02:02:00:00:00:00:01:08:00 SRC=10.99.0.1 DST=10.99.0.2 LEN=33 TOS=0x00 PREC=0x00 TTL=64 \
         DF PROTO=UDP SPT=4000 DPT=53 LEN=13"
    );
}

#[test]
fn bridge_rules_log_every_kind_of_frame() {
    let network = bridged();
    // ebtables before 1.8.10 refuses group 0, but the kernel's 16 bits make it of 65536; later versions refuse that
    let rule = "-i tap100i0 --nflog-prefix ':100:6:tap100i0-OUT: DROP: '";
    network.host.exec(&format!(
        "ebtables -A FORWARD {rule} --nflog-group 0 2>/dev/null || ebtables -A FORWARD {rule} --nflog-group 65536"
    ));
    // connection tracking would drop a malformed packet before the rule
    network.host.exec("echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables");
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&network.host, root.path(), &[]);
    let head = "100 6 tap100i0-OUT DATE DROP: IN=fwbr100i0 OUT=fwbr100i0 PHYSIN=tap100i0 PHYSOUT=fwln100i0 \
                MAC=02:00:00:00:00:02:02:00:00:00:00:01:";
    // a frame without payload; it crashes the official logger
    network.guest.run(|| frames::send("eth0", &frames::ethernet(0x88b5)));
    assert_eq!(without_variable_fields(&logger.line_with(":88:b5")), format!("{head}88:b5"));
    network.guest.run(|| frames::send("eth0", &frames::ethernet(0x0800)));
    assert_eq!(
        without_variable_fields(&logger.line_with("LEN=0 INVALID=LEN")),
        format!("{head}08:00 LEN=0 INVALID=LEN")
    );
    let mut arp = frames::ethernet(0x0806);
    arp.extend([0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 99, 0, 1, 2, 0, 0, 0, 0, 2, 10, 99, 0, 2]);
    network.guest.run(|| frames::send("eth0", &arp));
    assert_eq!(
        without_variable_fields(&logger.line_with("PROTO=ARP REPLY")),
        format!("{head}08:06 SRC=10.99.0.1 DST=10.99.0.2 PROTO=ARP REPLY MAC=02:00:00:00:00:01")
    );
    send(&network.guest, "10.99.0.1:4000", "10.99.0.2:53", b"hello");
    assert_eq!(
        without_variable_fields(&logger.line_with("DPT=53")),
        format!(
            "{head}08:00 SRC=10.99.0.1 DST=10.99.0.2 LEN=33 TOS=0x00 PREC=0x00 TTL=64 DF PROTO=UDP SPT=4000 DPT=53 \
             LEN=13"
        )
    );
}

#[test]
fn interface_names_follow_renames_additions_and_removals() {
    let (host, other) = (Netns::new("log-names"), Netns::new("log-other"));
    host.exec("iptables -w -A OUTPUT -j NFLOG --nflog-prefix ':0:6:PVEFW-HOST-OUT: DROP: '");
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&host, root.path(), &[]);
    let prepare = |name: &str| {
        host.exec(&format!(
            "ip address add 10.99.0.1/24 dev {name}
             ip link set {name} up
             ip neigh replace 10.99.0.2 lladdr 02:00:00:00:00:02 dev {name} nud permanent"
        ));
    };
    let add = |name: &str| {
        host.exec(&format!("ip link add {name} index 4711 type veth peer name peer netns {}", other.name()));
        other.exec("ip link set peer up");
        prepare(name);
    };
    add("first");
    send(&host, "0.0.0.0:0", "10.99.0.2:1001", b"");
    assert!(logger.line_with("DPT=1001").contains(" OUT=first "));
    host.exec("ip link set first down; ip link set first name second");
    prepare_after_rename(&host, "second", prepare);
    send(&host, "0.0.0.0:0", "10.99.0.2:1002", b"");
    assert!(logger.line_with("DPT=1002").contains(" OUT=second "));
    host.exec("ip link del second");
    add("third");
    send(&host, "0.0.0.0:0", "10.99.0.2:1003", b"");
    assert!(logger.line_with("DPT=1003").contains(" OUT=third "));
    // removed while its packet is queued in the kernel
    send(&host, "0.0.0.0:0", "10.99.0.2:1004", b"");
    host.exec("ip link del third");
    assert!(logger.line_with("DPT=1004").contains(" OUT=third "));
}

/// The address survives a rename.
fn prepare_after_rename(host: &Netns, name: &str, prepare: impl Fn(&str)) {
    host.exec(&format!("ip address flush dev {name}"));
    prepare(name);
}

#[test]
fn jumbo_packets_and_marks_are_logged() {
    let netns = Netns::new("log-jumbo");
    netns.exec(
        "iptables -w -A OUTPUT -p udp -j MARK --set-mark 7
         iptables -w -A OUTPUT -p udp -j NFLOG --nflog-prefix 'plain '",
    );
    let root = tempfile::tempdir().unwrap();
    let logger = Logger::start(&netns, root.path(), &[]);
    send(&netns, "127.0.0.1:4000", "127.0.0.1:53", &[b'z'; 9000]);
    assert_eq!(
        without_variable_fields(&logger.line_with("DPT=53")),
        "0 6 - DATE plain OUT=lo SRC=127.0.0.1 DST=127.0.0.1 LEN=9028 TOS=0x00 PREC=0x00 TTL=64 DF PROTO=UDP \
         SPT=4000 DPT=53 LEN=9008 mark=7"
    );
    send(&netns, "127.0.0.1:4000", "127.0.0.1:54", &[b'z'; 65507]);
    assert!(logger.line_with("DPT=54").contains(" LEN=65535 "));
}

//! The standard chains of every configuration.
use super::FamilyCompiler;
use super::chain_builder::{Log, generated, jump};
use super::common_matches::{
    dports, icmp_number, icmp_proto, icmp_type, invalid, net, opening, port, proto, set_mark, tcp, udp,
};
use crate::config::HostOptions;
use crate::iptables::names::{self, FixedChain};
use crate::iptables::ruleset::{AddrType, Match, RejectWith, Side, Target, TcpFlags};
use crate::model::{Family, OptionKey, Origin, Verdict};

/// The ICMPv6 types of Multicast Listener Discovery: query, report, done, and version 2's report (RFC 3810).
const MULTICAST_LISTENERS: [u8; 4] = [130, 131, 132, 143];

impl FamilyCompiler<'_> {
    /// All standard chains.
    pub(super) fn standard(&mut self, host: &HostOptions) {
        self.set_accept_mark();
        self.drop_broadcast();
        self.reject();
        self.default_action(names::DROP, &Target::Drop);
        self.default_action(names::REJECT_POLICY, &jump(names::REJECT));
        self.tcpflags();
        self.logged_drop(names::LOGFLAGS, host.tcp_flags_log_level, &host.lines.origin(OptionKey::TcpFlagsLogLevel));
        if self.family == Family::V4 {
            self.smurfs();
            self.logged_drop(names::SMURFLOG, host.smurf_log_level, &host.lines.origin(OptionKey::SmurfLogLevel));
        }
    }

    fn set_accept_mark(&mut self) {
        let mut rules = self.chain(names::SET_ACCEPT_MARK);
        rules.spec([], set_mark(true), &generated(format!("standard chain {}", names::SET_ACCEPT_MARK)));
        rules.finish(&mut self.buffers);
    }

    fn drop_broadcast(&mut self) {
        let origin = generated(format!("standard chain {}: broadcast, multicast and anycast", names::DROP_BROADCAST));
        let mut rules = self.chain(names::DROP_BROADCAST);
        match self.family {
            Family::V4 => {
                for kind in [AddrType::Broadcast, AddrType::Multicast, AddrType::Anycast] {
                    rules.refuse(0, [Match::AddrType(Side::Destination, kind)], Target::Drop, &origin);
                }
                rules.refuse(0, [net(Side::Destination, "224.0.0.0/4")], Target::Drop, &origin);
            }
            Family::V6 => rules.refuse(0, [net(Side::Destination, "ff00::/8")], Target::Drop, &origin),
        }
        rules.finish(&mut self.buffers);
    }

    fn reject(&mut self) {
        let origin = generated(format!("standard chain {}", names::REJECT));
        let mut rules = self.chain(names::REJECT);
        // never answer broadcast, multicast or ICMP
        if self.family == Family::V4 {
            rules.spec([Match::AddrType(Side::Destination, AddrType::Broadcast)], Target::Drop, &origin);
            rules.spec([net(Side::Source, "224.0.0.0/4")], Target::Drop, &origin);
        }
        rules.spec([icmp_proto(self.family)], Target::Drop, &origin);
        let mut answer = |matches: Vec<Match>, with| rules.spec(matches, Target::Reject(with), &origin);
        match self.family {
            Family::V4 => {
                answer(vec![tcp()], RejectWith::TcpReset);
                answer(vec![udp()], RejectWith::IcmpPortUnreachable);
                answer(vec![icmp_proto(Family::V4)], RejectWith::IcmpHostUnreachable);
                answer(vec![], RejectWith::IcmpHostProhibited);
            }
            Family::V6 => {
                answer(vec![tcp()], RejectWith::TcpReset);
                answer(vec![udp()], RejectWith::Icmp6PortUnreachable);
                answer(vec![], RejectWith::Icmp6AdmProhibited);
            }
        }
        rules.finish(&mut self.buffers);
    }

    /// Builds the chain for packets that a DROP or REJECT policy refuses without logging.
    fn default_action(&mut self, name: FixedChain, drop: &Target) {
        let origin = |what: &str| generated(format!("standard chain {name}: {what}"));
        let mut rules = self.chain(name);
        let dport = |first, last| port(Side::Destination, first, last);
        let sport = |number| port(Side::Source, number, number);
        rules.refuse(0, [tcp(), dport(43, 43)], drop.clone(), &origin("whois"));
        let module = Match::Module(if self.family == Family::V4 { "icmp" } else { "icmpv6" });
        match self.family {
            Family::V4 => rules.spec([proto("igmp", 2)], Target::Accept, &origin("IGMP, for multicast snooping")),
            Family::V6 => {
                for kind in MULTICAST_LISTENERS {
                    let matches = vec![icmp_proto(Family::V6), module.clone(), icmp_number(kind)];
                    rules.spec(matches, Target::Accept, &origin("MLD, for multicast snooping"));
                }
            }
        }
        rules.spec([], jump(names::DROP_BROADCAST), &origin("broadcasts"));
        let kinds = match self.family {
            Family::V4 => ["destination-unreachable", "source-quench", "time-exceeded"],
            Family::V6 => ["destination-unreachable", "time-exceeded", "packet-too-big"],
        };
        for kind in kinds {
            let matches = vec![icmp_proto(self.family), module.clone(), icmp_type(self.family, kind)];
            rules.spec(matches, Target::Accept, &origin("ICMP that connections need"));
        }
        rules.refuse(0, [invalid()], Target::Drop, &origin("invalid connection state"));
        let noise = origin("unwanted SMB packets");
        rules.refuse(0, [udp(), dports(&[135, 445])], drop.clone(), &noise);
        rules.refuse(0, [udp(), dport(137, 139)], drop.clone(), &noise);
        rules.refuse(0, [udp(), sport(137), dport(1024, 65535)], drop.clone(), &noise);
        rules.refuse(0, [tcp(), dports(&[135, 139, 445])], drop.clone(), &noise);
        rules.refuse(0, [udp(), dport(1900, 1900)], Target::Drop, &origin("UPnP"));
        rules.refuse(0, opening(true), Target::Drop, &origin("TCP that opens no connection"));
        rules.refuse(0, [udp(), sport(53)], Target::Drop, &origin("late DNS answers"));
        rules.finish(&mut self.buffers);
    }

    fn tcpflags(&mut self) {
        let origin = generated(format!("standard chain {}: illegal TCP flags", names::TCPFLAGS));
        let mut rules = self.chain(names::TCPFLAGS);
        let logged = || Target::Goto(names::LOGFLAGS.into());
        let (fin, syn, rst) = (TcpFlags::FIN, TcpFlags::SYN, TcpFlags::RST);
        let (psh, ack, urg) = (TcpFlags::PSH, TcpFlags::ACK, TcpFlags::URG);
        let all = fin.and(syn).and(rst).and(psh).and(ack).and(urg);
        let both = |one: TcpFlags, other| (one.and(other), one.and(other));
        let tests = [(all, fin.and(psh).and(urg)), (all, TcpFlags::NONE), both(syn, rst), both(fin, syn)];
        for (mask, set) in tests {
            let flags = Match::TcpFlags { negated: false, mask, set };
            rules.spec([tcp(), Match::Module("tcp"), flags], logged(), &origin);
        }
        let [tcp, module, flags] = opening(false);
        rules.spec([tcp, module, port(Side::Source, 0, 0), flags], logged(), &origin);
        rules.finish(&mut self.buffers);
    }

    fn smurfs(&mut self) {
        let origin = generated(format!("standard chain {}: packets from broadcast addresses", names::SMURFS));
        let mut rules = self.chain(names::SMURFS);
        let logged = || Target::Goto(names::SMURFLOG.into());
        rules.spec([net(Side::Source, "0.0.0.0/32")], Target::Return, &origin);
        rules.spec([Match::AddrType(Side::Source, AddrType::Broadcast)], logged(), &origin);
        rules.spec([net(Side::Source, "224.0.0.0/4")], logged(), &origin);
        rules.finish(&mut self.buffers);
    }

    /// Builds a chain that logs and drops packets.
    pub(super) fn logged_drop(&mut self, name: FixedChain, level: Option<u8>, origin: &Origin) {
        let mut rules = self.chain(name);
        rules.log(&[], Log { vmid: 0, level, message: Verdict::Drop.message() }, origin);
        rules.spec([], Target::Drop, origin);
        rules.finish(&mut self.buffers);
    }
}

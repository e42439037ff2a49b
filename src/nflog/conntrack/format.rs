//! The text of an event, as `conntrack -E -o extended,ktimestamp` prints it.
use super::{ConnectionChange, ConntrackEntry, Event, ProtocolState, TupleCounters};
use crate::nflog::log_fields::Fields;
use crate::nflog::text::printable;
use crate::nflog::time::LocalTime;

const TCP: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];
const SCTP: [&str; 9] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
];
const DCCP: [&str; 8] = ["NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT"];

/// `IPS_…` bits of the status.
const SEEN_REPLY: u32 = 1 << 1;
const ASSURED: u32 = 1 << 2;
const OFFLOAD: u32 = 1 << 14;
const HARDWARE_OFFLOAD: u32 = 1 << 15;

const NANOSECONDS: u64 = 1_000_000_000;

impl Event<'_> {
    /// Appends the event without a line end; `local` converts seconds since the epoch to local time.
    pub(in crate::nflog) fn push(&self, fields: &mut Fields<'_>, local: impl Fn(i64) -> LocalTime) {
        fields.word(match self.change {
            ConnectionChange::New => "    [NEW]",
            ConnectionChange::Destroy => "[DESTROY]",
        });
        self.entry.push(fields, local);
    }
}

impl ConntrackEntry<'_> {
    fn push(&self, fields: &mut Fields<'_>, local: impl Fn(i64) -> LocalTime) {
        let (family, protocol) = (family_name(self.family), self.original.protocol);
        fields.put("", format_args!("{family:<8} {}", self.family));
        fields.put("", format_args!("{:<8} {protocol}", protocol_name(protocol)));
        if let Some(timeout) = self.timeout {
            fields.number("", timeout);
        }
        if let Some(state) = self.state {
            fields.word(state.name());
        }
        self.original.push("zone-orig=", fields);
        if self.status.is_some_and(|status| status & SEEN_REPLY == 0) {
            fields.word("[UNREPLIED]");
        }
        self.reply.push("zone-reply=", fields);
        self.push_status(fields);
        self.push_rest(fields);
        self.push_times(fields, local);
        if !self.helper.is_empty() {
            fields.put("helper=", format_args!("{}", printable(self.helper)));
        }
    }

    fn push_status(&self, fields: &mut Fields<'_>) {
        let status = self.status.unwrap_or(0);
        if status & HARDWARE_OFFLOAD != 0 {
            fields.word("[HW_OFFLOAD]");
        } else if status & OFFLOAD != 0 {
            fields.word("[OFFLOAD]");
        } else if status & ASSURED != 0 {
            fields.word("[ASSURED]");
        }
    }

    fn push_rest(&self, fields: &mut Fields<'_>) {
        if let Some(mark) = self.mark {
            fields.number("mark=", mark);
        }
        if !self.security_context.is_empty() {
            fields.put("secctx=", format_args!("{}", printable(self.security_context)));
        }
        if let Some(usage) = self.usage {
            fields.number("use=", usage);
        }
        if let Some(zone) = self.zone {
            fields.number("zone=", zone);
        }
    }

    fn push_times(&self, fields: &mut Fields<'_>, local: impl Fn(i64) -> LocalTime) {
        if let (Some(start), Some(stop)) = (self.start, self.stop) {
            // conntrack(8) subtracts the whole seconds, not the nanoseconds
            fields.number("delta-time=", (stop / NANOSECONDS).saturating_sub(start / NANOSECONDS));
        }
        for (name, moment) in [("[start=", self.start), ("[stop=", self.stop)] {
            if let Some(moment) = moment {
                fields.text(name);
                // cannot overflow: 2^64 nanoseconds end in the year 2554
                local(i64::try_from(moment / NANOSECONDS).unwrap_or(0)).push_ctime(fields.line());
                fields.word("]");
            }
        }
    }
}

impl TupleCounters<'_> {
    fn push(&self, zone: &str, fields: &mut Fields<'_>) {
        push_address("src=", self.source, fields);
        push_address("dst=", self.destination, fields);
        let (source, destination) = (self.source_port, self.destination_port);
        match self.protocol {
            6 | 17 | 33 | 132 | 136 => {
                fields.number("sport=", source);
                fields.number("dport=", destination);
            }
            47 => {
                fields.put("srckey=", format_args!("{source:#x}"));
                fields.put("dstkey=", format_args!("{destination:#x}"));
            }
            1 | 58 => {
                fields.number("type=", self.icmp_type);
                fields.number("code=", self.icmp_code);
                fields.number("id=", self.icmp_id);
            }
            _ => {}
        }
        if let Some(number) = self.zone {
            fields.number(zone, number);
        }
        if let (Some(packets), Some(bytes)) = (self.packets, self.bytes) {
            fields.number("packets=", packets);
            fields.number("bytes=", bytes);
        }
    }
}

impl ProtocolState {
    fn name(self) -> &'static str {
        let (names, number): (&[&'static str], u8) = match self {
            ProtocolState::Tcp(number) => (&TCP, number),
            ProtocolState::Dccp(number) => (&DCCP, number),
            ProtocolState::Sctp(number) => (&SCTP, number),
        };
        names.get(usize::from(number)).copied().unwrap_or("UNKNOWN")
    }
}

fn push_address(name: &str, bytes: &[u8], fields: &mut Fields<'_>) {
    if let Ok(address) = bytes.try_into() {
        fields.ipv4(name, address);
    } else if let Ok(address) = bytes.try_into() {
        fields.ipv6(name, address);
    }
}

fn family_name(family: u8) -> &'static str {
    match family {
        2 => "ipv4",
        10 => "ipv6",
        _ => "unknown",
    }
}

fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        47 => "gre",
        58 => "icmpv6",
        132 => "sctp",
        136 => "udplite",
        _ => "unknown",
    }
}

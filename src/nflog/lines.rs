//! The lines of `pve-firewall.log`.
use super::conntrack::Event;
use super::log_fields::Fields;
use super::message::LoggedPacket;
use super::packet;
use super::prefix::Prefix;
use super::text::printable;
use super::time::LocalTime;
use super::trace::{TraceGuests, TraceStep};
use crate::model::guest::GuestDevice;

/// Values of a log line that are not in the packet: interface names and times.
pub trait LogContext {
    /// The name of the interface with this index, free of control characters.
    fn interface(&mut self, index: u32) -> Option<&str>;
    /// Seconds since the epoch.
    fn now(&self) -> i64;
    /// Converts seconds since the epoch to local time.
    fn local_time(&self, seconds: i64) -> LocalTime;
}

/// Formats log lines. Each ends in `\n` and contains no other line break.
#[derive(Debug)]
pub struct LogLines<H> {
    host: H,
    /// The last second that was formatted, and its text, because many packets have the same second.
    stamp: (i64, String),
    trace_guests: TraceGuests,
}

/// The log level of traces: debug.
const TRACE_LEVEL: u8 = 7;

impl<H: LogContext> LogLines<H> {
    /// Lines with the interface names and the clock of this host.
    pub fn new(host: H) -> Self {
        LogLines { host, stamp: (i64::MIN, String::new()), trace_guests: TraceGuests::default() }
    }

    /// The host passed to [`new`](Self::new).
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The host passed to [`new`](Self::new), mutable.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// Appends the line of a packet: `VMID LOGID CHAIN TIME MESSAGE FIELDS`.
    pub fn push_packet(&mut self, packet: &LoggedPacket<'_>, out: &mut String) {
        let prefix = printable(packet.prefix);
        match Prefix::parse(&prefix) {
            Some(parsed) => {
                self.push_head(parsed.vmid(), parsed.level(), parsed.chain(), packet.timestamp, out);
                let head = out.len();
                out.push_str(parsed.message());
                self.push_fields(packet, head, out);
            }
            None => {
                self.push_head(0, 6, "-", packet.timestamp, out);
                let head = out.len();
                out.push_str(&prefix);
                self.push_fields(packet, head, out);
            }
        }
    }

    /// Appends a message of the logger itself: `0 LOGID - TIME TEXT`.
    pub fn push_message(&mut self, level: u8, text: &str, out: &mut String) {
        self.push_head(0, level, "-", None, out);
        out.push_str(&printable(text.as_bytes()));
        out.push('\n');
    }

    /// Appends the line of a conntrack event, in the format of conntrack(8).
    pub fn push_conntrack(&mut self, event: &Event<'_>, out: &mut String) {
        event.push(&mut Fields::new(out), |seconds| self.host.local_time(seconds));
        end_line(out);
    }

    /// The VMID of the guest that a step of a trace is about, or 0 for the node: the guest of its devices, or of those in earlier
    /// steps of the packet. To be called for each step, whether or not its line is written.
    pub fn guest_of_step(&mut self, step: &TraceStep<'_>) -> u32 {
        let named = step.devices().find_map(|index| GuestDevice::vmid_of_link(self.host.interface(index)?));
        self.trace_guests.vmid(step.id(), named)
    }

    /// Appends the line of a step of a trace: `VMID 7 CHAIN TIME trace id ID FAMILY TABLE STEP: FIELDS`.
    pub fn push_trace(&mut self, vmid: u32, step: &TraceStep<'_>, out: &mut String) {
        self.push_head(vmid, TRACE_LEVEL, &step.chain(), None, out);
        step.push(&mut Fields::new(out));
        let head = out.trim_end_matches(' ').len();
        out.truncate(head);
        out.push_str(": ");
        let fields = out.len();
        step.with_packet(|packet, cut| self.push_packet_fields(packet, &mut Fields::of_packet(out, cut)));
        if out.len() == fields {
            out.truncate(head);
        }
        end_line(out);
    }

    fn push_head(&mut self, vmid: u32, level: u8, chain: &str, seconds: Option<i64>, out: &mut String) {
        let seconds = seconds.unwrap_or_else(|| self.host.now());
        if self.stamp.0 != seconds {
            self.stamp.0 = seconds;
            self.stamp.1.clear();
            self.host.local_time(seconds).push_log(&mut self.stamp.1);
        }
        let mut fields = Fields::new(out);
        fields.number("", vmid);
        fields.number("", level);
        fields.word(chain);
        fields.word(&self.stamp.1);
    }

    /// Appends everything after the message, which begins at `head`.
    fn push_fields(&mut self, packet: &LoggedPacket<'_>, head: usize, out: &mut String) {
        self.push_packet_fields(packet, &mut Fields::new(out));
        // programs that split the line into words expect one after the date
        if out[head..].trim_end_matches(' ').is_empty() {
            Fields::new(out).truncated(packet.payload.len());
        }
        end_line(out);
    }

    fn push_packet_fields(&mut self, packet: &LoggedPacket<'_>, fields: &mut Fields<'_>) {
        for (name, index) in [
            ("IN=", packet.input),
            ("OUT=", packet.output),
            ("PHYSIN=", packet.physical_input),
            ("PHYSOUT=", packet.physical_output),
        ] {
            if index != 0 {
                self.push_interface(name, index, fields);
            }
        }
        if !packet.link_header.is_empty() {
            fields.bytes("MAC=", packet.link_header);
        }
        packet::push(packet, fields);
        if packet.mark != 0 {
            fields.number("mark=", packet.mark);
        }
    }

    fn push_interface(&mut self, name: &str, index: u32, fields: &mut Fields<'_>) {
        match self.host.interface(index) {
            Some(interface) => {
                fields.text(name);
                fields.word(interface);
            }
            None => fields.number(name, index),
        }
    }
}

fn end_line(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

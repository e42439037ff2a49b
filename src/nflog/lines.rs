//! The lines of `pve-firewall.log`.
use super::conntrack::Event;
use super::log_fields::Fields;
use super::message::LoggedPacket;
use super::packet;
use super::prefix::Prefix;
use super::text::printable;
use super::time::LocalTime;

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
}

impl<H: LogContext> LogLines<H> {
    /// Lines with the interface names and the clock of this host.
    pub fn new(host: H) -> Self {
        LogLines { host, stamp: (i64::MIN, String::new()) }
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
        event.push(&mut Fields(out), |seconds| self.host.local_time(seconds));
        end_line(out);
    }

    fn push_head(&mut self, vmid: u32, level: u8, chain: &str, seconds: Option<i64>, out: &mut String) {
        let seconds = seconds.unwrap_or_else(|| self.host.now());
        if self.stamp.0 != seconds {
            self.stamp.0 = seconds;
            self.stamp.1.clear();
            self.host.local_time(seconds).push_log(&mut self.stamp.1);
        }
        let mut fields = Fields(out);
        fields.number("", vmid);
        fields.number("", level);
        fields.word(chain);
        fields.word(&self.stamp.1);
    }

    /// Appends everything after the message, which begins at `head`.
    fn push_fields(&mut self, packet: &LoggedPacket<'_>, head: usize, out: &mut String) {
        let mut fields = Fields(out);
        for (name, index) in [
            ("IN=", packet.input),
            ("OUT=", packet.output),
            ("PHYSIN=", packet.physical_input),
            ("PHYSOUT=", packet.physical_output),
        ] {
            if index != 0 {
                self.push_interface(name, index, &mut fields);
            }
        }
        if !packet.link_header.is_empty() {
            fields.bytes("MAC=", packet.link_header);
        }
        packet::push(packet, &mut fields);
        if packet.mark != 0 {
            fields.number("mark=", packet.mark);
        }
        // programs that split the line into words expect one after the date
        if out[head..].trim_end_matches(' ').is_empty() {
            Fields(out).truncated(packet.payload.len());
        }
        end_line(out);
    }

    fn push_interface(&mut self, name: &str, index: u32, fields: &mut Fields<'_>) {
        match self.host.interface(index) {
            Some(interface) => {
                fields.0.push_str(name);
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

//! The `[OPTIONS]` of each kind of file.
mod model;

pub use model::{ClusterOptions, GuestOptions, HostOptions, Lines, VnetOptions};

use super::sections::Line;
use super::values::{boolean, integer, log_level, log_ratelimit, policy, queues};
use crate::builtin::databases::Databases;
use crate::builtin::helpers;
use crate::model::{FileKind, Origin, Report, Sought, Token, Verdict, shown};
use std::sync::Arc;

/// Why a value is bad.
pub(super) enum Fault {
    /// It makes no sense.
    Unparsable,
    /// What is wrong with an item of a list: the text of the report, and what the item was looked up in.
    Item(String, Sought),
}

fn put<T>(field: &mut T, value: Option<T>) -> Result<(), Fault> {
    *field = value.ok_or(Fault::Unparsable)?;
    Ok(())
}

/// A level of an option: a word in any case, or nothing.
fn level(value: &str) -> Option<Option<u8>> {
    if value.is_empty() { Some(None) } else { log_level(&value.to_ascii_lowercase()) }
}

/// What the kernel's settings take at the most, less what rounding up to 8192 may add.
const MOST_SETTING: u64 = i32::MAX as u64 - 8192;

/// 0, 1, a time in seconds since 1970, or a word that means 0 or 1.
fn switch_or_time(value: &str) -> Option<u64> {
    integer(value).or_else(|| boolean(value).map(u64::from))
}

/// A number for one of the kernel's settings.
fn setting(value: &str) -> Option<u64> {
    integer(value).filter(|number| *number <= MOST_SETTING)
}

/// An option: its key, its default as a file would spell it, and how its value is read.
pub(super) struct Row<O> {
    key: &'static str,
    default: &'static str,
    set: fn(&mut O, &str, &Databases) -> Result<(), Fault>,
}

const fn row<O>(
    key: &'static str,
    default: &'static str,
    set: fn(&mut O, &str, &Databases) -> Result<(), Fault>,
) -> Row<O> {
    Row { key, default, set }
}

/// A set of options that is filled line by line. A new option is a field with its default, and a row.
pub(super) trait Options: Default + 'static {
    const KIND: FileKind;
    const ROWS: &'static [Row<Self>];
    fn lines(&mut self) -> &mut Lines;
}

impl Options for ClusterOptions {
    const KIND: FileKind = FileKind::Cluster;
    const ROWS: &'static [Row<Self>] = &[
        row("enable", "0", |to, value, _| put(&mut to.enable, switch_or_time(value))),
        row("ebtables", "1", |to, value, _| put(&mut to.ebtables, boolean(value))),
        row("policy_in", "DROP", |to, value, _| put(&mut to.policy_in, policy(value))),
        row("policy_out", "ACCEPT", |to, value, _| put(&mut to.policy_out, policy(value))),
        row("policy_forward", "ACCEPT", |to, value, _| put(&mut to.policy_forward, policy(value))),
        row("log_ratelimit", "enable=1,rate=1/second,burst=5", |to, value, _| {
            put(&mut to.log_ratelimit, log_ratelimit(&value.to_ascii_lowercase()))
        }),
    ];

    fn lines(&mut self) -> &mut Lines {
        &mut self.lines
    }
}

impl Options for HostOptions {
    const KIND: FileKind = FileKind::Host;
    const ROWS: &'static [Row<Self>] = &[
        row("enable", "1", |to, value, _| put(&mut to.enable, boolean(value))),
        row("nosmurfs", "1", |to, value, _| put(&mut to.nosmurfs, boolean(value))),
        row("tcpflags", "0", |to, value, _| put(&mut to.tcpflags, boolean(value))),
        row("ndp", "1", |to, value, _| put(&mut to.ndp, boolean(value))),
        row("log_nf_conntrack", "0", |to, value, _| put(&mut to.log_nf_conntrack, boolean(value))),
        row("nf_conntrack_allow_invalid", "0", |to, value, _| put(&mut to.nf_conntrack_allow_invalid, boolean(value))),
        row("protection_synflood", "0", |to, value, _| put(&mut to.protection_synflood, boolean(value))),
        row("nftables", "0", |to, value, _| put(&mut to.nftables, boolean(value))),
        row("log_level_in", "nolog", |to, value, _| put(&mut to.log_level_in, level(value))),
        row("log_level_out", "nolog", |to, value, _| put(&mut to.log_level_out, level(value))),
        row("log_level_forward", "nolog", |to, value, _| put(&mut to.log_level_forward, level(value))),
        row("tcp_flags_log_level", "nolog", |to, value, _| put(&mut to.tcp_flags_log_level, level(value))),
        row("smurf_log_level", "nolog", |to, value, _| put(&mut to.smurf_log_level, level(value))),
        row("nf_conntrack_max", "262144", |to, value, _| put(&mut to.nf_conntrack_max, setting(value))),
        row("nf_conntrack_tcp_timeout_established", "432000", |to, value, _| {
            put(&mut to.nf_conntrack_tcp_timeout_established, setting(value))
        }),
        row("nf_conntrack_tcp_timeout_syn_recv", "60", |to, value, _| {
            put(&mut to.nf_conntrack_tcp_timeout_syn_recv, setting(value))
        }),
        row("protection_synflood_rate", "200", |to, value, _| put(&mut to.protection_synflood_rate, integer(value))),
        row("protection_synflood_burst", "1000", |to, value, _| put(&mut to.protection_synflood_burst, integer(value))),
        // read by the reference and used by nothing
        row("protection_limit", "", |_, value, _| put(&mut 0, integer(value))),
        row("nf_conntrack_helpers", "", |to, value, _| {
            let (known, fault) = list(value, |name| {
                let known = helpers::find(&name.to_ascii_lowercase());
                known.ok_or_else(|| (format!("unknown helper '{}'", shown(name)), Sought::Helper))
            });
            to.nf_conntrack_helpers = known;
            fault.map_or(Ok(()), Err)
        }),
    ];

    fn lines(&mut self) -> &mut Lines {
        &mut self.lines
    }
}

impl Options for GuestOptions {
    const KIND: FileKind = FileKind::Guest;
    const ROWS: &'static [Row<Self>] = &[
        row("enable", "0", |to, value, _| put(&mut to.enable, boolean(value))),
        row("dhcp", "1", |to, value, _| put(&mut to.dhcp, boolean(value))),
        row("ndp", "1", |to, value, _| put(&mut to.ndp, boolean(value))),
        row("radv", "0", |to, value, _| put(&mut to.radv, boolean(value))),
        row("macfilter", "1", |to, value, _| put(&mut to.macfilter, boolean(value))),
        row("ipfilter", "0", |to, value, _| put(&mut to.ipfilter, boolean(value))),
        row("ips", "0", |to, value, _| put(&mut to.ips, boolean(value))),
        row("log_level_in", "nolog", |to, value, _| put(&mut to.log_level_in, level(value))),
        row("log_level_out", "nolog", |to, value, _| put(&mut to.log_level_out, level(value))),
        row("policy_in", "DROP", |to, value, _| put(&mut to.policy_in, policy(value))),
        row("policy_out", "ACCEPT", |to, value, _| put(&mut to.policy_out, policy(value))),
        row("ips_queues", "0", |to, value, _| put(&mut to.ips_queues, queues(value))),
        row("layer2_protocols", "", |to, value, databases| {
            let (known, fault) = list(value, |name| {
                let known = databases.ethertype(name).and_then(Token::new);
                known.ok_or_else(|| (format!("unknown ethernet protocol type: {}", shown(name)), Sought::Ethertype))
            });
            // whoever lists protocols wants a filter, even if none of them is known
            to.layer2_protocols = Some(known);
            fault.map_or(Ok(()), Err)
        }),
    ];

    fn lines(&mut self) -> &mut Lines {
        &mut self.lines
    }
}

impl Options for VnetOptions {
    const KIND: FileKind = FileKind::Vnet;
    const ROWS: &'static [Row<Self>] = &[
        row("enable", "0", |to, value, _| put(&mut to.enable, boolean(value))),
        row("policy_forward", "ACCEPT", |to, value, _| {
            let known = policy(value).filter(|known| *known != Verdict::Reject);
            put(&mut to.policy_forward, known)
        }),
        row("log_level_forward", "nolog", |to, value, _| put(&mut to.log_level_forward, level(value))),
    ];

    fn lines(&mut self) -> &mut Lines {
        &mut self.lines
    }
}

/// The options of a kind of file: each key, with its default as a file would spell it (nothing where it has none).
#[must_use]
pub fn known(kind: FileKind) -> Vec<(&'static str, &'static str)> {
    fn all<O: Options>() -> Vec<(&'static str, &'static str)> {
        O::ROWS.iter().map(|row| (row.key, row.default)).collect()
    }
    match kind {
        FileKind::Cluster => all::<ClusterOptions>(),
        FileKind::Host => all::<HostOptions>(),
        FileKind::Guest => all::<GuestOptions>(),
        FileKind::Vnet => all::<VnetOptions>(),
    }
}

/// The known items of a comma list, each by its name; the first unknown one is the fault.
fn list<T>(value: &str, find: impl Fn(&str) -> Result<T, (String, Sought)>) -> (Vec<T>, Option<Fault>) {
    let (mut known, mut fault) = (Vec::new(), None);
    for name in value.split(',') {
        match find(name.trim()) {
            Ok(item) => known.push(item),
            Err((text, sought)) => fault = fault.or(Some(Fault::Item(text, sought))),
        }
    }
    (known, fault)
}

/// `key: value` with nothing between the key and the colon, perhaps with a comment behind a blank.
fn key_and_value(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once(':')?;
    let word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let comment = value.match_indices('#').find(|(at, _)| value[..*at].ends_with([' ', '\t']));
    let value = comment.map_or(value, |(at, _)| &value[..at]);
    word.then(|| (key, value.trim()))
}

/// What counts for an option whose value cannot be parsed: of policies and filters the stricter value, not the default.
fn stricter(key: &str) -> Option<&'static str> {
    match key {
        "policy_in" | "policy_out" | "policy_forward" => Some("DROP"),
        "macfilter" | "ipfilter" | "nosmurfs" | "tcpflags" | "protection_synflood" | "ebtables" | "ips" => Some("1"),
        // [`in_force`](super::in_force) has looked for a version that can be read before
        "nf_conntrack_allow_invalid" | "radv" | ENABLE => Some("0"),
        _ => None,
    }
}

/// Parses the lines of `[OPTIONS]`; a bad one is reported.
pub(super) fn read<O: Options>(
    lines: &[Line<'_>],
    file: &Arc<str>,
    databases: &Databases,
    reports: &mut Vec<Report>,
) -> O {
    let mut options = O::default();
    for line in lines {
        let (key, report) = match set(&mut options, *line, file, databases) {
            Ok((key, report)) => (Some(key), report),
            Err((key, report)) => (key, Some(report)),
        };
        reports.extend(report);
        let Some(key) = key else { continue };
        if let Origin::Line(_, first) = options.lines().origin(key) {
            let text = format!("option '{key}' is already set in line {first}: this line counts");
            reports.push(Report::warning(file, line.number, text));
        }
        options.lines().set(key, file, line.number);
    }
    options.lines().complete(O::ROWS.iter().map(|row| row.key), file);
    options
}

/// What a line sets, with a warning; or the key that has a value all the same, if any, and what is wrong.
type Outcome = Result<(&'static str, Option<Report>), (Option<&'static str>, Report)>;

/// Sets what a line says.
fn set<O: Options>(options: &mut O, line: Line<'_>, file: &Arc<str>, databases: &Databases) -> Outcome {
    let text = || format!("can't parse option '{}'", shown(line.text));
    let unparsable = |word: &str, sought| Report::line(file, line.number, text()).at(line.span(word), sought);
    let (key, value) = key_and_value(line.text).ok_or_else(|| (None, unparsable(line.text, None)))?;
    let row = O::ROWS.iter().find(|row| row.key.eq_ignore_ascii_case(key));
    let row = row.ok_or_else(|| (None, unparsable(key, Some(Sought::Option(O::KIND)))))?;
    let word = if value.is_empty() { line.text } else { value };
    let Err(fault) = (row.set)(options, value, databases) else {
        // the reference takes 0 and 1 alone: who goes back to it has to know
        let only_here = ["yes", "no", "on", "off", "true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word));
        let warning = only_here.then(|| {
            let mut warning = Report::warning(file, line.number, text()).at(line.span(word), None);
            warning.marks[0].label = "read as 1 or 0 here: write that".to_string();
            warning
        });
        return Ok((row.key, warning));
    };
    let mut report = match fault {
        Fault::Unparsable => unparsable(word, None),
        Fault::Item(text, sought) => Report::line(file, line.number, text).at(line.span(word), Some(sought)),
    };
    let strict = stricter(row.key).filter(|strict| (row.set)(options, strict, databases).is_ok());
    if row.key == ENABLE {
        report.marks[0].label = "in force: what was before, else 0; write 0 or 1".to_string();
    } else if let Some(strict) = strict {
        report.marks[0].label = format!("in force: {}: {strict}", row.key);
    }
    Err((strict.map(|_| row.key), report))
}

/// The option that turns a file's rules on.
const ENABLE: &str = "enable";

/// The error of the line that sets `enable`, if its value cannot be read.
pub(super) fn unclear_enable(lines: &[Line<'_>], kind: FileKind, file: &Arc<str>) -> Option<Report> {
    let mut values = lines.iter().filter_map(|line| key_and_value(line.text).map(|(key, value)| (line, key, value)));
    let (line, _, value) = values.rfind(|(_, key, _)| key.eq_ignore_ascii_case(ENABLE))?;
    let clear = match kind {
        FileKind::Cluster => switch_or_time(value).is_some(),
        FileKind::Host | FileKind::Guest | FileKind::Vnet => boolean(value).is_some(),
    };
    let word = if value.is_empty() { line.text } else { value };
    let report = Report::line(file, line.number, format!("can't parse option '{}'", shown(line.text)));
    (!clear).then(|| report.at(line.span(word), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_to_default<O: Options + Clone + PartialEq + std::fmt::Debug>() {
        for row in O::ROWS.iter().filter(|row| !row.default.is_empty()) {
            // spelled out, with the burst that iptables has by itself
            if row.key == "log_ratelimit" {
                continue;
            }
            let mut options = O::default();
            assert!((row.set)(&mut options, row.default, &Databases::default()).is_ok(), "{}", row.key);
            assert_eq!(options, O::default(), "{}", row.key);
        }
    }

    #[test]
    fn defaults_match_the_option_table() {
        set_to_default::<ClusterOptions>();
        set_to_default::<HostOptions>();
        set_to_default::<GuestOptions>();
        set_to_default::<VnetOptions>();
    }

    fn read_guest(text: &str) -> (GuestOptions, Vec<String>) {
        let lines: Vec<_> = (1..).zip(text.lines()).map(|(number, line)| Line::new(number, line)).collect();
        let mut reports = Vec::new();
        let options = read(&lines, &"f".into(), &Databases::default(), &mut reports);
        (options, reports.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn comments_may_follow_a_value() {
        let (options, reports) =
            read_guest("enable: 1 # by ops\npolicy_in: REJECT\t# x\nlog_level_in: # none\nips_queues: 1:2 #");
        assert_eq!(reports, [""; 0]);
        assert!(options.enable && options.policy_in == Verdict::Reject && options.log_level_in.is_none());
        assert_eq!(read_guest("policy_in: DROP#x").1, ["f (line 1): can't parse option 'policy_in: DROP#x'"]);
    }

    #[test]
    fn booleans_may_be_words() {
        for (word, value) in
            [("yes", true), ("On", true), ("TRUE", true), ("no", false), ("off", false), ("False", false)]
        {
            let (options, reports) = read_guest(&format!("enable: {word}\nmacfilter: {word}\nipfilter: {word}"));
            assert_eq!([options.enable, options.macfilter, options.ipfilter], [value; 3], "{word}");
            assert!(
                reports.len() == 3 && reports.iter().all(|report| report.contains("can't parse option")),
                "{reports:?}"
            );
        }
    }

    #[test]
    fn the_stricter_value_counts_where_none_can_be_read() {
        for (line, strict) in [
            ("policy_out: DROP;", GuestOptions { policy_out: Verdict::Drop, ..GuestOptions::default() }),
            ("policy_in: maybe", GuestOptions::default()),
            ("ipfilter: maybe", GuestOptions { ipfilter: true, ..GuestOptions::default() }),
            ("macfilter: \"0\"", GuestOptions::default()),
            ("radv: 2", GuestOptions::default()),
            ("ips: x", GuestOptions { ips: true, ..GuestOptions::default() }),
            ("enable: maybe", GuestOptions::default()),
        ] {
            let (options, reports) = read_guest(line);
            assert_eq!(reports, [format!("f (line 1): can't parse option '{line}'")]);
            assert_eq!(GuestOptions { lines: Lines::default(), ..options }, strict, "{line}");
        }
    }

    #[test]
    fn an_unknown_item_of_a_list_costs_itself() {
        let databases = Databases::parse("", "", "IPv4 0800\nARP 0806\n");
        for (value, kept, faults) in [
            ("IPv4,ARP", &["IPv4", "ARP"][..], 0),
            ("IPv4, nope, ARP", &["IPv4", "ARP"], 1),
            ("nope", &[], 1),
            ("", &[], 1),
        ] {
            let line = format!("layer2_protocols: {value}");
            let mut reports = Vec::new();
            let options: GuestOptions = read(&[Line::new(1, &line)], &"f".into(), &databases, &mut reports);
            let names: Vec<_> = options.layer2_protocols.as_ref().unwrap().iter().map(ToString::to_string).collect();
            assert_eq!((names.iter().map(String::as_str).collect::<Vec<_>>(), reports.len()), (kept.to_vec(), faults));
        }
        assert!(read_guest("").0.layer2_protocols.is_none());
        let mut reports = Vec::new();
        let line = Line::new(1, "nf_conntrack_helpers: ftp,nope,tftp");
        let options: HostOptions = read(&[line], &"f".into(), &databases, &mut reports);
        assert_eq!((options.nf_conntrack_helpers.len(), reports.len()), (2, 1));
    }

    #[test]
    fn of_two_lines_the_last_counts() {
        let (options, reports) = read_guest("enable: 0\npolicy_in: DROP\nenable: 1\nPOLICY_IN: REJECT");
        assert!(options.enable && options.policy_in == Verdict::Reject);
        assert_eq!(
            reports,
            [
                "f (line 3): option 'enable' is already set in line 1: this line counts",
                "f (line 4): option 'policy_in' is already set in line 2: this line counts",
            ]
        );
    }
}

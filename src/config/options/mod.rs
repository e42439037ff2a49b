//! The `[OPTIONS]` of each kind of file.
mod model;
mod value;

pub use model::{ClusterOptions, GuestOptions, HostOptions, OptionOrigins, VnetOptions};

use super::sections::Line;
use crate::model::{FileKind, Lookup, OptionKey, Report, printable};
use crate::node::name_databases::Databases;
use std::sync::Arc;
use value::Value::{
    self, Boolean, Ethertypes, ForwardPolicy, Helpers, Level, Number, Policy, Queues, RateLimit, Setting, SwitchOrTime,
    Unused,
};
use value::ValueError;

/// An option: its key, its default as a file would spell it, and how its value is parsed.
pub(super) struct Row<O> {
    key: OptionKey,
    default: &'static str,
    value: Value<O>,
}

const fn row<O>(key: OptionKey, default: &'static str, value: Value<O>) -> Row<O> {
    Row { key, default, value }
}

/// A set of options that is filled line by line. A new option needs a key, a field with its default, and a row.
pub(super) trait Options: Default + 'static {
    const KIND: FileKind;
    const ROWS: &'static [Row<Self>];
    fn lines(&mut self) -> &mut OptionOrigins;
}

impl Options for ClusterOptions {
    const KIND: FileKind = FileKind::Cluster;
    const ROWS: &'static [Row<Self>] = &[
        row(OptionKey::Enable, "0", SwitchOrTime(|to| &mut to.enable)),
        row(OptionKey::Ebtables, "1", Boolean(|to| &mut to.ebtables)),
        row(OptionKey::PolicyIn, "DROP", Policy(|to| &mut to.policy_in)),
        row(OptionKey::PolicyOut, "ACCEPT", Policy(|to| &mut to.policy_out)),
        row(OptionKey::PolicyForward, "ACCEPT", Policy(|to| &mut to.policy_forward)),
        row(OptionKey::LogRatelimit, "enable=1,rate=1/second,burst=5", RateLimit(|to| &mut to.log_ratelimit)),
    ];

    fn lines(&mut self) -> &mut OptionOrigins {
        &mut self.lines
    }
}

impl Options for HostOptions {
    const KIND: FileKind = FileKind::Host;
    const ROWS: &'static [Row<Self>] = &[
        row(OptionKey::Enable, "1", Boolean(|to| &mut to.enable)),
        row(OptionKey::Nosmurfs, "1", Boolean(|to| &mut to.nosmurfs)),
        row(OptionKey::Tcpflags, "0", Boolean(|to| &mut to.tcpflags)),
        row(OptionKey::Ndp, "1", Boolean(|to| &mut to.ndp)),
        row(OptionKey::LogNfConntrack, "0", Boolean(|to| &mut to.log_nf_conntrack)),
        row(OptionKey::NfConntrackAllowInvalid, "0", Boolean(|to| &mut to.nf_conntrack_allow_invalid)),
        row(OptionKey::ProtectionSynflood, "0", Boolean(|to| &mut to.protection_synflood)),
        row(OptionKey::Nftables, "0", Boolean(|to| &mut to.nftables)),
        row(OptionKey::LogLevelIn, "nolog", Level(|to| &mut to.log_level_in)),
        row(OptionKey::LogLevelOut, "nolog", Level(|to| &mut to.log_level_out)),
        row(OptionKey::LogLevelForward, "nolog", Level(|to| &mut to.log_level_forward)),
        row(OptionKey::TcpFlagsLogLevel, "nolog", Level(|to| &mut to.tcp_flags_log_level)),
        row(OptionKey::SmurfLogLevel, "nolog", Level(|to| &mut to.smurf_log_level)),
        row(OptionKey::NfConntrackMax, "262144", Setting(|to| &mut to.nf_conntrack_max)),
        row(
            OptionKey::NfConntrackTcpTimeoutEstablished,
            "432000",
            Setting(|to| &mut to.nf_conntrack_tcp_timeout_established),
        ),
        row(OptionKey::NfConntrackTcpTimeoutSynRecv, "60", Setting(|to| &mut to.nf_conntrack_tcp_timeout_syn_recv)),
        row(OptionKey::ProtectionSynfloodRate, "200", Number(|to| &mut to.protection_synflood_rate)),
        row(OptionKey::ProtectionSynfloodBurst, "1000", Number(|to| &mut to.protection_synflood_burst)),
        // accepted by the official firewall, which does not use it either
        row(OptionKey::ProtectionLimit, "", Unused),
        row(OptionKey::NfConntrackHelpers, "", Helpers(|to| &mut to.nf_conntrack_helpers)),
    ];

    fn lines(&mut self) -> &mut OptionOrigins {
        &mut self.lines
    }
}

impl Options for GuestOptions {
    const KIND: FileKind = FileKind::Guest;
    const ROWS: &'static [Row<Self>] = &[
        row(OptionKey::Enable, "0", Boolean(|to| &mut to.enable)),
        row(OptionKey::Dhcp, "1", Boolean(|to| &mut to.dhcp)),
        row(OptionKey::Ndp, "1", Boolean(|to| &mut to.ndp)),
        row(OptionKey::Radv, "0", Boolean(|to| &mut to.radv)),
        row(OptionKey::Macfilter, "1", Boolean(|to| &mut to.macfilter)),
        row(OptionKey::Ipfilter, "0", Boolean(|to| &mut to.ipfilter)),
        row(OptionKey::Ips, "0", Boolean(|to| &mut to.ips)),
        row(OptionKey::LogLevelIn, "nolog", Level(|to| &mut to.log_level_in)),
        row(OptionKey::LogLevelOut, "nolog", Level(|to| &mut to.log_level_out)),
        row(OptionKey::PolicyIn, "DROP", Policy(|to| &mut to.policy_in)),
        row(OptionKey::PolicyOut, "ACCEPT", Policy(|to| &mut to.policy_out)),
        row(OptionKey::IpsQueues, "0", Queues(|to| &mut to.ips_queues)),
        row(OptionKey::Layer2Protocols, "", Ethertypes(|to| &mut to.layer2_protocols)),
    ];

    fn lines(&mut self) -> &mut OptionOrigins {
        &mut self.lines
    }
}

impl Options for VnetOptions {
    const KIND: FileKind = FileKind::Vnet;
    const ROWS: &'static [Row<Self>] = &[
        row(OptionKey::Enable, "0", Boolean(|to| &mut to.enable)),
        row(OptionKey::PolicyForward, "ACCEPT", ForwardPolicy(|to| &mut to.policy_forward)),
        row(OptionKey::LogLevelForward, "nolog", Level(|to| &mut to.log_level_forward)),
    ];

    fn lines(&mut self) -> &mut OptionOrigins {
        &mut self.lines
    }
}

/// An option of a kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownOption {
    /// Its key.
    pub key: &'static str,
    /// Its default as a file would spell it; empty where it has none.
    pub default: &'static str,
    /// The valid values, in words.
    pub valid: &'static str,
}

/// The options of a kind of file.
#[must_use]
pub fn known(kind: FileKind) -> Vec<KnownOption> {
    fn all<O: Options>() -> Vec<KnownOption> {
        let known =
            |row: &Row<O>| KnownOption { key: row.key.as_str(), default: row.default, valid: row.value.valid() };
        O::ROWS.iter().map(known).collect()
    }
    match kind {
        FileKind::Cluster => all::<ClusterOptions>(),
        FileKind::Host => all::<HostOptions>(),
        FileKind::Guest => all::<GuestOptions>(),
        FileKind::Vnet => all::<VnetOptions>(),
    }
}

/// A line of `[OPTIONS]`.
struct Assignment<'a> {
    key: &'a str,
    /// Without a comment after a blank; `None` if something other than a colon separates key and value, as in `enable = 1`.
    value: Option<&'a str>,
}

impl<'a> Assignment<'a> {
    /// `None` if the line does not begin with a word.
    fn parse(text: &'a str) -> Option<Self> {
        let end = text.bytes().position(|byte| !byte.is_ascii_alphanumeric() && byte != b'_').unwrap_or(text.len());
        let (key, rest) = text.split_at(end);
        let value = rest.strip_prefix(':').map(|value| {
            let comment = value.match_indices('#').find(|(at, _)| value[..*at].ends_with([' ', '\t']));
            comment.map_or(value, |(at, _)| &value[..at]).trim()
        });
        (!key.is_empty()).then_some(Assignment { key, value })
    }
}

/// The value of an option that cannot be parsed: for policies and filters the stricter value, not the default.
fn stricter(key: OptionKey) -> Option<&'static str> {
    match key {
        OptionKey::PolicyIn | OptionKey::PolicyOut | OptionKey::PolicyForward => Some("DROP"),
        OptionKey::Macfilter
        | OptionKey::Ipfilter
        | OptionKey::Nosmurfs
        | OptionKey::Tcpflags
        | OptionKey::ProtectionSynflood
        | OptionKey::Ebtables
        | OptionKey::Ips => Some("1"),
        // [`in_force`](super::in_force) has replaced the file by its last valid version before, if there is one
        OptionKey::NfConntrackAllowInvalid | OptionKey::Radv | OptionKey::Enable => Some("0"),
        _ => None,
    }
}

/// Parses the lines of `[OPTIONS]`; an invalid one is reported.
pub(super) fn read<O: Options>(
    lines: &[Line<'_>],
    file: &Arc<str>,
    databases: &Databases,
    reports: &mut Vec<Report>,
) -> O {
    let mut options = O::default();
    *options.lines() = OptionOrigins::of(file);
    for line in lines {
        let (key, report) = match set(&mut options, *line, file, databases) {
            Ok((key, report)) => (Some(key), report),
            Err((key, report)) => (key, Some(report)),
        };
        reports.extend(report);
        let Some(key) = key else { continue };
        if let Some(first) = options.lines().set(key, line.number) {
            let text = format!("option '{key}' is already set in line {first}: this line is used");
            reports.push(Report::warning(file, line.number, text));
        }
    }
    options
}

/// The key that a line sets, with a warning if any; or the error, with the key if the option gets a stricter value.
type OptionResult = Result<(OptionKey, Option<Report>), (Option<OptionKey>, Report)>;

/// Sets the option of a line.
fn set<O: Options>(options: &mut O, line: Line<'_>, file: &Arc<str>, databases: &Databases) -> OptionResult {
    let text = || format!("can't parse option '{}'", printable(line.text));
    let unparsable = |word: &str, lookup| Report::line(file, line.number, text()).at(line.span(word), lookup);
    let assignment = Assignment::parse(line.text);
    let row =
        assignment.as_ref().and_then(|of| O::ROWS.iter().find(|row| row.key.as_str().eq_ignore_ascii_case(of.key)));
    let (row, value) = match (assignment, row) {
        (Some(Assignment { key: _, value }), Some(row)) => (row, value),
        (Some(Assignment { key, value: Some(_) }), None) => {
            return Err((None, unparsable(key, Some(Lookup::Option(O::KIND)))));
        }
        (_, None) | (None, _) => {
            return Err((None, unparsable(line.text, Some(Lookup::OptionLine(O::KIND)))));
        }
    };
    let word = value.filter(|value| !value.is_empty()).unwrap_or(line.text);
    let result = value.map_or(Err(ValueError::Unparsable), |value| row.value.read(options, value, databases));
    let Err(error) = result else {
        // the official firewall accepts only 0 and 1, which matters to a user who returns to it
        let only_here = ["yes", "no", "on", "off", "true", "false"]
            .iter()
            .any(|word| value.is_some_and(|value| value.eq_ignore_ascii_case(word)));
        let warning = only_here.then(|| {
            let mut warning = Report::warning(file, line.number, text()).at(line.span(word), None);
            warning.marks[0].label =
                "this firewall reads it as 0 or 1; the official firewall accepts only 0 and 1".to_string();
            warning
        });
        return Ok((row.key, warning));
    };
    let mut report = match error {
        ValueError::Unparsable if value.is_none() => unparsable(line.text, Some(Lookup::OptionLine(O::KIND))),
        ValueError::Unparsable => unparsable(word, Some(Lookup::OptionValue(O::KIND, row.key.as_str()))),
        ValueError::Item(text, lookup) => Report::line(file, line.number, text).at(line.span(word), Some(lookup)),
    };
    let strict = stricter(row.key).filter(|strict| row.value.read(options, strict, databases).is_ok());
    let is_list = matches!(row.value, Helpers(_) | Ethertypes(_));
    let label = &mut report.marks[0].label;
    *label = match strict {
        _ if row.key == OptionKey::Enable => "in force: the previous value, else 0".to_string(),
        Some(strict) => format!("in force: {}: {strict}", row.key),
        None if is_list => String::new(),
        None => match options.lines().line(row.key) {
            Some(before) => format!("in force: line {before}"),
            None => format!("in force: the default, {}: {}", row.key, row.default),
        },
    };
    Err((strict.map(|_| row.key), report))
}

/// Whether a value is valid for an option of a kind of file.
#[must_use]
pub fn accepts(kind: FileKind, key: &str, value: &str) -> bool {
    fn of<O: Options>(key: &str, value: &str) -> bool {
        let row = O::ROWS.iter().find(|row| row.key.as_str().eq_ignore_ascii_case(key));
        row.is_some_and(|row| row.value.read(&mut O::default(), value, &Databases::default()).is_ok())
    }
    match kind {
        FileKind::Cluster => of::<ClusterOptions>(key, value),
        FileKind::Host => of::<HostOptions>(key, value),
        FileKind::Guest => of::<GuestOptions>(key, value),
        FileKind::Vnet => of::<VnetOptions>(key, value),
    }
}

/// The error in the line that sets `enable`, if its value is invalid.
pub(super) fn invalid_enable(lines: &[Line<'_>], kind: FileKind, file: &Arc<str>) -> Option<Report> {
    let mut values = lines.iter().filter_map(|line| Some((line, Assignment::parse(line.text)?)));
    let (line, Assignment { key: _, value }) =
        values.rfind(|(_, of)| of.key.eq_ignore_ascii_case(OptionKey::Enable.as_str()))?;
    let word = value.filter(|value| !value.is_empty()).unwrap_or(line.text);
    let report = Report::line(file, line.number, format!("can't parse option '{}'", printable(line.text)));
    let clear = value.is_some_and(|value| accepts(kind, OptionKey::Enable.as_str(), value));
    (!clear).then(|| report.at(line.span(word), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Verdict;

    fn set_to_default<O: Options + Clone + PartialEq + std::fmt::Debug>() {
        for row in O::ROWS.iter().filter(|row| !row.default.is_empty()) {
            // written out, with the default burst of iptables
            if row.key == OptionKey::LogRatelimit {
                continue;
            }
            let mut options = O::default();
            assert!(row.value.read(&mut options, row.default, &Databases::default()).is_ok(), "{}", row.key);
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
    fn invalid_values_are_replaced_by_the_stricter_value() {
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
            assert_eq!(GuestOptions { lines: OptionOrigins::default(), ..options }, strict, "{line}");
        }
    }

    #[test]
    fn an_unknown_list_item_is_skipped() {
        let databases = Databases::parse("", "", "IPv4 0800\nARP 0806\n");
        for (value, kept, errors) in [
            ("IPv4,ARP", &["IPv4", "ARP"][..], 0),
            ("IPv4, nope, ARP", &["IPv4", "ARP"], 1),
            ("nope", &[], 1),
            ("", &[], 1),
        ] {
            let line = format!("layer2_protocols: {value}");
            let mut reports = Vec::new();
            let options: GuestOptions = read(&[Line::new(1, &line)], &"f".into(), &databases, &mut reports);
            let names: Vec<_> = options.layer2_protocols.as_ref().unwrap().iter().map(ToString::to_string).collect();
            assert_eq!((names.iter().map(String::as_str).collect::<Vec<_>>(), reports.len()), (kept.to_vec(), errors));
        }
        assert!(read_guest("").0.layer2_protocols.is_none());
        let mut reports = Vec::new();
        let line = Line::new(1, "nf_conntrack_helpers: ftp,nope,tftp");
        let options: HostOptions = read(&[line], &"f".into(), &databases, &mut reports);
        assert_eq!((options.nf_conntrack_helpers.len(), reports.len()), (2, 1));
    }

    #[test]
    fn the_last_line_of_an_option_is_used() {
        let (options, reports) = read_guest("enable: 0\npolicy_in: DROP\nenable: 1\nPOLICY_IN: REJECT");
        assert!(options.enable && options.policy_in == Verdict::Reject);
        assert_eq!(
            reports,
            [
                "f (line 3): option 'enable' is already set in line 1: this line is used",
                "f (line 4): option 'policy_in' is already set in line 2: this line is used",
            ]
        );
    }
}

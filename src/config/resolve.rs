//! Resolves and checks the words of a rule.
use super::address::literal;
use super::aliases_and_sets::{Names, is_alias, unscoped};
use super::icmp::{icmp_family, icmp_type};
use super::macros::terms;
use super::ports::{is_any, ports};
use super::rule::{Rule, RuleAction, Term, VerdictRule};
use super::rule_syntax::RawRule;
use super::sections::{Line, MAX_GROUP_LENGTH, cut, is_name};
use super::value_parsers;
use crate::builtin::macros::{self, Macro};
use crate::model::{
    Address, Direction, Family, IcmpType, Literal, Lookup, PartError, PerFamily, Ports, Report, Spelled, Token,
    Verdict, lowercase, printable,
};
use crate::node::name_databases::Databases;
use ecow::EcoString;
use std::sync::Arc;

/// The kind of file or section that contains a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Env {
    /// `[RULES]` of cluster.fw.
    Cluster,
    /// `[RULES]` of host.fw.
    Host,
    /// `[RULES]` of a VM's file.
    Vm,
    /// `[RULES]` of a container's file.
    Ct,
    /// A group of cluster.fw.
    Group,
    /// `[RULES]` of a vnet's file.
    Vnet,
}

impl Env {
    fn name(self) -> &'static str {
        match self {
            Env::Cluster => "cluster",
            Env::Host => "host",
            Env::Vm => "vm",
            Env::Ct => "ct",
            Env::Group => "group",
            Env::Vnet => "vnet",
        }
    }

    fn is_guest(self) -> bool {
        matches!(self, Env::Vm | Env::Ct)
    }

    /// The types of the rules that it may contain.
    fn types(self) -> &'static [&'static str] {
        match self {
            Env::Cluster | Env::Host => &["IN", "OUT", "FORWARD", "GROUP"],
            Env::Vm | Env::Ct => &["IN", "OUT", "GROUP"],
            Env::Group => &["IN", "OUT", "FORWARD"],
            Env::Vnet => &["FORWARD", "GROUP"],
        }
    }
}

/// The data in which the words of a rule are looked up.
#[derive(Clone, Copy)]
pub struct RuleContext<'a> {
    /// The section of the rule.
    pub env: Env,
    /// Aliases and IP sets.
    pub names: Names<'a>,
    /// Protocols and services.
    pub databases: &'a Databases,
    /// Whether cluster.fw has a group with this name, in lower case.
    pub has_group: &'a dyn Fn(&str) -> bool,
}

/// Parses the rules of a section. Disabled rules are checked too, but generate nothing.
pub fn rules(lines: &[Line<'_>], context: RuleContext<'_>, file: &Arc<str>, reports: &mut Vec<Report>) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(lines.len());
    for line in lines {
        let raw = match RawRule::parse(*line) {
            Ok(raw) => raw,
            Err(error) => {
                let at = line.span(error.word);
                reports.push(Report::line(file, line.number, error.text).at(at, Some(error.lookup)));
                continue;
            }
        };
        let mut check = Check { context, raw: &raw, errors: Vec::new(), family: None, alias_error: None };
        let action = check.action();
        let place = |part: &str| line.span(raw.word(part).unwrap_or(line.without_comment));
        if let Some(error) = check.alias_error {
            reports.push(Report::line(file, line.number, error));
        } else if !check.errors.is_empty() {
            let what = format!("rule parameters: {}", printable(line.text));
            reports.push(Report::parts(file, line.number, what, check.errors, place));
        } else if let Some(action) = action {
            if let RuleAction::Group(name) = &action
                && !(context.has_group)(name)
            {
                let report = Report::line(file, line.number, format!("no such security group '{name}'"));
                reports.push(report.at(place("action"), Some(Lookup::Group)));
            }
            if !raw.enabled {
                continue;
            }
            if raw.action == "DENY" || raw.action.ends_with("(DENY)") {
                let warning = Report::warning(file, line.number, "action 'DENY' is treated as 'DROP': use DROP");
                reports.push(warning.at(place("action"), None));
            }
            let iface = raw.iface.map(EcoString::from);
            rules.push(Rule { line: line.number, place: place("action"), iface, action });
        }
    }
    rules
}

struct Check<'a> {
    context: RuleContext<'a>,
    raw: &'a RawRule<'a>,
    errors: Vec<PartError>,
    /// The family that the words parsed so far imply.
    family: Option<Family>,
    /// A conflict of families caused by an alias, which has a separate report.
    alias_error: Option<String>,
}

const MIXED: &str = "detected mixed ipv4/ipv6 addresses in rule";

impl<'a> Check<'a> {
    fn error(&mut self, part: &'static str, text: impl Into<String>) {
        self.errors.push(PartError::new(part, text));
    }

    fn unknown(&mut self, part: &'static str, text: impl Into<String>, lookup: Lookup) {
        self.errors.push(PartError::unknown(part, text, lookup));
    }

    fn action(&mut self) -> Option<RuleAction> {
        let kind = self.raw.kind;
        let env = self.context.env;
        if !env.types().iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            let text =
                format!("invalid rule type '{}' for rule_env '{}'", printable(&kind.to_ascii_lowercase()), env.name());
            self.unknown("type", text, Lookup::RuleType(env.types()));
            return None;
        }
        self.iface();
        if kind.eq_ignore_ascii_case("group") {
            return self.group();
        }
        let directions = [("in", Direction::In), ("out", Direction::Out)];
        let direction = directions.into_iter().find(|(word, _)| kind.eq_ignore_ascii_case(word));
        self.verdict_rule(direction.map_or(Direction::Forward, |(_, direction)| direction)).map(RuleAction::Verdict)
    }

    fn iface(&mut self) {
        let Some(iface) = self.raw.iface else { return };
        let env = self.context.env;
        if matches!(env, Env::Group | Env::Vnet) {
            self.error("type", "parameter -i not allowed for this rule type");
        } else if env.is_guest() {
            let number = iface.strip_prefix("net").unwrap_or_default();
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                self.unknown("iface", r"value does not match the regex pattern 'net\d+'", Lookup::Device);
            }
        } else if !is_interface(iface) {
            self.unknown("iface", format!("invalid network interface name '{}'", printable(iface)), Lookup::Interface);
        }
    }

    fn group(&mut self) -> Option<RuleAction> {
        let RawRule { enabled: _, kind: _, action: name, iface: _, proto, source, dest, sport, dport, icmp_type, log } =
            *self.raw;
        if !is_name(name) {
            self.unknown("action", "invalid characters in security group name", Lookup::Group);
        } else if name.len() > MAX_GROUP_LENGTH {
            self.error("action", "security group name too long");
        }
        let others = [
            ("proto", proto),
            ("source", source),
            ("dest", dest),
            ("sport", sport),
            ("dport", dport),
            ("icmp-type", icmp_type),
            ("log", log.map(|_| "")),
        ];
        for (part, given) in others {
            if given.is_some() {
                self.error(part, "not allowed in a GROUP rule: use it in the rules of the group");
            }
        }
        Some(RuleAction::Group(lowercase(name).into()))
    }

    fn verdict_rule(&mut self, direction: Direction) -> Option<VerdictRule> {
        #[rustfmt::skip]
        let RawRule {
            enabled: _, kind: _, action: _, iface: _, proto: _, icmp_type: _, source, dest, sport, dport, log,
        } = *self.raw;
        let verdict = self.verdict(direction);
        let proto = self.proto();
        let dport = self.ports("dport", dport, proto.as_ref());
        let sport = self.ports("sport", sport, proto.as_ref());
        let icmp_type = self.icmp_type(proto.as_ref());
        let source = self.address("source", source);
        let dest = self.address("dest", dest);
        let (verdict, mac) = verdict.filter(|_| self.errors.is_empty())?;
        let terms = match mac {
            Some(mac) => match terms(mac, self.raw, self.family, self.context.databases) {
                Ok(terms) if self.family.is_some_and(|family| terms[family].is_empty()) => {
                    self.error("macro", MIXED);
                    return None;
                }
                Ok(terms) => terms,
                Err(errors) => {
                    self.errors = errors;
                    return None;
                }
            },
            None => self.terms(Term { proto, sport, dport, icmp_type }),
        };
        Some(VerdictRule { direction, verdict, source, dest, terms, log: log.flatten() })
    }

    /// The term of a rule without a macro, for the families that the rule applies to.
    fn terms(&self, term: Term) -> PerFamily<Arc<[Term]>> {
        let icmp_family = term.icmp_type.as_ref().map(|(family, _)| *family);
        let shared: Arc<[Term]> = Arc::from([term]);
        let of = |family| -> Arc<[Term]> {
            match icmp_family {
                _ if self.family.is_some_and(|own| own != family) => <Arc<[Term]>>::default(),
                Some(other) if other != family => Arc::from([Term { icmp_type: None, ..shared[0].clone() }]),
                _ => shared.clone(),
            }
        };
        PerFamily { v4: of(Family::V4), v6: of(Family::V6) }
    }

    fn verdict(&mut self, direction: Direction) -> Option<(Verdict, Option<&'static Macro>)> {
        let action = self.raw.action;
        let (mac, word) = match cut(action, b'(').and_then(|(mac, rest)| Some((mac, rest.strip_suffix(')')?))) {
            Some((mac, word)) => (Some(mac), word),
            None => (None, action),
        };
        let Some(verdict) = value_parsers::verdict(word).filter(|_| mac != Some("")) else {
            self.unknown("action", format!("unknown action '{}'", printable(action)), Lookup::Verdict);
            return None;
        };
        let found = mac.and_then(macros::find);
        if let (Some(name), None) = (mac, found) {
            self.unknown("macro", format!("unknown macro '{}'", printable(name)), Lookup::Macro);
        }
        if direction == Direction::Forward && verdict == Verdict::Reject {
            self.error("action", "cannot define REJECT rules on forward chain");
        }
        Some((verdict, found))
    }

    /// The protocol; 0 is the same as none.
    fn proto(&mut self) -> Option<Spelled<u8>> {
        let text = self.raw.proto.filter(|text| !is_any(text))?;
        let known = self.context.databases.protocol(text).and_then(|number| Spelled::new(text, number));
        if known.as_ref().is_some_and(|known| known.value == 0) {
            self.error(
                "proto",
                format!(
                    "'{text}' has the number 0, which matches every protocol; leave -p out to match every protocol"
                ),
            );
        } else if known.is_none() {
            self.unknown("proto", format!("unknown protocol '{}'", printable(text)), Lookup::Protocol);
        }
        self.family = icmp_family(text);
        known
    }

    fn ports(&mut self, part: &'static str, text: Option<&str>, proto: Option<&Spelled<u8>>) -> Option<Ports> {
        let text = text?;
        let Some(proto) = proto else {
            self.error(part, format!("protocol '{}' does not support ports", printable(self.raw.proto.unwrap_or(""))));
            if self.raw.proto.is_none_or(is_any) {
                self.unknown(
                    "proto",
                    format!("missing property - '{part}' requires this property"),
                    Lookup::PortProtocol,
                );
            }
            return None;
        };
        // the older syntax for an ICMP type
        if part == "dport" && icmp_family(proto.text()).is_some() {
            return None;
        }
        match ports(text, proto, self.context.databases) {
            Ok(ports) => Some(ports),
            Err(error) => {
                self.unknown(part, error, Lookup::Service(proto.text().to_string()));
                None
            }
        }
    }

    fn icmp_type(&mut self, proto: Option<&Spelled<u8>>) -> Option<(Family, Spelled<IcmpType>)> {
        let family = proto.and_then(|proto| icmp_family(proto.text()));
        let text = match (self.raw.icmp_type, self.raw.dport, family) {
            (Some(_), _, None) => {
                self.unknown("proto", "missing property - 'icmp-type' requires this property", Lookup::IcmpProtocol);
                return None;
            }
            (Some(_), Some(_), Some(_)) => {
                self.error("icmp-type", "cannot be used together with dport");
                return None;
            }
            (Some(text), None, Some(_)) | (None, Some(text), Some(_)) => text,
            (None, _, _) => return None,
        };
        let family = family?;
        let known = icmp_type(text, family);
        if known.is_none() && self.raw.icmp_type.is_some() {
            let proto = proto.map(Spelled::text).unwrap_or_default();
            let text = format!("invalid icmp-type '{}' for proto '{proto}'", printable(text));
            self.unknown("icmp-type", text, Lookup::IcmpType(family));
        } else if known.is_none() {
            self.unknown("dport", format!("invalid port '{}'", printable(text)), Lookup::IcmpType(family));
        }
        known.map(|known| (family, known))
    }

    fn address(&mut self, part: &'static str, text: Option<&str>) -> Option<Address> {
        let text = text?;
        let names = self.context.names;
        if let Some(name) = text.strip_prefix('+') {
            let set = names.set(name);
            if set.is_none() {
                self.unknown(part, format!("no such ipset '{}'", printable(unscoped(name))), Lookup::Set);
            }
            return set.map(Address::Set);
        }
        let by_alias = is_alias(text);
        let known = if by_alias {
            let found = names.alias(text).ok_or_else(|| format!("no such alias '{}'", printable(text)));
            found.map(|found| Literal::Nets(found.with_value(vec![found.value]).into()))
        } else {
            literal(text)
        };
        match known {
            Ok(literal) => {
                let family = literal.family();
                if self.family.is_none_or(|own| own == family) {
                    self.family = Some(family);
                } else if by_alias {
                    self.alias_error = Some(MIXED.to_string());
                } else {
                    self.error(part, MIXED);
                }
                Some(Address::Literal(literal))
            }
            Err(error) => {
                let lookup = Some(if by_alias { Lookup::Alias } else { Lookup::Address });
                self.errors.push(PartError { part, text: error, lookup });
                None
            }
        }
    }
}

/// The maximum length of an alternative name of an interface (`ALTIFNAMSIZ`), in bytes. Whether the real name of the interface
/// is short enough is known only after alternative names are resolved.
const MAX_ALTNAME_LENGTH: usize = 127;

/// Whether the kernel accepts this name: no blank and no `/`, and not `.` or `..` (`dev_valid_name`). A `:` separates the
/// number of an alias, and a `+` would be a wildcard of the tools.
fn is_interface(text: &str) -> bool {
    let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
    let digits = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let whole = !matches!(name, "" | "." | "..") && !name.contains(['/', '+', ',']) && text.len() <= MAX_ALTNAME_LENGTH;
    whole && number.is_none_or(digits) && Token::new(text).is_some()
}

//! Suggestions for sections and options.
use super::words::{bare, common_level, common_verdict, did_you_mean, nearest};
use crate::config::{is_header, is_name, known_options, option_accepts};
use crate::model::FileKind;

const KINDS: [(FileKind, &str); 4] = [
    (FileKind::Cluster, "in cluster.fw"),
    (FileKind::Host, "in host.fw"),
    (FileKind::Guest, "in a guest's file"),
    (FileKind::Vnet, "in a vnet's file"),
];

fn keys(kind: FileKind) -> impl Iterator<Item = &'static str> {
    known_options(kind).into_iter().map(|known| known.key)
}

/// For a line that begins like a header but is not one.
pub fn section(text: &str, kind: FileKind) -> Option<String> {
    let inside = text.split('#').next().unwrap_or(text).trim().trim_matches(['[', ']', ' ', '\t']);
    let inside = inside.split(']').next().unwrap_or(inside).trim();
    let (keyword, name) = inside.split_once([' ', '\t', ':']).unwrap_or((inside, ""));
    let name: Vec<&str> = bare(name).split_whitespace().collect();
    let known = ["OPTIONS", "RULES", "ALIASES", "IPSET", "GROUP"];
    let begins = |known: &&str| {
        keyword.len() > 3 && known.get(..keyword.len()).is_some_and(|start| start.eq_ignore_ascii_case(keyword))
    };
    let keyword = known.into_iter().find(begins).map(str::to_string).or_else(|| nearest(keyword, known))?;
    let named = matches!(keyword.as_str(), "IPSET" | "GROUP");
    let header = match named {
        true => format!("[{keyword} {}]", name.join("-").trim_start_matches(['+', '-'])),
        false => format!("[{keyword}]"),
    };
    if header != text && is_header(&header, kind) {
        return Some(did_you_mean(header));
    }
    let elsewhere = match keyword.as_str() {
        "GROUP" if kind != FileKind::Cluster => "groups are defined in cluster.fw; a rule 'GROUP NAME' uses one",
        "IPSET" | "ALIASES" if matches!(kind, FileKind::Host | FileKind::Vnet) => {
            "IP sets and aliases are defined in cluster.fw or in a guest's file"
        }
        _ if named && !is_name(&name.join("-")) => {
            "a name is a letter, then at least one more letter, digit, '_' or '-'"
        }
        _ => return None,
    };
    Some(elsewhere.to_string())
}

/// For an unknown key.
pub fn key(word: &str, kind: FileKind) -> Option<String> {
    let of_others = KINDS.iter().filter(|(other, _)| keys(*other).any(|known| known.eq_ignore_ascii_case(word)));
    let of_others: Vec<&str> = of_others.map(|(_, name)| *name).collect();
    if !of_others.is_empty() {
        return Some(format!("this option belongs {}", of_others.join(" or ")));
    }
    nearest(word, keys(kind)).filter(|found| found != word).map(did_you_mean)
}

/// For a line that is not `key: value`.
pub fn line(text: &str, kind: FileKind) -> Option<String> {
    let text = text.split('#').next().unwrap_or(text).trim();
    let first = text.split_whitespace().next().unwrap_or_default();
    if ["IN", "OUT", "FORWARD", "GROUP", "|IN", "|OUT"].iter().any(|word| word.eq_ignore_ascii_case(first)) {
        return Some("rules belong below [RULES]".to_string());
    }
    let separators = ['=', ':', ' ', '\t'];
    let (key, value) = text.split_at(text.find(separators).unwrap_or(text.len()));
    let key = key.replace('-', "_").to_ascii_lowercase();
    let value = value.trim_start_matches(separators);
    let known = keys(kind).find(|known| *known == key)?;
    if option_accepts(kind, known, value) && !value.is_empty() {
        return Some(did_you_mean(format_args!("{known}: {value}")));
    }
    Some(format!("write '{known}: VALUE'"))
}

/// For the value of an option.
pub fn value(word: &str, kind: FileKind, key: &str) -> Option<String> {
    let plain = bare(word.split_whitespace().next().unwrap_or(word));
    let lower = plain.to_ascii_lowercase();
    let policy = common_verdict(plain).map(str::to_string).or_else(|| nearest(plain, ["ACCEPT", "DROP", "REJECT"]));
    let level = common_level(plain).map(str::to_string).or_else(|| nearest(&lower, super::LEVELS));
    let switch = match lower.as_str() {
        "y" | "ja" | "enabled" | "enable" | "active" | "t" => Some("1"),
        "n" | "nein" | "disabled" | "disable" | "inactive" | "f" | "none" => Some("0"),
        _ => None,
    };
    let is_switch = option_accepts(kind, key, "no");
    let number: String =
        plain.split('/').next().unwrap_or(plain).chars().filter(|one| !matches!(one, '_' | ',' | '\'')).collect();
    // '2' in place of 0 or 1, or a number with a unit, is ambiguous
    let candidates = [
        Some(plain.to_string()),
        policy,
        level,
        switch.filter(|_| is_switch).map(str::to_string),
        Some(number).filter(|_| !is_switch),
        Some(plain.replace('-', ":")),
        Some(ratelimit(word)),
    ];
    let fits = |one: &String| !one.is_empty() && one != word && option_accepts(kind, key, one);
    let found = candidates.into_iter().flatten().find(fits);
    let valid = known_options(kind).into_iter().find(|known| known.key == key)?.valid;
    Some(found.map_or_else(|| format!("write {valid}"), did_you_mean))
}

/// A property string with `enable`, full units, and commas.
fn ratelimit(value: &str) -> String {
    let unit = |part: &str| {
        let Some((count, unit)) = part.split_once('/') else { return part.to_string() };
        let full =
            ["second", "minute", "hour", "day"].into_iter().find(|full| full.starts_with(unit) && !unit.is_empty());
        format!("{count}/{}", full.unwrap_or(unit))
    };
    let parts = bare(value).split([',', ';', ' ', '\t']).filter(|part| !part.is_empty()).map(unit);
    let mut parts: Vec<String> = parts.collect();
    if !parts.iter().any(|part| part.starts_with("enable") || !part.contains('=')) {
        parts.insert(0, "enable=1".to_string());
    }
    parts.join(",")
}

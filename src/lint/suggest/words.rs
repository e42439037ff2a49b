//! Similar words.

/// The most similar of the words, if it is similar enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // the first letter of a misspelt word is usually right
    let first = |text: &str| text.bytes().next().map(|byte| byte.to_ascii_lowercase());
    let best = known.into_iter().min_by_key(|known| (distance(word, known), first(word) != first(known)))?;
    is_near(word, best).then(|| best.to_string())
}

/// The number of wrong, missing, additional or swapped letters.
pub fn distance(word: &str, known: &str) -> usize {
    // no keyword is that long, but a line in a file can be
    if word.len() > 80 {
        return usize::MAX;
    }
    strsim::osa_distance(&word.to_ascii_lowercase(), &known.to_ascii_lowercase())
}

pub fn is_near(word: &str, known: &str) -> bool {
    distance(word, known) <= (word.len() / 3).clamp(1, 3)
}

/// Like [`nearest`] for names chosen by users: names that differ only in a number do not count as similar.
pub fn nearest_name<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters =
        |name: &str| name.chars().filter(|one| !one.is_ascii_digit()).collect::<String>().to_ascii_lowercase();
    let of_word = letters(word);
    let others = known.into_iter().filter(|known| letters(known) != of_word || known.eq_ignore_ascii_case(word));
    others.min_by_key(|known| distance(word, known)).filter(|known| is_near(word, known))
}

/// A suggestion to write a word in place of another.
pub fn did_you_mean(found: impl std::fmt::Display) -> String {
    format!("did you mean '{found}'?")
}

/// A comma list with its first unknown item corrected.
pub fn corrected_list<'a, I: Iterator<Item = &'a str>>(list: &str, known: impl Fn() -> I) -> Option<String> {
    // lists are separated by commas alone
    let items = list.split([',', ';', ' ', '\t']).filter(|item| !item.is_empty());
    let mut all_known = true;
    let corrected: Option<Vec<String>> = items
        .map(|item| match known().find(|known| known.eq_ignore_ascii_case(item)) {
            Some(_) => Some(item.to_string()),
            None if all_known => {
                all_known = false;
                nearest(item, known())
            }
            // correct only one item
            None => Some(item.to_string()),
        })
        .collect();
    Some(corrected?.join(",")).filter(|corrected| !corrected.is_empty() && corrected != list)
}

/// A word without the quotes, semicolons and brackets around it.
pub fn bare(word: &str) -> &str {
    word.trim_matches(['"', '\'', '`', ';', ',', '.', '[', ']', '(', ')', '<', '>', ' ', '\t'])
}

/// The log levels by other names, and by their numbers in the log.
pub fn common_level(word: &str) -> Option<&'static str> {
    let level = match word.to_ascii_lowercase().as_str() {
        "0" | "emergency" | "panic" => "emerg",
        "1" => "alert",
        "2" | "critical" => "crit",
        "3" | "error" => "err",
        "4" | "warn" => "warning",
        "5" => "notice",
        "6" | "information" => "info",
        "7" => "debug",
        "none" | "off" | "no" => "nolog",
        _ => return None,
    };
    Some(level)
}

/// The verdicts by the names of other firewalls.
pub fn common_verdict(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "allow" | "permit" | "pass" | "accepted" => Some("ACCEPT"),
        "deny" | "block" | "discard" | "dropped" => Some("DROP"),
        "refuse" | "rejected" => Some("REJECT"),
        _ => None,
    }
}

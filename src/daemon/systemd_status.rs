//! The state of a daemon in one line, which `systemctl status` shows.
use super::mode::Mode;
use crate::model::{BackendKind, Filtered};
use crate::paths::NFTABLES_DISABLED;

/// What the last update of a daemon has applied.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    mode: Mode,
    /// Whether its rules are applied; `false` if it has removed them.
    enforces: bool,
    filtered: Filtered,
}

impl Summary {
    /// The summary of an update.
    pub fn of(mode: Mode, enforces: bool, filtered: Filtered) -> Self {
        Summary { mode, enforces, filtered }
    }

    /// The line, with what happens in a hand-over, and the numbers of current errors and warnings.
    pub fn text(self, kind: BackendKind, hand_over: Option<&str>, errors: usize, warnings: usize) -> String {
        let (own, other) = (kind.program(), kind.other().program());
        let state = match (self.mode, self.enforces) {
            (Mode::On, true) => format!("enabled, rules for {}", self.parts()),
            (Mode::On, false) => format!("enabled, without rules: {NFTABLES_DISABLED} exists"),
            (Mode::Off, _) => "disabled in cluster.fw, without rules".to_string(),
            (Mode::Other, true) => format!("the rules are kept until those of {other} are live"),
            (Mode::Other, false) => format!("without rules: host.fw selects {other}"),
        };
        let state = match hand_over {
            Some(text) => format!("{state}; {text}"),
            None => state,
        };
        let counts = [(errors, "error"), (warnings, "warning")].map(|(count, what)| counted(count, what));
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        match counts.is_empty() {
            true => state,
            false => format!("{state}; {}, see '{own} status --verbose'", counts.join(" and ")),
        }
    }

    /// What has rules.
    fn parts(self) -> String {
        let Filtered { guests, devices, host } = self.filtered;
        let of_devices = counted(devices, "device").unwrap_or_default();
        let guests = counted(guests, "guest").map(|guests| format!("{guests} with {of_devices}"));
        let parts: Vec<String> = host.then(|| "the node".to_string()).into_iter().chain(guests).collect();
        if parts.is_empty() { "no guest and not for the node".to_string() } else { parts.join(" and ") }
    }
}

/// A number with its noun; `None` for none.
fn counted(count: usize, noun: &str) -> Option<String> {
    let plural = if count == 1 { "" } else { "s" };
    (count > 0).then(|| format!("{count} {noun}{plural}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_text() {
        let both = Filtered { guests: 2, devices: 3, host: true };
        for (mode, enforces, filtered, errors, warnings, expected) in [
            (Mode::On, true, both, 0, 0, "enabled, rules for the node and 2 guests with 3 devices"),
            (
                Mode::On,
                true,
                Filtered { guests: 1, devices: 1, host: false },
                1,
                2,
                "enabled, rules for 1 guest with 1 device; 1 error and 2 warnings, see 'proxmox-firewall status --verbose'",
            ),
            (Mode::On, true, Filtered::default(), 0, 0, "enabled, rules for no guest and not for the node"),
            (Mode::On, false, both, 0, 0, &format!("enabled, without rules: {NFTABLES_DISABLED} exists")),
            (Mode::Off, false, both, 0, 0, "disabled in cluster.fw, without rules"),
            (Mode::Other, true, both, 0, 0, "the rules are kept until those of pve-firewall are live"),
            (Mode::Other, false, both, 0, 0, "without rules: host.fw selects pve-firewall"),
        ] {
            let summary = Summary::of(mode, enforces, filtered);
            assert_eq!(summary.text(BackendKind::Nftables, None, errors, warnings), expected);
        }
        let summary = Summary::of(Mode::On, true, both);
        let expected =
            "enabled, rules for the node and 2 guests with 3 devices; a; 1 error, see 'pve-firewall status --verbose'";
        assert_eq!(summary.text(BackendKind::Iptables, Some("a"), 1, 0), expected);
    }
}

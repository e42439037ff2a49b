//! The names of our chains and sets in the kernel, formatted and parsed in this module only.
//!
//! All chain names are short enough: the longest are from a device (15 characters) with `-OUT-PROTO`, and from a group (18)
//! with `GROUP-` and `-OUT`. Set names have at most 26 characters.
mod fixed_chains;

pub use fixed_chains::{
    BLACKLIST, DROP, DROP_BROADCAST, FAILSAFE, FORWARD, FWBR_IN, FWBR_OUT, FixedChain, HOST_IN, HOST_OUT, INPUT, IPS,
    LOGFLAGS, OUTPUT, PREROUTING, REJECT, REJECT_POLICY, SET_ACCEPT_MARK, SMURFLOG, SMURFS, SYNFLOOD, TCPFLAGS, TRIAL,
    TRIAL_TARGET,
};

use super::ruleset::{ChainName, SetName};
use crate::model::guest::{FIREWALL_BRIDGE, GuestDevice, GuestKind, INNER_LINK, OUTER_LINK};
use crate::model::{Family, Interface};

/// The prefix of the names of all sets, and of all chains except those of devices and groups.
const PREFIX: &str = "PVEFW-";
const GROUP: &str = "GROUP-";
/// The suffix of the chains for packets to a device or of a group.
pub const IN: &str = "-IN";
const OUT: &str = "-OUT";
const ARP: &str = "-ARP";
const PROTO: &str = "-PROTO";
/// The suffix of a set with new content before the swap.
const SWAP: &str = "_swap";
/// The suffix of a set's name between the two steps of an update.
const NEXT: &str = "_next";
/// The maximum length of a set name that is not hashed, in characters without the prefix.
const MAX_SET_LENGTH: usize = 20;

fn chain(parts: &[&str]) -> ChainName {
    ChainName::concat(parts).expect("chain names of ours are words of at most 28 characters")
}

/// The entry chain of a built-in chain.
#[must_use]
pub fn entry(hook: &str) -> ChainName {
    chain(&[PREFIX, hook])
}

/// The longest prefix of a [`branch_in`] or [`branch_out`], in characters: with it the names have 28 characters.
pub const MAX_PREFIX_LENGTH: usize = 13;

/// The chain of packets to the devices with this prefix; [`FWBR_IN`] for an empty prefix.
#[must_use]
pub fn branch_in(prefix: &str) -> ChainName {
    branch(FWBR_IN, prefix)
}

/// The chain of packets, or of frames, from the devices with this prefix; [`FWBR_OUT`] for an empty prefix.
#[must_use]
pub fn branch_out(prefix: &str) -> ChainName {
    branch(FWBR_OUT, prefix)
}

fn branch(FixedChain(all): FixedChain, prefix: &str) -> ChainName {
    if prefix.is_empty() { chain(&[all]) } else { chain(&[all, "-", prefix]) }
}

/// The pattern that matches all devices with this prefix: `tap10+`.
#[must_use]
pub fn devices_with(prefix: &str) -> Interface {
    Interface::new(&[prefix, "+"].concat()).expect("a prefix of a device's name is a short word")
}

/// The chain of packets to a guest's device.
#[must_use]
pub fn device_in(device: &Interface) -> ChainName {
    chain(&[device.as_str(), IN])
}

/// The chain of packets, or of frames, from a guest's device.
#[must_use]
pub fn device_out(device: &Interface) -> ChainName {
    chain(&[device.as_str(), OUT])
}

/// The ebtables chain of ARP from a guest's device.
#[must_use]
pub fn device_arp(device: &Interface) -> ChainName {
    chain(&[device.as_str(), OUT, ARP])
}

/// The ebtables chain of the protocols that a guest's device may use.
#[must_use]
pub fn device_protocols(device: &Interface) -> ChainName {
    chain(&[device.as_str(), OUT, PROTO])
}

/// All chains of a guest's device, in all tables.
#[must_use]
pub fn device_chains(device: &Interface) -> [ChainName; 4] {
    [device_in(device), device_out(device), device_arp(device), device_protocols(device)]
}

/// The guest's device that an iptables chain belongs to.
#[must_use]
pub fn device_of(chain: &str) -> Option<GuestDevice> {
    GuestDevice::parse(chain.strip_suffix(IN).or_else(|| chain.strip_suffix(OUT))?)
}

/// The chain of a security group for packets to the host or to guests.
#[must_use]
pub fn group_in(group: &str) -> ChainName {
    chain(&[GROUP, group, IN])
}

/// The chain of a security group for packets from the host or from guests.
#[must_use]
pub fn group_out(group: &str) -> ChainName {
    chain(&[GROUP, group, OUT])
}

/// The ports of the firewall bridges that are connected to `vmbrX`: `fwln+`.
#[must_use]
pub fn inner_links() -> Interface {
    Interface::new(&[INNER_LINK, "+"].concat()).expect("a short word")
}

/// The ports of `vmbrX` that are connected to the firewall bridges: `fwpr+`.
#[must_use]
pub fn outer_links() -> Interface {
    Interface::new(&[OUTER_LINK, "+"].concat()).expect("a short word")
}

/// The name of a set: `PVEFW-<VMID>-<name>-v4`, where the VMID of the cluster's sets is 0. Of a long name the FNV-1a
/// hash replaces the rest.
#[must_use]
pub fn set(vmid: u32, name: &str, family: Family) -> SetName {
    let id = set_id(vmid, name, family);
    if id.len() > MAX_SET_LENGTH {
        return hashed(&id);
    }
    SetName::concat(&[PREFIX, &id]).expect("the prefix and at most 20 characters of a name")
}

/// The name of a set of the cluster in its hashed form, regardless of the length of its name.
#[must_use]
pub fn hashed_set(name: &str, family: Family) -> SetName {
    hashed(&set_id(0, name, family))
}

fn set_id(vmid: u32, name: &str, family: Family) -> String {
    let version = match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    };
    [itoa::Buffer::new().format(vmid), "-", name, "-", version].concat()
}

fn hashed(id: &str) -> SetName {
    let hash = fnv1a(id.as_bytes()) & 0x7fff_ffff;
    SetName::new(&format!("{PREFIX}{hash:X}")).expect("the prefix and a number")
}

/// FNV-1a, 32 bits.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The temporary name of a set with new content, which is swapped with the set. `None` if it would be too long, which does not
/// happen for names of ours.
#[must_use]
pub fn swap_set(name: &SetName) -> Option<SetName> {
    SetName::new(&format!("{name}{SWAP}"))
}

/// Whether this is a [`swap_set`], which exists only during an update.
#[must_use]
pub fn is_swap_set(name: &SetName) -> bool {
    name.as_str().ends_with(SWAP)
}

/// The temporary name of a set whose new content rules use between the two steps of an update. `None` as for [`swap_set`].
#[must_use]
pub fn next_set(name: &SetName) -> Option<SetName> {
    SetName::new(&format!("{name}{NEXT}"))
}

/// `PVEFW-…`, or `tapNiN-` or `vethNiN-` with `IN` or `OUT`.
fn is_device_chain(name: &str) -> bool {
    let device = || {
        let rest = GuestKind::ALL.into_iter().find_map(|kind| name.strip_prefix(kind.device_prefix()))?;
        after_digits(after_digits(rest)?.strip_prefix('i')?)
    };
    name.starts_with(PREFIX) || device().is_some_and(|end| matches!(end, IN | OUT))
}

/// `fwbrN-` or `fwbrNvN-` with `FW`, `IN`, `OUT` or `IPS`: of older versions.
fn is_link_chain(name: &str) -> bool {
    let link = || {
        let rest = after_digits(name.strip_prefix(FIREWALL_BRIDGE)?)?;
        rest.strip_prefix('v').map_or(Some(rest), after_digits)
    };
    link().is_some_and(|end| matches!(end, "-FW" | IN | OUT | "-IPS"))
}

/// `GROUP-NAME-` with `IN` or `OUT`.
fn is_group_chain(name: &str) -> bool {
    let rest = name.strip_prefix(GROUP);
    let group = rest.and_then(|rest| rest.strip_suffix(IN).or(rest.strip_suffix(OUT)));
    group.is_some_and(|group| {
        group.starts_with(|first: char| first.is_ascii_alphabetic())
            && group.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    })
}

/// What follows one or more digits.
fn after_digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|one: char| one.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}

/// Whether an iptables chain of this name is ours.
#[must_use]
pub fn is_own_chain(name: &str) -> bool {
    is_device_chain(name) || is_link_chain(name) || is_group_chain(name)
}

/// Whether an ebtables chain of this name is ours.
#[must_use]
pub fn is_own_bridge_chain(name: &str) -> bool {
    let of_device = name.strip_suffix(ARP).or(name.strip_suffix(PROTO)).unwrap_or(name);
    is_device_chain(of_device) || is_device_chain(name) || is_link_chain(name)
}

/// Whether an IP set of this name is ours.
#[must_use]
pub fn is_own_set(name: &str) -> bool {
    name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use regex::Regex;
    use std::sync::LazyLock;

    /// The same names, as regular expressions.
    fn patterns() -> [Regex; 2] {
        let device = r"PVEFW-.*|(tap|veth)[0-9]+i[0-9]+-(IN|OUT)";
        let link = "fwbr[0-9]+(v[0-9]+)?-(FW|IN|OUT|IPS)";
        let group = "GROUP-[A-Za-z][A-Za-z0-9_-]*-(IN|OUT)";
        [format!("{device}|{link}|{group}"), format!("({device})(-ARP|-PROTO)?|{link}")]
            .map(|whole| Regex::new(&format!("^(?:{whole})$")).unwrap())
    }

    const PIECES: [&str; 18] = [
        "PVEFW-", "tap", "veth", "fwbr", "GROUP-", "100", "0", "i", "v", "-IN", "-OUT", "-ARP", "-PROTO", "-FW",
        "-IPS", "a_b", "-", "é",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn names_match_the_patterns(pieces in vec(select(&PIECES[..]), 0..7)) {
            static PATTERNS: LazyLock<[Regex; 2]> = LazyLock::new(patterns);
            let name = pieces.concat();
            prop_assert_eq!(is_own_chain(&name), PATTERNS[0].is_match(&name));
            prop_assert_eq!(is_own_bridge_chain(&name), PATTERNS[1].is_match(&name));
        }
    }

    #[test]
    fn own_names() {
        for own in [
            "PVEFW-INPUT",
            "tap100i0-IN",
            "veth100i12-OUT",
            "fwbr100-FW",
            "fwbr100v5-IPS",
            "GROUP-web-IN",
            "GROUP-a_b-c-OUT",
        ] {
            assert!(is_own_chain(own), "{own}");
        }
        for foreign in [
            "INPUT",
            "tap100i0",
            "tapi0-IN",
            "tap100i0-IN-ARP",
            "xtap100i0-IN",
            "GROUP-IN",
            "GROUP--IN",
            "f2b-sshd",
            "fwbr-IN",
            "",
        ] {
            assert!(!is_own_chain(foreign), "{foreign}");
        }
        for own in ["PVEFW-FORWARD", "tap100i0-OUT", "tap100i0-OUT-ARP", "veth1i1-OUT-PROTO"] {
            assert!(is_own_bridge_chain(own), "{own}");
        }
        for foreign in ["FORWARD", "tap100i0-OUT-X", "GROUP-a-IN"] {
            assert!(!is_own_bridge_chain(foreign), "{foreign}");
        }
        assert!(is_own_set("PVEFW-0-management-v4") && !is_own_set("blocklist"));
    }

    #[test]
    fn long_names_are_hashed() {
        for (vmid, name, family, expected) in [
            (0, "myset", Family::V4, "PVEFW-0-myset-v4"),
            (100, "ipfilter-net0", Family::V6, "PVEFW-100-ipfilter-net0-v6"),
            (0, "a-very-long-name-for-an-ip-set-that-hashes", Family::V4, "PVEFW-26416E0"),
            (0, "a-very-long-name-for-an-ip-set-that-hashes", Family::V6, "PVEFW-4641A06"),
        ] {
            assert_eq!(set(vmid, name, family).as_str(), expected);
        }
    }

    #[test]
    fn every_written_name_is_recognised() {
        let device = Interface::new("veth999999999i9").unwrap();
        for chain in device_chains(&device) {
            assert!(is_own_bridge_chain(chain.as_str()), "{chain}");
        }
        for chain in [device_in(&device), device_out(&device)] {
            assert!(is_own_chain(chain.as_str()), "{chain}");
            assert_eq!(device_of(chain.as_str()).map(|device| device.to_string()).as_deref(), Some(device.as_str()));
        }
        let prefix = &"veth999999999i9"[..MAX_PREFIX_LENGTH];
        for chain in
            [branch_in(prefix), branch_out(prefix), group_in("web"), group_out("a_b-c"), entry("INPUT"), TRIAL.into()]
        {
            assert!(is_own_chain(chain.as_str()), "{chain}");
            assert_eq!(device_of(chain.as_str()), None);
        }
        assert!(FORWARD == *"PVEFW-FORWARD" && entry("FORWARD") == FORWARD);
        let set = set(999_999_999, "long", Family::V6);
        assert!(is_swap_set(&swap_set(&set).unwrap()) && !is_swap_set(&next_set(&set).unwrap()));
    }
}

//! The lists in which words of a file are looked up.
use super::family::Family;
use super::file_kind::FileKind;

/// The list in which an unknown word was searched for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lookup {
    /// The sections of a kind of file; the word is a whole header.
    Section(FileKind),
    /// The options of a kind of file.
    Option(FileKind),
    /// The options of a kind of file; the word is a whole line that is not `key: value`.
    OptionLine(FileKind),
    /// The values of an option, by its key.
    OptionValue(FileKind, &'static str),
    /// The types of rules that may be here, such as IN and OUT.
    RuleType(&'static [&'static str]),
    /// The options of a rule: `-source`.
    RuleOption,
    /// Nothing: an option that was given before.
    GivenTwice,
    /// Nothing: a word that is not an option, with the option before it.
    Joined,
    /// The levels of `-log`.
    LogLevel,
    /// ACCEPT, DROP, REJECT.
    Verdict,
    /// The macros.
    Macro,
    /// `/etc/protocols`
    Protocol,
    /// The protocols with ports: the rule has ports and no protocol.
    PortProtocol,
    /// The protocols with ICMP types: the rule has a type and another protocol or none.
    IcmpProtocol,
    /// `/etc/services`, with this protocol; the word is a list of ports.
    Service(String),
    /// The names of ICMP types.
    IcmpType(Family),
    /// The IP sets.
    Set,
    /// The aliases.
    Alias,
    /// Addresses, networks, ranges and lists of them.
    Address,
    /// The definitions of aliases: `name address`.
    AliasLine,
    /// The address of an alias.
    AliasAddress,
    /// The network devices of the guest.
    Device,
    /// Names of network interfaces.
    Interface,
    /// The aliases, as an entry of an IP set.
    Entry,
    /// The security groups.
    Group,
    /// The conntrack helpers; the word is a list.
    Helper,
    /// `/etc/ethertypes`; the word is a list.
    Ethertype,
}

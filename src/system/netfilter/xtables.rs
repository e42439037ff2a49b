//! The summary of a table of ip_tables, ip6_tables or ebtables, and the entries of the first two: getsockopt(2) as the legacy
//! tools use it.
#![allow(unsafe_code, reason = "getsockopt(2) with options that no crate supports")]
use super::Summary;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::os::fd::AsRawFd;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO` (`linux/netfilter_ipv4/ip_tables.h`).
const IPT_SO_GET_INFO: i32 = 64;
/// `IPT_SO_GET_ENTRIES` and `IP6T_SO_GET_ENTRIES`.
const IPT_SO_GET_ENTRIES: i32 = 65;
/// `EBT_SO_GET_INFO` (`linux/netfilter_bridge/ebtables.h`).
const EBT_SO_GET_INFO: i32 = 128;
/// `XT_TABLE_MAXNAMELEN` and `EBT_TABLE_MAXNAMELEN`, in bytes.
const NAME: usize = 32;
/// `struct ipt_getinfo`, in bytes: the name, valid_hooks, `hook_entry[5]`, `underflow[5]`, num_entries, size.
const GETINFO: usize = NAME + 13 * 4;
/// `struct ipt_get_entries` before the entries, in bytes: the name, their size, padding.
const GET_ENTRIES: usize = NAME + 8;
/// `struct ebt_replace` of a 64-bit kernel, in bytes.
const EBT_REPLACE: usize = 120;
/// Offset of its first pointer: after the name, valid_hooks, nentries, entries_size and padding.
const EBT_POINTERS: usize = 48;

/// The summary of a legacy table of iptables or ip6tables. The kernel loads the table's module if needed.
///
/// # Errors
/// When the kernel has no such table, or the process lacks `CAP_NET_ADMIN`.
pub fn iptables(table: &str, ipv6: bool) -> Result<Summary> {
    let mut info = [0; GETINFO];
    read_option(level(ipv6), IPT_SO_GET_INFO, table, &mut info)?;
    Ok(Summary(info[..].into()))
}

fn level(ipv6: bool) -> (AddressFamily, i32) {
    match ipv6 {
        false => (AddressFamily::Inet, libc::IPPROTO_IP),
        true => (AddressFamily::Inet6, libc::IPPROTO_IPV6),
    }
}

/// The number of rules in a legacy table of iptables or ip6tables, from its summary.
#[must_use]
pub fn rules(summary: &Summary) -> Option<u32> {
    TableInfo::of(summary).map(|info| info.rules)
}

/// The positions of the built-in chains among the entries of a legacy table of iptables or ip6tables, by the numbers of their
/// hooks.
pub(super) struct TableInfo {
    /// The hooks that the table has, as bits.
    pub valid_hooks: u32,
    /// The offsets of their first entries, in bytes.
    pub hook_entry: [usize; 5],
    /// The offsets of the entries that are their policies.
    pub underflow: [usize; 5],
    /// The number of entries.
    rules: u32,
    /// The size of all entries, in bytes.
    size: usize,
}

impl TableInfo {
    /// From the summary of a table.
    pub(super) fn of(Summary(info): &Summary) -> Option<Self> {
        let number = |at: usize| -> Option<u32> {
            let bytes = info.get(NAME + 4 * at..)?.first_chunk()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        let mut table = TableInfo {
            valid_hooks: number(0)?,
            hook_entry: [0; 5],
            underflow: [0; 5],
            rules: number(11)?,
            size: usize::try_from(number(12)?).ok()?,
        };
        for hook in 0..5 {
            table.hook_entry[hook] = usize::try_from(number(1 + hook)?).ok()?;
            table.underflow[hook] = usize::try_from(number(6 + hook)?).ok()?;
        }
        Some(table)
    }
}

/// The entries of a legacy table of iptables or ip6tables.
///
/// # Errors As for [`iptables`], and when the size of the table no longer equals that in `info`.
pub(super) fn entries(table: &str, ipv6: bool, info: &TableInfo) -> Result<Vec<u8>> {
    let mut get = vec![0; GET_ENTRIES + info.size];
    get[NAME..NAME + 4].copy_from_slice(&u32::try_from(info.size)?.to_ne_bytes());
    read_option(level(ipv6), IPT_SO_GET_ENTRIES, table, &mut get)?;
    get.drain(..GET_ENTRIES);
    Ok(get)
}

/// The summary of a legacy table of ebtables.
///
/// # Errors
/// As for [`iptables`].
pub fn ebtables(table: &str) -> Result<Summary> {
    let mut info = [0; EBT_REPLACE];
    read_option(level(false), EBT_SO_GET_INFO, table, &mut info)?;
    Ok(Summary(info[..EBT_POINTERS].into()))
}

/// Reads a socket option of a level and address family whose structure begins with the table name.
fn read_option((family, level): (AddressFamily, i32), option: i32, table: &str, info: &mut [u8]) -> Result<()> {
    let socket =
        socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).context("cannot open a raw socket")?;
    // the last byte stays zero
    for (byte, letter) in info[..NAME - 1].iter_mut().zip(table.bytes()) {
        *byte = letter;
    }
    let mut length = libc::socklen_t::try_from(info.len())?;
    // SAFETY: the pointer is valid for writing `length` bytes, and any bytes are a valid array
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, info.as_mut_ptr().cast(), &raw mut length) };
    Errno::result(result).with_context(|| format!("the kernel does not report the table '{table}'"))?;
    Ok(())
}

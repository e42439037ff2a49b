//! The summary of a table of ip_tables, ip6_tables or ebtables: getsockopt(2) as the legacy tools use it.
#![allow(unsafe_code, reason = "getsockopt(2) with options that no crate supports")]
use super::Summary;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::os::fd::AsRawFd;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO` (`linux/netfilter_ipv4/ip_tables.h`).
const IPT_SO_GET_INFO: i32 = 64;
/// `EBT_SO_GET_INFO` (`linux/netfilter_bridge/ebtables.h`).
const EBT_SO_GET_INFO: i32 = 128;
/// `XT_TABLE_MAXNAMELEN` and `EBT_TABLE_MAXNAMELEN`, in bytes.
const NAME: usize = 32;
/// `struct ipt_getinfo`, in bytes: the name, valid_hooks, `hook_entry[5]`, `underflow[5]`, num_entries, size.
const GETINFO: usize = NAME + 13 * 4;
/// `struct ebt_replace` of a 64-bit kernel, in bytes.
const EBT_REPLACE: usize = 120;
/// Offset of its first pointer: after the name, valid_hooks, nentries, entries_size and padding.
const EBT_POINTERS: usize = 48;

/// The summary of a legacy table of iptables or ip6tables. The kernel loads the table's module if needed.
///
/// # Errors
/// When the kernel has no such table, or the process lacks `CAP_NET_ADMIN`.
pub fn iptables(table: &str, ipv6: bool) -> Result<Summary> {
    let (family, level) = match ipv6 {
        false => (AddressFamily::Inet, libc::IPPROTO_IP),
        true => (AddressFamily::Inet6, libc::IPPROTO_IPV6),
    };
    ask::<GETINFO>(family, level, IPT_SO_GET_INFO, table).map(|info| Summary(info[..].into()))
}

/// The number of rules in a legacy table of iptables or ip6tables, from its summary.
#[must_use]
pub fn rules(Summary(info): &Summary) -> Option<u32> {
    // behind the name, valid_hooks, `hook_entry[5]` and `underflow[5]`
    info.get(NAME + 11 * 4..)?.first_chunk().map(|count| u32::from_ne_bytes(*count))
}

/// The summary of a legacy table of ebtables.
///
/// # Errors
/// As for [`iptables`].
pub fn ebtables(table: &str) -> Result<Summary> {
    let info = ask::<EBT_REPLACE>(AddressFamily::Inet, libc::IPPROTO_IP, EBT_SO_GET_INFO, table)?;
    Ok(Summary(info[..EBT_POINTERS].into()))
}

/// Reads a socket option whose structure begins with the table name.
fn ask<const SIZE: usize>(family: AddressFamily, level: i32, option: i32, table: &str) -> Result<[u8; SIZE]> {
    let socket =
        socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).context("cannot open a raw socket")?;
    let mut info = [0; SIZE];
    // the last byte stays zero
    for (byte, letter) in info[..NAME - 1].iter_mut().zip(table.bytes()) {
        *byte = letter;
    }
    let mut length = libc::socklen_t::try_from(SIZE)?;
    // SAFETY: the pointer is valid for writing `length` bytes, and any bytes are a valid array
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, info.as_mut_ptr().cast(), &raw mut length) };
    Errno::result(result).with_context(|| format!("the kernel does not report the table '{table}'"))?;
    Ok(info)
}

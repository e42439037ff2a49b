//! The process of a tool: started in a group of its own, and killed with that group.
#![allow(unsafe_code, reason = "pidfd_open(2)")]
use super::{Extras, search_path};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// Starts a program. This does not use fork(2), which copies the page tables: with the rules of 1,000 guests that takes
/// milliseconds.
pub(super) fn spawn(program: &Path, args: &[&str], streams: [&File; 3], extras: Extras<'_>) -> io::Result<Pid> {
    let mut actions = PosixSpawnFileActions::init()?;
    for (number, stream) in (0..).zip(streams) {
        actions.add_dup2(stream.as_raw_fd(), number)?;
    }
    if let Some(file) = extras.file {
        actions.add_dup2(file.as_raw_fd(), 3)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    // Rust programs ignore it
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    let words = [program.as_os_str()].into_iter().chain(args.iter().map(OsStr::new));
    let words: Vec<CString> = words.map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>()?;
    let mut set: Vec<(OsString, OsString)> = vec![("LC_ALL".into(), "C".into()), ("PATH".into(), search_path())];
    set.extend(extras.variable.map(|(name, value)| (name.into(), value.into())));
    let is_set = |name: &OsStr| set.iter().any(|(one, _)| one == name);
    let inherited: Vec<_> = std::env::vars_os().filter(|(name, _)| !is_set(name)).collect();
    let variables =
        inherited.into_iter().chain(set).map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let variables: Vec<CString> = variables.map(CString::new).collect::<Result<_, _>>()?;
    Ok(posix_spawn(program, &actions, &attributes, &words, &variables)?)
}

/// A process group that is killed on drop, also if reading the output of its leader panics.
struct ProcessGroup(Pid);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}

/// Waits for the child's end and reaps it; `until_end` returns whether it ended in time. `None` if it did not end and was
/// killed.
pub(super) fn wait(child: Pid, until_end: impl FnOnce(Pid) -> io::Result<bool>) -> io::Result<Option<ExitStatus>> {
    let group = ProcessGroup(child);
    let ended = until_end(child);
    // the group id cannot be reused yet: the leader has not been reaped
    drop(group);
    let status = loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::Exited(_, code)) => break ExitStatus::from_raw(code << 8),
            Ok(WaitStatus::Signaled(_, signal, _)) => break ExitStatus::from_raw(signal as i32),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    Ok(ended?.then_some(status))
}

/// A descriptor that becomes readable when the child ends.
pub(super) fn pidfd(child: Pid) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the descriptor was just opened and has no other owner
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits for the child's end; false if it is not within the limit.
pub(super) fn ended_within(child: Pid, limit: Duration) -> io::Result<bool> {
    let ended = pidfd(child)?;
    readable_until(&mut [PollFd::new(ended.as_fd(), PollFlags::POLLIN)], Instant::now() + limit)
}

/// Waits until one of the descriptors is readable; false if none is before the deadline.
pub(super) fn readable_until(descriptors: &mut [PollFd<'_>], deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
        match poll(descriptors, timeout) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(0) if !left.is_zero() && deadline > Instant::now() => {}
            Ok(ready) => return Ok(ready > 0),
        }
    }
}

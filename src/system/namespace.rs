//! Network namespaces.
use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use std::thread::scope;

/// Runs `work` in a new network namespace, whose only interface is a loopback that is down. Child processes inherit the
/// namespace; the kernel frees it when the last process has ended (network_namespaces(7)).
///
/// # Errors
/// When the namespace cannot be created, for example without CAP_SYS_ADMIN.
pub fn in_new_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let thread = || {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot create a network namespace")?;
        Ok(work())
    };
    scope(|threads| threads.spawn(thread).join())
        .map_err(|_| anyhow!("the thread panicked; this is a bug in this program"))?
}

//! Network namespaces.
use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use std::thread::scope;

/// Does something in a network namespace of its own, empty but for a loopback that is down. Processes started there are in
/// it as well; it is gone with the last of them (network_namespaces(7)).
///
/// # Errors
/// When there can be none, as without CAP_SYS_ADMIN.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let thread = || {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        Ok(work())
    };
    scope(|threads| threads.spawn(thread).join()).map_err(|_| anyhow!("a defect of this program ended it"))?
}

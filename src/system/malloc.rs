//! Limits the amount of freed memory that the allocator keeps.
#![allow(unsafe_code, reason = "mallopt(3)")]

/// Makes glibc return freed memory to the kernel early, because a daemon that runs for months needs much memory only rarely.
///
/// Call it before starting other threads.
pub fn limit_free_memory() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        // few arenas: threads reuse each other's freed memory
        (libc::M_ARENA_MAX, 2),
        // in bytes: large buffers, such as the output of tools, are unmapped when freed
        (libc::M_MMAP_THRESHOLD, 256 << 10),
        (libc::M_TRIM_THRESHOLD, 2 << 20),
        (libc::M_TOP_PAD, 1 << 20),
    ] {
        // SAFETY: mallopt takes two integers; an unknown option or value has no effect
        unsafe { libc::mallopt(option, value) };
    }
}

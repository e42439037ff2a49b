//! What the allocator keeps of memory that is free again.
#![allow(unsafe_code, reason = "mallopt(3)")]

/// Makes glibc's allocator keep little: a process that lives for months needs much memory only now and then.
///
/// To be called before there are other threads.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        // threads share what they free
        (libc::M_ARENA_MAX, 2),
        // in bytes: texts of tools and the like are given back as a whole
        (libc::M_MMAP_THRESHOLD, 256 << 10),
        (libc::M_TRIM_THRESHOLD, 2 << 20),
        (libc::M_TOP_PAD, 1 << 20),
    ] {
        // SAFETY: mallopt takes two numbers; an option or value that it does not know changes nothing
        unsafe { libc::mallopt(option, value) };
    }
}

//! Fewer rounds of a test on an emulated machine.

/// The rounds of a test: all of them, or with `PVEFW_SHORT_TESTS` every third. As each round's kind alternates with the number
/// of variants and families, which is not divisible by three, all kinds remain.
pub fn rounds<T>(all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    let short = std::env::var_os("PVEFW_SHORT_TESTS").is_some();
    all.into_iter().step_by(if short { 3 } else { 1 })
}

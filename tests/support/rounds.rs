//! Fewer rounds of a test on an emulated machine.

/// The rounds of a test: all of them, or with `PVEFW_SHORT_TESTS` every third. The rounds alternate between variants and
/// families, whose number is not divisible by three, so each combination still occurs.
pub fn rounds<T>(all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    let short = std::env::var_os("PVEFW_SHORT_TESTS").is_some();
    all.into_iter().step_by(if short { 3 } else { 1 })
}

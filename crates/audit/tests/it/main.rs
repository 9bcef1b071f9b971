//! One binary for all tests of this crate: DataFusion is linked once.

#![expect(
    clippy::print_stdout,
    reason = "tests tell how much they compared, and what they left out"
)]

mod counted;
mod figures_differ_from_the_recount;
mod other_engines_read_the_lake;
#[path = "../../../count/tests/traffic/mod.rs"]
mod traffic;

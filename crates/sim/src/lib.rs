//! The house without its edge, on disks that fail: one seed, one history, judged by plain sets.
//!
//! ```text
//! traffic, decisions --> eventlog --> pipeline --> rollup        two disks and an object store,
//!                           |            \-------> lake          which fail as the seed has it
//!                           v                        |
//!                 truth: read back at once,          v
//!                 judged by the naive recount  --> judge
//! ```
//!
//! [`run`] lives through one history: records come, epochs are folded, checkpoints are written, the
//! log lets go of segments, and anywhere in between a sync or a write or a put fails, a disk is full,
//! the power goes or the process is killed. While it goes on, every verdict is held against the truth
//! as it is given, and every sum against the records that were read. At its end rollup and lake are
//! opened once more and compared with the truth row by row.
//!
//! The truth is [`reckon_count::naive::Recount`], which keeps everything in sets and maps, and shares
//! no code with what it judges. A failure that nobody has armed is a breach as well.

mod decisions;
mod feeds;
mod judge;
mod machine;
mod random;
mod store;
mod story;
mod sweep;
mod tally;
mod traffic;
mod truth;
mod world;

pub use feeds::Mutation;
pub use sweep::sweep;
pub use tally::{Compared, Happening, Tally};

/// Something was not as it should be; the seed brings it back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {what}")]
pub struct Breach {
    /// Of which history.
    pub seed: u64,
    /// What was found.
    pub what: String,
}

/// Lives through the history of `seed`, telling it step by step to `listener`, where there is one;
/// with a `mutation`, one epoch is tampered with.
pub fn run(
    seed: u64,
    mutation: Option<Mutation>,
    listener: Option<&mut dyn FnMut(&str)>,
) -> Result<Tally, Breach> {
    let world = world::World::new(seed, mutation, story::Story::new(listener));
    world.run().map_err(|what| Breach { seed, what })
}

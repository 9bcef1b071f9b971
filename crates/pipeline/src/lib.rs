//! Reads the log, folds it, and hands each epoch once to everyone who keeps something of it.
//!
//! ```text
//!            bounds, synced          records, verdicts, sums
//!   log --> epoch journal --> fold --> rules --> subscriber, subscriber, ...
//!                              |         |          |
//!                              +-- checkpoint <-----+  first the subscribers persist,
//!                                                      then the memory of both stages at that epoch
//! ```
//!
//! Decision: no two-phase commit. What an epoch reads is durable before it is applied, folding is a
//! pure function, and a subscriber knows the epochs it has; so after a crash the same epochs are made
//! again from the last checkpoint, and whoever has one already says so. `docs/exactly-once.md` tells
//! what a crash at each point leaves.
//!
//! A [`Pipeline`] is stepped by hand in tests and by a thread in the binary ([`Pipeline::spawn`]);
//! whoever wants to know how far it is looks at [`Progress`].

mod bytes;
mod checkpoint;
mod driver;
mod epoch;
mod error;
mod journal;
mod judgement;
mod minutes;
mod numbered;
mod opaque;
mod options;
mod pipeline;
mod progress;
mod recount;
mod verify;

pub use checkpoint::newest_checkpoint;
pub use driver::Running;
pub use error::Error;
pub use judgement::Unjudged;
pub use opaque::{OpaqueIds, OpaqueStats};
pub use options::Options;
pub use pipeline::{Pipeline, Stepped};
pub use progress::{Hold, Progress, Reached, Snapshot, Status};
pub use recount::recount;
pub use verify::{Report, verify};

//! Decides what each record is worth: duplicates, verdicts, sums. Pure: no I/O, no clock, no
//! randomness.
//!
//! One function does it, [`fold`]: it takes the state, a batch of records in the order of each strand, and what is
//! already known of the batch's opaque ids, and gives one verdict a record and the sums to add.
//!
//! Decision: everything the state remembers is kept by [`Strand`], one slot of one topic, and a strand's
//! memory is moved only by that strand's records. So any partitioning, batching or restart gives the
//! same verdicts, also where a log keeps topics apart, and a state can be [split](State::split) and
//! [merged](State::merge) along slots. Time is the strand's own never-falling clock, the highest
//! receive time among its records; nothing else expires anything.
//!
//! | id | remembered as | forgotten |
//! |---|---|---|
//! | minted (impression, view, click with claims) | one bit in [`IdSet`] by (hour, incarnation), kind | hour by hour, [`Policy::minted_horizon`] |
//! | opaque (event id; install, session, number) | [`FirstCopy`] under an [`OpaqueKey`], kept by the caller | [`Policy::opaque_horizon`] |
//! | unsigned clicks that count | person and ad, until the window has passed | [`Policy::unsigned_window`] |
//! | record ids of the log | highest number by appender | [`Policy::appender_horizon`] |
//!
//! [`naive::Recount`] judges the same records with plain sets and maps and shares no code with the
//! fold; tests and the proof of a run hold one against the other.

mod bits;
mod fold;
mod format;
pub mod naive;
mod opaque;
mod policy;
pub mod rules;
mod slot;
mod state;
mod strand;
mod totals;
mod wire;

pub use bits::IdSet;
pub use fold::{Folded, fold, fold_into};
pub use format::{FormatError, STATE_VERSION};
pub use opaque::{Asked, FirstCopy, OpaqueKey, ask, opaque_key};
pub use policy::Policy;
pub use state::State;
pub use strand::Strand;
pub use totals::Totals;

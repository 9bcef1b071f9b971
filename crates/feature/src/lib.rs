//! What a model may know: how inputs are named, counted, kept and read.
//!
//! Three things stand here. [`Input`] turns names and values into the hashes a linear model takes.
//! [`Counters`] are what is known of an entity's past, smoothed and decayed. [`FeatureStore`] is the
//! seam that keeps them online: in this process today, in other engines behind the same promises.
//!
//! Beside them stands the plan of features ([`Plan`]): what is remembered of whom, and which columns a
//! row has. [`Pasts`] keep that in this process, and one pure computation ([`Plan::rows`]) makes rows
//! of it for serving, training and backfill.
//!
//! A store is a cache of what the log can rebuild. All counters of one read belong to one cut of the
//! log, and the read says which: a row can be computed again from the cut it names.

mod counters;
mod happened;
mod hash;
pub mod memory;
mod past;
mod pasts;
pub mod plan;
mod prefetch;
#[cfg(feature = "redis")]
pub mod redis;
mod row;
pub mod skew;
mod store;
mod subscriber;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

#[cfg(feature = "redis")]
pub use self::redis::Redis;
pub use counters::{Counters, EVENTS_A_MINUTE_MAX, HALF_LIFE_FAST, HALF_LIFE_SLOW, Rate, Smoothed};
pub use happened::{Ad, DWELL_MS_MAX, Happened, Key, Parts};
pub use hash::{Input, Number};
pub use memory::Memory;
pub use pasts::{Change, Pasts, PastsOptions, PastsSubscriber, Seen};
pub use plan::Plan;
pub use row::{Candidate, Request, Rows, Views, ln};
pub use store::{Entity, EntityKind, Error, FeatureStore, Marks, Read, Step, Update};
pub use subscriber::FeatureSubscriber;

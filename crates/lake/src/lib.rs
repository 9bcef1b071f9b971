//! Every record with its verdict as Parquet: the lake. Recounts, training, `sql` and `explain` read it,
//! and so can any other engine.
//!
//! ```text
//! <root>/tenant=1/day=2026-11-21/hour=10/<epochs>-<number>.parquet   records, sorted by ad, ZSTD
//! <root>/revisions/day=2026-11-21/hour=10/<epochs>-<number>.parquet  changed verdicts
//! <root>/manifest/00000000000000000041.json                          what is in; the highest number
//! ```
//!
//! Objects are created, never changed, renamed or appended to; that is what a folder, S3 and a test's
//! store in memory have in common. [`LakeSubscriber`] takes epochs from the pipeline, [`LakeHandle`]
//! asks things of it meanwhile, [`Manifest::latest`] tells a reader which files to read.
//! `docs/lake.md` draws the layout and lists the columns.

mod columns;
#[cfg(feature = "conformance")]
pub mod conformance;
mod erase;
mod error;
mod keeper;
mod manifest;
mod merge;
mod part;
mod place;
mod reader;
#[cfg(feature = "s3")]
mod s3;
mod shared;
mod store;
mod subscriber;
mod verify;

use arrow::datatypes::SchemaRef;

pub use erase::{Erased, ErasedFile, Erasure, ErasureRequest, PersonRows, Traces};
pub use error::LakeError;
pub use keeper::clear;
pub use manifest::{CoveredTo, LakeFile, MANIFEST_VERSION, Manifest, Span, Table};
pub use place::LakePlace;
pub use reader::LakeReader;
#[cfg(feature = "s3")]
pub use s3::{S3Keys, S3Options, S3Versions};
pub use shared::{Covered, Lease};
pub use subscriber::{LakeHandle, LakeSubscriber};
pub use verify::{Damage, Verified, verify};

/// How a lake is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LakeOptions {
    /// A number that no other writer has or had: the leased incarnation.
    pub writer: u64,
    /// Bytes that are gathered before files are written, roughly; about three times as much is held.
    pub buffer_bytes_max: usize,
    /// Compressed bytes that one merge of small files reads.
    pub merge_bytes_max: u64,
    /// How many states back a reader finds all files of, besides those that hold a lease.
    pub states_kept: u64,
}

impl LakeOptions {
    /// The usual bounds, for a writer's number.
    pub const fn new(writer: u64) -> Self {
        LakeOptions {
            writer,
            buffer_bytes_max: 64 << 20,
            merge_bytes_max: 64 << 20,
            states_kept: 8,
        }
    }
}

/// The columns of a table, in order.
pub fn schema(table: Table) -> SchemaRef {
    match table {
        Table::Records => columns::RecordColumns::schema(),
        Table::Revisions => columns::RevisionColumns::schema(),
    }
}

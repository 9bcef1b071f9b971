//! A data set: rows on disk, in chunks that each have a checksum, read one chunk at a time.
//!
//! A file of our own rather than Parquet: every learner takes whole rows, row after row, and reads the
//! same file again and again, in another order each time. So rows lie together within a chunk, a chunk
//! is read with one seek, and nothing has to be decoded.
//!
//! ```text
//! magic "RKTB" | version u8 | schema's length u32 | schema, JSON | crc32c u32 of all before it
//! chunk   rows u32 | numbers f32 | keys u64 | labels u8 | weights f32 | times i64 | groups u64 |
//!         positions u16 | truths f32, NaN: unknown | crc32c u32 of the chunk
//! index   a chunk each: offset u64 | bytes u32 | rows u32 | clicks u32 | first time i64 | last time i64
//! end     index's offset u64 | chunks u32 | is sorted u8 | crc32c u32 of index and end | magic "RKTE"
//! ```
//!
//! Numbers are little-endian; numbers and keys lie row by row. A file comes to be under its name only
//! when it is whole.

mod bytes;
mod cursor;
mod file;
mod rows;
mod writer;

pub use cursor::{Cursor, Order};
pub use file::{ChunkEntry, Table};
pub use rows::{RowRef, Rows, Schema};
pub use writer::TableWriter;

/// Rows of a chunk: some megabytes with 200 columns.
pub const CHUNK_ROWS: usize = 8_192;
/// Columns and fields of a row together.
pub const COLUMNS_MAX: usize = 4_096;

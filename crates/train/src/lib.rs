//! Turns rows that were served into a model: data set, fit, calibrate, judge. Batch only.
//!
//! A data set is a [`Table`]: rows on disk, in the order of their time, read chunk by chunk, so that it
//! may be larger than memory. [`data`] makes one of logs that others wrote, [`split`] cuts it by time
//! without tearing a list apart, [`mod@fit`] learns from its first part, calibrates on its second and never
//! looks at its third, which [`mod@judge`] is given.
//!
//! There is no clock here and no hidden chance: the same table, options and seed make the same bytes.
//! How far work has come is told to a [`Progress`]; what becomes of that is for the caller.

pub mod bundled;
pub mod data;
mod error;
mod evaluate;
pub mod fit;
pub mod judge;
pub mod lake;
pub mod position;
mod progress;
pub mod report;
pub mod split;
pub mod table;

pub use error::TrainError;
pub use evaluate::{Evaluation, Slice, evaluate, for_each_answer};
pub use fit::{Fitted, fit};
pub use judge::{Verdict, judge, judge_bundles};
pub use position::{Examination, Position};
pub use progress::{Progress, Silent};
pub use report::{Report, report};
pub use split::{Parts, Sampling, Share};
pub use table::{Order, RowRef, Rows, Schema, Table, TableWriter};

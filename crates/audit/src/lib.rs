//! Holds the figures against an independent recount of the lake, and tells what is behind each.
//!
//! ```text
//! lake (Parquet) --SQL--> recount: own duplicates, own expiry, own rules --+
//!                                                                          +--> report: equal, or which
//! rollup (figures) --------------------------------------------------------+    figure, why, the mend
//! ```
//!
//! Decision: the recount is SQL over the files, run by DataFusion. It shares no code and no state with
//! `count`: what the fold remembers in bitmaps and moves record by record is said here as windows over
//! sets. An error would have to be made twice, in two languages, to go unseen.
//!
//! Everything is asynchronous and reads only; whoever calls brings a runtime. What is read is one state
//! of the lake, so a writer may go on meanwhile.

mod auditor;
mod compare;
mod error;
mod explain;
mod figure;
mod function;
mod recount;
mod report;
mod rules;
mod sums;
mod table;
mod unseen;

pub use auditor::{AuditOptions, Auditor};
pub use compare::{Coverage, late_knowledge};
pub use error::AuditError;
pub use explain::{Explained, ExplainedRecord, ExplainedRevision};
pub use figure::{Checksum, Figure, FigureKey, metrics_table, rollup_figures};
pub use recount::{BeyondHorizon, Horizons, Recount, RecountRange};
pub use report::{Amount, Cause, Difference, GroupDifference, Mend, RecordDifference, Report};
pub use rules::{RapidKey, Rule, RuleSet};
pub use sums::SUMS_MAX;
pub use table::Answer;
pub use unseen::UnseenClick;

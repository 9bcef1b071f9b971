//! Which model answers: it learns online from what is counted, is published in numbered snapshots,
//! and is judged.
//!
//! ```text
//!   predictions ---> +---------+     +---------+  learn at the impression,
//!   impressions ---> | Pending |---> | Learner |  correct at the click
//!   clicks --------> |  Early  |     +---------+
//!                    +---------+      |       | numbered snapshots
//!                     rows wait       v       v
//!                     for labels,
//!                     labels for rows
//!                                  History   Models ---> whoever scores takes one and keeps it
//!                                                        for a whole request
//! ```
//!
//! The learner is one of those to whom the pipeline hands each epoch, so it learns from counted
//! events alone, each once, in the order of the log: the same log makes the same model.

mod early;
mod history;
mod learner;
mod models;
mod pending;
mod state;

pub use history::{Bucket, History};
pub use learner::{Learner, Options, Recall};
pub use reckon_model::LinearOptions;

pub use models::{Models, Online, Report};
pub use state::{Report as StateReport, verify};

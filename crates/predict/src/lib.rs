//! Answers "which, in which order, at what price": scores candidates, explores, chooses.
//!
//! ```text
//!   request, candidates --> counters of one cut --> rows --> log odds --> probabilities (place 1)
//!                                                              |
//!                                    prices, a seed -----------+--> choice, with its propensities
//! ```
//!
//! What the user, the page and the moment bring is the same for all candidates: it is hashed and
//! summed once a request. Randomness is an argument; nothing here reads a clock.

mod champion;
mod choice;
mod columns;
mod freshness;
mod row;
mod score;

pub use champion::{Champion, ChampionError};
pub use choice::{Chosen, Exploration, best, choose};
pub use freshness::Freshness;
pub use row::{Candidate, Request, Value};
pub use score::{Predictor, Score, Scores};

//! Factorisation machines: what two fields together say of a click, without a weight for each pair.
//!
//! A pair of values is too rare to have a weight of its own. So each value has a vector, and a pair
//! weighs what the product of its two vectors says; a pair that was never seen still has a weight.
//!
//! ```text
//! FM   (Rendle 2010)      bias + sum of x_i w_i + sum over pairs of x_i x_j <v_i, v_j>
//! FFM  (Juan et al. 2016) bias + sum of x_i w_i + sum over pairs of x_i x_j <v_i(field of j), v_j(field of i)>
//! ```
//!
//! A row has keys (one a categorical field, 0 where it is missing; `x` is 1) and numeric columns (NaN
//! where it is missing; `x` is the number, which the caller brings to a scale near 1). Both learn by
//! Adagrad with an accumulator for each weight.
//!
//! # Memory is the cost
//!
//! A row of 20 fields has 190 pairs: with vectors of 4 that is 760 products, which a core does in the
//! time of one miss of its cache. So it is the layout that decides. Everything of a key is one slot
//! that begins at a cache line: first all its weights, then their accumulators. Scoring touches the
//! first half alone, all slots of a row are asked for before any is used, and what a request's
//! candidates share is fetched and multiplied out once ([`Fm::score_many`], [`Ffm::score_many`]).
//!
//! # What was never seen says nothing
//!
//! A slot is all zero until a row with its key is learned; only then its vector gets its small random
//! start, which depends on the seed and the slot alone. So an unknown key adds exactly nothing, a new
//! model costs no memory but what it learns, and the state holds only slots that were learned.

mod entry;
mod ffm;
mod fm;
mod options;
mod state;
mod table;
mod wide;

pub use entry::{Row, Scratch};
pub use ffm::Ffm;
pub use fm::Fm;
pub use options::{FactorError, FactorOptions};

#[cfg(test)]
mod tests;

//! Clicks depend on where a row stood; a model is asked what they would be at place 1.
//!
//! What is assumed throughout is that a row is clicked where it is looked at and liked: the place says
//! how likely it is looked at, everything else how likely it is liked (the examination hypothesis:
//! Richardson, Dominowska, Ragno, WWW 2007). Place 1 is the measure: the chance there is 1, so what a
//! model gives for "liked" is the probability of a click at place 1.
//!
//! Three ways lead there, and one leads elsewhere ([`Position`]). The last two rest on one sentence:
//! **a row that was not clicked counts as much as it is likely to have been looked at.**
//!
//! - Regression EM (Wang et al., "Position bias estimation for unbiased learning to rank in personal
//!   search", WSDM 2018) has this as its expectation. With `t` the chance of the place and `g` what the
//!   model gives at the moment, that is `t (1 - g) / (1 - t g)`, and the gradient of a row so weighed is
//!   the one of the product `t g` itself (Fisher's identity): whatever learns weighted rows learns the
//!   tower, be it lines, factors, a network or trees, and none needs a gradient of its own for it.
//! - How likely a place is looked at is learned beside: its clicks over those that the model would have
//!   expected of the same rows at place 1. EM's own step for it divides by all rows of a place instead of
//!   those that would be clicked, and needs hundreds of rounds where clicks are rare.
//! - With one in `n` of the rows not clicked, each counts the same way among those that are left:
//!   `+ ln w` corrects them as ever.

mod examination;
mod tower;
mod treatment;

use reckon_event::name_key;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use self::examination::Examination;
pub(crate) use self::treatment::Treatment;
use crate::{Rows, Schema};

/// Classes of places: 0 is "nobody knows"; the last is of all that are further down.
pub const PLACES: usize = 64;

/// What the field is called that a place is while learning.
const FIELD: &str = "position as shown";

/// What is done about the place a row was shown at. Wherever something is done, a model is asked about
/// place 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Position {
    /// Nothing: a probability is that of the places at which such rows stood.
    #[default]
    Ignored,
    /// The place is one more field while learning, and 1 when scoring. Assumes nothing of how places
    /// work, and takes places apart from what else it knows only as far as the model does.
    Feature,
    /// Looked at times liked: how likely each place is looked at is learned with the model, and left out
    /// when scoring.
    Tower,
    /// A clicked row stands for all that would have been clicked, had they been looked at.
    Weights {
        /// No click weighs more, at least 1.
        clip: f32,
        /// Which ad stood where was drawn by chance: the rates of places are then what places do.
        /// Otherwise it is learned first, as by [`Position::Tower`] with a linear model.
        is_shuffled: bool,
    },
}

impl Position {
    /// Weights of at most 10, places learned first.
    pub const WEIGHTS: Position = Position::Weights { clip: 10.0, is_shuffled: false };

    /// Its name, as options and reports have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Position::Ignored => "ignored",
            Position::Feature => "feature",
            Position::Tower => "tower",
            Position::Weights { .. } => "weights",
        }
    }

    /// What rows look like with what it adds to them.
    pub(crate) fn schema(self, mut schema: Schema) -> Schema {
        if self == Position::Feature {
            schema.fields.push(FIELD.to_owned());
        }
        schema
    }

    /// Adds what it adds to encoded rows: as they were shown, or all at one place.
    pub(crate) fn shape(self, rows: &mut Rows, place: Option<u16>) {
        if self == Position::Feature {
            append(rows, |position| key(place.unwrap_or(position)));
        }
    }
}

/// The place's class.
fn class(position: u16) -> usize {
    usize::from(position).min(PLACES - 1)
}

/// The key of a place; of one that nobody knows, that it is missing.
pub fn key(position: u16) -> u64 {
    match class(position) {
        0 => 0,
        place => xxh3_64_with_seed(&(place as u64).to_le_bytes(), name_key(FIELD)).max(1),
    }
}

/// Appends a key to every row.
fn append(rows: &mut Rows, key: impl Fn(u16) -> u64) {
    let mut keys = Vec::with_capacity(rows.keys.len() + rows.len());
    for (index, &position) in rows.positions.iter().enumerate() {
        keys.extend_from_slice(&rows.keys[index * rows.fields..(index + 1) * rows.fields]);
        keys.push(key(position));
    }
    rows.keys = keys;
    rows.fields += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowRef;

    #[test]
    fn a_place_is_one_more_key_and_unknown_is_missing() {
        let schema = Schema { fields: vec!["ad".to_owned()], ..Schema::default() };
        let mut rows = Rows::new(&schema);
        for position in [3, 0, 700, 63] {
            let row = RowRef {
                numeric: &[],
                keys: &[7],
                label: false,
                weight: 1.0,
                time: 0,
                group: 0,
                position,
                truth: f32::NAN,
            };
            rows.push(row);
        }
        let mut shown = rows.clone();
        Position::Feature.shape(&mut shown, None);
        assert_eq!(Position::Feature.schema(schema).fields.len(), shown.fields);
        assert_eq!(shown.keys, [7, key(3), 7, 0, 7, key(63), 7, key(63)]);
        let mut first = rows.clone();
        Position::Feature.shape(&mut first, Some(1));
        assert_eq!(first.keys, [7, key(1), 7, key(1), 7, key(1), 7, key(1)]);
        Position::Tower.shape(&mut rows, None);
        assert_eq!(rows.keys, [7; 4]);
    }
}

//! The row a model was served with, as it stands in the payload of a prediction record.
//!
//! A model is trained on the row it was served, never on one computed again later. So the row is
//! logged: the hashed inputs of the online model, the columns that other models are trained on, the
//! scores, the models that made them, and the cuts of the log that all of it was read at. One record
//! holds the candidates of one request that were minted; what they share is written once.
//!
//! ```text
//! version u8 | 0 u8 | prediction u64 | model u32 | delta u32 | at i64 | plan u64 | cut | columns' cut |
//! shared row | shared columns | candidates u16 | candidates
//! candidate: index u16 | ad u64 | logit f32 | probability f32 | propensity f32 | row | columns
//! cut:       partitions u16 | offset u64 each            (columns' cut: 65,535 partitions = the cut)
//! row:       flags u16 | numbers u16 | hash u32 each flag | (hash u32, value f32) each number
//! columns:   numbers u16 | keys u16 | f32 each number, any bits | u64 each key
//! ```
//!
//! A flag is an input whose value is 1, which most are. Version 1 had neither time, plan, columns nor
//! their cut; it is still read.

use crate::{DecodeError, Timestamp};

/// The version this build writes.
const VERSION: u8 = 2;
/// The version before there were columns.
const VERSION_WITHOUT_COLUMNS: u8 = 1;
/// In place of a count of partitions: this cut is the one before.
const SAME_CUT: u16 = u16::MAX;
/// How many candidates one request can have: the low bits of a prediction's id.
pub const CANDIDATES_MAX: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 10;

/// One input of a model: the hash of its name (and of its value, where that is a category), and its
/// number, which is 1 for a category.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feature {
    /// Where its weight stands, before the table's size is known.
    pub hash: u32,
    /// Its number.
    pub value: f32,
}

impl Feature {
    /// An input that is there.
    pub const fn flag(hash: u32) -> Self {
        Feature { hash, value: 1.0 }
    }

    /// The input that says at which place from 1 on a row was shown; `None` where that is unknown.
    /// It is no part of the logged row: a score is for place 1, what is learned is what was shown.
    pub const fn place(place: u16) -> Option<Self> {
        match place {
            0 => None,
            _ => Some(Feature::flag(
                if place < PLACE_MAX { place as u32 } else { PLACE_MAX as u32 }
                    .wrapping_mul(0x9e37_79b1),
            )),
        }
    }
}

/// The columns of a row that a plan of features computes: numbers, where NaN says "missing", and keys
/// of categories, where 0 does. Two are equal where all their bits are.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// One a numeric column, in the order of the plan.
    pub numeric: Vec<f32>,
    /// One a categorical field, in the order of the plan.
    pub keys: Vec<u64>,
}

impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        let bits = |columns: &Self| columns.numeric.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
        self.keys == other.keys && bits(self) == bits(other)
    }
}

impl Columns {
    /// Length of its encoding in bytes.
    fn encoded_bytes(&self) -> usize {
        4 + 4 * self.numeric.len() + 8 * self.keys.len()
    }
}

/// Places from here on are one.
const PLACE_MAX: u16 = 32;

/// The id of one candidate's prediction: the request's, with the candidate's index in the low bits.
pub const fn prediction_id(request: u64, index: u16) -> u64 {
    request << INDEX_BITS | index as u64
}

/// The id of the request a prediction belongs to.
pub const fn prediction_request(prediction: u64) -> u64 {
    prediction >> INDEX_BITS
}

/// Which candidate of its request a prediction is of.
pub const fn prediction_index(prediction: u64) -> u16 {
    (prediction & ((1 << INDEX_BITS) - 1)) as u16
}

/// What one request's minted candidates were scored with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServedRows {
    /// The request: see [`prediction_request`].
    pub request: u64,
    /// The base model's version; 0 where none scored.
    pub model_version: u32,
    /// The online model's version; 0 where none scored.
    pub delta_version: u32,
    /// The moment it was all computed for; 0 in rows of version 1.
    pub at: Timestamp,
    /// Version of the plan that names the columns; 0 where there are none.
    pub plan: u64,
    /// The offset behind the last record of each partition that the counters among the inputs have
    /// seen; empty where no counter was read.
    pub cut: Vec<u64>,
    /// The same of what the columns were computed from.
    pub columns_cut: Vec<u64>,
    /// Inputs of the user, the page and the moment: the same for all candidates.
    pub shared: Vec<Feature>,
    /// Columns of the user, the page and the moment: the plan's first.
    pub shared_columns: Columns,
    /// The candidates.
    pub candidates: Vec<ServedCandidate>,
}

/// One minted candidate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServedCandidate {
    /// Its place among the request's candidates, below [`CANDIDATES_MAX`].
    pub index: u16,
    /// Key of the ad.
    pub ad_key: u64,
    /// The model's log odds for position 1, before calibration.
    pub logit: f32,
    /// The calibrated probability for position 1.
    pub probability: f32,
    /// The probability with which it was chosen for its place.
    pub propensity: f32,
    /// Inputs of this candidate alone.
    pub features: Vec<Feature>,
    /// Columns of this candidate alone: those of the plan behind the shared ones.
    pub columns: Columns,
}

impl ServedCandidate {
    /// Length of its encoding in bytes.
    pub fn encoded_bytes(&self) -> usize {
        22 + row_bytes(&self.features) + self.columns.encoded_bytes()
    }
}

impl ServedRows {
    /// Length of its encoding in bytes.
    pub fn encoded_bytes(&self) -> usize {
        let candidates: usize = self.candidates.iter().map(ServedCandidate::encoded_bytes).sum();
        let cuts = 4
            + 8 * self.cut.len()
            + if self.is_of_one_cut() { 0 } else { 8 * self.columns_cut.len() };
        let shared = row_bytes(&self.shared) + self.shared_columns.encoded_bytes();
        34 + cuts + shared + 2 + candidates
    }

    fn is_of_one_cut(&self) -> bool {
        self.cut == self.columns_cut
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, 0]);
        out.extend_from_slice(&self.request.to_le_bytes());
        out.extend_from_slice(&self.model_version.to_le_bytes());
        out.extend_from_slice(&self.delta_version.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&self.plan.to_le_bytes());
        put_cut(out, &self.cut);
        if self.is_of_one_cut() {
            out.extend_from_slice(&SAME_CUT.to_le_bytes());
        } else {
            put_cut(out, &self.columns_cut);
        }
        put_row(out, &self.shared);
        put_columns(out, &self.shared_columns);
        put_count(out, self.candidates.len());
        for candidate in &self.candidates {
            out.extend_from_slice(&candidate.index.to_le_bytes());
            out.extend_from_slice(&candidate.ad_key.to_le_bytes());
            for number in [candidate.logit, candidate.probability, candidate.propensity] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            put_row(out, &candidate.features);
            put_columns(out, &candidate.columns);
        }
    }

    /// Reads a payload back.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_with(Reader { bytes: payload, has_columns: false, wants_columns: true })
    }

    /// Reads a payload back without its columns, which the online model does not take: rows that wait
    /// for their labels are many.
    pub fn decode_inputs(payload: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_with(Reader { bytes: payload, has_columns: false, wants_columns: false })
    }

    fn decode_with(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let [version, _] = reader.take()?;
        if ![VERSION, VERSION_WITHOUT_COLUMNS].contains(&version) {
            return Err(DecodeError::Version(version));
        }
        reader.has_columns = version == VERSION;
        let mut rows = ServedRows {
            request: u64::from_le_bytes(reader.take()?),
            model_version: u32::from_le_bytes(reader.take()?),
            delta_version: u32::from_le_bytes(reader.take()?),
            ..ServedRows::default()
        };
        if reader.has_columns {
            rows.at = Timestamp(i64::from_le_bytes(reader.take()?));
            rows.plan = u64::from_le_bytes(reader.take()?);
        }
        let partitions = reader.count()?;
        rows.cut = reader.cut(partitions)?;
        if reader.has_columns {
            rows.columns_cut = match reader.count()? {
                count if count == usize::from(SAME_CUT) => rows.cut.clone(),
                count => reader.cut(count)?,
            };
        }
        rows.shared = reader.row()?;
        rows.shared_columns = reader.columns()?;
        rows.candidates = (0..reader.count()?)
            .map(|_| reader.candidate())
            .collect::<Result<Vec<_>, DecodeError>>()?;
        if !reader.bytes.is_empty() {
            return Err(DecodeError::Field("payload"));
        }
        Ok(rows)
    }
}

fn row_bytes(row: &[Feature]) -> usize {
    4 + row.iter().map(|feature| if feature.value == 1.0 { 4 } else { 8 }).sum::<usize>()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("rows are bounded long before 65,536");
    out.extend_from_slice(&count.to_le_bytes());
}

fn put_cut(out: &mut Vec<u8>, cut: &[u64]) {
    put_count(out, cut.len());
    for offset in cut {
        out.extend_from_slice(&offset.to_le_bytes());
    }
}

fn put_columns(out: &mut Vec<u8>, columns: &Columns) {
    put_count(out, columns.numeric.len());
    put_count(out, columns.keys.len());
    for number in &columns.numeric {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for key in &columns.keys {
        out.extend_from_slice(&key.to_le_bytes());
    }
}

fn put_row(out: &mut Vec<u8>, row: &[Feature]) {
    let flags = row.iter().filter(|feature| feature.value == 1.0);
    let numbers = row.iter().filter(|feature| feature.value != 1.0);
    put_count(out, flags.clone().count());
    put_count(out, numbers.clone().count());
    for feature in flags {
        out.extend_from_slice(&feature.hash.to_le_bytes());
    }
    for feature in numbers {
        out.extend_from_slice(&feature.hash.to_le_bytes());
        out.extend_from_slice(&feature.value.to_le_bytes());
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    has_columns: bool,
    wants_columns: bool,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.bytes = tail;
        Ok(*head)
    }

    fn count(&mut self) -> Result<usize, DecodeError> {
        Ok(usize::from(u16::from_le_bytes(self.take()?)))
    }

    fn cut(&mut self, partitions: usize) -> Result<Vec<u64>, DecodeError> {
        (0..partitions).map(|_| Ok(u64::from_le_bytes(self.take()?))).collect()
    }

    fn columns(&mut self) -> Result<Columns, DecodeError> {
        if !self.has_columns {
            return Ok(Columns::default());
        }
        let (numbers, keys) = (self.count()?, self.count()?);
        if self.bytes.len() < numbers * 4 + keys * 8 {
            return Err(DecodeError::Truncated);
        }
        if !self.wants_columns {
            self.bytes = &self.bytes[numbers * 4 + keys * 8..];
            return Ok(Columns::default());
        }
        let numeric =
            (0..numbers).map(|_| Ok(f32::from_le_bytes(self.take()?))).collect::<Result<_, _>>()?;
        let keys =
            (0..keys).map(|_| Ok(u64::from_le_bytes(self.take()?))).collect::<Result<_, _>>()?;
        Ok(Columns { numeric, keys })
    }

    fn row(&mut self) -> Result<Vec<Feature>, DecodeError> {
        let (flags, numbers) = (self.count()?, self.count()?);
        if self.bytes.len() < flags * 4 + numbers * 8 {
            return Err(DecodeError::Truncated);
        }
        let mut row = Vec::with_capacity(flags + numbers);
        for _ in 0..flags {
            row.push(Feature::flag(u32::from_le_bytes(self.take()?)));
        }
        for _ in 0..numbers {
            let hash = u32::from_le_bytes(self.take()?);
            row.push(Feature { hash, value: self.finite()? });
        }
        Ok(row)
    }

    fn finite(&mut self) -> Result<f32, DecodeError> {
        let number = f32::from_le_bytes(self.take()?);
        if number.is_finite() { Ok(number) } else { Err(DecodeError::Field("number")) }
    }

    fn candidate(&mut self) -> Result<ServedCandidate, DecodeError> {
        Ok(ServedCandidate {
            index: u16::from_le_bytes(self.take()?),
            ad_key: u64::from_le_bytes(self.take()?),
            logit: self.finite()?,
            probability: self.finite()?,
            propensity: self.finite()?,
            features: self.row()?,
            columns: self.columns()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> ServedRows {
        let row = vec![Feature::flag(7), Feature::flag(u32::MAX), Feature { hash: 3, value: -0.5 }];
        let candidate = ServedCandidate {
            index: 1_023,
            ad_key: 99,
            logit: -3.25,
            probability: 0.04,
            propensity: 0.5,
            features: row.clone(),
            columns: Columns { numeric: vec![f32::NAN, -0.0, 7.5], keys: vec![0, u64::MAX] },
        };
        ServedRows {
            request: 5,
            model_version: 1,
            delta_version: 2,
            at: Timestamp(1_795_255_200_000_000),
            plan: 77,
            cut: vec![10, 0, u64::MAX],
            columns_cut: vec![10, 0, u64::MAX - 1],
            shared: row,
            shared_columns: Columns { numeric: vec![1.0], keys: Vec::new() },
            candidates: vec![
                candidate.clone(),
                ServedCandidate { features: Vec::new(), ..candidate },
            ],
        }
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let of_one_cut = ServedRows { columns_cut: rows().cut, ..rows() };
        for rows in [rows(), of_one_cut, ServedRows::default()] {
            let mut bytes = Vec::new();
            rows.encode(&mut bytes);
            assert_eq!(bytes.len(), rows.encoded_bytes());
            assert_eq!(ServedRows::decode(&bytes).as_ref(), Ok(&rows));
            let mut inputs = ServedRows { shared_columns: Columns::default(), ..rows };
            inputs.candidates.iter_mut().for_each(|one| one.columns = Columns::default());
            assert_eq!(ServedRows::decode_inputs(&bytes), Ok(inputs));
        }
    }

    /// What a build without columns has written: one candidate with one flag, one shared number.
    #[test]
    fn rows_without_columns_are_read_for_ever() {
        let mut bytes = vec![1, 0];
        bytes.extend_from_slice(&9_u64.to_le_bytes());
        bytes.extend_from_slice(&[3, 0, 0, 0, 4, 0, 0, 0, 1, 0]);
        bytes.extend_from_slice(&5_u64.to_le_bytes());
        bytes.extend_from_slice(&[0, 0, 1, 0, 6, 0, 0, 0]);
        bytes.extend_from_slice(&0.5_f32.to_le_bytes());
        bytes.extend_from_slice(&[1, 0, 7, 0]);
        bytes.extend_from_slice(&8_u64.to_le_bytes());
        for number in [-1.0_f32, 0.25, 0.75] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&[1, 0, 0, 0, 11, 0, 0, 0]);
        let candidate = ServedCandidate {
            index: 7,
            ad_key: 8,
            logit: -1.0,
            probability: 0.25,
            propensity: 0.75,
            features: vec![Feature::flag(11)],
            columns: Columns::default(),
        };
        let expected = ServedRows {
            request: 9,
            model_version: 3,
            delta_version: 4,
            cut: vec![5],
            shared: vec![Feature { hash: 6, value: 0.5 }],
            candidates: vec![candidate],
            ..ServedRows::default()
        };
        assert_eq!(ServedRows::decode(&bytes), Ok(expected));
    }

    #[test]
    fn damage_is_named() {
        let mut bytes = Vec::new();
        rows().encode(&mut bytes);
        for length in 0..bytes.len() {
            assert!(ServedRows::decode(&bytes[..length]).is_err(), "cut at {length}");
        }
        bytes.push(0);
        assert_eq!(ServedRows::decode(&bytes), Err(DecodeError::Field("payload")));
        bytes[0] = 3;
        assert_eq!(ServedRows::decode(&bytes), Err(DecodeError::Version(3)));
    }

    #[test]
    fn a_prediction_is_a_request_and_an_index() {
        let id = prediction_id(1 << 53, 1_023);
        assert_eq!((prediction_request(id), prediction_index(id)), (1 << 53, 1_023));
    }
}

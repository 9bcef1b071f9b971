//! The row a model was served with, as it stands in the payload of a prediction record.
//!
//! A model is trained on the row it was served, never on one computed again later. So the row is
//! logged: the hashed inputs, the scores, the models that made them, and the cut of the log that the
//! counters among the inputs were read at. One record holds the candidates of one request that were
//! minted; what they share is written once.
//!
//! ```text
//! version u8 | kind u8 | prediction u64 | model u32 | delta u32 | partitions u16 | cut u64 each |
//! shared row | candidates u16 | candidates
//! candidate: index u16 | ad u64 | logit f32 | probability f32 | propensity f32 | row
//! row:       flags u16 | numbers u16 | hash u32 each flag | (hash u32, value f32) each number
//! ```
//!
//! A flag is an input whose value is 1, which most are.

use crate::DecodeError;

/// The version this build writes.
const VERSION: u8 = 1;
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
    /// The offset behind the last record of each partition that the counters among the inputs have
    /// seen; empty where no counter was read.
    pub cut: Vec<u64>,
    /// Inputs of the user, the page and the moment: the same for all candidates.
    pub shared: Vec<Feature>,
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
}

impl ServedCandidate {
    /// Length of its encoding in bytes.
    pub fn encoded_bytes(&self) -> usize {
        22 + row_bytes(&self.features)
    }
}

impl ServedRows {
    /// Length of its encoding in bytes.
    pub fn encoded_bytes(&self) -> usize {
        let candidates: usize = self.candidates.iter().map(ServedCandidate::encoded_bytes).sum();
        22 + 8 * self.cut.len() + row_bytes(&self.shared) + candidates
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, 0]);
        out.extend_from_slice(&self.request.to_le_bytes());
        out.extend_from_slice(&self.model_version.to_le_bytes());
        out.extend_from_slice(&self.delta_version.to_le_bytes());
        put_count(out, self.cut.len());
        for offset in &self.cut {
            out.extend_from_slice(&offset.to_le_bytes());
        }
        put_row(out, &self.shared);
        put_count(out, self.candidates.len());
        for candidate in &self.candidates {
            out.extend_from_slice(&candidate.index.to_le_bytes());
            out.extend_from_slice(&candidate.ad_key.to_le_bytes());
            for number in [candidate.logit, candidate.probability, candidate.propensity] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            put_row(out, &candidate.features);
        }
    }

    /// Reads a payload back.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { bytes: payload };
        let [version, _] = reader.take()?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let request = u64::from_le_bytes(reader.take()?);
        let model_version = u32::from_le_bytes(reader.take()?);
        let delta_version = u32::from_le_bytes(reader.take()?);
        let cut = (0..reader.count()?)
            .map(|_| Ok(u64::from_le_bytes(reader.take()?)))
            .collect::<Result<_, DecodeError>>()?;
        let shared = reader.row()?;
        let candidates = (0..reader.count()?)
            .map(|_| reader.candidate())
            .collect::<Result<Vec<_>, DecodeError>>()?;
        if !reader.bytes.is_empty() {
            return Err(DecodeError::Field("payload"));
        }
        Ok(ServedRows { request, model_version, delta_version, cut, shared, candidates })
    }
}

fn row_bytes(row: &[Feature]) -> usize {
    4 + row.iter().map(|feature| if feature.value == 1.0 { 4 } else { 8 }).sum::<usize>()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("rows are bounded long before 65,536");
    out.extend_from_slice(&count.to_le_bytes());
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
        };
        ServedRows {
            request: 5,
            model_version: 1,
            delta_version: 2,
            cut: vec![10, 0, u64::MAX],
            shared: row,
            candidates: vec![
                candidate.clone(),
                ServedCandidate { features: Vec::new(), ..candidate },
            ],
        }
    }

    #[test]
    fn rows_come_back_as_they_were() {
        for rows in [rows(), ServedRows::default()] {
            let mut bytes = Vec::new();
            rows.encode(&mut bytes);
            assert_eq!(bytes.len(), rows.encoded_bytes());
            assert_eq!(ServedRows::decode(&bytes), Ok(rows));
        }
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
        bytes[0] = 2;
        assert_eq!(ServedRows::decode(&bytes), Err(DecodeError::Version(2)));
    }

    #[test]
    fn a_prediction_is_a_request_and_an_index() {
        let id = prediction_id(1 << 53, 1_023);
        assert_eq!((prediction_request(id), prediction_index(id)), (1 << 53, 1_023));
    }
}

//! Golden rows: inputs with the log odds and probabilities that came out where the bundle was made.
//!
//! ```text
//! rows u32 | columns u32 | fields u32 | stages u32 |
//! numeric rows x columns f32 | keys rows x fields u64 |
//! a row each: segment u64, 0 for none | (logit f32 | probability f32) a stage
//! ```
//!
//! They are scored again whenever the bundle is loaded: another processor, another build or a bug that
//! computes something else is found before it answers anybody.

use crate::BundleError;
use crate::manifest::Manifest;

/// Golden rows of a bundle, at most.
pub const ROWS_MAX: usize = 4096;

const SECTION: &str = "golden";

/// Rows, and what must come out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Golden {
    /// All columns of each row, the user's first, row after row; NaN where one is missing.
    pub numeric: Vec<f32>,
    /// All fields of each row, the user's first, row after row; 0 where one is missing.
    pub keys: Vec<u64>,
    /// The segment of each row, 0 where it has none.
    pub segments: Vec<u64>,
    /// What each stage says of each row: stages of the first row, of the second, ...
    pub expected: Vec<Expected>,
}

/// What one stage says of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// Log odds, as they come out of the model.
    pub logit: f32,
    /// The probability after sampling correction and calibration.
    pub probability: f32,
}

impl Golden {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.segments.len()
    }

    /// Inputs have the widths of the manifest.
    pub(crate) fn check(&self, manifest: &Manifest) -> Result<(), BundleError> {
        let rows = self.rows();
        let is_sound = (1..=ROWS_MAX).contains(&rows)
            && self.numeric.len() == rows * manifest.columns.len()
            && self.keys.len() == rows * manifest.fields.len();
        if is_sound {
            return Ok(());
        }
        let reason = format!(
            "1 to {ROWS_MAX} rows, each of {} columns and {} fields; there are {rows} rows, {} numbers and \
             {} keys",
            manifest.columns.len(),
            manifest.fields.len(),
            self.numeric.len(),
            self.keys.len()
        );
        Err(BundleError::field("golden", reason))
    }

    pub(crate) fn encode(&self, manifest: &Manifest) -> Vec<u8> {
        let stages = manifest.stages.len();
        let mut out = Vec::new();
        for count in [self.rows(), manifest.columns.len(), manifest.fields.len(), stages] {
            out.extend_from_slice(&(count as u32).to_le_bytes());
        }
        out.extend(self.numeric.iter().flat_map(|number| number.to_le_bytes()));
        out.extend(self.keys.iter().flat_map(|key| key.to_le_bytes()));
        for (segment, expected) in self.segments.iter().zip(self.expected.chunks(stages)) {
            out.extend_from_slice(&segment.to_le_bytes());
            for expected in expected {
                out.extend_from_slice(&expected.logit.to_le_bytes());
                out.extend_from_slice(&expected.probability.to_le_bytes());
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8], manifest: &Manifest) -> Result<Self, BundleError> {
        let mut reader = Reader(bytes);
        let [rows, columns, fields, stages] =
            [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?]
                .map(|count| count as usize);
        let widths = (manifest.columns.len(), manifest.fields.len(), manifest.stages.len());
        if (columns, fields, stages) != widths || !(1..=ROWS_MAX).contains(&rows) {
            let reason = format!(
                "{rows} rows of {columns} columns, {fields} fields and {stages} stages; the manifest has \
                 {widths:?}, and rows are 1 to {ROWS_MAX}"
            );
            return Err(BundleError::section(SECTION, reason));
        }
        let length = rows * (columns * 4 + fields * 8 + 8 + stages * 8);
        if reader.0.len() != length {
            let reason =
                format!("{} bytes behind its head; its rows need {length}", reader.0.len());
            return Err(BundleError::section(SECTION, reason));
        }
        let mut golden = Golden::default();
        for _ in 0..rows * columns {
            golden.numeric.push(reader.f32()?);
        }
        for _ in 0..rows * fields {
            golden.keys.push(u64::from_le_bytes(reader.take()?));
        }
        for _ in 0..rows {
            golden.segments.push(u64::from_le_bytes(reader.take()?));
            for _ in 0..stages {
                let (logit, probability) = (reader.f32()?, reader.f32()?);
                golden.expected.push(Expected { logit, probability });
            }
        }
        Ok(golden)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| BundleError::section(SECTION, "it is cut off"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, BundleError> {
        self.take().map(u32::from_le_bytes)
    }

    fn f32(&mut self) -> Result<f32, BundleError> {
        self.take().map(f32::from_le_bytes)
    }
}

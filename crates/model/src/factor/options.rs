//! What a factorisation machine is made with.

/// How a [`crate::factor::Fm`] or [`crate::factor::Ffm`] learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FactorOptions {
    /// Categorical fields of a row.
    pub fields: usize,
    /// Numeric columns of a row.
    pub columns: usize,
    /// The length of a vector, 1 to 16 (in FM 1 to 31). FM keeps 8, 16 or 32 numbers a key, of which one
    /// is the linear weight; FFM keeps 4, 8 or 16 for each other field.
    pub factors: usize,
    /// The table has `2^bits` slots for keys, 4 to 28.
    pub bits: u8,
    /// How fast vectors learn.
    pub alpha: f32,
    /// How fast linear weights and the bias learn.
    pub linear_alpha: f32,
    /// What an accumulator begins with, above 0.
    pub beta: f32,
    /// Pull of every weight of a row towards 0.
    pub l2: f32,
    /// Vectors begin within this distance of 0, over the root of their length.
    pub spread: f32,
    /// The probability of a click before anything was seen, within (0, 1).
    pub start: f32,
    /// Chooses where vectors begin.
    pub seed: u64,
}

/// Fields and columns of a field-aware machine: each costs a vector in each slot.
pub(super) const FFM_FIELDS_MAX: usize = 64;
/// Bytes of a table.
const TABLE_BYTES_MAX: u128 = 16 << 30;

/// An option out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the factorisation machine's {field} must be {range}")]
pub struct FactorError {
    /// Its name.
    pub field: &'static str,
    /// What it may be.
    pub range: &'static str,
}

impl FactorOptions {
    /// The usual rates, for rows of so many fields and columns.
    pub fn new(fields: usize, columns: usize) -> Self {
        FactorOptions {
            fields,
            columns,
            factors: 4,
            bits: 20,
            alpha: 0.05,
            linear_alpha: 0.06,
            beta: 1.0,
            l2: 0.0,
            spread: 0.1,
            start: 0.1,
            seed: 1,
        }
    }

    /// Names the first option that is out of its range.
    pub(super) fn check(&self, factors_max: usize, width: usize) -> Result<(), FactorError> {
        let above_0 = |value: f32| value > 0.0 && value.is_finite();
        let faults = [
            ("number of fields and columns", "1 to 4096", !(1..=4096).contains(&self.total())),
            ("number of factors", "at least 1 and at most 16 (in FM 31)", {
                !(1..=factors_max).contains(&self.factors)
            }),
            ("number of bits", "4 to 28", !(4..=28).contains(&self.bits)),
            ("alpha", "above 0", !above_0(self.alpha)),
            ("linear_alpha", "above 0", !above_0(self.linear_alpha)),
            ("beta", "above 0", !above_0(self.beta)),
            ("l2", "0 or more", !(self.l2 >= 0.0 && self.l2.is_finite())),
            ("spread", "above 0 and at most 10", !(self.spread > 0.0 && self.spread <= 10.0)),
            ("start", "within (0, 1)", !(self.start > 0.0 && self.start < 1.0)),
            ("table", "at most 16 GiB: lower bits, fields or factors", {
                (width as u128 * 8) << self.bits.min(64) > TABLE_BYTES_MAX
            }),
        ];
        let fault = faults.into_iter().find(|fault| fault.2);
        fault.map_or(Ok(()), |(field, range, _)| Err(FactorError { field, range }))
    }

    /// Fields and columns.
    pub(super) fn total(&self) -> usize {
        self.fields.saturating_add(self.columns)
    }
}

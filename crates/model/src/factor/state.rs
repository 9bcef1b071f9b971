//! The durable form of both machines.
//!
//! ```text
//! fields u32 | columns u32 | factors u32 | bits u32 | seed u64 |
//! alpha, linear alpha, beta, l2, spread, start: f32 | bias f32, its accumulator f32 |
//! slots u32 | slots: index u32, rising | weights width x f32 | accumulators width x f32
//! ```
//!
//! within a frame with a checksum. Only slots that have learned something are written.

use super::fm::Bias;
use super::table::Table;
use super::{FactorError, FactorOptions, Ffm, Fm};
use crate::StateError;
use crate::frame::{self, Label, Reader};

const FM: Label = Label { magic: *b"RKFM", version: 1, name: "a factorisation machine" };
const FFM: Label =
    Label { magic: *b"RKFF", version: 1, name: "a field-aware factorisation machine" };

impl Fm {
    /// Appends the durable form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::seal(out, FM, |out| write(out, &self.options, self.bias, &self.table));
    }

    /// Reads the durable form back; the model goes on as the one that was written.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = frame::open(bytes, FM)?;
        let (options, bias) = head(&mut reader)?;
        let mut model = Fm::new(options).map_err(fault)?;
        model.bias = bias;
        slots(reader, &mut model.table)?;
        Ok(model)
    }
}

impl Ffm {
    /// Appends the durable form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::seal(out, FFM, |out| write(out, &self.options, self.bias, &self.table));
    }

    /// Reads the durable form back; the model goes on as the one that was written.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = frame::open(bytes, FFM)?;
        let (options, bias) = head(&mut reader)?;
        let mut model = Ffm::new(options).map_err(fault)?;
        model.bias = bias;
        slots(reader, &mut model.table)?;
        Ok(model)
    }
}

fn fault(error: FactorError) -> StateError {
    StateError::Field(error.field)
}

fn write(out: &mut Vec<u8>, options: &FactorOptions, bias: Bias, table: &Table) {
    let FactorOptions { fields, columns, factors, bits, alpha, .. } = *options;
    let FactorOptions { linear_alpha, beta, l2, spread, start, seed, .. } = *options;
    for count in [fields, columns, factors, usize::from(bits)] {
        // All are bounded by the options' check.
        out.extend_from_slice(&(count as u32).to_le_bytes());
    }
    out.extend_from_slice(&seed.to_le_bytes());
    let rates = [alpha, linear_alpha, beta, l2, spread, start];
    floats(out, &rates);
    floats(out, &[bias.weight, bias.accumulator]);
    let learned: Vec<_> = (0..table.slots()).filter(|&slot| table.is_learned(slot)).collect();
    out.extend_from_slice(&(learned.len() as u32).to_le_bytes());
    for slot in learned {
        out.extend_from_slice(&(slot as u32).to_le_bytes());
        floats(out, table.weights(slot));
        floats(out, table.accumulators(slot));
    }
}

fn floats(out: &mut Vec<u8>, numbers: &[f32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn head(reader: &mut Reader<'_>) -> Result<(FactorOptions, Bias), StateError> {
    let mut counts = [0; 4];
    for count in &mut counts {
        *count = reader.u32()? as usize;
    }
    let [fields, columns, factors, bits] = counts;
    let options = FactorOptions {
        fields,
        columns,
        factors,
        bits: u8::try_from(bits).map_err(|_| StateError::Field("number of bits"))?,
        seed: u64::from_le_bytes(reader.take()?),
        alpha: reader.f32("alpha")?,
        linear_alpha: reader.f32("linear_alpha")?,
        beta: reader.f32("beta")?,
        l2: reader.f32("l2")?,
        spread: reader.f32("spread")?,
        start: reader.f32("start")?,
    };
    let bias = Bias { weight: reader.f32("bias")?, accumulator: reader.f32("bias")? };
    if bias.accumulator <= 0.0 {
        return Err(StateError::Field("bias"));
    }
    Ok((options, bias))
}

fn slots(mut reader: Reader<'_>, table: &mut Table) -> Result<(), StateError> {
    let mut next = 0;
    for _ in 0..reader.u32()? {
        let index = reader.u32()? as usize;
        if index < next || index >= table.slots() {
            return Err(StateError::Field("slot"));
        }
        next = index + 1;
        let slot = table.slot(index);
        for weight in slot.weights.iter_mut() {
            *weight = reader.f32("weight")?;
        }
        for accumulator in slot.accumulators.iter_mut() {
            *accumulator = reader.f32("accumulator")?;
            if *accumulator <= 0.0 {
                return Err(StateError::Field("accumulator"));
            }
        }
    }
    reader.end()
}

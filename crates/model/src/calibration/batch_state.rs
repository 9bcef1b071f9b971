//! The durable form of curves fitted on a batch.
//!
//! ```text
//! segments u32 | curve of all rows | segments: name u64, rising | curve
//! curve: kind u8: 0 Platt: slope f32 | shift f32
//!                 1 isotonic: knots u32 | log odds f32 each, rising | probabilities f32 each
//! ```
//!
//! within a frame with a checksum.

use super::batch::{Curve, Isotonic, Platt, Segmented};
use crate::StateError;
use crate::frame::{self, Label, Reader};

const LABEL: Label = Label { magic: *b"RKCB", version: 1, name: "a calibration by segment" };
const PLATT: u8 = 0;
const ISOTONIC: u8 = 1;

pub(super) fn encode(segmented: &Segmented, out: &mut Vec<u8>) {
    frame::seal(out, LABEL, |out| {
        out.extend_from_slice(&(segmented.segments.len() as u32).to_le_bytes());
        write(&segmented.all, out);
        for (name, curve) in &segmented.segments {
            out.extend_from_slice(&name.to_le_bytes());
            write(curve, out);
        }
    });
}

pub(super) fn decode(bytes: &[u8]) -> Result<Segmented, StateError> {
    let mut reader = frame::open(bytes, LABEL)?;
    let count = reader.u32()?;
    let all = read(&mut reader)?;
    let mut segments: Vec<(u64, Curve)> = Vec::new();
    for _ in 0..count {
        let name = u64::from_le_bytes(reader.take()?);
        if segments.last().is_some_and(|last| last.0 >= name) {
            return Err(StateError::Field("segment"));
        }
        segments.push((name, read(&mut reader)?));
    }
    reader.end()?;
    Ok(Segmented { all, segments })
}

fn write(curve: &Curve, out: &mut Vec<u8>) {
    match curve {
        Curve::Platt(Platt { slope, shift }) => {
            out.push(PLATT);
            out.extend_from_slice(&slope.to_le_bytes());
            out.extend_from_slice(&shift.to_le_bytes());
        }
        Curve::Isotonic(Isotonic { logits, probabilities }) => {
            out.push(ISOTONIC);
            out.extend_from_slice(&(logits.len() as u32).to_le_bytes());
            let numbers = logits.iter().chain(probabilities);
            out.extend(numbers.flat_map(|number| number.to_le_bytes()));
        }
    }
}

fn read(reader: &mut Reader<'_>) -> Result<Curve, StateError> {
    match reader.take::<1>()? {
        [PLATT] => {
            let (slope, shift) = (reader.f32("slope")?, reader.f32("shift")?);
            if slope <= 0.0 {
                return Err(StateError::Field("slope"));
            }
            Ok(Curve::Platt(Platt { slope, shift }))
        }
        [ISOTONIC] => Isotonic::read(reader).map(Curve::Isotonic),
        _ => Err(StateError::Field("kind of curve")),
    }
}

//! The learner's durable form.
//!
//! ```text
//! magic "RKLM" | version u8 | kind u8 (0 whole, 1 changes) | bits u8 | options 8 x f32 |
//! bias weight f64, information f64 | length mean f64, rows f64 |
//! groups u32 | crc32c u32 of all before it | groups
//! group: index u32 | which coordinates are set, 16 bits | (pull f32, information f32) each of them |
//!        crc32c u32 of the group
//! ```
//!
//! Only coordinates that have seen something are written: hashes scatter, so most groups of a young
//! model are nearly empty. Changes hold what the coordinates of learned groups have become, not what
//! was added, so taking them up twice does no harm.

use super::{Bias, Coordinate, GROUP, GROUP_BITS, LEARNED, Length, Linear, LinearOptions, UNSAVED};
use crate::StateError;
use crate::frame::{Label, Reader};

const LABEL: Label = Label { magic: *b"RKLM", version: 1, name: "a linear model's state" };
const WHOLE: u8 = 0;
const CHANGES: u8 = 1;
const HEADER_BYTES: usize = 79;
const MAP_BYTES: usize = GROUP / 8;

impl Linear {
    /// Appends everything the model has learned.
    pub fn encode_state(&self, out: &mut Vec<u8>) {
        let groups =
            (0..self.marks.len()).filter(|&index| !self.is_empty(index)).collect::<Vec<_>>();
        self.encode(out, WHOLE, &groups);
    }

    /// Appends what the groups learned since the last call have become. Changes are taken up in their
    /// order, on a whole state no older than the changes before the first of them.
    pub fn encode_changes(&mut self, out: &mut Vec<u8>) {
        let mut groups = Vec::new();
        for (index, marks) in self.marks.iter_mut().enumerate() {
            if *marks & UNSAVED != 0 {
                *marks &= !UNSAVED;
                groups.push(index);
            }
        }
        self.encode(out, CHANGES, &groups);
    }

    /// Takes up a whole state.
    pub fn decode_state(bytes: &[u8]) -> Result<Self, StateError> {
        let (header, mut reader) = Header::read(bytes)?;
        if header.kind != WHOLE {
            return Err(StateError::Field("kind"));
        }
        header.options.check().map_err(|error| StateError::Field(error.field))?;
        let mut model = Linear::new(header.options);
        model.take_up(&header, &mut reader, bytes.len())?;
        reader.end()?;
        Ok(model)
    }

    /// Takes up changes of [`Linear::encode_changes`]. After an error the model must not be used.
    pub fn apply_changes(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let (header, mut reader) = Header::read(bytes)?;
        if header.kind != CHANGES {
            return Err(StateError::Field("kind"));
        }
        if header.options != self.options {
            return Err(StateError::OtherModel);
        }
        self.take_up(&header, &mut reader, bytes.len())?;
        reader.end()
    }

    fn is_empty(&self, group: usize) -> bool {
        let start = group << GROUP_BITS;
        self.table[start..start + GROUP].iter().all(|one| *one == Coordinate::default())
    }

    fn encode(&self, out: &mut Vec<u8>, kind: u8, groups: &[usize]) {
        let start = out.len();
        out.extend_from_slice(&LABEL.magic);
        out.extend_from_slice(&[LABEL.version, kind, self.options.bits]);
        for number in numbers(&self.options) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let Bias { weight, information } = self.bias;
        for number in [weight, information, self.length.mean, self.length.rows] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&number(groups.len()).to_le_bytes());
        put_checksum(out, start);
        for &group in groups {
            let start = group << GROUP_BITS;
            put_group(out, group, &self.table[start..start + GROUP]);
        }
    }

    fn take_up(
        &mut self,
        header: &Header,
        reader: &mut Reader<'_>,
        length: usize,
    ) -> Result<(), StateError> {
        self.bias = header.bias;
        self.length = header.length;
        for _ in 0..header.groups {
            self.take_up_group(reader, length)?;
        }
        Ok(())
    }

    fn take_up_group(&mut self, reader: &mut Reader<'_>, length: usize) -> Result<(), StateError> {
        let bytes = reader.bytes;
        let index = reader.u32()? as usize;
        let map: [u8; MAP_BYTES] = reader.take()?;
        let set: usize = map.iter().map(|byte| byte.count_ones() as usize).sum();
        let mut pairs = Reader { bytes: reader.slice(set * 8)? };
        check(&bytes[..4 + MAP_BYTES + set * 8], reader, length)?;
        let start = index << GROUP_BITS;
        let group = self.table.get_mut(start..start + GROUP).ok_or(StateError::Field("group"))?;
        for (place, coordinate) in group.iter_mut().enumerate() {
            let is_set = map[place / 8] >> (place % 8) & 1 == 1;
            *coordinate = if is_set { read_coordinate(&mut pairs)? } else { Coordinate::default() };
        }
        self.marks[index] |= LEARNED & !UNSAVED;
        Ok(())
    }
}

struct Header {
    kind: u8,
    options: LinearOptions,
    bias: Bias,
    length: Length,
    groups: u32,
}

impl Header {
    /// The header, and a reader behind it.
    fn read(bytes: &[u8]) -> Result<(Self, Reader<'_>), StateError> {
        let mut reader = Reader { bytes };
        LABEL.check(&mut reader)?;
        let [kind, bits] = reader.take()?;
        let mut options = LinearOptions { bits, ..LinearOptions::default() };
        for option in fields(&mut options) {
            *option = f32::from_le_bytes(reader.take()?);
        }
        let bias = Bias { weight: reader.f64("bias")?, information: reader.f64("bias")? };
        let length = Length { mean: reader.f64("length")?, rows: reader.f64("length")? };
        let groups = reader.u32()?;
        check(&bytes[..HEADER_BYTES - 4], &mut reader, bytes.len())?;
        let is_sound = bias.weight.is_finite() && bias.information >= 0.0 && length.mean >= 1.0;
        if !is_sound {
            return Err(StateError::Field("bias"));
        }
        Ok((Header { kind, options, bias, length, groups }, reader))
    }
}

fn numbers(options: &LinearOptions) -> [f32; 8] {
    fields(&mut options.clone()).map(|number| *number)
}

fn fields(options: &mut LinearOptions) -> [&mut f32; 8] {
    let LinearOptions { bits: _, alpha, beta, l1, l2, bias_alpha, memory, start, prior_variance } =
        options;
    [alpha, beta, l1, l2, bias_alpha, memory, start, prior_variance]
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("a table has at most 2^24 groups")
}

fn put_group(out: &mut Vec<u8>, index: usize, group: &[Coordinate]) {
    let start = out.len();
    out.extend_from_slice(&number(index).to_le_bytes());
    let map = out.len();
    out.extend_from_slice(&[0; MAP_BYTES]);
    for (place, coordinate) in group.iter().enumerate() {
        if *coordinate != Coordinate::default() {
            out[map + place / 8] |= 1 << (place % 8);
            put_coordinate(out, *coordinate);
        }
    }
    put_checksum(out, start);
}

fn put_coordinate(out: &mut Vec<u8>, coordinate: Coordinate) {
    out.extend_from_slice(&coordinate.pull.to_le_bytes());
    out.extend_from_slice(&coordinate.information.to_le_bytes());
}

fn read_coordinate(reader: &mut Reader<'_>) -> Result<Coordinate, StateError> {
    let (pull, information) = (reader.f32("pull")?, reader.f32("information")?);
    if information < 0.0 {
        return Err(StateError::Field("information"));
    }
    Ok(Coordinate { pull, information })
}

fn put_checksum(out: &mut Vec<u8>, start: usize) {
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Reads a checksum and compares; `length` is that of the whole, to name the place.
fn check(bytes: &[u8], reader: &mut Reader<'_>, length: usize) -> Result<(), StateError> {
    let place = length - reader.bytes.len();
    let checksum = reader.u32()?;
    if crc32c::crc32c(bytes) == checksum { Ok(()) } else { Err(StateError::Checksum(place)) }
}

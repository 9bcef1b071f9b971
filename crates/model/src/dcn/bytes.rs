//! How weights and checkpoints are written: blocks, each with a checksum of its own.
//!
//! ```text
//! magic 4 bytes | version u8 | blocks
//! block: length u32, at most 2^18 | bytes | crc32c u32 of the bytes
//! head block: columns, fields, user_columns, user_fields, embedding, buckets, cross_layers, rank,
//!             structure (0 stacked, 1 parallel), head, hidden layers, then each one's width: u32
//! then by turns, each in as many full blocks as it takes and one that is not:
//!   columns: (log 0 or 1, mean, scale) f32 | the head's keys u64 | tensors f32
//! ```
//!
//! Numbers are little-endian. How many follow is known from the head block, so a damaged length
//! cannot ask for memory.

use super::inputs::{Column, Inputs};
use super::layout::Layout;
use super::{Shape, Structure};
use crate::StateError;
use crate::frame::{Label, Reader};

const BLOCK: usize = 1 << 18;

pub(super) fn put_label(out: &mut Vec<u8>, label: Label) {
    out.extend_from_slice(&label.magic);
    out.push(label.version);
}

pub(super) fn put_block(out: &mut Vec<u8>, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("a block is at most 2^18 bytes");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
}

pub(super) fn put_numbers(out: &mut Vec<u8>, numbers: &[f32]) {
    let mut body = Vec::with_capacity(BLOCK.min(numbers.len() * 4));
    for numbers in numbers.chunks(BLOCK / 4) {
        body.clear();
        numbers.iter().for_each(|number| body.extend_from_slice(&number.to_le_bytes()));
        put_block(out, &body);
    }
}

fn put_keys(out: &mut Vec<u8>, keys: &[u64]) {
    for keys in keys.chunks(BLOCK / 8) {
        let body: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        put_block(out, &body);
    }
}

/// Shape and inputs.
pub(super) fn put_head(out: &mut Vec<u8>, shape: &Shape, inputs: &Inputs) {
    let sizes = [
        shape.columns,
        shape.fields,
        shape.user_columns,
        shape.user_fields,
        shape.embedding,
        shape.buckets,
        shape.cross_layers,
        shape.rank,
        usize::from(shape.structure == Structure::Parallel),
        inputs.head().len(),
        shape.hidden.len(),
    ];
    let mut body = Vec::new();
    for &size in sizes.iter().chain(&shape.hidden) {
        let size = u32::try_from(size).expect("a shape was checked: its sizes are at most 2^28");
        body.extend_from_slice(&size.to_le_bytes());
    }
    put_block(out, &body);
    let columns = inputs.columns.iter();
    let columns: Vec<f32> = columns
        .flat_map(|column| [f32::from(u8::from(column.is_log)), column.mean, column.scale])
        .collect();
    put_numbers(out, &columns);
    put_keys(out, inputs.head());
}

/// Reads blocks.
pub(super) struct Blocks<'a> {
    reader: Reader<'a>,
    length: usize,
}

impl<'a> Blocks<'a> {
    pub(super) fn open(bytes: &'a [u8], label: Label) -> Result<Self, StateError> {
        let mut reader = Reader { bytes };
        label.check(&mut reader)?;
        Ok(Blocks { reader, length: bytes.len() })
    }

    pub(super) fn block(&mut self) -> Result<&'a [u8], StateError> {
        let place = self.length - self.reader.bytes.len();
        let length = self.reader.u32()? as usize;
        if length > BLOCK {
            return Err(StateError::Checksum(place));
        }
        let body = self.reader.slice(length)?;
        if self.reader.u32()? != crc32c::crc32c(body) {
            return Err(StateError::Checksum(place));
        }
        Ok(body)
    }

    /// So many items of `N` bytes each.
    fn items<const N: usize>(
        &mut self,
        count: usize,
        mut item: impl FnMut([u8; N]) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        if self.reader.bytes.len() / N < count {
            return Err(StateError::Truncated);
        }
        let mut rest = count;
        while rest > 0 {
            let (items, odd) = self.block()?.as_chunks::<N>();
            if !odd.is_empty() || items.len() != rest.min(BLOCK / N) {
                return Err(StateError::Field("length of a block"));
            }
            items.iter().try_for_each(|&bytes| item(bytes))?;
            rest -= items.len();
        }
        Ok(())
    }

    pub(super) fn numbers(
        &mut self,
        count: usize,
        field: &'static str,
    ) -> Result<Vec<f32>, StateError> {
        let mut numbers = Vec::new();
        self.items(count, |bytes| {
            let number = f32::from_le_bytes(bytes);
            numbers.push(number);
            if number.is_finite() { Ok(()) } else { Err(StateError::Field(field)) }
        })?;
        Ok(numbers)
    }

    /// Shape and inputs.
    pub(super) fn head(&mut self) -> Result<(Layout, Inputs), StateError> {
        let mut body = Reader { bytes: self.block()? };
        let mut size = || body.u32().map(|size| size as usize);
        let mut shape = Shape {
            columns: size()?,
            fields: size()?,
            user_columns: size()?,
            user_fields: size()?,
            embedding: size()?,
            buckets: size()?,
            cross_layers: size()?,
            rank: size()?,
            structure: match size()? {
                0 => Structure::Stacked,
                1 => Structure::Parallel,
                _ => return Err(StateError::Field("structure")),
            },
            hidden: Vec::new(),
        };
        let (keys, layers) = (size()?, size()?);
        for _ in 0..layers {
            shape.hidden.push(size()?);
        }
        body.end()?;
        shape.check().map_err(|error| StateError::Field(error.field))?;
        let columns = self.numbers(shape.columns * 3, "a column")?;
        let columns = columns.chunks_exact(3).map(|column| Column {
            is_log: column[0] != 0.0,
            mean: column[1],
            scale: column[2],
        });
        let mut head = Vec::new();
        self.items(keys, |bytes| {
            head.push(u64::from_le_bytes(bytes));
            Ok(())
        })?;
        let inputs = Inputs::new(&shape, columns.collect(), head);
        Ok((Layout::new(&shape), inputs.map_err(|_| StateError::Field("head"))?))
    }

    pub(super) fn end(self) -> Result<(), StateError> {
        self.reader.end()
    }
}

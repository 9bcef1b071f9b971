//! A trainer's durable form: everything it has learned and everything it needs to go on exactly.
//!
//! ```text
//! magic "RKDC" | version u8 | block: steps u64, warm_up u32, 8 options f32 | head (see bytes.rs) |
//! dense tensors | Adam's means of gradients | and of their squares | rows of the table, all f32
//! ```

use super::bytes::{Blocks, put_block, put_head, put_label, put_numbers};
use super::sparse::Table;
use super::trainer::{Scratch, Trainer, TrainerOptions};
use crate::StateError;
use crate::frame::{Label, Reader};

const LABEL: Label = Label { magic: *b"RKDC", version: 2, name: "a checkpoint of a DCN-v2" };

impl Trainer {
    /// Appends everything needed to go on.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        put_label(out, LABEL);
        let mut body = self.steps.to_le_bytes().to_vec();
        body.extend_from_slice(&self.options.warm_up.to_le_bytes());
        for number in self.options.clone().numbers() {
            body.extend_from_slice(&number.to_le_bytes());
        }
        put_block(out, &body);
        put_head(out, &self.layout.shape, &self.inputs);
        for numbers in [&self.dense, &self.first, &self.second, &self.table.numbers] {
            put_numbers(out, numbers);
        }
    }

    /// Takes up a checkpoint: learning goes on as if it had never stopped, bit for bit.
    pub fn resume(bytes: &[u8]) -> Result<Self, StateError> {
        let mut blocks = Blocks::open(bytes, LABEL)?;
        let mut body = Reader { bytes: blocks.block()? };
        let steps = u64::from_le_bytes(body.take()?);
        let mut options = TrainerOptions { warm_up: body.u32()?, ..TrainerOptions::default() };
        for number in options.numbers() {
            *number = body.f32("an option")?;
        }
        body.end()?;
        options.check().map_err(|error| StateError::Field(error.field))?;
        let (layout, inputs) = blocks.head()?;
        let length = layout.length();
        let dense = blocks.numbers(length, "a tensor")?;
        let first = blocks.numbers(length, "a mean")?;
        let second = blocks.numbers(length, "a mean of squares")?;
        let embedding = layout.shape.embedding;
        let length = inputs.head.rows() * Table::stride(embedding);
        let numbers = blocks.numbers(length, "a row of the table")?;
        blocks.end()?;
        let table = Table { embedding, numbers };
        let scratch = Scratch::default();
        Ok(Trainer { options, layout, inputs, steps, dense, first, second, table, scratch })
    }
}

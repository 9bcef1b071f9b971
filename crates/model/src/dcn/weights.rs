//! What a network has learned, as plain tensors.
//!
//! | name | shape | |
//! |---|---|---|
//! | `numeric.log`, `numeric.mean`, `numeric.scale` | columns | how numbers are normalised: the signed logarithm first where 1 |
//! | `numeric.missing` | columns | the normalised number where it is missing |
//! | `linear.columns` | columns | wide term |
//! | `embedding` | rows, embedding | rows of the head's keys, then the buckets |
//! | `linear.keys` | rows | wide term |
//! | `cross.N.weight`, `cross.N.bias` | width, width; width | full rank |
//! | `cross.N.v`, `cross.N.u`, `cross.N.bias` | rank, width; width, rank; width | low rank |
//! | `hidden.N.weight`, `hidden.N.bias` | outputs, inputs; outputs | as PyTorch's `Linear` |
//! | `output.weight`, `output.bias` | 1, inputs; 1 | stacked: reads the last hidden layer; parallel: the cross layers' result, then the last hidden layer |
//!
//! Width is columns + fields * embedding. The tensors of normalising, `linear.*` and `output.bias`
//! may be left out of an import: numbers are then taken as they are, the others are 0.

use super::bytes::{Blocks, put_head, put_label, put_numbers};
use super::inputs::{Column, Inputs};
use super::layout::Layout;
use super::pass::{Pass, ROWS};
use super::{BatchError, Shape, ShapeError};
use crate::StateError;
use crate::frame::Label;

const LABEL: Label = Label { magic: *b"RKDW", version: 1, name: "weights of a DCN-v2" };

/// Weights of a network; see the module for their names.
#[derive(Clone, Debug)]
pub struct Weights {
    pub(super) layout: Layout,
    pub(super) inputs: Inputs,
    pub(super) dense: Vec<f32>,
    pub(super) embedding: Vec<f32>,
    pub(super) linear: Vec<f32>,
}

/// One tensor, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub numbers: Vec<f32>,
}

/// Tensors that are no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The shape itself cannot be.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// No tensor of the network has this name.
    #[error("the network has no tensor {0:?}: rename or remove it")]
    Unknown(String),
    /// One that the network needs is not there.
    #[error("the tensor {0:?} is missing")]
    Missing(String),
    /// It has another shape.
    #[error("the tensor {name:?} is {found:?}, but must be {expected:?}")]
    Size {
        /// Its name.
        name: String,
        /// Its shape, or its length where that disagrees with its shape.
        found: Vec<usize>,
        /// The network's.
        expected: Vec<usize>,
    },
    /// It holds an infinite number or NaN.
    #[error("{0} holds a number that is not finite")]
    NotFinite(String),
    /// Another number of columns.
    #[error("{found} columns are described, but the network has {expected}")]
    Columns {
        /// Those described.
        found: usize,
        /// Those of the shape.
        expected: usize,
    },
    /// The head's keys.
    #[error("the head's keys must be different, not 0, and at most 2^28")]
    Head,
}

impl Weights {
    /// Takes tensors up, as from PyTorch. `head`: the keys with rows of their own, in the order of the
    /// embedding's rows; those of the buckets follow.
    pub fn from_tensors<'a>(
        shape: &Shape,
        head: Vec<u64>,
        tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
    ) -> Result<Self, TensorError> {
        let inputs = Inputs::new(shape, vec![Column::PLAIN; shape.columns], head)?;
        let layout = Layout::new(shape);
        let mut import = Import::new(&layout, &inputs);
        for (name, shape, numbers) in tensors {
            import.take(name, shape, numbers)?;
        }
        import.end(layout, inputs)
    }

    /// The network's shape.
    pub fn shape(&self) -> &Shape {
        &self.layout.shape
    }

    /// What was measured before learning.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Every tensor; takes a copy of each.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor> + '_ {
        let columns = |number: fn(&Column) -> f32| self.inputs.columns.iter().map(number).collect();
        let normal = [
            ("numeric.log", columns(|column| f32::from(u8::from(column.is_log)))),
            ("numeric.mean", columns(|column| column.mean)),
            ("numeric.scale", columns(|column| column.scale)),
        ];
        let (rows, embedding) = (self.linear.len(), self.layout.shape.embedding);
        let keyed = [
            ("embedding", vec![rows, embedding], &self.embedding),
            ("linear.keys", vec![rows], &self.linear),
        ];
        let normal = normal.into_iter().map(|(name, numbers): (_, Vec<f32>)| Tensor {
            name: name.to_owned(),
            shape: vec![numbers.len()],
            numbers,
        });
        let keyed = keyed.into_iter().map(|(name, shape, numbers)| Tensor {
            name: name.to_owned(),
            shape,
            numbers: numbers.clone(),
        });
        let dense = self.layout.places.iter().map(|place| Tensor {
            name: place.name.clone(),
            shape: place.shape.clone(),
            numbers: self.dense[place.range.clone()].to_vec(),
        });
        normal.chain(keyed).chain(dense)
    }

    /// Log odds of rows, plainly: whole batches, nothing of the user's kept. For evaluation and as the
    /// measure of what serves. Takes `out`'s length as the number of rows.
    pub fn score(&self, numeric: &[f32], keys: &[u64], out: &mut [f32]) -> Result<(), BatchError> {
        let shape = &self.layout.shape;
        if shape.rows(numeric, keys) != Some(out.len()) {
            return Err(BatchError::Size { numeric: numeric.len(), keys: keys.len() });
        }
        let rows: Vec<u32> = keys.iter().map(|&key| self.inputs.head.row(key)).collect();
        let table = |row: usize| {
            let start = row * shape.embedding;
            (&self.embedding[start..start + shape.embedding], self.linear[row])
        };
        let mut pass = Pass::<f32>::default();
        for (block, out) in out.chunks_mut(ROWS).enumerate() {
            let numeric = &numeric[block * ROWS * shape.columns..][..out.len() * shape.columns];
            let rows = &rows[block * ROWS * shape.fields..][..out.len() * shape.fields];
            pass.resize(&self.layout, out.len());
            self.inputs.gather(&self.layout, &self.dense, numeric, rows, table, &mut pass);
            pass.forward(&self.layout, &self.dense);
            out.copy_from_slice(&pass.logits);
        }
        Ok(())
    }

    /// Moves each weight by this share of its way towards that of another network, which was made with
    /// the same shape and inputs: 1 is the other.
    ///
    /// # Panics
    /// Where the other has another shape or other frequent keys.
    pub fn blend(&mut self, other: &Weights, share: f32) {
        assert_eq!(self.layout.shape, other.layout.shape, "networks of one shape");
        assert_eq!(self.inputs.head(), other.inputs.head(), "networks of the same keys");
        let pairs = [
            (&mut self.dense, &other.dense),
            (&mut self.embedding, &other.embedding),
            (&mut self.linear, &other.linear),
        ];
        for (own, other) in pairs {
            own.iter_mut().zip(other).for_each(|(own, &other)| *own += share * (other - *own));
        }
    }

    /// Appends everything in its byte form; see `bytes.rs` for how it is drawn.
    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        put_label(out, LABEL);
        put_head(out, &self.layout.shape, &self.inputs);
        put_numbers(out, &self.dense);
        put_numbers(out, &self.embedding);
        put_numbers(out, &self.linear);
    }

    /// Reads what [`Weights::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let mut blocks = Blocks::open(bytes, LABEL)?;
        let (layout, inputs) = blocks.head()?;
        let rows = inputs.head.rows();
        let dense = blocks.numbers(layout.length(), "a tensor")?;
        let embedding = blocks.numbers(rows * layout.shape.embedding, "an embedding")?;
        let linear = blocks.numbers(rows, "a key's weight")?;
        blocks.end()?;
        Ok(Weights { layout, inputs, dense, embedding, linear })
    }
}

/// Tensors being taken up.
struct Import {
    tensors: Vec<Wanted>,
}

struct Wanted {
    name: String,
    shape: Vec<usize>,
    is_optional: bool,
    found: Option<Vec<f32>>,
}

impl Import {
    fn new(layout: &Layout, inputs: &Inputs) -> Self {
        let (columns, rows) = (layout.shape.columns, inputs.head.rows());
        let own = [
            ("numeric.log", vec![columns]),
            ("numeric.mean", vec![columns]),
            ("numeric.scale", vec![columns]),
            ("embedding", vec![rows, layout.shape.embedding]),
            ("linear.keys", vec![rows]),
        ];
        let own = own.into_iter().map(|(name, shape)| (name.to_owned(), shape));
        let dense = layout.places.iter().map(|place| (place.name.clone(), place.shape.clone()));
        let is_optional = |name: &str, shape: &[usize]| {
            let is_extra = name.starts_with("numeric.") || name.starts_with("linear.");
            is_extra || name == "output.bias" || shape.contains(&0)
        };
        let tensors = own.chain(dense).map(|(name, shape)| {
            let is_optional = is_optional(&name, &shape);
            Wanted { name, shape, is_optional, found: None }
        });
        Import { tensors: tensors.collect() }
    }

    fn take(&mut self, name: &str, shape: &[usize], numbers: &[f32]) -> Result<(), TensorError> {
        let known = self.tensors.iter_mut().find(|wanted| wanted.name == name);
        let wanted = known.ok_or_else(|| TensorError::Unknown(name.to_owned()))?;
        let expected = wanted.shape.clone();
        let size = |found: &[usize]| TensorError::Size {
            name: name.to_owned(),
            found: found.to_vec(),
            expected: expected.clone(),
        };
        if shape != expected {
            return Err(size(shape));
        }
        if numbers.len() != expected.iter().product::<usize>() {
            return Err(size(&[numbers.len()]));
        }
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(TensorError::NotFinite(name.to_owned()));
        }
        wanted.found = Some(numbers.to_vec());
        Ok(())
    }

    fn end(self, layout: Layout, mut inputs: Inputs) -> Result<Weights, TensorError> {
        let lacking = self.tensors.iter().find(|one| !one.is_optional && one.found.is_none());
        if let Some(wanted) = lacking {
            return Err(TensorError::Missing(wanted.name.clone()));
        }
        let mut tensors = self.tensors.into_iter().map(|Wanted { shape, found, .. }| {
            let length = shape.iter().product();
            (found.is_some(), found.unwrap_or_else(|| vec![0.0; length]))
        });
        let mut next = || tensors.next().unwrap_or_default();
        let (log, mean, (has_scale, scale)) = (next().1, next().1, next());
        for (index, column) in inputs.columns.iter_mut().enumerate() {
            column.is_log = log[index] != 0.0;
            column.mean = mean[index];
            column.scale = if has_scale { scale[index] } else { 1.0 };
        }
        let (embedding, linear) = (next().1, next().1);
        let dense = tensors.flat_map(|(_, numbers)| numbers).collect();
        Ok(Weights { layout, inputs, dense, embedding, linear })
    }
}

//! How a row becomes x0: numbers normalised, keys as rows of the table.

use super::head::Head;
use super::head::NO_ROW;
use super::layout::Layout;
use super::pass::Pass;
use super::product::Real;
use super::{Shape, TensorError};

/// A normalised number lies within plus and minus this many deviations.
const CLIP: f32 = 5.0;

/// How the numbers of one column are normalised: the logarithm if it is skewed, less the mean, by the
/// deviation, clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    /// The logarithm of 1 and the number's size is taken first, with the number's sign.
    pub is_log: bool,
    /// Taken off, after the logarithm.
    pub mean: f32,
    /// One by the deviation; 0 where the column is constant.
    pub scale: f32,
}

impl Column {
    /// Leaves numbers as they are, but clipped.
    pub const PLAIN: Column = Column { is_log: false, mean: 0.0, scale: 1.0 };

    /// The normalised number; NaN stays NaN. Infinities are clipped as well.
    pub fn normal(&self, number: f32) -> f32 {
        let number = number.clamp(f32::MIN, f32::MAX);
        let number = if self.is_log { signed_log(number) } else { number };
        ((number - self.mean) * self.scale).clamp(-CLIP, CLIP)
    }
}

pub(super) fn signed_log(number: f32) -> f32 {
    number.abs().ln_1p().copysign(number)
}

/// What was measured on the training rows before learning.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub(super) columns: Vec<Column>,
    pub(super) head: Head,
}

impl Inputs {
    /// `head`: the keys that have rows of their own, in the rows' order.
    pub fn new(shape: &Shape, columns: Vec<Column>, head: Vec<u64>) -> Result<Self, TensorError> {
        shape.check()?;
        if columns.len() != shape.columns {
            return Err(TensorError::Columns { found: columns.len(), expected: shape.columns });
        }
        if !columns.iter().all(|column| column.mean.is_finite() && column.scale.is_finite()) {
            return Err(TensorError::NotFinite("numeric.mean or numeric.scale".to_owned()));
        }
        let head = Head::new(head, shape.buckets).ok_or(TensorError::Head)?;
        Ok(Inputs { columns, head })
    }

    /// Numbers as they are, and no key with a row of its own.
    pub fn plain(shape: &Shape) -> Result<Self, TensorError> {
        Inputs::new(shape, vec![Column::PLAIN; shape.columns], Vec::new())
    }

    /// How each column is normalised.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The keys with rows of their own.
    pub fn head(&self) -> &[u64] {
        self.head.keys()
    }

    /// Fills the pass's x0, and its log odds with bias and wide term. `rows` are the keys' rows.
    pub(super) fn gather<'a, T: Real>(
        &self,
        layout: &Layout,
        dense: &[T],
        numeric: &[f32],
        rows: &[u32],
        table: impl Fn(usize) -> (&'a [T], T),
        pass: &mut Pass<T>,
    ) {
        let (x, logits) = (&mut pass.x[0], &mut pass.logits);
        let Shape { columns, fields, embedding, .. } = layout.shape;
        let (missing, linear) = (&dense[layout.missing.clone()], &dense[layout.columns.clone()]);
        for (index, (x, logit)) in x.chunks_exact_mut(layout.shape.width()).zip(logits).enumerate()
        {
            let (numbers, embeddings) = x.split_at_mut(columns);
            let mut wide = dense[layout.bias];
            for (column, number) in numbers.iter_mut().enumerate() {
                let normal = self.columns[column].normal(numeric[index * columns + column]);
                *number = if normal.is_nan() { missing[column] } else { T::from(normal) };
                wide += *number * linear[column];
            }
            let rows = &rows[index * fields..][..fields];
            for (&row, x) in rows.iter().zip(embeddings.chunks_exact_mut(embedding)) {
                if row == NO_ROW {
                    x.fill(T::default());
                } else {
                    let (numbers, weight) = table(row as usize);
                    x.copy_from_slice(numbers);
                    wide += weight;
                }
            }
            *logit = wide;
        }
    }
}

impl Inputs {
    /// The gradient of what [`Inputs::gather`] does besides looking up rows: adds to that by the
    /// weights of the wide term and by missing numbers, and completes that by x0.
    pub(super) fn backward<T: Real>(
        &self,
        layout: &Layout,
        dense: &[T],
        numeric: &[f32],
        by_logit: &[T],
        pass: &mut Pass<T>,
        gradient: &mut [T],
    ) {
        let (x, x_gradient) = (&pass.x[0], &mut pass.x_gradient);
        let (columns, width) = (layout.shape.columns, layout.shape.width());
        let linear = &dense[layout.columns.clone()];
        for (row, &by) in by_logit.iter().enumerate() {
            gradient[layout.bias] += by;
            let x = &x[row * width..][..columns];
            let x_gradient = &mut x_gradient[row * width..][..columns];
            for column in 0..columns {
                gradient[layout.columns.start + column] += by * x[column];
                x_gradient[column] += by * linear[column];
                if numeric[row * columns + column].is_nan() {
                    gradient[layout.missing.start + column] += x_gradient[column];
                }
            }
        }
    }
}

//! Matrix products of training and of plain scores: the crate `gemm`, behind slices that know their
//! size.
//!
//! `gemm` takes bare pointers. A [`View`] is made only of a slice that is exactly as long as its rows
//! and columns say, and transposing swaps both sides together, so every element `gemm` touches lies
//! within one of the three slices; and the result is borrowed alone.
#![expect(unsafe_code, reason = "gemm takes bare pointers")]

use std::ops::{Add, AddAssign, Mul, Neg, Sub};

/// f32 to learn and to score with, f64 to compare gradients with differences.
pub(super) trait Real:
    Copy
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + From<f32>
    + Into<f64>
    + 'static
{
}

impl Real for f32 {}
impl Real for f64 {}

/// A matrix, or its transpose, in a slice.
#[derive(Clone, Copy)]
pub(super) struct View<'a, T> {
    numbers: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// The slice's numbers, row after row.
    pub(super) fn new(numbers: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(
            numbers.len(),
            rows * columns,
            "a matrix is as long as its rows and columns say"
        );
        View { numbers, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Rows as columns.
    pub(super) fn transposed(self) -> Self {
        View {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = left * right`, or with `add` `out += left * right`; `out` row after row.
pub(super) fn multiply<T: Real>(out: &mut [T], add: bool, left: View<'_, T>, right: View<'_, T>) {
    assert_eq!(left.columns, right.rows, "the inner sides agree");
    assert_eq!(out.len(), left.rows * right.columns, "the result has the outer sides");
    if out.is_empty() {
        return;
    }
    let stride = |stride: usize| isize::try_from(stride).expect("a slice's length fits isize");
    let one = T::from(1.0);
    // SAFETY: `View::new` is the only way to a view, and `numbers` is rows x columns with strides of
    // (columns, 1) or, transposed, (1, rows): the largest place is rows * columns - 1. `out` is
    // rows x columns of the result with strides (columns, 1), as asserted above, and is borrowed
    // alone. T is f32 or f64, which gemm knows.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            out.as_mut_ptr(),
            1,
            stride(right.columns),
            add,
            left.numbers.as_ptr(),
            stride(left.column_stride),
            stride(left.row_stride),
            right.numbers.as_ptr(),
            stride(right.column_stride),
            stride(right.row_stride),
            if add { one } else { T::default() },
            one,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn twin(add: Option<&[f64]>, left: &View<'_, f64>, right: &View<'_, f64>) -> Vec<f64> {
        let at = |view: &View<'_, f64>, row, column| {
            view.numbers[row * view.row_stride + column * view.column_stride]
        };
        let mut out = Vec::new();
        for row in 0..left.rows {
            for column in 0..right.columns {
                let sum: f64 =
                    (0..left.columns).map(|k| at(left, row, k) * at(right, k, column)).sum();
                out.push(sum + add.map_or(0.0, |add| add[row * right.columns + column]));
            }
        }
        out
    }

    #[test]
    fn products_are_those_of_three_loops() {
        let mut random = Random::new(4);
        let mut compared = 0;
        for round in 0..200 {
            let [m, n, k] = [(); 3].map(|()| 1 + random.below(37) as usize);
            let mut draw =
                |count: usize| (0..count).map(|_| random.uniform() - 0.5).collect::<Vec<_>>();
            let (a, b, start) = (draw(m * k), draw(k * n), draw(m * n));
            let left =
                if round % 2 == 0 { View::new(&a, m, k) } else { View::new(&a, k, m).transposed() };
            let right =
                if round % 3 == 0 { View::new(&b, k, n) } else { View::new(&b, n, k).transposed() };
            for add in [false, true] {
                let mut out = if add { start.clone() } else { vec![f64::NAN; m * n] };
                multiply(&mut out, add, left, right);
                let expected = twin(add.then_some(&start[..]), &left, &right);
                for (out, expected) in out.iter().zip(&expected) {
                    assert!((out - expected).abs() < 1e-12, "{m} {n} {k} {add}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 20_000, "{compared}");
    }
}

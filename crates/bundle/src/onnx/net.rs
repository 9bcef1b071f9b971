//! A network, run by tract for a few rows at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use reckon_model::Random;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::{DimLike as _, bail, ensure, format_err};

use super::graph::{End, Input, Prepared, prepare, refused};
use crate::manifest::Manifest;
use crate::{BundleError, ImportError};

/// Rows that go in at once, where the graph leaves that open; a rest is filled up.
const BLOCK: usize = 32;
/// No intermediate result has more numbers.
const VOLUME_MAX: usize = 1 << 22;

/// A network in ONNX, ready to score.
#[derive(Debug)]
pub struct Net {
    columns: usize,
    /// What stands for a missing number.
    defaults: Vec<f32>,
    end: End,
    /// For one row, and for [`BLOCK`]; or one alone for as many as the graph fixes.
    plans: Vec<Plan>,
}

#[derive(Debug)]
struct Plan {
    rows: usize,
    runnable: Arc<TypedRunnableModel>,
}

impl Net {
    /// Takes a network in.
    ///
    /// `columns` is what the caller knows of the width, and `defaults` stand for missing numbers: networks
    /// know none.
    pub fn new(bytes: &[u8], defaults: Vec<f32>) -> Result<Self, ImportError> {
        let prepared = prepare(super::decode(bytes)?)?;
        let columns = defaults.len();
        if prepared.input.columns.is_some_and(|wanted| wanted != columns) {
            let wanted = prepared.input.columns.unwrap_or(0);
            return Err(refused(format!(
                "its input has {wanted} columns, and rows have {columns}"
            )));
        }
        let rows = prepared.input.rows.map_or(vec![1, BLOCK], |rows| vec![rows]);
        let plan = |rows| Plan::of(&prepared, rows, columns);
        let plans = rows.into_iter().map(plan).collect::<Result<Vec<_>, _>>()?;
        let net = Net { columns, defaults, end: prepared.end, plans };
        net.check_rows_apart()?;
        Ok(net)
    }

    pub(crate) fn of_manifest(bytes: &[u8], manifest: &Manifest) -> Result<Self, ImportError> {
        if !manifest.fields.is_empty() && manifest.stages.len() == 1 {
            return Err(refused(
                "a network in ONNX takes columns; the manifest names fields as well",
            ));
        }
        let default = |column: &crate::manifest::Column| {
            column.default.ok_or_else(|| {
                refused(format!(
                    "column {:?} needs a default: a network knows no missing numbers",
                    column.name
                ))
            })
        };
        let defaults = manifest.columns.iter().map(default).collect::<Result<Vec<_>, _>>()?;
        Net::new(bytes, defaults)
    }

    /// Log odds of each row.
    ///
    /// # Panics
    /// Where there are not as many numbers as the rows have columns.
    pub fn score(&self, numeric: &[f32], out: &mut [f32]) -> Result<(), BundleError> {
        let (mut rows, mut out) = (numeric, out);
        while !out.is_empty() {
            let plan = self.plan(out.len());
            let count = plan.rows.min(out.len());
            let (head, rest) = rows.split_at(count * self.columns);
            let (logits, others) = out.split_at_mut(count);
            caught(|| self.run(plan, head, logits))
                .map_err(|error| BundleError::field("onnx", error.to_string()))?;
            (rows, out) = (rest, others);
        }
        Ok(())
    }

    fn plan(&self, rows: usize) -> &Plan {
        let fitting = self.plans.iter().find(|plan| plan.rows >= rows);
        fitting.unwrap_or_else(|| self.plans.last().expect("a network has a plan"))
    }

    fn run(&self, plan: &Plan, numeric: &[f32], out: &mut [f32]) -> TractResult<()> {
        let mut rows = numeric.to_vec();
        for (place, number) in rows.iter_mut().enumerate() {
            if number.is_nan() {
                *number = self.defaults[place % self.columns];
            }
        }
        rows.resize(plan.rows * self.columns, 0.0);
        let rows = Tensor::from_shape(&[plan.rows, self.columns], &rows)?;
        let outputs = plan.runnable.run(tvec!(rows.into()))?;
        let output = outputs[0].cast_to::<f32>()?;
        let numbers = output.to_plain_array_view::<f32>()?;
        let numbers =
            numbers.as_slice().ok_or_else(|| format_err!("the output lies in no order"))?;
        match self.end {
            End::Logit => out.copy_from_slice(&numbers[..out.len()]),
            End::Pair => {
                for (out, pair) in out.iter_mut().zip(numbers.chunks_exact(2)) {
                    *out = pair[1] - pair[0];
                }
            }
        }
        Ok(())
    }

    /// A row's score depends on that row alone: among others, and in another place, it is the same.
    fn check_rows_apart(&self) -> Result<(), ImportError> {
        let mut random = Random::new(1);
        let rows = BLOCK;
        let numeric = (0..rows * self.columns).map(|_| random.normal()).collect::<Vec<_>>();
        let score = |numeric: &[f32]| {
            let mut out = vec![0.0; numeric.len() / self.columns];
            self.score(numeric, &mut out).map(|()| out)
        };
        let together = score(&numeric)?;
        for row in [0, 1, rows / 2, rows - 1] {
            let alone = score(&numeric[row * self.columns..(row + 1) * self.columns])?[0];
            if (alone - together[row]).abs() > 1e-4 * (1.0 + alone.abs()) {
                let reason = format!(
                    "a row alone scores {alone}, among others {}: the graph mixes rows",
                    together[row]
                );
                return Err(refused(reason));
            }
        }
        Ok(())
    }
}

impl Plan {
    fn of(prepared: &Prepared, rows: usize, columns: usize) -> Result<Self, ImportError> {
        caught(|| {
            let runnable = runnable(prepared, rows, columns)?;
            Ok(Plan { rows, runnable })
        })
        .map_err(|error| refused(format!("tract cannot run it: {error}")))
    }
}

fn runnable(
    prepared: &Prepared,
    rows: usize,
    columns: usize,
) -> TractResult<Arc<TypedRunnableModel>> {
    let Prepared { model, input: Input { name, .. }, end } = prepared;
    let mut model = tract_onnx::onnx().model_for_proto_model(model)?;
    let inputs = model.input_outlets()?.to_vec();
    ensure!(inputs.len() == 1, "{} inputs are open; only {name:?} may be", inputs.len());
    model.set_input_fact(0, f32::fact([rows, columns]).into())?;
    model.analyse(false)?;
    check_volumes(&model)?;
    let width = if *end == End::Pair { 2 } else { 1 };
    let model = model.into_optimized()?;
    let shape = model.output_fact(0)?.shape.as_concrete().map(<[usize]>::to_vec);
    let shape = shape.ok_or_else(|| format_err!("the shape of the output is open"))?;
    ensure!(
        shape.first() == Some(&rows) && shape.iter().product::<usize>() == rows * width,
        "the output has the shape {shape:?} for {rows} rows; {width} number(s) a row are read"
    );
    model.into_runnable()
}

/// Every intermediate result has a known shape, and none is large. Nothing was computed yet.
fn check_volumes(model: &InferenceModel) -> TractResult<()> {
    for node in model.nodes() {
        if node.inputs.is_empty() {
            continue;
        }
        for output in &node.outputs {
            let shape = output.fact.shape.concretize();
            let shape =
                shape.ok_or_else(|| format_err!("the shape behind {} is open", node.name))?;
            let volume = shape.iter().try_fold(1usize, |product, size| {
                size.to_usize().ok().and_then(|size| product.checked_mul(size))
            });
            let is_small = volume.is_some_and(|volume| volume <= VOLUME_MAX);
            ensure!(
                is_small,
                "the result of {} has the shape {shape:?}; at most {VOLUME_MAX} numbers",
                node.name
            );
        }
    }
    Ok(())
}

/// tract asserts what it thinks of a graph: a panic of its is a refusal of ours.
fn caught<T>(work: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            bail!("it panicked: {}", text.unwrap_or("without a word"))
        }
    }
}

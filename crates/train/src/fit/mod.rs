//! Learns a model from the first part of a table, calibrates it on the second.
//!
//! Linear models, factorisation machines and the network go over the training rows in shuffled
//! batches until the validation rows say that more would be worse, and give back what was best; that can
//! be stopped anywhere and taken up again ([`Checkpoint`]). Trees are grown by LightGBM, one after the
//! other, until the same is said of them; only builds with the feature `lightgbm` have it.
//!
//! Then, in this order and each once: the log odds, plus the logarithm of the share of unclicked rows
//! that was learned from, calibrated on all validation rows as they were logged.

mod batches;
mod checkpoint;
mod encoding;
mod learner;
#[cfg(feature = "lightgbm")]
mod lightgbm;
mod mean;
mod model;
mod options;
mod trees;

use reckon_model::{Calibration, Calibrator, CalibratorOptions};

use crate::split::{Counted, Share, for_each_batch};
use crate::{
    Examination, Order, Parts, Position, Progress, RowRef, Rows, Schema, Table, TrainError,
};

pub use checkpoint::Checkpoint;
pub use encoding::{CodeOptions, Encoder, Encoding, Ordered};
pub use model::Model;
pub use options::{Epochs, FitOptions, Learner};
pub use reckon_bundle::encoding::PAIRED_MAX;
pub use trees::TreeOptions;

/// A model with everything that a bundle says of it.
#[derive(Debug)]
pub struct Fitted {
    /// The columns of the rows it was trained on.
    pub schema: Schema,
    /// How rows become the model's.
    pub encoding: Encoder,
    /// The model.
    pub model: Model,
    /// What was done about the place a row was shown at.
    pub position: Position,
    /// How likely each place is looked at, where that was learned; else 1 everywhere.
    pub examination: Examination,
    /// `w`: the share of unclicked rows that it learned from.
    pub sampling_w: f64,
    /// From log odds, after `+ ln w`, to calibrated ones.
    pub calibration: Calibration,
    /// The rows it was trained on.
    pub training: Training,
    /// Times that it went over the training rows until it was best; of trees, how many they are.
    pub epochs: usize,
    /// Its log loss on the validation rows, after `+ ln w` and before calibration.
    pub validation_loss: f64,
}

/// The rows a model was trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Training {
    /// The first moment, in milliseconds.
    pub from_ms: i64,
    /// The moment behind the last.
    pub to_ms: i64,
    /// Rows before sampling.
    pub rows: u64,
    /// Clicks among them.
    pub clicks: u64,
}

/// Fits a model.
pub fn fit(
    table: &Table,
    parts: &Parts,
    options: &FitOptions,
    progress: &mut dyn Progress,
) -> Result<Fitted, TrainError> {
    options.check()?;
    let train = Share { rows: parts.train.clone(), sampling: options.sampling };
    let validation = Share::all(parts.validation.clone());
    let counted = train.count(table)?;
    if counted.clicks == 0 || counted.rows == counted.clicks {
        let problem = "the training rows are all clicked, or none is: nothing can be learned; take \
                       more rows, or sample fewer of those not clicked away";
        return Err(TrainError::Data(problem.to_owned()));
    }
    let task = batches::Task {
        table,
        train,
        validation,
        click_rate: counted.clicks as f64 / counted.rows as f64,
        rows: counted.rows,
        kept: counted.kept(),
        options,
    };
    let best = match &options.learner {
        #[cfg(feature = "lightgbm")]
        Learner::Trees { .. } => lightgbm::run(&task, progress)?,
        _ => batches::run(&task, progress)?,
    };
    let fitted = finish(&task, counted, best)?;
    batches::forget(&task)?;
    Ok(fitted)
}

/// Calibrates and puts together.
fn finish(
    task: &batches::Task<'_>,
    counted: Counted,
    best: batches::Best,
) -> Result<Fitted, TrainError> {
    let mut fitted = Fitted {
        schema: task.table.schema().clone(),
        encoding: best.encoding,
        model: best.model,
        position: task.options.position,
        examination: best.examination,
        sampling_w: counted.kept(),
        calibration: Calibration::identity(),
        training: training(task, counted)?,
        epochs: best.epochs,
        validation_loss: best.loss,
    };
    // Which rows were looked at is thought by what the model gives them: the second time, calibrated.
    let times = if fitted.examination == Examination::whole() { 1 } else { 2 };
    for _ in 0..times {
        fitted.calibration = calibration(task, &fitted)?;
    }
    Ok(fitted)
}

/// The curve of all validation rows, each as far as it was looked at.
fn calibration(task: &batches::Task<'_>, fitted: &Fitted) -> Result<Calibration, TrainError> {
    let deviation = task.options.calibration_deviation;
    // All rows count alike: none is so old that it would fade.
    let mut calibrator = Calibrator::new(CalibratorOptions { half_life: 1e12, deviation });
    let mut logits = Vec::new();
    for_each_batch(task.table, &task.validation, Order::Logged, |batch| {
        logits.clear();
        fitted.logits_as_shown(batch, &mut logits)?;
        for (row, &logit) in batch.iter().zip(&logits) {
            let weight = row.weight * fitted.looked_at(row, logit);
            calibrator.observe(logit, weight);
            if row.label {
                calibrator.click(logit, weight);
            }
        }
        Ok(())
    })?;
    Ok(calibrator.fit())
}

fn training(task: &batches::Task<'_>, counted: Counted) -> Result<Training, TrainError> {
    let mut span = (i64::MAX, i64::MIN);
    for_each_batch(task.table, &Share::all(task.train.rows.clone()), Order::Logged, |batch| {
        for &time in &batch.times {
            span = (span.0.min(time), span.1.max(time + 1));
        }
        Ok(())
    })?;
    let rows = task.train.rows.end - task.train.rows.start;
    Ok(Training { from_ms: span.0, to_ms: span.1, rows, clicks: counted.clicks })
}

impl Fitted {
    /// Appends log odds of rows at place 1, `+ ln w`, before calibration.
    pub fn logits(&self, rows: &Rows, out: &mut Vec<f32>) -> Result<(), TrainError> {
        self.logits_at(rows, Some(1), out)
    }

    /// The same as the model learned them: where the place is a field, each row's own.
    pub(crate) fn logits_as_shown(
        &self,
        rows: &Rows,
        out: &mut Vec<f32>,
    ) -> Result<(), TrainError> {
        self.logits_at(rows, None, out)
    }

    /// How far a row with these log odds, before calibration, tells what is clicked where it is looked at.
    pub(crate) fn looked_at(&self, row: RowRef<'_>, logit: f32) -> f32 {
        let logit = self.calibration.logit(logit);
        self.examination.looked_at(row.position, logit, row.label) as f32
    }

    fn logits_at(
        &self,
        rows: &Rows,
        place: Option<u16>,
        out: &mut Vec<f32>,
    ) -> Result<(), TrainError> {
        let start = out.len();
        let mut encoded = Rows::default();
        self.encoding.encode(rows, &mut encoded);
        self.position.shape(&mut encoded, place);
        self.model.score(&encoded, out)?;
        let correction = self.sampling_w.ln() as f32;
        out[start..].iter_mut().for_each(|logit| *logit += correction);
        Ok(())
    }

    /// Appends calibrated log odds of rows.
    pub fn calibrated(&self, rows: &Rows, out: &mut Vec<f32>) -> Result<(), TrainError> {
        let start = out.len();
        self.logits(rows, out)?;
        out[start..].iter_mut().for_each(|logit| *logit = self.calibration.logit(*logit));
        Ok(())
    }
}

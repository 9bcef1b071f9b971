//! Goes over the training rows again and again, and keeps the model that did best on the validation rows.

use super::encoding::Encoding;
use super::learner::Learning;
use super::model::Model;
use super::options::{FitOptions, Learner};
use crate::split::{Share, for_each_batch};
use crate::{Order, Progress, Rows, Table, TrainError};

/// What is learned from what.
pub(super) struct Task<'a> {
    pub table: &'a Table,
    /// Sampled.
    pub train: Share,
    /// All of them.
    pub validation: Share,
    /// The share of clicks among the rows that are learned from.
    pub click_rate: f64,
    /// How many are learned from.
    pub rows: u64,
    /// `ln w`.
    pub correction: f32,
    pub options: &'a FitOptions,
}

/// The model that did best.
pub(super) struct Best {
    pub encoding: Encoding,
    pub model: Model,
    /// Counted from 1.
    pub epochs: usize,
    pub loss: f64,
}

/// Learns until the validation rows say that it is enough.
pub(super) fn run(task: &Task<'_>, progress: &mut dyn Progress) -> Result<Best, TrainError> {
    let epochs = task.options.learner.epochs();
    let encoding = match task.options.learner {
        Learner::Linear { .. } | Learner::Factor { .. } => {
            Encoding::buckets(task.table, &task.train)?
        }
        Learner::Dcn { .. } => Encoding::Plain,
    };
    let mut learning = Learning::new(task, &encoding)?;
    let mut best: Option<(Model, usize, f64)> = None;
    for epoch in 1..=epochs.most {
        learn(task, epoch, &encoding, &mut learning, progress)?;
        let model = learning.model()?;
        let loss = validation_loss(task, &encoding, &model)?;
        match &best {
            Some((_, at, least)) if loss >= *least => {
                if epoch - at >= epochs.patience {
                    break;
                }
            }
            _ => best = Some((model, epoch, loss)),
        }
    }
    let (model, epochs, loss) = best.expect("there is at least one epoch, with a finite loss");
    Ok(Best { encoding, model, epochs, loss })
}

/// One epoch. Each has its own order, which depends on the seed and its number alone.
fn learn(
    task: &Task<'_>,
    epoch: usize,
    encoding: &Encoding,
    learning: &mut Learning,
    progress: &mut dyn Progress,
) -> Result<(), TrainError> {
    let order = Order::Shuffled(task.options.seed.wrapping_add((epoch as u64).rotate_left(40)));
    let mut cursor = task.table.read(&task.train, order)?;
    let (mut batch, mut encoded) = (Rows::new(task.table.schema()), Rows::default());
    let (step, mut done) = (format!("epoch {epoch}"), 0);
    let mut labels = Vec::new();
    while cursor.next(&mut batch, task.options.learner.epochs().batch)? {
        if progress.is_stopped() {
            return Err(TrainError::Stopped);
        }
        encoding.encode(&batch, &mut encoded);
        labels.clear();
        labels.extend(batch.labels.iter().map(|&label| f32::from(u8::from(label))));
        learning.learn(&encoded, &labels)?;
        done += batch.len() as u64;
        progress.advance(&step, done, task.rows);
    }
    Ok(())
}

/// The log loss of the validation rows, each as heavy as it says, with the correction for sampling.
fn validation_loss(task: &Task<'_>, encoding: &Encoding, model: &Model) -> Result<f64, TrainError> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let (mut encoded, mut logits) = (Rows::default(), Vec::new());
    for_each_batch(task.table, &task.validation, Order::Logged, |batch| {
        encoding.encode(batch, &mut encoded);
        logits.clear();
        model.score(&encoded, &mut logits)?;
        for (row, &logit) in batch.iter().zip(&logits) {
            sum += f64::from(row.weight) * loss(logit + task.correction, row.label);
            weight += f64::from(row.weight);
        }
        Ok(())
    })?;
    let mean = sum / weight;
    match mean.is_finite() {
        true => Ok(mean),
        false => Err(TrainError::Data(
            "the log odds of validation rows are no numbers, or the rows weigh nothing: lower the \
             rates, or give rows weights above 0"
                .to_owned(),
        )),
    }
}

/// The log loss of one row.
fn loss(logit: f32, label: bool) -> f64 {
    let against = f64::from(if label { -logit } else { logit });
    against.max(0.0) + (-against.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_the_logarithm_of_the_probability_and_stays_finite() {
        assert!((loss(0.0, true) - 2f64.ln()).abs() < 1e-12);
        assert!((loss(3.0, true) + (1.0 / (1.0 + (-3f64).exp())).ln()).abs() < 1e-12);
        assert_eq!((loss(1e4, false), loss(1e4, true)), (1e4, 0.0));
        assert!(loss(f32::NAN, true).is_nan());
    }
}

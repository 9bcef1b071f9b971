//! Goes over the training rows again and again, and keeps the model that did best on the validation rows.

use super::checkpoint::{Checkpoint, Kept, task_hash};
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
        Learner::Dcn { .. } | Learner::Trees { .. } => Encoding::Plain,
    };
    let mut work = Work::begin(task, &encoding)?;
    loop {
        learn(task, &encoding, &mut work, progress)?;
        let model = work.learning.model()?;
        let loss = validation_loss(task, &encoding, &model)?;
        let is_better = work.best.as_ref().is_none_or(|(_, _, least)| loss < *least);
        if is_better {
            work.best = Some((model, work.epoch, loss));
        }
        let unbettered = work.best.as_ref().map_or(0, |(_, at, _)| work.epoch - at);
        if work.epoch >= epochs.most || unbettered >= epochs.patience {
            break;
        }
        (work.epoch, work.done) = (work.epoch + 1, 0);
    }
    let (model, epochs, loss) = work.best.expect("there was an epoch, with a finite loss");
    Ok(Best { encoding, model, epochs, loss })
}

/// Removes what was kept of a fit that is through.
pub(super) fn forget(task: &Task<'_>) -> Result<(), TrainError> {
    let Some(Checkpoint { path, .. }) = &task.options.checkpoint else { return Ok(()) };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::file(path)(error))
        }
        _ => Ok(()),
    }
}

/// How far a fit is.
struct Work {
    learning: Learning,
    /// From 1 on.
    epoch: usize,
    /// Rows of the epoch that were learned.
    done: u64,
    /// The best model, its epoch and its loss.
    best: Option<(Model, usize, f64)>,
}

impl Work {
    /// From the checkpoint, or from nothing.
    fn begin(task: &Task<'_>, encoding: &Encoding) -> Result<Self, TrainError> {
        let kept = match &task.options.checkpoint {
            Some(Checkpoint { path, .. }) => Kept::read(path, task_hash(task))?,
            None => None,
        };
        let Some(kept) = kept else {
            let learning = Learning::new(task, encoding)?;
            return Ok(Work { learning, epoch: 1, done: 0, best: None });
        };
        let learner = &task.options.learner;
        let best = match kept.best {
            Some((at, loss, bytes)) => Some((Learning::model_of(learner, bytes)?, at, loss)),
            None => None,
        };
        let learning = Learning::decode(learner, &kept.learner)?;
        Ok(Work { learning, epoch: kept.epoch, done: kept.done, best })
    }

    fn keep(&self, task: &Task<'_>) -> Result<(), TrainError> {
        let Some(Checkpoint { path, .. }) = &task.options.checkpoint else { return Ok(()) };
        let best = self.best.as_ref();
        let best = best.map(|(model, at, loss)| (*at, *loss, model.bytes().to_vec()));
        let mut learner = Vec::new();
        self.learning.encode(&mut learner);
        let kept = Kept { epoch: self.epoch, done: self.done, learner, best };
        kept.write(path, task_hash(task))
    }
}

/// One epoch, or what is left of it. Each has its own order, which depends on the seed and its number
/// alone.
fn learn(
    task: &Task<'_>,
    encoding: &Encoding,
    work: &mut Work,
    progress: &mut dyn Progress,
) -> Result<(), TrainError> {
    let own = (work.epoch as u64).rotate_left(40);
    let order = Order::Shuffled(task.options.seed.wrapping_add(own));
    let mut cursor = task.table.read(&task.train, order)?;
    cursor.skip(work.done)?;
    let (mut batch, mut encoded) = (Rows::new(task.table.schema()), Rows::default());
    let (step, mut labels, mut batches) = (format!("epoch {}", work.epoch), Vec::new(), 0);
    while cursor.next(&mut batch, task.options.learner.epochs().batch)? {
        if progress.is_stopped() {
            work.keep(task)?;
            return Err(TrainError::Stopped);
        }
        encoding.encode(&batch, &mut encoded);
        labels.clear();
        labels.extend(batch.labels.iter().map(|&label| f32::from(u8::from(label))));
        work.learning.learn(&encoded, &labels)?;
        work.done += batch.len() as u64;
        progress.advance(&step, work.done, task.rows);
        batches += 1;
        let every = task.options.checkpoint.as_ref().map(|checkpoint| checkpoint.batches);
        if every.is_some_and(|every| batches % every == 0) {
            work.keep(task)?;
        }
    }
    Ok(())
}

/// The log loss of the validation rows, each as heavy as it says, with the correction for sampling.
pub(super) fn validation_loss(
    task: &Task<'_>,
    encoding: &Encoding,
    model: &Model,
) -> Result<f64, TrainError> {
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

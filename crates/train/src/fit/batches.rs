//! Goes over the training rows again and again, and keeps the model that did best on the validation rows.

use reckon_model::LinearOptions;

use super::checkpoint::{Checkpoint, Kept, task_hash};
use super::encoding::Encoder;
use super::learner::Learning;
use super::model::Model;
use super::options::{Epochs, FitOptions, Learner};
use crate::position::{Examination, Position, Treatment};
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
    /// `w`: the share of rows not clicked that is learned from.
    pub kept: f64,
    pub options: &'a FitOptions,
}

/// The model that did best.
pub(super) struct Best {
    pub encoding: Encoder,
    pub model: Model,
    /// Counted from 1.
    pub epochs: usize,
    pub loss: f64,
    /// How likely each place is looked at.
    pub examination: Examination,
}

/// Learns until the validation rows say that it is enough.
pub(super) fn run(task: &Task<'_>, progress: &mut dyn Progress) -> Result<Best, TrainError> {
    let epochs = task.options.learner.epochs();
    let encoding = match task.options.learner {
        Learner::Linear { has_pairs: true, .. } | Learner::Factor { has_pairs: true, .. } => {
            Encoder::buckets(task.table, &task.train)?.paired()?
        }
        Learner::Linear { .. } | Learner::Factor { .. } => {
            Encoder::buckets(task.table, &task.train)?
        }
        Learner::Dcn { has_buckets: true, .. } => Encoder::both(task.table, &task.train)?,
        Learner::Dcn { .. } | Learner::Trees { .. } => Encoder::plain(task.table.schema()),
    };
    let mut work = Work::begin(task, &encoding, progress)?;
    loop {
        learn(task, &encoding, &mut work, progress)?;
        let model = work.learning.end_epoch()?;
        let examination = work.treatment.examination();
        let loss = validation_loss(task, &encoding, &model, &examination)?;
        if work.best.as_ref().is_none_or(|best| loss < best.loss) {
            work.best = Some(Found { model, epoch: work.epoch, loss, examination });
        }
        let unbettered = work.best.as_ref().map_or(0, |best| work.epoch - best.epoch);
        if work.epoch >= epochs.most || unbettered >= epochs.patience {
            break;
        }
        (work.epoch, work.done) = (work.epoch + 1, 0);
    }
    let best = work.best.expect("there was an epoch, with a finite loss");
    let Found { model, epoch: epochs, loss, examination } = best;
    Ok(Best { encoding, model, epochs, loss, examination })
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
    best: Option<Found>,
    treatment: Treatment,
}

/// The best model so far.
struct Found {
    model: Model,
    epoch: usize,
    loss: f64,
    examination: Examination,
}

impl Work {
    /// From the checkpoint, or from nothing.
    fn begin(
        task: &Task<'_>,
        encoding: &Encoder,
        progress: &mut dyn Progress,
    ) -> Result<Self, TrainError> {
        let (position, learned) = (task.options.position, || examination(task, progress));
        let mut treatment =
            Treatment::begin(position, task.table, &task.train, task.rows, learned)?;
        let kept = match &task.options.checkpoint {
            Some(Checkpoint { path, .. }) => Kept::read(path, task_hash(task))?,
            None => None,
        };
        let Some(kept) = kept else {
            let learning = Learning::new(task, encoding)?;
            return Ok(Work { learning, epoch: 1, done: 0, best: None, treatment });
        };
        let learner = &task.options.learner;
        // The task's hash says which treatment wrote this, so its bytes are there.
        let damaged = || TrainError::Data("an unfinished fit is cut short: remove it".to_owned());
        let best = match kept.best {
            Some((epoch, loss, bytes)) => {
                let found = treatment.decode_found(&bytes);
                let (examination, model) = found.ok_or_else(damaged)?;
                let model = Learning::model_of(learner, model.to_vec())?;
                Some(Found { model, epoch, loss, examination })
            }
            None => None,
        };
        let learning = treatment.resume(&kept.learner).ok_or_else(damaged)?;
        let learning = Learning::decode(learner, learning)?;
        Ok(Work { learning, epoch: kept.epoch, done: kept.done, best, treatment })
    }

    fn keep(&self, task: &Task<'_>) -> Result<(), TrainError> {
        let Some(Checkpoint { path, .. }) = &task.options.checkpoint else { return Ok(()) };
        let best = self.best.as_ref().map(|best| {
            let mut bytes = Vec::new();
            self.treatment.encode_found(&best.examination, &mut bytes);
            bytes.extend_from_slice(best.model.bytes());
            (best.epoch, best.loss, bytes)
        });
        let mut learner = Vec::new();
        self.treatment.encode(&mut learner);
        self.learning.encode(&mut learner);
        let kept = Kept { epoch: self.epoch, done: self.done, learner, best };
        kept.write(path, task_hash(task))
    }
}

/// One epoch, or what is left of it. Each has its own order, which depends on the seed and its number
/// alone.
fn learn(
    task: &Task<'_>,
    encoding: &Encoder,
    work: &mut Work,
    progress: &mut dyn Progress,
) -> Result<(), TrainError> {
    let own = (work.epoch as u64).rotate_left(40);
    let order = Order::Shuffled(task.options.seed.wrapping_add(own));
    let mut cursor = task.table.read(&task.train, order)?;
    cursor.skip(work.done)?;
    let (mut batch, mut encoded) = (Rows::new(task.table.schema()), Rows::default());
    let (mut labels, mut logits, mut batches) = (Vec::new(), Vec::new(), 0);
    let step = format!("epoch {}", work.epoch);
    while cursor.next(&mut batch, task.options.learner.epochs().batch)? {
        if progress.is_stopped() {
            work.keep(task)?;
            return Err(TrainError::Stopped);
        }
        encoding.encode(&batch, &mut encoded);
        work.treatment.shape(&mut encoded);
        logits.clear();
        if work.treatment.asks_the_model() {
            work.learning.score(&encoded, &mut logits)?;
            logits.iter_mut().for_each(|logit| *logit += task.kept.ln() as f32);
        }
        work.treatment.weigh(&mut encoded, &logits, task.kept);
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

/// What [`Position::Tower`] finds with a linear model: how likely each place is looked at, where all else
/// that is known of a row is held against its clicks.
fn examination(task: &Task<'_>, progress: &mut dyn Progress) -> Result<Examination, TrainError> {
    const EPOCHS: Epochs = Epochs { most: 6, patience: 2, batch: 512 };
    let learner = Learner::linear(LinearOptions::default(), EPOCHS);
    let options =
        FitOptions { learner, position: Position::Tower, checkpoint: None, ..task.options.clone() };
    let (train, validation) = (task.train.clone(), task.validation.clone());
    let task = Task { train, validation, options: &options, ..*task };
    Ok(run(&task, progress)?.examination)
}

/// The log loss of the validation rows, each as heavy as it says, with the correction for sampling.
pub(super) fn validation_loss(
    task: &Task<'_>,
    encoding: &Encoder,
    model: &Model,
    examination: &Examination,
) -> Result<f64, TrainError> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let (mut encoded, mut logits) = (Rows::default(), Vec::new());
    let correction = task.kept.ln() as f32;
    for_each_batch(task.table, &task.validation, Order::Logged, |batch| {
        encoding.encode(batch, &mut encoded);
        task.options.position.shape(&mut encoded, None);
        logits.clear();
        model.score(&encoded, &mut logits)?;
        for (row, &logit) in batch.iter().zip(&logits) {
            if examination.chance(row.position) == 0.0 {
                continue;
            }
            let loss = examination.loss(row.position, logit + correction, row.label);
            sum += f64::from(row.weight) * loss;
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

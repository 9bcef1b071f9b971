//! Trees, grown by LightGBM itself, which is linked into this binary; scored by our own kernel.
//!
//! Out of core: bins are found from a sample of the training rows, then rows are pushed batch by batch, and
//! only bins stay in memory, one byte a value (two where a column has more than 256), beside some 40
//! bytes a training row of labels, weights, gradients and scores.
//!
//! Iterations end when the validation rows say so: their log loss, each as heavy as it says, with the
//! correction for sampling as the score that they start from. The iteration that was best is kept.
//!
//! # What goes on after a stop
//! A [`super::Checkpoint`] holds the trees so far. Whoever goes on starts each row from what those trees
//! say of it, summed as LightGBM sums, and grows the next tree from there: without draws
//! ([`TreeOptions`]' shares at 1) that is the forest of a fit that was never stopped. With draws the
//! rest is drawn anew, from the seed and the iteration: as good, and the same whenever one stops at the
//! same iteration and goes on, but not the forest of a fit that was never stopped.

mod library;
mod rows;
#[cfg(test)]
mod tests;

use reckon_model::trees::Forest;

use super::batches::{Best, Task, validation_loss};
use super::checkpoint::{Checkpoint, Kept, task_hash};
use super::encoding::Encoder;
use super::model::Model;
use super::options::{Epochs, Learner};
use super::trees::TreeOptions;
use crate::{Examination, Progress, TrainError};
use library::{Batch, Booster, Dataset, Loading, Session, Size};
use rows::{Part, Source};

/// Grows trees until the validation rows say that it is enough.
pub(super) fn run(task: &Task<'_>, progress: &mut dyn Progress) -> Result<Best, TrainError> {
    let Learner::Trees { options, codes, epochs } = &task.options.learner else {
        unreachable!("whoever calls has trees to grow");
    };
    let encoding = match task.table.schema().fields.is_empty() {
        true => Encoder::plain(task.table.schema()),
        false => Encoder::codes(task.table, &task.train, *codes)?,
    };
    let source = Source::new(task, &encoding, encoding.categorical())?;
    let (text, at, loss) = grown(&source, task, options, *epochs, progress)?;
    let model = Model::trees(text)?;
    // By our own kernel, as for every other model; LightGBM's sum chose the iteration.
    let examination = Examination::whole();
    let own = validation_loss(task, &encoding, &model, &examination)?;
    debug_assert!((own - loss).abs() < 1e-5 * own.max(1.0), "{own} here, {loss} there");
    Ok(Best { encoding, model, epochs: at, loss: own, examination })
}

/// How far the growth is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Growth {
    /// Trees so far.
    trees: usize,
    /// Those that did best, and their loss.
    best: Option<(usize, f64)>,
    /// The trees' text, where they are from a checkpoint.
    text: Option<String>,
}

impl Growth {
    /// From the checkpoint, or from nothing.
    fn begin(task: &Task<'_>) -> Result<Self, TrainError> {
        let Some(Checkpoint { path, .. }) = &task.options.checkpoint else {
            return Ok(Growth::default());
        };
        let Some(kept) = Kept::read(path, task_hash(task))? else { return Ok(Growth::default()) };
        let text = String::from_utf8(kept.learner).ok().filter(|text| !text.contains('\0'));
        let text =
            text.ok_or_else(|| TrainError::content(path, "no whole unfinished fit: remove it"))?;
        let best = kept.best.map(|(at, loss, _)| (at, loss));
        Ok(Growth { trees: kept.epoch, best, text: Some(text) })
    }

    /// The best trees are the first ones of all, so they are not kept twice.
    fn keep(&self, task: &Task<'_>, booster: &Booster<'_>) -> Result<(), TrainError> {
        let Some(Checkpoint { path, .. }) = &task.options.checkpoint else { return Ok(()) };
        if self.trees == 0 {
            return Ok(());
        }
        let learner = booster.text(self.trees)?.into_bytes();
        let best = self.best.map(|(at, loss)| (at, loss, Vec::new()));
        Kept { epoch: self.trees, done: 0, learner, best }.write(path, task_hash(task))
    }

    fn is_over(&self, epochs: Epochs) -> bool {
        let unbettered = self.best.map_or(0, |(at, _)| self.trees - at);
        self.trees >= epochs.most || unbettered >= epochs.patience
    }
}

/// The best trees' text, how many they are and the loss that chose them.
fn grown(
    source: &Source<'_>,
    task: &Task<'_>,
    options: &TreeOptions,
    epochs: Epochs,
    progress: &mut dyn Progress,
) -> Result<(String, usize, f64), TrainError> {
    let mut growth = Growth::begin(task)?;
    let drawn = if options.is_drawn() { growth.trees as u64 } else { 0 };
    let seed = task.options.seed.wrapping_add(drawn.rotate_left(40));
    let parameters = options.parameters(seed, &source.categorical);
    let session = Session::begin()?;
    let before = growth.text.take();
    let data = load(source, task, &session, &parameters, before.as_deref(), progress)?;
    let mut booster = Booster::new([&data[0], &data[1]], &parameters)?;
    if let Some(before) = before {
        booster.continue_from(&before)?;
    }
    let every = task.options.checkpoint.as_ref().map(|checkpoint| checkpoint.batches);
    while !growth.is_over(epochs) {
        if progress.is_stopped() {
            growth.keep(task, &booster)?;
            return Err(TrainError::Stopped);
        }
        if !booster.grow()? {
            break;
        }
        growth.trees += 1;
        let loss = finite(booster.loss()?)?;
        if growth.best.is_none_or(|(_, least)| loss < least) {
            growth.best = Some((growth.trees, loss));
        }
        progress.advance("trees", growth.trees as u64, epochs.most as u64);
        if every.is_some_and(|every| (growth.trees as u64).is_multiple_of(every)) {
            growth.keep(task, &booster)?;
        }
    }
    let (at, loss) = growth.best.ok_or_else(|| {
        TrainError::Data(
            "no column parts the rows, so every tree would be one leaf: give columns that vary, or \
             lower trees.leaf_rows"
                .to_owned(),
        )
    })?;
    Ok((booster.text(at)?, at, loss))
}

fn finite(loss: f64) -> Result<f64, TrainError> {
    if loss.is_finite() {
        return Ok(loss);
    }
    let problem = "the log odds of validation rows are no numbers, or the rows weigh nothing: lower \
                   trees.rate, or give rows weights above 0";
    Err(TrainError::Data(problem.to_owned()))
}

/// Training and validation rows as bins. Where trees are there already, rows start from what those say.
fn load<'s>(
    source: &Source<'_>,
    task: &Task<'_>,
    session: &'s Session,
    parameters: &str,
    before: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<[Dataset<'s>; 2], TrainError> {
    let forest = match before {
        Some(text) => Some(Model::forest(text)?),
        None => None,
    };
    let parts = [(Part::Train, 0.0), (Part::Validation, task.kept.ln())];
    let sizes = parts.map(|(part, base)| Size {
        rows: source.rows(part),
        has_scores: forest.is_some() || base != 0.0,
    });
    let sample = source.sample(progress)?;
    let mut loading = Loading::pair(session, sample, parameters, sizes)?;
    loading[0].name(&source.names)?;
    for (data, (part, base)) in loading.iter_mut().zip(parts) {
        let mut scores = Scores { forest: forest.as_ref(), base, scores: Vec::new() };
        source.for_each(part, "bins", progress, |batch| {
            data.push(&Batch { scores: scores.of(batch), ..*batch })
        })?;
    }
    let [train, validation] = loading;
    Ok([train.finish()?, validation.finish()?])
}

/// What rows start from.
struct Scores<'a> {
    forest: Option<&'a Forest>,
    /// Added to each.
    base: f64,
    scores: Vec<f64>,
}

impl Scores<'_> {
    fn of(&mut self, batch: &Batch<'_>) -> Option<&[f64]> {
        if self.forest.is_none() && self.base == 0.0 {
            return None;
        }
        self.scores.clear();
        self.scores.resize(batch.labels.len(), 0.0);
        if let Some(forest) = self.forest {
            forest.score(batch.values, &mut forest.scratch(), &mut self.scores);
        }
        self.scores.iter_mut().for_each(|score| *score += self.base);
        Some(&self.scores)
    }
}

//! Says whether a model may replace another: how good it is on rows that neither has seen, how far the
//! two differ, and whether that is more than chance.
//!
//! Both score the same rows, and each resample judges both on the same draw, so what is hard in a row is
//! hard for both and cancels. A model is refused when it is surely worse, when it says no more than the
//! click rate alone, or when its probabilities are off so far that a bid must not trust them. One that is
//! as good within the interval is not refused: it is newer.
//!
//! Each row counts once here, whatever its weight: rows whose clicks may still come are no test rows.

mod refusal;

use std::ops::Range;

use reckon_bundle::Bundle;
use reckon_model::{
    Random, auc, auc_difference, calibration_ratio, expected_calibration_error, log_loss, log_odds,
    sigmoid,
};
use serde::{Deserialize, Serialize};

use crate::evaluate::for_each_answer;
use crate::split::{Share, for_each_batch};
use crate::{Fitted, Order, Rows, Schema, Table, TrainError};

pub use refusal::Refusal;

/// Rows that are judged at once: some 20 bytes each in memory.
const ROWS_MAX: u64 = 1 << 26;
/// Draws of an interval, at most.
const RESAMPLES_MAX: usize = 10_000;
/// Bins of the calibration error, at most.
const BINS_MAX: usize = 10_000;

/// What can be judged.
pub trait Scorer {
    /// The columns it wants.
    fn schema(&self) -> &Schema;

    /// Appends calibrated log odds, one a row.
    fn score(&self, rows: &Rows, out: &mut Vec<f32>) -> Result<(), TrainError>;
}

impl Scorer for Fitted {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn score(&self, rows: &Rows, out: &mut Vec<f32>) -> Result<(), TrainError> {
        self.calibrated(rows, out)
    }
}

/// How strictly is judged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeOptions {
    /// Draws of an interval, 40 to 10,000.
    pub resamples: usize,
    /// Decides them.
    pub seed: u64,
    /// Bins of equal mass of the calibration error, 1 to 10,000.
    pub bins: usize,
    /// Predicted clicks may be so many times the real ones at least.
    pub ratio_min: f64,
    /// And at most.
    pub ratio_max: f64,
}

impl Default for JudgeOptions {
    fn default() -> Self {
        JudgeOptions { resamples: 400, seed: 1, bins: 20, ratio_min: 0.8, ratio_max: 1.25 }
    }
}

/// How good a model is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The probability that a clicked row has the higher score of two.
    pub auc: f64,
    /// Mean log loss, in nats.
    pub log_loss: f64,
    /// Mean distance of predicted and real click rates over the bins.
    pub calibration_error: f64,
    /// Predicted clicks over clicks.
    pub calibration_ratio: f64,
}

/// The challenger's figure less the champion's, with the interval of 95 of 100 draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// 2.5 of 100 draws are below it.
    pub low: f64,
    /// That of the rows as they are.
    pub middle: f64,
    /// 2.5 of 100 draws are above it.
    pub high: f64,
}

/// A challenger beside a champion.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// How good the champion is.
    pub champion: Figures,
    /// Of the AUC, rows drawn one by one. Above 0 the challenger is better.
    pub auc: Difference,
    /// Of the log loss, lists drawn whole: their rows go together. Below 0 the challenger is better.
    pub log_loss: Difference,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Rows that were judged by.
    pub rows: u64,
    /// Of those, clicked.
    pub clicks: u64,
    /// The log loss of the rows' own click rate, said of each.
    pub constant_log_loss: f64,
    /// How good the model is; nothing where that could not be measured.
    pub figures: Option<Figures>,
    /// Beside the champion, where there is one.
    pub comparison: Option<Comparison>,
    /// Why it is refused; empty where it is not.
    pub refusals: Vec<Refusal>,
}

impl Verdict {
    /// Whether it may replace the champion.
    pub fn is_accepted(&self) -> bool {
        self.refusals.is_empty()
    }
}

/// Judges a challenger by these rows of a table, all of them.
pub fn judge(
    table: &Table,
    rows: Range<u64>,
    challenger: &dyn Scorer,
    champion: Option<&dyn Scorer>,
    options: &JudgeOptions,
) -> Result<Verdict, TrainError> {
    options.check()?;
    check_count(&rows)?;
    let seen = Seen::of(table, &Share::all(rows), challenger, champion)?;
    Ok(seen.verdict(options))
}

/// Judges a bundle beside the one that it would replace, as each answers: list by list, calibrated. What the
/// champion wants and the table does not have is an error.
///
/// A model that answers for place 1 whatever place a row had is judged by rows of `place` 1 alone: elsewhere
/// fewer click than it says, and rightly so. None judges by all rows.
pub fn judge_bundles(
    table: &Table,
    rows: Range<u64>,
    challenger: &Bundle,
    champion: Option<&Bundle>,
    place: Option<u16>,
    options: &JudgeOptions,
) -> Result<Verdict, TrainError> {
    options.check()?;
    check_count(&rows)?;
    let share = Share::all(rows);
    let is_judged = |list: &Rows, at: usize| place.is_none_or(|place| list.positions[at] == place);
    let mut seen = Seen::default();
    for_each_answer(challenger, table, &share, |list, answers| {
        for (at, &answer) in answers.iter().enumerate().filter(|(at, _)| is_judged(list, *at)) {
            seen.labels.push(list.labels[at]);
            seen.challenger.push(log_odds(answer));
        }
        if seen.ends.last().copied().unwrap_or(0) < seen.labels.len() {
            seen.ends.push(seen.labels.len());
        }
        Ok(())
    })?;
    if let Some(champion) = champion {
        let mut said = Vec::new();
        for_each_answer(champion, table, &share, |list, answers| {
            let judged = answers.iter().enumerate().filter(|(at, _)| is_judged(list, *at));
            said.extend(judged.map(|(_, &answer)| log_odds(answer)));
            Ok(())
        })?;
        seen.champion = Some(said);
    }
    Ok(seen.verdict(options))
}

/// The rows, and what was said of them.
#[derive(Default)]
struct Seen {
    labels: Vec<bool>,
    /// Where each list ends.
    ends: Vec<usize>,
    challenger: Vec<f32>,
    champion: Option<Vec<f32>>,
}

impl Seen {
    fn of(
        table: &Table,
        share: &Share,
        challenger: &dyn Scorer,
        champion: Option<&dyn Scorer>,
    ) -> Result<Self, TrainError> {
        check_schema(table, challenger, "model")?;
        champion.map_or(Ok(()), |champion| check_schema(table, champion, "champion"))?;
        let mut seen = Seen { champion: champion.map(|_| Vec::new()), ..Seen::default() };
        let mut group = None;
        for_each_batch(table, share, Order::Logged, |batch| {
            for row in batch.iter() {
                if group.replace(row.group).is_some_and(|last| last != row.group) {
                    seen.ends.push(seen.labels.len());
                }
                seen.labels.push(row.label);
            }
            challenger.score(batch, &mut seen.challenger)?;
            match (champion, &mut seen.champion) {
                (Some(champion), Some(out)) => champion.score(batch, out),
                _ => Ok(()),
            }
        })?;
        seen.ends.push(seen.labels.len());
        let broken = seen.champion.as_deref().map_or(0, not_finite);
        if broken > 0 {
            let problem = format!("its log odds of {broken} rows are no numbers: leave it out");
            return Err(TrainError::option("champion", problem));
        }
        Ok(seen)
    }

    fn verdict(&self, options: &JudgeOptions) -> Verdict {
        let clicks = self.labels.iter().filter(|label| **label).count();
        let mut verdict = Verdict {
            rows: self.labels.len() as u64,
            clicks: clicks as u64,
            constant_log_loss: self.constant_log_loss(clicks),
            figures: None,
            comparison: None,
            refusals: Vec::new(),
        };
        let broken = not_finite(&self.challenger) as u64;
        match figures(&self.challenger, &self.labels, options) {
            _ if broken > 0 => verdict.refusals.push(Refusal::NoNumbers { rows: broken }),
            None => verdict.refusals.push(Refusal::OneKind),
            Some(figures) => {
                verdict.figures = Some(figures);
                verdict.comparison = self.comparison(options);
                verdict.refusals = refusal::refusals(&figures, &verdict, options);
            }
        }
        verdict
    }

    fn comparison(&self, options: &JudgeOptions) -> Option<Comparison> {
        let theirs = self.champion.as_deref()?;
        let (ours, labels) = (&self.challenger, &self.labels);
        let auc = auc_difference(ours, theirs, labels, options.resamples, options.seed)?;
        Some(Comparison {
            champion: figures(theirs, labels, options)?,
            auc: Difference { low: auc.low, middle: auc.middle, high: auc.high },
            log_loss: self.log_loss_difference(theirs, options),
        })
    }

    /// Lists are drawn with replacement, each with all of its rows.
    fn log_loss_difference(&self, theirs: &[f32], options: &JudgeOptions) -> Difference {
        let lists = self.lists(theirs);
        let mean = |sum: (f64, f64)| sum.0 / sum.1;
        let add = |sum: (f64, f64), list: &(f64, f64)| (sum.0 + list.0, sum.1 + list.1);
        let mut random = Random::new(options.seed);
        let mut draw = || {
            let drawn = (0..lists.len()).map(|_| &lists[random.below(lists.len() as u64) as usize]);
            mean(drawn.fold((0.0, 0.0), add))
        };
        let mut means: Vec<_> = (0..options.resamples).map(|_| draw()).collect();
        means.sort_by(f64::total_cmp);
        let at = |share: f64| means[(share * means.len() as f64) as usize];
        let middle = mean(lists.iter().fold((0.0, 0.0), add));
        Difference { low: at(0.025), middle, high: at(0.975) }
    }

    /// What each list's losses differ by in sum, and its rows.
    fn lists(&self, theirs: &[f32]) -> Vec<(f64, f64)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let list = |(start, &end): (usize, &usize)| {
            let rows = (end - start) as f64;
            let loss = |logits: &[f32]| log_loss(&logits[start..end], &self.labels[start..end]);
            ((loss(&self.challenger) - loss(theirs)) * rows, rows)
        };
        starts.zip(&self.ends).map(list).collect()
    }

    fn constant_log_loss(&self, clicks: usize) -> f64 {
        let rows = self.labels.len();
        if clicks == 0 || clicks == rows {
            return 0.0;
        }
        log_loss(&vec![log_odds((clicks as f64 / rows as f64) as f32); rows], &self.labels)
    }
}

fn check_count(rows: &Range<u64>) -> Result<(), TrainError> {
    let count = rows.end.saturating_sub(rows.start);
    if count > ROWS_MAX {
        let problem = format!("{count} rows; at most {ROWS_MAX} are judged at once: take fewer");
        return Err(TrainError::option("test", problem));
    }
    Ok(())
}

fn figures(logits: &[f32], labels: &[bool], options: &JudgeOptions) -> Option<Figures> {
    let probabilities: Vec<_> = logits.iter().map(|&logit| sigmoid(logit)).collect();
    Some(Figures {
        auc: auc(logits, labels)?,
        log_loss: log_loss(logits, labels),
        calibration_error: expected_calibration_error(&probabilities, labels, options.bins),
        calibration_ratio: calibration_ratio(&probabilities, labels)?,
    })
}

fn not_finite(logits: &[f32]) -> usize {
    logits.iter().filter(|logit| !logit.is_finite()).count()
}

fn check_schema(table: &Table, scorer: &dyn Scorer, who: &'static str) -> Result<(), TrainError> {
    match scorer.schema() == table.schema() {
        true => Ok(()),
        false => Err(TrainError::option(
            who,
            "it wants other columns than the table has: make the table with its columns",
        )),
    }
}

impl JudgeOptions {
    fn check(&self) -> Result<(), TrainError> {
        if !(40..=RESAMPLES_MAX).contains(&self.resamples) {
            return Err(TrainError::option("resamples", "40 to 10,000"));
        }
        if !(1..=BINS_MAX).contains(&self.bins) {
            return Err(TrainError::option("bins", "1 to 10,000"));
        }
        if !(self.ratio_min >= 0.0 && self.ratio_max.is_finite() && self.ratio_min < self.ratio_max)
        {
            let problem = "ratio_min is 0 or more and below ratio_max";
            return Err(TrainError::option("ratio_min", problem));
        }
        Ok(())
    }
}

//! Judges the probabilities of a stream, while it runs.
//!
//! Two histograms over the log odds, one of what was shown and one of what was clicked, from which
//! all figures follow. A click comes late and retracts the "not clicked" of its impression; each is
//! counted when it comes. Both are streams of their own, so where they run evenly the figures are
//! right although the latest impressions still wait for their clicks; behind a sudden change they
//! lag by that wait.
//!
//! The bins are 1/64 wide in log odds, some 1.6 % of a small probability. Two rows of one bin count
//! as a tie, so the AUC is uncertain by half of all pairs that share a bin:
//! [`Judgement::auc_resolution`] says how much that is. Losses and sums do not pass through the bins
//! and are exact.

use crate::StateError;
use crate::decay::Decay;
use crate::frame::{self, Label};
use crate::log_odds;
use crate::odds::softplus;

const BINS: usize = 1_024;
const BINS_PER_LOGIT: f32 = 64.0;
/// Lower log odds fall into the first bin; those above 4 into the last.
const LOGIT_MIN: f32 = -12.0;
/// Probabilities are held this far from 0 and 1, so that no single row can make the loss infinite.
const LOGIT_BOUND: f32 = 20.0;

const LABEL: Label = Label { magic: *b"RKJU", version: 1, name: "a judge's state" };

/// Counts what was predicted and what came of it; the old fades.
#[derive(Clone, Debug, PartialEq)]
pub struct Judge {
    decay: Decay,
    sums: Sums,
    shown: Vec<f64>,
    clicked: Vec<f64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Sums {
    impressions: f64,
    clicks: f64,
    predicted: f64,
    loss: f64,
}

/// What a [`Judge`] finds; all counts are faded ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Impressions in sight.
    pub impressions: f64,
    /// Clicks in sight.
    pub clicks: f64,
    /// Clicks that were predicted for these impressions.
    pub predicted_clicks: f64,
    /// Mean log loss of an impression.
    pub log_loss: f64,
    /// The log loss of who predicts the same click rate for every impression, knowing it: the model
    /// must be below.
    pub constant_log_loss: f64,
    /// The AUC; `None` where there are no clicks, or nothing but clicks.
    pub auc: Option<f64>,
    /// The AUC of the exact scores is at most this far away.
    pub auc_resolution: f64,
}

impl Judgement {
    /// Predicted clicks over clicks; `None` without clicks.
    pub fn calibration_ratio(&self) -> Option<f64> {
        (self.clicks > 0.0).then(|| self.predicted_clicks / self.clicks)
    }

    /// Log loss over that of the constant click rate (normalized entropy; He et al., ADKDD 2014):
    /// below 1 the model knows something. `None` where the constant rate makes no loss.
    pub fn normalized_entropy(&self) -> Option<f64> {
        (self.constant_log_loss > 0.0).then(|| self.log_loss / self.constant_log_loss)
    }
}

impl Judge {
    /// After `half_life` impressions what was seen counts half; `f64::INFINITY` forgets nothing.
    ///
    /// # Panics
    /// Where `half_life` is not above 0.
    pub fn new(half_life: f64) -> Self {
        Judge {
            decay: Decay::new(half_life),
            sums: Sums::default(),
            shown: vec![0.0; BINS],
            clicked: vec![0.0; BINS],
        }
    }

    /// An impression, with the probability that was predicted for it.
    pub fn impression(&mut self, probability: f32) {
        let shrink = self.decay.pass(1.0);
        if shrink != 1.0 {
            self.shrink(shrink);
        }
        let (logit, unit) = (bounded_log_odds(probability), self.decay.unit());
        self.shown[bin(logit)] += unit;
        self.sums.impressions += unit;
        self.sums.predicted += unit * f64::from(probability);
        self.sums.loss += unit * softplus(f64::from(logit));
    }

    /// The click of an earlier impression, with the probability that was predicted for that.
    pub fn click(&mut self, probability: f32) {
        let (logit, unit) = (bounded_log_odds(probability), self.decay.unit());
        self.clicked[bin(logit)] += unit;
        self.sums.clicks += unit;
        // The impression's loss was that of "not clicked"; the difference to "clicked" is -logit.
        self.sums.loss -= unit * f64::from(logit);
    }

    /// What was found so far.
    pub fn judgement(&self) -> Judgement {
        let unit = self.decay.unit();
        let (pairs, ties, all) = self.pairs();
        let impressions = self.sums.impressions.max(f64::MIN_POSITIVE);
        let constant = entropy((self.sums.clicks / impressions).min(1.0));
        Judgement {
            impressions: self.sums.impressions / unit,
            clicks: self.sums.clicks / unit,
            predicted_clicks: self.sums.predicted / unit,
            log_loss: self.sums.loss / impressions,
            constant_log_loss: constant,
            auc: (all > 0.0).then(|| (pairs + ties / 2.0) / all),
            auc_resolution: if all > 0.0 { ties / 2.0 / all } else { 0.0 },
        }
    }

    /// Pairs of a clicked and a not clicked row: those in order, those in one bin, all.
    fn pairs(&self) -> (f64, f64, f64) {
        let (mut pairs, mut ties, mut misses_below, mut clicks) = (0.0, 0.0, 0.0, 0.0);
        for (&shown, &clicked) in self.shown.iter().zip(&self.clicked) {
            // Clicks fade a little later than their impressions; a bin has no fewer than no misses.
            let misses = (shown - clicked).max(0.0);
            pairs += clicked * misses_below;
            ties += clicked * misses;
            misses_below += misses;
            clicks += clicked;
        }
        (pairs, ties, clicks * misses_below)
    }

    fn shrink(&mut self, factor: f64) {
        let Sums { impressions, clicks, predicted, loss } = &mut self.sums;
        let sums = [impressions, clicks, predicted, loss].into_iter();
        for sum in sums.chain(&mut self.shown).chain(&mut self.clicked) {
            *sum *= factor;
        }
    }

    /// Appends the durable form: half-life, unit, the four sums, both histograms, all `f64`, within a
    /// frame with a checksum.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Sums { impressions, clicks, predicted, loss } = self.sums;
        let head =
            [self.decay.half_life(), self.decay.unit(), impressions, clicks, predicted, loss];
        frame::seal(out, LABEL, |out| {
            for number in head.iter().chain(&self.shown).chain(&self.clicked) {
                out.extend_from_slice(&number.to_le_bytes());
            }
        });
    }

    /// Reads the durable form back.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = frame::open(bytes, LABEL)?;
        let (half_life, unit) = (reader.f64("half-life")?, reader.f64("unit")?);
        let decay = Decay::resume(half_life, unit).ok_or(StateError::Field("unit"))?;
        let sums = Sums {
            impressions: reader.f64("impressions")?,
            clicks: reader.f64("clicks")?,
            predicted: reader.f64("predicted clicks")?,
            loss: reader.f64("loss")?,
        };
        let mut histogram = || (0..BINS).map(|_| reader.f64("histogram")).collect::<Result<_, _>>();
        let (shown, clicked) = (histogram()?, histogram()?);
        reader.end()?;
        Ok(Judge { decay, sums, shown, clicked })
    }
}

fn bounded_log_odds(probability: f32) -> f32 {
    log_odds(probability).clamp(-LOGIT_BOUND, LOGIT_BOUND)
}

fn bin(logit: f32) -> usize {
    (((logit - LOGIT_MIN) * BINS_PER_LOGIT).max(0.0) as usize).min(BINS - 1)
}

/// The log loss of who knows the rate and nothing else.
fn entropy(rate: f64) -> f64 {
    let part = |share: f64| if share > 0.0 { -share * share.ln() } else { 0.0 };
    part(rate) + part(1.0 - rate)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::{Random, auc, calibration_ratio, log_loss, sigmoid};

    /// Rows whose labels follow log odds that the predictions miss by some noise and `shift`.
    fn stream(rows: usize, shift: f32, seed: u64) -> (Vec<f32>, Vec<bool>) {
        let mut random = Random::new(seed);
        let row = |_| {
            let logit = random.normal() - 3.0;
            let label = random.uniform() < f64::from(sigmoid(logit));
            (sigmoid(logit + shift + 0.3 * random.normal()), label)
        };
        (0..rows).map(row).unzip()
    }

    /// Clicks come `wait` impressions late, those of the last ones at the end.
    fn judge(judge: &mut Judge, stream: &(Vec<f32>, Vec<bool>), wait: usize) {
        let mut waiting = VecDeque::new();
        for (&probability, &label) in stream.0.iter().zip(&stream.1) {
            judge.impression(probability);
            waiting.push_back(label.then_some(probability));
            if waiting.len() > wait
                && let Some(Some(clicked)) = waiting.pop_front()
            {
                judge.click(clicked);
            }
        }
        waiting.into_iter().flatten().for_each(|clicked| judge.click(clicked));
    }

    #[test]
    fn it_finds_what_all_rows_at_once_would_show() {
        for wait in [0, 5_000] {
            let stream = stream(100_000, 0.2, 1);
            let mut seen = Judge::new(f64::INFINITY);
            judge(&mut seen, &stream, wait);
            let seen = seen.judgement();
            let (probabilities, labels) = &stream;
            let logits: Vec<_> = probabilities.iter().map(|&p| log_odds(p)).collect();
            let clicks = labels.iter().filter(|&&label| label).count() as f64;
            assert_eq!((seen.impressions, seen.clicks), (100_000.0, clicks));
            assert!((seen.log_loss - log_loss(&logits, labels)).abs() < 1e-6);
            let ratio = calibration_ratio(probabilities, labels).expect("clicks");
            assert!((seen.calibration_ratio().expect("clicks") - ratio).abs() < 1e-6);
            let constant = vec![log_odds((clicks / 100_000.0) as f32); labels.len()];
            assert!((seen.constant_log_loss - log_loss(&constant, labels)).abs() < 1e-6);
            assert!(seen.normalized_entropy().expect("a loss") < 1.0);
            let exact = auc(probabilities, labels).expect("both kinds");
            let distance = (seen.auc.expect("both kinds") - exact).abs();
            assert!(distance <= seen.auc_resolution, "{distance} {}", seen.auc_resolution);
            assert!(seen.auc_resolution < 0.01 && distance < 1e-4, "{distance}");
        }
    }

    #[test]
    fn the_old_fades_and_late_clicks_do_not_bend_the_figures() {
        let mut seen = Judge::new(20_000.0);
        judge(&mut seen, &stream(300_000, 1.5, 2), 0);
        let before = seen.judgement().calibration_ratio().expect("clicks");
        assert!(before > 2.5, "{before}: far too high");
        judge(&mut seen, &stream(300_000, 0.0, 3), 3_000);
        let now = seen.judgement();
        let after = now.calibration_ratio().expect("clicks");
        assert!((after - 1.0).abs() < 0.1, "{after}");
        let window = 20_000.0 / std::f64::consts::LN_2;
        assert!((now.impressions / window - 1.0).abs() < 0.01, "{}", now.impressions);
    }

    #[test]
    fn nothing_and_extremes_are_no_trouble() {
        let mut judge = Judge::new(100.0);
        let empty = judge.judgement();
        assert_eq!((empty.impressions, empty.auc, empty.log_loss), (0.0, None, 0.0));
        assert_eq!(empty.calibration_ratio(), None);
        for probability in [0.0, 1.0, 1e-30, 0.5] {
            judge.impression(probability);
            judge.click(probability);
        }
        assert!(judge.judgement().log_loss.is_finite());
        for _ in 0..100_000 {
            judge.impression(0.5);
        }
        assert!((judge.judgement().log_loss - std::f64::consts::LN_2).abs() < 1e-9);
    }

    #[test]
    fn it_comes_back() {
        let mut before = Judge::new(5_000.0);
        judge(&mut before, &stream(20_000, 0.0, 4), 10);
        let mut bytes = Vec::new();
        before.encode(&mut bytes);
        assert_eq!(Judge::decode(&bytes), Ok(before));
        assert_eq!(Judge::decode(&bytes[..bytes.len() - 1]).err(), {
            Some(StateError::Checksum(bytes.len() - 5))
        });
    }
}

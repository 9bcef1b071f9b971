//! How good the predictions of a replay were: each was made before its outcome was told, so the
//! figures are progressive ones.

use std::io::{self, Write};

use reckon_model::{auc, calibration_ratio, log_loss, log_odds};

use super::predict::Scored;

/// The most predictions judged, at five bytes each; later ones are only counted.
const JUDGED_MAX: usize = 1 << 24;
/// Probabilities are held this far from 0 and 1: no single row makes the loss infinite.
const PROBABILITY_MARGIN: f32 = 1e-7;

/// The predictions of a replay, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// Rows that were predicted.
    pub count: u64,
    /// Those that an earlier run had asked about: its answer was given again.
    pub repeated: u64,
    /// Those made without all the server could know.
    pub degraded: u64,
    /// How often the model had not learned what it was told in time: later predictions knew less.
    pub unlearned: u64,
    probabilities: Vec<f32>,
    labels: Vec<bool>,
}

/// What they are worth; `None` where there is nothing to tell it by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// How many were judged.
    pub rows: usize,
    /// The share of clicks.
    pub click_rate: Option<f64>,
    /// The area under the ROC curve.
    pub auc: Option<f64>,
    /// The mean log loss.
    pub log_loss: Option<f64>,
    /// That of who predicts the click rate for every row.
    pub log_loss_constant: Option<f64>,
    /// Predicted clicks over clicks.
    pub calibration_ratio: Option<f64>,
}

impl Predictions {
    /// Notes one, and what became of it.
    pub fn note(&mut self, scored: &Scored, clicked: bool) {
        self.count += 1;
        self.repeated += u64::from(scored.is_repeated);
        self.degraded += u64::from(scored.is_degraded);
        if self.labels.len() < JUDGED_MAX {
            self.probabilities.push(scored.probability);
            self.labels.push(clicked);
        }
    }

    /// Judges them.
    pub fn quality(&self) -> Quality {
        let Predictions { probabilities, labels, .. } = self;
        let rows = labels.len();
        let clicks = labels.iter().filter(|&&clicked| clicked).count();
        let click_rate = (rows > 0).then(|| clicks as f64 / rows as f64);
        let logits: Vec<f32> = probabilities.iter().map(|&p| bounded_log_odds(p)).collect();
        let constant = click_rate.map(|rate| vec![bounded_log_odds(rate as f32); rows]);
        Quality {
            rows,
            click_rate,
            auc: auc(probabilities, labels),
            log_loss: click_rate.map(|_| log_loss(&logits, labels)),
            log_loss_constant: constant.map(|constant| log_loss(&constant, labels)),
            calibration_ratio: calibration_ratio(probabilities, labels),
        }
    }

    /// Prints them, one line a figure.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for (name, count) in [
            ("predictions", self.count),
            ("predicted before", self.repeated),
            ("predictions degraded", self.degraded),
        ] {
            writeln!(out, "{name:<22}{count:>12}")?;
        }
        let quality = self.quality();
        for (name, figure) in [
            ("click rate", quality.click_rate),
            ("AUC", quality.auc),
            ("log loss", quality.log_loss),
            ("log loss, constant", quality.log_loss_constant),
            ("calibration ratio", quality.calibration_ratio),
        ] {
            let figure = figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.5}"));
            writeln!(out, "{name:<22}{figure:>12}")?;
        }
        Ok(())
    }
}

fn bounded_log_odds(probability: f32) -> f32 {
    log_odds(probability.clamp(PROBABILITY_MARGIN, 1.0 - PROBABILITY_MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(rows: &[(f32, bool)]) -> Predictions {
        let mut predictions = Predictions::default();
        for &(probability, clicked) in rows {
            let at = tokio::time::Instant::now();
            let token = String::new();
            let scored =
                Scored { probability, token, is_degraded: false, is_repeated: clicked, at };
            predictions.note(&scored, clicked);
        }
        predictions
    }

    #[test]
    fn figures_are_those_of_the_rows() {
        let judged = predictions(&[(0.8, true), (0.2, false), (0.4, false), (0.3, true)]);
        let quality = judged.quality();
        assert_eq!((judged.count, judged.repeated, quality.rows), (4, 2, 4));
        assert_eq!((quality.click_rate, quality.auc), (Some(0.5), Some(0.75)));
        let loss = -(0.8_f64.ln() + 0.8_f64.ln() + 0.6_f64.ln() + 0.3_f64.ln()) / 4.0;
        assert!((quality.log_loss.expect("rows") - loss).abs() < 1e-6);
        let constant = quality.log_loss_constant.expect("rows");
        assert!((constant - std::f64::consts::LN_2).abs() < 1e-9);
        assert!((quality.calibration_ratio.expect("clicks") - 0.85).abs() < 1e-6);
    }

    #[test]
    fn nothing_and_extremes_are_no_trouble() {
        let mut out = Vec::new();
        predictions(&[]).print(&mut out).expect("memory takes all");
        let text = String::from_utf8(out).expect("text");
        let auc = text.lines().find(|line| line.starts_with("AUC")).expect("a line");
        assert!(auc.trim_end().ends_with('-'), "{text}");
        let loss = predictions(&[(0.0, true), (1.0, false)]).quality().log_loss.expect("rows");
        assert!(loss.is_finite() && loss > 10.0, "{loss}");
    }
}

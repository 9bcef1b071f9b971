//! What a training came to, as one page that opens anywhere: plots are drawn in the page itself, and
//! nothing is loaded from elsewhere.
//!
//! The figures come from the test rows, which nobody learned from; drift is how far each column has
//! moved from the training rows to them. A [`Report`] is plain data, and JSON as well.

mod drift;
mod page;
mod plot;

use reckon_bundle::{Bundle, Manifest};
use serde::Serialize;

use crate::evaluate::{Evaluation, for_each_answer};
use crate::{Parts, Share, Table, TrainError, Verdict, evaluate};

pub use drift::Moved;

/// Bins of the calibration plot, each of as many rows.
const BINS: usize = 20;
/// Points of a curve.
const POINTS: usize = 200;
/// Columns that are told.
const TOLD: usize = 30;
/// Two-sided, 95 of 100.
const NORMAL_95: f64 = 1.959_964;

/// Everything that the page shows.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The bundle's id.
    pub bundle: String,
    /// What the bundle says of itself.
    pub manifest: Manifest,
    /// How good it is on the test rows.
    pub evaluation: Evaluation,
    /// What the judge said, where one was asked.
    pub verdict: Option<Verdict>,
    /// The share of other rows above each score, and that of clicked rows: from (0, 0) to (1, 1).
    pub roc: Vec<[f64; 2]>,
    /// The share of rows that were shown if the best are shown first, and that of clicks among them.
    pub gain: Vec<[f64; 2]>,
    /// From the least probable rows to the most.
    pub calibration: Vec<CalibrationBin>,
    /// Shares of the model's importance, the largest first.
    pub importance: Vec<ImportanceShare>,
    /// How far columns have moved from training to test, the farthest first.
    pub drift: Vec<Moved>,
}

/// Some rows of about the same probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// How many.
    pub rows: u64,
    /// Mean predicted probability.
    pub predicted: f64,
    /// Share that was clicked.
    pub observed: f64,
    /// Wilson's interval (95 %) of what was observed: low and high.
    pub interval: [f64; 2],
}

/// A column or field, and its share of all importance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportanceShare {
    /// Its name.
    pub name: String,
    /// From 0 to 1.
    pub share: f64,
}

/// Asks the bundle about the test rows and puts together what it said.
pub fn report(
    bundle: &Bundle,
    table: &Table,
    parts: &Parts,
    verdict: Option<Verdict>,
) -> Result<Report, TrainError> {
    let test = Share::all(parts.test.clone());
    let mut said = Vec::new();
    for_each_answer(bundle, table, &test, |rows, answers| {
        said.extend(answers.iter().copied().zip(rows.labels.iter().copied()));
        Ok(())
    })?;
    said.sort_by(|left, right| left.0.total_cmp(&right.0));
    Ok(Report {
        bundle: bundle.id.to_string(),
        manifest: bundle.manifest.clone(),
        evaluation: evaluate(bundle, table, &test)?,
        verdict,
        roc: roc(&said),
        gain: gain(&said),
        calibration: calibration(&said),
        importance: importance(&bundle.manifest),
        drift: drift::drift(table, &parts.train, &parts.test, TOLD)?,
    })
}

impl Report {
    /// The page.
    pub fn html(&self) -> String {
        page::page(self)
    }
}

/// Rows by rising probability. Equal ones are one step: a model that says the same of all is a
/// straight line.
fn roc(said: &[(f32, bool)]) -> Vec<[f64; 2]> {
    let clicks = said.iter().filter(|one| one.1).count();
    let others = said.len() - clicks;
    if clicks == 0 || others == 0 {
        return Vec::new();
    }
    let (mut hits, mut alarms, mut points) = (0, 0, vec![[0.0, 0.0]]);
    for same in said.chunk_by(|left, right| left.0 == right.0).rev() {
        let clicked = same.iter().filter(|one| one.1).count();
        (hits, alarms) = (hits + clicked, alarms + same.len() - clicked);
        points.push([alarms as f64 / others as f64, hits as f64 / clicks as f64]);
    }
    thinned(&points)
}

fn gain(said: &[(f32, bool)]) -> Vec<[f64; 2]> {
    let clicks = said.iter().filter(|one| one.1).count();
    if clicks == 0 {
        return Vec::new();
    }
    let (mut rows, mut hits, mut points) = (0, 0, vec![[0.0, 0.0]]);
    for same in said.chunk_by(|left, right| left.0 == right.0).rev() {
        rows += same.len();
        hits += same.iter().filter(|one| one.1).count();
        points.push([rows as f64 / said.len() as f64, hits as f64 / clicks as f64]);
    }
    thinned(&points)
}

/// As many points as can be told apart, the first and the last among them.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    (0..POINTS).map(|place| points[place * (points.len() - 1) / (POINTS - 1)]).collect()
}

fn calibration(said: &[(f32, bool)]) -> Vec<CalibrationBin> {
    let bin = |rows: &[(f32, bool)]| {
        let clicks = rows.iter().filter(|one| one.1).count() as f64;
        let sum: f64 = rows.iter().map(|one| f64::from(one.0)).sum();
        let count = rows.len() as f64;
        CalibrationBin {
            rows: rows.len() as u64,
            predicted: sum / count,
            observed: clicks / count,
            interval: wilson(clicks, count),
        }
    };
    said.chunks(said.len().div_ceil(BINS).max(1)).map(bin).collect()
}

/// The interval of a rate (Wilson, 1927): within 0 and 1 even where nothing was clicked.
fn wilson(clicks: f64, rows: f64) -> [f64; 2] {
    let (rate, square) = (clicks / rows, NORMAL_95 * NORMAL_95);
    let middle = (rate + square / (2.0 * rows)) / (1.0 + square / rows);
    let spread = (rate * (1.0 - rate) / rows + square / (4.0 * rows * rows)).sqrt();
    let half = NORMAL_95 * spread / (1.0 + square / rows);
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

fn importance(manifest: &Manifest) -> Vec<ImportanceShare> {
    let columns = manifest.columns.iter().map(|column| (&column.name, column.importance));
    let fields = manifest.fields.iter().map(|field| (&field.name, field.importance));
    let all: Vec<_> = columns.chain(fields).map(|(name, one)| (name, f64::from(one))).collect();
    let sum: f64 = all.iter().map(|one| one.1).sum();
    let told = all.into_iter().filter(|one| one.1 > 0.0);
    let mut shares: Vec<_> =
        told.map(|(name, one)| ImportanceShare { name: name.clone(), share: one / sum }).collect();
    shares.sort_by(|left, right| right.share.total_cmp(&left.share));
    shares.truncate(TOLD);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_says_the_same_of_all_is_a_straight_line() {
        let said: Vec<_> = (0..100).map(|row| (0.5, row % 4 == 0)).collect();
        assert_eq!(roc(&said), [[0.0, 0.0], [1.0, 1.0]]);
        assert_eq!(gain(&said), [[0.0, 0.0], [1.0, 1.0]]);
    }

    #[test]
    fn a_model_that_knows_has_all_clicks_first() {
        let said: Vec<_> = (0..1_000).map(|row| (row as f32 / 1e3, row >= 900)).collect();
        let curve = roc(&said);
        assert_eq!((curve.first(), curve.last()), (Some(&[0.0, 0.0]), Some(&[1.0, 1.0])));
        assert!(curve.iter().all(|[alarms, hits]| *alarms == 0.0 || *hits == 1.0), "{curve:?}");
        assert!(curve.len() <= POINTS);
        let best = gain(&said).into_iter().find(|point| point[0] >= 0.1).expect("a tenth");
        assert!(best[1] > 0.99, "{best:?}");
        let bins = calibration(&said);
        assert_eq!(bins.len(), BINS);
        assert_eq!((bins[0].observed, bins[BINS - 1].observed), (0.0, 1.0));
    }

    #[test]
    fn rates_of_nothing_have_an_interval_too() {
        // By the formula of Wilson's paper, computed apart from this.
        let known = [(0.0, 10.0, [0.0, 0.277_533]), (5.0, 10.0, [0.236_593, 0.763_407])];
        for (clicks, rows, [low, high]) in known {
            let [a, b] = wilson(clicks, rows);
            assert!((a - low).abs() < 1e-5 && (b - high).abs() < 1e-5, "{a} {b}");
        }
    }
}

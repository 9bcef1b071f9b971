//! A bundle asked about rows whose outcome is known: how good are its probabilities? Each row counts
//! once, whatever it weighs.

use std::collections::BTreeMap;

use reckon_bundle::{Bundle, Scored, Scratch};
use reckon_model::{
    auc, auc_difference, calibration_ratio, expected_calibration_error, log_loss, log_odds,
};
use serde::Serialize;

use crate::split::for_each_batch;
use crate::{Order, Rows, Schema, Share, Table, TrainError};

/// Bins of equal mass that calibration is judged by.
const BINS: usize = 15;
/// Resamples behind the noise floor.
const RESAMPLES: usize = 200;
/// The most rows that resampling looks at; the noise of more is smaller by the root of their number.
const RESAMPLED_ROWS_MAX: usize = 200_000;
/// The most segments that are told.
const SEGMENTS_MAX: usize = 100;

/// How good a bundle's probabilities are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Rows judged.
    pub rows: u64,
    /// Clicks among them.
    pub clicks: u64,
    /// Chance that a clicked row has a higher probability than another; `None` without both kinds.
    pub auc: Option<f64>,
    /// Mean log loss.
    pub log_loss: f64,
    /// The log loss of the mean click rate, for all rows alike.
    pub log_loss_constant: f64,
    /// Expected calibration error over 15 bins of equal mass.
    pub ece: f64,
    /// Predicted clicks over clicks.
    pub calibration_ratio: Option<f64>,
    /// Half the width of the AUC's bootstrap interval (95 %): smaller differences are noise.
    pub noise_floor: Option<f64>,
    /// Tenths of the rows, the least probable first.
    pub deciles: Vec<Slice>,
    /// Rows by where they were shown, 0 where nobody knows; of the first 100 places that occur.
    pub positions: BTreeMap<u16, Slice>,
}

/// Some of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Slice {
    /// How many.
    pub rows: u64,
    /// Clicks among them.
    pub clicks: u64,
    /// Clicks that were predicted.
    pub predicted: f64,
}

impl Slice {
    fn take(&mut self, probability: f32, label: bool) {
        self.rows += 1;
        self.clicks += u64::from(label);
        self.predicted += f64::from(probability);
    }
}

/// Judges a bundle by a share of a table.
pub fn evaluate(bundle: &Bundle, table: &Table, share: &Share) -> Result<Evaluation, TrainError> {
    let (mut probabilities, mut labels, mut positions) = (Vec::new(), Vec::new(), BTreeMap::new());
    for_each_answer(bundle, table, share, |rows, answers| {
        for (row, &probability) in rows.iter().zip(answers) {
            probabilities.push(probability);
            labels.push(row.label);
            if positions.len() < SEGMENTS_MAX || positions.contains_key(&row.position) {
                let slice: &mut Slice = positions.entry(row.position).or_default();
                slice.take(probability, row.label);
            }
        }
        Ok(())
    })?;
    if labels.is_empty() {
        return Err(TrainError::option("data", "has no rows"));
    }
    Ok(judged(&probabilities, &labels, positions))
}

fn judged(probabilities: &[f32], labels: &[bool], positions: BTreeMap<u16, Slice>) -> Evaluation {
    let logits: Vec<f32> = probabilities.iter().map(|&p| log_odds(p)).collect();
    let clicks = labels.iter().filter(|&&label| label).count();
    let base = vec![log_odds(clicks as f32 / labels.len() as f32); labels.len()];
    let looked = labels.len().min(RESAMPLED_ROWS_MAX);
    let noise = auc_difference(
        &probabilities[..looked],
        &vec![0.0; looked],
        &labels[..looked],
        RESAMPLES,
        1,
    );
    let shrink = (looked as f64 / labels.len() as f64).sqrt();
    Evaluation {
        rows: labels.len() as u64,
        clicks: clicks as u64,
        auc: auc(probabilities, labels),
        log_loss: log_loss(&logits, labels),
        log_loss_constant: log_loss(&base, labels),
        ece: expected_calibration_error(probabilities, labels, BINS),
        calibration_ratio: calibration_ratio(probabilities, labels),
        noise_floor: noise.map(|interval| (interval.high - interval.low) / 2.0 * shrink),
        deciles: deciles(probabilities, labels),
        positions,
    }
}

fn deciles(probabilities: &[f32], labels: &[bool]) -> Vec<Slice> {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]).then(a.cmp(&b)));
    let slice = |rows: &[usize]| {
        let mut slice = Slice::default();
        rows.iter().for_each(|&row| slice.take(probabilities[row], labels[row]));
        slice
    };
    order.chunks(order.len().div_ceil(10).max(1)).map(slice).collect()
}

/// Asks a bundle about every row of a share of a table, in the table's order: `each` is given rows and their
/// probabilities. Rows of one list are asked about together, as a request is: a second stage re-scores
/// the best of a list.
pub fn for_each_answer(
    bundle: &Bundle,
    table: &Table,
    share: &Share,
    mut each: impl FnMut(&Rows, &[f32]) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let mut asker = Asker::new(bundle, table.schema())?;
    let mut list = Rows::new(table.schema());
    for_each_batch(table, share, Order::Logged, |batch| {
        let mut start = 0;
        while start < batch.len() {
            let group = batch.groups[start];
            let same = batch.groups[start..].iter().take_while(|&&other| other == group).count();
            if list.groups.first().is_some_and(|&before| before != group) {
                each(&list, asker.ask(&list)?)?;
                list.clear();
            }
            list.extend(batch, start..start + same);
            start += same;
        }
        Ok(())
    })?;
    if !list.is_empty() {
        each(&list, asker.ask(&list)?)?;
    }
    Ok(())
}

/// Finds a bundle's columns in a table, and asks.
struct Asker<'a> {
    bundle: &'a Bundle,
    columns: Vec<usize>,
    fields: Vec<usize>,
    scratch: Scratch,
    /// The user's columns and fields, then the candidates'.
    user: (Vec<f32>, Vec<u64>),
    own: (Vec<f32>, Vec<u64>),
    scored: Vec<Scored>,
    answers: Vec<f32>,
}

impl<'a> Asker<'a> {
    fn new(bundle: &'a Bundle, schema: &Schema) -> Result<Self, TrainError> {
        let manifest = &bundle.manifest;
        let columns = manifest.columns.iter().map(|column| column.name.as_str());
        let fields = manifest.fields.iter().map(|field| field.name.as_str());
        Ok(Asker {
            bundle,
            columns: places("column", columns, &schema.numeric)?,
            fields: places("field", fields, &schema.fields)?,
            scratch: Scratch::default(),
            user: Default::default(),
            own: Default::default(),
            scored: Vec::new(),
            answers: Vec::new(),
        })
    }

    fn ask(&mut self, list: &Rows) -> Result<&[f32], TrainError> {
        let manifest = &self.bundle.manifest;
        let (user_columns, own_columns) = self.columns.split_at(manifest.user_columns);
        let (user_fields, own_fields) = self.fields.split_at(manifest.user_fields);
        for (numeric, keys) in [&mut self.user, &mut self.own] {
            numeric.clear();
            keys.clear();
        }
        let first = list.row(0);
        self.user.0.extend(user_columns.iter().map(|&place| first.numeric[place]));
        self.user.1.extend(user_fields.iter().map(|&place| first.keys[place]));
        for row in list.iter() {
            self.own.0.extend(own_columns.iter().map(|&place| row.numeric[place]));
            self.own.1.extend(own_fields.iter().map(|&place| row.keys[place]));
        }
        self.scored.clear();
        self.scored.resize(list.len(), Scored::default());
        let rows = reckon_bundle::Rows {
            user_numeric: &self.user.0,
            user_keys: &self.user.1,
            numeric: &self.own.0,
            keys: &self.own.1,
            count: list.len(),
        };
        let failed = |error| TrainError::option("bundle", format!("{error}"));
        self.bundle.score(rows, &mut self.scratch, &mut self.scored).map_err(failed)?;
        self.answers.clear();
        let bundle = self.bundle;
        self.answers.extend(self.scored.iter().map(|&scored| bundle.probability(scored, 0)));
        Ok(&self.answers)
    }
}

fn places<'n>(
    what: &str,
    wanted: impl Iterator<Item = &'n str>,
    there: &[String],
) -> Result<Vec<usize>, TrainError> {
    let place = |name: &str| {
        there.iter().position(|other| other == name).ok_or_else(|| {
            let problem = format!("has no {what} {name:?}, which the bundle wants");
            TrainError::option("data", problem)
        })
    };
    wanted.map(place).collect()
}

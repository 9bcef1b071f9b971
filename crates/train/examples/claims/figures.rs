//! A model of a market held against the truth, and many of them put together.

use std::collections::BTreeMap;
use std::time::Instant;

use reckon_model::statistics::kendall_tau;
use reckon_model::{auc, calibration_ratio, expected_calibration_error, sigmoid};
use reckon_train::fit::{FitOptions, Learner};
use reckon_train::split::for_each_batch;
use reckon_train::{Order, Parts, Position, Sampling, Share, Silent, fit};

use crate::Done;
use crate::written::{LIST, Written};

const BINS: usize = 15;

/// The figures of a model on rows it has not seen.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// AUC by the clicks that were logged, and the best that can be.
    pub auc: f64,
    pub auc_of_truth: f64,
    /// Calibration by the clicks that were logged, none left out.
    pub ece: f64,
    pub ratio: f64,
    /// What it says at place 1 over what is true there.
    pub ratio_at_1: f64,
    /// Expected log loss above that of the truth, at place 1: no luck of the draw is in it.
    pub excess: f64,
    /// Kendall's tau-b of the model's order and the true one at place 1, by list, in the mean of lists.
    pub tau_lists: f64,
    /// The same of all ads, each by its mean log odds.
    pub tau_ads: f64,
    pub epochs: f64,
    pub seconds: f64,
}

/// What is fitted on a market.
#[derive(Clone, Debug)]
pub struct Asked {
    pub name: &'static str,
    pub learner: Learner,
    pub position: Position,
    pub one_in: u32,
}

impl Asked {
    fn label(&self) -> String {
        let sampling = match self.one_in {
            1 => "all rows".to_owned(),
            n => format!("1 in {n}"),
        };
        format!("{:<7} {:<8} {sampling:<8}", self.name, self.position.name())
    }
}

/// Fits on a market and judges by its last fifth.
pub fn figures(asked: &Asked, written: &mut Written, seed: u64) -> Done<(Figures, Vec<f64>)> {
    let table = &written.table;
    let parts = Parts::usual(table)?;
    let options = FitOptions {
        position: asked.position,
        sampling: Sampling { one_in: asked.one_in, seed },
        seed,
        ..FitOptions::of(asked.learner.clone())
    };
    let started = Instant::now();
    let fitted = fit(table, &parts, &options, &mut Silent)?;
    let seconds = started.elapsed().as_secs_f64();
    let mut judged = Judged::new(written.truth.market.ads.len());
    let truth = &mut written.truth;
    for_each_batch(table, &Share::all(parts.test), Order::Logged, |batch| {
        judged.logits.clear();
        fitted.calibrated(batch, &mut judged.logits)?;
        for index in 0..batch.len() {
            let row = batch.row(index);
            let (ad, liked) = truth.of(row.group, row.time, row.position);
            let seen = truth.market.examination(row.position);
            judged.see(judged.logits[index], row.label, ad, liked, seen);
        }
        Ok(())
    })?;
    let places = (1..=LIST as u16).map(|place| fitted.examination.chance(place)).collect();
    let figures = Figures { epochs: fitted.epochs as f64, seconds, ..judged.figures() };
    Ok((figures, places))
}

struct Judged {
    logits: Vec<f32>,
    probabilities: Vec<f32>,
    truths: Vec<f32>,
    labels: Vec<bool>,
    /// Of the list at hand: ours and the true ones.
    list: (Vec<f64>, Vec<f64>),
    /// Sum and count.
    taus: (f64, f64),
    /// Sums of ours and of the true ones, and rows, by ad.
    ads: Vec<[f64; 3]>,
    excess: f64,
    said: f64,
    is_true: f64,
}

impl Judged {
    fn new(ads: usize) -> Self {
        Judged {
            logits: Vec::new(),
            probabilities: Vec::new(),
            truths: Vec::new(),
            labels: Vec::new(),
            list: Default::default(),
            taus: (0.0, 0.0),
            ads: vec![[0.0; 3]; ads],
            excess: 0.0,
            said: 0.0,
            is_true: 0.0,
        }
    }

    fn see(&mut self, logit: f32, label: bool, ad: usize, liked: f64, seen: f64) {
        let ours = f64::from(logit);
        let (p, q) = (1.0 / (1.0 + (-ours).exp()), 1.0 / (1.0 + (-liked).exp()));
        self.excess += q * (q / p).ln() + (1.0 - q) * ((1.0 - q) / (1.0 - p)).ln();
        self.said += p;
        self.is_true += q;
        self.probabilities.push(sigmoid(logit));
        self.truths.push((q * seen) as f32);
        self.labels.push(label);
        let sums = &mut self.ads[ad];
        *sums = [sums[0] + ours, sums[1] + liked, sums[2] + 1.0];
        self.list.0.push(ours);
        self.list.1.push(liked);
        if self.list.0.len() == LIST {
            if let Some(tau) = kendall_tau(&self.list.0, &self.list.1) {
                self.taus = (self.taus.0 + tau, self.taus.1 + 1.0);
            }
            self.list.0.clear();
            self.list.1.clear();
        }
    }

    fn figures(&self) -> Figures {
        let rows = self.labels.len() as f64;
        let shown = self.ads.iter().filter(|ad| ad[2] > 0.0);
        let means: (Vec<f64>, Vec<f64>) = shown.map(|ad| (ad[0] / ad[2], ad[1] / ad[2])).unzip();
        let no = f64::NAN;
        Figures {
            auc: auc(&self.probabilities, &self.labels).unwrap_or(no),
            auc_of_truth: auc(&self.truths, &self.labels).unwrap_or(no),
            ece: expected_calibration_error(&self.probabilities, &self.labels, BINS),
            ratio: calibration_ratio(&self.probabilities, &self.labels).unwrap_or(no),
            ratio_at_1: self.said / self.is_true,
            excess: self.excess / rows,
            tau_lists: self.taus.0 / self.taus.1,
            tau_ads: kendall_tau(&means.0, &means.1).unwrap_or(no),
            epochs: 0.0,
            seconds: 0.0,
        }
    }
}

/// What came out for a seed: figures, and what was learned of places.
type Found = (Figures, Vec<f64>);

/// What came out for all seeds.
#[derive(Default)]
pub struct Report {
    /// By the order in which they were asked for, and their label.
    rows: BTreeMap<(usize, String), Vec<Found>>,
}

impl Report {
    pub fn take(&mut self, number: usize, asked: &Asked, figures: Figures, places: Vec<f64>) {
        self.rows.entry((number, asked.label())).or_default().push((figures, places));
    }

    /// Prints figures that rest on logged clicks: only where all places are looked at are they of place 1.
    pub fn print_calibration(&self) {
        println!(
            "{:<25} {:>16} {:>8} {:>16} {:>14} {:>20} {:>15} {:>7} {:>7}",
            "model",
            "AUC",
            "of truth",
            "ECE",
            "calibration",
            "excess log loss",
            "tau by list",
            "epochs",
            "fit s"
        );
        for ((_, label), runs) in &self.rows {
            let of =
                |figure: fn(&Figures) -> f64| Spread::of(runs.iter().map(|run| figure(&run.0)));
            println!(
                "{label:<25} {} {:>8.4} {} {} {} {} {:>7.1} {:>7.1}",
                of(|f| f.auc).text(16, 4),
                of(|f| f.auc_of_truth).mean,
                of(|f| f.ece).text(16, 5),
                of(|f| f.ratio).text(14, 3),
                of(|f| f.excess).text(20, 6),
                of(|f| f.tau_lists).text(15, 3),
                of(|f| f.epochs).mean,
                of(|f| f.seconds).mean,
            );
        }
    }

    /// Prints figures of place 1 alone, and what was learned of places.
    pub fn print_places(&self, truth: impl Fn(u16) -> f64) {
        let places = |chances: &[f64]| {
            let texts: Vec<String> = chances.iter().map(|chance| format!("{chance:.2}")).collect();
            texts.join(" ")
        };
        let true_places: Vec<f64> = (1..=LIST as u16).map(truth).collect();
        println!(
            "{:<25} {:>15} {:>15} {:>16} {:>20} {:>7} {:>7}  looked at, by place; true: {}",
            "model",
            "tau by list",
            "tau of ads",
            "level at place 1",
            "excess log loss",
            "epochs",
            "fit s",
            places(&true_places)
        );
        for ((_, label), runs) in &self.rows {
            let of =
                |figure: fn(&Figures) -> f64| Spread::of(runs.iter().map(|run| figure(&run.0)));
            let mean = |place: usize| Spread::of(runs.iter().map(|run| run.1[place])).mean;
            let learned: Vec<f64> = (0..LIST).map(mean).collect();
            let is_learned = learned.iter().any(|&chance| chance != 1.0);
            println!(
                "{label:<25} {} {} {} {} {:>7.1} {:>7.1}  {}",
                of(|f| f.tau_lists).text(15, 3),
                of(|f| f.tau_ads).text(15, 3),
                of(|f| f.ratio_at_1).text(16, 3),
                of(|f| f.excess).text(20, 6),
                of(|f| f.epochs).mean,
                of(|f| f.seconds).mean,
                if is_learned { places(&learned) } else { String::new() },
            );
        }
    }
}

/// Mean and standard deviation.
struct Spread {
    mean: f64,
    deviation: Option<f64>,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count;
        let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
        Spread { mean, deviation: (count > 1.0).then(|| (squares / (count - 1.0)).sqrt()) }
    }

    fn text(&self, width: usize, digits: usize) -> String {
        let text = match self.deviation {
            Some(deviation) => format!("{:.digits$} ±{deviation:.digits$}", self.mean),
            None => format!("{:.digits$}", self.mean),
        };
        format!("{text:>width$}")
    }
}

//! Learners as small as the markets of these tests, and what a model says of rows beside what is true.

use reckon_model::dcn::{Structure, TrainerOptions};
use reckon_model::{LinearOptions, auc, sigmoid};
use reckon_train::fit::{Epochs, Fitted, Learner};
use reckon_train::split::for_each_batch;
use reckon_train::{Order, Parts, Share, Table};

pub fn linear(epochs: Epochs) -> Learner {
    Learner::linear(LinearOptions { bits: 14, ..LinearOptions::default() }, epochs)
}

pub fn paired(epochs: Epochs) -> Learner {
    let options = LinearOptions { bits: 14, ..LinearOptions::default() };
    Learner::Linear { options, has_pairs: true, epochs }
}

pub fn factor(is_field_aware: bool, epochs: Epochs) -> Learner {
    Learner::Factor {
        is_field_aware,
        has_pairs: false,
        factors: 4,
        bits: 12,
        alpha: 0.05,
        linear_alpha: 0.06,
        beta: 1.0,
        spread: 0.1,
        l2: 0.0,
        epochs,
    }
}

/// Vectors that hardly move are none: what it knows of pairs, their own weights say.
pub fn paired_factor(epochs: Epochs) -> Learner {
    let mut learner = factor(false, epochs);
    if let Learner::Factor { has_pairs, alpha, spread, .. } = &mut learner {
        (*has_pairs, *alpha, *spread) = (true, 1e-6, 1e-6);
    }
    learner
}

pub fn dcn(epochs: Epochs) -> Learner {
    Learner::Dcn {
        embedding: 4,
        buckets: 256,
        seen_min: 4,
        cross_layers: 2,
        rank: 0,
        hidden: vec![16],
        structure: Structure::Parallel,
        has_buckets: false,
        average: 0.0,
        options: TrainerOptions { rate: 5e-3, ..TrainerOptions::default() },
        epochs,
    }
}

/// Log odds of the test rows, before calibration and after, whether they were clicked, and the truth.
#[derive(Default)]
pub struct Said {
    pub logits: Vec<f32>,
    pub calibrated: Vec<f32>,
    pub labels: Vec<bool>,
    pub truths: Vec<f32>,
}

impl Said {
    pub fn of(fitted: &Fitted, table: &Table, parts: &Parts) -> Self {
        let mut said = Said::default();
        for_each_batch(table, &Share::all(parts.test.clone()), Order::Logged, |batch| {
            said.labels.extend_from_slice(&batch.labels);
            said.truths.extend_from_slice(&batch.truths);
            fitted.logits(batch, &mut said.logits)?;
            fitted.calibrated(batch, &mut said.calibrated)
        })
        .expect("rows are scored");
        assert_eq!(said.calibrated.len() as u64, parts.test.end - parts.test.start);
        said
    }

    /// Calibrated ones.
    pub fn probabilities(&self) -> Vec<f32> {
        probabilities(&self.calibrated)
    }

    pub fn auc(&self) -> f64 {
        auc(&self.calibrated, &self.labels).expect("clicks and others")
    }

    /// The best that can be.
    pub fn auc_of_truth(&self) -> f64 {
        auc(&self.truths, &self.labels).expect("clicks and others")
    }
}

pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    logits.iter().map(|&logit| sigmoid(logit)).collect()
}

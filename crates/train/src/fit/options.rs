//! What is fitted, and how.

use reckon_model::LinearOptions;
use reckon_model::dcn::{Structure, TrainerOptions};

use super::checkpoint::Checkpoint;
use super::trees::TreeOptions;
use crate::{Sampling, TrainError};

/// Rows of a batch, at most.
const BATCH_ROWS_MAX: usize = 65_536;

/// How a model is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct FitOptions {
    /// What is fitted.
    pub learner: Learner,
    /// Which of the unclicked rows are learned from.
    pub sampling: Sampling,
    /// Decides every draw.
    pub seed: u64,
    /// How far the calibration may bend off its line before there is data: see
    /// [`reckon_model::CalibratorOptions::deviation`].
    pub calibration_deviation: f64,
    /// Where an unfinished fit is kept, if anywhere.
    pub checkpoint: Option<Checkpoint>,
}

/// What is fitted.
#[derive(Clone, Debug, PartialEq)]
pub enum Learner {
    /// Logistic regression: FTRL over hashed categories and buckets of numbers.
    Linear {
        /// Its rates.
        options: LinearOptions,
        /// How long it learns.
        epochs: Epochs,
    },
    /// A factorisation machine, field-aware or not.
    Factor {
        /// Field-aware.
        is_field_aware: bool,
        /// Length of a vector.
        factors: usize,
        /// The table has `2^bits` slots.
        bits: u8,
        /// How fast vectors learn.
        alpha: f32,
        /// How fast linear weights learn.
        linear_alpha: f32,
        /// Pull of weights towards 0.
        l2: f32,
        /// How long it learns.
        epochs: Epochs,
    },
    /// DCN-v2.
    Dcn {
        /// Numbers of an embedding.
        embedding: usize,
        /// Rows that rare keys share; a power of two.
        buckets: usize,
        /// Keys seen so often have an embedding of their own.
        seen_min: u8,
        /// Cross layers.
        cross_layers: usize,
        /// Rank of the cross layers' matrices; 0: full.
        rank: usize,
        /// Widths of the hidden layers.
        hidden: Vec<usize>,
        /// Stacked or parallel.
        structure: Structure,
        /// Its rates.
        options: TrainerOptions,
        /// How long it learns.
        epochs: Epochs,
    },
    /// Boosted trees, grown by LightGBM: builds without the feature `lightgbm` refuse them.
    Trees {
        /// How they grow.
        options: TreeOptions,
        /// How many they are: each is an epoch. Batches are those in which rows become bins.
        epochs: Epochs,
    },
}

/// How long a model learns that goes over its rows again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// Times over all rows, at most.
    pub most: usize,
    /// It ends when so many in a row have not been better on the validation rows.
    pub patience: usize,
    /// Rows of a batch.
    pub batch: usize,
}

impl Epochs {
    /// The usual.
    pub const USUAL: Epochs = Epochs { most: 20, patience: 2, batch: 512 };
    /// The usual number of trees.
    pub const TREES: Epochs = Epochs { most: 2_000, patience: 50, batch: 4_096 };
}

impl FitOptions {
    /// The usual fit of a learner.
    pub fn of(learner: Learner) -> Self {
        FitOptions {
            learner,
            sampling: Sampling::NONE,
            seed: 1,
            calibration_deviation: 0.1,
            checkpoint: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), TrainError> {
        let refuse = |option, problem: &str| Err(TrainError::option(option, problem));
        if self.sampling.one_in == 0 {
            return refuse("sampling", "one in at least 1");
        }
        if self.calibration_deviation.is_nan() || self.calibration_deviation <= 0.0 {
            return refuse("calibration_deviation", "above 0");
        }
        if self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.batches == 0) {
            return refuse("checkpoint.batches", "at least 1");
        }
        let epochs = self.learner.epochs();
        if epochs.most == 0 || epochs.patience == 0 {
            return refuse("epochs", "at least one, and a patience of at least one");
        }
        if !(1..=BATCH_ROWS_MAX).contains(&epochs.batch) {
            return refuse("epochs.batch", "1 to 65,536 rows");
        }
        if let Learner::Trees { options, .. } = &self.learner {
            if cfg!(not(feature = "lightgbm")) {
                let problem = "this build has no LightGBM, which fits trees: `make build` makes one \
                               that has, and so does cargo with `--features lightgbm`";
                return refuse("model", problem);
            }
            options.check()?;
        }
        Ok(())
    }
}

impl Learner {
    /// How long it learns.
    pub fn epochs(&self) -> Epochs {
        match self {
            Learner::Linear { epochs, .. }
            | Learner::Factor { epochs, .. }
            | Learner::Dcn { epochs, .. }
            | Learner::Trees { epochs, .. } => *epochs,
        }
    }
}

//! What is fitted, and how.

use reckon_model::LinearOptions;
use reckon_model::dcn::{Structure, TrainerOptions};

use super::checkpoint::Checkpoint;
use super::encoding::CodeOptions;
use super::trees::TreeOptions;
use crate::{Position, Sampling, TrainError};

/// Below so many rows, large trees learn rows by heart.
const FEW_ROWS_OF_TREES: u64 = 500_000;
/// Rows of a batch, at most.
const BATCH_ROWS_MAX: usize = 65_536;
/// Below so many training rows a network is small, and slow to believe a key.
const FEW_ROWS: u64 = 50_000;
/// From so many on it is large.
const MANY_ROWS: u64 = 1_000_000;

/// How a model is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct FitOptions {
    /// What is fitted.
    pub learner: Learner,
    /// Which of the unclicked rows are learned from.
    pub sampling: Sampling,
    /// What is done about the place a row was shown at.
    pub position: Position,
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
        /// Each two categories of a row are one more: of 2 to 32 fields. See [`Learner::paired`].
        has_pairs: bool,
        /// How long it learns.
        epochs: Epochs,
    },
    /// A factorisation machine, field-aware or not.
    Factor {
        /// Field-aware.
        is_field_aware: bool,
        /// Each two categories of a row are one more: of 2 to 32 fields. See [`Learner::paired`].
        has_pairs: bool,
        /// Length of a vector.
        factors: usize,
        /// The table has `2^bits` slots.
        bits: u8,
        /// How fast vectors learn.
        alpha: f32,
        /// How fast linear weights learn.
        linear_alpha: f32,
        /// What an accumulator of squared gradients begins with: the larger, the slower a key begins of
        /// which little was seen, and the less it is learned by heart.
        beta: f32,
        /// Vectors begin within this distance of 0, over the root of their length.
        spread: f32,
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
        /// Numbers are taken as categories as well: each falls into a bucket with an embedding.
        has_buckets: bool,
        /// The model is a mean of what it was after each epoch, and this is the share of what was before
        /// the last one: 0 up to below 1. What the last few rows did is damped.
        average: f32,
        /// Its rates.
        options: TrainerOptions,
        /// How long it learns.
        epochs: Epochs,
    },
    /// Boosted trees, grown by LightGBM: builds without the feature `lightgbm` refuse them.
    Trees {
        /// How they grow.
        options: TreeOptions,
        /// How categories become numbers that they can ask for.
        codes: CodeOptions,
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
            position: Position::Ignored,
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
        if let Position::Weights { clip, .. } = self.position
            && !(clip.is_finite() && clip >= 1.0)
        {
            return refuse("position.clip", "at least 1");
        }
        if self.calibration_deviation.is_nan() || self.calibration_deviation <= 0.0 {
            return refuse("calibration_deviation", "above 0");
        }
        if self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.batches == 0) {
            return refuse("checkpoint.batches", "at least 1");
        }
        if let Learner::Dcn { average, .. } = &self.learner
            && !(0.0..1.0).contains(average)
        {
            return refuse("dcn.average", "0 up to below 1");
        }
        let epochs = self.learner.epochs();
        if epochs.most == 0 || epochs.patience == 0 {
            return refuse("epochs", "at least one, and a patience of at least one");
        }
        if !(1..=BATCH_ROWS_MAX).contains(&epochs.batch) {
            return refuse("epochs.batch", "1 to 65,536 rows");
        }
        if let Learner::Trees { options, codes, .. } = &self.learner {
            if self.position != Position::Ignored {
                let problem = "trees are fitted as rows stood: take ignored, or another model";
                return refuse("position", problem);
            }
            if cfg!(not(feature = "lightgbm")) {
                let problem = "this build has no LightGBM, which fits trees: `make build` makes one \
                               that has, and so does cargo with `--features lightgbm`";
                return refuse("model", problem);
            }
            options.check()?;
            codes.check()?;
        }
        Ok(())
    }
}

impl Learner {
    /// The usual logistic regression. `l1` is what few rows need against learning rare keys by heart; with
    /// many it costs little, since a key that tells something is soon past it.
    pub fn usual_linear() -> Self {
        let options = LinearOptions { alpha: 4.0, l1: 1.0, ..LinearOptions::default() };
        Learner::linear(options, Epochs { most: 40, patience: 3, ..Epochs::USUAL })
    }

    /// A logistic regression of single categories.
    pub fn linear(options: LinearOptions, epochs: Epochs) -> Self {
        Learner::Linear { options, has_pairs: false, epochs }
    }

    /// The usual factorisation machine for so many training rows, field-aware or not.
    ///
    /// A vector of 7 and the linear weight are half a line of the cache. Of few rows a machine has learned too much
    /// by heart after one epoch, unless it learns slowly: on 6,000 of criteo and avazu the log loss of the validation
    /// rows was 0.004 and 0.002 lower so, on 98,000 and 219,000 of others higher. The field-aware one has fewer
    /// weights a row, and was better as it is.
    pub fn usual_factor(rows: u64, is_field_aware: bool) -> Self {
        let is_slow = rows < FEW_ROWS && !is_field_aware;
        let (alpha, beta, spread, most) =
            if is_slow { (0.001, 0.1, 0.002, 40) } else { (0.03, 30.0, 0.02, 20) };
        Learner::Factor {
            is_field_aware,
            has_pairs: false,
            factors: if is_field_aware { 4 } else { 7 },
            bits: 18,
            alpha,
            linear_alpha: alpha,
            beta,
            spread,
            l2: 0.002,
            epochs: Epochs { most, patience: 3, ..Epochs::USUAL },
        }
    }

    /// The same with each two categories of a row as one more: for where what counts is who sees which ad, and there
    /// are rows enough to tell. It costs as many times the work as there are pairs to a field. `None` where a
    /// learner has its own way to see two categories together.
    ///
    /// Many pairs weigh little each: a weight that has to show a pull first (`l1`) would never be asked.
    pub fn paired(mut self) -> Option<Self> {
        match &mut self {
            Learner::Linear { options, has_pairs, .. } => {
                (options.bits, options.alpha, options.l1) = (24, 1.0, 0.0);
                *has_pairs = true;
            }
            Learner::Factor { is_field_aware: false, has_pairs, bits, spread, .. } => {
                (*has_pairs, *bits, *spread) = (true, 20, 0.002);
            }
            _ => return None,
        }
        Some(self)
    }

    /// The usual network for so many training rows.
    ///
    /// Chosen on parts of four logs of 6,000 to 220,000 rows before their tests (`bench/quality.sh`): with few
    /// rows what overfits first is what belongs to keys, so keys that are rare share one embedding, all of
    /// them learn slowly, and some of the hidden results are left out.
    pub fn usual_dcn(rows: u64) -> Self {
        let epochs = Epochs { patience: 3, ..Epochs::USUAL };
        let slow = TrainerOptions {
            embedding_rate: 0.1,
            wide_rate: 0.05,
            dropout: 0.3,
            ..TrainerOptions::default()
        };
        match rows {
            ..FEW_ROWS => Learner::Dcn {
                embedding: 16,
                buckets: 1,
                seen_min: 20,
                cross_layers: 2,
                rank: 32,
                hidden: vec![64, 64],
                structure: Structure::Parallel,
                has_buckets: false,
                average: 0.5,
                options: slow,
                epochs,
            },
            FEW_ROWS..MANY_ROWS => Learner::Dcn {
                embedding: 8,
                buckets: 1,
                seen_min: 50,
                cross_layers: 2,
                rank: 32,
                hidden: vec![128, 64],
                structure: Structure::Parallel,
                has_buckets: false,
                average: 0.7,
                options: TrainerOptions {
                    rate: 1e-3,
                    embedding_rate: 0.05,
                    wide_rate: 0.02,
                    dropout: 0.2,
                    ..slow
                },
                epochs,
            },
            MANY_ROWS.. => Learner::Dcn {
                embedding: 16,
                buckets: 1 << 16,
                seen_min: 4,
                cross_layers: 3,
                rank: 64,
                hidden: vec![256, 256],
                structure: Structure::Parallel,
                has_buckets: false,
                average: 0.5,
                options: TrainerOptions::default(),
                epochs,
            },
        }
    }

    /// The usual trees for so many rows.
    ///
    /// With few, small trees of the columns alone: of what `bench/quality.sh` tries, that was best on the validation
    /// rows of all four logs (5,600 to 219,000 training rows), whose columns say how often a category was clicked
    /// before. For many rows there was no log to choose by.
    pub fn usual_trees(rows: u64) -> Self {
        let usual = TreeOptions::USUAL;
        let (options, codes) = match rows {
            ..FEW_ROWS_OF_TREES => {
                (TreeOptions { leaves: 7, leaf_rows: 50, l2: 5.0, ..usual }, CodeOptions::NONE)
            }
            FEW_ROWS_OF_TREES.. => (usual, CodeOptions::USUAL),
        };
        Learner::Trees { options, codes, epochs: Epochs::TREES }
    }

    /// How long it learns, to be changed.
    pub fn epochs_mut(&mut self) -> &mut Epochs {
        match self {
            Learner::Linear { epochs, .. }
            | Learner::Factor { epochs, .. }
            | Learner::Dcn { epochs, .. }
            | Learner::Trees { epochs, .. } => epochs,
        }
    }

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

//! Judges what models said of the same rows: figures of each, and intervals of differences.
//!
//! One set of draws judges all models: lists are drawn with replacement, each with all of its rows, so
//! what is hard in a list is hard for both of two models and cancels. A model was fitted with several
//! seeds; its figure is the mean of theirs (not the figure of their mean, which would be another model),
//! and each draw draws seeds as well, so that an interval holds the chance of a seed too.

use reckon_model::{Random, auc, calibration_ratio, expected_calibration_error, log_loss, sigmoid};
use reckon_train::TrainError;

/// Draws behind an interval.
const DRAWS: usize = 400;
/// Bins of equal mass of the calibration error.
const BINS: usize = 15;

/// The rows that are judged by.
pub struct Rows {
    /// Clicked or not.
    pub labels: Vec<bool>,
    /// Where each list ends.
    pub ends: Vec<usize>,
}

/// What is said of a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// The chance that a clicked row has the higher log odds of two.
    pub auc: f64,
    /// In nats.
    pub log_loss: f64,
    /// Of 15 bins.
    pub ece: f64,
    /// Predicted clicks over clicks.
    pub ratio: f64,
}

/// A mean and the deviation around it.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The deviation of one; 0 of one alone.
    pub deviation: f64,
}

/// A difference, with the interval of 95 of 100 draws.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// 2.5 of 100 draws are below it.
    pub low: f64,
    /// That of the rows as they are.
    pub middle: f64,
    /// 2.5 of 100 draws are above it.
    pub high: f64,
}

/// What a model is by all of its seeds, on the rows as they are and on each draw.
pub struct Judged {
    /// On the rows as they are, a seed each.
    pub figures: Vec<Figures>,
    /// By seed, then by draw.
    auc: Vec<Vec<f64>>,
    log_loss: Vec<Vec<f64>>,
}

impl Rows {
    /// Judges a model by the log odds of each of its seeds.
    pub fn judge(&self, seeds: &[Vec<f32>]) -> Result<Judged, TrainError> {
        let figures = seeds.iter().map(|logits| self.figures(logits)).collect::<Option<_>>();
        let one_kind = "the test rows are all clicked, or none is: nothing can be compared";
        let figures = figures.ok_or_else(|| TrainError::Data(one_kind.to_owned()))?;
        let mut judged = Judged { figures, auc: Vec::new(), log_loss: Vec::new() };
        for logits in seeds {
            let (auc, log_loss) = self.draws(logits);
            judged.auc.push(auc);
            judged.log_loss.push(log_loss);
        }
        Ok(judged)
    }

    /// Figures of one seed.
    pub fn figures(&self, logits: &[f32]) -> Option<Figures> {
        let probabilities: Vec<_> = logits.iter().map(|&logit| sigmoid(logit)).collect();
        Some(Figures {
            auc: auc(logits, &self.labels)?,
            log_loss: log_loss(logits, &self.labels),
            ece: expected_calibration_error(&probabilities, &self.labels, BINS),
            ratio: calibration_ratio(&probabilities, &self.labels)?,
        })
    }

    /// AUC and log loss of each draw. The draws are the same for all models.
    fn draws(&self, logits: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let ranking = Ranking::of(logits);
        let losses = self.losses(logits);
        let mut random = Random::new(1);
        let (mut lists, mut rows) = (vec![0; self.ends.len()], vec![0; self.labels.len()]);
        let mut draw = || {
            self.draw(&mut random, &mut lists, &mut rows);
            let of = |sum: (f64, f64), (&count, loss): (&u32, &(f64, f64))| {
                (sum.0 + f64::from(count) * loss.0, sum.1 + f64::from(count) * loss.1)
            };
            let (loss, weight) = lists.iter().zip(&losses).fold((0.0, 0.0), of);
            (ranking.auc(&self.labels, &rows), loss / weight)
        };
        (0..DRAWS).map(|_| draw()).unzip()
    }

    /// How often each list, and so each row, is in one draw.
    fn draw(&self, random: &mut Random, lists: &mut [u32], rows: &mut [u32]) {
        lists.fill(0);
        for _ in 0..lists.len() {
            lists[random.below(lists.len() as u64) as usize] += 1;
        }
        let mut start = 0;
        for (&count, &end) in lists.iter().zip(&self.ends) {
            rows[start..end].fill(count);
            start = end;
        }
    }

    /// Each list's loss in sum, and its rows.
    fn losses(&self, logits: &[f32]) -> Vec<(f64, f64)> {
        let mut start = 0;
        let list = |&end: &usize| {
            let range = std::mem::replace(&mut start, end)..end;
            let rows = range.len() as f64;
            (log_loss(&logits[range.clone()], &self.labels[range]) * rows, rows)
        };
        self.ends.iter().map(list).collect()
    }
}

impl Judged {
    /// One of the figures over the seeds.
    pub fn spread(&self, figure: impl Fn(&Figures) -> f64) -> Spread {
        spread(self.figures.iter().map(figure))
    }

    /// The AUC less that of another.
    pub fn auc_less(&self, other: &Judged) -> Difference {
        let middle = self.spread(|one| one.auc).mean - other.spread(|one| one.auc).mean;
        difference(middle, &self.auc, &other.auc)
    }

    /// The log loss less that of another.
    pub fn log_loss_less(&self, other: &Judged) -> Difference {
        let middle = self.spread(|one| one.log_loss).mean - other.spread(|one| one.log_loss).mean;
        difference(middle, &self.log_loss, &other.log_loss)
    }

    /// Half the intervals of AUC and log loss themselves: what rows alone do to a figure.
    pub fn noise(&self) -> (f64, f64) {
        let nothing = vec![vec![0.0; DRAWS]];
        let half = |draws: &[Vec<f64>]| {
            let interval = difference(0.0, draws, &nothing);
            (interval.high - interval.low) / 2.0
        };
        (half(&self.auc), half(&self.log_loss))
    }
}

/// Mean and deviation.
pub fn spread(numbers: impl Iterator<Item = f64>) -> Spread {
    let numbers: Vec<_> = numbers.collect();
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    Spread { mean, deviation: if count > 1.0 { (squares / (count - 1.0)).sqrt() } else { 0.0 } }
}

/// Of each draw the mean over as many seeds as there are, drawn anew for each of the two.
fn difference(middle: f64, ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> Difference {
    let mut random = Random::new(2);
    let mut mean = |seeds: &[Vec<f64>], draw: usize| {
        let drawn = (0..seeds.len()).map(|_| &seeds[random.below(seeds.len() as u64) as usize]);
        drawn.map(|seed| seed[draw]).sum::<f64>() / seeds.len() as f64
    };
    let mut all: Vec<_> = (0..DRAWS).map(|draw| mean(ours, draw) - mean(theirs, draw)).collect();
    // A draw without clicks has no AUC.
    all.retain(|number| number.is_finite());
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all.get((share * all.len() as f64) as usize).copied().unwrap_or(f64::NAN);
    Difference { low: at(0.025), middle, high: at(0.975) }
}

/// Rows by log odds, sorted once and judged under any counts.
struct Ranking {
    order: Vec<u32>,
    /// The end of each run of equal log odds.
    ends: Vec<usize>,
}

impl Ranking {
    fn of(logits: &[f32]) -> Self {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |row: u32| logits[row as usize];
        order.sort_unstable_by(|&a, &b| logit(a).total_cmp(&logit(b)).then(a.cmp(&b)));
        let differs =
            |end: &usize| order.get(*end).is_none_or(|&next| logit(next) != logit(order[*end - 1]));
        let ends = (1..=order.len()).filter(differs).collect();
        Ranking { order, ends }
    }

    /// NaN where the draw has one kind alone.
    fn auc(&self, labels: &[bool], counts: &[u32]) -> f64 {
        let (mut pairs, mut below, mut clicks, mut start) = (0.0, 0.0, 0.0, 0);
        for &end in &self.ends {
            let (mut clicked, mut missed) = (0.0, 0.0);
            for &row in &self.order[start..end] {
                let count = f64::from(counts[row as usize]);
                *(if labels[row as usize] { &mut clicked } else { &mut missed }) += count;
            }
            pairs += clicked * (below + missed / 2.0);
            below += missed;
            clicks += clicked;
            start = end;
        }
        pairs / (clicks * below)
    }
}

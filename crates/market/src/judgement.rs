//! Predictions held against the truth itself.
//!
//! The true probability `q` of every shown ad is known, so a prediction `p` is judged by its expected
//! log loss, `-(q ln p + (1 - q) ln(1 - p))`: what its log loss would be in the mean over all draws of
//! the click. Nothing in it is noise, and no `p` does better than `q` itself. Beside it stand the truth
//! and the best constant of the same impressions: a model that knows nothing closes none of the gap
//! between them, and a perfect one all of it.

use reckon_event::Timestamp;

use crate::{Market, Scene, examination};

/// Predictions nearer to 0 and 1 than this are taken as this near.
const PREDICTION_MIN: f64 = 1e-9;

/// One ad that was shown to a person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// How likely it was to be clicked where it was shown.
    pub truth: f64,
    /// How likely an ad chosen by chance would have been, in its place.
    pub random: f64,
    /// How likely the best ad for its place would have been.
    pub best: f64,
    /// What the server said of `truth`, if it did.
    pub predicted: Option<f64>,
    /// It was clicked.
    pub clicked: bool,
}

/// Sums over shown ads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Ads shown to people.
    pub shown: u64,
    /// Of them clicked.
    pub clicks: u64,
    /// Sum of the true probabilities.
    pub truth: f64,
    /// The same, had all been chosen by chance.
    pub random: f64,
    /// The same, had the best been shown each time.
    pub best: f64,
    /// Of them with a prediction. All that follows is of these.
    pub judged: u64,
    /// Sum of the true probabilities.
    pub judged_truth: f64,
    /// Sum of the predictions.
    pub predicted: f64,
    /// Sum of the expected log losses of the predictions.
    pub model_loss: f64,
    /// Sum of the expected log losses of the truth.
    pub truth_loss: f64,
}

impl Bucket {
    /// Takes one shown ad in.
    pub fn note(&mut self, served: &Served) {
        self.shown += 1;
        self.clicks += u64::from(served.clicked);
        self.truth += served.truth;
        self.random += served.random;
        self.best += served.best;
        if let Some(predicted) = served.predicted {
            self.judged += 1;
            self.judged_truth += served.truth;
            self.predicted += predicted;
            self.model_loss += expected_loss(served.truth, predicted);
            self.truth_loss += expected_loss(served.truth, served.truth);
        }
    }

    /// Takes all of another in.
    pub fn merge(&mut self, other: &Bucket) {
        self.shown += other.shown;
        self.clicks += other.clicks;
        self.truth += other.truth;
        self.random += other.random;
        self.best += other.best;
        self.judged += other.judged;
        self.judged_truth += other.judged_truth;
        self.predicted += other.predicted;
        self.model_loss += other.model_loss;
        self.truth_loss += other.truth_loss;
    }

    /// Expected log loss of the predictions; `None` without any.
    pub fn model_log_loss(&self) -> Option<f64> {
        self.mean(self.model_loss)
    }

    /// Expected log loss of the truth.
    pub fn truth_log_loss(&self) -> Option<f64> {
        self.mean(self.truth_loss)
    }

    /// Expected log loss of the constant that fits these impressions best: their true mean.
    pub fn constant_log_loss(&self) -> Option<f64> {
        self.mean(self.judged_truth).map(|mean| expected_loss(mean, mean))
    }

    /// Predicted clicks for each true one.
    pub fn calibration_ratio(&self) -> Option<f64> {
        (self.judged_truth > 0.0).then(|| self.predicted / self.judged_truth)
    }

    /// The share of the gap between constant and truth that the predictions close; below 0 where they
    /// are worse than the constant.
    pub fn gap_closed(&self) -> Option<f64> {
        let (constant, truth) = (self.constant_log_loss()?, self.truth_log_loss()?);
        let gap = constant - truth;
        (gap > 1e-12).then(|| (constant - self.model_log_loss().unwrap_or(constant)) / gap)
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.judged > 0).then(|| sum / self.judged as f64)
    }
}

/// `-(q ln p + (1 - q) ln(1 - p))`
fn expected_loss(truth: f64, predicted: f64) -> f64 {
    let predicted = predicted.clamp(PREDICTION_MIN, 1.0 - PREDICTION_MIN);
    -(truth * predicted.ln() + (1.0 - truth) * (-predicted).ln_1p())
}

/// Sums by equal parts of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// When the first part begins.
    pub start: Timestamp,
    /// How long each part lasts, in microseconds.
    pub width_us: i64,
    /// The parts, in order.
    pub buckets: Vec<Bucket>,
}

impl Judgement {
    /// Empty sums of a run that lasts `span_us`.
    pub fn new(start: Timestamp, span_us: i64, parts: usize) -> Self {
        assert!(parts > 0 && span_us > 0, "a run has parts, and they last");
        let width_us = (span_us / parts as i64).max(1);
        Judgement { start, width_us, buckets: vec![Bucket::default(); parts] }
    }

    /// Takes in an ad that was shown at a time. What is shown before the start or after the end, as
    /// by who is late, falls into the first or the last part.
    pub fn note(&mut self, time: Timestamp, served: &Served) {
        let part = time.since(self.start).div_euclid(self.width_us);
        let last = self.buckets.len() - 1;
        self.buckets[usize::try_from(part).unwrap_or(0).min(last)].note(served);
    }

    /// All of it.
    pub fn total(&self) -> Bucket {
        self.sum(0..self.buckets.len())
    }

    /// The sums in `count` equal shares of the run, in order.
    pub fn shares(&self, count: usize) -> Vec<Bucket> {
        let at = |share: usize| share * self.buckets.len() / count;
        (0..count).map(|share| self.sum(at(share)..at(share + 1))).collect()
    }

    fn sum(&self, parts: std::ops::Range<usize>) -> Bucket {
        let mut sum = Bucket::default();
        self.buckets[parts].iter().for_each(|bucket| sum.merge(bucket));
        sum
    }
}

impl Market {
    /// For each place from the first: how likely a random ad would be clicked there, and how likely the
    /// best, where the best of all ads that have begun stands first, the next best second, and so on.
    pub fn alternatives(&self, scene: &Scene, places: usize) -> Vec<(f64, f64)> {
        let begun = |ad: &usize| f64::from(self.ads[*ad].launch_hour) <= scene.hours.max(0.0);
        let mut chances: Vec<f64> =
            (0..self.ads.len()).filter(begun).map(|ad| self.probability(scene, ad, 1)).collect();
        chances.sort_by(|one, other| other.total_cmp(one));
        let mean = chances.iter().sum::<f64>() / chances.len().max(1) as f64;
        let place = |at: usize| {
            let seen = examination(u16::try_from(at + 1).unwrap_or(u16::MAX));
            (seen * mean, seen * chances.get(at).copied().unwrap_or(0.0))
        };
        (0..places).map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Options};

    fn served(truth: f64, predicted: Option<f64>) -> Served {
        Served { truth, random: truth / 2.0, best: 2.0 * truth, predicted, clicked: truth > 0.5 }
    }

    fn bucket(of: &[(f64, Option<f64>)]) -> Bucket {
        let mut bucket = Bucket::default();
        of.iter().for_each(|&(truth, predicted)| bucket.note(&served(truth, predicted)));
        bucket
    }

    #[test]
    fn the_truth_closes_the_gap_and_a_constant_none_of_it() {
        let truths = [0.01, 0.02, 0.3, 0.6];
        let with = |predict: &dyn Fn(f64) -> f64| {
            bucket(&truths.map(|truth| (truth, Some(predict(truth)))))
        };
        let mean = truths.iter().sum::<f64>() / 4.0;
        let gap = |bucket: Bucket| bucket.gap_closed().expect("there is a gap");
        assert!((gap(with(&|truth| truth)) - 1.0).abs() < 1e-12);
        assert!(gap(with(&|_| mean)).abs() < 1e-12);
        assert!(gap(with(&|truth| 1.0 - truth)) < 0.0);
        assert!((0.5..1.0).contains(&gap(with(&|truth| 0.9 * truth))));
        assert!(
            (with(&|truth| 0.9 * truth).calibration_ratio().expect("clicks") - 0.9).abs() < 1e-9
        );
    }

    #[test]
    fn what_was_not_predicted_is_not_judged() {
        let bucket = bucket(&[(0.1, None), (0.6, Some(0.6)), (0.2, Some(0.2))]);
        assert_eq!((bucket.shown, bucket.judged, bucket.clicks), (3, 2, 1));
        assert!((bucket.judged_truth - 0.8).abs() < 1e-12 && (bucket.truth - 0.9).abs() < 1e-12);
        let none = super::tests::bucket(&[(0.1, None)]);
        assert_eq!(
            (none.model_log_loss(), none.gap_closed(), none.calibration_ratio()),
            (None, None, None)
        );
    }

    #[test]
    fn certain_predictions_cost_much_and_not_everything() {
        let loss = bucket(&[(0.5, Some(0.0)), (0.5, Some(1.0))]).model_log_loss().expect("judged");
        assert!(loss.is_finite() && loss > 5.0, "{loss}");
    }

    #[test]
    fn parts_add_up() {
        let mut judgement = Judgement::new(Timestamp(100), 240, 24);
        for time in [0, 100, 109, 110, 339, 340, 9_999] {
            judgement.note(Timestamp(time), &served(0.1, Some(0.1)));
        }
        assert_eq!((judgement.buckets[0].shown, judgement.buckets[1].shown), (3, 1));
        assert_eq!(judgement.buckets[23].shown, 3);
        let shares: Vec<u64> = judgement.shares(6).iter().map(|share| share.shown).collect();
        assert_eq!(shares, [4, 0, 0, 0, 0, 3]);
        assert_eq!(judgement.total().shown, 7);
    }

    #[test]
    fn the_best_ads_are_better_than_random_ones_and_have_begun() {
        let market = Market::new(Options::new(1));
        let scene =
            |hours| Scene { user: 1, page: 2, device: Device::Tablet, hour_of_day: 9, hours };
        let early = market.alternatives(&scene(0.0), 4);
        let chance = |ad: usize| market.probability(&scene(0.0), ad, 1);
        let best =
            (0..80).filter(|&ad| market.ads[ad].launch_hour == 0).map(chance).fold(0.0, f64::max);
        assert_eq!(early[0].1, best);
        assert!(early.iter().all(|(random, best)| random < best), "{early:?}");
        assert!(early.is_sorted_by(|one, next| one.0 > next.0 && one.1 > next.1));
        let late = market.alternatives(&scene(13.0), 1);
        assert!(late[0].1 >= best, "more ads offer no worse a best");
    }
}

//! Predictions held against the truth itself.
//!
//! The true probability `q` of every shown ad is known, so a prediction `p` is judged by its expected
//! log loss, `-(q ln p + (1 - q) ln(1 - p))`: what its log loss would be in the mean over all draws of
//! the click. Nothing in it is noise, and no `p` does better than `q` itself. Beside it stand the truth
//! and the best constant of the same impressions: a model that knows nothing closes none of the gap
//! between them, and a perfect one all of it.

use reckon_event::Timestamp;

use crate::{Market, Scene};

/// Predictions nearer to 0 and 1 than this are taken as this near.
const PREDICTION_MIN: f64 = 1e-9;

/// One ad that was shown to a person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// How likely it was to be clicked where it was shown.
    pub truth: f64,
    /// What a click on it costs, in micros.
    pub price: f64,
    /// What else could have been shown in its place.
    pub instead: Alternative,
    /// What the server said of `truth`, if it did.
    pub predicted: Option<f64>,
    /// It was clicked.
    pub clicked: bool,
}

/// What else could have been shown on a place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Alternative {
    /// How likely an ad chosen by chance is clicked there.
    pub random: f64,
    /// What an ad chosen by chance earns there: probability times price, in micros.
    pub random_value: f64,
    /// What the ads that earn most would earn there: the best on the first place, the next best on the
    /// second, and so on.
    pub best_value: f64,
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
    /// Sum of what was earned in the mean: true probabilities times prices, in micros.
    pub value: f64,
    /// The same sums for what else could have been shown.
    pub instead: Alternative,
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

impl Alternative {
    fn add(&mut self, other: &Alternative) {
        self.random += other.random;
        self.random_value += other.random_value;
        self.best_value += other.best_value;
    }
}

impl Bucket {
    /// Takes one shown ad in.
    pub fn note(&mut self, served: &Served) {
        self.shown += 1;
        self.clicks += u64::from(served.clicked);
        self.truth += served.truth;
        self.value += served.truth * served.price;
        self.instead.add(&served.instead);
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
        self.value += other.value;
        self.instead.add(&other.instead);
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

    /// How far what was earned lies between what chance (0) and the best ads (1) would have earned.
    pub fn value_gained(&self) -> Option<f64> {
        let room = self.instead.best_value - self.instead.random_value;
        (room > 0.0).then(|| (self.value - self.instead.random_value) / room)
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
    /// What could be shown on each place from the first, of all ads that have begun.
    pub fn alternatives(&self, scene: &Scene, places: usize) -> Vec<Alternative> {
        let begun = |ad: &usize| f64::from(self.ads[*ad].launch_hour) <= scene.hours.max(0.0);
        let of = |ad| {
            let chance = self.probability(scene, ad, 1);
            (chance, chance * self.price(ad) as f64)
        };
        let ads: Vec<(f64, f64)> = (0..self.ads.len()).filter(begun).map(of).collect();
        let mut values: Vec<f64> = ads.iter().map(|&(_, value)| value).collect();
        values.sort_by(|one, other| other.total_cmp(one));
        let mean = |sum: f64| sum / ads.len().max(1) as f64;
        let chance = mean(ads.iter().map(|&(chance, _)| chance).sum());
        let value = mean(values.iter().sum());
        let place = |at: usize| {
            let seen = self.examination(u16::try_from(at + 1).unwrap_or(u16::MAX));
            Alternative {
                random: seen * chance,
                random_value: seen * value,
                best_value: seen * values.get(at).copied().unwrap_or(0.0),
            }
        };
        (0..places).map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Options};

    fn served(truth: f64, predicted: Option<f64>) -> Served {
        let instead =
            Alternative { random: truth / 2.0, random_value: truth, best_value: 9.0 * truth };
        Served { truth, price: 5.0, instead, predicted, clicked: truth > 0.5 }
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
    fn what_is_earned_is_held_against_chance_and_the_best() {
        let bucket = bucket(&[(0.1, None), (0.3, None)]);
        assert!((bucket.value - 2.0).abs() < 1e-12);
        assert!((bucket.value_gained().expect("there is room") - 0.5).abs() < 1e-12);
        assert_eq!(Bucket::default().value_gained(), None);
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
        let begun: Vec<usize> = (0..80).filter(|&ad| market.ads[ad].launch_hour == 0).collect();
        let chance = |ad: usize| market.probability(&scene(0.0), ad, 1);
        let value = |ad: usize| chance(ad) * market.price(ad) as f64;
        let best = begun.iter().map(|&ad| value(ad)).fold(0.0, f64::max);
        assert_eq!(early[0].best_value, best);
        let mean = begun.iter().map(|&ad| chance(ad)).sum::<f64>() / begun.len() as f64;
        assert!((early[0].random - mean).abs() < 1e-12);
        assert!(early.iter().all(|place| place.random_value < place.best_value), "{early:?}");
        assert!(early.is_sorted_by(|one, next| one.random > next.random));
        assert!(early.is_sorted_by(|one, next| one.best_value > next.best_value));
        let late = market.alternatives(&scene(13.0), 1);
        assert!(late[0].best_value >= best, "more ads offer no worse a best");
    }
}

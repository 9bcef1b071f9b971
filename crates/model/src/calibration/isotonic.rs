//! Isotonic regression by pooling adjacent violators (Ayer et al. 1955).

use super::Point;
use super::platt::{Line, probability};

/// A stretch of log odds with one click rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// The mean log odds of what is in it.
    pub(super) logit: f64,
    pub(super) rate: f64,
    /// How many impressions it stands for.
    pub(super) weight: f64,
}

impl Step {
    /// A bin, held towards the line by as many impressions as would make its log odds uncertain by
    /// `deviation`: `1 / (deviation^2 p (1 - p))`, the inverse of the Fisher information of one.
    pub(super) fn held(point: &Point, line: Line, deviation: f64) -> Step {
        let p = probability(line.at(point.logit)).clamp(1e-9, 1.0 - 1e-9);
        let prior = 1.0 / (deviation * deviation * p * (1.0 - p));
        let weight = point.impressions + prior;
        Step { logit: point.logit, rate: (point.clicks + prior * p) / weight, weight }
    }

    fn join(self, next: Step) -> Step {
        let weight = self.weight + next.weight;
        let mean = |ours: f64, theirs: f64| (ours * self.weight + theirs * next.weight) / weight;
        Step { logit: mean(self.logit, next.logit), rate: mean(self.rate, next.rate), weight }
    }
}

/// The rising rates that lie nearest to those given, by rising log odds.
pub(super) fn pool(steps: impl Iterator<Item = Step>) -> Vec<Step> {
    let mut pools: Vec<Step> = Vec::new();
    for mut step in steps {
        while let Some(last) = pools.pop_if(|last| last.rate >= step.rate) {
            step = last.join(step);
        }
        pools.push(step);
    }
    pools
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    /// The definition: the rate at `i` is the highest over starts of the lowest over ends of the mean
    /// between them.
    fn naive(steps: &[Step]) -> Vec<f64> {
        let mean = |from: usize, to: usize| {
            let part = &steps[from..=to];
            let weight: f64 = part.iter().map(|step| step.weight).sum();
            part.iter().map(|step| step.rate * step.weight).sum::<f64>() / weight
        };
        let lowest = |from: usize, at: usize| {
            (at..steps.len()).map(|to| mean(from, to)).fold(f64::INFINITY, f64::min)
        };
        let highest =
            |at: usize| (0..=at).map(|from| lowest(from, at)).fold(f64::NEG_INFINITY, f64::max);
        (0..steps.len()).map(highest).collect()
    }

    #[test]
    fn pools_are_those_of_the_definition() {
        let mut random = Random::new(1);
        let mut compared = 0;
        for size in [1, 2, 3, 7, 30] {
            for _ in 0..50 {
                let step = |index: usize| Step {
                    logit: index as f64,
                    rate: random.uniform() + index as f64 / 40.0,
                    weight: random.uniform() + 0.1,
                };
                let steps: Vec<_> = (0..size).map(step).collect();
                let pools = pool(steps.iter().copied());
                assert!(pools.is_sorted_by(|a, b| a.rate < b.rate && a.logit < b.logit));
                for (step, expected) in steps.iter().zip(naive(&steps)) {
                    let nearest = |pool: &&Step| (pool.rate - expected).abs() < 1e-9;
                    assert!(pools.iter().any(|pool| nearest(&pool)), "{step:?} {expected}");
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 50 * 43);
    }
}

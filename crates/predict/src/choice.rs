//! Which candidates are shown, in which order, and how likely each was to be there.

use reckon_event::Micros;
use reckon_model::bandit::{self, Arm};
use reckon_model::{log_odds, sigmoid};

pub use reckon_model::bandit::Exploration;

use crate::Scores;

/// A candidate that is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// Its index among the candidates.
    pub index: usize,
    /// The probability with which it was chosen for its place.
    pub propensity: f32,
    /// What is believed to be best would have put another one there.
    pub explored: bool,
}

/// Chooses up to `count` distinct candidates by probability times price, the first place first.
/// Where little is known of a candidate its probability is drawn from what is believed of it
/// (Thompson sampling). The same seed makes the same choice.
pub fn choose(
    scores: &Scores,
    prices: &[Micros],
    count: usize,
    exploration: &Exploration,
    seed: u64,
) -> Vec<Chosen> {
    assert_eq!(scores.candidates.len(), prices.len(), "one price a candidate");
    let arms: Vec<Arm> = scores.candidates.iter().zip(prices).map(arm).collect();
    let probability = |logit| match &scores.champion {
        Some(_) => sigmoid(logit),
        None => scores.online.calibration.probability(logit),
    };
    let choices = bandit::choose(&arms, count, exploration, seed, probability);
    let best = best(scores, prices, count);
    choices
        .iter()
        .enumerate()
        .map(|(place, choice)| Chosen {
            index: choice.index,
            propensity: choice.propensity,
            explored: best.get(place) != Some(&choice.index),
        })
        .collect()
}

fn arm((score, &price): (&crate::Score, &Micros)) -> Arm {
    // An ad that costs nothing is still shown before nothing: by its probability.
    // What is believed is what answers; how unsure it is, only the online model can tell.
    let logit = if score.stage > 0 { log_odds(score.probability) } else { score.logit };
    Arm { logit, variance: score.variance, value: price.max(1) as f32 }
}

/// The candidates that are worth most by the means alone, the best first.
pub fn best(scores: &Scores, prices: &[Micros], count: usize) -> Vec<usize> {
    let worth =
        |index: &usize| scores.candidates[*index].probability * prices[*index].max(1) as f32;
    let mut order: Vec<usize> = (0..prices.len()).collect();
    let by_worth = |a: &usize, b: &usize| worth(b).total_cmp(&worth(a)).then(a.cmp(b));
    if count < order.len() && count > 0 {
        order.select_nth_unstable_by(count - 1, by_worth);
    }
    order.truncate(count);
    order.sort_unstable_by(by_worth);
    order
}

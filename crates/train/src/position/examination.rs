//! How likely each place is looked at, and what follows for a row.

use super::{PLACES, class};

/// How likely each place is looked at, beside place 1, which is the measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Examination {
    /// By class; 0 for rows of which nobody knows where they stood, where places are treated.
    chances: Vec<f64>,
}

/// No place is thought to be looked at less often: one click there would outweigh all else.
const CHANCE_MIN: f64 = 0.005;

impl Examination {
    /// Every place is looked at.
    pub fn whole() -> Self {
        Examination { chances: vec![1.0; PLACES] }
    }

    /// From chances by class, which are bounded to what a chance can be.
    pub(super) fn of(chances: impl IntoIterator<Item = f64>) -> Self {
        let mut chances: Vec<_> =
            chances.into_iter().map(|chance| chance.clamp(CHANCE_MIN, 1.0)).collect();
        assert_eq!(chances.len(), PLACES, "a chance a class");
        (chances[0], chances[1]) = (0.0, 1.0);
        Examination { chances }
    }

    /// The chance of a place, from 1 on. 0 where nobody knows the place and that matters: at which places
    /// such rows stood goes with what they are, so a mean chance would be wrong of each of them, and they
    /// tell nothing.
    pub fn chance(&self, position: u16) -> f64 {
        self.chances[class(position)]
    }

    /// How likely a row that was **not** clicked has been looked at: `t (1 - g) / (1 - t g)`, with `g`
    /// the probability of these log odds.
    pub fn missed(&self, position: u16, logit: f32) -> f64 {
        let chance = self.chance(position);
        if chance == 1.0 {
            return 1.0;
        }
        let (liked, not_liked) = probabilities(logit);
        chance * not_liked / (1.0 - chance * liked)
    }

    /// How far a row tells what is clicked where it is looked at: one that was clicked was looked at.
    pub fn looked_at(&self, position: u16, logit: f32, label: bool) -> f64 {
        if label && self.chance(position) > 0.0 { 1.0 } else { self.missed(position, logit) }
    }

    /// The log loss of a row that is clicked where it is looked at and liked.
    pub fn loss(&self, position: u16, logit: f32, label: bool) -> f64 {
        let against = f64::from(if label { -logit } else { logit });
        let plain = against.max(0.0) + (-against.abs()).exp().ln_1p();
        match (self.chance(position), label) {
            (1.0, _) => plain,
            (chance, true) => plain - chance.ln(),
            (chance, false) => -(-chance * probabilities(logit).0).ln_1p(),
        }
    }

    pub(super) fn chances(&self) -> &[f64] {
        &self.chances
    }
}

/// That it is liked, and that it is not, each to its last digits.
pub(super) fn probabilities(logit: f32) -> (f64, f64) {
    let logit = f64::from(logit);
    (1.0 / (1.0 + (-logit).exp()), 1.0 / (1.0 + logit.exp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falling() -> Examination {
        Examination::of((0..PLACES).map(|place| 1.0 / (place as f64).max(1.0)))
    }

    #[test]
    fn a_miss_is_looked_at_as_often_as_bayes_says() {
        let examination = falling();
        let mut compared = 0;
        for position in [1_u16, 2, 5, 40, 63, 900] {
            for logit in [-30.0_f32, -4.0, 0.0, 3.0, 30.0] {
                let chance = examination.chance(position);
                let liked = 1.0 / (1.0 + f64::from(-logit).exp());
                // Looked at and not liked, among all that are not clicked.
                let miss = examination.missed(position, logit);
                let expected = chance * (1.0 - liked) / (1.0 - chance * liked);
                if chance < 1.0 {
                    assert!((miss - expected).abs() < 1e-12, "{position} {logit}");
                } else {
                    assert_eq!(miss, 1.0);
                }
                for (label, p) in [(true, chance * liked), (false, 1.0 - chance * liked)] {
                    let loss = examination.loss(position, logit, label);
                    let expected = -p.ln();
                    assert!(p < 1e-9 || (loss - expected).abs() < 1e-6, "{position} {logit}");
                    assert!(loss.is_finite());
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 60);
    }

    #[test]
    fn the_loss_at_place_1_is_the_plain_one_and_stays_finite() {
        let whole = Examination::whole();
        let loss = |logit, label| whole.loss(1, logit, label);
        assert!((loss(0.0, true) - 2f64.ln()).abs() < 1e-12);
        assert!((loss(3.0, true) + (1.0 / (1.0 + (-3f64).exp())).ln()).abs() < 1e-12);
        assert_eq!((loss(1e4, false), loss(1e4, true)), (1e4, 0.0));
        assert!(loss(f32::NAN, true).is_nan());
    }

    #[test]
    fn chances_are_bounded_and_place_1_is_the_measure() {
        let wild = Examination::of((0..PLACES).map(|place| [f64::INFINITY, 0.3, 0.0][place % 3]));
        assert_eq!((wild.chance(1), wild.chance(2), wild.chance(3)), (1.0, CHANCE_MIN, 1.0));
        assert_eq!((wild.chance(0), wild.missed(0, 0.3)), (0.0, 0.0), "nobody knows where");
        assert_eq!(
            (Examination::whole().chance(0), Examination::whole().missed(0, 9.0)),
            (1.0, 1.0)
        );
    }
}

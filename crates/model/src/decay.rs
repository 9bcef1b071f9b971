//! Sums that forget.
//!
//! Every sum should shrink with each impression, but touching hundreds of bins an impression costs
//! more than learning does. So what is added grows instead, by one common unit, and the sums are
//! divided by it where they are read. Before the unit loses digits everything is divided through once.

/// The unit that additions are counted in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decay {
    /// After this many impressions what was added counts half; infinite for never.
    half_life: f64,
    unit: f64,
}

/// The unit at which sums are divided through: far below what `f64` holds.
const UNIT_MAX: f64 = 1e30;

impl Decay {
    pub(crate) fn new(half_life: f64) -> Self {
        assert!(half_life > 0.0, "a half-life is a positive number of impressions");
        Decay { half_life, unit: 1.0 }
    }

    pub(crate) fn half_life(self) -> f64 {
        self.half_life
    }

    /// What one addition of weight 1 counts now.
    pub(crate) fn unit(self) -> f64 {
        self.unit
    }

    /// Lets one impression of this weight pass. Answers what all sums must be multiplied with first,
    /// which is 1 nearly always.
    pub(crate) fn pass(&mut self, weight: f64) -> f64 {
        self.unit *= (weight / self.half_life).exp2();
        if self.unit < UNIT_MAX {
            return 1.0;
        }
        let shrink = 1.0 / self.unit;
        self.unit = 1.0;
        shrink
    }

    /// Takes the unit up again where it was written down.
    pub(crate) fn resume(half_life: f64, unit: f64) -> Option<Self> {
        let sound = half_life > 0.0 && (1.0..UNIT_MAX).contains(&unit);
        sound.then_some(Decay { half_life, unit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_halves_and_survives_the_division() {
        let mut decay = Decay::new(10.0);
        let mut sum = 0.0;
        let mut divided = 0;
        for _ in 0..5_000 {
            let shrink = decay.pass(1.0);
            divided += usize::from(shrink != 1.0);
            sum = sum * shrink + decay.unit();
        }
        // The limit of the series 1 + q + q^2 + ... with q halving in ten steps.
        let limit = 1.0 / (1.0 - 0.5f64.powf(0.1));
        assert!(divided > 2, "the division was reached");
        assert!((sum / decay.unit() / limit - 1.0).abs() < 1e-9);
    }
}

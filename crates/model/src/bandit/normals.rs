//! Normal numbers for many draws: quick rather than fine.
//!
//! The inverse of the distribution at 1,024 evenly spaced probabilities, with straight lines between.
//! 32 random bits make a draw: ten choose the line, the others the place on it. Beyond the last
//! quantiles (3.1) the lines end where the mean of the tail is right, at [`REACH`].

use std::sync::LazyLock;

use crate::Random;
use crate::random::normal_quantile;

/// No draw is farther from 0.
pub(super) const REACH: f32 = 3.67;

const LINES: usize = 1 << LINE_BITS;
const LINE_BITS: u32 = 10;
const PLACE_BITS: u32 = 32 - LINE_BITS;

static TABLE: LazyLock<[f32; LINES + 1]> = LazyLock::new(|| {
    std::array::from_fn(|index| match index {
        0 => -REACH,
        LINES => REACH,
        _ => normal_quantile(index as f32 / LINES as f32),
    })
});

/// Draws, two for each number of the source.
pub(super) struct Normals<'a> {
    random: &'a mut Random,
    table: &'static [f32; LINES + 1],
    rest: Option<u32>,
}

impl<'a> Normals<'a> {
    pub(super) fn new(random: &'a mut Random) -> Self {
        Normals { random, table: &TABLE, rest: None }
    }

    pub(super) fn draw(&mut self) -> f32 {
        let bits = self.rest.take().unwrap_or_else(|| {
            let both = self.random.bits();
            self.rest = Some((both >> 32) as u32);
            both as u32
        });
        let line = (bits >> PLACE_BITS) as usize;
        let place = (bits & ((1 << PLACE_BITS) - 1)) as f32 / (1u32 << PLACE_BITS) as f32;
        let (low, high) = (self.table[line], self.table[line + 1]);
        low + (high - low) * place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_nearly_normal_and_bounded() {
        let mut random = Random::new(3);
        let mut normals = Normals::new(&mut random);
        let count = 1_000_000;
        let (mut sums, mut beyond) = ([0.0f64; 4], 0);
        for _ in 0..count {
            let draw = normals.draw();
            assert!(draw.abs() <= REACH);
            beyond += u32::from(draw > 2.0);
            for (power, sum) in (1..).zip(&mut sums) {
                *sum += f64::from(draw).powi(power);
            }
        }
        let [mean, variance, skew, tails] = sums.map(|sum| sum / f64::from(count));
        assert!(mean.abs() < 0.005 && (variance - 1.0).abs() < 0.01, "{mean} {variance}");
        assert!(skew.abs() < 0.02 && (tails - 3.0).abs() < 0.06, "{skew} {tails}");
        let share = f64::from(beyond) / f64::from(count);
        assert!((share - 0.022_75).abs() < 0.0006, "{share} beyond two deviations");
    }
}

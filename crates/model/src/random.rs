//! Pseudo-random numbers from a seed and a counter.
//!
//! The number at a place depends on the seed and the place alone, so a draw can be repeated, and two
//! parts of a computation never share a hidden state. The mixing is the finalizer of SplitMix64
//! (Steele, Lea and Flood, OOPSLA 2014). Normal numbers come from the inverse of their distribution
//! (Wichura's AS 241, the variant for seven digits), which takes one number each and has no table: for
//! 85 of 100 draws it is a quotient of two polynomials, without a logarithm.

/// A stream of pseudo-random numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The stream of this seed; streams of different seeds have nothing to do with each other.
    pub fn new(seed: u64) -> Self {
        Random { state: mix(seed ^ 0x5851_f42d_4c95_7f2d) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number in `0..bound`, each nearly equally often (off by less than `bound` in 2^64).
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number of [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A number of the standard normal distribution.
    pub fn normal(&mut self) -> f32 {
        // 23 bits and a half are held exactly: strictly between 0 and 1, symmetric around one half.
        let uniform = ((self.bits() >> 41) as f32 + 0.5) * (1.0 / (1u32 << 23) as f32);
        normal_quantile(uniform)
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The number below which a standard normal falls with this probability, 0 and 1 excluded.
pub(crate) fn normal_quantile(probability: f32) -> f32 {
    let centred = probability - 0.5;
    if centred.abs() <= 0.425 {
        let r = 0.180_625 - centred * centred;
        let above = ((59.109_375 * r + 159.291_13) * r + 50.434_27) * r + 3.387_132_7;
        let below = ((67.187_56 * r + 78.757_76) * r + 17.895_17) * r + 1.0;
        return centred * above / below;
    }
    let tail = if centred < 0.0 { probability } else { 1.0 - probability };
    let r = (-tail.ln()).sqrt();
    let size = if r <= 5.0 {
        let r = r - 1.6;
        let above = ((0.170_238_21 * r + 1.306_728_5) * r + 2.756_815_4) * r + 1.423_437_3;
        above / ((0.120_211_33 * r + 0.737_001_64) * r + 1.0)
    } else {
        let r = r - 5.0;
        let above = ((0.017_337_204 * r + 0.428_682_94) * r + 3.081_226_4) * r + 6.657_905;
        above / ((0.012_258_203 * r + 0.241_978_94) * r + 1.0)
    };
    size.copysign(centred)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        let known = [
            (0.5, 0.0),
            (0.75, 0.674_489_75),
            (0.9, 1.281_551_6),
            (0.95, 1.644_853_6),
            (0.975, 1.959_964),
            (0.99, 2.326_347_9),
            (0.999, 3.090_232_3),
            (0.999_99, 4.264_890_8),
        ];
        for (probability, quantile) in known {
            let seen = normal_quantile(probability);
            assert!((seen - quantile).abs() < 2e-3, "{probability}: {seen}");
            let mirrored = normal_quantile(1.0 - probability);
            assert!((mirrored + quantile).abs() < 2e-3, "{probability}: {mirrored}");
        }
        assert!((normal_quantile(1e-12) + 7.034_484).abs() < 1e-3);
    }

    #[test]
    fn draws_have_the_moments_of_a_normal() {
        let mut random = Random::new(1);
        let count = 1_000_000;
        let mut sums = [0.0f64; 4];
        for _ in 0..count {
            let draw = f64::from(random.normal());
            for (power, sum) in (1..).zip(&mut sums) {
                *sum += draw.powi(power);
            }
        }
        let [mean, variance, skew, tails] = sums.map(|sum| sum / f64::from(count));
        assert!(mean.abs() < 0.005 && (variance - 1.0).abs() < 0.01, "{mean} {variance}");
        assert!(skew.abs() < 0.02 && (tails - 3.0).abs() < 0.05, "{skew} {tails}");
    }

    #[test]
    fn bounded_numbers_are_even_and_seeds_differ() {
        let mut random = Random::new(7);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[random.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert_ne!(Random::new(1).bits(), Random::new(2).bits());
        assert_eq!(Random::new(1), Random::new(1));
        let mean = (0..10_000).map(|_| random.uniform()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01);
    }
}

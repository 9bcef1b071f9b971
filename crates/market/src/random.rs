//! Chance, drawn from a seed: SplitMix64 with named streams.
//!
//! The generator is written out here because the same seed must give the same market in every later
//! build, which no library promises of its default generator. SplitMix64 (Steele, Lea, Flood, OOPSLA
//! 2014) passes the usual batteries and costs three multiplications. Each thing that is drawn (an ad,
//! a visit, what follows from it) has a stream of its own, so drawing more of one changes no other.

/// What is drawn; one stream each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Campaigns = 1,
    Ads,
    Pages,
    Users,
    Tastes,
    Drift,
    Level,
    Arrivals,
    Visits,
    Reactions,
    Choices,
    Lists,
}

/// A generator of chance. Small, fast, and no secret: not for keys.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Random {
    /// The generator of a seed.
    pub const fn new(seed: u64) -> Self {
        Random { state: mix(seed.wrapping_add(GOLDEN)) }
    }

    /// The generator of the `number`th thing of a stream.
    pub(crate) const fn of(seed: u64, stream: Stream, number: u64) -> Self {
        let stream = mix((stream as u64).wrapping_mul(GOLDEN));
        Random { state: mix(mix(seed ^ stream).wrapping_add(number.wrapping_mul(GOLDEN))) }
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number from 0 to just below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number from `low` to just below `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        assert!(count > 0, "nothing can be drawn from nothing");
        // The high half of a product is uniform to within 2^-64 of each value's share.
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }

    /// A normal deviate with mean 0 and this standard deviation (Box, Muller 1958).
    pub fn normal(&mut self, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        deviation * radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// The time to the next event of a Poisson process with rate 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// An index, with the chance of each given by running sums of weights; the last is their total.
    pub fn weighted(&mut self, running_sums: &[f64]) -> usize {
        let total = running_sums.last().copied().unwrap_or(0.0);
        let drawn = self.unit() * total;
        let at = running_sums.partition_point(|&sum| sum <= drawn);
        at.min(running_sums.len().saturating_sub(1))
    }
}

/// Running sums of weights, as [`Random::weighted`] takes them.
pub(crate) fn running_sums(weights: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut total = 0.0;
    let add = |weight: f64| {
        total += weight;
        total
    };
    weights.into_iter().map(add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_frozen() {
        let mut random = Random::of(1, Stream::Visits, 7);
        let drawn: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(drawn, FROZEN, "the same seed must draw the same market in every build");
    }

    const FROZEN: [u64; 3] =
        [11_714_237_820_109_628_563, 18_094_136_623_288_270_640, 16_492_049_889_310_149_591];

    #[test]
    fn streams_and_numbers_differ() {
        let first = |stream, number| Random::of(1, stream, number).bits();
        let drawn = [
            first(Stream::Ads, 0),
            first(Stream::Ads, 1),
            first(Stream::Users, 0),
            Random::of(2, Stream::Ads, 0).bits(),
        ];
        let distinct: std::collections::HashSet<u64> = drawn.into_iter().collect();
        assert_eq!(distinct.len(), drawn.len());
    }

    #[test]
    fn deviates_have_their_moments() {
        let mut random = Random::new(3);
        let count = 200_000;
        let normal: Vec<f64> = (0..count).map(|_| random.normal(2.0)).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(count);
        let square = normal.iter().map(|x| x * x).sum::<f64>() / f64::from(count);
        assert!(mean.abs() < 0.02 && (square - 4.0).abs() < 0.06, "{mean} {square}");
        let wait = (0..count).map(|_| random.exponential()).sum::<f64>() / f64::from(count);
        assert!((wait - 1.0).abs() < 0.01, "{wait}");
    }

    #[test]
    fn weights_give_shares() {
        let sums = running_sums([1.0, 0.0, 3.0]);
        let mut random = Random::new(5);
        let mut drawn = [0_u32; 3];
        (0..40_000).for_each(|_| drawn[random.weighted(&sums)] += 1);
        assert!(drawn[1] == 0 && (9_500..10_500).contains(&drawn[0]), "{drawn:?}");
        let mut small = [0_u32; 5];
        (0..50_000).for_each(|_| small[random.below(5)] += 1);
        assert!(small.iter().all(|count| (9_500..10_500).contains(count)), "{small:?}");
    }
}

//! SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): small,
//! seeded by the caller, the same on every machine for ever.

#[derive(Clone)]
pub(super) struct Random(u64);

/// How likely one unsynced thing survives a power cut, in 256ths.
#[derive(Clone, Copy)]
pub(super) struct Chance(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// The two ends are the likeliest in life, so they get seeds of their own.
    pub(super) const fn chance_of_survival(&mut self, seed: u64) -> Chance {
        match seed % 8 {
            0 => Chance(0),
            1 => Chance(256),
            _ => Chance(16 + self.below(225)),
        }
    }

    pub(super) const fn happens(&mut self, chance: Chance) -> bool {
        self.below(256) < chance.0
    }

    pub(super) const fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

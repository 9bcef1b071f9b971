//! Names of inputs as 32-bit hashes (the hashing trick: Weinberger et al., ICML 2009).
//!
//! An input has a name that the house gives it and, where it is a category, a value. Both go into one
//! hash, and a cross of two inputs into another. The hashes stand in logged rows, so the functions
//! are fixed for ever; the table's size is not, because a model takes the low bits it needs.

use reckon_event::{Feature, name_key};

/// An input that has a name and perhaps a value, before it is one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input(u64);

impl Input {
    /// An input with this name. Names are few; those known beforehand are hashed once and kept.
    pub fn named(name: &str) -> Self {
        Input(name_key(name))
    }

    /// One category of this input, by the key of its value.
    #[must_use]
    pub const fn of(self, value: u64) -> Self {
        Input(mix(self.0, value))
    }

    /// One category of this input, by its text.
    #[must_use]
    pub fn text(self, value: &str) -> Self {
        self.of(name_key(value))
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Input) -> Self {
        Input(mix(self.0.rotate_left(17), other.0))
    }

    /// The hash a model takes.
    pub const fn hash(self) -> u32 {
        (self.0 >> 32) as u32 ^ self.0 as u32
    }

    /// As an input that is there.
    pub const fn flag(self) -> Feature {
        Feature::flag(self.hash())
    }

    /// As an input with a number. What is not finite counts as 0.
    pub const fn number(self, value: f32) -> Feature {
        let value = if value.is_finite() { value } else { 0.0 };
        Feature { hash: self.hash(), value }
    }
}

/// Multiply, fold, multiply: every bit of both reaches every bit of the result (after wyhash's mixer).
const fn mix(a: u64, b: u64) -> u64 {
    const ODD: u128 = 0x9e37_79b9_7f4a_7c15;
    let product = (a ^ 0xa076_1d64_78bd_642f) as u128 * ((b ^ 0xe703_7ed1_a0b4_28db) as u128 | 1);
    let folded = (product >> 64) as u64 ^ product as u64 ^ b.rotate_left(32);
    let product = folded as u128 * ODD;
    (product >> 64) as u64 ^ product as u64
}

/// A number from outside as a category: counts and amounts spread over many powers of ten say more by
/// their size class than by their value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl Number {
    /// The size class: the whole part of the squared logarithm above 2, the number itself up to
    /// there, and one class for what is no number. Negative numbers mirror positive ones from -2 on.
    pub fn class(self) -> i64 {
        let size = self.0.abs();
        if !size.is_finite() {
            return i64::MIN;
        }
        let class = if size > 2.0 { 2 + size.ln().powi(2) as i64 } else { size as i64 };
        if self.0 < 0.0 { -class - 1 } else { class }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_never_change() {
        let user = Input::named("user");
        assert_eq!(user.of(7).hash(), FIXED[0]);
        assert_eq!(user.text("u_abc").hash(), FIXED[1]);
        assert_eq!(user.with(Input::named("ad")).hash(), FIXED[2]);
    }

    /// Rows in the log hold these.
    const FIXED: [u32; 3] = [1639497396, 855445429, 2690695913];

    #[test]
    fn neighbours_do_not_collide() {
        let mut seen = std::collections::HashSet::new();
        let (user, ad) = (Input::named("user"), Input::named("ad"));
        for left in 0..200 {
            for right in 0..200 {
                seen.insert(user.of(left).with(ad.of(right)).hash() & ((1 << 26) - 1));
            }
        }
        // 40,000 of 2^26: some 12 pairs fall together by chance.
        assert!(seen.len() > 39_950, "{} of 40,000 are apart", seen.len());
        assert_ne!(user.with(ad), ad.with(user), "a cross has an order");
    }

    #[test]
    fn numbers_fall_into_classes_of_size() {
        let classes = [0.0, 1.0, 2.0, 3.0, 10.0, 1_382.0, -1.0, -3.0].map(|x| Number(x).class());
        assert_eq!(classes, [0, 1, 2, 3, 7, 54, -2, -4]);
        assert_eq!(Number(f64::NAN).class(), i64::MIN);
    }
}

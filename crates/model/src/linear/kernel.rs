//! The passes over one row: plain loops over slices, so that the compiler makes them wide.
//!
//! Coordinates lie all over the table. They are gathered into columns first, where the loads do not
//! wait for each other; the arithmetic runs over the columns; the changes are scattered back. A
//! coordinate that is in the row twice (two features of one hash) takes both changes.

use reckon_event::Feature;

use super::{Coordinate, GROUP_BITS, LEARNED, LinearOptions, bounded};

/// The options as the passes need them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    inverse_alpha: f32,
    /// `beta / alpha + l2`.
    floor: f32,
    l1: f32,
}

/// What a whole row does to each of its coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The gradient of the loss by the log odds.
    pub(super) gradient: f32,
    /// What was seen of the outcome.
    pub(super) information: f32,
    /// The share of the information from before that stays.
    pub(super) keep: f32,
}

/// The columns of the current row.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    values: Vec<f32>,
    /// First what the coordinates' pull is, then what it changes by.
    pulls: Vec<f32>,
    /// First what the coordinates' information is, then what it changes by.
    informations: Vec<f32>,
    /// `n^(3/4)`.
    powers: Vec<f32>,
    weights: Vec<f32>,
}

impl Rates {
    pub(super) fn of(options: &LinearOptions) -> Self {
        let inverse_alpha = 1.0 / options.alpha;
        let floor = options.beta * inverse_alpha + options.l2;
        Rates { inverse_alpha, floor, l1: options.l1 }
    }

    /// The weight that follows from what was seen.
    pub(super) fn weight(&self, coordinate: Coordinate) -> f32 {
        self.weight_at(coordinate.pull, power(coordinate.information))
    }

    #[inline]
    fn weight_at(&self, pull: f32, power: f32) -> f32 {
        let excess = (pull.abs() - self.l1).max(0.0).copysign(pull);
        -excess / (power * self.inverse_alpha + self.floor)
    }
}

/// `n^(3/4)`.
#[inline]
fn power(information: f32) -> f32 {
    (information * information.sqrt()).sqrt()
}

/// The sum of the products, in eight sums at a time: one would make each addition wait for the last.
fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (lefts, left_rest) = left.as_chunks::<8>();
    let (rights, right_rest) = right.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for (lefts, rights) in lefts.iter().zip(rights) {
        for ((sum, left), right) in sums.iter_mut().zip(lefts).zip(rights) {
            *sum += left * right;
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f32>() + rest
}

impl Row {
    /// Takes the row's coordinates out of the table.
    pub(super) fn gather(&mut self, table: &[Coordinate], row: &[Feature]) {
        let mask = table.len() - 1;
        self.resize(row.len());
        let columns = self.values.iter_mut().zip(&mut self.pulls).zip(&mut self.informations);
        for (((value, pull), information), feature) in columns.zip(row) {
            let coordinate = table[feature.hash as usize & mask];
            *value = bounded(feature.value);
            *pull = coordinate.pull;
            *information = coordinate.information;
        }
    }

    fn resize(&mut self, length: usize) {
        let Row { values, pulls, informations, powers, weights } = self;
        for column in [values, pulls, informations, powers, weights] {
            column.resize(length, 0.0);
        }
    }

    /// Computes the weights; returns what the row's features add to its log odds.
    pub(super) fn weigh(&mut self, rates: &Rates) -> f32 {
        let columns = self.weights.iter_mut().zip(&mut self.powers);
        let columns = columns.zip(&self.pulls).zip(&self.informations);
        for (((weight, power), &pull), &information) in columns {
            *power = self::power(information);
            *weight = rates.weight_at(pull, *power);
        }
        dot(&self.weights, &self.values)
    }

    /// Turns pulls and informations into what they change by.
    pub(super) fn step(&mut self, rates: &Rates, step: &Step) {
        let columns = self.pulls.iter_mut().zip(&mut self.informations);
        let columns = columns.zip(&self.powers).zip(&self.weights).zip(&self.values);
        for ((((pull, information), &power), &weight), &value) in columns {
            let after = *information * step.keep + step.information * value * value;
            let growth = (self::power(after) - power) * rates.inverse_alpha;
            *pull = step.gradient * value - growth * weight;
            *information = after - *information;
        }
    }

    /// Adds the changes to the table, and marks where.
    pub(super) fn scatter(&self, table: &mut [Coordinate], marks: &mut [u8], row: &[Feature]) {
        let mask = table.len() - 1;
        for ((pull, information), feature) in self.pulls.iter().zip(&self.informations).zip(row) {
            let place = feature.hash as usize & mask;
            marks[place >> GROUP_BITS] = LEARNED;
            let coordinate = &mut table[place];
            coordinate.pull += pull;
            // Two that fade by nearly all of it at once would leave less than nothing.
            coordinate.information = (coordinate.information + information).max(0.0);
        }
    }
}

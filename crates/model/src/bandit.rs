//! Chooses among candidates so that what is unsure is tried too, and says how likely each choice was.
//!
//! Thompson sampling (Chapelle and Li, NIPS 2011): draw each candidate's log odds from what is
//! believed of them, and rank by what the draw is worth. A small share of rankings is uniform over
//! all that were eligible, so that every candidate has a known lowest chance at every place.
//!
//! # Propensities that are exact
//!
//! The chance that a candidate comes first has no formula. It is common to estimate it from extra
//! draws, which makes the estimate of a rare choice, and so the weight `1 / propensity`, badly wrong.
//! Instead, the policy is this one: draw `draws` rankings, then show one of them, each with the same
//! chance. Which is shown is still a fair Thompson draw; and given the rankings, the chance of a
//! candidate at a place is the share of them that have it there, without any error:
//!
//! ```text
//! propensity = (1 - floor) * (rankings with the candidate at its place) / draws + floor / eligible
//! ```
//!
//! So a mean that is weighted by the inverse of these propensities is right for every candidate.
//!
//! # Bounds
//!
//! Only the most hopeful candidates are drawn, [`CONTENDERS`] or as many as there are places; and of
//! them only who could come to a place at all. The others can be shown by a uniform ranking alone. The
//! cost is at most `draws * contenders` draws. These come from a table of the normal distribution and
//! end at 3.67 standard deviations, so "could come to a place" is exact.

mod normals;

use crate::Random;
use normals::Normals;

/// How many candidates are drawn, where there are not more places.
pub const CONTENDERS: usize = 64;

/// What is believed of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    /// The mean of its log odds.
    pub logit: f32,
    /// Their variance; 0 where it is sure. Only of what is the candidate's own: not knowing a person
    /// shifts all candidates alike, and as a variance of each it would shuffle them for nothing.
    pub variance: f32,
    /// What its click is worth, 0 or more.
    pub value: f32,
}

/// How to explore.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exploration {
    /// Rankings to draw, at least 1. Few make propensities coarse, multiples of `1 / draws`, and bound
    /// what an inverse can weigh; they stay exact.
    pub draws: u32,
    /// The share of rankings that are uniform, within [0, 1].
    pub floor: f32,
    /// Multiplies each variance; 0 ranks by the means alone.
    pub width: f32,
}

impl Default for Exploration {
    fn default() -> Self {
        Exploration { draws: 32, floor: 0.01, width: 1.0 }
    }
}

/// A chosen candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Which, among those given.
    pub index: usize,
    /// How likely it was at its place.
    pub propensity: f32,
}

/// Chooses by Thompson sampling `count` distinct candidates, or all where there are fewer, the best place
/// first.
/// `probability` turns log odds into a probability: [`crate::sigmoid`], or a calibration.
///
/// The same arguments give the same choice. A candidate whose worth is not a number is drawn last.
///
/// # Panics
/// Where `exploration` is out of its bounds.
pub fn choose(
    arms: &[Arm],
    count: usize,
    exploration: &Exploration,
    seed: u64,
    probability: impl Fn(f32) -> f32,
) -> Vec<Choice> {
    let Exploration { draws, floor, width } = *exploration;
    assert!(draws > 0, "at least one ranking is drawn");
    assert!((0.0..=1.0).contains(&floor), "the floor is a share");
    assert!(width >= 0.0, "the width is 0 or more");
    let count = count.min(arms.len());
    if count == 0 {
        return Vec::new();
    }
    let mut random = Random::new(seed);
    let mut thompson = Thompson::new(arms, count, width, probability);
    let is_uniform = random.uniform() < f64::from(floor);
    let first = thompson.draw(&mut random).to_vec();
    let shown = if is_uniform { uniform(arms.len(), count, &mut random) } else { first.clone() };
    let mut hits: Vec<u32> = vec![0; count];
    count_hits(&mut hits, &shown, &first);
    for _ in 1..draws {
        count_hits(&mut hits, &shown, thompson.draw(&mut random));
    }
    let least = floor / arms.len() as f32;
    let propensity = |hits: u32| (1.0 - floor) * hits as f32 / draws as f32 + least;
    let choice = |(index, hits)| Choice { index, propensity: propensity(hits) };
    shown.into_iter().zip(hits).map(choice).collect()
}

/// Chooses by upper confidence bounds: ranks by what each candidate would be worth with log odds `deviations`
/// standard deviations above its mean. The ranking has no chance in it, so but for the share `floor` of uniform
/// rankings a propensity is 0 or 1, and a log of it can only judge policies near it: prefer [`choose`] where
/// the log is to be learned from.
///
/// The same arguments give the same choice. A candidate whose worth is not a number comes last.
///
/// # Panics
/// Where `floor` is not a share or `deviations` are below 0.
pub fn choose_upper(
    arms: &[Arm],
    count: usize,
    deviations: f32,
    floor: f32,
    seed: u64,
    probability: impl Fn(f32) -> f32,
) -> Vec<Choice> {
    assert!((0.0..=1.0).contains(&floor), "the floor is a share");
    assert!(deviations >= 0.0, "deviations are 0 or more");
    let count = count.min(arms.len());
    if count == 0 {
        return Vec::new();
    }
    let worth = |arm: &Arm| {
        let upper = arm.logit + deviations * arm.variance.max(0.0).sqrt();
        orderable(probability(upper) * arm.value)
    };
    let mut best = Vec::with_capacity(count);
    for (index, arm) in arms.iter().enumerate() {
        keep_best(&mut best, count, (worth(arm), index));
    }
    let first: Vec<_> = best.into_iter().map(|one| one.1).collect();
    let mut random = Random::new(seed);
    let is_uniform = random.uniform() < f64::from(floor);
    let shown = if is_uniform { uniform(arms.len(), count, &mut random) } else { first.clone() };
    let least = floor / arms.len() as f32;
    let choice = |(index, first): (usize, usize)| {
        let greedy = if index == first { 1.0 - floor } else { 0.0 };
        Choice { index, propensity: greedy + least }
    };
    shown.into_iter().zip(first).map(choice).collect()
}

fn count_hits(hits: &mut [u32], shown: &[usize], drawn: &[usize]) {
    for ((hits, shown), drawn) in hits.iter_mut().zip(shown).zip(drawn) {
        *hits += u32::from(shown == drawn);
    }
}

/// The first `count` of a uniform permutation.
fn uniform(eligible: usize, count: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..eligible).collect();
    for place in 0..count {
        let other = place + random.below((eligible - place) as u64) as usize;
        order.swap(place, other);
    }
    order.truncate(count);
    order
}

/// Draws rankings.
struct Thompson<P> {
    contenders: Vec<Contender>,
    probability: P,
    count: usize,
    /// The best of the current draw with their worth, the best first.
    best: Vec<(f32, usize)>,
    order: Vec<usize>,
}

struct Contender {
    index: usize,
    logit: f32,
    deviation: f32,
    value: f32,
    /// What it could be worth at most, and at least.
    best: f32,
    worst: f32,
}

impl<P: Fn(f32) -> f32> Thompson<P> {
    fn new(arms: &[Arm], count: usize, width: f32, probability: P) -> Self {
        let worth = |logit: f32, value: f32| orderable(probability(logit) * value);
        let contender = |(index, arm): (usize, &Arm)| {
            let deviation = (arm.variance * width).max(0.0).sqrt();
            let best = worth(arm.logit + normals::REACH * deviation, arm.value);
            let worst = worth(arm.logit - normals::REACH * deviation, arm.value);
            Contender { index, logit: arm.logit, deviation, value: arm.value, best, worst }
        };
        let mut contenders: Vec<_> = arms.iter().enumerate().map(contender).collect();
        // The most hopeful first: then most of the others fall short of the last place at once.
        contenders.sort_unstable_by(|a, b| b.best.total_cmp(&a.best).then(a.index.cmp(&b.index)));
        contenders.truncate(count.max(CONTENDERS));
        let mut sure: Vec<_> = contenders.iter().map(|one| one.worst).collect();
        let (_, &mut bar, _) = sure.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
        contenders.retain(|one| one.best >= bar);
        Thompson { contenders, probability, count, best: Vec::new(), order: Vec::new() }
    }

    /// One ranking.
    fn draw(&mut self, random: &mut Random) -> &[usize] {
        self.best.clear();
        let mut normals = Normals::new(random);
        for one in &self.contenders {
            let last = self.best.get(self.count - 1);
            if last.is_some_and(|&(worth, _)| worth >= one.best) {
                // Neither this one nor those behind it, which are less hopeful, can come to a place.
                break;
            }
            let logit = one.logit + one.deviation * normals.draw();
            let worth = orderable((self.probability)(logit) * one.value);
            keep_best(&mut self.best, self.count, (worth, one.index));
        }
        self.order.clear();
        self.order.extend(self.best.iter().map(|&(_, index)| index));
        &self.order
    }
}

/// Puts one into the list of the best `count`, where it belongs there.
fn keep_best(best: &mut Vec<(f32, usize)>, count: usize, one: (f32, usize)) {
    if best.len() == count {
        match best.last() {
            Some(last) if last.0 < one.0 => best.pop(),
            _ => return,
        };
    }
    let mut place = best.len();
    while place > 0 && best[place - 1].0 < one.0 {
        place -= 1;
    }
    best.insert(place, one);
}

/// What is not a number is worth least.
fn orderable(worth: f32) -> f32 {
    if worth.is_nan() { f32::NEG_INFINITY } else { worth }
}

#[cfg(test)]
mod tests;

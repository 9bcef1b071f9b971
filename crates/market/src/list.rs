//! Lists of ads that a page shows one below the other, without a server that chooses them.
//!
//! Whoever pays more stands higher, with some chance: an order that says nothing of what is liked, as
//! a market has it before it knows anybody. So what is clicked depends on the place *and* on who pays,
//! and only a model that takes the two apart finds what people like. A list follows from the seed and
//! its number alone, so what was true of any of its rows can be told again later.

use reckon_event::Timestamp;

use crate::random::{Random, Stream};
use crate::{Curve, Market, Scene, Visit};

/// How much the order goes by price, in powers of it.
const PRICE_POWER: f64 = 1.5;
/// How much it goes by chance: a standard deviation of the logarithm.
const CHANCE: f64 = 0.6;
/// Clicks come within so many seconds, most of them soon.
const CLICK_SECONDS_MEAN: f64 = 8.0;
const CLICK_SECONDS_MAX: f64 = 300.0;

/// What one page shows.
#[derive(Clone, Debug)]
pub struct List {
    /// Who comes.
    pub visit: Visit,
    /// What decides how they like an ad.
    pub scene: Scene,
    /// From position 1 on.
    pub shown: Vec<Shown>,
}

/// An ad of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// Its index.
    pub ad: usize,
    /// The log odds of a click where it is looked at: on position 1.
    pub logit: f64,
    /// How long after it was shown it was clicked, in microseconds.
    pub clicked_us: Option<i64>,
}

impl Market {
    /// The list with a number; `None` where a machine asks for it.
    pub fn list(&self, number: u64, at: Timestamp, curve: &Curve, count: usize) -> Option<List> {
        let visit = self.visit(number, at, curve);
        let scene = visit.scene(at, curve)?;
        let mut random = Random::of(self.options.seed, Stream::Lists, number);
        let mut places: Vec<(f64, usize)> = Vec::with_capacity(count);
        while places.len() < count.min(self.ads.len()) {
            let ad = random.below(self.ads.len());
            if places.iter().all(|&(_, other)| other != ad) {
                let price = self.price(ad) as f64;
                places.push((PRICE_POWER * price.ln() + random.normal(CHANCE), ad));
            }
        }
        places.sort_by(|left, right| right.0.total_cmp(&left.0));
        let shown = (1..).zip(&places).map(|(position, &(_, ad))| {
            let logit = self.logit(&scene, ad);
            let chance = self.examination(position) * crate::taste::sigmoid(logit);
            let seconds = (random.exponential() * CLICK_SECONDS_MEAN).min(CLICK_SECONDS_MAX);
            let is_clicked = random.chance(chance);
            let clicked_us = is_clicked.then_some((seconds * 1e6) as i64);
            Shown { ad, logit, clicked_us }
        });
        let shown = shown.collect();
        Some(List { visit, scene, shown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Troubles};

    #[test]
    fn a_list_follows_from_its_number_and_is_clicked_as_its_truth_says() {
        let options = Options { troubles: Troubles::none(), drift: None, ..Options::new(4) };
        let market = Market::new(options);
        let curve = Curve::new(Timestamp(0), Timestamp::DAY);
        let (mut expected, mut clicks) = ([0.0; 8], [0.0; 8]);
        let mut price_by_place = [0.0; 8];
        for number in 0..40_000 {
            let at = curve.at(number as f64 / 40_000.0);
            let list = market.list(number, at, &curve, 8).expect("there are no machines");
            if number % 1_000 == 0 {
                let again = market.list(number, at, &curve, 8).expect("there are no machines");
                assert_eq!((list.visit.clone(), &list.shown), (again.visit, &again.shown));
            }
            for (place, shown) in list.shown.iter().enumerate() {
                let position = place as u16 + 1;
                assert_eq!(shown.logit, market.logit(&list.scene, shown.ad));
                expected[place] += market.probability(&list.scene, shown.ad, position);
                clicks[place] += f64::from(u8::from(shown.clicked_us.is_some()));
                price_by_place[place] += market.price(shown.ad) as f64 / 4e4;
            }
        }
        for place in 0..8 {
            let off = (clicks[place] - expected[place]) / expected[place].sqrt();
            assert!(off.abs() < 4.0, "place {place}: {} for {}", clicks[place], expected[place]);
        }
        assert!(price_by_place[0] > 1.5 * price_by_place[7], "{price_by_place:?}");
    }
}

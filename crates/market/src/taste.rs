//! What people like: the hidden truth behind every click.

use crate::curve::{appetite, hour_sums};
use crate::random::{Random, Stream};
use crate::world::{CATEGORIES, GROUP_COUNT, PLACEMENTS, REGIONS, SIZES};
use crate::{Ad, Device, Market, Options, Page, User};

/// The chance that a place is looked at falls with its number to this power, in the usual market.
pub const POSITION_DECAY: f64 = 0.6;

const CATEGORY_COUNT: usize = CATEGORIES.len();
const DEVICE_COUNT: usize = Device::ALL.len();
/// Log odds that are added where a page is about what an ad sells.
const SAME_CATEGORY: f64 = 0.5;
/// Impressions that the mean is set on.
const LEVEL_SAMPLES: u64 = 20_000;

/// The chance that the ad on a position (from 1) is looked at in the usual market; 1 on the first.
pub fn examination(position: u16) -> f64 {
    f64::from(position.max(1)).powf(-POSITION_DECAY)
}

/// Who looks at which page with what and when: the same for all ads of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scene {
    /// Index of the user.
    pub user: usize,
    /// Index of the page.
    pub page: usize,
    /// What the page is looked at with.
    pub device: Device,
    /// Hour of the day, in UTC.
    pub hour_of_day: u32,
    /// Hours since the market's start.
    pub hours: f64,
}

/// The parts of the log odds.
#[derive(Clone, Debug)]
pub(crate) struct Tastes {
    /// Sets the mean.
    base: f64,
    /// By era (before and after the drift), then group, then category.
    groups: [Vec<[f64; CATEGORY_COUNT]>; 2],
    /// The person's own part, readiness included.
    users: Vec<[f64; CATEGORY_COUNT]>,
    ads: Vec<[f64; DEVICE_COUNT]>,
    device_category: [[f64; CATEGORY_COUNT]; DEVICE_COUNT],
    device_size: [[f64; SIZES.len()]; DEVICE_COUNT],
    region_category: [[f64; CATEGORY_COUNT]; REGIONS.len()],
    pages: Vec<[f64; CATEGORY_COUNT]>,
}

impl Tastes {
    /// Draws everything but the base, and gives each ad its appeal.
    pub fn draw(options: &Options, ads: &mut [Ad], pages: &[Page], users: &[User]) -> Self {
        let mut shared = Random::of(options.seed, Stream::Tastes, 0);
        Tastes {
            base: 0.0,
            groups: groups(options),
            users: (0..users.len()).map(|user| own_taste(options.seed, user)).collect(),
            ads: ads.iter_mut().enumerate().map(|(at, ad)| appeal(options.seed, at, ad)).collect(),
            device_category: matrix(&mut shared, 0.25),
            device_size: matrix(&mut shared, 0.2),
            region_category: matrix(&mut shared, 0.2),
            pages: pages_of(options.seed, pages),
        }
    }

    /// What a group thinks of a category in an era.
    pub fn of_group(&self, era: usize, group: usize, category: usize) -> f64 {
        self.groups[era][group][category]
    }
}

fn matrix<const ROWS: usize, const COLUMNS: usize>(
    random: &mut Random,
    deviation: f64,
) -> [[f64; COLUMNS]; ROWS] {
    [(); ROWS].map(|()| [(); COLUMNS].map(|()| random.normal(deviation)))
}

/// Before and after the drift: the second is a turn of the first towards other tastes, equally strong.
fn groups(options: &Options) -> [Vec<[f64; CATEGORY_COUNT]>; 2] {
    const DEVIATION: f64 = 0.55;
    let fresh = |stream, group: usize| {
        let mut random = Random::of(options.seed, stream, (1 << 40) + group as u64);
        [(); CATEGORY_COUNT].map(|()| random.normal(DEVIATION))
    };
    let before: Vec<_> = (0..GROUP_COUNT).map(|group| fresh(Stream::Tastes, group)).collect();
    let kept = options.drift.map_or(1.0, |drift| drift.kept.clamp(-1.0, 1.0));
    let gained = (1.0 - kept * kept).sqrt();
    let turn = |(group, before): (usize, &[f64; CATEGORY_COUNT])| {
        let other = fresh(Stream::Drift, group);
        std::array::from_fn(|category| kept * before[category] + gained * other[category])
    };
    let after = before.iter().enumerate().map(turn).collect();
    [before, after]
}

fn own_taste(seed: u64, user: usize) -> [f64; CATEGORY_COUNT] {
    let mut random = Random::of(seed, Stream::Tastes, (2 << 40) + user as u64);
    let readiness = random.normal(0.3);
    [(); CATEGORY_COUNT].map(|()| readiness + random.normal(0.4))
}

fn appeal(seed: u64, at: usize, ad: &mut Ad) -> [f64; DEVICE_COUNT] {
    let mut of_campaign = Random::of(seed, Stream::Tastes, (3 << 40) + ad.campaign as u64);
    let mut random = Random::of(seed, Stream::Tastes, (4 << 40) + at as u64);
    ad.appeal = of_campaign.normal(0.2) + random.normal(0.6);
    [(); DEVICE_COUNT].map(|()| ad.appeal + random.normal(0.15))
}

fn pages_of(seed: u64, pages: &[Page]) -> Vec<[f64; CATEGORY_COUNT]> {
    let mut shared = Random::of(seed, Stream::Tastes, 1);
    let placements = [(); PLACEMENTS.len()].map(|()| shared.normal(0.15));
    let affinity: [[f64; CATEGORY_COUNT]; CATEGORY_COUNT] = matrix(&mut shared, 0.2);
    let page_of = |(at, page): (usize, &Page)| {
        let mut random = Random::of(seed, Stream::Tastes, (5 << 40) + at as u64);
        let placement = PLACEMENTS.iter().position(|name| *name == page.placement);
        let quality = random.normal(0.2) + placements[placement.expect("pages have these only")];
        std::array::from_fn(|category| {
            let same = if category == page.category { SAME_CATEGORY } else { 0.0 };
            quality + affinity[page.category][category] + same
        })
    };
    pages.iter().enumerate().map(page_of).collect()
}

impl Market {
    /// How likely the ad on this position (from 1) is clicked.
    pub fn probability(&self, scene: &Scene, ad: usize, position: u16) -> f64 {
        self.examination(position) * sigmoid(self.logit(scene, ad))
    }

    /// The chance that the ad on a position (from 1) is looked at; 1 on the first.
    pub fn examination(&self, position: u16) -> f64 {
        f64::from(position.max(1)).powf(-self.options.position_decay)
    }

    /// The log odds of a click on position 1.
    pub fn logit(&self, scene: &Scene, ad: usize) -> f64 {
        let Ad { category, size, .. } = self.ads[ad];
        let user = &self.users[scene.user];
        let device = scene.device as usize;
        let tastes = &self.tastes;
        tastes.base
            + tastes.of_group(self.era(scene.hours), user.group, category)
            + tastes.users[scene.user][category]
            + tastes.ads[ad][device]
            + tastes.device_category[device][category]
            + tastes.device_size[device][size]
            + tastes.region_category[user.region][category]
            + tastes.pages[scene.page][category]
            + appetite(scene.hour_of_day)
    }

    /// 0 before tastes change, 1 after.
    pub(crate) fn era(&self, hours: f64) -> usize {
        usize::from(self.options.drift.is_some_and(|drift| hours >= drift.hour))
    }

    /// Sets the base so that ads chosen by chance are clicked as often as the options say.
    pub(crate) fn set_level(&mut self) {
        let hours = hour_sums();
        let sample = |number| self.sample(&hours, number);
        let samples: Vec<(f64, f64)> = (0..LEVEL_SAMPLES).map(sample).collect();
        let mean = |base: f64| {
            let chance = |&(seen, logit): &(f64, f64)| seen * sigmoid(base + logit);
            samples.iter().map(chance).sum::<f64>() / samples.len() as f64
        };
        let (mut low, mut high) = (-20.0, 20.0);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if mean(middle) < self.options.mean_ctr { low = middle } else { high = middle }
        }
        self.tastes.base = low;
    }

    /// One impression of a random ad: how likely it is looked at, and its log odds without the base.
    fn sample(&self, hours: &[f64], number: u64) -> (f64, f64) {
        let mut random = Random::of(self.options.seed, Stream::Level, number);
        let user = random.weighted(&self.activity);
        let visit = self.visit_of(&mut random, user, 0);
        let hour = random.weighted(hours) as u32;
        let scene = visit.scene_at(user, hour, 0.0);
        let position = u16::try_from(1 + random.below(visit.ad_count)).expect("pages show few ads");
        (self.examination(position), self.logit(&scene, random.below(self.ads.len())))
    }
}

/// The probability of log odds.
pub(crate) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Curve, Drift, Troubles};
    use reckon_event::Timestamp;

    fn market(options: Options) -> Market {
        Market::new(Options { troubles: Troubles::none(), ..options })
    }

    /// Chances and log odds of random ads over a day, on position 1 and on their own.
    fn day(market: &Market) -> Vec<(f64, f64)> {
        let curve = Curve::new(Timestamp(0), Timestamp::DAY);
        let mut random = Random::new(1);
        let mut chances = Vec::new();
        for visit in market.visits(&curve, 20_000.0) {
            let scene = visit.scene(visit.at, &curve).expect("there are no bots");
            for position in 1..=visit.ad_count {
                let ad = random.below(market.ads.len());
                let position = u16::try_from(position).expect("few");
                chances.push((market.probability(&scene, ad, position), market.logit(&scene, ad)));
            }
        }
        chances
    }

    fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count;
        (mean, (values.map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt())
    }

    #[test]
    fn random_ads_are_clicked_as_often_as_the_options_say() {
        for seed in 1..=5 {
            let market = market(Options { drift: None, ..Options::new(seed) });
            let (ctr, _) = moments(day(&market).iter().map(|&(chance, _)| chance));
            assert!((0.041..0.049).contains(&ctr), "seed {seed}: {ctr}");
        }
    }

    #[test]
    fn people_and_ads_differ_as_much_as_is_said() {
        let market = market(Options::new(2));
        let (_, ads) = moments(market.ads.iter().map(|ad| ad.appeal));
        assert!((0.5..0.8).contains(&ads), "appeal {ads}");
        let tastes = &market.tastes;
        let taste = market.users.iter().enumerate().flat_map(|(at, user)| {
            (0..CATEGORY_COUNT).map(move |category| {
                tastes.of_group(0, user.group, category) + tastes.users[at][category]
            })
        });
        let (_, taste) = moments(taste);
        assert!((0.6..0.9).contains(&taste), "taste {taste}");
        let (_, all) = moments(day(&market).iter().map(|&(_, logit)| logit));
        assert!((0.9..1.5).contains(&all), "log odds {all}");
    }

    #[test]
    fn tastes_change_at_the_hour_and_as_much_as_is_said() {
        let drift = Drift { hour: 5.0, kept: 0.5 };
        let market = market(Options { drift: Some(drift), ..Options::new(3) });
        let scene =
            |user, hours| Scene { user, page: 0, device: Device::Mobile, hour_of_day: 3, hours };
        let users = 0..market.users.len();
        let before: Vec<f64> =
            users.clone().map(|user| market.logit(&scene(user, 4.99), 0)).collect();
        let after: Vec<f64> = users.map(|user| market.logit(&scene(user, 5.0), 0)).collect();
        assert!(before.iter().zip(&after).all(|(before, after)| before != after));
        let groups = &market.tastes.groups;
        let pairs = || groups[0].iter().flatten().zip(groups[1].iter().flatten());
        let products: f64 = pairs().map(|(before, after)| before * after).sum();
        let squares: f64 = pairs().map(|(before, _)| before * before).sum();
        assert!((0.25..0.75).contains(&(products / squares)), "{}", products / squares);
    }

    #[test]
    fn the_position_decides_only_whether_an_ad_is_looked_at() {
        let market = market(Options::new(1));
        let scene =
            Scene { user: 5, page: 7, device: Device::Desktop, hour_of_day: 20, hours: 1.0 };
        for ad in 0..market.ads.len() {
            let first = market.probability(&scene, ad, 1);
            assert_eq!(first, sigmoid(market.logit(&scene, ad)));
            for position in 2..=9 {
                let ratio = market.probability(&scene, ad, position) / first;
                assert!((ratio - examination(position)).abs() < 1e-12);
            }
        }
        assert!(examination(1) == 1.0 && examination(2) < 0.7 && examination(4) > 0.4);

        let even = self::market(Options { position_decay: 0.0, ..Options::new(1) });
        let alike =
            |position| even.probability(&scene, 3, position) == even.probability(&scene, 3, 1);
        assert!((2..=9).all(alike), "without a bias every place is looked at");
    }
}

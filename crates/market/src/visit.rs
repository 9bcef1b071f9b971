//! Who comes when, to which page, with what.

use std::net::Ipv4Addr;

use reckon_event::Timestamp;

use crate::random::{Random, Stream};
use crate::world::CATEGORIES;
use crate::{Curve, Device, Market, REGIONS, Scene, Trouble};

/// The most ads of one page that a person reads.
const ADS_MAX: usize = 4;
/// The ads that a machine asks for at once.
const BOT_ADS: usize = 20;
/// Machines that click, each with an address, and the users that each claims to be.
pub(crate) const BOT_COUNT: usize = 3;
const BOT_COOKIES: usize = 4;
/// How often people use what they mostly hold.
const MAIN_DEVICE: f64 = 0.85;
/// How often those who have the app use it on telephone and tablet.
const APP_USE: f64 = 0.9;

/// Who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visitor {
    /// The user with this index.
    Person(usize),
    /// A machine.
    Bot(Bot),
}

/// A machine that looks like a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bot {
    /// Which machine; it has an address of its own.
    pub machine: usize,
    /// Which of its users it claims to be.
    pub cookie: usize,
}

impl Bot {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Bot> {
        let of_machine = |machine| (0..BOT_COOKIES).map(move |cookie| Bot { machine, cookie });
        (0..BOT_COUNT).flat_map(of_machine)
    }

    /// The id it calls itself by in the market of a seed.
    pub fn user_id(self, seed: u64) -> String {
        format!("m{seed}-guest-{}-{}", self.machine, self.cookie)
    }

    /// Where it sends from.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 51, 100, self.machine as u8 + 1)
    }
}

/// How events reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Pixels and redirects.
    Web,
    /// Batches of an app's.
    App,
}

/// Someone opens a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The how-manieth of the run.
    pub number: u64,
    /// When it is due.
    pub at: Timestamp,
    /// Who.
    pub visitor: Visitor,
    /// Index into [`REGIONS`].
    pub region: usize,
    /// With what.
    pub device: Device,
    /// How.
    pub channel: Channel,
    /// Index of the page.
    pub page: usize,
    /// How many ads the page asks for.
    pub ad_count: usize,
}

impl Visit {
    /// Where the person sits.
    pub fn address(&self) -> Ipv4Addr {
        match self.visitor {
            Visitor::Bot(bot) => bot.address(),
            Visitor::Person(user) => {
                let [_, a, b, c] = (user as u32 + 1).to_be_bytes();
                Ipv4Addr::new(10, a, b, c)
            }
        }
    }

    /// What decides how the person likes an ad at a time; `None` for a machine.
    pub fn scene(&self, time: Timestamp, curve: &Curve) -> Option<Scene> {
        match self.visitor {
            Visitor::Bot(_) => None,
            Visitor::Person(user) => Some(self.scene_at(user, time.hour() % 24, curve.hours(time))),
        }
    }

    pub(crate) fn scene_at(&self, user: usize, hour_of_day: u32, hours: f64) -> Scene {
        Scene { user, page: self.page, device: self.device, hour_of_day, hours }
    }
}

impl Market {
    /// The visits of a span, some `expected` in all, in order: a Poisson process along the curve.
    pub fn visits<'a>(&'a self, curve: &'a Curve, expected: f64) -> Visits<'a> {
        let arrivals = Random::of(self.options.seed, Stream::Arrivals, 0);
        Visits { market: self, curve, expected, arrivals, share: 0.0, number: 0 }
    }

    /// The visit with a number.
    pub fn visit(&self, number: u64, at: Timestamp, curve: &Curve) -> Visit {
        let mut random = Random::of(self.options.seed, Stream::Visits, number);
        let is_bot = random.chance(self.options.troubles.rate(Trouble::Bot));
        let visit = if is_bot {
            self.visit_of_bot(&mut random)
        } else {
            let user = random.weighted(&self.activity);
            self.visit_of(&mut random, user, self.era(curve.hours(at)))
        };
        Visit { number, at, ..visit }
    }

    /// A visit of a person, at no time yet.
    pub(crate) fn visit_of(&self, random: &mut Random, user: usize, era: usize) -> Visit {
        let person = &self.users[user];
        let other = Device::ALL[random.below(Device::ALL.len())];
        let device = if random.chance(MAIN_DEVICE) { person.device } else { other };
        let by_app = device != Device::Desktop && person.has_app && random.chance(APP_USE);
        Visit {
            number: 0,
            at: Timestamp(0),
            visitor: Visitor::Person(user),
            region: person.region,
            device,
            channel: if by_app { Channel::App } else { Channel::Web },
            page: random.weighted(&self.reading[era][person.group]),
            ad_count: 1 + random.below(ADS_MAX),
        }
    }

    fn visit_of_bot(&self, random: &mut Random) -> Visit {
        let bot = Bot { machine: random.below(BOT_COUNT), cookie: random.below(BOT_COOKIES) };
        Visit {
            number: 0,
            at: Timestamp(0),
            visitor: Visitor::Bot(bot),
            region: bot.machine % REGIONS.len(),
            device: Device::Desktop,
            channel: Channel::Web,
            page: random.below(self.pages.len()),
            ad_count: BOT_ADS,
        }
    }

    /// The id that the visitor is known by.
    pub fn user_id(&self, visit: &Visit) -> String {
        match visit.visitor {
            Visitor::Person(user) => self.users[user].user_id.clone(),
            Visitor::Bot(bot) => bot.user_id(self.options.seed),
        }
    }

    /// What the page is about.
    pub fn page_category(&self, visit: &Visit) -> &'static str {
        CATEGORIES[self.pages[visit.page].category]
    }
}

/// The visits of a span, in order.
#[derive(Clone, Debug)]
pub struct Visits<'a> {
    market: &'a Market,
    curve: &'a Curve,
    expected: f64,
    arrivals: Random,
    share: f64,
    number: u64,
}

impl Iterator for Visits<'_> {
    type Item = Visit;

    fn next(&mut self) -> Option<Visit> {
        self.share += self.arrivals.exponential() / self.expected.max(1e-9);
        if self.share >= 1.0 {
            return None;
        }
        let visit = self.market.visit(self.number, self.curve.at(self.share), self.curve);
        self.number += 1;
        Some(visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Troubles};

    fn day(seed: u64, troubles: Troubles) -> (Market, Vec<Visit>) {
        let market = Market::new(Options { troubles, ..Options::new(seed) });
        let curve = Curve::new(Timestamp(0), Timestamp::DAY);
        let visits = market.visits(&curve, 30_000.0).collect();
        (market, visits)
    }

    #[test]
    fn the_seed_decides_who_comes() {
        let (_, one) = day(7, Troubles::usual());
        assert_eq!(one, day(7, Troubles::usual()).1);
        assert_ne!(one, day(8, Troubles::usual()).1);
        assert!((29_000..31_000).contains(&one.len()), "{} visits", one.len());
        assert!(one.is_sorted_by_key(|visit| visit.at));
        assert!(one.iter().all(|visit| (0..Timestamp::DAY).contains(&visit.at.0)));
    }

    #[test]
    fn some_come_often_and_most_by_app() {
        let (market, visits) = day(1, Troubles::none());
        let mut by_user = vec![0_u32; market.users.len()];
        for visit in &visits {
            let Visitor::Person(user) = visit.visitor else { panic!("bots are switched off") };
            by_user[user] += 1;
        }
        by_user.sort_by_key(|&count| std::cmp::Reverse(count));
        let top: u32 = by_user[..200].iter().sum();
        assert!((0.4..0.65).contains(&(f64::from(top) / visits.len() as f64)), "{top}");
        assert!(by_user[0] < 800, "the first comes {} times", by_user[0]);
        assert!(by_user.iter().filter(|&&count| count > 0).count() > 1_800);
        let apps = visits.iter().filter(|visit| visit.channel == Channel::App).count();
        assert!((0.45..0.75).contains(&(apps as f64 / visits.len() as f64)), "{apps}");
    }

    #[test]
    fn bots_come_from_few_addresses_and_can_be_switched_off() {
        let (market, visits) = day(1, Troubles::usual().with(Trouble::Bot, 0.004));
        let bots: Vec<&Visit> =
            visits.iter().filter(|visit| matches!(visit.visitor, Visitor::Bot(_))).collect();
        assert!((60..200).contains(&bots.len()), "{} bots", bots.len());
        let addresses: std::collections::HashSet<_> =
            bots.iter().map(|bot| bot.address()).collect();
        assert_eq!(addresses.len(), BOT_COUNT);
        let known: Vec<String> = Bot::all().map(|bot| bot.user_id(1)).collect();
        assert!(bots.iter().all(|bot| known.contains(&market.user_id(bot))));
        let (_, visits) = day(1, Troubles::none());
        assert!(visits.iter().all(|visit| matches!(visit.visitor, Visitor::Person(_))));
    }

    #[test]
    fn groups_read_what_they_like() {
        let (market, visits) = day(2, Troubles::none());
        let mut shown = [[0.0_f64; 2]; crate::world::GROUP_COUNT];
        for visit in visits.iter().filter(|visit| visit.at.0 < 12 * Timestamp::HOUR) {
            let Visitor::Person(user) = visit.visitor else { panic!("bots are switched off") };
            let group = market.users[user].group;
            let liking = market.tastes.of_group(0, group, market.pages[visit.page].category);
            shown[group][0] += 1.0;
            shown[group][1] += liking;
        }
        let mean =
            shown.iter().map(|[count, sum]| sum / count.max(1.0)).sum::<f64>() / shown.len() as f64;
        assert!(mean > 0.2, "pages are liked by {mean} in the mean");
    }
}

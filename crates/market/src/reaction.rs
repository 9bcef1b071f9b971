//! What people, machines and mishaps make of the ads that were shown to them.

use reckon_event::Timestamp;

use crate::random::{Random, Stream};
use crate::{Channel, Curve, Market, Trouble, Visit};

/// How often an ad that was shown is seen long enough to count as viewable.
const VIEWED: f64 = 0.7;
/// How often a click leads to an order.
const ORDERED: f64 = 0.1;
/// How often a machine clicks what it is shown.
const BOT_CLICKS: f64 = 0.6;
/// How long a machine takes to click all of it, in seconds.
const BOT_S_MAX: f64 = 40.0;
/// The longest time from an ad to the click on it, in seconds.
const DWELL_S_MAX: f64 = 20.0;
/// How many hours late a phone uploads that was offline.
const LATE_HOURS: (f64, f64) = (1.0, 6.0);

/// Who opens links that are not theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanner {
    /// A link checker, with HEAD.
    Head,
    /// A browser that fetches ahead, and says so in a header.
    Prefetch,
    /// A robot, and says so in its agent.
    Robot,
}

impl Scanner {
    /// Each of them, with the trouble it makes.
    const ALL: [(Scanner, Trouble); 3] = [
        (Scanner::Head, Trouble::ScanHead),
        (Scanner::Prefetch, Trouble::ScanPrefetch),
        (Scanner::Robot, Trouble::ScanRobot),
    ];
}

/// An ad on its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Index into [`Market::ads`].
    pub ad: usize,
    /// Where on the page, from 1.
    pub position: u16,
}

/// One thing that is done with an ad that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The ad is on the screen.
    Impression,
    /// It was seen for a while.
    View,
    /// A click with the ad's token.
    Click,
    /// Someone else opens the click's URL.
    Scan(Scanner),
    /// A click with an edited token.
    Forged,
    /// A click without a token.
    Unsigned,
    /// A click on an ad that nobody registered.
    UnknownAd,
    /// The shop's server tells of an order of this value.
    Order {
        /// In cents.
        cents: u32,
    },
}

/// An act, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long after the ads were served, in microseconds.
    pub after_us: i64,
    /// Index of the ad among those shown.
    pub shown: usize,
    /// What.
    pub act: Act,
    /// The trouble that it is, if it is one.
    pub trouble: Option<Trouble>,
}

/// When an app's events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// How long after the ads were served, in microseconds; not before the last event.
    pub after_us: i64,
    /// How often the batch is sent.
    pub copies: u32,
}

/// All that follows from one request for ads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reaction {
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// When the events of an app are sent; `None` where pixels and redirects tell of each.
    pub upload: Option<Upload>,
    /// How likely each shown ad was to be clicked by the person; empty for a machine.
    pub probabilities: Vec<f64>,
    /// Which were.
    pub clicked: Vec<bool>,
    /// Troubles that are no act: what was lost, came late or came from a machine.
    pub troubles: Vec<Trouble>,
}

impl Market {
    /// What follows from showing these ads at a time.
    pub fn react(&self, visit: &Visit, shown: &[Placed], at: Timestamp, curve: &Curve) -> Reaction {
        let random = Random::of(self.options.seed, Stream::Reactions, visit.number);
        let mut drawing = Drawing { market: self, visit, random, reaction: Reaction::default() };
        match visit.scene(at, curve) {
            None => drawing.machine(shown.len()),
            Some(scene) => {
                for (index, placed) in shown.iter().enumerate() {
                    let probability = self.probability(&scene, placed.ad, placed.position);
                    drawing.person(index, probability);
                }
                drawing.mishaps(shown.len());
            }
        }
        let mut reaction = drawing.reaction;
        reaction.steps.sort_by_key(|step| step.after_us);
        if visit.channel == Channel::App {
            Drawing { market: self, visit, random: drawing.random, reaction }.upload()
        } else {
            reaction
        }
    }
}

/// A reaction as it is drawn.
struct Drawing<'a> {
    market: &'a Market,
    visit: &'a Visit,
    random: Random,
    reaction: Reaction,
}

impl Drawing<'_> {
    fn comes(&mut self, trouble: Trouble) -> bool {
        self.random.chance(self.market.options.troubles.rate(trouble))
    }

    fn seconds(&mut self, low: f64, high: f64) -> i64 {
        (self.random.between(low, high) * Timestamp::SECOND as f64) as i64
    }

    fn step(&mut self, after_us: i64, shown: usize, act: Act, trouble: Option<Trouble>) {
        self.reaction.steps.push(Step { after_us, shown, act, trouble });
    }

    /// A person and an ad that is clicked with this probability.
    fn person(&mut self, shown: usize, probability: f64) {
        self.look(shown);
        let clicks = self.random.chance(probability);
        self.reaction.probabilities.push(probability);
        self.reaction.clicked.push(clicks);
        if clicks {
            let after = self.dwell();
            self.step(after, shown, Act::Click, None);
            if self.comes(Trouble::DoubleClick) {
                let again = after + self.seconds(0.12, 0.4);
                self.step(again, shown, Act::Click, Some(Trouble::DoubleClick));
            }
            if self.random.chance(ORDERED) {
                self.order(shown, after);
            }
        }
    }

    /// The ad is shown, and perhaps seen for a while.
    fn look(&mut self, shown: usize) {
        let after = self.seconds(0.1, 0.6);
        if self.comes(Trouble::LostPixel) {
            self.reaction.troubles.push(Trouble::LostPixel);
            return;
        }
        self.step(after, shown, Act::Impression, None);
        if self.visit.channel == Channel::Web && self.comes(Trouble::PixelAgain) {
            let again = after + self.seconds(0.1, 0.5);
            self.step(again, shown, Act::Impression, Some(Trouble::PixelAgain));
        }
        if self.random.chance(VIEWED) {
            let after = after + self.seconds(1.0, 2.5);
            self.step(after, shown, Act::View, None);
        }
    }

    /// From an ad to the click on it.
    fn dwell(&mut self) -> i64 {
        let seconds = 1.5 + 4.0 * self.random.normal(0.6).exp();
        (seconds.min(DWELL_S_MAX) * Timestamp::SECOND as f64) as i64
    }

    /// The shop tells of an order, perhaps twice, perhaps in contradiction to itself.
    fn order(&mut self, shown: usize, clicked_us: i64) {
        let cents = 500 + self.random.below(20_000) as u32;
        let after = clicked_us + self.seconds(2.0, 5.0);
        self.step(after, shown, Act::Order { cents }, None);
        if self.comes(Trouble::OrderAgain) {
            let again = after + self.seconds(0.5, 1.0);
            self.step(again, shown, Act::Order { cents }, Some(Trouble::OrderAgain));
        }
        if self.comes(Trouble::Contradiction) {
            let again = after + self.seconds(1.0, 1.5);
            let act = Act::Order { cents: cents + 1 };
            self.step(again, shown, act, Some(Trouble::Contradiction));
        }
    }

    /// What others do with the ads of a person.
    fn mishaps(&mut self, shown_count: usize) {
        for shown in 0..shown_count {
            for (scanner, trouble) in Scanner::ALL {
                if self.comes(trouble) {
                    // Before any person clicks: the click must still count.
                    let after = self.seconds(0.7, 1.4);
                    self.step(after, shown, Act::Scan(scanner), Some(trouble));
                }
            }
            for (act, trouble) in [
                (Act::Forged, Trouble::Forged),
                (Act::Unsigned, Trouble::Unsigned),
                (Act::UnknownAd, Trouble::UnknownAd),
            ] {
                if self.comes(trouble) {
                    let after = self.dwell();
                    self.step(after, shown, act, Some(trouble));
                }
            }
        }
    }

    /// A machine loads all ads and clicks most of them, faster than people behind one address would.
    fn machine(&mut self, shown_count: usize) {
        self.reaction.troubles.push(Trouble::Bot);
        for shown in 0..shown_count {
            let after = self.seconds(0.1, 0.3);
            self.step(after, shown, Act::Impression, None);
            let clicks = self.random.chance(BOT_CLICKS);
            self.reaction.clicked.push(clicks);
            if clicks {
                let after = self.seconds(0.8, BOT_S_MAX);
                self.step(after, shown, Act::Click, None);
            }
        }
    }

    /// The app sends what it has gathered.
    fn upload(mut self) -> Reaction {
        let last = self.reaction.steps.last().map_or(0, |step| step.after_us);
        let mut after_us = last + self.seconds(1.0, 4.0);
        if self.comes(Trouble::LatePhone) {
            self.reaction.troubles.push(Trouble::LatePhone);
            after_us += 3_600 * self.seconds(LATE_HOURS.0, LATE_HOURS.1);
        }
        let again = self.comes(Trouble::BatchAgain);
        if again {
            self.reaction.troubles.push(Trouble::BatchAgain);
        }
        self.reaction.upload = Some(Upload { after_us, copies: 1 + u32::from(again) });
        self.reaction
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Troubles, Visitor};

    fn reactions(troubles: Troubles) -> Vec<(Visit, Reaction)> {
        let market = Market::new(Options { troubles, ..Options::new(5) });
        let curve = Curve::new(Timestamp(0), Timestamp::DAY);
        let react = |visit: Visit| {
            let placed = |at: u16| {
                let ad = (visit.number as usize + usize::from(at)) % 80;
                Placed { ad, position: at + 1 }
            };
            let shown: Vec<Placed> = (0..visit.ad_count as u16).map(placed).collect();
            let reaction = market.react(&visit, &shown, visit.at, &curve);
            (visit, reaction)
        };
        market.visits(&curve, 20_000.0).map(react).collect()
    }

    fn occurrences(reactions: &[(Visit, Reaction)], trouble: Trouble) -> usize {
        let of = |reaction: &Reaction| {
            let steps = reaction.steps.iter().filter(|step| step.trouble == Some(trouble));
            steps.count() + reaction.troubles.iter().filter(|&&other| other == trouble).count()
        };
        reactions.iter().map(|(_, reaction)| of(reaction)).sum()
    }

    #[test]
    fn the_seed_decides_what_follows() {
        assert_eq!(reactions(Troubles::usual()), reactions(Troubles::usual()));
    }

    #[test]
    fn every_trouble_comes_and_can_be_switched_off_alone() {
        let all = reactions(Troubles::usual());
        for trouble in Trouble::ALL {
            let usual = occurrences(&all, trouble);
            assert!(usual >= 5, "{} came {usual} times", trouble.name());
            let without = reactions(Troubles::usual().with(trouble, 0.0));
            for other in Trouble::ALL {
                let count = occurrences(&without, other);
                assert_eq!(
                    count == 0,
                    other == trouble,
                    "{} without {}",
                    other.name(),
                    trouble.name()
                );
            }
        }
        let none = reactions(Troubles::none());
        assert!(none.iter().all(|(_, reaction)| reaction.troubles.is_empty()));
        assert!(
            none.iter()
                .all(|(_, reaction)| reaction.steps.iter().all(|step| step.trouble.is_none()))
        );
    }

    #[test]
    fn clicks_come_as_often_as_their_probabilities_say() {
        let all = reactions(Troubles::usual());
        let people = all.iter().filter(|(visit, _)| matches!(visit.visitor, Visitor::Person(_)));
        let (mut expected, mut variance, mut clicks) = (0.0, 0.0, 0.0);
        for (_, reaction) in people {
            for (probability, clicked) in reaction.probabilities.iter().zip(&reaction.clicked) {
                expected += probability;
                variance += probability * (1.0 - probability);
                clicks += f64::from(*clicked);
            }
        }
        assert!(expected > 1_000.0, "{expected} clicks are too few to compare");
        assert!((clicks - expected).abs() < 4.0 * f64::sqrt(variance), "{clicks} of {expected}");
    }

    #[test]
    fn a_batch_holds_what_has_happened_and_others_come_before_the_click() {
        for (visit, reaction) in reactions(Troubles::usual()) {
            let last = reaction.steps.last().map_or(0, |step| step.after_us);
            assert_eq!(reaction.upload.is_some(), visit.channel == Channel::App);
            assert!(reaction.upload.is_none_or(|upload| upload.after_us > last));
            assert!(reaction.steps.is_sorted_by_key(|step| step.after_us));
            for step in &reaction.steps {
                let click = reaction.steps.iter().find(|other| {
                    other.shown == step.shown && other.act == Act::Click && other.trouble.is_none()
                });
                let is_scan = matches!(step.act, Act::Scan(_));
                assert!(!is_scan || click.is_none_or(|click| step.after_us < click.after_us));
                let is_double = step.trouble == Some(Trouble::DoubleClick);
                assert!(!is_double || click.is_some_and(|click| step.after_us > click.after_us));
            }
        }
    }
}

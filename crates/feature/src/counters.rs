//! What is known of an entity's past: impressions and clicks, forgotten at two speeds.
//!
//! A decayed counter is a window without edges: each event weighs half after one half-life. Two
//! speeds tell a trend from a habit. Rates are smoothed by a prior, so that one click on a new ad
//! does not look like a miracle.

use reckon_event::Timestamp;

use crate::{EntityKind, Step};

/// After so long an event weighs half in the fast counters, in microseconds.
pub const HALF_LIFE_FAST: i64 = Timestamp::HOUR;
/// After so long an event weighs half in the slow counters, in microseconds.
pub const HALF_LIFE_SLOW: i64 = 7 * 24 * Timestamp::HOUR;

/// Decayed impressions and clicks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Decayed number of impressions.
    pub impressions: f32,
    /// Decayed number of clicks on them.
    pub clicks: f32,
}

impl Rate {
    fn fade(&mut self, elapsed: i64, half_life: i64) {
        let keep = (-(elapsed as f64) / half_life as f64).exp2() as f32;
        self.impressions *= keep;
        self.clicks *= keep;
    }

    /// Clicks per impression, with `weight` impressions at the rate `prior` added.
    pub fn smoothed(&self, prior: f32, weight: f32) -> f32 {
        (self.clicks + prior * weight) / (self.impressions + weight)
    }
}

/// One entity's past.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Forgets with [`HALF_LIFE_FAST`].
    pub fast: Rate,
    /// Forgets with [`HALF_LIFE_SLOW`].
    pub slow: Rate,
    /// Up to when both are decayed: the latest event.
    pub at: Timestamp,
    /// The latest click; [`Timestamp::MIN`] before the first.
    pub clicked: Timestamp,
    /// The minute of the latest event, as minutes since 1970.
    pub minute: u32,
    /// Events within that minute, at most [`EVENTS_A_MINUTE_MAX`] of which were taken in.
    pub in_minute: u32,
}

/// An entity that is one person's takes in so many events of one minute: a robot, or a user whom
/// everyone shares, must not spend the store's time nor teach the model.
pub const EVENTS_A_MINUTE_MAX: u32 = 100;

impl Counters {
    /// Before anything happened.
    pub const fn new(at: Timestamp) -> Self {
        let none = Rate { impressions: 0.0, clicks: 0.0 };
        Counters { fast: none, slow: none, at, clicked: Timestamp::MIN, minute: 0, in_minute: 0 }
    }

    /// Notes an event of a minute; false where the minute has had enough of them.
    pub fn admit(&mut self, at: Timestamp) -> bool {
        let minute = u32::try_from(at.seconds() / 60).unwrap_or(u32::MAX);
        if minute != self.minute {
            (self.minute, self.in_minute) = (minute, 0);
        }
        self.in_minute = self.in_minute.saturating_add(1);
        self.in_minute <= EVENTS_A_MINUTE_MAX
    }

    /// Moves on to a time. An event that comes late counts as if it came now: counters never go back.
    pub fn advance(&mut self, to: Timestamp) {
        let elapsed = to.since(self.at);
        if elapsed > 0 {
            self.fast.fade(elapsed, HALF_LIFE_FAST);
            self.slow.fade(elapsed, HALF_LIFE_SLOW);
            self.at = to;
        }
    }

    /// As they are at a time.
    #[must_use]
    pub fn seen_at(mut self, now: Timestamp) -> Self {
        self.advance(now);
        self
    }

    /// One impression.
    pub fn impression(&mut self, at: Timestamp) {
        self.advance(at);
        self.fast.impressions += 1.0;
        self.slow.impressions += 1.0;
    }

    /// One click.
    pub fn click(&mut self, at: Timestamp) {
        self.advance(at);
        self.fast.clicks += 1.0;
        self.slow.clicks += 1.0;
        self.clicked = self.clicked.max(at);
    }

    /// Takes in what happened to an entity of a kind; of one person, only so much a minute.
    pub fn take(&mut self, kind: EntityKind, step: Step, at: Timestamp) {
        if kind == EntityKind::User && !self.admit(at) {
            return;
        }
        match step {
            Step::Impression => self.impression(at),
            Step::Click => self.click(at),
        }
    }

    /// Both rates against a prior, as log odds ratios.
    pub fn against(&self, prior: f32) -> Smoothed {
        let ratio = |rate: &Rate| {
            let p = rate.smoothed(prior, PRIOR_IMPRESSIONS).clamp(1e-5, 0.99);
            (logit(p) - logit(prior)).clamp(-RATIO_MAX, RATIO_MAX)
        };
        Smoothed { fast: ratio(&self.fast), slow: ratio(&self.slow) }
    }
}

/// How many impressions at the prior's rate an entity begins with.
const PRIOR_IMPRESSIONS: f32 = 30.0;
/// Ratios beyond this tell nothing more.
const RATIO_MAX: f32 = 4.0;

/// How far an entity's rates lie from the prior, in log odds; 0 where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Smoothed {
    /// By the fast counters.
    pub fast: f32,
    /// By the slow counters.
    pub slow: f32,
}

fn logit(p: f32) -> f32 {
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_weighs_half_after_a_half_life() {
        let mut counters = Counters::new(Timestamp(0));
        counters.impression(Timestamp(0));
        counters.click(Timestamp(0));
        let later = counters.seen_at(Timestamp(HALF_LIFE_FAST));
        assert_eq!((later.fast.impressions, later.fast.clicks), (0.5, 0.5));
        assert!(later.slow.clicks > 0.99);
        assert_eq!(counters.seen_at(Timestamp(-5)), counters, "time never goes back");
    }

    #[test]
    fn a_minute_takes_so_many_events() {
        let mut counters = Counters::new(Timestamp(0));
        let admitted = (0..150).filter(|_| counters.admit(Timestamp::from_seconds(60))).count();
        assert_eq!(admitted, EVENTS_A_MINUTE_MAX as usize);
        assert!(counters.admit(Timestamp::from_seconds(120)), "the next minute begins anew");
    }

    #[test]
    fn little_evidence_moves_little() {
        let mut new = Counters::new(Timestamp(0));
        assert_eq!(new.against(0.05), Smoothed::default());
        new.impression(Timestamp(0));
        new.click(Timestamp(0));
        let one = new.against(0.05).slow;
        assert!((0.3..1.2).contains(&one), "one click of one impression: {one}");
        for _ in 0..100 {
            new.impression(Timestamp(0));
        }
        assert!(new.against(0.05).slow < 0.0, "one of a hundred is below five of a hundred");
    }
}

//! How old what is read of the past is: until when all that was acknowledged is in it.
//!
//! Whoever watches counting tells; a request asks without waiting. Counters and pasts take the same
//! epochs, so one time says it for both.

use std::sync::atomic::{AtomicI64, Ordering};

use reckon_event::Timestamp;

/// Until when pasts are whole, and how old that may be.
#[derive(Debug)]
pub struct Freshness {
    /// Microseconds since 1970; [`i64::MIN`] before anything was told.
    whole_until: AtomicI64,
    age_max: i64,
}

impl Freshness {
    /// Nothing is fresh before somebody tells so. `age_max` is in microseconds.
    pub const fn new(age_max: i64) -> Self {
        Freshness { whole_until: AtomicI64::new(i64::MIN), age_max }
    }

    /// Tells that everything acknowledged by then is counted. Time does not go back.
    pub fn tell(&self, whole_until: Timestamp) {
        self.whole_until.fetch_max(whole_until.0, Ordering::Relaxed);
    }

    /// How old the past is, in microseconds; `None` before anything was told.
    pub fn age(&self, now: Timestamp) -> Option<i64> {
        let whole_until = self.whole_until.load(Ordering::Relaxed);
        (whole_until != i64::MIN).then(|| now.0.saturating_sub(whole_until).max(0))
    }

    /// Whether it is young enough to be relied on.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.age(now).is_some_and(|age| age <= self.age_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_ages_until_more_is_told() {
        let freshness = Freshness::new(10);
        assert!(!freshness.is_fresh(Timestamp(0)), "nothing was told");
        freshness.tell(Timestamp(100));
        for (now, age, is_fresh) in [(90, 0, true), (110, 10, true), (111, 11, false)] {
            assert_eq!(freshness.age(Timestamp(now)), Some(age), "at {now}");
            assert_eq!(freshness.is_fresh(Timestamp(now)), is_fresh, "at {now}");
        }
        freshness.tell(Timestamp(50));
        assert_eq!(freshness.age(Timestamp(111)), Some(11), "it does not go back");
        freshness.tell(Timestamp(105));
        assert!(freshness.is_fresh(Timestamp(111)));
    }
}

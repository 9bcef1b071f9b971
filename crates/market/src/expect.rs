//! What each act must become: a model of the rules, written apart from the server's.
//!
//! It follows what Reckon promises, not how Reckon is built. The age of a token is told by whoever
//! knows when the server received the request; everything else is in the act and in what the token
//! has been used for before.

use reckon_event::{Kind, Reason, Timestamp, Verdict};

use crate::{Act, Scanner};

/// Where an act reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/click` or a pixel.
    Open,
    /// A batch.
    Batch,
}

/// The rules that have numbers in them, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A click sooner after serving than this is a machine's; 0 switches that off.
    pub too_fast_us: i64,
    /// A token as old as this no longer opens `/click` and the pixels.
    pub expiry_us: i64,
    /// The same in a batch.
    pub expiry_batch_us: i64,
}

impl Default for Rules {
    /// Those of a server that was configured no other way.
    fn default() -> Self {
        Rules {
            too_fast_us: 100_000,
            expiry_us: Timestamp::DAY,
            expiry_batch_us: 3 * Timestamp::DAY,
        }
    }
}

/// What one shown ad has been used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    impression: bool,
    view: bool,
    click: bool,
    /// The value of the order that was told first.
    cents: Option<u32>,
}

impl Used {
    /// The kind and the verdict of an act that the server received when the token was this old.
    /// Must be asked in the order in which the server received the acts.
    pub fn outcome(&mut self, act: Act, door: Door, age_us: i64, rules: &Rules) -> (Kind, Verdict) {
        let kind = kind_of(act);
        let verdict = match act {
            Act::UnknownAd => Verdict::UnknownAd,
            Act::Unsigned => Verdict::Unsigned,
            Act::Forged => Verdict::Forged,
            Act::Order { cents } => self.order(cents),
            _ if age_us >= rules.limit(door) => Verdict::Expired,
            // A scanner leaves the token to the person it was minted for.
            Act::Scan(scanner) => Verdict::Invalid(reason_of(scanner)),
            Act::Click if age_us < rules.too_fast_us => Verdict::Invalid(Reason::TooFast),
            Act::Impression => first(&mut self.impression),
            Act::View => first(&mut self.view),
            Act::Click => first(&mut self.click),
        };
        (kind, verdict)
    }

    fn order(&mut self, cents: u32) -> Verdict {
        match self.cents {
            None => {
                self.cents = Some(cents);
                Verdict::Counted
            }
            Some(known) if known == cents => Verdict::Duplicate,
            Some(_) => Verdict::Conflict,
        }
    }
}

impl Rules {
    const fn limit(&self, door: Door) -> i64 {
        match door {
            Door::Open => self.expiry_us,
            Door::Batch => self.expiry_batch_us,
        }
    }
}

fn first(bit: &mut bool) -> Verdict {
    if std::mem::replace(bit, true) { Verdict::Duplicate } else { Verdict::Counted }
}

const fn kind_of(act: Act) -> Kind {
    match act {
        Act::Impression => Kind::Impression,
        Act::View => Kind::View,
        Act::Order { .. } => Kind::Conversion,
        Act::Click | Act::Scan(_) | Act::Forged | Act::Unsigned | Act::UnknownAd => Kind::Click,
    }
}

const fn reason_of(scanner: Scanner) -> Reason {
    match scanner {
        Scanner::Head => Reason::NotGet,
        Scanner::Prefetch => Reason::Prefetch,
        Scanner::Robot => Reason::DeclaredRobot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { too_fast_us: 10, expiry_us: 100, expiry_batch_us: 300 };

    #[track_caller]
    fn check(used: &mut Used, act: Act, age_us: i64, expect: Verdict) {
        assert_eq!(used.outcome(act, Door::Open, age_us, &RULES).1, expect, "{act:?}");
    }

    #[test]
    fn the_first_of_each_kind_counts() {
        let mut used = Used::default();
        for act in [Act::Impression, Act::View, Act::Click] {
            check(&mut used, act, 50, Verdict::Counted);
            check(&mut used, act, 60, Verdict::Duplicate);
        }
    }

    #[test]
    fn nobody_but_the_person_uses_a_token_up() {
        let mut used = Used::default();
        check(&mut used, Act::Scan(Scanner::Head), 1, Verdict::Invalid(Reason::NotGet));
        check(&mut used, Act::Scan(Scanner::Prefetch), 1, Verdict::Invalid(Reason::Prefetch));
        check(&mut used, Act::Scan(Scanner::Robot), 50, Verdict::Invalid(Reason::DeclaredRobot));
        check(&mut used, Act::Forged, 50, Verdict::Forged);
        check(&mut used, Act::Unsigned, 50, Verdict::Unsigned);
        check(&mut used, Act::UnknownAd, 50, Verdict::UnknownAd);
        check(&mut used, Act::Click, 9, Verdict::Invalid(Reason::TooFast));
        check(&mut used, Act::Click, 10, Verdict::Counted);
    }

    #[test]
    fn tokens_grow_old() {
        let mut used = Used::default();
        check(&mut used, Act::Scan(Scanner::Head), 100, Verdict::Expired);
        check(&mut used, Act::Click, 100, Verdict::Expired);
        check(&mut used, Act::Forged, 1_000, Verdict::Forged);
        let (_, late) = used.outcome(Act::Click, Door::Batch, 299, &RULES);
        assert_eq!(late, Verdict::Counted);
        let (_, later) = used.outcome(Act::Click, Door::Batch, 300, &RULES);
        assert_eq!(later, Verdict::Expired);
    }

    #[test]
    fn an_order_is_told_once_and_must_not_change() {
        let mut used = Used::default();
        check(&mut used, Act::Order { cents: 7 }, 0, Verdict::Counted);
        check(&mut used, Act::Order { cents: 7 }, 0, Verdict::Duplicate);
        check(&mut used, Act::Order { cents: 8 }, 0, Verdict::Conflict);
        check(&mut used, Act::Order { cents: 7 }, 999, Verdict::Duplicate);
        assert_eq!(
            used.outcome(Act::Order { cents: 7 }, Door::Batch, 0, &RULES).0,
            Kind::Conversion
        );
    }
}

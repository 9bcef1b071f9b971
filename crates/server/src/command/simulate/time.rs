//! What time it is at the server.
//!
//! A server whose clock is scaled tells with each answer when it received the request. A constant lies
//! between its clock and ours times the factor, and every answer bounds it: the request was received
//! after it was sent and before it was answered. All bounds together leave little room, which serves
//! twice: what is due at a time of the server's can be sent at the right moment, and a receive time
//! that does not lie between sending and answer contradicts the bounds and is found.
//!
//! A server on the wall's clock tells nothing; then its time is ours, and an event is known to within
//! the time its request took.

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use reckon_event::Timestamp;
use std::time::Duration;

use crate::clock::Clock;
use crate::command::client::Answer;
use crate::http::door;

/// Clocks of two machines that are kept in step differ by less than this, in microseconds.
const WALL_SKEW_US: i64 = 2_000_000;

/// When the server received a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// As it told.
    At(Timestamp),
    /// Some time between these, by our own clock.
    Between(Timestamp, Timestamp),
}

impl Received {
    /// The best guess.
    pub const fn time(self) -> Timestamp {
        match self {
            Received::At(time) => time,
            Received::Between(_, answered) => answered,
        }
    }

    /// True where it may as well lie in the hour before or after that of [`Received::time`].
    pub fn is_near_border(self) -> bool {
        match self {
            Received::At(_) => false,
            Received::Between(sent, answered) => {
                sent.plus(-WALL_SKEW_US).hour() != answered.plus(WALL_SKEW_US).hour()
            }
        }
    }
}

/// A request's beginning and end by our own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Before the first byte was sent.
    pub sent: Timestamp,
    /// After the last byte was received.
    pub answered: Timestamp,
}

/// The server's clock as we know it.
#[derive(Debug)]
pub struct ServerTime {
    own: Clock,
    scaled: Option<Mutex<Scaled>>,
}

/// `server = constant + factor * own`, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scaled {
    factor: i64,
    /// The least and the greatest that the constant can be.
    least: i64,
    greatest: i64,
    violations: Violations,
}

/// Receive times that lay before the sending or after the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    /// How many.
    pub count: u64,
    /// The first, in words.
    pub first: Option<String>,
}

impl Scaled {
    fn new(factor: i64, received: Timestamp, exchange: Exchange) -> Self {
        let (least, greatest) = bounds(factor, received, exchange);
        Scaled { factor, least, greatest, violations: Violations::default() }
    }

    fn observe(&mut self, received: Timestamp, exchange: Exchange) {
        let (least, greatest) = bounds(self.factor, received, exchange);
        if least > self.greatest || greatest < self.least {
            let before = self.server(exchange.sent, self.least);
            let after = self.server(exchange.answered, self.greatest);
            self.violations.count += 1;
            self.violations.first.get_or_insert_with(|| {
                format!("received at {received}, and not between {before} and {after}")
            });
            return;
        }
        self.least = self.least.max(least);
        self.greatest = self.greatest.min(greatest);
    }

    const fn server(&self, own: Timestamp, constant: i64) -> Timestamp {
        Timestamp(constant + self.factor * own.0)
    }
}

const fn bounds(factor: i64, received: Timestamp, exchange: Exchange) -> (i64, i64) {
    (received.0 - factor * exchange.answered.0, received.0 - factor * exchange.sent.0)
}

impl ServerTime {
    /// Learns from a first answer how the server's clock runs.
    pub fn learn(own: Clock, answer: &Answer, exchange: Exchange) -> Result<Self> {
        let Some(kind) = text(answer, &door::CLOCK) else {
            return Ok(ServerTime { own, scaled: None });
        };
        let factor: Option<i64> = kind.strip_prefix("scaled:").and_then(|text| text.parse().ok());
        let factor =
            factor.with_context(|| format!("{}: {kind:?} is no clock known here", door::CLOCK))?;
        let scaled = Scaled::new(factor, told(answer)?, exchange);
        Ok(ServerTime { own, scaled: Some(Mutex::new(scaled)) })
    }

    /// Our own clock, for exchanges.
    pub fn own(&self) -> Timestamp {
        self.own.now()
    }

    /// True where the server tells when it received a request.
    pub const fn is_told(&self) -> bool {
        self.scaled.is_some()
    }

    /// How many times as fast as the wall's clock it runs; 1 for the wall's.
    pub fn factor(&self) -> i64 {
        self.scaled.as_ref().map_or(1, |scaled| scaled.lock().factor)
    }

    /// When the server received the request that this answers.
    pub fn received(&self, answer: &Answer, exchange: Exchange) -> Result<Received> {
        let Some(scaled) = &self.scaled else {
            return Ok(Received::Between(exchange.sent, exchange.answered));
        };
        let received = told(answer)?;
        scaled.lock().observe(received, exchange);
        Ok(Received::At(received))
    }

    /// A time that the server's clock has reached by now.
    pub fn now(&self) -> Timestamp {
        let own = self.own.now();
        self.scaled.as_ref().map_or(own, |scaled| {
            let scaled = scaled.lock();
            scaled.server(own, scaled.least)
        })
    }

    /// How long it takes until the server's clock has surely reached a time.
    pub fn until(&self, time: Timestamp) -> Duration {
        let missing = u64::try_from(time.since(self.now())).unwrap_or(0);
        // Rounded up: a scaled clock runs on by `factor` within a microsecond of ours.
        Duration::from_micros(missing.div_ceil(self.factor().unsigned_abs()))
    }

    /// How long ago, by the wall's clock, a time of the server's was; zero before it.
    pub fn since(&self, time: Timestamp) -> Duration {
        let passed = u64::try_from(self.now().since(time)).unwrap_or(0);
        Duration::from_micros(passed / self.factor().unsigned_abs())
    }

    /// Receive times that cannot be.
    pub fn violations(&self) -> Violations {
        self.scaled.as_ref().map(|scaled| scaled.lock().violations.clone()).unwrap_or_default()
    }
}

fn text<'a>(answer: &'a Answer, name: &axum::http::HeaderName) -> Option<&'a str> {
    answer.headers.get(name)?.to_str().ok()
}

fn told(answer: &Answer) -> Result<Timestamp> {
    let Some(text) = text(answer, &door::RECEIVED) else {
        bail!("the server's clock is scaled, and an answer has no header {}", door::RECEIVED);
    };
    Timestamp::parse(text).with_context(|| format!("{}: {text:?}", door::RECEIVED))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server whose clock was at 5,000 s when ours was at 1,000 s, and runs 100 times as fast.
    fn server(own_us: i64) -> Timestamp {
        Timestamp(5_000_000_000 + 100 * (own_us - 1_000_000_000))
    }

    fn exchange(sent: i64, answered: i64) -> Exchange {
        Exchange { sent: Timestamp(sent), answered: Timestamp(answered) }
    }

    fn learnt() -> Scaled {
        let at = 1_000_000_000;
        let mut scaled = Scaled::new(100, server(at + 40), exchange(at, at + 100));
        for step in 1..100 {
            let at = at + 1_000 * step;
            scaled.observe(server(at + step), exchange(at, at + 100));
        }
        scaled
    }

    #[test]
    fn answers_narrow_down_what_the_server_shows() {
        let scaled = learnt();
        assert_eq!(scaled.violations, Violations::default());
        let truth = server(0).0;
        assert!(scaled.least <= truth && truth <= scaled.greatest);
        assert!(scaled.greatest - scaled.least <= 200, "{scaled:?}");
        let now = scaled.server(Timestamp(2_000_000_000), scaled.least);
        assert!(now <= server(2_000_000_000), "what is promised to be over is over");
    }

    #[test]
    fn a_receive_time_outside_of_its_exchange_is_found() {
        let at = 1_500_000_000;
        for wrong in [at - 20, at + 120] {
            let mut scaled = learnt();
            scaled.observe(server(wrong), exchange(at, at + 100));
            assert_eq!(scaled.violations.count, 1);
            let said = scaled.violations.first.clone().expect("in words");
            assert!(said.contains(&server(wrong).to_string()), "{said}");
            scaled.observe(server(at + 50), exchange(at, at + 100));
            assert_eq!(scaled.violations.count, 1, "a good one is no violation");
        }
    }

    #[test]
    fn hours_are_known_where_the_server_tells_them() {
        let hour = 3_600_000_000;
        assert!(!Received::At(Timestamp(hour)).is_near_border());
        let between = |sent: i64, answered: i64| {
            Received::Between(Timestamp(sent), Timestamp(answered)).is_near_border()
        };
        assert!(between(hour - 1, hour + 1) && between(hour + 1_000_000, hour + 1_000_010));
        assert!(!between(hour + 5_000_000, hour + 6_000_000));
    }
}

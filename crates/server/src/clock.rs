//! The wall clock: the only place that asks what time it is.
//!
//! A scaled clock runs N times as fast from the moment it is started; it is for demos and tests, and
//! the factor is recorded in the data folder so that nobody takes such data for real.
//! The time handed out may step back as the machine's does. What must not step back (minted hours,
//! watermarks) keeps its own highest value.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use reckon_event::Timestamp;

/// Tells the time.
#[derive(Debug)]
pub struct Clock {
    started: Timestamp,
    factor: i64,
    /// Added to the machine's time; tests move it to make the clock step.
    step_us: AtomicI64,
}

impl Clock {
    /// A clock that runs `factor` times as fast as the machine's.
    pub fn new(factor: u32) -> Self {
        Clock { started: machine(), factor: i64::from(factor), step_us: AtomicI64::new(0) }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let machine = machine();
        let scaled = self.started.plus(machine.since(self.started) * self.factor);
        scaled.plus(self.step_us.load(Ordering::Relaxed))
    }

    /// Steps the clock, forwards or back.
    pub fn step(&self, micros: i64) {
        self.step_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many times as fast as the machine's it runs.
    pub const fn factor(&self) -> i64 {
        self.factor
    }
}

fn machine() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

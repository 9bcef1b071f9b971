//! The day: when people come, and when they feel like clicking.
//!
//! Both curves are of the hour of the day in UTC. Traffic is shaped within the span of a run so that
//! its mean is what was asked for, whatever part of a day the run covers.

use reckon_event::Timestamp;

/// Visits by hour of the day, relative to each other, at the middle of each hour.
const TRAFFIC: [f64; 24] = [
    0.45, 0.32, 0.25, 0.22, 0.25, 0.40, 0.70, 1.00, 1.20, 1.25, 1.25, 1.30, 1.40, 1.35, 1.25, 1.20,
    1.20, 1.25, 1.35, 1.50, 1.55, 1.40, 1.05, 0.70,
];
/// What the hour of the day adds to the log odds of a click.
const APPETITE: [f64; 24] = [
    -0.10, -0.18, -0.25, -0.28, -0.25, -0.18, -0.08, 0.00, -0.05, -0.10, -0.10, -0.02, 0.12, 0.08,
    -0.05, -0.08, -0.02, 0.05, 0.12, 0.22, 0.28, 0.26, 0.15, 0.02,
];
/// Pieces that a span is cut into; within one the traffic is taken as even.
const PIECES: usize = 1_440;

/// What the hour of the day adds to the log odds of a click.
pub(crate) fn appetite(hour_of_day: u32) -> f64 {
    APPETITE[hour_of_day as usize % APPETITE.len()]
}

/// Running sums of the traffic by hour of the day.
pub(crate) fn hour_sums() -> Vec<f64> {
    crate::random::running_sums(TRAFFIC)
}

/// Traffic at a time, relative to that at others: straight lines between the middles of hours.
fn traffic(time: Timestamp) -> f64 {
    let day_us = time.0.rem_euclid(Timestamp::DAY);
    let hour = day_us as f64 / Timestamp::HOUR as f64 - 0.5;
    let before = hour.floor();
    let at = |hour: f64| TRAFFIC[hour.rem_euclid(24.0) as usize];
    let share = hour - before;
    at(before) * (1.0 - share) + at(before + 1.0) * share
}

/// How the visits of a span lie in it.
#[derive(Clone, Debug)]
pub struct Curve {
    /// The first instant.
    pub start: Timestamp,
    /// How long it lasts, in microseconds.
    pub span_us: i64,
    /// Running shares of the traffic at the ends of equal pieces; the last is 1.
    running_shares: Vec<f64>,
}

impl Curve {
    /// The curve of a span that is not empty.
    pub fn new(start: Timestamp, span_us: i64) -> Self {
        assert!(span_us > 0, "a span without length has no traffic");
        let middle = |piece: usize| (piece as f64 + 0.5) / PIECES as f64;
        let weight = |piece| traffic(start.plus((span_us as f64 * middle(piece)) as i64));
        let mut running_shares = crate::random::running_sums((0..PIECES).map(weight));
        let total = running_shares[PIECES - 1];
        running_shares.iter_mut().for_each(|sum| *sum /= total);
        Curve { start, span_us, running_shares }
    }

    /// The instant before which this share (from 0 to below 1) of the traffic has come.
    pub fn at(&self, share: f64) -> Timestamp {
        let piece = self.running_shares.partition_point(|&sum| sum <= share).min(PIECES - 1);
        let before = if piece == 0 { 0.0 } else { self.running_shares[piece - 1] };
        let within = (share - before) / (self.running_shares[piece] - before);
        let place = (piece as f64 + within.clamp(0.0, 1.0)) / PIECES as f64;
        self.start.plus((self.span_us as f64 * place) as i64)
    }

    /// Hours from the start to a time; negative before it.
    pub fn hours(&self, time: Timestamp) -> f64 {
        time.since(self.start) as f64 / Timestamp::HOUR as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(1_795_262_400_000_000);

    #[test]
    fn evenings_are_busier_than_nights() {
        let day = Curve::new(NOON.floor(Timestamp::DAY), Timestamp::DAY);
        let mut by_hour = [0_u32; 24];
        for visit in 0..24_000 {
            by_hour[(day.at(f64::from(visit) / 24_000.0).hour() % 24) as usize] += 1;
        }
        assert!(by_hour[20] > 5 * by_hour[3], "{by_hour:?}");
        assert!(by_hour.iter().all(|&count| count > 150), "{by_hour:?}");
    }

    #[test]
    fn all_of_a_span_is_within_it_and_in_order() {
        for span in [Timestamp::SECOND, Timestamp::HOUR, 3 * Timestamp::DAY] {
            let curve = Curve::new(NOON, span);
            let times: Vec<Timestamp> =
                (0..=1_000).map(|step| curve.at(f64::from(step) / 1_000.0)).collect();
            assert!(times.is_sorted());
            assert_eq!((times[0], times[1_000]), (NOON, NOON.plus(span)));
        }
    }

    #[test]
    fn a_short_span_is_nearly_even() {
        let curve = Curve::new(NOON, Timestamp::MINUTE);
        let half = curve.at(0.5).since(NOON);
        assert!((half - 30 * Timestamp::SECOND).abs() < Timestamp::SECOND, "{half}");
        assert!((curve.hours(NOON.plus(-Timestamp::HOUR)) + 1.0).abs() < 1e-9);
    }
}

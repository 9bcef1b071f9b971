//! Progressive judgement: each row is scored before it is learned from, and the sums are kept by time.
//!
//! A click comes after its impression, so a row is first judged as not clicked and judged anew when it
//! is. Buckets begin a second wide; when there are too many, each two become one. So a minute of a
//! demo and a month of a shop both fit, and the oldest is never lost.

use reckon_event::Timestamp;

/// The most buckets.
pub const BUCKETS_MAX: usize = 240;
/// Probabilities are sorted into so many classes by log odds, for the AUC.
pub(crate) const CLASSES: usize = 128;
/// Log odds of the first and the last class.
const ODDS: (f32, f32) = (-9.0, 3.0);

/// One stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// Where it begins.
    pub from: Timestamp,
    /// How wide it is, in seconds.
    pub seconds: i64,
    /// Impressions that had a prediction.
    pub impressions: u64,
    /// Clicks on them, wherever in time.
    pub clicks: u64,
    /// Sum of the served probabilities.
    pub predicted_clicks: f64,
    /// Sum of the log losses, in nats.
    pub log_loss_sum: f64,
    /// Impressions and clicks by class of the served log odds.
    pub(crate) classes: Box<[(u32, u32); CLASSES]>,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket::new(Timestamp::MIN, 1)
    }
}

fn class_of(probability: f32) -> usize {
    let odds = (probability / (1.0 - probability)).ln();
    let place = (odds - ODDS.0) / (ODDS.1 - ODDS.0) * CLASSES as f32;
    (place.max(0.0) as usize).min(CLASSES - 1)
}

impl Bucket {
    pub(crate) fn new(from: Timestamp, seconds: i64) -> Self {
        Bucket {
            from,
            seconds,
            impressions: 0,
            clicks: 0,
            predicted_clicks: 0.0,
            log_loss_sum: 0.0,
            classes: Box::new([(0, 0); CLASSES]),
        }
    }

    fn impression(&mut self, probability: f32) {
        let p = f64::from(probability);
        self.impressions += 1;
        self.predicted_clicks += p;
        self.log_loss_sum -= (-p).ln_1p();
        self.classes[class_of(probability)].0 += 1;
    }

    fn click(&mut self, probability: f32) {
        let p = f64::from(probability);
        self.clicks += 1;
        self.log_loss_sum += (-p).ln_1p() - p.ln();
        self.classes[class_of(probability)].1 += 1;
    }

    fn add(&mut self, other: &Bucket) {
        self.impressions += other.impressions;
        self.clicks += other.clicks;
        self.predicted_clicks += other.predicted_clicks;
        self.log_loss_sum += other.log_loss_sum;
        for (mine, theirs) in self.classes.iter_mut().zip(other.classes.iter()) {
            mine.0 += theirs.0;
            mine.1 += theirs.1;
        }
    }

    /// Clicks per impression; `None` without impressions.
    pub fn ctr(&self) -> Option<f64> {
        (self.impressions > 0).then(|| self.clicks as f64 / self.impressions as f64)
    }

    /// Mean served probability; `None` without impressions.
    pub fn predicted_ctr(&self) -> Option<f64> {
        (self.impressions > 0).then(|| self.predicted_clicks / self.impressions as f64)
    }

    /// Predicted clicks per click; `None` without clicks.
    pub fn calibration_ratio(&self) -> Option<f64> {
        (self.clicks > 0).then(|| self.predicted_clicks / self.clicks as f64)
    }

    /// Mean log loss in nats; `None` without impressions.
    pub fn log_loss(&self) -> Option<f64> {
        (self.impressions > 0).then(|| self.log_loss_sum / self.impressions as f64)
    }

    /// Mean log loss of the best constant in hindsight: the entropy of the CTR.
    pub fn log_loss_constant(&self) -> Option<f64> {
        let p = self.ctr()?;
        let part = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        Some(part(p) + part(1.0 - p))
    }

    /// Area under the ROC curve, exact up to the order within one class of log odds (a tenth wide);
    /// `None` while there are only clicks or none.
    pub fn auc(&self) -> Option<f64> {
        let (mut below, mut area) = (0.0, 0.0);
        for &(impressions, clicks) in self.classes.iter() {
            let (clicks, others) =
                (f64::from(clicks), f64::from(impressions.saturating_sub(clicks)));
            area += clicks * (below + others / 2.0);
            below += others;
        }
        let clicks = self.clicks as f64;
        (clicks > 0.0 && below > 0.0).then(|| area / (clicks * below))
    }
}

/// Buckets by the receive time of the impression, oldest first.
#[derive(Clone, Debug)]
pub struct History {
    pub(crate) seconds: i64,
    pub(crate) buckets: Vec<Bucket>,
}

impl Default for History {
    fn default() -> Self {
        History { seconds: 1, buckets: Vec::new() }
    }
}

impl History {
    /// A row was shown, and this was its probability at its place.
    pub fn impression(&mut self, at: Timestamp, probability: f32) {
        self.bucket(at).impression(probability);
    }

    /// It was clicked: `at` and `probability` as at its impression.
    pub fn click(&mut self, at: Timestamp, probability: f32) {
        self.bucket(at).click(probability);
    }

    /// All buckets with something in them.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Everything.
    pub fn total(&self) -> Bucket {
        let Some((first, last)) = self.buckets.first().zip(self.buckets.last()) else {
            return Bucket::default();
        };
        let seconds = last.from.seconds() - first.from.seconds() + self.seconds;
        let mut total = Bucket::new(first.from, seconds);
        for bucket in &self.buckets {
            total.add(bucket);
        }
        total
    }

    fn bucket(&mut self, at: Timestamp) -> &mut Bucket {
        let mut from = self.floor(at);
        let mut found = self.buckets.binary_search_by_key(&from, |bucket| bucket.from);
        while let Err(place) = found {
            if self.buckets.len() < BUCKETS_MAX {
                self.buckets.insert(place, Bucket::new(from, self.seconds));
                found = Ok(place);
                break;
            }
            self.widen();
            from = self.floor(at);
            found = self.buckets.binary_search_by_key(&from, |bucket| bucket.from);
        }
        let place = found.expect("it was found or made");
        &mut self.buckets[place]
    }

    fn floor(&self, at: Timestamp) -> Timestamp {
        at.floor(self.seconds * Timestamp::SECOND)
    }

    fn widen(&mut self) {
        self.seconds *= 2;
        let mut wide: Vec<Bucket> = Vec::with_capacity(BUCKETS_MAX);
        for bucket in std::mem::take(&mut self.buckets) {
            let from = self.floor(bucket.from);
            match wide.last_mut().filter(|last| last.from == from) {
                Some(last) => last.add(&bucket),
                None => wide.push(Bucket { from, seconds: self.seconds, ..bucket }),
            }
        }
        self.buckets = wide;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_seconds(second)
    }

    #[test]
    fn a_click_takes_back_that_there_was_none() {
        let mut history = History::default();
        history.impression(second(5), 0.2);
        history.impression(second(5), 0.4);
        history.click(second(5), 0.4);
        let total = history.total();
        let loss = -(0.8_f64.ln() + 0.4_f64.ln()) / 2.0;
        assert!((total.log_loss().expect("rows") - loss).abs() < 1e-6);
        assert_eq!((total.ctr(), total.auc()), (Some(0.5), Some(1.0)));
        assert!((total.calibration_ratio().expect("a click") - 0.6).abs() < 1e-6);
        assert!((total.log_loss_constant().expect("rows") - 2_f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn any_span_fits_and_nothing_is_lost() {
        let mut history = History::default();
        for at in 0..100_000 {
            history.impression(second(at * 37), 0.01);
        }
        history.impression(second(3), 0.01);
        assert!(
            history.buckets().len() <= BUCKETS_MAX && history.buckets().len() > BUCKETS_MAX / 3
        );
        assert_eq!(history.total().impressions, 100_001);
        assert!(history.buckets().is_sorted_by_key(|bucket| bucket.from));
        assert!(history.buckets().iter().all(|bucket| bucket.seconds == history.seconds));
    }

    #[test]
    fn without_rows_there_is_no_figure() {
        let total = History::default().total();
        assert_eq!((total.ctr(), total.log_loss(), total.auc()), (None, None, None));
    }
}

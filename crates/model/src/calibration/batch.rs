//! Calibrations fitted on a whole batch at once, for models that are trained and then served.
//!
//! [`Isotonic`] follows whatever the batch shows, as long as it rises; [`Platt`] is a line in log odds and
//! needs far less. Both are what scikit-learn fits under these names. The batch must not be sampled, or
//! its log odds must carry [`sampling_correction`] first: a calibration fitted on kept negatives alone is
//! right for no traffic.

use super::batch_state;
use crate::StateError;
use crate::frame::Reader;

/// A row to calibrate on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The predicted log odds.
    pub logit: f32,
    /// Whether it was clicked.
    pub label: bool,
    /// How many rows it stands for, above 0.
    pub weight: f32,
}

/// A batch that no calibration can be fitted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// Clicked and not clicked rows are both needed.
    #[error("a calibration needs clicked rows and rows that were not: give it a larger batch")]
    OneKind,
    /// A row cannot be weighed.
    #[error(
        "row {0} has log odds or a weight that is no number, or a weight of 0 or less: leave it out"
    )]
    Row(usize),
    /// Higher predictions are clicked less.
    #[error(
        "the higher the predicted log odds the fewer the clicks: the model ranks backwards, train it anew"
    )]
    Backwards,
    /// Not one segment a row.
    #[error("segments must have one entry a row")]
    Segments,
}

/// What a fraction `kept` of the negatives makes of log odds: add this to those of a model that learned
/// with all clicks and `kept` of the others, and `p = p' w / (p' w + 1 - p')`. `None` outside (0, 1].
pub fn sampling_correction(kept: f32) -> Option<f32> {
    (kept > 0.0 && kept <= 1.0).then(|| kept.ln())
}

/// Knots of an isotonic curve.
pub const KNOTS_MAX: usize = 256;
/// No curve says never or always: whoever bids divides by these.
const PROBABILITY_MIN: f64 = 1e-6;

/// A monotone function from log odds to a probability, straight between its knots and flat beyond them.
#[derive(Clone, Debug, PartialEq)]
pub struct Isotonic {
    /// Rising log odds.
    pub(super) logits: Vec<f32>,
    /// The probabilities there, never falling.
    pub(super) probabilities: Vec<f32>,
}

/// A shift and a slope: `logit -> slope * logit + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Platt {
    /// Above 0.
    pub slope: f32,
    /// In log odds.
    pub shift: f32,
}

/// Rows of neighbouring log odds that have one click rate.
#[derive(Clone, Copy, Debug)]
struct Pool {
    low: f32,
    high: f32,
    clicks: f64,
    weight: f64,
}

impl Pool {
    fn rate(&self) -> f64 {
        self.clicks / self.weight
    }

    fn join(self, next: Pool) -> Pool {
        let (clicks, weight) = (self.clicks + next.clicks, self.weight + next.weight);
        Pool { low: self.low, high: next.high, clicks, weight }
    }
}

impl Isotonic {
    /// The rising curve nearest to what was clicked, by pooling adjacent violators. Where it would have more
    /// than [`KNOTS_MAX`] knots, rows are first joined to groups of equal weight.
    pub fn fit(batch: &[Observation]) -> Result<Self, CalibrationError> {
        check(batch)?;
        let points = points(batch);
        let mut pools = pool(points.iter().copied());
        if pools.len() > KNOTS_MAX / 2 {
            pools = pool(grouped(&points, KNOTS_MAX / 2).into_iter());
        }
        Ok(Isotonic::through(&pools))
    }

    fn through(pools: &[Pool]) -> Self {
        let (mut logits, mut probabilities) = (Vec::new(), Vec::new());
        for pool in pools {
            let rate = pool.rate().clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN) as f32;
            logits.push(pool.low);
            probabilities.push(rate);
            if pool.high > pool.low {
                logits.push(pool.high);
                probabilities.push(rate);
            }
        }
        Isotonic { logits, probabilities }
    }

    /// The probability of a click at these predicted log odds.
    pub fn probability(&self, logit: f32) -> f32 {
        let next = self.logits.partition_point(|&knot| knot <= logit);
        let Some(last) = next.checked_sub(1) else { return self.probabilities[0] };
        let Some(&right) = self.logits.get(next) else { return self.probabilities[last] };
        let share = (logit - self.logits[last]) / (right - self.logits[last]);
        let (low, high) = (self.probabilities[last], self.probabilities[next]);
        (low + (high - low) * share).clamp(low, high)
    }

    /// How many knots it has.
    pub fn knots(&self) -> usize {
        self.logits.len()
    }
}

impl Platt {
    /// The line of least log loss, towards Platt's targets: `(clicks + 1) / (clicks + 2)` for a clicked row
    /// and `1 / (others + 2)` for another, so that a batch that is parted cleanly has a line as well.
    pub fn fit(batch: &[Observation]) -> Result<Self, CalibrationError> {
        check(batch)?;
        let [others, clicks] = weights(batch);
        let targets = [1.0 / (others + 2.0), (clicks + 1.0) / (clicks + 2.0)];
        let (slope, shift) = newton(batch, targets);
        if slope > 0.0 {
            Ok(Platt { slope: slope as f32, shift: shift as f32 })
        } else {
            Err(CalibrationError::Backwards)
        }
    }

    /// The calibrated log odds.
    pub fn logit(&self, logit: f32) -> f32 {
        self.slope * logit + self.shift
    }

    /// The probability of a click at these predicted log odds.
    pub fn probability(&self, logit: f32) -> f32 {
        crate::sigmoid(self.logit(logit))
    }
}

const STEPS_MAX: usize = 100;

/// Newton's method, each step halved until the loss falls: the loss is convex.
fn newton(batch: &[Observation], targets: [f64; 2]) -> (f64, f64) {
    let (mut slope, mut shift) = (1.0, 0.0);
    let mut best = loss(batch, targets, slope, shift);
    for _ in 0..STEPS_MAX {
        let (along_slope, along_shift) = direction(batch, targets, slope, shift);
        let mut share = 1.0;
        loop {
            let (next_slope, next_shift) =
                (slope - share * along_slope, shift - share * along_shift);
            let next = loss(batch, targets, next_slope, next_shift);
            if next <= best {
                (slope, shift, best) = (next_slope, next_shift, next);
                break;
            }
            share /= 2.0;
            if share < 1e-10 {
                return (slope, shift);
            }
        }
        if along_slope.abs() + along_shift.abs() < 1e-10 {
            break;
        }
    }
    (slope, shift)
}

fn loss(batch: &[Observation], targets: [f64; 2], slope: f64, shift: f64) -> f64 {
    let part = |row: &Observation| {
        let line = slope * f64::from(row.logit) + shift;
        let target = targets[usize::from(row.label)];
        f64::from(row.weight) * (crate::odds::softplus(line) - target * line)
    };
    batch.iter().map(part).sum()
}

/// Where the parabola that touches the loss is lowest, as a step to take back.
fn direction(batch: &[Observation], targets: [f64; 2], slope: f64, shift: f64) -> (f64, f64) {
    let [mut a, mut b] = [0.0; 2];
    let [mut aa, mut ab, mut bb] = [1e-12, 0.0, 1e-12];
    for row in batch {
        let (x, weight) = (f64::from(row.logit), f64::from(row.weight));
        let p = super::platt::probability(slope * x + shift);
        let error = weight * (p - targets[usize::from(row.label)]);
        let curvature = weight * p * (1.0 - p);
        a += error * x;
        b += error;
        aa += curvature * x * x;
        ab += curvature * x;
        bb += curvature;
    }
    let determinant = (aa * bb - ab * ab).max(f64::MIN_POSITIVE);
    ((bb * a - ab * b) / determinant, (aa * b - ab * a) / determinant)
}

fn check(batch: &[Observation]) -> Result<(), CalibrationError> {
    let fault =
        |row: &Observation| !(row.logit.is_finite() && row.weight > 0.0 && row.weight.is_finite());
    if let Some(row) = batch.iter().position(fault) {
        return Err(CalibrationError::Row(row));
    }
    let [others, clicks] = weights(batch);
    if others > 0.0 && clicks > 0.0 { Ok(()) } else { Err(CalibrationError::OneKind) }
}

/// Of rows that were not clicked, and of those that were.
fn weights(batch: &[Observation]) -> [f64; 2] {
    let mut weights = [0.0; 2];
    batch.iter().for_each(|row| weights[usize::from(row.label)] += f64::from(row.weight));
    weights
}

/// One point for all rows of the same log odds, by rising log odds.
fn points(batch: &[Observation]) -> Vec<Pool> {
    let mut rows = batch.to_vec();
    rows.sort_by(|a, b| a.logit.total_cmp(&b.logit));
    let mut points: Vec<Pool> = Vec::new();
    for row in rows {
        let weight = f64::from(row.weight);
        let clicks = if row.label { weight } else { 0.0 };
        let point = Pool { low: row.logit, high: row.logit, clicks, weight };
        match points.last_mut().filter(|last| last.high == row.logit) {
            Some(last) => *last = last.join(point),
            None => points.push(point),
        }
    }
    points
}

fn pool(points: impl Iterator<Item = Pool>) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    for mut point in points {
        while let Some(last) = pools.pop_if(|last| last.rate() >= point.rate()) {
            point = last.join(point);
        }
        pools.push(point);
    }
    pools
}

/// At most `count` groups of neighbours that weigh alike.
fn grouped(points: &[Pool], count: usize) -> Vec<Pool> {
    let all: f64 = points.iter().map(|point| point.weight).sum();
    let mut groups: Vec<(usize, Pool)> = Vec::new();
    let mut before = 0.0;
    for &point in points {
        let group = ((before + point.weight / 2.0) / all * count as f64) as usize;
        before += point.weight;
        match groups.last_mut().filter(|last| last.0 == group) {
            Some(last) => last.1 = last.1.join(point),
            None => groups.push((group, point)),
        }
    }
    groups.into_iter().map(|group| group.1).collect()
}

/// How a [`Segmented`] is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentOptions {
    /// Isotonic curves, or else Platt's lines.
    pub is_isotonic: bool,
    /// Segments with fewer rows, by weight, have no curve of their own.
    pub rows_min: f64,
    /// Segments with fewer clicks, by weight, have no curve of their own.
    pub clicks_min: f64,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        SegmentOptions { is_isotonic: true, rows_min: 10_000.0, clicks_min: 200.0 }
    }
}

/// A curve of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Curve {
    /// Follows the batch.
    Isotonic(Isotonic),
    /// A line in log odds.
    Platt(Platt),
}

impl Curve {
    fn fit(batch: &[Observation], is_isotonic: bool) -> Result<Self, CalibrationError> {
        if is_isotonic {
            Isotonic::fit(batch).map(Curve::Isotonic)
        } else {
            Platt::fit(batch).map(Curve::Platt)
        }
    }

    /// The probability of a click at these predicted log odds.
    pub fn probability(&self, logit: f32) -> f32 {
        match self {
            Curve::Isotonic(curve) => curve.probability(logit),
            Curve::Platt(line) => line.probability(logit),
        }
    }
}

/// A curve for all rows, and one for each segment that is large enough: an app and a web page, say, on which
/// the same log odds are clicked differently.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmented {
    pub(super) all: Curve,
    /// By rising name.
    pub(super) segments: Vec<(u64, Curve)>,
}

impl Segmented {
    /// Fits the curve of all rows and those of large segments; `segments` names that of each row.
    pub fn fit(
        batch: &[Observation],
        segments: &[u64],
        options: &SegmentOptions,
    ) -> Result<Self, CalibrationError> {
        if segments.len() != batch.len() {
            return Err(CalibrationError::Segments);
        }
        let all = Curve::fit(batch, options.is_isotonic)?;
        let mut rows: Vec<_> = segments.iter().copied().zip(batch.iter().copied()).collect();
        rows.sort_by_key(|row| row.0);
        let mut curves = Vec::new();
        for rows in rows.chunk_by(|a, b| a.0 == b.0) {
            let part: Vec<_> = rows.iter().map(|row| row.1).collect();
            let [others, clicks] = weights(&part);
            if others + clicks < options.rows_min || clicks < options.clicks_min {
                continue;
            }
            // A segment that is all clicks or ranks backwards has what all rows have.
            if let Ok(curve) = Curve::fit(&part, options.is_isotonic) {
                curves.push((rows[0].0, curve));
            }
        }
        Ok(Segmented { all, segments: curves })
    }

    /// One curve for all rows.
    pub fn of(all: Curve) -> Self {
        Segmented { all, segments: Vec::new() }
    }

    /// The probability of a click at these predicted log odds, in this segment.
    pub fn probability(&self, segment: u64, logit: f32) -> f32 {
        self.curve(segment).unwrap_or(&self.all).probability(logit)
    }

    /// The segment's own curve, where it has one.
    pub fn curve(&self, segment: u64) -> Option<&Curve> {
        let place = self.segments.binary_search_by_key(&segment, |named| named.0);
        place.ok().map(|place| &self.segments[place].1)
    }

    /// Appends the durable form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        batch_state::encode(self, out);
    }

    /// Reads the durable form back.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        batch_state::decode(bytes)
    }
}

impl Isotonic {
    /// Knots are read and held to what a curve promises.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let count = reader.u32()? as usize;
        if !(1..=KNOTS_MAX).contains(&count) {
            return Err(StateError::Field("number of knots"));
        }
        let mut column = |name| (0..count).map(|_| reader.f32(name)).collect::<Result<Vec<_>, _>>();
        let (logits, probabilities) = (column("knot")?, column("probability")?);
        let is_probability = |p: &f32| *p > 0.0 && *p < 1.0;
        if !logits.is_sorted_by(|a, b| a < b) {
            return Err(StateError::Field("knot"));
        }
        if !(probabilities.is_sorted() && probabilities.iter().all(is_probability)) {
            return Err(StateError::Field("probability"));
        }
        Ok(Isotonic { logits, probabilities })
    }
}

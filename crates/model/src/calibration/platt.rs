//! Platt's line: a shift and a slope in log odds, the part of a calibration that needs least data.
//!
//! Maximum a posteriori by Newton's method. The prior draws the shift towards 0 and the slope towards
//! 1, as wide as models are usually off; with some tens of clicks the data outweighs it.

use super::Point;

/// Standard deviation of the shift before anything was seen.
const SHIFT_DEVIATION: f64 = 0.5;
/// Standard deviation of the slope before anything was seen.
const SLOPE_DEVIATION: f64 = 0.2;
/// The curve must rise, whatever was seen.
const SLOPE_MIN: f64 = 0.05;
const SLOPE_MAX: f64 = 20.0;
const STEPS_MAX: usize = 50;

/// `logit -> centre + shift + slope * (logit - centre)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    /// Where the data lies: there shift and slope do not depend on each other.
    centre: f64,
    shift: f64,
    slope: f64,
}

impl Line {
    pub(super) const IDENTITY: Line = Line { centre: 0.0, shift: 0.0, slope: 1.0 };

    pub(super) fn at(self, logit: f64) -> f64 {
        self.centre + self.shift + self.slope * (logit - self.centre)
    }
}

/// The line through what was seen.
pub(super) fn fit(points: &[Point]) -> Line {
    let impressions: f64 = points.iter().map(|point| point.impressions).sum();
    if impressions <= 0.0 {
        return Line::IDENTITY;
    }
    let centre = points.iter().map(|point| point.impressions * point.logit).sum::<f64>();
    let mut line = Line { centre: centre / impressions, ..Line::IDENTITY };
    for _ in 0..STEPS_MAX {
        let (shift, slope) = newton_step(points, line);
        // A step of more than one in log odds leaves the region in which the parabola is true.
        line.shift -= shift.clamp(-1.0, 1.0);
        line.slope = (line.slope - slope.clamp(-0.5, 0.5)).clamp(SLOPE_MIN, SLOPE_MAX);
        if shift.abs() + slope.abs() < 1e-9 {
            break;
        }
    }
    line
}

/// The step to the lowest point of the parabola that touches the loss here.
fn newton_step(points: &[Point], line: Line) -> (f64, f64) {
    let (shift_prior, slope_prior) = (SHIFT_DEVIATION.powi(-2), SLOPE_DEVIATION.powi(-2));
    let mut gradient = [shift_prior * line.shift, slope_prior * (line.slope - 1.0)];
    let [mut aa, mut ab, mut bb] = [shift_prior, 0.0, slope_prior];
    for point in points {
        let x = point.logit - line.centre;
        let p = probability(line.at(point.logit));
        let error = point.impressions * p - point.clicks;
        let curvature = point.impressions * p * (1.0 - p);
        gradient[0] += error;
        gradient[1] += error * x;
        aa += curvature;
        ab += curvature * x;
        bb += curvature * x * x;
    }
    let determinant = aa * bb - ab * ab;
    let shift = (bb * gradient[0] - ab * gradient[1]) / determinant;
    let slope = (aa * gradient[1] - ab * gradient[0]) / determinant;
    (shift, slope)
}

/// The probability with these log odds.
pub(super) fn probability(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(impressions: f64, line: Line) -> Vec<Point> {
        let point = |step: i32| {
            let logit = f64::from(step) / 4.0 - 3.0;
            Point { logit, impressions, clicks: impressions * probability(line.at(logit)) }
        };
        (-8..8).map(point).collect()
    }

    #[test]
    fn much_data_shows_its_line() {
        for (shift, slope) in [(0.0, 1.0), (0.7, 1.3), (-1.5, 0.4), (3.0, 2.0)] {
            let truth = Line { centre: -3.0, shift, slope };
            let found = fit(&points(1e9, truth));
            for logit in [-5.0, -3.0, -1.0] {
                assert!((found.at(logit) - truth.at(logit)).abs() < 1e-4, "{truth:?} {found:?}");
            }
        }
    }

    #[test]
    fn little_data_changes_little() {
        let truth = Line { centre: -3.0, shift: 2.0, slope: 2.0 };
        let shift = |impressions| fit(&points(impressions, truth)).shift;
        assert!(shift(0.01) < 0.05);
        assert!(shift(1.0) < shift(10.0) && shift(10.0) < shift(100.0) && shift(100.0) < 2.0);
        assert_eq!(fit(&[]), Line::IDENTITY);
    }
}

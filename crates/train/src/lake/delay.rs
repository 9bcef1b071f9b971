//! Clicks come late: how many of them would have come by an age, and what a young row weighs.
//!
//! Of rows whose window has passed it is known how late their clicks came: that is `F`, the share of
//! clicks that come by an age. A row of age `a` that is not clicked may still be. With `p` the share
//! of rows that are clicked in the end, a clicked young row weighs `1 / F(a)` and one that is not
//! `(1 - p) / (1 - p F(a))`: then clicks and others of that age weigh on average what they will
//! weigh when their window has passed. (The weights of Chapelle, "Modeling delayed feedback in display
//! advertising", KDD 2014, with the delays as they were counted instead of an exponential law.)

/// The classes of delays, equally wide.
const CLASSES: usize = 256;

/// How late clicks came.
#[derive(Clone, Debug)]
pub struct Delays {
    window_us: i64,
    clicks: Vec<u64>,
    click_count: u64,
    row_count: u64,
}

impl Delays {
    /// Nothing counted yet; delays are at most `window_us`, which is above 0.
    pub fn new(window_us: i64) -> Self {
        Delays { window_us, clicks: vec![0; CLASSES], click_count: 0, row_count: 0 }
    }

    /// Counts a row whose window has passed, and the delay of its click in microseconds.
    pub fn take(&mut self, delay: Option<i64>) {
        self.row_count += 1;
        if let Some(delay) = delay {
            let class = self.class(delay);
            self.clicks[class] += 1;
            self.click_count += 1;
        }
    }

    fn class(&self, delay: i64) -> usize {
        let class = i128::from(delay.clamp(0, self.window_us)) * CLASSES as i128;
        ((class / i128::from(self.window_us)) as usize).min(CLASSES - 1)
    }

    /// The share of clicks that come by an age: of its class, those of all classes before. 0 where
    /// nothing was counted.
    pub fn covered(&self, age_us: i64) -> f64 {
        if age_us >= self.window_us {
            return 1.0;
        }
        if self.click_count == 0 {
            return 0.0;
        }
        let before: u64 = self.clicks[..self.class(age_us)].iter().sum();
        before as f64 / self.click_count as f64
    }

    /// What a row of an age weighs.
    pub fn weight(&self, age_us: i64, is_clicked: bool) -> f32 {
        let covered = self.covered(age_us);
        let rate = self.click_count as f64 / self.row_count.max(1) as f64;
        let weight = if is_clicked { 1.0 / covered } else { (1.0 - rate) / (1.0 - rate * covered) };
        weight as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_rows_weigh_what_they_will_weigh() {
        // A tenth of rows is clicked, evenly over the window.
        let window = 2_560;
        let mut delays = Delays::new(window);
        for row in 0..25_600 {
            delays.take((row % 10 == 0).then_some(row / 10));
        }
        for age in [640, 1_280, 1_920] {
            let covered = age as f64 / window as f64;
            assert!((delays.covered(age) - covered).abs() < 0.005);
            // Of a million rows of that age, so many are clicked already.
            let clicked = 1e6 * 0.1 * covered;
            let positives = clicked * f64::from(delays.weight(age, true));
            let negatives = (1e6 - clicked) * f64::from(delays.weight(age, false));
            assert!((positives - 1e5).abs() < 10.0, "{positives}");
            assert!((negatives - 9e5).abs() < 10.0, "{negatives}");
        }
        assert_eq!(delays.covered(window), 1.0);
        assert_eq!(Delays::new(window).covered(10), 0.0, "nothing is known");
    }
}

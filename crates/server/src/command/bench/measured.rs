//! What asking for predictions has shown, as a table and as JSON.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::machine::Machine;
use super::outcome::Tally;

/// One number of candidates.
#[derive(Debug)]
pub struct Size {
    /// The number of candidates.
    pub candidates: usize,
    /// Answers a second as fast as they come, where that was measured.
    pub possible: Option<f64>,
    /// Requests a second that were due; 0 without a timetable.
    pub rate: u64,
    /// What was seen.
    pub tally: Tally,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

/// The outcome of a run.
#[derive(Debug)]
pub struct Measured {
    /// Connections side by side.
    pub connections: usize,
    /// Tokens in each answer.
    pub mint: usize,
    /// People who come back.
    pub users: u32,
    /// Registered ads.
    pub ads: u32,
    /// Each number of candidates.
    pub sizes: Vec<Size>,
    /// Where it ran.
    pub machine: Machine,
}

impl Size {
    fn answers(&self) -> u64 {
        self.tally.acknowledged + self.tally.degraded
    }

    /// Predictions that were answered a second, however many candidates each had.
    pub fn answers_per_second(&self) -> f64 {
        self.answers() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Candidates scored a second at the fastest that was measured.
    fn predictions_per_second(&self) -> f64 {
        self.possible.unwrap_or_else(|| self.answers_per_second()) * self.candidates as f64
    }

    fn share(&self, count: u64) -> f64 {
        count as f64 / self.tally.sent.max(1) as f64
    }

    fn answer_bytes(&self) -> u64 {
        self.tally.answer_bytes / self.tally.latency.len().max(1)
    }

    fn percentile_ms(&self, quantile: f64) -> f64 {
        self.tally.latency.value_at_quantile(quantile) as f64 / 1e6
    }

    fn max_ms(&self) -> f64 {
        self.tally.latency.max() as f64 / 1e6
    }

    fn json(&self) -> Value {
        json!({
            "candidates": self.candidates, "possible_per_second": self.possible, "rate": self.rate,
            "answers_per_second": self.answers_per_second(),
            "predictions_per_second": self.predictions_per_second(),
            "sent": self.tally.sent, "errors": self.tally.errors,
            "first_error": self.tally.first_error,
            "degraded_share": self.share(self.tally.degraded), "answer_bytes": self.answer_bytes(),
            "latency_ms": {
                "p50": self.percentile_ms(0.5), "p90": self.percentile_ms(0.9),
                "p99": self.percentile_ms(0.99), "p99_9": self.percentile_ms(0.999),
                "max": self.max_ms(),
            },
        })
    }

    fn cells(&self) -> [String; 12] {
        let possible = self.possible.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
        let [p50, p90, p99, p99_9] =
            [0.5, 0.9, 0.99, 0.999].map(|quantile| format!("{:.3}", self.percentile_ms(quantile)));
        [
            self.candidates.to_string(),
            possible,
            format!("{:.0}", self.predictions_per_second()),
            self.rate.to_string(),
            p50,
            p90,
            p99,
            p99_9,
            format!("{:.3}", self.max_ms()),
            self.tally.errors.to_string(),
            format!("{:.4}", 100.0 * self.share(self.tally.degraded)),
            self.answer_bytes().to_string(),
        ]
    }
}

impl Measured {
    /// True where every request of every size was answered, and with all that was asked for but what
    /// the answer owns up to.
    pub fn is_good(&self) -> bool {
        let is_good = |size: &Size| size.tally.errors == 0 && size.answers() > 0;
        !self.sizes.is_empty() && self.sizes.iter().all(is_good)
    }

    /// Prints it, as a table or one line of JSON.
    pub fn print(&self, as_json: bool, out: &mut dyn Write) -> io::Result<()> {
        if as_json { writeln!(out, "{}", self.json()) } else { self.table(out) }
    }

    fn json(&self) -> Value {
        let sizes: Vec<Value> = self.sizes.iter().map(Size::json).collect();
        json!({
            "what": "predict", "connections": self.connections, "mint": self.mint,
            "users": self.users, "ads": self.ads, "sizes": sizes, "machine": self.machine.json(),
        })
    }

    fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "machine  {} x {}", self.machine.cores, self.machine.cpu)?;
        writeln!(
            out,
            "load     POST /api/predict, {} connections, tokens for {}; {} users and {} ads by Zipf, \
             a tenth of them cold",
            self.connections, self.mint, self.users, self.ads
        )?;
        writeln!(
            out,
            "         possible/s: as fast as answers come; latency in ms at the rate beside it, from \
             when each was due"
        )?;
        let names = [
            "candidates",
            "possible/s",
            "predictions/s",
            "rate",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            "errors",
            "degraded %",
            "answer bytes",
        ];
        row(out, &names)?;
        for size in &self.sizes {
            row(out, &size.cells())?;
        }
        for size in &self.sizes {
            if let Some(error) = &size.tally.first_error {
                writeln!(out, "first error at {} candidates: {error}", size.candidates)?;
            }
        }
        Ok(())
    }
}

fn row(out: &mut dyn Write, cells: &[impl AsRef<str>]) -> io::Result<()> {
    let widths = [10, 11, 14, 8, 9, 9, 9, 9, 9, 7, 11, 13];
    for (cell, width) in cells.iter().zip(widths) {
        write!(out, "{:>width$}", cell.as_ref())?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(errors: u64) -> Measured {
        let mut tally = Tally { sent: 200, acknowledged: 190, degraded: 10, ..Tally::default() };
        for _ in 0..200 {
            tally.latency(Duration::from_millis(2));
        }
        tally.answer_bytes = 200 * 1_234;
        (0..errors).for_each(|_| tally.fail("answered 500".to_owned()));
        let size = Size {
            candidates: 10,
            possible: Some(500.0),
            rate: 350,
            tally,
            elapsed: Duration::from_secs(2),
        };
        let machine = Machine { cores: 2, cpu: "x".to_owned() };
        Measured { connections: 4, mint: 10, users: 5, ads: 6, sizes: vec![size], machine }
    }

    #[test]
    fn figures_are_in_the_json_and_in_the_table() {
        let json = measured(0).json();
        let size = &json["sizes"][0];
        let number = |name: &str| size[name].as_f64().expect("a number");
        assert_eq!(
            (number("answers_per_second"), number("predictions_per_second")),
            (100.0, 5_000.0)
        );
        assert_eq!((number("degraded_share"), number("answer_bytes")), (0.05, 1_234.0));
        let p99 = size["latency_ms"]["p99"].as_f64().expect("a number");
        assert!((1.99..2.01).contains(&p99), "{p99}");
        let mut out = Vec::new();
        measured(0).print(false, &mut out).expect("memory takes all");
        let text = String::from_utf8(out).expect("text");
        let last: Vec<&str> = text.lines().last().expect("a row").split_whitespace().collect();
        assert_eq!(
            (last[0], last[1], last[2], last[9], last[11]),
            ("10", "500", "5000", "0", "1234")
        );
    }

    #[test]
    fn an_error_is_told_and_no_success() {
        assert!(measured(0).is_good() && !measured(1).is_good());
        let mut out = Vec::new();
        measured(1).print(false, &mut out).expect("memory takes all");
        assert!(String::from_utf8(out).expect("text").contains("at 10 candidates: answered 500"));
        assert!(!Measured { sizes: Vec::new(), ..measured(0) }.is_good(), "nothing was measured");
    }
}
